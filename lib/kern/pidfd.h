/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes by pidfd: identity, exit, descriptors of others, what they are.
 */
#ifndef UMEM_KERN_PIDFD_H
#define UMEM_KERN_PIDFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/**
 * umem_pidfd_open - pidfd of a process.
 * Return: 0, -ESRCH, -EINVAL (a thread, not a process), -EMFILE.
 */
int umem_pidfd_open(int pid, int *ret_fd);

/** umem_pidfd_exited - has the process ended? Looks, does not wait. */
bool umem_pidfd_exited(int pidfd);

/**
 * umem_pidfd_getfd - duplicate descriptor @fd of the process.
 * Return: 0, -EPERM, -EBADF, -ESRCH.
 */
int umem_pidfd_getfd(int pidfd, int fd, int *ret_fd);

/**
 * umem_pidfd_madvise - process_madvise(2).
 * @ret_bytes: bytes advised, maybe fewer than asked.
 *
 * Return: 0, -EPERM, -ESRCH, -ENOMEM (a hole, nothing advised before it), -EINVAL.
 */
int umem_pidfd_madvise(int pidfd, const struct iovec *iov, size_t n_iov, int advice,
	uint64_t *ret_bytes);

/**
 * struct umem_proc_stat - what /proc/PID/stat says.
 * @state: its letter.
 * @ppid, @pgrp, @sid: parent, process group, session; 0 when they are not told.
 * @kernel_thread: PF_KTHREAD is set.
 * @io_worker, @user_worker: a thread of the kernel within a program, which runs
 *                           no code of it: of an io_uring, of any kind (6.4).
 * @min_flt, @maj_flt: page faults without and with I/O.
 * @utime_ticks, @stime_ticks: processor time, in clock ticks.
 * @cutime_ticks, @cstime_ticks: that of children that were waited for.
 * @last_cpu: processor it ran on last.
 * @start_ticks: start time since boot, in clock ticks; with the id, its identity.
 * @comm: its name.
 */
struct umem_proc_stat {
	char state;
	int ppid;
	int pgrp;
	int sid;
	bool kernel_thread;
	bool io_worker;
	bool user_worker;
	uint64_t min_flt;
	uint64_t maj_flt;
	uint64_t utime_ticks;
	uint64_t stime_ticks;
	uint64_t cutime_ticks;
	uint64_t cstime_ticks;
	int last_cpu;
	uint64_t start_ticks;
	char comm[64];
};

/**
 * umem_proc_stat_parse - parse the text of a stat file; comm may hold anything.
 * Return: 0 or -EBADMSG.
 */
int umem_proc_stat_parse(const char *text, size_t len_bytes, struct umem_proc_stat *ret_stat);

/**
 * umem_proc_stat_read - of process @pid, or of its thread @tid if > 0.
 * Return: 0, -ENOENT, -ESRCH, -EBADMSG.
 */
int umem_proc_stat_read(int pid, int tid, struct umem_proc_stat *ret_stat);

/** umem_proc_stat_read_at - the same with @proc_fd, a descriptor of /proc/PID. */
int umem_proc_stat_read_at(int proc_fd, int tid, struct umem_proc_stat *ret_stat);

#endif
