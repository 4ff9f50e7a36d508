/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress of long work, on stderr where that is a terminal: one line that is written
 * over, and gone at the end.
 */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct ctl_progress - work that is shown; made by ctl_progress_begin().
 * @verb: who works.
 * @signals: descriptor of ctl_signals().
 * @shown: it is to be shown.
 * @drawn: there is a line to wipe.
 * @stopped: a signal came, or the reader of our output went away.
 * @start_ns, @drawn_ns: when it began, and was shown last.
 */
struct ctl_progress {
	const char *verb;
	int signals;
	bool shown;
	bool drawn;
	bool stopped;
	uint64_t start_ns;
	uint64_t drawn_ns;
};

/** ctl_progress_begin - begin. @quiet: never show it. */
void ctl_progress_begin(struct ctl_progress *progress, const char *verb, bool quiet, int signals);

/**
 * ctl_progress_step - @done_bytes of @total_bytes are done; a struct ctl_progress is @user.
 * Nothing is shown as long as the total is not known (0).
 * Return: true when the work is to end.
 */
bool ctl_progress_step(void *user, uint64_t done_bytes, uint64_t total_bytes);

/** ctl_progress_end - wipe the line. */
void ctl_progress_end(struct ctl_progress *progress);

/**
 * ctl_progress_text - what the line says: bytes, rate, time left.
 * @ns: since the beginning. Return: @buf.
 */
const char *ctl_progress_text(char *buf, size_t size, const char *verb, uint64_t done_bytes,
	uint64_t total_bytes, uint64_t ns);

#endif
