// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * io.umemd.Dirty: rounds of dirty tracking.
 *
 * Monitor makes a round when it is due and the one before was read, whichever is
 * later: a slow reader gets fewer rounds, each with all that changed since.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager.h"
#include "daemon/methods.h"
#include "daemon/pass_on.h"
#include "daemon/peer.h"
#include "daemon/quota.h"
#include "daemon/session.h"
#include "daemon/take.h"
#include "lib/base/clock.h"
#include "lib/base/note.h"

#define INTERVAL_MIN_NS 1000000

/* An error that names the target. */
static void target_error(struct call *call, const char *name)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_text(parameters, "target",
		umem_json_get_text(call->message.parameters, "target", ""));
	call_error(call, name, parameters);
}

static void fail(struct call *call, const struct session_result *result)
{
	struct umem_json *parameters;

	if (result->result == -E2BIG && result->answer) {
		parameters = umem_json_object();
		umem_json_set_int(parameters, "ranges",
			umem_json_get_int(result->answer->parameters, "ranges", 0));
		call_error(call, "TooManyRanges", parameters);
	} else if (result->result == -EALREADY) {
		target_error(call, "AlreadyStarted");
	} else if (result->result == -ENOENT && strcmp(call->method->name, "Start") != 0) {
		target_error(call, "NotStarted");
	} else {
		call_fail(call, result->result, result->note);
	}
}

static void on_done(void *user, const struct session_result *result)
{
	struct call *call = user;
	static const struct umem_note unsealed = { .text = "a worker does not behave" };

	if (result->result != 0)
		fail(call, result);
	else if (!pass_on(call, result->answer, true))
		call_fail(call, -EPROTO, &unsealed);
}

/* Memory that rounds of a target take which is to be tracked, as far as that can be told. */
static uint64_t memory_of_start(struct call *call)
{
	const struct umem_json *regions = umem_json_get(call->message.parameters, "regions");
	const struct usage *usage = &call->session->usage;
	const uint64_t most = 1ull << 57; /* bytes of any address space */
	uint64_t bytes = 0;

	session_look(call->session);
	if (umem_json_count(regions) == 0 && usage->known)
		bytes = usage->resident_bytes + usage->swapped_bytes;
	for (size_t i = 0; i < umem_json_count(regions); i++) {
		const struct umem_json *item = umem_json_item(regions, i);
		int64_t start = umem_json_get_int(item, "start", 0);
		int64_t end = umem_json_get_int(item, "end", 0);

		/* What is no range is refused by the worker. */
		if (start >= 0 && end > start)
			bytes = umem_min_u64(bytes + (uint64_t)(end - start), most);
	}
	return quota_tracked_bytes(bytes);
}

void dirty_start(struct call *call)
{
	static const struct umem_note opened = {
		.text = "the process was opened only to be looked at; attach to it to track it",
	};
	const pid_t pid = call->session->acquired.pid;
	struct umem_note note = { 0 };
	int r;

	if (call->session->how == SESSION_OPENED_ONLY) {
		call_fail(call, -EOPNOTSUPP, &opened);
	} else if (call->session->watch) {
		target_error(call, "AlreadyStarted");
	} else if (snapshot_is_taken(call->manager, pid)) {
		r = umem_note_set(&note, -EBUSY, 0, "a snapshot of process %d is being taken, "
			"which has its write protection: wait for its end", (int)pid);
		call_fail(call, r, &note);
	} else if (!quota_refuses_memory(call, memory_of_start(call))) {
		session_do(call->session, "Watch", pass_on_parameters(call), on_done, call);
	}
}

void dirty_collect(struct call *call)
{
	const char *form = umem_json_get_text(call->message.parameters, "form", "numbers");

	/* Numbers take none, and are asked for often. */
	if (strcmp(form, "numbers") != 0 && quota_refuses_result(call))
		return;
	session_do(call->session, "Collect", pass_on_parameters(call), on_done, call);
}

void dirty_stop(struct call *call)
{
	session_do(call->session, "Unwatch", NULL, on_done, call);
}

/* A call of Monitor. */
struct monitor {
	struct call *call;
	char target[SESSION_ID];
	uint64_t interval_ns;
	uint64_t left; /* rounds; 0 means no end */
	uint64_t due_ns;
	bool unread; /* the last round has not been read yet */
	struct loop_timer *timer;
};

static void free_monitor(struct monitor *m)
{
	m->call->user = NULL;
	m->call->cancelled = NULL;
	m->call->drained = NULL;
	loop_timer_free(m->timer);
	free(m);
}

static void on_round(void *user, const struct session_result *result);

static void on_due(void *user)
{
	struct monitor *m = user;
	struct session *s = session_find(m->call->manager, m->target);
	const char *form = umem_json_get_text(m->call->message.parameters, "form", "numbers");
	struct call *call = m->call;
	struct umem_json *parameters;

	if (!s) {
		free_monitor(m);
		target_error(call, "NoSuchTarget");
		return;
	}
	parameters = umem_json_object();
	umem_json_set_text(parameters, "form", form);
	session_do(s, "Collect", parameters, on_round, m);
}

static void schedule(struct monitor *m)
{
	uint64_t now_ns = umem_now_ns();

	/* A round that took longer than the interval delays the next, no more. */
	m->due_ns = umem_max_u64(m->due_ns + m->interval_ns, now_ns);
	loop_timer_set(m->timer, m->due_ns - now_ns);
}

static void on_round(void *user, const struct session_result *result)
{
	struct monitor *m = user;
	struct call *call = m->call;
	bool last = m->left == 1;

	if (result->result != 0) {
		free_monitor(m);
		fail(call, result);
		return;
	}
	if (last)
		free_monitor(m);
	else
		m->unread = true;
	if (!pass_on(call, result->answer, last)) {
		if (!last)
			free_monitor(m);
		call_fail(call, -EPROTO, NULL);
		return;
	}
	if (!last && m->left)
		m->left--;
}

static void on_drained(struct call *call)
{
	struct monitor *m = call->user;

	if (!m->unread)
		return;
	m->unread = false;
	schedule(m);
}

static void on_cancelled(struct call *call)
{
	struct monitor *m = call->user;
	struct session *s = session_find(call->manager, m->target);

	if (s)
		session_forget_jobs(s, m);
	free_monitor(m);
	call_reply(call, NULL);
}

void dirty_monitor(struct call *call)
{
	const struct umem_json *parameters = call->message.parameters;
	int64_t interval_ns = umem_json_get_int(parameters, "interval_ns", 0);
	int64_t rounds = umem_json_get_int(parameters, "rounds", 0);
	struct monitor *m;

	if (interval_ns < INTERVAL_MIN_NS || rounds < 0) {
		call_service_error(call, "InvalidParameter", "parameter",
			rounds < 0 ? "rounds" : "interval_ns");
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m || loop_timer_new(call->manager->loop, on_due, m, &m->timer) < 0) {
		free(m);
		call_fail(call, -ENOMEM, NULL);
		return;
	}
	m->call = call;
	m->interval_ns = (uint64_t)interval_ns;
	m->left = (uint64_t)rounds;
	m->due_ns = umem_now_ns();
	snprintf(m->target, sizeof(m->target), "%s", call->session->id);
	call->user = m;
	call->cancelled = on_cancelled;
	call->drained = on_drained;
	schedule(m);
}
