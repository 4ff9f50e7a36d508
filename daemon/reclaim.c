// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A policy of reclaim that is set for a target.
 *
 * Theory of operation
 *
 *     Reclaim -> Look -> Work, Work, ... (PIECES, spread over the interval) -> Look -> ...
 *                  |
 *                  +-> last interval -> who listens
 *
 * Each is a job of the session, so that other work of the target comes in between, and
 * one at a time. A worker that follows another one knows of no policy and says so
 * (ENOENT): then it is begun again. What cannot begin is tried at the end of each
 * interval.
 *
 * When the session is let go its jobs fail, which stops this; it is freed with what the
 * session holds.
 */
#include "daemon/reclaim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/manager.h"
#include "lib/base/clock.h"

/* What was decided for an interval is put out in so many pieces, of so much at least. */
#define PIECES          25
#define PIECE_BYTES_MIN (1u << 20)

#define INTERVAL_NS     5000000000
#define INTERVAL_MIN_NS 100000000

/* Somebody who hears of each interval; @soon: of the last one, when the call is under way. */
struct hearer {
	struct reclaim *reclaim;
	struct call *call;
	bool unread;
	struct loop_timer *soon;
	LIST_ENTRY(hearer) entry;
};

/**
 * struct reclaim - a policy.
 * @policy, @interval_ns: what was set.
 * @done, @user: whom to tell that it began.
 * @timer, @due: what comes when it is due.
 * @start_ns: of the interval.
 * @piece_bytes, @n_pieces: of what is put out in it; pieces so far.
 * @failing: it was told that it cannot begin.
 * @last: the last interval.
 */
struct reclaim {
	struct session *session;
	struct umem_json *policy;
	uint64_t interval_ns;
	session_done *done;
	void *user;
	struct loop_timer *timer;
	void (*due)(struct reclaim *reclaim);
	uint64_t start_ns;
	uint64_t piece_bytes;
	uint64_t n_pieces;
	bool failing;
	struct umem_json *last;
	LIST_HEAD(, hearer) hearers;
};

static void begin(struct reclaim *r);
static void look(struct reclaim *r);

static void on_timer(void *user)
{
	struct reclaim *r = user;

	r->due(r);
}

static void forget_hearer(struct hearer *l)
{
	struct call *call = l->call;

	LIST_REMOVE(l, entry);
	loop_timer_free(l->soon);
	call->user = NULL;
	call->cancelled = NULL;
	call->drained = NULL;
	free(l);
}

static void reclaim_free(struct reclaim *r)
{
	session_done *done;
	struct hearer *l;

	if (!r)
		return;
	session_forget_jobs(r->session, r);
	done = r->done;
	r->done = NULL;
	if (done)
		done(r->user, &(struct session_result){ .result = -ECANCELED });
	while ((l = LIST_FIRST(&r->hearers))) {
		struct call *call = l->call;

		forget_hearer(l);
		call_reply(call, NULL);
	}
	loop_timer_free(r->timer);
	umem_json_free(r->policy);
	umem_json_free(r->last);
	free(r);
}

void reclaim_end(struct session *session)
{
	struct reclaim *r = session->reclaim;

	/* Whoever is told sees that there is none any more. */
	session->reclaim = NULL;
	reclaim_free(r);
}

/* Have @due called at @at_ns of the interval. */
static void schedule(struct reclaim *r, uint64_t at_ns, void (*due)(struct reclaim *r))
{
	uint64_t now_ns = umem_now_ns(), then_ns = r->start_ns + at_ns;

	r->due = due;
	loop_timer_set(r->timer, then_ns > now_ns ? then_ns - now_ns : 0);
}

/* It is over with the session. */
static bool is_over(const struct reclaim *r, const struct session_result *result)
{
	return !session_wants_worker(r->session) || result->result == -ECANCELED ||
		result->result == UMEM_GONE;
}

/* It does not work now: try again when an interval is over. */
static void try_later(struct reclaim *r, const struct session_result *result)
{
	if (!r->failing)
		log_error("target %s: reclaim: %s", r->session->id,
			result->note ? result->note->text : strerror(-result->result));
	r->failing = true;
	r->start_ns = umem_now_ns();
	schedule(r, r->interval_ns, begin);
}

/* A job came to nothing: begin anew with another worker, or later. */
static void go_on_after(struct reclaim *r, const struct session_result *result)
{
	if (is_over(r, result))
		return;
	if (result->result == -ENOENT)
		begin(r);
	else
		try_later(r, result);
}

static void on_begun(void *user, const struct session_result *result)
{
	struct reclaim *r = user;
	session_done *done = r->done;

	r->done = NULL;
	if (result->result != 0 && done) {
		void *told = r->user;

		reclaim_end(r->session);
		done(told, result);
		return;
	}
	if (result->result != 0) {
		if (!is_over(r, result))
			try_later(r, result);
		return;
	}
	r->failing = false;
	if (done)
		done(r->user, result);
	look(r);
}

static void begin(struct reclaim *r)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_consume(parameters, "policy", umem_json_share(r->policy));
	session_do(r->session, "Reclaim", parameters, on_begun, r);
}

static void tell(struct hearer *l)
{
	struct umem_json *parameters;

	if (l->unread)
		return;
	l->unread = true;
	parameters = umem_json_object();
	umem_json_set_consume(parameters, "interval", umem_json_share(l->reclaim->last));
	call_continue(l->call, parameters, NULL);
}

static void work(struct reclaim *r);

static void on_worked(void *user, const struct session_result *result)
{
	struct reclaim *r = user;
	uint64_t step_ns = r->interval_ns / (PIECES + 1);

	if (result->result != 0) {
		go_on_after(r, result);
		return;
	}
	r->n_pieces++;
	if (umem_json_get_bool(result->answer->parameters, "more", false) &&
		r->n_pieces * step_ns < r->interval_ns)
		schedule(r, r->n_pieces * step_ns, work);
	else
		schedule(r, r->interval_ns, look);
}

static void work(struct reclaim *r)
{
	struct umem_json *parameters;

	if (umem_now_ns() >= r->start_ns + r->interval_ns) {
		look(r);
		return;
	}
	parameters = umem_json_object();
	umem_json_set_u64(parameters, "max_bytes", r->piece_bytes);
	session_do(r->session, "ReclaimWork", parameters, on_worked, r);
}

static uint64_t get_u64(const struct umem_json *json, const char *key)
{
	int64_t value = umem_json_get_int(json, key, 0);

	return value > 0 ? (uint64_t)value : 0;
}

static void on_looked(void *user, const struct session_result *result)
{
	const struct umem_json *interval, *sum;
	struct reclaim *r = user;
	struct hearer *l;
	uint64_t want;

	if (result->result != 0) {
		go_on_after(r, result);
		return;
	}
	interval = umem_json_get(result->answer->parameters, "interval");
	umem_json_free(r->last);
	r->last = umem_json_share(interval);
	LIST_FOREACH(l, &r->hearers, entry)
		tell(l);
	sum = umem_json_get(interval, "sum");
	want = get_u64(sum, "want_bytes") + get_u64(sum, "try_bytes");
	r->start_ns = umem_now_ns();
	r->n_pieces = 0;
	r->piece_bytes = umem_max_u64(want / PIECES, PIECE_BYTES_MIN);
	if (want)
		work(r);
	else
		schedule(r, r->interval_ns, look);
}

static void look(struct reclaim *r)
{
	session_do(r->session, "ReclaimLook", NULL, on_looked, r);
}

int reclaim_new(struct session *session, const struct umem_json *policy, session_done *done,
	void *user)
{
	struct reclaim *r = calloc(1, sizeof(*r)), *before;

	if (!r || loop_timer_new(session->manager->loop, on_timer, r, &r->timer) < 0) {
		free(r);
		return -ENOMEM;
	}
	r->session = session;
	r->policy = umem_json_share(policy);
	r->interval_ns = umem_max_u64(
		(uint64_t)umem_json_get_int(policy, "interval_ns", INTERVAL_NS), INTERVAL_MIN_NS);
	r->done = done;
	r->user = user;
	LIST_INIT(&r->hearers);
	/* Whoever waits for the one before is told, and sees that there is another one. */
	before = session->reclaim;
	session->reclaim = r;
	reclaim_free(before);
	begin(r);
	return 0;
}

const struct umem_json *reclaim_policy(const struct reclaim *r)
{
	return r ? r->policy : NULL;
}

const char *reclaim_name(const struct reclaim *r)
{
	return umem_json_get_text(r->policy, "policy", "probe");
}

const struct umem_json *reclaim_last(const struct reclaim *r)
{
	return r->last;
}

static void on_drained(struct call *call)
{
	struct hearer *l = call->user;

	l->unread = false;
}

static void on_cancelled(struct call *call)
{
	forget_hearer(call->user);
	call_reply(call, NULL);
}

static void on_soon(void *user)
{
	tell(user);
}

void reclaim_listen(struct reclaim *r, struct call *call)
{
	struct hearer *l = calloc(1, sizeof(*l));

	if (!l || loop_timer_new(call->manager->loop, on_soon, l, &l->soon) < 0) {
		free(l);
		call_fail(call, -ENOMEM, NULL);
		return;
	}
	l->reclaim = r;
	l->call = call;
	call->user = l;
	call->cancelled = on_cancelled;
	call->drained = on_drained;
	LIST_INSERT_HEAD(&r->hearers, l, entry);
	if (r->last)
		loop_timer_set(l->soon, 0);
}
