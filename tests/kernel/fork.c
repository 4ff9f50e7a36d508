// SPDX-License-Identifier: LGPL-2.1-or-later
/* After fork the child is not watched, and the parent's tracking stays right. */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

static void child(char *at)
{
	int pm = k_pagemap();

	T_CHECK(!(k_bits(pm, at) & PAGE_IS_WPALLOWED));
	T_CHECK(k_written(pm, at, N * K_PAGE) == N);
	T_CHECK(!(k_word(pm, at) & UMEM_PM_UFFD_WP));
	at[3 * K_PAGE] = 'c';
	_exit(0);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_anon(N * K_PAGE);
	pid_t pid;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	at[K_PAGE] = 2; /* written before the fork, collected after it */

	pid = t_fork();
	if (pid == 0)
		child(at);
	T_CHECK(t_wait(pid) == 0);
	T_CHECK(at[3 * K_PAGE] == 1);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_CHECK(k_bits(pm, at + K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);

	/* While a child shares the pages: copy on write. */
	pid = t_fork();
	if (pid == 0) {
		pause();
		_exit(1);
	}
	at[5 * K_PAGE] = 3;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	at[5 * K_PAGE] = 4;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	t_end(pid);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[5 * K_PAGE] = 5;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	return 0;
}
