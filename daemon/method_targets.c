// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * io.umemd.Targets: bringing processes in and letting them go.
 *
 * A request to bring one in passes through three places: the quotas here, a thread in
 * which it is authorised and acquired (struct request), and the first worker of
 * the session. The answer is given when the worker has it.
 *
 * A process that is just being let go is waited for: a mapping has one userfaultfd at
 * a time, and a client that comes back for its target must not find its own past
 * in the way. That its connection ended may not have been noticed yet, as ends and calls
 * of different connections are noticed in no order.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/methods.h"
#include "daemon/peer.h"
#include "daemon/quota.h"
#include "daemon/session.h"
#include "daemon/take.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

/* The most ranges that a program hands off. */
#define MAX_RANGES 4096u

/* A target on its way in. */
struct request {
	struct manager *manager;
	struct call *call;
	struct user *user;
	struct auth_who who;
	pid_t pid;
	enum session_how how;
	bool own;
	bool keep;
	int uffd;
	struct umem_range *ranges;
	size_t n_ranges;
	struct acquired acquired;
	int result;
	struct umem_note note;
	LIST_ENTRY(request) entry;
};

static void free_request(struct request *q)
{
	q->user->n_requests--;
	manager_user_left(q->manager);
	umem_fd_close(q->uffd);
	acquired_deinit(&q->acquired);
	free(q->ranges);
	free(q);
}

/* Too many? Then the call is answered. */
static bool over_quota(struct call *call)
{
	const struct manager *m = call->manager;
	const struct user *user = call->peer->user;
	const struct quota_held held = quota_count(m, user);
	const struct quota_ask asks[] = {
		{ STATS_TARGETS, m->n_sessions, 1, m->config.targets },
		{ STATS_USER_TARGETS, user->n_sessions + user->n_requests, 1,
			m->config.user_targets },
		{ STATS_USER_REQUESTS, user->n_requests, 1, m->config.user_requests },
		{ STATS_USER_DESCRIPTORS, held.fds, QUOTA_TARGET_FDS, m->config.user_descriptors },
		{ STATS_USER_MEMORY, held.memory_bytes, 1, m->config.user_memory_bytes },
	};

	for (size_t i = 0; i < UMEM_ARRAY_LEN(asks); i++)
		if (quota_refuses_call(call, &asks[i]))
			return true;
	return false;
}

/* A worker has the target, or not. */
static void on_open(void *user, const struct session_result *result)
{
	struct call *call = user;
	struct session *s = call->session;
	struct umem_json *parameters;

	if (result->result != 0) {
		call_fail(call, result->result, result->note);
		return;
	}
	if (!call->peer && !s->owner) {
		/* It was to be kept, and nobody knows its name. */
		session_detach(s, NULL, NULL);
	}
	parameters = umem_json_object();
	umem_json_set_text(parameters, "target", s->id);
	if (s->how == SESSION_ATTACHED)
		umem_json_set_u64(parameters, "stop_ns", s->acquired.stop_ns);
	call_reply(call, parameters);
}

static void log_denial(const struct request *q)
{
	const struct log_about about = { .pid = q->pid, .uid = q->who.uid };

	if (q->result == -EPERM || q->result == -EACCES)
		log_say_event(LOG_LEVEL_NOTICE, LOG_DENIED, &about,
			"denied to process %d of user %u: %s", (int)q->who.pid,
			(unsigned)q->who.uid, q->note.text);
}

/* Acquired, or not: back in the loop's thread. */
static void on_acquired(void *user)
{
	struct request *q = user;
	struct call *call = q->call;
	struct session_options options = {
		.who = q->who,
		.owner = q->keep ? NULL : call->peer,
		.how = q->how,
	};
	int r = q->result;

	log_denial(q);
	if (r == 0 && !call->peer)
		r = -ECANCELED; /* nobody waits for it any more */
	if (r == 0)
		r = session_new(call->manager, &options, &q->acquired, on_open, call,
			&call->session);
	if (r != 0)
		call_fail(call, r, &q->note);
	free_request(q);
}

static void acquire(void *user)
{
	struct request *q = user;

	switch (q->how) {
	case SESSION_ATTACHED:
		q->result = acquire_attach(&q->who, q->pid, &q->acquired, &q->note);
		break;
	case SESSION_HANDED_OFF:
		q->result = acquire_adopt(&q->who, q->pid, q->own, q->uffd, q->ranges,
			q->n_ranges, &q->acquired, &q->note);
		break;
	case SESSION_OPENED_ONLY:
		q->result = acquire_open(&q->who, q->pid, &q->acquired, &q->note);
		break;
	}
}

/* A request of @call, or NULL when it was answered. */
static struct request *new_request(struct call *call, int64_t pid)
{
	struct request *q;

	if (pid <= 0 || pid > INT32_MAX) {
		call_service_error(call, "InvalidParameter", "parameter", "pid");
		return NULL;
	}
	if (over_quota(call))
		return NULL;
	q = calloc(1, sizeof(*q));
	if (!q) {
		call_fail(call, -ENOMEM, NULL);
		return NULL;
	}
	q->manager = call->manager;
	q->call = call;
	q->user = call->peer->user;
	q->user->n_requests++;
	q->who = call->peer->who;
	q->pid = (pid_t)pid;
	q->keep = umem_json_get_bool(call->message.parameters, "keep", false);
	q->uffd = -1;
	acquired_init(&q->acquired);
	return q;
}

static void start(struct request *q)
{
	struct call *call = q->call;
	int r;

	if (!call->peer) {
		/* Nobody waits for it any more. */
		free_request(q);
		call_fail(call, -ECANCELED, NULL);
		return;
	}
	if (session_is_leaving(call->manager, q->pid) ||
		snapshot_is_leaving(call->manager, q->pid)) {
		LIST_INSERT_HEAD(&call->manager->waiting, q, entry);
		return;
	}
	r = pool_run(call->manager->pool, acquire, on_acquired, q);
	if (r < 0) {
		free_request(q);
		call_fail(call, r, NULL);
	}
}

void targets_session_left(struct manager *manager)
{
	struct request *q = LIST_FIRST(&manager->waiting), *next;

	/* Those that have to wait on go into the list again. */
	LIST_INIT(&manager->waiting);
	for (; q; q = next) {
		next = LIST_NEXT(q, entry);
		start(q);
	}
}

void targets_attach(struct call *call)
{
	struct request *q = new_request(call,
		umem_json_get_int(call->message.parameters, "pid", 0));

	if (q)
		start(q);
}

void targets_open(struct call *call)
{
	struct request *q = new_request(call,
		umem_json_get_int(call->message.parameters, "pid", 0));

	if (q) {
		q->how = SESSION_OPENED_ONLY;
		start(q);
	}
}

static bool read_ranges(const struct umem_json *list, struct request *q)
{
	size_t n = umem_json_count(list);

	if (n == 0 || n > MAX_RANGES)
		return false;
	q->ranges = calloc(n, sizeof(*q->ranges));
	if (!q->ranges)
		return false;
	for (q->n_ranges = 0; q->n_ranges < n; q->n_ranges++) {
		const struct umem_json *item = umem_json_item(list, q->n_ranges);
		int64_t start = umem_json_get_int(item, "start", -1);
		int64_t end = umem_json_get_int(item, "end", -1);

		if (start < 0 || end < 0)
			return false;
		q->ranges[q->n_ranges] = (struct umem_range){ (uint64_t)start, (uint64_t)end };
	}
	return true;
}

/* Is it the caller's own process, and still that one? */
static bool is_own(const struct peer *peer, pid_t pid)
{
	struct pollfd pfd = { .fd = peer->pidfd, .events = POLLIN };

	return pid == peer->who.pid && (peer->pidfd < 0 || poll(&pfd, 1, 0) == 0);
}

void targets_hand_off(struct call *call)
{
	const struct umem_json *parameters = call->message.parameters;
	int64_t pid = umem_json_get_int(parameters, "pid", call->peer->who.pid);
	struct request *q = new_request(call, pid);
	const char *wrong = NULL;

	if (!q)
		return;
	q->how = SESSION_HANDED_OFF;
	q->own = is_own(call->peer, q->pid);
	q->uffd = umem_frame_take_fd(&call->frame, umem_json_get_int(parameters, "uffd", -1));
	if (q->uffd < 0)
		wrong = "uffd";
	else if (!read_ranges(umem_json_get(parameters, "ranges"), q))
		wrong = "ranges";
	if (wrong) {
		pool_close_fd(call->manager->pool, umem_fd_take(&q->uffd));
		free_request(q);
		call_service_error(call, "InvalidParameter", "parameter", wrong);
		return;
	}
	start(q);
}

void targets_list(struct call *call)
{
	struct umem_json *reply = umem_json_object(), *list = umem_json_array();
	struct session *s;

	LIST_FOREACH(s, &call->manager->sessions, entry)
		if (session_is_visible(s, &call->peer->who))
			umem_json_append_consume(list, session_describe(s));
	umem_json_set_consume(reply, "targets", list);
	call_reply(call, reply);
}

void targets_describe(struct call *call)
{
	struct umem_json *reply = umem_json_object();

	umem_json_set_consume(reply, "description", session_describe(call->session));
	call_reply(call, reply);
}

static void on_detached(void *user, const struct session_result *result)
{
	struct call *call = user;

	if (result->result < 0)
		call_fail(call, result->result, result->note);
	else
		call_reply(call, NULL);
}

/* Behind a snapshot that was in the way. */
static void detach_now(struct call *call)
{
	const char *id = umem_json_get_text(call->message.parameters, "target", "");
	struct session *s = session_find(call->manager, id);

	if (s)
		session_detach(s, on_detached, call);
	else
		call_reply(call, NULL);
}

void targets_detach(struct call *call)
{
	if (!snapshot_end_first(call, call->session->acquired.pid, detach_now))
		session_detach(call->session, on_detached, call);
}
