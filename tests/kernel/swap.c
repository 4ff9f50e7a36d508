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

/* Shared memory on its way out: not resident any more, by mincore. */
static size_t resident(char *at)
{
	unsigned char in[N];
	size_t n = 0;

	T_SYS(mincore(at, N * K_PAGE, in));
	for (int i = 0; i < N; i++)
		n += in[i] & 1;
	return n;
}

/* A written page of shared memory leaves no entry behind, which is WRITTEN. */
static void shared(int uffd, int pm)
{
	char *at = k_map(N * K_PAGE, MAP_SHARED, k_memfd(N * K_PAGE));
	uint64_t end = t_now_ns() + 5000000000u;
	volatile char sink;

	for (int i = 0; i < N; i++)
		t_fill_page(at + i * K_PAGE, (uint64_t)i, 0);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	at[3 * K_PAGE] = 0;
	while (resident(at) > 0) {
		T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
		T_CHECK(t_now_ns() < end, "%zu pages stay", resident(at));
	}
	k_fact("shared, out: armed page bits %#llx, written page bits %#llx",
		(unsigned long long)k_bits(pm, at + 4 * K_PAGE),
		(unsigned long long)k_bits(pm, at + 3 * K_PAGE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN);
	sink = at[4 * K_PAGE];
	sink = at[3 * K_PAGE];
	(void)sink;
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	T_CHECK((uint8_t)at[9 * K_PAGE + 1] == t_pattern(9, 1, 0));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[5 * K_PAGE] = 0; /* out, and stored to */
	at[9 * K_PAGE] = 0; /* in again, and stored to */
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	munmap(at, N * K_PAGE);
}

/* A private copy of a file page that is out, and is discarded. */
static void private_copy(int uffd, int pm)
{
	char *at = k_map(N * K_PAGE, MAP_PRIVATE, k_memfd(N * K_PAGE));

	for (int i = 0; i < N; i++)
		t_fill_page(at + i * K_PAGE, (uint64_t)i, 0);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	page_out(pm, at, N);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_SYS(madvise(at + 2 * K_PAGE, K_PAGE, MADV_DONTNEED));
	k_fact("private copy out and discarded: %zu WRITTEN, bits %#llx, swap type %u (out: %u)",
		k_written(pm, at, N * K_PAGE), (unsigned long long)k_bits(pm, at + 2 * K_PAGE),
		UMEM_PM_SWAP_TYPE(k_word(pm, at + 2 * K_PAGE)),
		UMEM_PM_SWAP_TYPE(k_word(pm, at + 3 * K_PAGE)));
	T_CHECK(at[2 * K_PAGE] == 0); /* the content did change */
	T_CHECK((uint8_t)at[3 * K_PAGE] == t_pattern(3, 0, 0));
	at[3 * K_PAGE] = 0;
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN); /* control */
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int uffd, pm;
	char *at;
	volatile char sink;

	k_zram_swap(64 << 20);
	uffd = k_uffd(K_TRACK);
	pm = k_pagemap();
	shared(uffd, pm);
	private_copy(uffd, pm);
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
