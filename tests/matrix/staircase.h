/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The staircase: a process whose memory proves of any copy whether it is one moment.
 *
 * Theory of operation: each lane (a thread) stores a counter word after word, page
 * after page, over an area of its own, and begins again with the next counter. At any
 * instant the area is therefore the counter c up to one word, and c - 1 behind it: one
 * step, in the order in which the lane writes (up, down, or scattered). A copy with two
 * steps, or with a step of two, has pages of different moments.
 *
 *	order   page 0    page 1    page 2    page 3
 *	       [ccccccc] [ccccccc] [cccbbbb] [bbbbbbb]        b = c - 1
 *	                               ^ the step
 *
 * Between lanes: a lane tells in a word of another page how many pages it has finished,
 * and stores in each of its pages such a number that it read of another lane. A copy in
 * which lane A shows that it saw 7 pages of B, and B has 6 only, holds an effect without
 * its cause: no instant was like that. Besides, what a lane told must be what its area
 * shows. With several processes the lanes are spread over them, and tell each other in
 * shared memory.
 *
 * Beside the lanes churn goes on (see enum sc_churn). What churns touch in scratch areas
 * are pages that know their own number and generation: written upwards, so that a page
 * is a generation up to one word, and an older one, or zeros, behind it.
 *
 * A lane compares each word with what it wrote before it writes the next: a victim that
 * was given wrong bytes, or lost a write, ends with status 9 at once.
 *
 * The judge needs nothing but bytes: the plan of all of this is at a fixed address of
 * the victim, and so in each copy of it.
 */
#ifndef TESTS_MATRIX_STAIRCASE_H
#define TESTS_MATRIX_STAIRCASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/ranges.h"

#define SC_PAGE	       4096ul
#define SC_WORDS       (SC_PAGE / 8)
#define SC_MAX_LANES   8u
#define SC_MAX_SCRATCH 8u
#define SC_MAGIC       0x7372696174735f31ull

/** SC_PLAN_AT - address of the plan; the page behind it is struct sc_hot. */
#define SC_PLAN_AT 0x20000000000ull
#define SC_HOT_AT  (SC_PLAN_AT + SC_PAGE)

/** SC_SEEN - the word of a page that holds what was seen of another lane. */
#define SC_SEEN 1u

/** enum sc_kind - what a lane's area is. */
enum sc_kind {
	SC_ANON,    /* private, 4K pages */
	SC_MEMFD,   /* a shared mapping of a memfd */
	SC_SHARED,  /* shared anonymous memory */
	SC_FILE,    /* a private mapping of a file */
	SC_ALIAS,   /* a memfd that is mapped twice, written through both */
	SC_THP,	    /* private, huge pages welcome */
	SC_HUGETLB, /* private, of the reserved pool; where it is empty, as SC_ANON */
	SC_MERGED,  /* every other lane: private, pages that are alike, to be merged by KSM */
	SC_N_KINDS,
	SC_MIXED, /* each lane another one, up to SC_THP */
};

/** enum sc_churn - what goes on beside the lanes; bits. */
enum sc_churn {
	SC_MALLOC = 1,	   /* malloc and free, small and large */
	SC_MMAP = 2,	   /* map, write, unmap; and map over what is there */
	SC_DISCARD = 4,	   /* MADV_DONTNEED, MADV_FREE of private memory */
	SC_PUNCH = 8,	   /* holes into a memfd, MADV_REMOVE */
	SC_FORK = 16,	   /* children that write and end */
	SC_MREMAP = 32,	   /* grow, move, shrink */
	SC_THREADS = 64,   /* threads that begin and end */
	SC_SIGNALS = 128,  /* queued signals, all of them counted */
	SC_MLOCK = 256,	   /* lock and unlock */
	SC_READ = 512,	   /* read(2) into memory */
	SC_RING = 1024,	   /* reads by io_uring, also into registered buffers */
	SC_WAITS = 2048,   /* calls that must not be seen to be interrupted */
	SC_CALM = SC_MALLOC | SC_THREADS | SC_SIGNALS | SC_MLOCK | SC_READ | SC_WAITS,
	SC_WILD = SC_MMAP | SC_DISCARD | SC_PUNCH | SC_FORK | SC_MREMAP | SC_RING,
};

/**
 * struct sc_lane - the area of one thread.
 * @at, @alias: addresses; the same but for SC_ALIAS. @n_pages: how long.
 * @kind: enum sc_kind, as it came out.
 * @order: pages are written in the order (i * @order) % @n_pages.
 * @stride: of the words that are written.
 * @process: which process runs it.
 */
struct sc_lane {
	uint64_t at;
	uint64_t alias;
	uint64_t n_pages;
	uint32_t kind;
	uint32_t order;
	uint32_t stride;
	uint32_t process;
};

/**
 * struct sc_scratch - pages that know themselves.
 * @churn: who writes it.
 * @is_torn: it may be written while everything is stopped, so that pages may be mixed.
 */
struct sc_scratch {
	uint64_t at;
	uint64_t n_pages;
	uint32_t churn;
	uint32_t is_torn;
};

/** struct sc_plan - what a victim is; constant once it is ready. */
struct sc_plan {
	uint64_t magic;
	uint32_t n_lanes;
	uint32_t n_scratch;
	uint32_t n_processes;
	int32_t pids[2];
	struct sc_lane lanes[SC_MAX_LANES];
	struct sc_scratch scratch[SC_MAX_SCRATCH];
};

/**
 * struct sc_hot - what the threads tell.
 * @lanes: pages that each lane has finished, a cache line each.
 * @signals_sent, @signals_got: of SC_SIGNALS.
 * @churns: how often each bit's churn has gone round.
 */
struct sc_hot {
	struct {
		uint64_t done;
		uint64_t unused[7];
	} lanes[SC_MAX_LANES];
	uint64_t signals_sent;
	uint64_t signals_got;
	uint64_t churns[16];
};

_Static_assert(sizeof(struct sc_plan) <= SC_PAGE, "the plan is one page");
_Static_assert(sizeof(struct sc_hot) <= SC_PAGE, "and so is this");

/** sc_word - what lane @lane stores in page @page in pass @pass. */
static inline uint64_t sc_word(uint64_t lane, uint64_t page, uint64_t pass)
{
	return pass << 28 | page << 6 | lane << 2 | 1;
}

/** sc_scratch_word - what a churn stores in page @page of its area in generation @gen. */
static inline uint64_t sc_scratch_word(uint64_t page, uint64_t gen)
{
	return gen << 28 | page << 6 | 15 << 2 | 2;
}

/** sc_seen_word - lane @of had finished @done pages. */
static inline uint64_t sc_seen_word(uint64_t of, uint64_t done)
{
	return of << 60 | done;
}

/** sc_page_of - the page that is written as number @i of a pass. */
static inline uint64_t sc_page_of(const struct sc_lane *lane, uint64_t i)
{
	return i * lane->order % lane->n_pages;
}

/**
 * sc_number_of - the number that page @page has in its words. Pages of SC_MERGED have all
 * the same, and tell nothing of other lanes either.
 */
static inline uint64_t sc_number_of(const struct sc_lane *lane, uint64_t page)
{
	return lane->kind == SC_MERGED ? 0 : page;
}

/** sc_is_written - does a lane write word @w? Not so SC_SEEN, which is no part of the step. */
static inline bool sc_is_written(const struct sc_lane *lane, unsigned w)
{
	return w != SC_SEEN && (w % lane->stride == 0 || w == SC_WORDS - 1);
}

/**
 * struct sc_setup - which victim.
 * @n_pages: of each lane. @n_processes: 1 or 2.
 * @churn: bits of enum sc_churn.
 */
struct sc_setup {
	unsigned n_lanes;
	enum sc_kind kind;
	uint64_t n_pages;
	unsigned churn;
	unsigned n_processes;
	uint64_t seed;
};

/** struct sc_victim - one that runs. @in, @out: its pipes. */
struct sc_victim {
	pid_t pid;
	int in;
	int out;
};

/** sc_main - to be called first in main(): as a victim it does not return. */
void sc_main(int argc, char **argv);

/** sc_start - start a victim; returns when all of its lanes go. */
void sc_start(struct sc_victim *victim, const struct sc_setup *setup);

/**
 * sc_check - it lives, each lane goes on, no signal was lost; fails else.
 * Return: pages finished so far.
 */
uint64_t sc_check(struct sc_victim *victim);

/** sc_stop - end it. */
void sc_stop(struct sc_victim *victim);

/* --- the parts of a victim, for one another --- */

/** sc_fill_scratch - write page @page of an area in generation @gen, word by word. */
void sc_fill_scratch(uint64_t at, uint64_t page, uint64_t gen);

/** sc_churn_plan - make the scratch areas of @churn. */
void sc_churn_plan(struct sc_plan *plan, unsigned churn);

/** sc_churn_start - start a thread for each bit of @churn. */
void sc_churn_start(const struct sc_plan *plan, struct sc_hot *hot, unsigned churn,
	uint64_t seed);

/* --- the judge --- */

/**
 * struct sc_reader - where the bytes of a copy come from.
 * @read: @len bytes at @at of process @pid of the copy. Return: they are all there.
 */
struct sc_reader {
	bool (*read)(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len);
	void *user;
};

/**
 * struct sc_verdict - of one copy.
 * @is_one_moment: nothing says that it is not.
 * @why: what does.
 * @done: pages that the lanes had finished at that moment.
 * @scratch_pages: that were looked at. @in_page: lanes caught within a page.
 */
struct sc_verdict {
	bool is_one_moment;
	char why[256];
	uint64_t done;
	uint64_t scratch_pages;
	unsigned in_page;
};

/**
 * sc_judge - is a copy of the victim @pid one moment?
 * @unknown: what the copy says it does not have; no lane may be in it.
 */
void sc_judge(const struct sc_reader *reader, pid_t pid, const struct umem_ranges *unknown,
	struct sc_verdict *ret_verdict);

#endif
