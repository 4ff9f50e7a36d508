// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Arming memory that was never touched costs page tables (2 MiB of them for
 * each GiB); registering it and looking for what is there costs none.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define LEN (64ull << 30)

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_map(LEN, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	uint64_t before = k_status_kb("VmPTE"), registered, looked, armed;
	struct page_region vec[4];
	struct umem_scan scan = {
		.at = (uintptr_t)at,
		.end = (uintptr_t)at + LEN,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	uint64_t t0, look_ns, arm_ns;
	size_t n = 0, n_found = 0;

	madvise(at, LEN, MADV_NOHUGEPAGE);
	at[LEN / 2] = 1;
	T_OK(k_register(uffd, at, LEN));
	registered = k_status_kb("VmPTE");

	t0 = t_now_ns();
	while (scan.at < scan.end) {
		T_OK(umem_pagemap_scan(pm, &scan, vec, 4, &n));
		n_found += n;
	}
	look_ns = t_now_ns() - t0;
	looked = k_status_kb("VmPTE");
	T_CHECK(n_found == 1 && vec[0].start == (uintptr_t)at + LEN / 2);

	t0 = t_now_ns();
	T_CHECK(k_collect(pm, at, LEN) == LEN / K_PAGE);
	arm_ns = t_now_ns() - t0;
	armed = k_status_kb("VmPTE");

	k_fact("64 GiB: register +%llu kB, look +%llu kB in %llu us, arm +%llu kB in %llu ms",
		(unsigned long long)(registered - before),
		(unsigned long long)(looked - registered), (unsigned long long)look_ns / 1000,
		(unsigned long long)(armed - looked),
		(unsigned long long)arm_ns / 1000000);
	T_CHECK(registered - before < 64);
	T_CHECK(looked - registered < 64);
	T_CHECK(armed - looked > 128u << 10 && armed - looked < 136u << 10);
	return 0;
}
