/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which processes reclaim is about, now: by id, by cgroup, by name.
 */
#ifndef UMEM_OP_RECLAIM_FIND_H
#define UMEM_OP_RECLAIM_FIND_H

#include "lib/kern/cgroup.h"
#include "lib/op/reclaim.h"

/**
 * struct umem_reclaim_finder - where to look.
 * @options: the caller's.
 * @cgroup: open when it is by cgroup.
 * @pids: what was found last.
 */
struct umem_reclaim_finder {
	const struct umem_reclaim_options *options;
	struct umem_cgroup cgroup;
	struct umem_cgroup_pids pids;
};

/** umem_reclaim_finder_init - get ready. Return: 0, -EINVAL or -errno of umem_cgroup_open(). */
int umem_reclaim_finder_init(struct umem_reclaim_finder *finder,
	const struct umem_reclaim_options *options, struct umem_note *note);

/** umem_reclaim_finder_deinit - free what it owns. */
void umem_reclaim_finder_deinit(struct umem_reclaim_finder *finder);

/**
 * umem_reclaim_find - look now; fills @finder->pids, ascending.
 * This process is never found. Return: 0, UMEM_GONE when the cgroup was removed, -errno.
 */
int umem_reclaim_find(struct umem_reclaim_finder *finder, struct umem_note *note);

#endif
