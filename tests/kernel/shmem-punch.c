// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Shared memory loses content without being WRITTEN: fallocate PUNCH_HOLE,
 * MADV_REMOVE, ftruncate. The file's extents show each.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

/* Pages of data in the file, as SEEK_DATA and SEEK_HOLE tell. */
static size_t data_pages(int fd)
{
	off_t data, hole = 0;
	size_t n_pages = 0;

	while ((data = lseek(fd, hole, SEEK_DATA)) >= 0) {
		hole = (off_t)T_SYS(lseek(fd, data, SEEK_HOLE));
		n_pages += (size_t)(hole - data) / K_PAGE;
	}
	T_CHECK(errno == ENXIO);
	return n_pages;
}

static void armed(int pm, int fd, char *at)
{
	k_touch(at, N * K_PAGE, 1);
	k_collect(pm, at, N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(data_pages(fd) == N);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	int fd = k_memfd(N * K_PAGE);
	char *at = k_map(N * K_PAGE, MAP_SHARED, fd);

	T_OK(k_register(uffd, at, N * K_PAGE));

	armed(pm, fd, at);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * K_PAGE, 2 * K_PAGE));
	k_fact("fallocate PUNCH_HOLE of 2: %zu WRITTEN, bits %#llx", k_written(pm, at, N * K_PAGE),
		(unsigned long long)k_bits(pm, at + 3 * K_PAGE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(data_pages(fd) == N - 2);
	T_CHECK(at[3 * K_PAGE] == 0); /* reading fills the hole ... */
	k_fact("a read of the hole: data pages %zu of %d, %zu WRITTEN", data_pages(fd), N,
		k_written(pm, at, N * K_PAGE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);

	/* ... so that the extents alone do not show it any more. */
	armed(pm, fd, at);
	T_SYS(madvise(at + 5 * K_PAGE, 3 * K_PAGE, MADV_REMOVE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(data_pages(fd) == N - 3);

	armed(pm, fd, at);
	T_SYS(ftruncate(fd, 8 * K_PAGE));
	T_SYS(ftruncate(fd, N * K_PAGE));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(data_pages(fd) == 8);
	T_CHECK(at[12 * K_PAGE] == 0);

	/* Controls: a store, and a store into the hole. */
	armed(pm, fd, at);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * K_PAGE, K_PAGE));
	at[3 * K_PAGE] = 2;
	at[9 * K_PAGE] = 2;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);

	/* A page with a hole punched in part of it. */
	armed(pm, fd, at);
	memset(at, 5, K_PAGE);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 200));
	T_CHECK(at[99] == 5 && at[100] == 0 && at[299] == 0 && at[300] == 5);
	k_fact("a punch inside a page: %zu WRITTEN, data pages %zu of %d",
		k_written(pm, at, N * K_PAGE), data_pages(fd), N);
	return 0;
}
