// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A page of a private file mapping (.data of a program) that was written,
 * armed, and discarded: its content goes back to the file's.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 8

/* A private copy is PRESENT and not FILE; what the file gives is FILE. */
static bool is_copy(int pm, char *at)
{
	uint64_t bits = k_bits(pm, at);

	return (bits & PAGE_IS_PRESENT) && !(bits & PAGE_IS_FILE);
}

static void run(int uffd, int pm, int fd, const char *what)
{
	char *at = k_map(N * K_PAGE, MAP_PRIVATE, fd);
	char first = at[2 * K_PAGE];
	uint64_t bits, after;
	size_t seen;

	at[1 * K_PAGE] = 99;
	at[2 * K_PAGE] = 99;
	at[3 * K_PAGE] = 99;
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(is_copy(pm, at + 2 * K_PAGE));

	T_SYS(madvise(at + 2 * K_PAGE, K_PAGE, MADV_DONTNEED));
	seen = k_written(pm, at, N * K_PAGE);
	bits = k_bits(pm, at + 2 * K_PAGE);
	T_CHECK(!is_copy(pm, at + 2 * K_PAGE)); /* this shows it */
	T_CHECK(is_copy(pm, at + 1 * K_PAGE) && is_copy(pm, at + 3 * K_PAGE));
	T_CHECK(at[2 * K_PAGE] == first); /* the content did change */
	after = k_bits(pm, at + 2 * K_PAGE);
	k_fact("%s: armed copy discarded: %zu WRITTEN, bits %#llx, after a read %#llx", what, seen,
		(unsigned long long)bits, (unsigned long long)after);
	/* Control: a write is seen. */
	at[3 * K_PAGE] = 98;
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN);
	at[2 * K_PAGE] = 97;
	T_CHECK(k_bits(pm, at + 2 * K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(is_copy(pm, at + 2 * K_PAGE));
	munmap(at, N * K_PAGE);
}

/* A read of a file page that was not there does not make it written. */
static void read_fault(int uffd, int pm, int fd)
{
	char *at = k_map(N * K_PAGE, MAP_PRIVATE, fd);
	volatile char sink;

	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	for (int i = 0; i < N; i++)
		sink = at[i * K_PAGE];
	(void)sink;
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PRESENT | PAGE_IS_FILE) == N);
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	int file = k_file(N), memfd = k_memfd(N * K_PAGE);
	char page[K_PAGE];

	for (int i = 0; i < N; i++) {
		t_fill_page(page, (uint64_t)i, 0);
		T_CHECK(pwrite(memfd, page, K_PAGE, (off_t)(i * K_PAGE)) == (ssize_t)K_PAGE);
	}
	run(uffd, pm, file, "disk file");
	run(uffd, pm, memfd, "memfd mapped private");
	read_fault(uffd, pm, file);
	return 0;
}
