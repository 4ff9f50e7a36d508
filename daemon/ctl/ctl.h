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
 */
struct ctl_options {
	bool json;
	bool quiet;
};

/**
 * struct ctl_verb - a row of the verb table.
 * @name: the word.
 * @usage: what follows it.
 * @summary: one line.
 * @run: gets the words from the verb on; returns an exit code.
 */
struct ctl_verb {
	const char *name;
	const char *usage;
	const char *summary;
	int (*run)(const struct ctl_options *options, int argc, char **argv);
};

/** ctl_usage - say what is wrong with a verb's words. Return: CTL_USAGE. */
int ctl_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** ctl_failed - say what failed. @result: outcome or -errno. Return: its exit code. */
int ctl_failed(const char *verb, int result, const struct umem_note *note);

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

/** ctl_flush - push stdout out. Return: 0, or -EIO when nobody reads it any more. */
int ctl_flush(void);

int cmd_dirty(const struct ctl_options *options, int argc, char **argv);

#endif
