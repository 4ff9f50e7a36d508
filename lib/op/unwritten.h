/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pages of a target are written within a time: those that reclaim is to leave alone. */
#ifndef UMEM_OP_UNWRITTEN_H
#define UMEM_OP_UNWRITTEN_H

#include <umemd/track.h>

#include "lib/base/reasons.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

/**
 * struct umem_unwritten - what was seen; all zero before.
 * @written: pages that were. Pinned ones are left to those who tell that they are.
 * @unwatched: pages of which nobody can say.
 * @unseen: why not all writes could be seen, where that is about the whole target.
 */
struct umem_unwritten {
	struct umem_pageset written;
	struct umem_pageset unwatched;
	struct umem_reasons unseen;
};

/** umem_unwritten_deinit - free what it owns and make it empty. */
void umem_unwritten_deinit(struct umem_unwritten *unwritten);

/**
 * umem_unwritten_find - watch @target for as long as @wait takes.
 * @target: attached, not watched by this process.
 * @regions, @n_regions: only these addresses; 0 of them means all.
 * @wait: what it returns other than 0 ends it.
 * @unwritten: empty.
 *
 * The watch is over when this returns: it puts huge pages together again that it
 * split, and that would bring in what is out. Return: 0; what @wait returned; as
 * umem_watch_new() and umem_watch_collect().
 */
int umem_unwritten_find(struct umem_target *target, const struct umem_range *regions,
	size_t n_regions, int (*wait)(void *user), void *user, struct umem_unwritten *unwritten,
	struct umem_note *note);

#endif
