/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event loop: descriptors, timers, signals. The only user of libevent's core.
 *
 * Everything runs in the thread that calls loop_run(). A watch or timer may be
 * freed from within its own callback.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct loop;
struct loop_watch;
struct loop_timer;

/** LOOP_READ, LOOP_WRITE - what a descriptor is watched for. */
#define LOOP_READ  1u
#define LOOP_WRITE 2u

/** loop_new - Return: 0 or -ENOMEM. */
int loop_new(struct loop **ret_loop);

/** loop_free - when everything in it was freed. Return: NULL. */
struct loop *loop_free(struct loop *loop);

/** loop_base - libevent's part of it, for http.c. */
struct event_base *loop_base(const struct loop *loop);

/** loop_run - until loop_stop(). Return: 0 or -EIO. */
int loop_run(struct loop *loop);

/** loop_stop - have loop_run() return soon. */
void loop_stop(struct loop *loop);

/**
 * loop_watch_new - watch a descriptor for nothing yet.
 * @fd: stays the caller's, and open as long as it is watched.
 * @ready: called with LOOP_READ, LOOP_WRITE or both; an error or the end counts as both.
 *
 * Return: 0 or -ENOMEM.
 */
int loop_watch_new(struct loop *loop, int fd, void (*ready)(void *user, unsigned what),
	void *user, struct loop_watch **ret_watch);

/** loop_watch_for - watch for @what from now on; 0 for nothing. */
void loop_watch_for(struct loop_watch *watch, unsigned what);

/** loop_watch_free - NULL is fine. Return: NULL. */
struct loop_watch *loop_watch_free(struct loop_watch *watch);

/** loop_timer_new - a timer that is not set. Return: 0 or -ENOMEM. */
int loop_timer_new(struct loop *loop, void (*due)(void *user), void *user,
	struct loop_timer **ret_timer);

/** loop_timer_set - call @due once, in @ns nanoseconds (at least a microsecond). */
void loop_timer_set(struct loop_timer *timer, uint64_t ns);

/** loop_timer_clear - do not. */
void loop_timer_clear(struct loop_timer *timer);

/** loop_timer_is_set - is it to be called? */
bool loop_timer_is_set(const struct loop_timer *timer);

/** loop_timer_free - NULL is fine. Return: NULL. */
struct loop_timer *loop_timer_free(struct loop_timer *timer);

/** loop_on_signal - have @heard called for a signal from now on. Return: 0 or -ENOMEM. */
int loop_on_signal(struct loop *loop, int signo, void (*heard)(void *user, int signo),
	void *user);

#endif
