/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A policy of reclaim that is set for a target: keeps the time for its worker, keeps the
 * last interval, and tells who wants to hear of them.
 */
#ifndef DAEMON_RECLAIM_H
#define DAEMON_RECLAIM_H

#include "daemon/call.h"
#include "daemon/session.h"

struct reclaim;

/**
 * reclaim_new - begin with @policy (Policy of io.umemd.Reclaim), in place of what @session
 * had before.
 * @done: told once whether it began; when it did not, there is none any more. NULL for one
 *	that was set before: it is tried again until it begins.
 * Return: 0 or -errno.
 */
int reclaim_new(struct session *session, const struct umem_json *policy, session_done *done,
	void *user);

/**
 * reclaim_end - end what @session has, if anything, without a word to the worker; who waits or
 * listens is told.
 */
void reclaim_end(struct session *session);

/** reclaim_policy - what was set; borrowed. NULL for no policy. */
const struct umem_json *reclaim_policy(const struct reclaim *reclaim);

/** reclaim_name - the policy's name, a word of io.umemd.Reclaim; borrowed. */
const char *reclaim_name(const struct reclaim *reclaim);

/** reclaim_last - Interval of the last interval, borrowed; NULL as long as there is none. */
const struct umem_json *reclaim_last(const struct reclaim *reclaim);

/** reclaim_listen - @call gets the intervals to come, and the last one if there is one. */
void reclaim_listen(struct reclaim *reclaim, struct call *call);

#endif
