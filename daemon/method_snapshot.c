// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * io.umemd.Snapshot: snapshots of targets.
 *
 * Theory of operation
 *
 * A snapshot has nothing to do with the worker of its target: a process of its own takes
 * it (shot.h), with the rights of whoever calls. What the two must not have at once is
 * the write protection: a mapping has one userfaultfd at a time.
 *
 *     tracked, then a snapshot      freeze and fork only, which protect nothing
 *     a snapshot, then Start        refused (snapshot_is_taken())
 *     a snapshot, then a snapshot   refused: Busy
 *     a snapshot, then Detach       the snapshot is cancelled first (snapshot_end_first())
 *     ... its caller is gone        cancelled; who wants the process then waits for that
 *
 * Progress is passed on when the one before was read, and is forgotten otherwise.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/methods.h"
#include "daemon/peer.h"
#include "daemon/quota.h"
#include "daemon/session.h"
#include "daemon/shot.h"
#include "daemon/take.h"
#include "lib/base/note.h"

/* Behind the process and the file there is room for so many parents. */
#define MAX_PARENTS (UMEM_FRAME_FDS - 3)

/* A call that goes on when a snapshot is over. */
struct waiter {
	struct call *call;
	void (*then)(struct call *call);
	SLIST_ENTRY(waiter) entry;
};

/*
 * A snapshot that is being taken. @unread: progress was told, and not read yet. @leaving: it
 * was cancelled.
 */
struct take {
	struct manager *manager;
	struct call *call;
	struct shot *shot;
	struct auth_who who;
	pid_t pid;
	bool unread;
	bool leaving;
	SLIST_HEAD(, waiter) waiters;
	LIST_ENTRY(take) entry;
};

static struct take *find_take(const struct manager *manager, pid_t pid)
{
	struct take *take;

	LIST_FOREACH(take, &manager->takes, entry)
		if (take->pid == pid)
			return take;
	return NULL;
}

bool snapshot_is_taken(const struct manager *manager, pid_t pid)
{
	return find_take(manager, pid) != NULL;
}

uint64_t snapshots_of(const struct manager *manager, uid_t uid)
{
	const struct take *take;
	uint64_t n = 0;

	LIST_FOREACH(take, &manager->takes, entry)
		n += take->who.uid == uid;
	return n;
}

bool snapshot_is_leaving(const struct manager *manager, pid_t pid)
{
	const struct take *take = find_take(manager, pid);

	return take && take->leaving;
}

bool snapshot_end_first(struct call *call, pid_t pid, void (*then)(struct call *call))
{
	struct take *take = find_take(call->manager, pid);
	struct waiter *waiter = take ? calloc(1, sizeof(*waiter)) : NULL;

	if (!take)
		return false;
	take->leaving = true;
	shot_cancel(take->shot);
	if (!waiter) {
		call_fail(call, -ENOMEM, NULL);
		return true;
	}
	*waiter = (struct waiter){ .call = call, .then = then };
	SLIST_INSERT_HEAD(&take->waiters, waiter, entry);
	return true;
}

/* It is over, and was answered: whoever waited for that goes on, with @then or theirs. */
static void end(struct take *take, void (*then)(struct call *call))
{
	struct waiter *waiter;

	LIST_REMOVE(take, entry);
	shot_free(take->shot);
	while ((waiter = SLIST_FIRST(&take->waiters))) {
		SLIST_REMOVE_HEAD(&take->waiters, entry);
		(then ? then : waiter->then)(waiter->call);
		free(waiter);
	}
	free(take);
}

static void give_up(struct call *call)
{
	call->user = NULL;
	call->cancelled = NULL;
	call->drained = NULL;
	call_fail(call, -ECANCELED, NULL);
}

void snapshots_end(struct manager *manager)
{
	struct take *take;

	while ((take = LIST_FIRST(&manager->takes))) {
		give_up(take->call);
		end(take, give_up);
	}
}

static void on_progress(void *user, const struct umem_json *reply)
{
	struct take *take = user;

	if (take->unread)
		return;
	take->unread = true;
	call_continue(take->call, umem_json_share(reply), NULL);
}

static void on_drained(struct call *call)
{
	struct take *take = call->user;

	take->unread = false;
}

static void on_done(void *user, const struct shot_result *result)
{
	struct take *take = user;
	struct manager *manager = take->manager;
	struct call *call = take->call;
	struct umem_json *parameters;

	if (result->result == -EPERM || result->result == -EACCES)
		log_notice("denied to process %d of user %u: %s", (int)take->who.pid,
			(unsigned)take->who.uid, result->note->text);
	call->user = NULL;
	call->cancelled = NULL;
	call->drained = NULL;
	if (result->result == 0) {
		call_reply(call, umem_json_share(result->reply));
	} else if (result->result == -ECANCELED) {
		parameters = umem_json_object();
		umem_json_set_text(parameters, "text", result->note->text);
		call_error(call, "Cancelled", parameters);
	} else {
		call_fail(call, result->result, result->note);
	}
	end(take, NULL);
	/* Who wants the process may have waited for that. */
	targets_session_left(manager);
}

static const struct shot_ops ops = { .progress = on_progress, .done = on_done };

/* Its caller is gone: the call stays until the snapshot is over. */
static void on_cancelled(struct call *call)
{
	struct take *take = call->user;

	take->leaving = true;
	shot_cancel(take->shot);
}

/* Is process @pid tracked, or about to be, by whichever session? */
static bool is_tracked(const struct manager *manager, pid_t pid)
{
	const struct session_job *job;
	const struct session *s;

	LIST_FOREACH(s, &manager->sessions, entry) {
		if (s->acquired.pid != pid)
			continue;
		if (s->watch)
			return true;
		STAILQ_FOREACH(job, &s->jobs, entry)
			if (strcmp(job->method, "Watch") == 0)
				return true;
	}
	return false;
}

/* May there be a snapshot now? Then nothing was answered. */
static bool check(struct call *call, bool tracked)
{
	const struct session *s = call->session;
	const char *method = umem_json_get_text(call->message.parameters, "method", "auto");
	struct umem_note note = { 0 };
	struct umem_json *parameters;
	int r = 0;

	if (snapshot_is_taken(call->manager, s->acquired.pid)) {
		parameters = umem_json_object();
		umem_json_set_text(parameters, "target", s->id);
		call_error(call, "Busy", parameters);
		return false;
	}
	if (s->why.err) {
		note = s->why;
		r = s->state == SESSION_ENDED ? UMEM_GONE : s->why.err;
	} else if (s->state == SESSION_DETACHING) {
		r = umem_note_set(&note, -ECANCELED, 0, "target %s is being let go", s->id);
	} else if (tracked && (strcmp(method, "precopy") == 0 || strcmp(method, "cow") == 0)) {
		r = umem_note_set(&note, -EBUSY, 0, "process %d is tracked (io.umemd.Dirty), "
			"which has its write protection, and %s needs that: Stop it, or take "
			"freeze or fork", (int)s->acquired.pid, method);
	}
	if (r != 0)
		call_fail(call, r, &note);
	return r == 0;
}

/* A descriptor that the call names, behind those that are there. Return: is there one? */
static bool add_fd(const struct call *call, const struct umem_json *index, int *fds, size_t *n)
{
	int64_t i = umem_json_as_int(index, -1);

	if (i < 0 || (uint64_t)i >= call->frame.n_fds)
		return false;
	fds[(*n)++] = call->frame.fds[i];
	return true;
}

static int copy_parameter(void *user, const char *key, const struct umem_json *value)
{
	static const char *const kept[] = { "name", "method", "parent_name", "codec", "regions",
		"tree" };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(kept); i++)
		if (strcmp(key, kept[i]) == 0)
			umem_json_set_consume(user, key, umem_json_share(value));
	return 0;
}

/*
 * Parameters of io.umemd.Snapshotter.Take, and what is sent along.
 * Return: NULL, or the parameter that is wrong.
 */
static const char *make_call(const struct call *call, struct umem_json *p, int *fds, size_t *n)
{
	const struct umem_json *given = call->message.parameters;
	const struct umem_json *parents = umem_json_get(given, "parents");
	const struct session *s = call->session;
	struct umem_json *list = umem_json_array();
	const char *wrong = NULL;

	fds[(*n)++] = s->acquired.fds[ACQUIRED_PIDFD];
	fds[(*n)++] = s->acquired.fds[ACQUIRED_MAPS];
	umem_json_set_int(p, "pid", s->acquired.pid);
	umem_json_set_int(p, "pidfd", 0);
	umem_json_set_int(p, "maps", 1);
	umem_json_set_bool(p, "tracked", is_tracked(call->manager, s->acquired.pid));
	umem_json_set_u64(p, "output", *n);
	if (!add_fd(call, umem_json_get(given, "output"), fds, n))
		wrong = "output";
	else if (umem_json_count(parents) > MAX_PARENTS)
		wrong = "parents";
	for (size_t i = 0; i < umem_json_count(parents) && !wrong; i++) {
		umem_json_append_consume(list, umem_json_int((int64_t)*n));
		if (!add_fd(call, umem_json_item(parents, i), fds, n))
			wrong = "parents";
	}
	umem_json_set_consume(p, "parents", list);
	umem_json_each(given, copy_parameter, p);
	return wrong;
}

static int start(struct call *call, struct umem_json *parameters, const int *fds, size_t n)
{
	struct take *take = calloc(1, sizeof(*take));
	int r;

	if (!take) {
		umem_json_free(parameters);
		return -ENOMEM;
	}
	take->manager = call->manager;
	take->call = call;
	take->who = call->peer->who;
	take->pid = call->session->acquired.pid;
	SLIST_INIT(&take->waiters);
	r = shot_new(&call->manager->links, &take->who, parameters, fds, n, &ops, take,
		&take->shot);
	if (r < 0) {
		free(take);
		return r;
	}
	LIST_INSERT_HEAD(&call->manager->takes, take, entry);
	call->user = take;
	call->cancelled = on_cancelled;
	call->drained = on_drained;
	return 0;
}

void snapshot_take(struct call *call)
{
	bool tracked = is_tracked(call->manager, call->session->acquired.pid);
	struct umem_note note = { 0 };
	struct umem_json *parameters;
	int fds[UMEM_FRAME_FDS];
	const char *wrong;
	size_t n = 0;
	int r;

	if (!check(call, tracked) || quota_refuses_fds(call, QUOTA_SHOT_FDS))
		return;
	parameters = umem_json_object();
	wrong = make_call(call, parameters, fds, &n);
	if (wrong) {
		umem_json_free(parameters);
		call_service_error(call, "InvalidParameter", "parameter", wrong);
		return;
	}
	r = start(call, parameters, fds, n);
	if (r == 0)
		return;
	umem_note_set(&note, r, 0, "a process to take a snapshot of process %d cannot be had: %s",
		(int)call->session->acquired.pid, strerror(-r));
	call_fail(call, r, &note);
}

static void answer(struct call *call)
{
	call_reply(call, NULL);
}

void snapshot_cancel(struct call *call)
{
	if (!snapshot_end_first(call, call->session->acquired.pid, answer))
		answer(call);
}
