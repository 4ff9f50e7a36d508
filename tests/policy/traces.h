/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Traces: what a program does with its memory over the simulated time.
 */
#ifndef TESTS_POLICY_TRACES_H
#define TESTS_POLICY_TRACES_H

#include "tests/policy/model.h"

/**
 * struct trace - one kind of program.
 * @name, @about: for the file names and the titles of the plots.
 * @n_pages: memory of a target. @n_targets: so many of them at once.
 * @minutes: simulated time. @event: the minute in which the working set changes
 *           for the first time; 0: never.
 * @source: what a tracker would know; for the policies that use one. @age_only: only
 *          that makes it differ from another trace.
 * @cpu_us_s: microseconds of processor time a second that moving pages may take; 0: any.
 * @setup: the state at the begin. @target: number of the target.
 * @tick: what changes at @now_s, before the interval of @dt_s; may be NULL.
 */
struct trace {
	const char *name;
	const char *about;
	uint64_t n_pages;
	unsigned n_targets;
	unsigned minutes;
	unsigned event;
	enum umem_use_source source;
	bool age_only;
	unsigned cpu_us_s;
	void (*setup)(struct model *model, unsigned target);
	void (*tick)(struct model *model, double now_s, double dt_s);
};

extern const struct trace traces[];
extern const unsigned n_traces;

#endif
