/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One stop of one thread, in the helper of an injection: private to inject*.c, but
 * for umem_inject_trace() and the like.
 * Everything is safe in a child of a raw clone: no allocation, no locks.
 */
#ifndef UMEM_KERN_INJECT_STOP_H
#define UMEM_KERN_INJECT_STOP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/kern/inject_arch.h"
#include "lib/kern/inject_job.h"

/** struct umem_inject_dispatch - syscall user dispatch, as linux/ptrace.h has it. */
struct umem_inject_dispatch {
	uint64_t mode;
	uint64_t selector;
	uint64_t offset;
	uint64_t len;
};

/**
 * struct umem_inject_stop - one stop of one thread.
 * @job: what is to be done in it.
 * @tid: the thread.
 * @polls: wait for it awake.
 * @getfd_pidfd: whose table its descriptors are fetched from.
 * @begin_ns: when it was asked to stop.
 * @until_ns: when calls are broken off.
 * @interrupted: that has happened.
 * @options: of ptrace, beside those that every stop has; set before borrowing.
 * @bare: calls are made with no stack and no pointers, see inject_fork_helper.c.
 * @born: id of what a call made that was traced from birth (PTRACE_O_TRACECLONE).
 * @has_regs, @masked: registers are saved, signals are blocked.
 * @dirty: the registers are borrowed.
 * @deliver: a signal to hand over when it is let go, or 0.
 * @mask, @dispatch, @saved: what the thread had.
 */
struct umem_inject_stop {
	struct umem_inject_job *job;
	int tid;
	bool polls;
	int getfd_pidfd;
	uint64_t begin_ns;
	uint64_t until_ns;
	bool interrupted;
	long options;
	bool bare;
	int born;
	bool has_regs;
	bool masked;
	bool dirty;
	int deliver;
	uint64_t mask;
	struct umem_inject_dispatch dispatch;
	struct umem_inject_regs saved;
};

/** umem_inject_trace - ptrace(2) with -errno. */
long umem_inject_trace(int request, int tid, uintptr_t addr, uintptr_t data);

/** umem_inject_wait_us - sleep, though the helper's ticks go on. */
void umem_inject_wait_us(long us);

/**
 * umem_inject_wait_stop - the next stop of the thread.
 *
 * Return: 0 and its wait status, UMEM_GONE when the thread exists no longer,
 * -ETIMEDOUT after @until_ns.
 */
int umem_inject_wait_stop(const struct umem_inject_stop *s, uint64_t until_ns, int *ret_status);

/** umem_inject_event - PTRACE_EVENT_* of a wait status, or 0. */
static inline int umem_inject_event(int status)
{
	return (int)((unsigned)status >> 16);
}

/**
 * umem_inject_be_first - let the calling thread, and what it clones, run before
 * others, if we may: on a busy machine a thread that is held stands for as long as
 * its holder waits for a processor. The holder sleeps or is quick.
 */
void umem_inject_be_first(void);

/**
 * umem_inject_set_up - make a helper a process of its own, so that what ends our
 * group or program does not end it in mid-stop.
 */
void umem_inject_set_up(void);

/**
 * umem_inject_leave - end a helper, by the system call itself: it began by one, so what
 * runs in exit calls of others (TSan) finds locks of threads that are not there.
 */
void umem_inject_leave(int status) __attribute__((noreturn));

/** umem_inject_tick - let waits look at the clock from now on, or no longer. */
void umem_inject_tick(bool on);

/**
 * umem_inject_hold - stop a thread. It is let go untouched by our exit, unless its
 * state is saved by umem_inject_borrow().
 * @s: its job is set.
 *
 * Return: 0, UMEM_AGAIN try another one, -EAGAIN the threads are others by now,
 * UMEM_GONE, -errno.
 */
int umem_inject_hold(struct umem_inject_stop *s, const struct umem_inject_thread *thread);

/**
 * umem_inject_borrow - save what is borrowed, and make the thread deaf and
 * unfiltered. Return: 0, UMEM_AGAIN, UMEM_GONE, -errno; to be given back in any
 * case but UMEM_GONE.
 */
int umem_inject_borrow(struct umem_inject_stop *s);

/** umem_inject_give_back - put everything back, let it go. Return: 0, UMEM_GONE. */
int umem_inject_give_back(struct umem_inject_stop *s);

/**
 * umem_inject_call - one system call in a thread whose state is saved. Return: 0 and
 * what the call returned, UMEM_GONE, -ETIMEDOUT broken off, -EIO by a signal.
 */
int umem_inject_call(struct umem_inject_stop *s, long nr, const uint64_t args[6],
	long *ret_value);

/**
 * umem_inject_run_steps - all steps of the job, in order, in a thread whose
 * state is saved. Return: 0 when each was run or left out, UMEM_GONE, -ETIMEDOUT
 * a call was broken off, -EIO by a signal, -errno of pidfd_getfd(2).
 */
int umem_inject_run_steps(struct umem_inject_stop *s);

/** umem_inject_undo_steps - close in the target what abandoned steps have opened there. */
void umem_inject_undo_steps(struct umem_inject_stop *s);

#endif
