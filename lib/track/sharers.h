/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other mappings of the same memory: a page changes for everybody who maps it,
 * whoever wrote it.
 *
 * Three sources: other mappings of the same object in the target itself
 * (aliases), other processes that we attach to (members), and other processes
 * that we do not (then all that can be done is to say so). One owner.
 */
#ifndef UMEM_TRACK_SHARERS_H
#define UMEM_TRACK_SHARERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/mem/mappers.h"
#include "lib/kern/pins.h"
#include "lib/track/track.h"

/**
 * struct umem_sharer - a process that maps memory of the target, and is tracked.
 * @pid: its id.
 * @start_ticks: with the id, its identity.
 * @target, @tracker: of its own.
 * @pins: what of its memory was pinned at the last look.
 * @unseen: its pages that may be written without a fault until the next round.
 */
struct umem_sharer {
	int pid;
	uint64_t start_ticks;
	struct umem_target *target;
	struct umem_tracker *tracker;
	struct umem_pins pins;
	struct umem_pageset unseen;
};

/**
 * struct umem_sharers - all other mappers of a target's shared memory.
 * @attach: attach to them; else only say that they are there.
 * @v, @n, @room: the members.
 * @mappers: the walk that finds them.
 * @hidden: there were processes at the baseline that may not be looked at.
 * @hint: what to do about those that are not tracked, for people; NULL: --sharers.
 * @elsewhere, @n_elsewhere: processes that are tracked by somebody else, who brings
 *	what they changed here by umem_sharers_spread(); the caller's.
 */
struct umem_sharers {
	bool attach;
	struct umem_sharer *v;
	size_t n;
	size_t room;
	struct umem_mappers mappers;
	bool hidden;
	const char *hint;
	const int *elsewhere;
	size_t n_elsewhere;
};

/** umem_sharers_deinit - detach from all members and free. */
void umem_sharers_deinit(struct umem_sharers *sharers);

/**
 * umem_sharers_aliases - translate changes to the other addresses of the same object in @target.
 * @changed: pages that changed.
 * @out: other watched addresses that show them are added.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_sharers_aliases(struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *changed, struct umem_pageset *out);

/**
 * umem_sharers_spread - translate changes in one process to the addresses of another.
 * @changed: pages of @from that changed.
 * @out: watched addresses of @target that show the same data are added.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_sharers_spread(const struct umem_target *from, struct umem_pageset *changed,
	struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *out);

/**
 * umem_sharers_departed - changes through a mapping that is not there any more.
 * @from: the process whose mappings vanished in its last refresh: @target or another.
 * @vanished: what vanished.
 * @out: watched addresses of @target that show the same data are added: what was
 *	written through the vanished mapping is not known.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_sharers_departed(const struct umem_target *from, const struct umem_ranges *vanished,
	const struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *out);

/**
 * umem_sharers_collect - what others changed since the last call.
 * @target: the process whose addresses count.
 * @watched: its watched ranges.
 * @baseline: this is the arming; nothing is reported, members are only found.
 * @out: addresses of @target whose page was, or may have been, written through
 *	another process are added.
 * @why: other writers that are not tracked, and why not.
 *
 * Return: 0 or -ENOMEM; a member that cannot be attached is a reason, not an error.
 */
int umem_sharers_collect(struct umem_sharers *sharers, struct umem_target *target,
	const struct umem_ranges *watched, bool baseline, struct umem_pageset *out,
	struct umem_reasons *why);

#endif
