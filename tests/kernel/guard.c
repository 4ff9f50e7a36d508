// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Guard pages in a watched range: GUARD besides WRITTEN and SWAPPED; a collect
 * leaves them guards; taking one away is WRITTEN.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 8

static bool faults(char *at)
{
	pid_t pid = t_fork();
	int status;

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*(volatile char *)at == 0x55);
	}
	status = t_wait(pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_anon(N * K_PAGE);
	size_t first, again;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	if (madvise(at + 3 * K_PAGE, 2 * K_PAGE, MADV_GUARD_INSTALL) < 0)
		T_SKIP("no MADV_GUARD_INSTALL: %s", strerror(errno));
	k_fact("guard bits %#llx, word %#llx", (unsigned long long)k_bits(pm, at + 3 * K_PAGE),
		(unsigned long long)k_word(pm, at + 3 * K_PAGE));
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_GUARD);
	T_CHECK(k_word(pm, at + 3 * K_PAGE) & UMEM_PM_GUARD);
	T_CHECK(!(k_bits(pm, at + 2 * K_PAGE) & PAGE_IS_GUARD));
	T_CHECK(!(k_bits(pm, at + 2 * K_PAGE) & PAGE_IS_WRITTEN));
	T_CHECK(faults(at + 3 * K_PAGE) && !faults(at + 2 * K_PAGE));

	first = k_collect(pm, at, N * K_PAGE);
	again = k_collect(pm, at, N * K_PAGE);
	k_fact("2 guard pages in a collect: %zu WRITTEN, in the next: %zu", first, again);
	T_CHECK(first == 2);
	T_CHECK(faults(at + 3 * K_PAGE));
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_GUARD);

	T_SYS(madvise(at + 3 * K_PAGE, K_PAGE, MADV_GUARD_REMOVE));
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(at[3 * K_PAGE] == 0);
	k_collect(pm, at, N * K_PAGE);
	at[3 * K_PAGE] = 1;
	at[1 * K_PAGE] = 1;
	T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN);
	T_CHECK(k_bits(pm, at + 1 * K_PAGE) & PAGE_IS_WRITTEN);
	return 0;
}
