// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kernel gathers ranges 512 at a time. A scan that fills more than one such
 * batch and comes to its end within a later one leaves walk_end where the last
 * full batch ended: who goes on from there gets the rest once more. With room
 * for 512 ranges that does not happen. (pagemap_scan(), fs/proc/task_mmu.c.)
 */
#include "tests/kernel/scratch.h"

#define BATCH 512
#define RUNS  (3 * BATCH + 100)

/* Every other page of so much is touched: RUNS runs. Return: pages reported. */
static size_t scan_all(int pm, char *at, size_t n_vec, size_t *ret_calls)
{
	static struct page_region vec[4 * BATCH];
	uint64_t from = (uintptr_t)at, end = from + 2 * RUNS * K_PAGE;
	size_t pages = 0;

	for (*ret_calls = 0; from < end; (*ret_calls)++) {
		uint64_t walk_end = 0;
		long n = k_scan(pm, 0, (void *)(uintptr_t)from, end - from, PAGE_IS_PRESENT,
			PAGE_IS_PRESENT, vec, n_vec, &walk_end);

		T_CHECK(n >= 0 && *ret_calls < 100);
		for (long i = 0; i < n; i++)
			pages += (vec[i].end - vec[i].start) / K_PAGE;
		T_CHECK(walk_end > from && walk_end <= end);
		from = walk_end;
	}
	return pages;
}

int main(void)
{
	int pm = k_pagemap();
	char *at = k_anon(2 * RUNS * K_PAGE);
	size_t calls, pages;

	for (size_t i = 0; i < RUNS; i++)
		at[2 * i * K_PAGE] = 1;
	pages = scan_all(pm, at, BATCH, &calls);
	k_fact("room for %d ranges: %zu of %d pages in %zu calls", BATCH, pages, RUNS, calls);
	T_CHECK(pages == RUNS);
	pages = scan_all(pm, at, 4 * BATCH, &calls);
	k_fact("room for %d ranges: %zu of %d pages in %zu calls", 4 * BATCH, pages, RUNS, calls);
	/* Never fewer; more where the kernel has this. */
	T_CHECK(pages >= RUNS);
	return 0;
}
