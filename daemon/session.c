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
 * recovers (lib/op/watch_left.c). A job that kills every worker ends with the
 * session, when SESSION_DEATHS of them died.
 *
 * Letting go has three ways. With a worker: it lifts everything, in small steps that
 * hold nobody up. Without: the last close of the userfaultfd has the kernel do it; it
 * may take long, so that is done in a thread. A userfaultfd that was handed off is
 * still open in its program: only a worker can lift that.
 */
#include "daemon/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/peer.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

/* Before a second attempt in a row. */
#define RETRY_NS 100000000ull

static void start_worker(struct session *s);
static void run_next(struct session *s);

static void enter(struct session *s, enum session_event event)
{
	enum session_state next = session_next(s->state, event);

	if (next != s->state)
		log_debug("target %s (process %d): %s, was %s", s->id, (int)s->acquired.pid,
			session_state_name(next), session_state_name(s->state));
	s->state = next;
}

/* Is a worker of use in this state? */
static bool wants_worker(const struct session *s)
{
	return s->state != SESSION_FAILED && s->state != SESSION_ENDED &&
		s->state != SESSION_CLOSED;
}

static void tell(session_done *done, void *user, int result, const struct umem_note *note)
{
	const struct session_result told = { .result = result, .note = note };

	if (done)
		done(user, &told);
}

static void free_job(struct session_job *job)
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
		tell(job->done, job->user, result, note);
		free_job(job);
	}
}

static void tell_opened(struct session *s, int result, const struct umem_note *note)
{
	session_done *on_open = s->on_open;

	s->on_open = NULL;
	tell(on_open, s->on_open_user, result, note);
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

static void forget(struct session *s)
{
	struct umem_note note = { 0 };

	umem_note_set(&note, -ECANCELED, 0, "target %s was let go", s->id);
	tell_opened(s, s->why.err ? s->why.err : -ECANCELED, s->why.err ? &s->why : &note);
	/* Whoever waits for it to be let go is told now. */
	fail_jobs(s, 0, NULL);
	LIST_REMOVE(s, entry);
	loop_timer_free(s->retry);
	loop_watch_free(s->end);
	umem_json_free(s->watch);
	acquired_deinit(&s->acquired);
	umem_fd_close(s->journal_fd);
	s->user->n_sessions--;
	manager_user_left(s->user);
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

/* Close all that is held. Behind it the session is forgotten if it is closed. */
static void release(struct session *s)
{
	struct closing *closing = calloc(1, sizeof(*closing));

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
static void finish(struct session *s, enum session_event event, int result,
	const struct umem_note *note)
{
	const bool closes = s->state == SESSION_DETACHING;
	const bool unseen = s->on_open != NULL;

	enter(s, event);
	s->why = note ? *note : (struct umem_note){ 0 };
	s->why.err = result;
	if (!closes) {
		tell_opened(s, result, &s->why);
		fail_jobs(s, result, &s->why);
	}
	/* One that nobody ever saw is not there to be told about. */
	if (unseen)
		enter(s, SESSION_DETACH);
	release(s);
}

static void on_ended(void *user, unsigned what)
{
	struct session *s = user;
	struct umem_note note = { 0 };

	umem_note_set(&note, -ESRCH, 0, "process %d ended", (int)s->acquired.pid);
	log_info("target %s: process %d ended", s->id, (int)s->acquired.pid);
	finish(s, SESSION_GONE, UMEM_GONE, &note);
}

/* Note a death. Return: were there too many of late? */
static bool too_many_deaths(struct session *s)
{
	uint64_t now_ns = umem_now_ns(), *oldest = &s->deaths[s->restarts % SESSION_DEATHS];
	bool many = s->restarts >= SESSION_DEATHS && now_ns - *oldest < SESSION_DEATHS_NS;

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
	log_error("target %s: %d workers died within %d s, the last one: %s; process %d was let "
		"go", s->id, SESSION_DEATHS, (int)(SESSION_DEATHS_NS / 1000000000u), how,
		(int)s->acquired.pid);
	finish(s, SESSION_GIVE_UP, -EIO, &note);
}

static void on_died(void *user, const char *how)
{
	struct session *s = user;
	pid_t pid = link_pid(s->link);

	s->link = link_free(s->link);
	s->opened = false;
	if (!wants_worker(s))
		return;
	if (too_many_deaths(s)) {
		give_up(s, how);
		return;
	}
	enter(s, SESSION_WORKER_DIED);
	log_warning("worker %d of target %s (process %d): %s; another one takes over", (int)pid,
		s->id, (int)s->acquired.pid, how);
	/* The last close lifts what is left, unless its program has one of its own. */
	if (s->state == SESSION_DETACHING && !s->handed) {
		enter(s, SESSION_LIFTED);
		release(s);
		return;
	}
	if (s->restarts > 1)
		loop_timer_set(s->retry, RETRY_NS);
	else
		start_worker(s);
}

static void on_retry(void *user)
{
	struct session *s = user;

	if (wants_worker(s)) {
		start_worker(s);
		return;
	}
	/* It has been told about long enough. */
	enter(s, SESSION_DETACH);
	release(s);
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
	tell_opened(s, 0, NULL);
	run_next(s);
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
		finish(s, r > 0 ? SESSION_GONE : SESSION_GIVE_UP, r, &note);
		return;
	}
	enter(s, SESSION_ARMED);
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
		finish(s, SESSION_GIVE_UP, r, &note);
		return;
	}
	s->opened = true;
	enter(s, SESSION_OPENED);
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

static void start_worker(struct session *s)
{
	const struct link_subject subject = { &s->who, s->acquired.pid, s->acquired.fds[0] };
	int r = link_new(&s->manager->links, &subject, on_died, s, &s->link);

	if (r == 0)
		r = open_in_worker(s);
	if (r == 0)
		return;
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
		enter(s, SESSION_ARMED);
	} else if (strcmp(job->method, "Unwatch") == 0) {
		s->watch = umem_json_free(s->watch);
		enter(s, SESSION_STOPPED);
	}
}

static void on_answered(void *user, const struct link_answer *answer)
{
	struct session *s = user;
	struct session_job *job = STAILQ_FIRST(&s->jobs);
	struct umem_note note = { 0 };
	struct session_result told = { .result = result_of(answer, &note), .note = &note,
		.answer = answer };
	const bool closes = strcmp(job->method, "Close") == 0;

	if (closes) {
		enter(s, SESSION_LIFTED);
		release(s);
		return;
	}
	STAILQ_REMOVE_HEAD(&s->jobs, entry);
	note_job(s, job, told.result);
	if (job->done)
		job->done(job->user, &told);
	free_job(job);
	if (told.result == UMEM_GONE) {
		log_info("target %s: %s", s->id, note.text);
		finish(s, SESSION_GONE, UMEM_GONE, &note);
	} else {
		run_next(s);
	}
}

static void run_next(struct session *s)
{
	struct session_job *job = STAILQ_FIRST(&s->jobs);
	struct umem_json *parameters;
	int r;

	if (!job || !s->opened || link_busy(s->link))
		return;
	parameters = strcmp(job->method, "Watch") == 0 ?
		watch_parameters(job->parameters, false) :
		job->parameters ? umem_json_share(job->parameters) : NULL;
	r = link_call(s->link, job->method, parameters, NULL, 0, on_answered, s);
	if (r < 0)
		give_up(s, strerror(-r));
}

static int init(struct session *s)
{
	int r = loop_watch_new(s->manager->loop, s->acquired.fds[0], on_ended, s, &s->end);

	if (r == 0)
		r = loop_timer_new(s->manager->loop, on_retry, s, &s->retry);
	if (r < 0)
		return r;
	s->journal_fd = memfd_create("umemd-journal", MFD_CLOEXEC);
	if (s->journal_fd < 0)
		return -errno;
	s->user = manager_user(s->manager, s->who.uid);
	return s->user ? 0 : -ENOMEM;
}

int session_new(struct manager *manager, const struct session_options *options,
	struct acquired *acquired, session_done *on_open, void *user,
	struct session **ret_session)
{
	struct session *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (s) {
		*s = (struct session){
			.manager = manager,
			.owner = options->owner,
			.who = options->who,
			.handed = options->handed,
			.kept = !options->owner,
			.acquired = *acquired,
			.journal_fd = -1,
			.started_ns = umem_now_ns(),
			.on_open = on_open,
			.on_open_user = user,
		};
		acquired_init(acquired);
		STAILQ_INIT(&s->jobs);
		r = init(s);
	}
	if (r < 0) {
		acquired_deinit(s ? &s->acquired : acquired);
		if (s) {
			loop_watch_free(s->end);
			loop_timer_free(s->retry);
			umem_fd_close(s->journal_fd);
		}
		free(s);
		return r;
	}
	snprintf(s->id, sizeof(s->id), "t%llu", (unsigned long long)++manager->next_id);
	s->user->n_sessions++;
	manager->n_sessions++;
	LIST_INSERT_HEAD(&manager->sessions, s, entry);
	loop_watch_for(s->end, LOOP_READ);
	start_worker(s);
	*ret_session = s;
	return 0;
}

struct session *session_find(struct manager *manager, const char *id)
{
	struct session *s;

	LIST_FOREACH(s, &manager->sessions, entry)
		if (strcmp(s->id, id) == 0)
			return s;
	return NULL;
}

bool session_is_leaving(const struct manager *manager, pid_t pid)
{
	const struct session *s;

	LIST_FOREACH(s, &manager->sessions, entry)
		if (s->acquired.pid == pid &&
			(s->state == SESSION_DETACHING || s->state == SESSION_CLOSED))
			return true;
	return false;
}

bool session_is_visible(const struct session *s, const struct auth_who *who)
{
	return s->state != SESSION_CLOSED && (who->admin || who->uid == s->who.uid);
}

void session_do(struct session *s, const char *method, struct umem_json *parameters,
	session_done *done, void *user)
{
	struct umem_note note = { 0 };
	struct session_job *job;

	if (!wants_worker(s) || s->state == SESSION_DETACHING) {
		umem_json_free(parameters);
		umem_note_set(&note, -ECANCELED, 0, "target %s is being let go", s->id);
		if (s->why.err)
			note = s->why;
		tell(done, user, s->why.err ? s->why.err : -ECANCELED, &note);
		return;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		umem_json_free(parameters);
		tell(done, user, -ENOMEM, &note);
		return;
	}
	*job = (struct session_job){ .method = method, .parameters = parameters, .done = done,
		.user = user };
	STAILQ_INSERT_TAIL(&s->jobs, job, entry);
	run_next(s);
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
	const bool again = s->state == SESSION_DETACHING;

	if (!job) {
		tell(done, user, -ENOMEM, NULL);
		return;
	}
	*job = (struct session_job){ .method = "Close", .done = done, .user = user };
	if (!again)
		fail_waiting(s);
	STAILQ_INSERT_TAIL(&s->jobs, job, entry);
	if (again)
		return;
	enter(s, SESSION_DETACH);
	if (s->state == SESSION_CLOSED) {
		release(s);
	} else if (s->opened) {
		run_next(s);
	} else if (!s->handed) {
		/* Nothing was lifted by hand: the last close does it. */
		enter(s, SESSION_LIFTED);
		release(s);
	}
}

void sessions_owner_left(struct manager *manager, const struct peer *owner)
{
	struct session *s, *next;

	for (s = LIST_FIRST(&manager->sessions); s; s = next) {
		next = LIST_NEXT(s, entry);
		if (s->owner != owner)
			continue;
		s->owner = NULL;
		session_detach(s, NULL, NULL);
	}
}

void sessions_detach_all(struct manager *manager)
{
	struct session *s, *next;

	for (s = LIST_FIRST(&manager->sessions); s; s = next) {
		next = LIST_NEXT(s, entry);
		session_detach(s, NULL, NULL);
	}
}

struct umem_json *session_describe(const struct session *s)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_text(json, "target", s->id);
	umem_json_set_u64(json, "pid", (uint64_t)s->acquired.pid);
	umem_json_set_text(json, "name", s->acquired.name);
	umem_json_set_u64(json, "uid", s->who.uid);
	umem_json_set_text(json, "how", s->handed ? "handed_off" : "attached");
	umem_json_set_text(json, "state", session_state_name(s->state));
	umem_json_set_bool(json, "kept", s->kept);
	umem_json_set_u64(json, "restarts", s->restarts);
	umem_json_set_u64(json, "stop_ns", s->acquired.stop_ns);
	umem_json_set_u64(json, "age_ns", umem_now_ns() - s->started_ns);
	return json;
}
