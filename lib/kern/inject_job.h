/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the caller and the helper of an injection share: private to inject*.c.
 */
#ifndef UMEM_KERN_INJECT_JOB_H
#define UMEM_KERN_INJECT_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kern/inject.h"

/** UMEM_INJECT_MAX_THREADS - how many threads one helper may try. */
#define UMEM_INJECT_MAX_THREADS 16

/**
 * struct umem_inject_thread - a thread that might be used.
 * @tid: its id.
 * @cpu: processor that it sleeps on, or -1 when it runs.
 * @rank: smaller is better; see rank_thread() in inject_find.c.
 */
struct umem_inject_thread {
	int tid;
	int cpu;
	int rank;
};

/**
 * struct umem_inject_census - the threads of a target at one moment.
 * @v, @n: those that might be used, best first.
 * @n_alive: how many there are, zombies and workers of the kernel left out.
 * @n_usable: how many of them are in a state that can be stopped.
 * @stuck_tid, @stuck_state: one that cannot be stopped, and its state letter; or 0.
 */
struct umem_inject_census {
	struct umem_inject_thread v[UMEM_INJECT_MAX_THREADS];
	size_t n;
	size_t n_alive;
	size_t n_usable;
	int stuck_tid;
	char stuck_state;
};

/** umem_inject_census - look at the threads of @pid; helper-safe. Return: 0, UMEM_GONE, -errno. */
int umem_inject_census(int pid, struct umem_inject_census *ret_census);

/**
 * umem_inject_find_insn - where the memory of thread @tid holds an instruction
 * that enters the kernel.
 * @mem_fd: its /proc/PID/mem.
 *
 * Return: 0, -ENOEXEC none, UMEM_GONE the memory is gone, -errno.
 */
int umem_inject_find_insn(int pid, int tid, int mem_fd, uint64_t *ret_addr);

/**
 * umem_inject_find_insn_again - the same, helper-safe: needs PROCMAP_QUERY (6.11) and
 * a vdso where it was mapped. Return: 0, -ENOEXEC, UMEM_GONE, -errno.
 */
int umem_inject_find_insn_again(int pid, int tid, int mem_fd, uint64_t *ret_addr);

/** umem_inject_status_word - number of "@key:" in a thread's status, or -1; helper-safe. */
long umem_inject_status_word(int pid, int tid, const char *key);

/** enum umem_inject_stage - where a helper failed, for the note. */
enum umem_inject_stage {
	UMEM_INJECT_STAGE_SETUP,
	UMEM_INJECT_STAGE_SEIZE,
	UMEM_INJECT_STAGE_STOP,
	UMEM_INJECT_STAGE_REGS,
	UMEM_INJECT_STAGE_SECCOMP,
	UMEM_INJECT_STAGE_CALL,
	UMEM_INJECT_STAGE_FETCH,
};

/**
 * struct umem_inject_job - one helper's work, in memory that both map.
 * @pid, @pidfd: as umem_inject_run().
 * @mem_fd: the target's memory, opened before the stop.
 * @no_insn: no instruction that enters the kernel was found, last time.
 * @insn: address of an instruction that enters the kernel.
 * @deadline_ns: CLOCK_MONOTONIC moment after which no thread is stopped any more.
 * @threads, @n_threads: whom to try, best first.
 * @steps, @n_steps: a copy; results are in there when @result is 0.
 * @abandoned: the caller waits no longer: fetch no descriptor.
 * @result: 0, -errno, UMEM_GONE, or UMEM_AGAIN (none of the threads could be
 *          used, the target may have others); -EINTR until the helper is done.
 * @stage, @stage_tid: where and on whom it failed.
 * @refusals: how often it was refused without a reason that could be seen.
 * @report: as umem_inject_run().
 */
struct umem_inject_job {
	int pid;
	int pidfd;
	int mem_fd;
	bool no_insn;
	uint64_t insn;
	uint64_t deadline_ns;
	struct umem_inject_thread threads[UMEM_INJECT_MAX_THREADS];
	size_t n_threads;
	struct umem_inject_step steps[UMEM_INJECT_MAX_STEPS];
	size_t n_steps;
	atomic_bool abandoned;
	int result;
	enum umem_inject_stage stage;
	int stage_tid;
	unsigned refusals;
	struct umem_inject_report report;
};

/**
 * umem_inject_prepare - open the memory of one of the threads in @census and find a
 * way into the kernel: sets @mem_fd, which the caller closes, @insn and @no_insn.
 *
 * Return: 0, UMEM_AGAIN look at the threads once more, -errno with a note.
 */
int umem_inject_prepare(struct umem_inject_job *job, const struct umem_inject_census *census,
	struct umem_note *note);

/** umem_inject_note_failure - say what failed, from the job's stage. Return: -errno. */
int umem_inject_note_failure(const struct umem_inject_job *job, int r, struct umem_note *note);

/** umem_inject_helper - the whole life of the helper process. */
void umem_inject_helper(struct umem_inject_job *job) __attribute__((noreturn));

#endif
