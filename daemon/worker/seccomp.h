/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system calls that a worker, and a process that takes a snapshot, may make, stage by
 * stage. The only user of libseccomp.
 */
#ifndef WORKER_SECCOMP_H
#define WORKER_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>

/**
 * enum seccomp_stage - a stage; the kernel holds a process to all that it entered.
 * @SECCOMP_WAIT: before a target is there: what VERBS has, and what entering it takes.
 * @SECCOMP_VERBS: working.
 * @SECCOMP_SNAPSHOT: taking a snapshot, from the beginning to the end.
 */
enum seccomp_stage {
	SECCOMP_WAIT,
	SECCOMP_VERBS,
	SECCOMP_SNAPSHOT,
};

/**
 * struct seccomp_fds - descriptors that are named in rules.
 * @dir, @proc: directories in which names are looked up.
 * @pidfd: of the target.
 * @journal: that is written.
 */
struct seccomp_fds {
	int dir;
	int proc;
	int pidfd;
	int journal;
};

/**
 * seccomp_stage_enter - allow only what @stage has from now on; all else is EPERM.
 * @fds: for VERBS; NULL for the others, where any descriptor will do.
 *
 * Return: 0 or -errno.
 */
int seccomp_stage_enter(enum seccomp_stage stage, const struct seccomp_fds *fds);

/**
 * seccomp_call_number - the calls of a stage, one after the other, for tests.
 * Return: its number; INT_MAX for one that is not here; -1 past the last one.
 */
int seccomp_call_number(enum seccomp_stage stage, size_t index);

#endif
