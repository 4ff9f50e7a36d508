// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * mincore(2) on a mapping of our own of another process's shared memory: exact
 * but for the swap cache, which counts as memory; it brings nothing in, fills
 * no page table and no hole, and does not keep the other's pages from being put
 * out, which a single read through that mapping does. The same mapping can be
 * kept for as long as one likes.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N     64
#define PAGES (K_HUGE / K_PAGE)

static size_t by_mincore(const char *at, size_t len)
{
	static unsigned char in[2 * PAGES];
	size_t n = 0;

	T_SYS(mincore((void *)(uintptr_t)at, len, in));
	for (size_t i = 0; i < len / K_PAGE; i++)
		n += in[i] & 1;
	return n;
}

/* Put it out until no page is left in the swap cache, where one being written may be. */
static void put_out(const struct k_peer *peer, int fd, char *theirs, char *mine, size_t len)
{
	uint64_t end = t_now_ns() + 10000000000u;

	for (;;) {
		k_peer_out_file(peer, theirs, len, fd);
		if (by_mincore(mine, len) == 0)
			return;
		T_CHECK(t_now_ns() < end, "%zu pages stay", by_mincore(mine, len));
		k_peer_do(peer, k_read, theirs, len, 0);
	}
}

/* Half of it written by a peer; holes behind. @theirs, @mine: two mappings of @fd. */
static void exact(const struct k_peer *peer, int fd, char *theirs, char *mine)
{
	const size_t half = N / 2 * K_PAGE;
	struct k_faults before, after;
	struct stat st, then;
	int pm = k_pagemap();

	k_peer_do(peer, k_fill, theirs, half, 0);
	T_CHECK(by_mincore(mine, N * K_PAGE) == N / 2);
	T_CHECK(k_map_count(peer->pm, theirs) == 1);
	put_out(peer, fd, theirs, mine, half);
	T_CHECK(k_evicted(fd, half) == N / 2);
	T_SYS(fstat(fd, &st));
	before = k_faults(peer->pid);
	for (int i = 0; i < 100; i++)
		T_CHECK(by_mincore(mine, N * K_PAGE) == 0);
	after = k_faults(peer->pid);
	T_SYS(fstat(fd, &then));
	T_CHECK(k_evicted(fd, half) == N / 2);
	T_CHECK(st.st_blocks == then.st_blocks && before.major == after.major);
	T_CHECK(k_here(pm, mine, N * K_PAGE) == 0);
	T_CHECK(k_smaps_kb(mine, "Rss") == 0);

	/* In by the peer: counted, and not mapped by us. */
	T_CHECK(k_peer_do(peer, k_wrong, theirs, half, 0) == 0);
	T_CHECK(by_mincore(mine, N * K_PAGE) == N / 2);
	T_CHECK(k_map_count(peer->pm, theirs) == 1);
	put_out(peer, fd, theirs, mine, half);
	T_CHECK(k_evicted(fd, half) == N / 2);
	k_peer_do(peer, k_read, theirs, half, 0);

	/* One read through our mapping, and that page stays, though "done". */
	k_read(mine + 3 * K_PAGE, K_PAGE, 0);
	T_CHECK(k_map_count(peer->pm, theirs + 3 * K_PAGE) == 2);
	T_CHECK(k_peer_advise(peer, theirs + 3 * K_PAGE, K_PAGE, MADV_PAGEOUT) == (long)K_PAGE);
	T_CHECK(k_here(peer->pm, theirs + 3 * K_PAGE, K_PAGE) == 1);
	k_fact("pages around a read that our page table got besides: %zu",
		k_here(pm, mine, N * K_PAGE) - 1);
	T_SYS(madvise(mine, N * K_PAGE, MADV_DONTNEED));
	put_out(peer, fd, theirs, mine, half);
	T_CHECK(k_evicted(fd, half) == N / 2);
	close(pm);
}

static void huge(const struct k_peer *peer, int fd, char *theirs, char *mine)
{
	int pm = k_pagemap();

	k_peer_do(peer, k_fill, theirs, K_HUGE, 0);
	if (k_peer_do(peer, k_advise, theirs, K_HUGE, MADV_COLLAPSE) != 0) {
		printf("no huge page of shared memory was given: that part is left out\n");
		return;
	}
	T_CHECK(by_mincore(mine, 2 * K_HUGE) == PAGES);
	T_CHECK(k_here(pm, mine, 2 * K_HUGE) == 0);
	put_out(peer, fd, theirs, mine, K_HUGE);
	T_CHECK(k_evicted(fd, K_HUGE) == PAGES);
	T_CHECK(by_mincore(mine, 2 * K_HUGE) == 0);
	k_peer_do(peer, k_read, theirs + 9 * K_PAGE, K_PAGE, 0);
	T_CHECK(by_mincore(mine, 2 * K_HUGE) == PAGES - k_evicted(fd, K_HUGE));
	T_CHECK(k_here(pm, mine, 2 * K_HUGE) == 0);
	close(pm);
}

/* Out to a file: in the swap cache, which mincore takes for memory. */
static void swap_cache(const struct k_peer *peer, int fd, char *theirs, char *mine)
{
	size_t in;

	k_peer_do(peer, k_fill, theirs, N * K_PAGE, 1);
	k_peer_out_file(peer, theirs, N * K_PAGE, fd);
	in = by_mincore(mine, N * K_PAGE);
	k_fact("swap file: %llu of %d out by cachestat, of which %zu in memory by mincore",
		(unsigned long long)k_evicted(fd, N * K_PAGE), N, in);
	T_CHECK(k_evicted(fd, N * K_PAGE) == N);
	T_CHECK(in > 0);
}

int main(void)
{
	int small_fd = k_memfd(N * K_PAGE), huge_fd = k_memfd(2 * K_HUGE);
	char *theirs = k_map(N * K_PAGE, MAP_SHARED, small_fd);
	char *mine = k_map(N * K_PAGE, MAP_SHARED | MAP_NORESERVE, small_fd);
	char *theirs_huge = k_map_huge(2 * K_HUGE, huge_fd);
	char *mine_huge = k_map_huge(2 * K_HUGE, huge_fd);
	struct k_peer peer;

	k_zram_swap(64 << 20);
	k_peer_start(&peer);
	exact(&peer, small_fd, theirs, mine);
	huge(&peer, huge_fd, theirs_huge, mine_huge);
	k_swap_file(64 << 20);
	swap_cache(&peer, small_fd, theirs, mine);
	return 0;
}
