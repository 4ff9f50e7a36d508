// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * cachestat(2) of shared memory is exact to the page, whatever the range: a
 * page in memory counts as nr_cache, one that is out as nr_evicted (also while
 * it is in the swap cache), a hole as neither. Large folios and the large swap
 * entries that they leave behind are counted by the part that is asked for.
 */
#include <fcntl.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "tests/kernel/peer.h"

#define N     64
#define PAGES (K_HUGE / K_PAGE)

static struct umem_cachestat ask(int fd, size_t first, size_t n)
{
	struct umem_cachestat stat = { 0 };

	T_OK(umem_filecache_stat(fd, first * K_PAGE, (first + n) * K_PAGE, &stat));
	return stat;
}

static void show(int fd, size_t first, size_t n, const char *what)
{
	struct umem_cachestat stat = ask(fd, first, n);

	k_fact("%s, %zu pages: cache %llu, dirty %llu, writeback %llu, evicted %llu, recently %llu",
		what, n, (unsigned long long)stat.nr_cache, (unsigned long long)stat.nr_dirty,
		(unsigned long long)stat.nr_writeback, (unsigned long long)stat.nr_evicted,
		(unsigned long long)stat.nr_recently_evicted);
}

/* '.' hole, 'r' resident, 's' out: each page asked for alone. */
static void picture(int fd, size_t n_pages, char *ret_states)
{
	for (size_t i = 0; i < n_pages; i++) {
		struct umem_cachestat stat = ask(fd, i, 1);

		T_CHECK(stat.nr_cache + stat.nr_evicted <= 1);
		T_CHECK(stat.nr_recently_evicted <= stat.nr_evicted);
		ret_states[i] = stat.nr_cache ? 'r' : stat.nr_evicted ? 's' : '.';
	}
}

static size_t number_of(const char *states, size_t first, size_t n, char state)
{
	size_t found = 0;

	for (size_t i = first; i < first + n; i++)
		found += states[i] == state;
	return found;
}

/* Any range is the sum of its pages. */
static void ranges_agree(int fd, const char *states, size_t n_pages, uint64_t *seed)
{
	for (int i = 0; i < 2000; i++) {
		size_t first = t_below(seed, n_pages), n = 1 + t_below(seed, n_pages - first);
		struct umem_cachestat stat = ask(fd, first, n);

		T_CHECK(stat.nr_cache == number_of(states, first, n, 'r'));
		T_CHECK(stat.nr_evicted == number_of(states, first, n, 's'));
	}
}

static void put_out(int fd, char *at, size_t first, size_t n)
{
	uint64_t end = t_now_ns() + 10000000000u;

	do {
		umem_lru_drain();
		k_read(at + first * K_PAGE, n * K_PAGE, 0);
		T_SYS(madvise(at + first * K_PAGE, n * K_PAGE, MADV_PAGEOUT));
		T_CHECK(t_now_ns() < end);
	} while (ask(fd, first, n).nr_cache > 0);
}

static void small(int fd, char *at, const char *what, uint64_t *seed)
{
	char states[N + 1] = "";

	k_fill(at + 16 * K_PAGE, 32 * K_PAGE, 0);
	put_out(fd, at, 32, 16);
	show(fd, 0, 16, "holes");
	show(fd, 16, 16, "resident");
	show(fd, 32, 16, what);
	picture(fd, N, states);
	for (int i = 0; i < N; i++) {
		char want = i < 16 || i >= 48 ? '.' : i < 32 ? 'r' : 's';

		T_CHECK(states[i] == want, "(%s)", states);
	}
	ranges_agree(fd, states, N, seed);

	/* A hole that is read becomes a page of the file; one punched is a hole. */
	k_read(at, K_PAGE, 0);
	T_CHECK(ask(fd, 0, 1).nr_cache == 1);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 33 * K_PAGE, K_PAGE));
	T_CHECK(ask(fd, 32, 3).nr_evicted == 2 && ask(fd, 32, 3).nr_cache == 0);
	/* Read back it counts once; no page table that has it is needed for that. */
	k_read(at + 40 * K_PAGE, K_PAGE, 0);
	T_SYS(madvise(at, N * K_PAGE, MADV_DONTNEED));
	T_CHECK(ask(fd, 40, 1).nr_cache == 1 && ask(fd, 40, 1).nr_evicted == 0);
	T_CHECK(ask(fd, 16, 16).nr_cache == 16 && ask(fd, 41, 7).nr_evicted == 7);
	/* Past the end, and not on page boundaries: whole pages that are touched. */
	T_CHECK(ask(fd, N, 8).nr_cache + ask(fd, N, 8).nr_evicted == 0);
	picture(fd, N, states);
	ranges_agree(fd, states, N, seed);
	T_SYS(ftruncate(fd, 20 * K_PAGE));
	T_CHECK(ask(fd, 0, N).nr_cache == 5 && ask(fd, 0, N).nr_evicted == 0);
	munmap(at, N * K_PAGE);
	close(fd);
}

/* To a swap file: out of the page tables, still in memory as swap cache. */
static void swap_cache(uint64_t *seed)
{
	int fd = k_memfd(N * K_PAGE), pm = k_pagemap();
	char *at = k_map(N * K_PAGE, MAP_SHARED, fd);
	unsigned char in[N];
	size_t cached = 0;

	k_fill(at, N * K_PAGE, 0);
	T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
	T_CHECK(k_here(pm, at, N * K_PAGE) == 0);
	T_SYS(mincore(at, N * K_PAGE, in));
	for (int i = 0; i < N; i++)
		cached += in[i] & 1;
	k_fact("swap file, right after: %zu of %d in memory by mincore", cached, N);
	show(fd, 0, N, "swap file, right after");
	T_CHECK(cached > 0);
	T_CHECK(ask(fd, 0, N).nr_evicted == N && ask(fd, 0, N).nr_cache == 0);
	T_CHECK(k_wrong(at, N * K_PAGE, 0) == 0);
	T_CHECK(ask(fd, 0, N).nr_evicted == 0 && ask(fd, 0, N).nr_cache == N);
	munmap(at, N * K_PAGE);
	close(fd);
	close(pm);
	fd = k_memfd(N * K_PAGE);
	small(fd, k_map(N * K_PAGE, MAP_SHARED, fd), "out to a file", seed);
}

/* A huge page of a memfd at @at; false when the kernel gives none. */
static bool make_huge(char *at)
{
	int pm = k_pagemap();
	bool yes;

	k_fill(at, K_HUGE, 0);
	if (madvise(at, K_HUGE, MADV_COLLAPSE) < 0)
		printf("MADV_COLLAPSE: %s\n", strerror(errno));
	k_read(at, K_HUGE, 0);
	yes = k_bits(pm, at) & PAGE_IS_HUGE;
	close(pm);
	return yes;
}

static void large(uint64_t *seed)
{
	int fd = k_memfd(2 * K_HUGE);
	char *at = k_map_huge(2 * K_HUGE, fd);
	static char states[2 * PAGES + 1];

	if (!make_huge(at)) {
		printf("no huge page of shared memory was given: that part is left out\n");
		return;
	}
	T_CHECK(ask(fd, 0, PAGES).nr_cache == PAGES);
	T_CHECK(ask(fd, 100, 1).nr_cache == 1 && ask(fd, 511, 2).nr_cache == 1);
	picture(fd, 2 * PAGES, states);
	T_CHECK(number_of(states, 0, 2 * PAGES, 'r') == PAGES);
	ranges_agree(fd, states, 2 * PAGES, seed);

	put_out(fd, at, 0, PAGES);
	show(fd, 0, PAGES, "huge page out");
	show(fd, 100, 3, "a part of a huge page out");
	picture(fd, 2 * PAGES, states);
	T_CHECK(number_of(states, 0, 2 * PAGES, 's') == PAGES);
	ranges_agree(fd, states, 2 * PAGES, seed);

	/* One page of it comes back; the others are out still. */
	k_read(at + 100 * K_PAGE, K_PAGE, 0);
	picture(fd, 2 * PAGES, states);
	k_fact("one page of a huge page that is out was read: %zu came back",
		number_of(states, 0, 2 * PAGES, 'r'));
	T_CHECK(states[100] == 'r');
	T_CHECK(number_of(states, 0, PAGES, '.') == 0);
	ranges_agree(fd, states, 2 * PAGES, seed);
	T_CHECK(k_wrong(at, K_HUGE, 0) == 0);
	T_CHECK(ask(fd, 0, 2 * PAGES).nr_cache == PAGES);
}

int main(void)
{
	uint64_t seed = t_seed();
	struct umem_cachestat stat;
	int fd = k_memfd(N * K_PAGE), err = umem_filecache_stat(fd, 0, K_PAGE, &stat);

	if (err == -ENOSYS)
		T_SKIP("no cachestat");
	T_OK(err);
	k_zram_swap(64 << 20);
	small(fd, k_map(N * K_PAGE, MAP_SHARED, fd), "out to zram", &seed);
	large(&seed);
	k_swap_file(64 << 20);
	swap_cache(&seed);
	large(&seed);
	return 0;
}
