/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs of pages of one space, changed in any order: the index of a writer.
 *
 * Theory of operation
 *
 * A sorted array in pieces of up to 256 runs, and a sorted array of the pieces. To
 * find takes two binary searches; a change moves at most one piece of 6 KiB, and
 * seldom the array of pieces. Runs are disjoint. Neighbours that continue each other
 * (the next address, the next number) become one, so what is put in ascending order
 * stays a handful of runs. One owner, no locks, no system call.
 */
#ifndef UMEM_STORE_RUNS_H
#define UMEM_STORE_RUNS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/store/format.h"

struct umem_runs_piece;

/**
 * struct umem_runs - the map; all zero is empty.
 * @pieces, @n_pieces, @room: private.
 * @n: runs in it.
 */
struct umem_runs {
	struct umem_runs_piece **pieces;
	size_t n_pieces;
	size_t room;
	uint64_t n;
};

/** struct umem_runs_at - a place in the map; lost when the map changes. */
struct umem_runs_at {
	size_t piece;
	size_t index;
};

/** umem_runs_deinit - free what it owns and make it empty. */
void umem_runs_deinit(struct umem_runs *runs);

/**
 * umem_runs_set - say what is known of the pages of @run; replaces what was.
 * @run: @n_pages is not 0, and its end does not pass 2^64 - 4096.
 * @ret_data_pages: pages of kind DATA that were replaced are added to it.
 *
 * Return: 0, or -ENOMEM; then the pages may be unknown.
 */
int umem_runs_set(struct umem_runs *runs, const struct umem_run *run, uint64_t *ret_data_pages);

/** umem_runs_drop - nothing is known of [@start, @end) any more. Return: as umem_runs_set(). */
int umem_runs_drop(struct umem_runs *runs, uint64_t start, uint64_t end,
	uint64_t *ret_data_pages);

/** umem_runs_find - the first run whose end is past @addr. Return: false: none. */
bool umem_runs_find(const struct umem_runs *runs, uint64_t addr, struct umem_runs_at *ret_at);

/** umem_runs_first - the first run. Return: false: none. */
bool umem_runs_first(const struct umem_runs *runs, struct umem_runs_at *ret_at);

/** umem_runs_next - step on. Return: false: that was the last. */
bool umem_runs_next(const struct umem_runs *runs, struct umem_runs_at *at);

/** umem_runs_get - the run at a place. */
const struct umem_run *umem_runs_get(const struct umem_runs *runs,
	const struct umem_runs_at *at);

#endif
