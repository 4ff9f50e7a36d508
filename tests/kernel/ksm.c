// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Merging of equal pages lifts the write protection: a merged page is WRITTEN
 * though its content is the same (false, and harmless); a later store is seen.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N   16
#define DIR "/sys/kernel/mm/ksm/"

static const char *const knobs[] = { DIR "pages_to_scan", DIR "sleep_millisecs", DIR "run" };
static uint64_t kept[3];
static bool changed;

static int set(int i, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return k_write_text(knobs[i], text);
}

static void put_back(void)
{
	for (int i = 0; changed && i < 3; i++)
		set(i, kept[i]);
	changed = false;
}

static uint64_t merged(void)
{
	uint64_t n = 0;

	k_read_u64("/proc/self/ksm_merging_pages", &n);
	return n;
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at = k_anon(N * K_PAGE), *control = k_anon(N * K_PAGE);
	size_t n;

	for (int i = 0; i < 3; i++) {
		if (!k_read_u64(knobs[i], &kept[i]) || access(knobs[i], W_OK) < 0)
			T_SKIP("no KSM that may be switched on");
	}
	if (access("/proc/self/ksm_merging_pages", R_OK) < 0)
		T_SKIP("no ksm_merging_pages");
	for (int i = 0; i < N; i++) {
		t_fill_page(at + i * K_PAGE, 0, 0);
		t_fill_page(control + i * K_PAGE, 0, 0);
	}
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_OK(k_register(uffd, control, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	k_collect(pm, control, N * K_PAGE);
	T_SYS(madvise(at, N * K_PAGE, MADV_MERGEABLE));
	k_at_end(put_back);
	changed = true;
	T_OK(set(0, 2000));
	T_OK(set(1, 5));
	T_OK(set(2, 1));
	T_UNTIL(20, merged() >= N - 1);
	put_back();

	n = k_written(pm, at, N * K_PAGE);
	k_fact("merged %llu pages: %zu of %d WRITTEN", (unsigned long long)merged(), n, N);
	T_CHECK(n >= N - 1);
	T_CHECK(k_written(pm, control, N * K_PAGE) == 0);
	T_CHECK((uint8_t)at[5 * K_PAGE] == t_pattern(0, 0, 0));

	k_collect(pm, at, N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[5 * K_PAGE] = 0;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	return 0;
}
