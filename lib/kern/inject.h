/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running system calls inside another process, without its help.
 *
 * One thread is stopped with ptrace, its registers are borrowed for a `syscall`
 * instruction that is mapped already, and put back exactly. See inject.c for
 * the theory of operation. The calling thread blocks for at most the deadline.
 */
#ifndef UMEM_KERN_INJECT_H
#define UMEM_KERN_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

/** UMEM_INJECT_MAX_STEPS - how many steps one stop may hold. */
#define UMEM_INJECT_MAX_STEPS 8

/**
 * struct umem_inject_step - one system call of a stop. It must return at once:
 * one that blocks is broken off after a second and fails the whole run, and one
 * that sleeps by a timeout spoils the remaining time of the target's own sleep.
 * @nr: its number on the target's architecture.
 * @args: its arguments; an address means the target's memory.
 * @arg0_from: index of an earlier step whose result becomes args[0], or -1.
 *             A step whose @arg0_from step failed is not run.
 * @fetch_fd: the result is a descriptor of the target: duplicate it to us.
 * @else_of: run only if the step of this index was run and failed, or -1: an
 *           alternative.
 * @ret_value: what the call returned in the target, -errno on failure;
 *             -ECANCELED when it was not run.
 * @ret_fd: our duplicate, close-on-exec, or -1; the caller closes.
 */
struct umem_inject_step {
	long nr;
	uint64_t args[6];
	int arg0_from;
	bool fetch_fd;
	int else_of;
	long ret_value;
	int ret_fd;
};

/**
 * struct umem_inject_report - how a stop went.
 * @tid: the thread that was used.
 * @stop_ns: from our request to stop it until it was let go: no less than what
 *           the thread lost.
 */
struct umem_inject_report {
	int tid;
	uint64_t stop_ns;
};

/**
 * umem_inject_run - run steps in one stop of one thread of @pid.
 * @pid: process id (of the thread group), not our own.
 * @pidfd: a pidfd of it that the caller checked, so that a reused id is noticed.
 * @steps: results are set in each step when this returns 0.
 * @deadline_ns: give up when no thread could be stopped within this time. What
 *               began within it is brought to an end, at most a second later
 *               unless the kernel itself keeps the thread.
 * @ret_report: may be NULL.
 * @note: says which state of the target was in the way.
 *
 * Return: 0 when the steps were run or skipped by their conditions;
 * UMEM_GONE when the target exited, or replaced its memory by exec, before it
 * was done; -EBUSY already traced; -EPERM not permitted; -EACCES its seccomp
 * filter may not be suspended by us; -ETIMEDOUT no thread stopped (blocked in
 * the kernel); -ENOTSUP a kernel thread or an architecture that we cannot run
 * in (32-bit on 64-bit); -ENOEXEC no syscall instruction was found; -EINVAL our
 * own process, or steps that refer to later ones; -EMFILE and other errors of
 * pidfd_getfd(2); -EIO a signal broke a call off; -ENOMEM, -EAGAIN. On failure
 * the target is as it was and no descriptor is left. A wait with a timeout that
 * the kernel cannot continue (epoll_wait and the like, see inject.c) starts anew
 * if the target has no other thread.
 */
int umem_inject_run(int pid, int pidfd, struct umem_inject_step *steps, size_t n_steps,
	uint64_t deadline_ns, struct umem_inject_report *ret_report,
	struct umem_note *note);

#endif
