/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries of a page table, put together with the object behind them: the states
 * of the pages of one region. See residency_region.c for what they mean.
 */
#ifndef UMEM_MEM_RESIDENCY_JOINT_H
#define UMEM_MEM_RESIDENCY_JOINT_H

#include "lib/mem/residency_reader.h"

/** UMEM_JOINT_RUNS - runs of a stretch that are kept until it is complete. */
#define UMEM_JOINT_RUNS 512

/** enum umem_joint_cached - are swapped pages counted that are in memory all the same? */
enum umem_joint_cached {
	UMEM_CACHED_UNKNOWN,
	UMEM_CACHED_COUNTED,
	UMEM_CACHED_NOT,
};

/** struct umem_joint_run - entries that wait for their stretch to be complete. */
struct umem_joint_run {
	uint64_t start;
	uint64_t end;
	enum umem_entry entry;
};

/**
 * struct umem_joint - one region being read.
 * @reader: the caller's.
 * @out: where states go.
 * @view: its object, or NULL.
 * @shift: from an offset of the object to an address.
 * @runs, @n_runs, @n_none, @i_run: the stretch: its runs, how many of them the object
 *	has to tell, and the one that is being put together.
 * @n_apart: stretches that are still asked run by run.
 * @hidden, @unmarked: what an entry counts as of which the kernel does not tell
 *	what it is.
 * @hidden_bytes, @unmarked_bytes: of those there were so many.
 * @cached: counting of swapped pages that are in memory all the same, in @cached_bytes.
 * @failed: errno of the object.
 */
struct umem_joint {
	struct umem_regions_reader *reader;
	struct umem_walk out;
	struct umem_object_view *view;
	uint64_t shift;
	struct umem_joint_run runs[UMEM_JOINT_RUNS];
	size_t n_runs;
	size_t n_none;
	size_t i_run;
	unsigned n_apart;
	enum umem_entry hidden;
	enum umem_entry unmarked;
	uint64_t hidden_bytes;
	uint64_t unmarked_bytes;
	enum umem_joint_cached cached;
	uint64_t cached_bytes;
	int failed;
};

/** umem_joint_take - the next entries: a umem_table_each, with the joint as its user. */
int umem_joint_take(void *user, uint64_t start, uint64_t end, enum umem_entry entry);

/** umem_joint_end - hand on what is left. Return: 0, what @out returned, -ENOMEM. */
int umem_joint_end(struct umem_joint *joint);

#endif
