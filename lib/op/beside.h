/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * On which processor the pages of another process are put out: where it costs least.
 *
 * See beside.c. One owner, one thread.
 */
#ifndef UMEM_OP_BESIDE_H
#define UMEM_OP_BESIDE_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/** enum umem_beside_where - a place for a thread. */
enum umem_beside_where {
	UMEM_BESIDE_ANYWHERE, /* where the scheduler puts it */
	UMEM_BESIDE_TARGET,   /* on the processor on which the target runs */
	UMEM_N_BESIDES,
};

/**
 * struct umem_beside - what was seen of each place; all zero is new.
 * @cost_ns: processor time of a page there, of late; 0: not known.
 * @n: pieces of work that were measured.
 * @now: the place of the piece that goes on.
 * @bound: the thread is bound, and @home is where it may run otherwise.
 * @begun_ns: of the thread's processor time.
 */
struct umem_beside {
	uint64_t cost_ns[UMEM_N_BESIDES];
	uint64_t n;
	enum umem_beside_where now;
	bool bound;
	cpu_set_t home;
	uint64_t begun_ns;
};

/**
 * umem_beside_begin - before a piece of work on a process: bind the calling thread, if
 * that is the place to be. Where it may not be bound it runs anywhere.
 * @proc_fd: its directory in /proc.
 */
void umem_beside_begin(struct umem_beside *beside, int proc_fd);

/**
 * umem_beside_end - after it: the thread is free again.
 * @pages: that were worked on.
 */
void umem_beside_end(struct umem_beside *beside, uint64_t pages);

#endif
