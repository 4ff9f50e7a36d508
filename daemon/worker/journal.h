/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a worker leaves to its successor: a memfd that the manager keeps.
 *
 * It is written after each round, before the round is told, and read by a worker
 * that follows one which died at any moment.
 */
#ifndef WORKER_JOURNAL_H
#define WORKER_JOURNAL_H

#include <umemd/track.h>

#include "lib/base/ranges.h"

/**
 * struct journal_left - what was read; all zero is empty.
 * @left: points into the two sets.
 */
struct journal_left {
	struct umem_watch_left left;
	struct umem_ranges watched;
	struct umem_ranges held;
};

/** journal_left_deinit - free what it owns. */
void journal_left_deinit(struct journal_left *left);

/**
 * journal_write - note what is left now; a death meanwhile leaves what was there.
 * @fd: a memfd that nobody else writes to now.
 *
 * Return: 0, -EFBIG for too many ranges, -errno of pwrite(2).
 */
int journal_write(int fd, const struct umem_watch_left *left);

/**
 * journal_read - read what was written last.
 * Return: 0; -ENODATA: nothing was; -EBADMSG: it is none; -ENOMEM; -errno of pread(2).
 */
int journal_read(int fd, struct journal_left *ret_left);

#endif
