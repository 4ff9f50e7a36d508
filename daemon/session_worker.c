// SPDX-License-Identifier: LGPL-2.1-or-later
/* A session and its worker: starting it, what it answers, what becomes of its death. */
#include "daemon/session_inner.h"

#include <errno.h>
#include <string.h>

#include "daemon/keep.h"
#include "daemon/log.h"
#include "lib/base/clock.h"
#include "lib/base/note.h"

/* Before a second attempt in a row. */
#define RETRY_NS 100000000ull

/* Note a death. Return: were there too many of late? */
static bool too_many_deaths(struct session *s)
{
	uint64_t now_ns = umem_now_ns(), *oldest = &s->deaths[s->restarts % SESSION_DEATHS];
	bool many = *oldest && now_ns - *oldest < SESSION_DEATHS_NS;

	*oldest = now_ns;
	s->restarts++;
	return many;
}

static void give_up(struct session *s, const char *how)
{
	struct umem_note note = { 0 };

	umem_note_set(&note, -EIO, 0,
		"the workers of target %s (process %d) died too often (%s): it was let go; see "
		"the log of umemd", s->id, (int)s->acquired.pid, how);
	session_log(s, LOG_LEVEL_ERROR, LOG_GIVEN_UP,
		"target %s: %d workers died within %d s, the last one: %s; process %d was let "
		"go", s->id, SESSION_DEATHS, (int)(SESSION_DEATHS_NS / 1000000000u), how,
		(int)s->acquired.pid);
	session_finish(s, SESSION_GIVE_UP, -EIO, &note);
}

static void on_died(void *user, const char *how)
{
	struct session *s = user;
	pid_t pid = link_pid(s->link);
	bool over = link_is_over(s->link);

	s->link = link_free(s->link);
	s->opened = false;
	stats_died(&s->manager->stats, &s->stats, how);
	if (!session_wants_worker(s))
		return;
	/* One that is there still could take marks from under the next. */
	if (too_many_deaths(s) || !over) {
		give_up(s, how);
		return;
	}
	session_enter(s, SESSION_WORKER_DIED);
	keep_update(s);
	session_log(s, LOG_LEVEL_WARNING, LOG_WORKER_DIED,
		"worker %d of target %s (process %d): %s; another one takes over", (int)pid,
		s->id, (int)s->acquired.pid, how);
	/* The last close lifts what is left, unless its program has one of its own. */
	if (s->state == SESSION_DETACHING && s->how != SESSION_HANDED_OFF) {
		session_enter(s, SESSION_LIFTED);
		session_release(s);
		return;
	}
	if (s->restarts > 1)
		loop_timer_set(s->retry, RETRY_NS);
	else
		session_start_worker(s);
}

void session_on_retry(void *user)
{
	struct session *s = user;

	if (session_wants_worker(s)) {
		session_start_worker(s);
		return;
	}
	/* It has been told about long enough. */
	session_enter(s, SESSION_DETACH);
	session_release(s);
}

/* A failure of the worker that is an answer, as a result. */
static int result_of(const struct link_answer *answer, struct umem_note *note)
{
	const char *text = umem_json_get_text(answer->parameters, "text", "");
	int64_t number = umem_json_get_int(answer->parameters, "errno", EIO);
	int r = number > 0 && number < 4096 ? (int)-number : -EIO;

	if (!answer->error)
		return 0;
	if (strcmp(answer->error, "TooManyRanges") == 0)
		return -E2BIG;
	if (strcmp(answer->error, "Gone") == 0)
		r = UMEM_GONE;
	umem_note_set(note, r < 0 ? r : -ESRCH, 0, "%s", text);
	return r;
}

/* The worker has the target, and watches if it is to. */
static void ready(struct session *s)
{
	session_tell_opened(s, 0, NULL);
	session_run_next(s);
}

static void on_recovered(void *user, const struct link_answer *answer)
{
	struct session *s = user;
	struct umem_note note = { 0 };
	int r = result_of(answer, &note);

	if (r != 0) {
		if (r < 0)
			log_error("target %s: tracking process %d again: %s", s->id,
				(int)s->acquired.pid, note.text);
		session_finish(s, r > 0 ? SESSION_GONE : SESSION_GIVE_UP, r, &note);
		return;
	}
	stats_answered(&s->manager->stats, &s->stats, "Watch", answer->parameters);
	session_enter(s, SESSION_ARMED);
	ready(s);
}

/* @parameters of Watch, with the word whether one watched before. */
static struct umem_json *watch_parameters(const struct umem_json *parameters, bool recover)
{
	static const char *const keys[] = { "regions", "pins", "sharers", "tracker" };
	struct umem_json *json = umem_json_object();

	for (size_t i = 0; i < UMEM_ARRAY_LEN(keys); i++) {
		const struct umem_json *value = umem_json_get(parameters, keys[i]);

		if (value)
			umem_json_set_consume(json, keys[i], umem_json_share(value));
	}
	umem_json_set_bool(json, "recover", recover);
	return json;
}

static void on_opened(void *user, const struct link_answer *answer)
{
	struct session *s = user;
	struct umem_note note = { 0 };
	int r = result_of(answer, &note);

	if (r != 0) {
		log_error("target %s: its worker cannot take process %d: %s", s->id,
			(int)s->acquired.pid, note.text);
		session_finish(s, SESSION_GIVE_UP, r, &note);
		return;
	}
	s->opened = true;
	session_enter(s, SESSION_OPENED);
	if (s->state == SESSION_RECOVERING)
		r = link_call(s->link, "Watch", watch_parameters(s->watch, true), NULL, 0,
			on_recovered, s);
	else
		ready(s);
	if (r < 0)
		give_up(s, strerror(-r));
}

static int open_in_worker(struct session *s)
{
	struct umem_json *parameters = umem_json_object(), *list = umem_json_array();
	int fds[ACQUIRED_FDS + 1];
	size_t n = 0;

	for (size_t i = 0; i < ACQUIRED_FDS; i++) {
		struct umem_json *index = umem_json_int(s->acquired.fds[i] < 0 ? -1 : (int64_t)n);

		umem_json_append_consume(list, index);
		if (s->acquired.fds[i] >= 0)
			fds[n++] = s->acquired.fds[i];
	}
	umem_json_set_consume(parameters, "facts", umem_json_share(s->acquired.facts));
	umem_json_set_consume(parameters, "fds", list);
	umem_json_set_u64(parameters, "journal", n);
	fds[n++] = s->journal_fd;
	return link_call(s->link, "Open", parameters, fds, n, on_opened, s);
}

void session_start_worker(struct session *s)
{
	const struct link_subject subject = { &s->who, s->acquired.pid, s->acquired.fds[0] };
	int r = link_new(&s->manager->links, &subject, on_died, s, &s->link);

	if (r == 0)
		r = open_in_worker(s);
	if (r == 0) {
		keep_worker(s, link_pidfd(s->link));
		return;
	}
	s->link = link_free(s->link);
	log_error("target %s: starting a worker: %s", s->id, strerror(-r));
	if (too_many_deaths(s))
		give_up(s, strerror(-r));
	else
		loop_timer_set(s->retry, RETRY_NS);
}

/* What the answer to the first job means for the session. */
static void note_job(struct session *s, struct session_job *job, int result)
{
	if (result != 0)
		return;
	if (strcmp(job->method, "Watch") == 0) {
		umem_json_free(s->watch);
		s->watch = UMEM_TAKE_PTR(job->parameters);
		session_enter(s, SESSION_ARMED);
		keep_update(s);
	} else if (strcmp(job->method, "Unwatch") == 0) {
		s->watch = umem_json_free(s->watch);
		session_enter(s, SESSION_STOPPED);
		keep_update(s);
	}
}

static void note_progress(struct session_job *job, const struct umem_json *progress)
{
	int64_t done = umem_json_get_int(progress, "done_bytes", 0);

	job->done_bytes = done > 0 ? (uint64_t)done : 0;
	if (job->done && progress)
		job->progress(job->user, progress);
}

static void on_answered(void *user, const struct link_answer *answer)
{
	struct session *s = user;
	struct session_job *job = STAILQ_FIRST(&s->jobs);
	struct umem_note note = { 0 };
	struct session_result told = { .result = result_of(answer, &note), .note = &note,
		.answer = answer };
	const bool closes = strcmp(job->method, "Close") == 0;

	if (answer->continues) {
		note_progress(job, umem_json_get(answer->parameters, "progress"));
		return;
	}
	if (closes) {
		session_enter(s, SESSION_LIFTED);
		session_release(s);
		return;
	}
	STAILQ_REMOVE_HEAD(&s->jobs, entry);
	if (told.result == 0)
		stats_answered(&s->manager->stats, &s->stats, job->method, answer->parameters);
	note_job(s, job, told.result);
	if (job->done)
		job->done(job->user, &told);
	session_free_job(job);
	if (told.result == UMEM_GONE) {
		log_info("target %s: %s", s->id, note.text);
		session_finish(s, SESSION_GONE, UMEM_GONE, &note);
	} else {
		session_run_next(s);
	}
}

static int copy_member(void *user, const char *key, const struct umem_json *value)
{
	umem_json_set_consume(user, key, umem_json_share(value));
	return 0;
}

/* What the worker is told to do; what one before it did of it is not done again. */
static struct umem_json *parameters_of(const struct session_job *job)
{
	uint64_t max_bytes = (uint64_t)umem_json_get_int(job->parameters, "max_bytes", 0);
	struct umem_json *json;

	if (strcmp(job->method, "Watch") == 0)
		return watch_parameters(job->parameters, false);
	if (job->done_bytes == 0 || max_bytes == 0)
		return job->parameters ? umem_json_share(job->parameters) : NULL;
	json = umem_json_object();
	umem_json_each(job->parameters, copy_member, json);
	/* No limit would be none at all. */
	umem_json_set_u64(json, "max_bytes",
		max_bytes > job->done_bytes ? max_bytes - job->done_bytes : 1);
	return json;
}

void session_run_next(struct session *s)
{
	struct session_job *job = STAILQ_FIRST(&s->jobs);
	int r;

	if (!s->opened || link_busy(s->link))
		return;
	/* The worker that was to end it died. */
	while (job && job->cancelled) {
		STAILQ_REMOVE_HEAD(&s->jobs, entry);
		session_end_job(job);
		job = STAILQ_FIRST(&s->jobs);
	}
	if (!job)
		return;
	stats_asked(&s->stats);
	r = link_call(s->link, job->method, parameters_of(job), NULL, 0, on_answered, s);
	if (r < 0)
		give_up(s, strerror(-r));
	else if (job->progress)
		link_expect_more(s->link);
}
