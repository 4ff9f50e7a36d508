/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the rounds of umemctl dirty come from: a watch of this process, or umemd. Both
 * tell the same.
 */
#ifndef CTL_DIRTY_SOURCE_H
#define CTL_DIRTY_SOURCE_H

#include <umemd/track.h>

#include "daemon/ctl/ctl.h"

struct dirty_source;

/**
 * struct dirty_source_ops - one kind of source. All get the source.
 * @collect: as umem_watch_collect(); @ret_round is valid until the next one.
 * @each, @gone: of the last round, as umem_watch_each() and umem_watch_gone().
 * @free: let the target go, and free.
 */
struct dirty_source_ops {
	int (*collect)(struct dirty_source *source, const struct umem_round **ret_round,
		struct umem_note *note);
	int (*each)(struct dirty_source *source,
		int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why),
		void *user);
	const struct umem_range *(*gone)(const struct dirty_source *source, size_t *ret_n);
	void (*free)(struct dirty_source *source);
};

/**
 * struct dirty_source - what every kind begins with.
 * @pid: the process. @pidfd: to poll for its end.
 * @armed: what arming found.
 */
struct dirty_source {
	const struct dirty_source_ops *ops;
	int pid;
	int pidfd;
	const struct umem_armed *armed;
};

/** dirty_embedded_new - attach and arm in this process. Return: as umem_watch_new(). */
int dirty_embedded_new(int pid, const struct umem_watch_options *watch,
	struct dirty_source **ret_source, struct umem_note *note);

/**
 * dirty_remote_new - have the daemon at @path do it.
 * @ranges: rounds are to hold ranges.
 * Return: as umem_client_start().
 */
int dirty_remote_new(const char *path, int pid, const struct umem_watch_options *watch,
	bool ranges, struct dirty_source **ret_source, struct umem_note *note);

#endif
