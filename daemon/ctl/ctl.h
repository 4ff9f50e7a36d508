/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the verbs of umemctl share: global options, exit codes, output.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <umemd/target.h>
#include <umemd/types.h>

#include "lib/base/json.h"
#include "lib/base/ranges.h"

/** enum ctl_exit - exit codes, documented in umemctl(1). */
enum ctl_exit {
	CTL_DONE = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_GONE = 3,
	CTL_KERNEL = 4,
	CTL_PERMISSION = 5,
};

/**
 * struct ctl_options - options before the verb.
 * @json: one JSON object a line instead of a table.
 * @quiet: no progress and no hints on stderr.
 * @connect: socket of the daemon that is to do the work; NULL: this process does it.
 * @usual: nobody said so: it listens at its usual place.
 */
struct ctl_options {
	bool json;
	bool quiet;
	const char *connect;
	bool usual;
};

/**
 * struct ctl_verb - a row of the verb table.
 * @name: the word.
 * @usage: what follows it.
 * @summary: one line.
 * @remote: a daemon can do it.
 * @run: gets the words from the verb on; returns an exit code.
 */
struct ctl_verb {
	const char *name;
	const char *usage;
	const char *summary;
	bool remote;
	int (*run)(const struct ctl_options *options, int argc, char **argv);
};

/** ctl_usage - say what is wrong with a verb's words. Return: CTL_USAGE. */
int ctl_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** ctl_failed - say what failed. @result: outcome or -errno. Return: its exit code. */
int ctl_failed(const char *verb, int result, const struct umem_note *note);

/**
 * ctl_ended - the exit code of a verb that stopped with @result < 0 or an
 * outcome: what ctl_failed() says, unless it was our output that failed. A
 * reader that went away is no failure: everything is given back, we are done.
 */
int ctl_ended(const char *verb, int result, const struct umem_note *note);

/** ctl_exit_of - exit code of an outcome or -errno. */
enum ctl_exit ctl_exit_of(int result);

/** ctl_pid - a process id from the command line. Return: CTL_DONE or CTL_USAGE, said on stderr. */
int ctl_pid(const char *verb, const char *word, int *ret_pid);

/** ctl_attach_options - options that the environment gives (UMEM_FEATURES). */
struct umem_attach_options ctl_attach_options(void);

/** ctl_size - @bytes for people, at most 7 characters ("12.3M"). Return: @buf. */
const char *ctl_size(char buf[16], uint64_t bytes);

/** ctl_time - @ns for people, at most 7 characters ("1.25ms"). Return: @buf. */
const char *ctl_time(char buf[16], uint64_t ns);

/** ctl_width - columns of a line: $COLUMNS, else the terminal's; 0 means no limit. */
int ctl_width(void);

/**
 * ctl_clean - @text for a terminal: what is no character becomes '?', and what is
 * longer than @width columns loses its head ("...tail"); 0 means no limit.
 * For names and paths, which other people chose. Return: @buf.
 */
const char *ctl_clean(char *buf, size_t size, const char *text, int width);

/**
 * ctl_wrap - print words on stdout, broken before the width that ctl_width() tells.
 * @column: where the cursor is.
 * @indent: where the lines after the first begin.
 */
void ctl_wrap(const char *text, int column, int indent);

/** ctl_json_ranges - an array of {"start","end"}. */
struct umem_json *ctl_json_ranges(const struct umem_ranges *ranges);

/** ctl_json_reasons - an array of {"start","end","reason"}. */
struct umem_json *ctl_json_reasons(const struct umem_reason *v, size_t n);

/** ctl_print_reason - a reason for people, indented; @title ends in a blank, or is empty. */
void ctl_print_reason(const char *title, const struct umem_reason *reason);

/**
 * ctl_signals - hear SIGINT, SIGTERM and SIGHUP through a descriptor from now on,
 * so that everything is given back. Return: 0 or -errno.
 */
int ctl_signals(int *ret_fd);

/** ctl_flush - push stdout out. Return: 0, or -EIO when nobody reads it any more. */
int ctl_flush(void);

int cmd_doctor(const struct ctl_options *options, int argc, char **argv);
int cmd_regions(const struct ctl_options *options, int argc, char **argv);
int cmd_dirty(const struct ctl_options *options, int argc, char **argv);
int cmd_image(const struct ctl_options *options, int argc, char **argv);
int cmd_pageout(const struct ctl_options *options, int argc, char **argv);
int cmd_pagein(const struct ctl_options *options, int argc, char **argv);
int cmd_reclaim(const struct ctl_options *options, int argc, char **argv);
int cmd_snapshot(const struct ctl_options *options, int argc, char **argv);
int cmd_status(const struct ctl_options *options, int argc, char **argv);
int cmd_swap(const struct ctl_options *options, int argc, char **argv);
int cmd_top(const struct ctl_options *options, int argc, char **argv);

#endif
