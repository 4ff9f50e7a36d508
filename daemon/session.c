// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One target.
 *
 * Theory of operation
 *
 * A session holds duplicates of all that its worker works with, so that the worker may
 * die at any moment: protection and marks stay (tests/kernel/confined.c), and the
 * next worker gets the same. The table of states is in session_state.c.
 *
 *     jobs: first -> second -> ...      the first is on its way when the link is busy
 *
 * A job stays the first until it was answered; when the worker dies under it, the next
 * worker does it again. That is right for each of them: arming again is arming, and a
 * round that was lost is in the round behind it, because the next worker
 * recovers (lib/op/watch_left.c); what went out is out, and is no more work for the
 * next one, but of a limit what was done is taken off. A job that kills every worker ends
 * with the session, when SESSION_DEATHS of them died.
 *
 * Letting go has three ways. With a worker: it lifts everything, in small steps that
 * hold nobody up. Without: the last close of the userfaultfd has the kernel do it; it
 * may take long, so that is done in a thread. A userfaultfd that was handed off is
 * still open in its program: only a worker can lift that.
 *
 * A worker is over before another one begins: two of them would take each other's marks,
 * and changes with them.
 */
#include "daemon/session_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/reclaim.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

void session_enter(struct session *s, enum session_event event)
{
	enum session_state next = session_next(s->state, event);

	if (next != s->state)
		log_debug("target %s (process %d): %s, was %s", s->id, (int)s->acquired.pid,
			session_state_name(next), session_state_name(s->state));
	stats_moved(&s->manager->stats, s->state, next);
	s->state = next;
}

bool session_wants_worker(const struct session *s)
{
	return s->state != SESSION_FAILED && s->state != SESSION_ENDED &&
		s->state != SESSION_CLOSED;
}

void session_tell(session_done *done, void *user, int result, const struct umem_note *note)
{
	const struct session_result told = { .result = result, .note = note };

	if (done)
		done(user, &told);
}

void session_free_job(struct session_job *job)
{
	umem_json_free(job->parameters);
	free(job);
}

/* All jobs end with @result. */
static void fail_jobs(struct session *s, int result, const struct umem_note *note)
{
	struct session_jobs jobs = STAILQ_HEAD_INITIALIZER(jobs);
	struct session_job *job;

	STAILQ_CONCAT(&jobs, &s->jobs);
	while ((job = STAILQ_FIRST(&jobs))) {
		STAILQ_REMOVE_HEAD(&jobs, entry);
		session_tell(job->done, job->user, result, note);
		session_free_job(job);
	}
}

void session_tell_opened(struct session *s, int result, const struct umem_note *note)
{
	session_done *on_open = s->on_open;

	if (on_open && result == 0) {
		s->came = true;
		session_log(s, LOG_LEVEL_INFO, LOG_TARGET_CAME,
			"target %s: process %d (%s) came in for user %u: %s", s->id,
			(int)s->acquired.pid, s->acquired.name, (unsigned)s->who.uid,
			session_how_name(s->how));
	}
	s->on_open = NULL;
	session_tell(on_open, s->on_open_user, result, note);
}

/*
 * What is held, on its way to be closed in a thread; then the session is gone, or stays
 * to be told about.
 */
struct closing {
	struct session *session;
	struct acquired acquired;
};

static void close_acquired(void *user)
{
	struct closing *closing = user;

	acquired_deinit(&closing->acquired);
}

/* Whoever waits for it to be let go is told now; nothing else can be done any more. */
static void tell_let_go(struct session *s)
{
	struct session_job *job;

	while ((job = STAILQ_FIRST(&s->jobs))) {
		STAILQ_REMOVE_HEAD(&s->jobs, entry);
		if (strcmp(job->method, "Close") != 0) {
			session_end_job(job);
			continue;
		}
		session_tell(job->done, job->user, 0, NULL);
		session_free_job(job);
	}
}

static void forget(struct session *s)
{
	struct umem_note note = { 0 };

	if (s->came)
		session_log(s, LOG_LEVEL_INFO, LOG_TARGET_WENT, "target %s: process %d was let go",
			s->id, (int)s->acquired.pid);
	umem_note_set(&note, -ECANCELED, 0, "target %s was let go", s->id);
	session_tell_opened(s, s->why.err ? s->why.err : -ECANCELED, s->why.err ? &s->why : &note);
	tell_let_go(s);
	LIST_REMOVE(s, entry);
	stats_left(&s->manager->stats, &s->stats);
	keep_drop(s);
	loop_timer_free(s->retry);
	loop_timer_free(s->lonely);
	loop_watch_free(s->old_worker);
	umem_fd_close(s->old_worker_fd);
	loop_watch_free(s->end);
	umem_json_free(s->watch);
	acquired_deinit(&s->acquired);
	umem_fd_close(s->journal_fd);
	s->user->n_sessions--;
	manager_user_left(s->manager);
	manager_session_left(s->manager);
	free(s);
}

static void closed(void *user)
{
	struct closing *closing = user;
	struct session *s = closing->session;

	free(closing);
	s->n_closing--;
	if (s->state == SESSION_CLOSED && s->n_closing == 0)
		forget(s);
	else if (s->state != SESSION_CLOSED && s->kept)
		loop_timer_set(s->retry, s->manager->config.kept_ended_ns);
}

/* Close all that is held, also by the service manager. */
void session_release(struct session *s)
{
	struct closing *closing = calloc(1, sizeof(*closing));

	reclaim_end(s);
	s->claim_fd = umem_fd_close(s->claim_fd);
	s->link = link_free(s->link);
	s->opened = false;
	s->end = loop_watch_free(s->end);
	loop_timer_clear(s->retry);
	if (!closing) {
		acquired_deinit(&s->acquired);
		if (s->state == SESSION_CLOSED && s->n_closing == 0)
			forget(s);
		return;
	}
	/* The service manager's duplicates, too: they would go on protecting. */
	keep_drop(s);
	s->n_closing++;
	closing->session = s;
	closing->acquired = s->acquired;
	acquired_init(&s->acquired);
	s->acquired.pid = closing->acquired.pid;
	memcpy(s->acquired.name, closing->acquired.name, sizeof(s->acquired.name));
	s->acquired.stop_ns = closing->acquired.stop_ns;
	if (pool_run(s->manager->pool, close_acquired, closed, closing) < 0) {
		close_acquired(closing);
		closed(closing);
	}
}

/* It has come to an end that is none of its owner's making. */
void session_finish(struct session *s, enum session_event event, int result,
	const struct umem_note *note)
{
	const bool closes = s->state == SESSION_DETACHING;
	const bool unseen = s->on_open != NULL;

	session_enter(s, event);
	s->why = note ? *note : (struct umem_note){ 0 };
	s->why.err = result;
	if (!closes) {
		session_tell_opened(s, result, &s->why);
		fail_jobs(s, result, &s->why);
	}
	/* One that nobody ever saw is not there to be told about. */
	if (unseen)
		session_enter(s, SESSION_DETACH);
	session_release(s);
}

void session_on_ended(void *user, unsigned what)
{
	struct session *s = user;
	struct umem_note note = { 0 };

	umem_note_set(&note, -ESRCH, 0, "process %d ended", (int)s->acquired.pid);
	log_info("target %s: process %d ended", s->id, (int)s->acquired.pid);
	session_finish(s, SESSION_GONE, UMEM_GONE, &note);
}

void session_do(struct session *s, const char *method, struct umem_json *parameters,
	session_done *done, void *user)
{
	session_do_long(s, method, parameters, NULL, done, user);
}

void session_do_long(struct session *s, const char *method, struct umem_json *parameters,
	session_progress *progress, session_done *done, void *user)
{
	struct umem_note note = { 0 };
	struct session_job *job;

	if (!session_wants_worker(s) || s->state == SESSION_DETACHING) {
		umem_json_free(parameters);
		umem_note_set(&note, -ECANCELED, 0, "target %s is being let go", s->id);
		if (s->why.err)
			note = s->why;
		session_tell(done, user, s->why.err ? s->why.err : -ECANCELED, &note);
		return;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		umem_json_free(parameters);
		session_tell(done, user, -ENOMEM, &note);
		return;
	}
	*job = (struct session_job){ .method = method, .parameters = parameters, .done = done,
		.progress = progress, .user = user };
	STAILQ_INSERT_TAIL(&s->jobs, job, entry);
	session_run_next(s);
}

void session_cancel(struct session *s, const void *user)
{
	struct session_jobs stay = STAILQ_HEAD_INITIALIZER(stay);
	struct session_jobs over = STAILQ_HEAD_INITIALIZER(over);
	bool busy = s->opened && link_busy(s->link);
	struct session_job *job;

	for (; (job = STAILQ_FIRST(&s->jobs)); busy = false) {
		bool meant = job->progress && (!user || job->user == user);

		STAILQ_REMOVE_HEAD(&s->jobs, entry);
		if (meant && busy) {
			job->cancelled = true;
			link_cancel(s->link);
		}
		if (meant && !busy)
			STAILQ_INSERT_TAIL(&over, job, entry);
		else
			STAILQ_INSERT_TAIL(&stay, job, entry);
	}
	STAILQ_CONCAT(&s->jobs, &stay);
	while ((job = STAILQ_FIRST(&over))) {
		STAILQ_REMOVE_HEAD(&over, entry);
		session_end_job(job);
	}
}

void session_end_job(struct session_job *job)
{
	struct umem_note note = { 0 };

	umem_note_set(&note, -ECANCELED, 0, "it was ended before it was done");
	session_tell(job->done, job->user, -ECANCELED, &note);
	session_free_job(job);
}

void session_forget_jobs(struct session *s, const void *user)
{
	struct session_job *job;

	STAILQ_FOREACH(job, &s->jobs, entry)
		if (job->user == user)
			job->done = NULL;
}

/* Fail what waits behind the job that is on its way. */
static void fail_waiting(struct session *s)
{
	struct session_job *first = STAILQ_FIRST(&s->jobs);
	const bool busy = first && s->opened && link_busy(s->link);
	struct umem_note note = { 0 };

	umem_note_set(&note, -ECANCELED, 0, "target %s is being let go", s->id);
	if (busy)
		STAILQ_REMOVE_HEAD(&s->jobs, entry);
	fail_jobs(s, -ECANCELED, &note);
	if (busy)
		STAILQ_INSERT_HEAD(&s->jobs, first, entry);
}

void session_detach(struct session *s, session_done *done, void *user)
{
	struct session_job *job = calloc(1, sizeof(*job));
	/* On its way, or only to be closed still: whoever asks is told when that is over. */
	const bool again = s->state == SESSION_DETACHING || s->state == SESSION_CLOSED;

	if (!job) {
		session_tell(done, user, -ENOMEM, NULL);
		return;
	}
	*job = (struct session_job){ .method = "Close", .done = done, .user = user };
	if (!again) {
		fail_waiting(s);
		session_cancel(s, NULL);
	}
	STAILQ_INSERT_TAIL(&s->jobs, job, entry);
	if (again)
		return;
	loop_timer_clear(s->lonely);
	session_enter(s, SESSION_DETACH);
	if (s->state == SESSION_CLOSED) {
		session_release(s);
	} else if (s->opened) {
		session_run_next(s);
	} else if (s->how != SESSION_HANDED_OFF) {
		/* Nothing was lifted by hand: the last close does it. */
		session_enter(s, SESSION_LIFTED);
		session_release(s);
	}
}
