/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much memory a process has, where the kernel tells it at no cost: its counters, which
 * are not exact to the page and take no lock of the process.
 */
#ifndef DAEMON_USAGE_H
#define DAEMON_USAGE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct usage - of one process.
 * @resident_bytes: in memory, shared memory that it maps included.
 * @swapped_bytes: swapped out, without shared memory.
 * @known: they could be read.
 * @read_ns: when that was tried; 0 for never.
 */
struct usage {
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
	bool known;
	uint64_t read_ns;
};

/** USAGE_OLD_NS - what is older is read again: looking often must not cost more. */
#define USAGE_OLD_NS 1000000000ull

/**
 * usage_read - read it, unless it was just read.
 * @dir_fd: of /proc/PID; -1: it is not known.
 */
void usage_read(int dir_fd, struct usage *usage);

/** usage_parse - out of the text of /proc/PID/status, which is not trusted. */
void usage_parse(const char *text, struct usage *usage);

#endif
