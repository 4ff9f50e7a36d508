// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Unregistering, and closing the last descriptor, lifts every protection; one
 * mapping has one userfaultfd.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

/* Half populated, all armed. */
static char *armed(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE);

	k_touch(at, N / 2 * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	return at;
}

static size_t bits_left(int pm, char *at)
{
	size_t n = 0;

	for (int i = 0; i < N; i++)
		n += (k_word(pm, at + i * K_PAGE) & UMEM_PM_UFFD_WP) != 0;
	return n;
}

static void bare(int pm, char *at, const char *what)
{
	k_fact("%s: %zu bits left, bits of a populated page %#llx, of a mark %#llx", what,
		bits_left(pm, at), (unsigned long long)k_bits(pm, at),
		(unsigned long long)k_bits(pm, at + (N - 1) * K_PAGE));
	T_CHECK(bits_left(pm, at) == 0);
	T_CHECK(!(k_bits(pm, at) & PAGE_IS_WPALLOWED));
	T_CHECK(k_written(pm, at, N * K_PAGE) == N);
	T_CHECK(!(k_bits(pm, at + (N - 1) * K_PAGE) & PAGE_IS_SWAPPED));
	T_CHECK(at[0] == 1 && at[(N - 1) * K_PAGE] == 0); /* content is as it was */
	at[0] = 2;
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap(), other, copy;
	char *at = armed(uffd, pm);

	T_CHECK(bits_left(pm, at) == N); /* control */
	T_OK(umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE));
	bare(pm, at, "unregister");

	at = armed(uffd, pm);
	other = k_uffd(K_TRACK);
	T_CHECK(k_register(other, at, N * K_PAGE) == -EBUSY);
	T_CHECK(k_register(other, at + (N - 1) * K_PAGE, K_PAGE) == -EBUSY);
	T_CHECK(k_register(uffd, at, N * K_PAGE) == 0); /* the same one, again: allowed */
	T_CHECK(bits_left(pm, at) == N);
	T_CHECK(umem_uffd_unregister(other, (uintptr_t)at, (uintptr_t)at + N * K_PAGE) != 0 ||
		bits_left(pm, at) == 0);
	k_fact("unregistering through another userfaultfd leaves %zu of %d bits",
		bits_left(pm, at), N);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);

	copy = (int)T_SYS(dup(uffd));
	close(uffd);
	T_CHECK(bits_left(pm, at) == N); /* control: not the last one */
	close(copy);
	bare(pm, at, "close of the last descriptor");

	at = k_anon(N * K_PAGE);
	T_CHECK(k_register(other, at, N * K_PAGE) == 0);
	return 0;
}
