// SPDX-License-Identifier: LGPL-2.1-or-later
/* WRITTEN means "no write-protect bit"; one scan reports and arms; walk_end. */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

static void unregistered_is_written(int pm)
{
	char *at = k_anon(N * K_PAGE);

	k_touch(at, N * K_PAGE, 1);
	T_CHECK(k_written(pm, at, N * K_PAGE) == N);
	T_CHECK(!(k_bits(pm, at) & PAGE_IS_WPALLOWED));
	munmap(at, N * K_PAGE);
}

static void one_pass_reports_and_arms(int uffd, int pm, char *at)
{
	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == N);
	T_CHECK(k_bits(pm, at) & PAGE_IS_WPALLOWED);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(k_word(pm, at) & UMEM_PM_UFFD_WP);

	at[3 * K_PAGE] = 2;
	at[9 * K_PAGE + 5] = 2;
	T_CHECK(!(k_word(pm, at + 3 * K_PAGE) & UMEM_PM_UFFD_WP));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 2);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 0);
}

/*
 * A vector of one: the scan stops when a second range would be needed, having
 * armed exactly what it reported, and goes on from walk_end.
 */
static void full_vector(int pm, char *at)
{
	uint64_t base = (uintptr_t)at, walk_end = 0;
	struct page_region vec[1];
	long n;

	at[2 * K_PAGE] = 3;
	at[3 * K_PAGE] = 3;
	at[8 * K_PAGE] = 3;
	n = k_scan(pm, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, at, N * K_PAGE,
		PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 1, &walk_end);
	T_CHECK(n == 1 && vec[0].start == base + 2 * K_PAGE && vec[0].end == base + 4 * K_PAGE);
	k_fact("full vector: last range ends at page %llu, walk_end at page %llu",
		(unsigned long long)(vec[0].end - base) / K_PAGE,
		(unsigned long long)(walk_end - base) / K_PAGE);
	T_CHECK(walk_end >= vec[0].end && walk_end <= base + 8 * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1); /* page 8 waits */
	/* A write before walk_end belongs to the next round, not to the rest of this one. */
	at[5 * K_PAGE] = 4;
	n = k_scan(pm, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, (void *)walk_end,
		base + N * K_PAGE - walk_end, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 1, &walk_end);
	T_CHECK(n == 1 && vec[0].start == base + 8 * K_PAGE && vec[0].end == base + 9 * K_PAGE);
	T_CHECK(walk_end == base + N * K_PAGE);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
}

/* Neighbours with the same bits come as one range; looking arms nothing. */
static void coalescing(int pm, char *at)
{
	struct page_region vec[4];
	uint64_t walk_end = 0;

	k_touch(at, 4 * K_PAGE, 5);
	T_CHECK(k_scan(pm, 0, at, N * K_PAGE, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 4,
			&walk_end) == 1);
	T_CHECK(vec[0].end - vec[0].start == 4 * K_PAGE);
	T_CHECK(vec[0].categories == PAGE_IS_WRITTEN);
	T_CHECK(walk_end == (uintptr_t)at + N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 4); /* looking changed nothing */
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_anon(N * K_PAGE);

	unregistered_is_written(pm);
	one_pass_reports_and_arms(uffd, pm, at);
	full_vector(pm, at);
	coalescing(pm, at);
	return 0;
}
