/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of a session share: see session.h, and session.c for how it works. */
#ifndef DAEMON_SESSION_INNER_H
#define DAEMON_SESSION_INNER_H

#include "daemon/session.h"

/** session_log - an event of it, as log_say_event() has it. */
#define session_log(s, level, event, ...)                                                  \
	log_say_event(level, event,                                                        \
		&(struct log_about){ (s)->id, (s)->acquired.pid, (s)->who.uid }, __VA_ARGS__)

/** session_enter - the state behind @event. */
void session_enter(struct session *s, enum session_event event);

/** session_tell - call @done, unless it is NULL. */
void session_tell(session_done *done, void *user, int result, const struct umem_note *note);

/** session_tell_opened - the first worker has the target, or that failed; told once. */
void session_tell_opened(struct session *s, int result, const struct umem_note *note);

/** session_release - close all that is held; behind it a closed session is forgotten. */
void session_release(struct session *s);

/** session_finish - an end that is none of its owner's making: what waits fails with @result. */
void session_finish(struct session *s, enum session_event event, int result,
	const struct umem_note *note);

/** session_on_ended - its process ended: a callback of the loop. */
void session_on_ended(void *user, unsigned what);

/** session_free_job - one that is in no list. */
void session_free_job(struct session_job *job);

/** session_end_job - it is not done, or not to its end: tell that, and free it. */
void session_end_job(struct session_job *job);

/** session_start_worker - have a worker, at once or soon. */
void session_start_worker(struct session *s);

/** session_on_retry - the time of @retry has come: a callback of the loop. */
void session_on_retry(void *user);

/** session_run_next - have the worker do the first job, if it can. */
void session_run_next(struct session *s);

#endif
