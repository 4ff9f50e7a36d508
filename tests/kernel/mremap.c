// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * mremap to another address loses registration and bits: all WRITTEN there.
 * Grown in place, the new part is watched and written. mprotect splits and
 * merges without losing a bit.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

static void moved(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE), *room = k_anon(2 * N * K_PAGE), *now;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	now = mremap(at, N * K_PAGE, N * K_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room + K_PAGE);
	T_CHECK(now == room + K_PAGE);
	T_CHECK(k_written(pm, now, N * K_PAGE) == N);
	T_CHECK(!(k_bits(pm, now) & PAGE_IS_WPALLOWED));
	T_CHECK(!(k_word(pm, now) & UMEM_PM_UFFD_WP));
	T_CHECK(now[3 * K_PAGE] == 1);
	/* The old address is a hole, which no scan mentions. */
	T_CHECK(k_count(pm, at, N * K_PAGE, 0) == 0);
	T_OK(k_register(uffd, now, N * K_PAGE));
	T_CHECK(k_collect(pm, now, N * K_PAGE) == N);
	now[K_PAGE] = 2;
	T_CHECK(k_collect(pm, now, N * K_PAGE) == 1);
	munmap(room, 2 * N * K_PAGE);
}

static void grown(int uffd, int pm)
{
	char *at = k_anon(2 * N * K_PAGE);

	T_SYS(munmap(at + N * K_PAGE, N * K_PAGE));
	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	if (mremap(at, N * K_PAGE, 2 * N * K_PAGE, 0) != at) {
		k_fact("could not grow in place");
		return;
	}
	k_fact("grown in place: new part bits %#llx, %zu WRITTEN",
		(unsigned long long)k_bits(pm, at + N * K_PAGE), k_written(pm, at, 2 * N * K_PAGE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(k_written(pm, at + N * K_PAGE, N * K_PAGE) == N);
	munmap(at, 2 * N * K_PAGE);
}

static void protected(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE);

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	at[2 * K_PAGE] = 2;
	T_SYS(mprotect(at + 4 * K_PAGE, 4 * K_PAGE, PROT_READ)); /* splits */
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_SYS(mprotect(at, N * K_PAGE, PROT_NONE)); /* merges */
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_SYS(mprotect(at, N * K_PAGE, PROT_READ | PROT_WRITE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	at[5 * K_PAGE] = 2;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	T_CHECK(k_bits(pm, at + 7 * K_PAGE) & PAGE_IS_WPALLOWED);

	/* Arming works while a part is read-only, too. */
	T_SYS(mprotect(at, N * K_PAGE, PROT_READ));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 0);
	T_SYS(mprotect(at, N * K_PAGE, PROT_READ | PROT_WRITE));
	at[6 * K_PAGE] = 2;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();

	moved(uffd, pm);
	grown(uffd, pm);
	protected(uffd, pm);
	return 0;
}
