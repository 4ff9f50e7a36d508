/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages that samples split, and putting them back.
 *
 * Putting out a single page of a huge page splits it. Where the sample then says
 * that the memory is in use, the target would be left with 512 small entries for
 * nothing: so which blocks were huge is noted before, and a block that is in use is
 * collapsed again when all of it is back.
 */
#ifndef UMEM_OP_RECLAIM_HUGE_H
#define UMEM_OP_RECLAIM_HUGE_H

#include "lib/op/reclaim_target.h"

/**
 * umem_reclaim_huge_note - a sample of @slice is about to go: is it one huge page?
 * Return: 0 or -ENOMEM.
 */
int umem_reclaim_huge_note(struct umem_reclaim_target *target, const struct umem_slice *slice);

/**
 * umem_reclaim_huge_restore - collapse the blocks that turned out to be in use, and
 * forget those that are cold, or are judged in parts by now. Return: 0 or -ENOMEM.
 */
int umem_reclaim_huge_restore(struct umem_reclaim_target *target);

#endif
