// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What this mapping's bits do not see of a shared file: write(2), pwrite(2),
 * a second mapping, another process. MADV_DONTNEED keeps content and stays
 * clean.
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	int fd = k_memfd(N * K_PAGE);
	char *at = k_map(N * K_PAGE, MAP_SHARED, fd), *second = k_map(N * K_PAGE, MAP_SHARED, fd);
	pid_t child;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);

	T_CHECK(pwrite(fd, "p", 1, 1 * K_PAGE) == 1);
	T_SYS(lseek(fd, 2 * K_PAGE, SEEK_SET));
	T_CHECK(write(fd, "w", 1) == 1);
	second[3 * K_PAGE] = 's';
	child = t_fork();
	if (child == 0) {
		at[4 * K_PAGE] = 'c';
		_exit(0);
	}
	T_CHECK(t_wait(child) == 0);
	T_CHECK(at[K_PAGE] == 'p' && at[2 * K_PAGE] == 'w' && at[3 * K_PAGE] == 's' &&
		at[4 * K_PAGE] == 'c');
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);

	/* Control: the second mapping, watched itself, sees its own store. */
	T_OK(k_register(uffd, second, N * K_PAGE));
	k_collect(pm, second, N * K_PAGE);
	second[5 * K_PAGE] = 's';
	T_CHECK(k_collect(pm, second, N * K_PAGE) == 1);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[6 * K_PAGE] = 1;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);

	/* MADV_DONTNEED: the content stays in the file, the mark in the table. */
	T_SYS(madvise(at, N * K_PAGE, MADV_DONTNEED));
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	T_CHECK(at[5 * K_PAGE] == 's');
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[7 * K_PAGE] = 1;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);

	/* A write that is not collected yet survives MADV_DONTNEED. */
	at[8 * K_PAGE] = 2;
	T_SYS(madvise(at, N * K_PAGE, MADV_DONTNEED));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	return 0;
}
