/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which processes are reclaimed from, and what became of them.
 *
 * A process that ends drops out; one that executed another program is taken in
 * anew, with nothing known of it. One that may not be had (another user's, or
 * another umemctl reclaims from it) is told once and not tried again. Where
 * processes were named by their ids any of this at the start is an error.
 */
#ifndef UMEM_OP_RECLAIM_LIST_H
#define UMEM_OP_RECLAIM_LIST_H

#include "lib/op/reclaim_find.h"
#include "lib/op/reclaim_target.h"

/**
 * struct umem_reclaim_list - the targets.
 * @options: the caller's.
 * @finder: finds them.
 * @targets: @n_targets of them.
 * @refused: processes that are not tried again.
 * @events, @n_events: what became of them; the first @n_shown were shown.
 * @begun: who was named by its id is known by now.
 */
struct umem_reclaim_list {
	const struct umem_reclaim_options *options;
	struct umem_reclaim_finder finder;
	struct umem_reclaim_target **targets;
	size_t n_targets;
	size_t targets_room;
	struct umem_cgroup_pids refused;
	struct umem_reclaim_event *events;
	size_t n_events;
	size_t n_shown;
	size_t events_room;
	bool begun;
};

/** umem_reclaim_list_deinit - let go of all; free what it owns. */
void umem_reclaim_list_deinit(struct umem_reclaim_list *list);

/** umem_reclaim_list_forget_shown - what came up since the caller was shown is kept. */
void umem_reclaim_list_forget_shown(struct umem_reclaim_list *list);

/**
 * umem_reclaim_list_find - who came, who left the group. Who ended is found by looking.
 * Return: 0; UMEM_GONE: the cgroup was removed; as umem_reclaim_new().
 */
int umem_reclaim_list_find(struct umem_reclaim_list *list, struct umem_note *note);

/**
 * umem_reclaim_list_look - look at each; who is gone is let go, or taken in anew.
 * @areas, @forced_back: as of umem_reclaim_swap_read().
 * Return: 0, -ENOMEM, -errno.
 */
int umem_reclaim_list_look(struct umem_reclaim_list *list, uint64_t now_ns,
	const struct umem_swap_areas *areas, bool forced_back, struct umem_note *note);

/**
 * umem_reclaim_list_give_up - let go of the @i-th, which cannot be had any more, and tell.
 * @err, @why: what kept us from it. Return: 0 or -ENOMEM.
 */
int umem_reclaim_list_give_up(struct umem_reclaim_list *list, size_t i, int err,
	const struct umem_note *why);

#endif
