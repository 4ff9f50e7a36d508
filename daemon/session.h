/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One target: what was acquired of it, its worker, and what is to be done with it. A
 * worker that dies is replaced, and what it was doing is done again.
 */
#ifndef DAEMON_SESSION_H
#define DAEMON_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/acquire.h"
#include "daemon/auth.h"
#include "daemon/link.h"
#include "daemon/manager.h"
#include "daemon/session_state.h"
#include "daemon/stats.h"
#include "daemon/usage.h"

struct peer;
struct reclaim;

/** SESSION_ID - room for the name of a target. */
#define SESSION_ID 24

/** SESSION_DEATHS - so many workers may die within SESSION_DEATHS_NS, then it is given up. */
#define SESSION_DEATHS    5
#define SESSION_DEATHS_NS 60000000000ull

/**
 * struct session_result - what a job came to.
 * @result: 0; UMEM_GONE; -errno; -E2BIG with "ranges" among @answer's parameters.
 * @note: of a failure.
 * @answer: the worker's, or NULL.
 */
struct session_result {
	int result;
	const struct umem_note *note;
	const struct link_answer *answer;
};

/** session_done - told once what a job came to. */
typedef void session_done(void *user, const struct session_result *result);

/** session_progress - told how far a long job is: Progress of io.umemd.Worker. */
typedef void session_progress(void *user, const struct umem_json *progress);

/**
 * struct session_job - something that its worker is to do.
 * @progress: of a long one, else NULL.
 * @done_bytes: how far that was when it was told last.
 * @cancelled: nobody wants its end: no other worker begins it again.
 */
struct session_job {
	const char *method;
	struct umem_json *parameters;
	session_done *done;
	session_progress *progress;
	void *user;
	uint64_t done_bytes;
	bool cancelled;
	STAILQ_ENTRY(session_job) entry;
};

/**
 * enum session_how - how a target came in.
 * @SESSION_ATTACHED: a userfaultfd was fetched from it.
 * @SESSION_HANDED_OFF: with its own.
 * @SESSION_OPENED_ONLY: without any: it cannot be tracked.
 */
enum session_how {
	SESSION_ATTACHED,
	SESSION_HANDED_OFF,
	SESSION_OPENED_ONLY,
};

/**
 * struct session - one target.
 * @manager, @user: whose.
 * @owner: the connection that it ends with; NULL for a kept one.
 * @id: its name.
 * @who: who has it.
 * @how: it came in.
 * @rule: of the configuration, by which it did; "" for none.
 * @kept: it outlives the connection that brought it in.
 * @state: see session_state.h.
 * @acquired: what is held of it.
 * @journal_fd: what a worker leaves to the next.
 * @state_fd: what it is, for the next umemd; -1 where nobody keeps that.
 * @orphan: its connection was lost with the umemd before this one: its owner may come back.
 * @old_worker, @old_worker_fd: a worker of the umemd before, which is not over yet.
 * @link: its worker, or NULL.
 * @opened: the worker has the target.
 * @watch: parameters of Watch while it is tracked; NULL otherwise.
 * @reclaim: a policy of reclaim, or NULL. @claim_fd: keeps others from it, or -1.
 * @jobs: the first may be on its way.
 * @end: says that the process ended.
 * @retry: when another worker is to be tried, or an ended one is forgotten.
 * @lonely: when an orphan has waited long enough.
 * @restarts: workers that died.
 * @deaths: when the last ones did.
 * @started_ns: when it came in.
 * @why: of FAILED and ENDED.
 * @n_closing: what was held is being closed, so often.
 * @stats: what is counted of it. @usage: of its process's memory, as last seen.
 * @came: somebody knows that it is there.
 * @on_open, @on_open_user: whom to tell of the first worker; NULL once told.
 */
struct session {
	struct manager *manager;
	struct user *user;
	struct peer *owner;
	char id[SESSION_ID];
	struct auth_who who;
	enum session_how how;
	char rule[CONFIG_RULE];
	bool kept;
	enum session_state state;
	struct acquired acquired;
	int journal_fd;
	int state_fd;
	bool orphan;
	struct loop_watch *old_worker;
	int old_worker_fd;
	struct link *link;
	bool opened;
	struct umem_json *watch;
	struct reclaim *reclaim;
	int claim_fd;
	STAILQ_HEAD(session_jobs, session_job) jobs;
	struct loop_watch *end;
	struct loop_timer *retry;
	struct loop_timer *lonely;
	uint64_t restarts;
	uint64_t deaths[SESSION_DEATHS];
	uint64_t started_ns;
	struct umem_note why;
	unsigned n_closing;
	struct stats_target stats;
	struct usage usage;
	bool came;
	session_done *on_open;
	void *on_open_user;
	LIST_ENTRY(session) entry;
};

/**
 * struct session_options - how a target came in.
 * @who: who has it from now on.
 * @owner: NULL to keep it.
 * @how: it came in.
 * @rule: by which; NULL for none.
 */
struct session_options {
	struct auth_who who;
	struct peer *owner;
	enum session_how how;
	const char *rule;
};

/**
 * session_new - a session of what was acquired.
 * @acquired: consumed, also on failure.
 * @on_open: told when a worker has it, or when that failed: then the session is gone, or
 *	about to go.
 *
 * Return: 0 or -errno.
 */
int session_new(struct manager *manager, const struct session_options *options,
	struct acquired *acquired, session_done *on_open, void *user,
	struct session **ret_session);

/**
 * struct session_kept - a session as it was kept over a restart (keep.h).
 * @acquired, @journal_fd, @state_fd, @worker_fd: owned; the last may be -1.
 * @id, @rule, @watch, @policy: borrowed; no @watch when it was not tracked, no @policy without
 *	reclaim.
 * Others as in struct session.
 */
struct session_kept {
	struct acquired acquired;
	int journal_fd;
	int state_fd;
	int worker_fd;
	const char *id;
	const char *rule;
	struct auth_who who;
	enum session_how how;
	bool kept;
	uint64_t restarts;
	uint64_t started_ns;
	const struct umem_json *watch;
	const struct umem_json *policy;
};

/** session_restore - go on with one; @kept is consumed, also on failure. Return: 0 or -errno. */
int session_restore(struct manager *manager, struct session_kept *kept);

/** session_touched - @peer called for it: an orphan has an owner again. */
void session_touched(struct session *session, struct peer *peer);

/** session_find - by name; NULL for none. */
struct session *session_find(struct manager *manager, const char *id);

/**
 * session_is_leaving - is process @pid being let go by one, or about to be: has the owner
 * hung up?
 */
bool session_is_leaving(const struct manager *manager, pid_t pid);

/** session_wants_worker - is a worker of use in its state? */
bool session_wants_worker(const struct session *session);

/** session_is_visible - may @who know of it? */
bool session_is_visible(const struct session *session, const struct auth_who *who);

/**
 * session_do - have its worker do something, behind what it has to do already.
 * @method: of io.umemd.Worker; static. @parameters: consumed.
 * @done: told once; maybe at once, when nothing can be done any more.
 */
void session_do(struct session *session, const char *method, struct umem_json *parameters,
	session_done *done, void *user);

/**
 * session_do_long - the same of something that may take long, and tells how far it is.
 * @progress: told now and then, until @done is.
 */
void session_do_long(struct session *session, const char *method, struct umem_json *parameters,
	session_progress *progress, session_done *done, void *user);

/**
 * session_cancel - have long jobs of @user (NULL: of anybody) end: what is on its way ends
 * soon, with what it came to; what waits ends at once, with -ECANCELED.
 */
void session_cancel(struct session *session, const void *user);

/** session_forget_jobs - who waits for jobs of @user is not told any more. */
void session_forget_jobs(struct session *session, const void *user);

/**
 * session_detach - let the target go: what waits fails, what is on its way ends first.
 * @done: told when nothing is left; the session is forgotten behind it. May be NULL.
 */
void session_detach(struct session *session, session_done *done, void *user);

/** sessions_owner_left - let go of what a connection brought in and did not keep. */
void sessions_owner_left(struct manager *manager, const struct peer *owner);

/** sessions_detach_all - let go of everything that is not kept for the next umemd. */
void sessions_detach_all(struct manager *manager);

/** sessions_unkept - how many there are that would not outlive umemd. */
uint64_t sessions_unkept(const struct manager *manager);

/** session_how_name - by a word of io.umemd.Targets. */
const char *session_how_name(enum session_how how);

/** session_look - bring @usage up to date, as far as it is old. */
void session_look(struct session *session);

/** session_describe - as Target of io.umemd.Targets. */
struct umem_json *session_describe(struct session *session);

#endif
