/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A child of the target, made by injection: its memory at one moment, copied on
 * write, to be read at leisure. It never runs, and the target notices nothing.
 *
 * See inject_fork.c for the theory of operation. An object serves one caller at a
 * time, from any of its threads.
 */
#ifndef UMEM_KERN_INJECT_FORK_H
#define UMEM_KERN_INJECT_FORK_H

#include "lib/kern/freeze.h"

/** struct umem_fork - opaque. */
struct umem_fork;

/**
 * struct umem_fork_child - the child.
 * @pid: its id. /proc/PID/maps, pagemap and so on tell of its memory.
 * @pidfd: a pidfd of it.
 * @mem_fd: its memory, see umem_procmem_open().
 *
 * Not in it: mappings with MADV_DONTFORK (VmFlags "dc"); with MADV_WIPEONFORK
 * ("wf") they read as zeros; and mappings that are shared (not private) are the
 * same memory as the target's, so that it changes on. The caller copies all of
 * these from the target within the stop. Pages that a device holds for writing
 * (pins) were copied when the child was made.
 */
struct umem_fork_child {
	int pid;
	int pidfd;
	int mem_fd;
};

/**
 * struct umem_fork_report - how it went.
 * @tid: the thread that made the child.
 * @stop_ns: how long it stood so far, or altogether.
 * @clone_ns: how long the system call took.
 */
struct umem_fork_report {
	int tid;
	uint64_t stop_ns;
	uint64_t clone_ns;
};

/**
 * umem_fork_new - prepare for a child of @pid. It is not disturbed yet.
 * @pid, @pidfd: as umem_inject_run(); the pidfd must stay open.
 *
 * Starts a helper process, which holds a copy-on-write copy of our memory until
 * the child is given up: make large buffers afterwards.
 *
 * Return: 0, UMEM_GONE, -ENOTSUP a kernel thread, -EPERM, -EINVAL our own process,
 * -ENOEXEC, -EMFILE, -ENOMEM, -EAGAIN.
 */
int umem_fork_new(int pid, int pidfd, struct umem_fork **ret_fork, struct umem_note *note);

/**
 * umem_fork_free - end the child, leave nothing of it in the target, free.
 *
 * Waits up to five seconds for the target's help. When we die instead, the helper
 * does the same. NULL is fine. Return: NULL.
 */
struct umem_fork *umem_fork_free(struct umem_fork *fork);

UMEM_DEFINE_CLEANUP(struct umem_fork, umem_fork_free)

/**
 * umem_fork_stop - stop all threads of some processes and make a child of each.
 * @v, @n: one for each process; each without a child.
 * @freeze: that holds none. Process i of it is then that of @v[i]; the thread that
 *          made the child is not among its threads, see umem_fork_thread().
 * @deadline_ns: for all of it.
 *
 * The children are of the moment at which all stand. If 0 is returned the processes
 * stand until umem_fork_go() is called for each and umem_freeze_go(). If not, all
 * were let go; without a child.
 *
 * Return: 0; UMEM_GONE; -EAGAIN one more process is over a limit; -ENOMEM not
 * enough memory; -EACCES a seccomp filter that may not be suspended; -EIO a helper
 * was killed; else as umem_freeze_stop() and umem_inject_run().
 */
int umem_fork_stop(struct umem_fork *const *v, size_t n, struct umem_freeze *freeze,
	uint64_t deadline_ns, struct umem_note *note);

/**
 * umem_fork_thread - the thread that made the child, as it was before. Call it
 * after umem_fork_stop(); also when it runs again. NULL when there is none.
 */
const struct umem_frozen_thread *umem_fork_thread(const struct umem_fork *fork);

/**
 * umem_fork_go - let the thread go that made the child, exactly as it was.
 * Return: 0, UMEM_GONE it was killed meanwhile, -EIO the helper was killed.
 */
int umem_fork_go(struct umem_fork *fork);

/** umem_fork_child - the child. Its descriptors stay ours. */
struct umem_fork_child umem_fork_child(const struct umem_fork *fork);

/** umem_fork_report - how it went so far. */
struct umem_fork_report umem_fork_report(const struct umem_fork *fork);

#endif
