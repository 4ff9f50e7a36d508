/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umemd tells its operator: one line for each thing that went wrong, and for each
 * denial, on stderr. Text of others is cleaned of what is no character.
 *
 * Where stderr is the journal's, events go there with fields of their own, see umemd(8).
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <sys/types.h>

/** enum log_level - as syslog(3) numbers them. */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/** log_set_level - nothing less urgent than @level is told; NOTICE at first. */
void log_set_level(enum log_level level);

/** log_say - one line. */
void log_say(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * enum log_event - what somebody may want to find again.
 * @LOG_DENIED: a process may not be brought in by who asked.
 * @LOG_WORKER_DIED: and another one takes over.
 * @LOG_GIVEN_UP: workers of a target died too often.
 * @LOG_TARGET_CAME, @LOG_TARGET_WENT: a target came in; it was let go, whatever the reason.
 */
enum log_event {
	LOG_DENIED,
	LOG_WORKER_DIED,
	LOG_GIVEN_UP,
	LOG_TARGET_CAME,
	LOG_TARGET_WENT,
	LOG_N_EVENTS,
};

/**
 * struct log_about - what an event is about.
 * @target: its name, or NULL. @pid: the process. @uid: whose target it is, or who asked.
 */
struct log_about {
	const char *target;
	pid_t pid;
	uid_t uid;
};

/** log_say_event - one line, of an event. */
void log_say_event(enum log_level level, enum log_event event, const struct log_about *about,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#define log_error(...)  log_say(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_say(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_say(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)   log_say(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)  log_say(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
