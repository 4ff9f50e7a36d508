/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umemctl reclaim by umemd: the same lines, of what a worker of it does. */
#ifndef CTL_RECLAIM_REMOTE_H
#define CTL_RECLAIM_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/op/reclaim.h"

/**
 * struct reclaim_remote - how it is done.
 * @path: of the daemon's socket.
 * @json: print JSON.
 * @duration_ns: end after this long; 0 means never.
 * @signals: descriptor of ctl_signals().
 */
struct reclaim_remote {
	const char *path;
	bool json;
	uint64_t duration_ns;
	int signals;
};

/**
 * reclaim_by_daemon - have the daemon reclaim from one process until it is to end.
 * @options: with one of @pids.
 * Return: 0; UMEM_GONE; -EIO: nobody reads what is printed; as umem_client_reclaim_set().
 */
int reclaim_by_daemon(const struct reclaim_remote *how,
	const struct umem_reclaim_options *options, struct umem_note *note);

#endif
