/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transparent huge pages that tracking splits, and putting them back.
 *
 * A write to a protected huge page splits its mapping into 512 small ones, and
 * khugepaged leaves protected memory alone. Which blocks were huge is noted
 * when they are armed; when the target is let go, those that are no longer
 * huge are collapsed again.
 */
#ifndef UMEM_MEM_THP_H
#define UMEM_MEM_THP_H

#include "lib/mem/target.h"

/**
 * umem_thp_restore - collapse what was huge in @ranges and is not any more.
 * @ranges: whole blocks of 2 MiB that were mapped huge.
 *
 * Protection must be lifted before. What cannot be collapsed (no huge page
 * free, no CAP_SYS_NICE, mapped no longer, before Linux 6.1) stays small, in
 * silence. Blocks for some 0.3 ms a block.
 *
 * Return: bytes that were collapsed.
 */
uint64_t umem_thp_restore(const struct umem_target *target, const struct umem_ranges *ranges);

#endif
