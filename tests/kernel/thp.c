// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Huge pages: arming keeps one whole, the first store splits it and only the
 * 4 KiB page is WRITTEN; collapse of an armed range is refused.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define PAGES (K_HUGE / K_PAGE)

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_anon_huge(2 * K_HUGE);
	uint64_t bits;
	int err;

	k_touch(at, 2 * K_HUGE, 1);
	if (!(k_bits(pm, at) & PAGE_IS_HUGE) || !(k_bits(pm, at + K_HUGE) & PAGE_IS_HUGE))
		T_SKIP("no huge page was given");
	T_OK(k_register(uffd, at, 2 * K_HUGE));
	T_CHECK(k_collect(pm, at, 2 * K_HUGE) == 2 * PAGES);
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 0);
	T_CHECK(k_bits(pm, at) & PAGE_IS_HUGE);
	T_CHECK(k_smaps_kb(at, "AnonHugePages") == 4096);

	at[7 * K_PAGE] = 2;
	bits = k_bits(pm, at + 7 * K_PAGE);
	T_CHECK(!(bits & PAGE_IS_HUGE) && bits & PAGE_IS_WRITTEN);
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 1);
	T_CHECK(k_smaps_kb(at, "AnonHugePages") == 2048);
	T_CHECK(k_bits(pm, at + K_HUGE) & PAGE_IS_HUGE); /* control: the other one */

	err = madvise(at, K_HUGE, MADV_COLLAPSE) < 0 ? errno : 0;
	k_fact("MADV_COLLAPSE of an armed range: %s", err ? strerror(err) : "done");
	T_CHECK(k_written(pm, at, K_HUGE) == (err ? 1 : k_written(pm, at, K_HUGE)));
	T_CHECK(err != 0);
	T_OK(umem_uffd_protect(uffd, (uintptr_t)at, (uintptr_t)at + K_HUGE, 0));
	err = madvise(at, K_HUGE, MADV_COLLAPSE) < 0 ? errno : 0;
	k_fact("... after lifting protection, still registered: %s", err ? strerror(err) : "done");

	/* Arming a part splits. */
	T_CHECK(k_collect(pm, at + K_HUGE, K_HUGE) == 0);
	T_OK(umem_uffd_protect(uffd, (uintptr_t)at + K_HUGE, (uintptr_t)at + K_HUGE + K_PAGE, 0));
	k_fact("lifting a part of a huge page: %s",
		k_bits(pm, at + K_HUGE) & PAGE_IS_HUGE ? "stays whole" : "split");
	T_CHECK(k_written(pm, at + K_HUGE, K_HUGE) == 1);
	T_OK(umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + 2 * K_HUGE));
	err = madvise(at, 2 * K_HUGE, MADV_COLLAPSE) < 0 ? errno : 0;
	k_fact("MADV_COLLAPSE after unregistering: %s, %llu kB huge", err ? strerror(err) : "done",
		(unsigned long long)k_smaps_kb(at, "AnonHugePages"));
	return 0;
}
