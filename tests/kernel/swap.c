// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Swap keeps the bit: a page that goes out and comes back is clean, a written
 * one stays WRITTEN while it is out; the swap type tells it from a mark.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 64

/* Page out until every page is out; reclaim may skip some at first. */
static void page_out(int pm, char *at, size_t n_pages)
{
	uint64_t end = t_now_ns() + 5000000000u;

	while (k_count(pm, at, n_pages * K_PAGE, PAGE_IS_SWAPPED) < n_pages) {
		T_SYS(madvise(at, n_pages * K_PAGE, MADV_PAGEOUT));
		T_CHECK(t_now_ns() < end, "pages do not go out");
	}
}

int main(void)
{
	int uffd, pm;
	char *at;
	volatile char sink;

	k_zram_swap(64 << 20);
	uffd = k_uffd(K_TRACK);
	pm = k_pagemap();
	at = k_anon(N * K_PAGE);
	for (int i = 0; i < N; i++)
		t_fill_page(at + i * K_PAGE, (uint64_t)i, 0);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	at[3 * K_PAGE] = 0; /* written, then paged out */

	page_out(pm, at, N);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(!(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_PRESENT));
	T_CHECK(!(k_word(pm, at + 3 * K_PAGE) & UMEM_PM_UFFD_WP));
	T_CHECK(k_word(pm, at + 4 * K_PAGE) & UMEM_PM_UFFD_WP);
	if (geteuid() == 0)
		T_CHECK(UMEM_PM_SWAP_TYPE(k_word(pm, at + 4 * K_PAGE)) < 24);

	/* Read back: clean, and a store is seen. */
	sink = at[4 * K_PAGE];
	(void)sink;
	T_CHECK(k_bits(pm, at + 4 * K_PAGE) & PAGE_IS_PRESENT);
	T_CHECK(k_word(pm, at + 4 * K_PAGE) & UMEM_PM_UFFD_WP);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	at[4 * K_PAGE] = 0;
	T_CHECK(k_written(pm, at, N * K_PAGE) == 2);
	at[5 * K_PAGE] = 0; /* a store to a page that is out */
	T_CHECK(k_written(pm, at, N * K_PAGE) == 3);

	/* Collecting arms what is out without bringing it in. */
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 3);
	T_CHECK(!(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_PRESENT));
	T_CHECK(k_word(pm, at + 3 * K_PAGE) & UMEM_PM_UFFD_WP);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK((uint8_t)at[9 * K_PAGE + 1] == t_pattern(9, 1, 0));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);

	/* A discard of what is out is WRITTEN, like one of what is there. */
	page_out(pm, at, N);
	T_SYS(madvise(at + 20 * K_PAGE, K_PAGE, MADV_DONTNEED));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	return 0;
}
