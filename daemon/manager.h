/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All that umemd has: connections, targets, users, and what they share. It owns
 * the lists; peers and sessions enter and leave them.
 */
#ifndef DAEMON_MANAGER_H
#define DAEMON_MANAGER_H

#include <stdbool.h>
#include <sys/queue.h>

#include "daemon/config.h"
#include "daemon/link.h"
#include "daemon/loop.h"
#include "daemon/pool.h"
#include "daemon/stats.h"
#include "lib/base/bucket.h"
#include "lib/proto/interfaces.h"

struct metrics;
struct peer;
struct request;
struct session;
struct listener;
struct rules;
struct take;

/**
 * struct user - what one user has; forgotten when that is nothing.
 * @uid: who.
 * @n_peers, @n_sessions, @n_requests: connections, targets, attachments on their way.
 * @counted_bytes, @counted_ns: memory that it had, and when: see quota.h.
 * @sent: bytes that it was sent of late. @told: quotas that it reached, and the log knows.
 */
struct user {
	uid_t uid;
	uint64_t n_peers;
	uint64_t n_sessions;
	uint64_t n_requests;
	uint64_t counted_bytes;
	uint64_t counted_ns;
	struct umem_bucket sent;
	unsigned told;
	LIST_ENTRY(user) entry;
};

/**
 * struct manager - one for a program.
 * @config: what was told.
 * @interfaces: what is spoken.
 * @links: what workers need.
 * @rules: take processes in as they appear.
 * @users, @peers, @sessions: lists.
 * @waiting: requests for processes that are just being let go.
 * @takes: snapshots that are being taken.
 * @n_peers, @n_sessions: how many.
 * @next_id: number of the next target.
 * @config_path: where @config came from, to be read anew; "" for nowhere.
 * @alive: when the service manager is to hear of us.
 * @stats: what is counted of all that. @metrics: who tells it; NULL where nobody is to hear.
 * @ending: no new ones; the loop stops when the last session is gone.
 * @deadline: when it stops anyway.
 */
struct manager {
	struct config config;
	char config_path[CONFIG_PATH];
	struct loop *loop;
	struct pool *pool;
	struct umem_interfaces interfaces;
	struct link_env links;
	struct listener *listener;
	struct rules *rules;
	LIST_HEAD(, user) users;
	LIST_HEAD(, peer) peers;
	LIST_HEAD(, session) sessions;
	LIST_HEAD(, request) waiting;
	LIST_HEAD(, take) takes;
	uint64_t n_peers;
	uint64_t n_sessions;
	uint64_t next_id;
	struct stats stats;
	struct metrics *metrics;
	bool ending;
	struct loop_timer *deadline;
	struct loop_timer *alive;
};

/**
 * manager_start - with @config, which is copied.
 * @path: of its file, read anew on SIGHUP; NULL for none.
 * Return: 0, or -errno with @note.
 */
int manager_start(struct manager *manager, const struct config *config, const char *path,
	struct umem_note *note);

/** manager_run - until it is told to end, and everything was let go. Return: 0 or -errno. */
int manager_run(struct manager *manager);

/** manager_stop - close and free everything. */
void manager_stop(struct manager *manager);

/** manager_user - the record of a user, made if need be. Return: NULL without memory. */
struct user *manager_user(struct manager *manager, uid_t uid);

/** manager_user_left - a user has less: forget those who have nothing more. */
void manager_user_left(struct manager *manager);

/** manager_session_left - a session is gone. */
void manager_session_left(struct manager *manager);

#endif
