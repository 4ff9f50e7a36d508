/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads for what may take long, so that nobody else has to wait: stopping a
 * process, opening a file of a file system that does not answer, closing one.
 *
 * A job runs in some thread; when it is done, the loop's thread is told. Jobs
 * share nothing but what they are given.
 */
#ifndef DAEMON_POOL_H
#define DAEMON_POOL_H

#include "daemon/loop.h"

struct pool;

/** pool_new - @max_threads at most. Return: 0 or -errno. */
int pool_new(struct loop *loop, unsigned max_threads, struct pool **ret_pool);

/**
 * pool_run - have a job done.
 * @work: in a thread.
 * @done: in the loop's thread, behind it; may be NULL.
 *
 * Return: 0 or -ENOMEM. When no thread can be had, it is done here and now.
 */
int pool_run(struct pool *pool, void (*work)(void *user), void (*done)(void *user), void *user);

/** pool_close_fd - close a descriptor of which it is not known how long that takes. */
void pool_close_fd(struct pool *pool, int fd);

/**
 * pool_free - jobs that wait are forgotten, one that runs is left alone: this is
 * called when the program ends. Return: NULL.
 */
struct pool *pool_free(struct pool *pool);

#endif
