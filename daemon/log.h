/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umemd tells its operator: one line for each thing that went wrong, and for each
 * denial, on stderr. Text of others is cleaned of what is no character.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

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

#define log_error(...)  log_say(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_say(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_say(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)   log_say(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)  log_say(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
