/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests with real programs share: starting a program, driving
 * `umemctl --json dirty` beside it, and an oracle that compares the content of
 * the program's memory with what the rounds said.
 *
 * Everything ends the test on failure. Children end with the test.
 */
#ifndef TESTS_CLIENTS_CLIENT_H
#define TESTS_CLIENTS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "lib/base/ranges.h"
#include "lib/mem/pageset.h"
#include "tests/lib/harness.h"

/** cl_tmpdir - a directory of this test's own, removed at exit. */
const char *cl_tmpdir(void);

/** cl_path - "@dir of this test/@name", in one of eight buffers in turn. */
const char *cl_path(const char *name);

/** cl_need - skip the test unless @program is in the PATH; @package has it. */
void cl_need(const char *program, const char *package);

/**
 * cl_spawn - start a program; its output goes to @log in the test's directory.
 * @argv: NULL-terminated; argv[0] is looked up in the PATH.
 * @ret_in, @ret_out: pipes to its stdin and from its stdout, or NULL: then
 *	stdin is /dev/null, stdout the log.
 *
 * Return: its pid, a child of t_fork().
 */
pid_t cl_spawn(const char *const *argv, const char *log, int *ret_in, FILE **ret_out);

/** cl_umemctl - path of umemctl: of this build, or UMEMCTL. */
const char *cl_umemctl(void);

/** cl_unix_connect - connect to a unix socket, trying for up to 10 s. Return: fd. */
int cl_unix_connect(const char *path);

/**
 * struct cl_dirty - a running `umemctl --json dirty PID --trigger stdin --ranges`.
 * @pid, @in, @out: of umemctl.
 * @target: whom it watches.
 * @stop_ns, @tracked_bytes: of the armed event.
 * @rounds: how many so far.
 */
struct cl_dirty {
	pid_t pid;
	int in;
	FILE *out;
	pid_t target;
	uint64_t stop_ns;
	uint64_t tracked_bytes;
	uint64_t rounds;
};

/**
 * struct cl_round - one round; all zero is empty. Ranges add up over several
 * collects until cl_round_clear().
 * @dirty, @gone: pages that were reported.
 * @dirty_bytes, @scan_ns, @complete: of the last collect.
 */
struct cl_round {
	struct umem_pageset dirty;
	struct umem_ranges gone;
	uint64_t dirty_bytes;
	uint64_t scan_ns;
	bool complete;
};

/** cl_dirty_start - attach to @target; returns when it is armed. */
void cl_dirty_start(struct cl_dirty *dirty, pid_t target);

/** cl_dirty_collect - one collect; its ranges are added to @round. */
void cl_dirty_collect(struct cl_dirty *dirty, struct cl_round *round);

/** cl_dirty_end - end of file on its stdin; it must end with status 0. */
void cl_dirty_end(struct cl_dirty *dirty);

/** cl_round_clear - forget all pages. */
void cl_round_clear(struct cl_round *round);

/**
 * struct cl_page - content of one page.
 * @addr: its address.
 * @hash: of its bytes.
 * @zero_if_absent: where it is not mapped, the address shows zeros.
 */
struct cl_page {
	uint64_t addr;
	uint64_t hash;
	bool zero_if_absent;
};

/**
 * struct cl_image - the content of a process at one moment; all zero is empty.
 * @v, @n, @room: pages that hold something, ascending.
 * @mapped: what was mapped, writable and looked at.
 */
struct cl_image {
	struct cl_page *v;
	size_t n;
	size_t room;
	struct umem_ranges mapped;
};

/** cl_stop, cl_cont - SIGSTOP and wait until it has stopped; SIGCONT. */
void cl_stop(pid_t pid);
void cl_cont(pid_t pid);

/**
 * cl_image_take - hash every writable page of @pid, which has to be stopped.
 * Pages that are not there are not touched.
 */
void cl_image_take(struct cl_image *image, pid_t pid);

/**
 * cl_image_missed - pages that differ between two images and are not in @round.
 * @ret_changed: pages that differ.
 */
uint64_t cl_image_missed(const struct cl_image *before, const struct cl_image *after,
	struct cl_round *round, uint64_t *ret_changed);

/**
 * cl_image_check - every page that differs between two images has to be in
 * @round. Return: pages that differ.
 */
uint64_t cl_image_check(const struct cl_image *before, const struct cl_image *after,
	struct cl_round *round);

/** cl_image_deinit - free what it owns and make it empty. */
void cl_image_deinit(struct cl_image *image);

/** struct cl_traces - what a process looked like before; see cl_traces_check(). */
struct cl_traces {
	char *fds;
	uint64_t n_threads;
};

/** cl_traces_take - note descriptors and threads of @pid. */
void cl_traces_take(struct cl_traces *traces, pid_t pid);

/**
 * cl_traces_check - nothing was left behind in @pid: the same descriptors, no
 * tracer, no mapping that is still registered for write protection.
 */
void cl_traces_check(struct cl_traces *traces, pid_t pid);

#endif
