/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much one user may have: what is counted for a user, and what is said when it would be
 * too much. Root and administrators are users like others here.
 */
#ifndef DAEMON_QUOTA_H
#define DAEMON_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/stats.h"

struct call;
struct manager;
struct user;

/** QUOTA_TEXT - room for what is said. */
#define QUOTA_TEXT 160

/** Descriptors: of a connection; of a target with its worker; of a snapshot being taken. */
#define QUOTA_PEER_FDS   2u
#define QUOTA_TARGET_FDS 13u
#define QUOTA_SHOT_FDS   4u

/**
 * struct quota_held - what umemd has for a user at the moment.
 * @fds: descriptors of the manager's: connections and their pidfds, what came with messages
 *	and was not taken yet or is on its way out, those of targets with their workers and
 *	journals, of snapshots; and those that targets on their way in will have.
 * @memory_bytes: what was received and not served yet, replies that were not read yet with
 *	the tables and bitmaps that go along, and of each target that is tracked a bit for
 *	each page in two sets, which is the most that its worker holds of rounds.
 */
struct quota_held {
	uint64_t fds;
	uint64_t memory_bytes;
};

/** quota_count - count. It looks at everything that the user has. */
struct quota_held quota_count(const struct manager *manager, const struct user *user);

/**
 * struct quota_ask - may there be more?
 * @quota: of what. @now: there is. @more: is asked for. @limit: there may be.
 */
struct quota_ask {
	enum stats_quota quota;
	uint64_t now;
	uint64_t more;
	uint64_t limit;
};

/**
 * quota_refuses - ask; a refusal is counted, and told in the log once until there is room again.
 * @pid: who asks.
 * @ret_text: what to say, of a refusal.
 */
bool quota_refuses(struct manager *manager, struct user *user, int pid,
	const struct quota_ask *ask, char ret_text[QUOTA_TEXT]);

/** quota_refuses_call - the same; a refusal is the answer to @call, which is gone then. */
bool quota_refuses_call(struct call *call, const struct quota_ask *ask);

/** quota_refuses_fds - may @more descriptors be had for the user who calls? As above. */
bool quota_refuses_fds(struct call *call, uint64_t more);

/** quota_refuses_memory - the same of bytes. */
bool quota_refuses_memory(struct call *call, uint64_t more);

/**
 * quota_refuses_result - may there be a table or another long result? As above, but by what
 * was counted at most QUOTA_OLD_NS ago: it is asked for every round of every target.
 */
bool quota_refuses_result(struct call *call);

/** QUOTA_OLD_NS - what is older is counted again. */
#define QUOTA_OLD_NS 100000000ull

/** quota_tracked_bytes - memory that counts for so many bytes that are tracked. */
uint64_t quota_tracked_bytes(uint64_t bytes);

/** quota_fd_bytes - memory in descriptors of memory, others count nothing. */
uint64_t quota_fd_bytes(const int *fds, size_t n_fds);

/**
 * quota_pay - @bytes are to be sent to a user.
 * Return: how long they have to wait, in nanoseconds.
 */
uint64_t quota_pay(struct manager *manager, struct user *user, int pid, uint64_t bytes);

#endif
