/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the programs about reclaim share: a victim that checks its own memory, and
 * a run of reclaim on a clock of its own.
 *
 * Theory of operation: victim and reclaim go in lockstep, so that nothing is left
 * to chance and no time is waited for. A step is an interval of 5 seconds on the
 * run's clock:
 *
 *	reclaim works -> the victim uses its hot part -> the clock goes on -> look
 *
 * The victim is blocked in read(2) but for the moment in which it obeys. What came
 * back in a step is therefore what its own major faults say.
 */
#ifndef TESTS_MATRIX_VICTIM_H
#define TESTS_MATRIX_VICTIM_H

#include "lib/op/reclaim.h"
#include "tests/kernel/scratch.h"

/** V_STEP_NS - the interval of a run. */
#define V_STEP_NS 5000000000u

/**
 * struct victim - a process: @n_hot pages that it uses, then @n_cold that it does not.
 * @base: address of its region; @cmd, @reply: pipes.
 */
struct victim {
	pid_t pid;
	uint64_t base;
	uint64_t n_hot;
	uint64_t n_cold;
	int cmd;
	int reply;
	int proc;
	int pagemap;
};

/** V_GAP - pages from one that V_SPARSE reads to the next. */
#define V_GAP 16u

/** What a victim can be told to do. */
enum v_order {
	V_TOUCH = 't',	 /* write its hot part */
	V_READ = 'r',	 /* read its hot part */
	V_CHECK = 'c',	 /* every page holds what it should; it fails else */
	V_SPARSE = 'p',	 /* read its hot part, and every V_GAP-th page of the cold one */
	V_FORK = 'f',	 /* have a child that waits and shares all; its pid */
	V_EXEC = 'x',	 /* become a victim anew */
	V_UNMAP = 'u',	 /* unmap the last quarter of its cold part */
	V_DISCARD = 'd', /* MADV_DONTNEED of the quarter before that */
	V_REFILL = 'F',	 /* discard the second half of its cold part and fill it anew; how many */
	V_SHARE = 's',	 /* have shared memory instead, filled as it was */
	V_LOCK = 'm',	 /* mlock all that is mapped now */
	V_HUGE = 'h',	 /* have huge pages wherever they fit; how many are full */
	V_RANDOM = 'R',	 /* fill the cold part with what does not compress */
};

/**
 * v_main - to be called first in main(): where the program was started as a victim
 * by V_EXEC it does not return.
 */
void v_main(int argc, char **argv);

/** v_start - a victim named @name (NULL: as the test). */
void v_start(struct victim *v, uint64_t n_hot, uint64_t n_cold, const char *name);

/** v_tell - have it obey; fails when it does not answer. Return: its answer. */
uint64_t v_tell(struct victim *v, enum v_order order);

/** v_stop - end it, unless @pid is 0. */
void v_stop(struct victim *v);

/** v_pagemap - the pagemap of a process, as it is now. */
int v_pagemap(pid_t pid);

/** v_out - pages of [@first, @first + @n) that are out, by the raw words of pagemap. */
uint64_t v_out(const struct victim *v, uint64_t first, uint64_t n);

/** v_huge - bytes of its private memory that huge pages map, by its smaps_rollup. */
uint64_t v_huge(const struct victim *v);

/** v_maj_flt - its major faults so far. */
uint64_t v_maj_flt(const struct victim *v);

/**
 * struct run - a run of reclaim.
 * @options: changed before run_begin(). @now_ns: its clock.
 * @report: of the last look. @reclaimed_bytes, @refaulted_bytes: so far.
 * @result: of the last look.
 */
struct run {
	struct umem_reclaim_options options;
	struct umem_clock clock;
	uint64_t now_ns;
	struct umem_reclaim *reclaim;
	const struct umem_reclaim_report *report;
	uint64_t reclaimed_bytes;
	uint64_t refaulted_bytes;
	int result;
	struct umem_note note;
};

/** run_init - with the limits wide open and without an objective. */
void run_init(struct run *run, enum umem_policy policy);

/** run_begin - umem_reclaim_new() that must succeed, and the first look. */
void run_begin(struct run *run);

/** run_work - put out all that was decided. */
void run_work(struct run *run);

/** run_look - an interval has passed. */
void run_look(struct run *run);

/** run_step - work, have @v (may be NULL) do @order, look. */
void run_step(struct run *run, struct victim *v, enum v_order order);

/** run_steps - @n of them. */
void run_steps(struct run *run, struct victim *v, enum v_order order, unsigned n);

/** run_told - did an event of the last look say @part about @pid? */
bool run_told(const struct run *run, pid_t pid, const char *part);

/** run_end - free it. */
void run_end(struct run *run);

#endif
