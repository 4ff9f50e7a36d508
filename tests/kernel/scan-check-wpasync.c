// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A mapping that appears inside a watched range: passed over in silence by a
 * protecting scan, unless PM_SCAN_CHECK_WPASYNC makes it -EPERM; and a scan
 * without side effects that finds exactly such mappings.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

/* Pages of mappings that are not registered, at the cost of a mapping each. */
static size_t unregistered(int pm, char *at, size_t len, uint64_t *ret_start)
{
	struct umem_scan scan = {
		.at = (uintptr_t)at,
		.end = (uintptr_t)at + len,
		.inverted = PAGE_IS_WPALLOWED,
		.all = PAGE_IS_WPALLOWED,
	};
	struct page_region vec[4];
	size_t n = 0, n_pages = 0;

	while (scan.at < scan.end) {
		T_OK(umem_pagemap_scan(pm, &scan, vec, 4, &n));
		for (size_t i = 0; i < n; i++) {
			if (!n_pages)
				*ret_start = vec[i].start;
			n_pages += (vec[i].end - vec[i].start) / K_PAGE;
		}
	}
	return n_pages;
}

static void cost(int uffd, int pm)
{
	size_t len = 256ul << 20;
	char *at = k_anon(len);
	uint64_t start = 0, t0, registered_ns, read_ns;

	k_touch(at, len, 1);
	T_OK(k_register(uffd, at, len));
	t0 = t_now_ns();
	T_CHECK(unregistered(pm, at, len, &start) == 0);
	registered_ns = t_now_ns() - t0;
	t0 = t_now_ns();
	T_CHECK(k_count(pm, at, len, PAGE_IS_PRESENT) == len / K_PAGE);
	read_ns = t_now_ns() - t0;
	k_fact("256 MiB: found no unregistered mapping in %llu us; a look at every page is %llu us",
		(unsigned long long)registered_ns / 1000, (unsigned long long)read_ns / 1000);
	T_CHECK(registered_ns * 4 < read_ns);
	munmap(at, len);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_anon(N * K_PAGE);
	struct page_region vec[N];
	uint64_t start = 0;
	long n;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	T_CHECK(unregistered(pm, at, N * K_PAGE, &start) == 0);

	T_CHECK(mmap(at + 6 * K_PAGE, 2 * K_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at + 6 * K_PAGE);
	/* Control: touched or not, it is found, and looking does not touch it. */
	T_CHECK(unregistered(pm, at, N * K_PAGE, &start) == 2);
	T_CHECK(start == (uintptr_t)at + 6 * K_PAGE);
	k_touch(at + 6 * K_PAGE, 2 * K_PAGE, 2);
	T_CHECK(unregistered(pm, at, N * K_PAGE, &start) == 2);

	at[3 * K_PAGE] = 2;
	n = k_scan(pm, PM_SCAN_WP_MATCHING, at, N * K_PAGE, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec,
		N, NULL);
	T_CHECK(n == 1 && vec[0].start == (uintptr_t)at + 3 * K_PAGE); /* pages 6, 7 left out */

	at[3 * K_PAGE] = 3;
	at[9 * K_PAGE] = 3;
	n = k_scan(pm, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, at, N * K_PAGE,
		PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, N, NULL);
	T_CHECK(n == -EPERM);
	/* What was passed before the foreign mapping is armed and its report is lost. */
	k_fact("after -EPERM: page 3 %s, page 9 %s",
		k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN ? "written" : "armed and unreported",
		k_bits(pm, at + 9 * K_PAGE) & PAGE_IS_WRITTEN ? "written" : "armed and unreported");

	T_OK(k_register(uffd, at + 6 * K_PAGE, 2 * K_PAGE));
	T_CHECK(unregistered(pm, at, N * K_PAGE, &start) == 0);
	T_CHECK(k_collect(pm, at, N * K_PAGE) >= 3);

	/* A hole in the address space is neither. */
	T_SYS(munmap(at + 10 * K_PAGE, K_PAGE));
	T_CHECK(unregistered(pm, at, N * K_PAGE, &start) == 0);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 0);
	cost(uffd, pm);
	return 0;
}
