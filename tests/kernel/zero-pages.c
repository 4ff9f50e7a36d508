// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kernel's pages of zeros: which of them a scan calls PFNZERO. They are
 * present, cost no memory, and no page-out takes them away.
 */
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N     16
#define PAGES (K_HUGE / K_PAGE)
#define DIR   "/sys/kernel/mm/ksm/"

static void show(int pm, char *at, const char *what)
{
	k_fact("%s: word %#llx, bits %#llx, Rss %llu kB", what, (unsigned long long)k_word(pm, at),
		(unsigned long long)k_bits(pm, at), (unsigned long long)k_smaps_kb(at, "Rss"));
}

static void read_all(char *at, size_t len)
{
	for (size_t i = 0; i < len; i += K_PAGE)
		T_CHECK(*(volatile char *)(at + i) == 0);
}

static void small(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE);

	read_all(at, N * K_PAGE);
	show(pm, at, "read, never written");
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PRESENT | PAGE_IS_PFNZERO) == N);
	T_CHECK(k_smaps_kb(at, "Rss") == 0);
	T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PRESENT | PAGE_IS_PFNZERO) == N);

	/* Protected ones, too; a store ends it. */
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	show(pm, at, "... protected");
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PRESENT | PAGE_IS_PFNZERO) == N);
	at[3 * K_PAGE] = 1;
	T_CHECK(!(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_PFNZERO));
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PFNZERO) == N - 1);
	T_CHECK(k_smaps_kb(at, "Rss") == 4);
	/* A page of zeros that was written is a page like others. */
	at[3 * K_PAGE] = 0;
	T_CHECK(!(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_PFNZERO));
	munmap(at, N * K_PAGE);
}

static void huge(int pm)
{
	char *at = k_anon_huge(K_HUGE);
	uint64_t bits;

	read_all(at, K_PAGE);
	bits = k_bits(pm, at + 77 * K_PAGE);
	if (!(bits & PAGE_IS_PRESENT)) {
		printf("no huge page of zeros was given: that part is left out\n");
		return;
	}
	show(pm, at + 77 * K_PAGE, "read, never written, huge");
	T_CHECK(k_count(pm, at, K_HUGE, PAGE_IS_PRESENT | PAGE_IS_HUGE) == PAGES);
	T_CHECK(k_smaps_kb(at, "Rss") == 0 && k_smaps_kb(at, "AnonHugePages") == 0);
	T_CHECK(bits & PAGE_IS_PFNZERO);
	T_SYS(madvise(at, K_HUGE, MADV_PAGEOUT));
	T_CHECK(k_bits(pm, at + 77 * K_PAGE) == bits);
	/* Split by a discard, it is many small ones. */
	T_SYS(madvise(at + 5 * K_PAGE, K_PAGE, MADV_DONTNEED));
	show(pm, at + 77 * K_PAGE, "... after a discard of a part");
	T_CHECK(k_count(pm, at, K_HUGE, PAGE_IS_PFNZERO) == PAGES - 1);
	/* A store to one gives that one page, or all of it, memory. */
	at[9 * K_PAGE] = 1;
	show(pm, at + 9 * K_PAGE, "... the one that was stored to");
	T_CHECK(k_count(pm, at, K_HUGE, PAGE_IS_PFNZERO) == PAGES - 2);
	munmap(at, K_HUGE);

	at = k_anon_huge(K_HUGE);
	read_all(at, K_PAGE);
	at[9 * K_PAGE] = 1;
	show(pm, at + 77 * K_PAGE, "huge, stored to elsewhere in it");
	T_CHECK(!(k_bits(pm, at + 9 * K_PAGE) & PAGE_IS_PFNZERO));
	T_CHECK(k_count(pm, at, K_HUGE, PAGE_IS_PFNZERO) == PAGES - k_smaps_kb(at, "Rss") / 4);
	munmap(at, K_HUGE);
}

static const char *const knobs[] = { DIR "pages_to_scan", DIR "sleep_millisecs",
	DIR "use_zero_pages", DIR "run" };
static uint64_t kept[4];

static int set(int i, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return k_write_text(knobs[i], text);
}

static void put_back(void)
{
	for (int i = 0; i < 4; i++)
		set(i, kept[i]);
}

static uint64_t merged(void)
{
	uint64_t n = 0;

	k_read_u64("/proc/self/ksm_merging_pages", &n);
	return n;
}

/* Pages of zeros that were written, merged with the page of zeros. */
static void same_page(int pm)
{
	char *at = k_anon(N * K_PAGE);

	for (int i = 0; i < 4; i++) {
		if (!k_read_u64(knobs[i], &kept[i]) || access(knobs[i], W_OK) < 0) {
			printf("no KSM with a page of zeros here\n");
			return;
		}
	}
	k_at_end(put_back);
	k_touch(at, N * K_PAGE, 0);
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PFNZERO) == 0);
	T_SYS(madvise(at, N * K_PAGE, MADV_MERGEABLE));
	T_OK(set(0, 2000));
	T_OK(set(1, 5));
	T_OK(set(2, 1));
	T_OK(set(3, 1));
	T_UNTIL(20, k_count(pm, at, N * K_PAGE, PAGE_IS_PFNZERO) == N);
	put_back();
	show(pm, at, "merged with the page of zeros");
	k_fact("... merging pages of this process: %llu", (unsigned long long)merged());
	T_CHECK(k_smaps_kb(at, "Rss") == 0);
	at[2 * K_PAGE] = 1;
	T_CHECK(k_count(pm, at, N * K_PAGE, PAGE_IS_PFNZERO) == N - 1);
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();

	small(uffd, pm);
	huge(pm);
	same_page(pm);
	return 0;
}
