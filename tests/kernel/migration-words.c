// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A page that the kernel is moving, or a huge page that it is splitting, is in
 * memory all the time, yet reads as swapped for some microseconds: its entry is
 * a migration entry. The type in the word, above all areas and below the marks,
 * tells it; a scan does not.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define PAGES		(K_HUGE / K_PAGE)
#define FIRST_MIGRATION 24u /* the lowest that include/linux/swap.h can give */
#define LIMIT_NS	 5000000000u

static char *at;
static atomic_bool stop;
static atomic_long splits, compactions;

/* Make a huge page, split it by asking for one page of it, begin anew. */
static void *split(void *unused)
{
	while (!stop) {
		memset(at, 1, K_HUGE);
		madvise(at + 7 * K_PAGE, K_PAGE, MADV_COLD);
		splits++;
		madvise(at, K_HUGE, MADV_DONTNEED);
	}
	return unused;
}

static void *compact(void *unused)
{
	while (!stop) {
		k_write_text("/proc/sys/vm/compact_memory", "1");
		compactions++;
	}
	return unused;
}

/* Words and scans of [mem, mem + PAGES) until both have caught a move, or for too long. */
static void look(const char *mem, const char *what, bool *ret_words, bool *ret_scan)
{
	uint64_t words[PAGES], end = t_now_ns() + LIMIT_NS, n_words = 0, n_scans = 0, looks = 0;
	unsigned lowest = 99, highest = 0;
	struct page_region vec[8];
	uint64_t bits = 0, one = 0;
	int pm = k_pagemap();

	while (t_now_ns() < end && (n_words < 1000 || n_scans < 10)) {
		size_t n = 0;
		long found;

		T_OK(umem_pagemap_words(pm, (uintptr_t)mem, words, PAGES, &n));
		for (size_t i = 0; i < n; i++) {
			unsigned type = UMEM_PM_SWAP_TYPE(words[i]);

			/* The machine may really put out what nobody touches. */
			if (!(words[i] & UMEM_PM_SWAPPED) || type < FIRST_MIGRATION)
				continue;
			one = words[i];
			n_words++;
			lowest = type < lowest ? type : lowest;
			highest = type > highest ? type : highest;
			T_CHECK(type < UMEM_PM_MARKER_TYPE);
		}
		found = k_scan(pm, 0, mem, K_HUGE, PAGE_IS_SWAPPED, 0x1ff, vec, 8, NULL);
		T_CHECK(found >= 0);
		for (long i = 0; i < found; i++) {
			n_scans++;
			bits |= vec[i].categories;
			T_CHECK(!(vec[i].categories & PAGE_IS_PRESENT));
		}
		looks++;
	}
	k_fact("%s: %llu looks, %llu words swapped (types %u to %u, one %#llx), "
	       "%llu ranges of scans SWAPPED (bits %#llx)", what, (unsigned long long)looks,
		(unsigned long long)n_words, lowest, highest, (unsigned long long)one,
		(unsigned long long)n_scans, (unsigned long long)bits);
	*ret_words = n_words > 0;
	*ret_scan = n_scans > 0;
	close(pm);
}

int main(void)
{
	bool words = false, scan = false;
	pthread_t id;
	char *small;

	if (geteuid() != 0)
		T_SKIP("types in pagemap words need root");
	at = k_anon_huge(K_HUGE);
	T_CHECK(pthread_create(&id, NULL, split, NULL) == 0);
	look(at, "huge pages being split", &words, &scan);
	stop = true;
	pthread_join(id, NULL);
	k_fact("%ld huge pages were split", (long)splits);
	if (!words || !scan)
		T_SKIP("no page was caught while it moved");

	stop = false;
	small = k_anon(K_HUGE);
	k_touch(small, K_HUGE, 1);
	T_CHECK(pthread_create(&id, NULL, compact, NULL) == 0);
	look(small, "compaction", &words, &scan);
	stop = true;
	pthread_join(id, NULL);
	k_fact("%ld compactions", (long)compactions);
	return 0;
}
