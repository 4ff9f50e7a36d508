/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the caller and the helper of a child share: private to inject_fork*.c.
 */
#ifndef UMEM_KERN_INJECT_FORK_JOB_H
#define UMEM_KERN_INJECT_FORK_JOB_H

#include <stdatomic.h>

#include "lib/kern/freeze_job.h"
#include "lib/kern/inject_fork.h"
#include "lib/kern/inject_job.h"

/** UMEM_FORK_NOTES_BYTES - room for the notes of one thread. */
#define UMEM_FORK_NOTES_BYTES 32768u

/** enum umem_fork_command - what the caller wants; one byte each on the socket. */
enum umem_fork_command {
	UMEM_FORK_HOLD,
	UMEM_FORK_MAKE,
	UMEM_FORK_GO,
	UMEM_FORK_END,
};

/**
 * struct umem_fork_job - in memory that both map.
 * @inject: the target, the way into its kernel, the thread to use; and where and
 *          on whom something failed.
 * @socket_fd, @owner_fd: the helper's end, and a pidfd of the caller.
 * @result: of the last command.
 * @abandoned: the caller waits no longer: end all as soon as possible.
 * @child_pid: id of the child, or 0.
 * @child_ns_pid: its id as the target knows it.
 * @clone_error: what the system call failed with, or 0.
 * @left_behind: the target could not be made to forget the child.
 * @report: see umem_fork_report().
 * @thread, @notes, @payloads: the thread that made it.
 * @has_thread: they are filled in.
 */
struct umem_fork_job {
	struct umem_inject_job inject;
	int socket_fd;
	int owner_fd;
	int result;
	_Atomic bool abandoned;
	int child_pid;
	long child_ns_pid;
	int clone_error;
	bool left_behind;
	struct umem_fork_report report;
	bool has_thread;
	struct umem_frozen_thread thread;
	struct umem_frozen_note notes[UMEM_FREEZE_MAX_NOTES];
	_Alignas(16) unsigned char payloads[UMEM_FORK_NOTES_BYTES];
};

/** umem_fork_helper - the whole life of the helper process. */
void umem_fork_helper(struct umem_fork_job *job) __attribute__((noreturn));

#endif
