/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `umemctl snapshot` and `umemctl image read` for the tests, through the command line:
 * what a test proves of them is then what a user gets.
 */
#ifndef TESTS_CLIENTS_SNAPSHOT_H
#define TESTS_CLIENTS_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/ranges.h"

/**
 * struct cl_snapshot - how a snapshot ended; all zero is empty.
 * @status: exit status of umemctl, or 128 and the signal that ended it.
 * @said: what it wrote to stderr.
 * Further: of the event "done"; nothing of it where @status is not 0.
 * @reason: of the first range that is missing.
 */
struct cl_snapshot {
	int status;
	char said[512];
	char method[16];
	uint64_t pause_ns;
	uint64_t total_ns;
	uint64_t rounds;
	uint64_t pages;
	uint64_t zero_pages;
	uint64_t written_bytes;
	bool complete;
	struct umem_ranges incomplete;
	char reason[160];
};

/**
 * cl_snapshot_take - `umemctl --json snapshot @pid -o @file --method @method`, to its end.
 * @more: further words, up to a NULL; may be NULL.
 */
void cl_snapshot_take(struct cl_snapshot *snapshot, pid_t pid, const char *file,
	const char *method, const char *const *more);

/** cl_snapshot_deinit - free what it owns and make it empty. */
void cl_snapshot_deinit(struct cl_snapshot *snapshot);

/**
 * cl_snapshot_read - `umemctl image read @file --at @at --len @len`.
 * @pid: of which process, 0 where there is one only.
 *
 * Return: it gave exactly @len bytes and ended with status 0.
 */
bool cl_snapshot_read(const char *file, pid_t pid, uint64_t at, void *bytes, uint64_t len);

#endif
