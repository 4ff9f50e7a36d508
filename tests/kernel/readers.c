// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading does not dirty: a read fault of an armed hole maps the zero page
 * with the bit set, and the first store after it is seen.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

static void anonymous(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE);
	volatile char sink;

	at[0] = 1;
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	for (int i = 0; i < N / 2; i++)
		sink = at[i * K_PAGE];
	(void)sink;
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(k_bits(pm, at + 2 * K_PAGE) & PAGE_IS_PFNZERO);
	T_CHECK(k_bits(pm, at + 2 * K_PAGE) & PAGE_IS_PRESENT);
	T_CHECK(!(k_bits(pm, at + (N - 1) * K_PAGE) & PAGE_IS_PRESENT));
	at[2 * K_PAGE] = 1;
	T_CHECK(!(k_bits(pm, at + 2 * K_PAGE) & PAGE_IS_PFNZERO));
	at[(N - 1) * K_PAGE] = 1;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	munmap(at, N * K_PAGE);
}

static void shared(int uffd, int pm)
{
	char *at = k_map(N * K_PAGE, MAP_SHARED, k_memfd(N * K_PAGE));
	volatile char sink;

	at[0] = 1;
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	for (int i = 0; i < N / 2; i++)
		sink = at[i * K_PAGE];
	(void)sink;
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[2 * K_PAGE] = 1;
	at[(N - 1) * K_PAGE] = 1;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	munmap(at, N * K_PAGE);
}

/* The huge zero page: a read of an armed, aligned hole of 2 MiB. */
static void huge_zero(int uffd, int pm)
{
	char *at = k_anon_huge(2 * K_HUGE);
	volatile char sink;

	T_OK(k_register(uffd, at, 2 * K_HUGE));
	sink = at[0]; /* before arming */
	k_fact("a read of a hole that welcomes huge pages: bits %#llx",
		(unsigned long long)k_bits(pm, at));
	T_CHECK(k_collect(pm, at, 2 * K_HUGE) == 2 * K_HUGE / K_PAGE);
	sink = at[K_HUGE]; /* after it */
	(void)sink;
	k_fact("the same of an armed one: bits %#llx", (unsigned long long)k_bits(pm, at + K_HUGE));
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 0);
	at[9 * K_PAGE] = 1;
	at[K_HUGE + 9 * K_PAGE] = 1;
	k_fact("a store to the first: %zu WRITTEN, to the second: %zu", k_written(pm, at, K_HUGE),
		k_written(pm, at + K_HUGE, K_HUGE));
	T_CHECK(k_bits(pm, at + 9 * K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(k_bits(pm, at + K_HUGE + 9 * K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(k_collect(pm, at, 2 * K_HUGE) >= 2);
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 0);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();

	anonymous(uffd, pm);
	shared(uffd, pm);
	huge_zero(uffd, pm);
	return 0;
}
