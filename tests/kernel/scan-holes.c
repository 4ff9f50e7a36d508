// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A scan for exactly WRITTEN sees what is not there: never-touched pages,
 * whole empty page tables, and pages that were discarded after arming.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N     (4 * K_HUGE / K_PAGE)
#define TABLE (K_HUGE / K_PAGE)

/* Holes are reported, marked, quiet afterwards, and seen again when written. */
static void never_touched(int uffd, int pm)
{
	char *at = k_anon_huge(4 * K_HUGE);

	madvise(at, 4 * K_HUGE, MADV_NOHUGEPAGE);
	at[0] = 1; /* one table exists, three do not */
	T_OK(k_register(uffd, at, 4 * K_HUGE));
	/* Control: a request that is not exactly WRITTEN. */
	k_fact("scan for WRITTEN|WPALLOWED sees %zu of %lu pages of a fresh mapping",
		k_count(pm, at, 4 * K_HUGE, PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED), N);
	T_CHECK(k_written(pm, at, 4 * K_HUGE) == N);
	T_CHECK(k_collect(pm, at, 4 * K_HUGE) == N);
	T_CHECK(k_written(pm, at, 4 * K_HUGE) == 0);

	/* A mark reads as SWAPPED; its swap type is 31, which no area has. */
	T_CHECK(k_bits(pm, at + 7 * K_PAGE) & PAGE_IS_SWAPPED);
	T_CHECK(!(k_bits(pm, at + 7 * K_PAGE) & (PAGE_IS_WRITTEN | PAGE_IS_PRESENT)));
	T_CHECK(k_word(pm, at + 7 * K_PAGE) & UMEM_PM_SWAPPED);
	T_CHECK(k_word(pm, at + 7 * K_PAGE) & UMEM_PM_UFFD_WP);
	if (geteuid() == 0)
		T_CHECK(UMEM_PM_SWAP_TYPE(k_word(pm, at + 7 * K_PAGE)) == 31);
	T_CHECK(k_count(pm, at, 4 * K_HUGE, PAGE_IS_SWAPPED) == N - 1);

	at[7 * K_PAGE] = 1;
	at[3 * K_HUGE] = 1;
	T_CHECK(k_collect(pm, at, 4 * K_HUGE) == 2);
	munmap(at, 4 * K_HUGE);
}

/* MADV_DONTNEED of single pages and of a whole table, populated and armed. */
static void discarded(int uffd, int pm)
{
	char *at = k_anon_huge(4 * K_HUGE);
	uint64_t tables;

	madvise(at, 4 * K_HUGE, MADV_NOHUGEPAGE);
	k_touch(at, 4 * K_HUGE, 1);
	T_OK(k_register(uffd, at, 4 * K_HUGE));
	T_CHECK(k_collect(pm, at, 4 * K_HUGE) == N);
	T_CHECK(k_written(pm, at, 4 * K_HUGE) == 0);

	T_SYS(madvise(at + 5 * K_PAGE, K_PAGE, MADV_DONTNEED));
	T_CHECK(k_written(pm, at, 4 * K_HUGE) == 1);
	k_fact("a discarded page: %s by a scan for WRITTEN|WPALLOWED",
		k_count(pm, at, 4 * K_HUGE, PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED) == 1 ?
			"seen" : "not seen");
	T_CHECK(k_collect(pm, at, 4 * K_HUGE) == 1);

	tables = k_status_kb("VmPTE");
	T_SYS(madvise(at + K_HUGE, K_HUGE, MADV_DONTNEED));
	k_fact("discarding 2 MiB at a table's boundary freed %lld kB of page tables",
		(long long)(tables - k_status_kb("VmPTE")));
	T_CHECK(k_written(pm, at, 4 * K_HUGE) == TABLE);
	T_CHECK(k_collect(pm, at, 4 * K_HUGE) == TABLE);
	T_CHECK(k_written(pm, at, 4 * K_HUGE) == 0);

	/* Across tables, not aligned. */
	T_SYS(madvise(at + K_HUGE + K_PAGE, 2 * K_HUGE, MADV_DONTNEED));
	T_CHECK(k_collect(pm, at, 4 * K_HUGE) == 2 * TABLE);
	/* And a mark that is discarded: the page was zero and stays zero. */
	T_SYS(madvise(at + 2 * K_HUGE, K_PAGE, MADV_DONTNEED));
	k_fact("discarding a marked hole reports it: %zu", k_written(pm, at, 4 * K_HUGE));
	munmap(at, 4 * K_HUGE);
}

/* A huge page, discarded whole. */
static void discarded_huge(int uffd, int pm)
{
	char *at = k_anon_huge(2 * K_HUGE);

	k_touch(at, 2 * K_HUGE, 1);
	if (!(k_bits(pm, at) & PAGE_IS_HUGE)) {
		printf("no huge page was given: that part is left out\n");
		return;
	}
	T_OK(k_register(uffd, at, 2 * K_HUGE));
	T_CHECK(k_collect(pm, at, 2 * K_HUGE) == 2 * TABLE);
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 0);
	T_SYS(madvise(at, K_HUGE, MADV_DONTNEED));
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == TABLE);
	T_CHECK(k_collect(pm, at, 2 * K_HUGE) == TABLE);
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 0);
	at[17 * K_PAGE] = 2;
	T_CHECK(k_collect(pm, at, 2 * K_HUGE) == 1);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();

	never_touched(uffd, pm);
	discarded(uffd, pm);
	discarded_huge(uffd, pm);
	return 0;
}
