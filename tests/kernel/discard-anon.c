// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Discarding anonymous memory: MADV_DONTNEED is WRITTEN at once; MADV_FREE
 * may take the content later, at reclaim.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 64

static void dontneed(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE);

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_SYS(madvise(at + 4 * K_PAGE, 2 * K_PAGE, MADV_DONTNEED));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 2);
	T_CHECK(at[4 * K_PAGE] == 0); /* a read afterwards does not hide it */
	T_CHECK(k_written(pm, at, N * K_PAGE) == 2);
	T_CHECK(k_bits(pm, at + 4 * K_PAGE) & PAGE_IS_PFNZERO);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	munmap(at, N * K_PAGE);
}

static size_t zeros(char *at)
{
	size_t n = 0;

	for (int i = 0; i < N; i++)
		n += at[i * K_PAGE] == 0;
	return n;
}

/* After MADV_FREE a page is clean to the tracker while its content may vanish. */
static void lazy_free(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE);
	size_t written, before, reclaimed;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	T_SYS(madvise(at, N * K_PAGE, MADV_FREE));
	written = k_written(pm, at, N * K_PAGE);
	T_CHECK(zeros(at) == 0);
	k_fact("MADV_FREE of %d armed pages: %zu WRITTEN, content still there, bits %#llx", N,
		written, (unsigned long long)k_bits(pm, at));
	T_CHECK(written == 0);
	/* A store takes the page back and is seen. */
	at[3 * K_PAGE] = 2;
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);

	T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
	before = k_count(pm, at, N * K_PAGE, PAGE_IS_PRESENT);
	reclaimed = N - before;
	written = k_written(pm, at, N * K_PAGE);
	k_fact("reclaim then took %zu of them: %zu WRITTEN (one is the store)", reclaimed, written);
	T_CHECK(reclaimed == 0 || written == reclaimed + 1);
	T_CHECK(zeros(at) == reclaimed);
	T_CHECK(at[3 * K_PAGE] == 2);
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();

	dontneed(uffd, pm);
	lazy_free(uffd, pm);
	return 0;
}
