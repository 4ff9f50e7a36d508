// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MADV_PAGEOUT leaves what is mapped twice, be it by two processes, by one in
 * two places, or by parent and child, and says that all went well. It leaves a
 * large folio of which a single page is mapped by somebody else. When the other
 * drops his mapping it goes. A page of shared memory that nobody maps is not
 * found by it at all: somebody has to map it first, and alone.
 */
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N     16
#define LEN   (N * K_PAGE)
#define PAGES (K_HUGE / K_PAGE)

/* Advise it; says how many pages are not present afterwards. */
static size_t gone(const struct k_peer *peer, char *at, size_t len)
{
	size_t before = k_here(peer->pm, at, len);

	for (int i = 0; i < 3; i++) {
		umem_lru_drain();
		T_CHECK(k_peer_advise(peer, at, len, MADV_PAGEOUT) == (long)len);
	}
	return before - k_here(peer->pm, at, len);
}

static void forked(char *at)
{
	struct k_peer parent, child;

	k_peer_start(&parent);
	k_peer_do(&parent, k_fill, at, LEN, 0);
	k_peer_fork(&parent, &child);
	T_CHECK(gone(&parent, at, LEN) == 0);
	T_CHECK(gone(&child, at, LEN) == 0);
	/* Written by one of them, the two copies are each one's own. */
	k_peer_do(&child, k_write, at, K_PAGE, 1);
	T_CHECK(gone(&parent, at, LEN) == 1 && gone(&child, at, LEN) == 1);
	T_CHECK(k_peer_do(&child, k_advise, at + K_PAGE, K_PAGE, MADV_DONTNEED) == 0);
	T_CHECK(gone(&parent, at, LEN) == 1 && k_out(parent.pm, at, 2 * K_PAGE) == 2);
	k_peer_end(&child);
	T_CHECK(gone(&parent, at, LEN) == N - 2);
	T_CHECK(k_peer_do(&parent, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&parent);
}

static void two_processes(void)
{
	int fd = k_memfd(LEN);
	char *at = k_map(LEN, MAP_SHARED, fd);
	struct k_peer a, b;

	k_peer_start(&a);
	k_peer_start(&b);
	k_peer_do(&a, k_fill, at, LEN, 0);
	k_peer_do(&b, k_read, at, LEN, 0);
	T_CHECK(gone(&a, at, LEN) == 0 && gone(&b, at, LEN) == 0);
	T_CHECK(k_peer_do(&b, k_advise, at, LEN / 2, MADV_DONTNEED) == 0);
	T_CHECK(gone(&a, at, LEN) == N / 2);
	T_CHECK(gone(&b, at, LEN) == 0);
	T_CHECK(k_peer_do(&b, k_advise, at, LEN, MADV_DONTNEED) == 0);
	k_peer_out_file(&a, at, LEN, fd);
	T_CHECK(k_evicted(fd, LEN) == N);

	/* In memory and mapped by nobody: out of reach for both. */
	k_peer_do(&a, k_read, at, LEN, 0);
	T_CHECK(k_peer_do(&a, k_advise, at, LEN, MADV_DONTNEED) == 0);
	T_CHECK(gone(&a, at, LEN) == 0 && gone(&b, at, LEN) == 0);
	T_CHECK(k_cached(fd, LEN) == N);
	/* A third that maps it, and nobody else meanwhile, can put it out. */
	k_read(at, LEN, 0);
	umem_lru_drain();
	T_SYS(madvise(at, LEN, MADV_PAGEOUT));
	k_fact("mapped by nobody, then by us: %llu of %d are out",
		(unsigned long long)k_evicted(fd, LEN), N);
	T_CHECK(k_cached(fd, LEN) < N);
	T_SYS(madvise(at, LEN, MADV_DONTNEED));
	T_CHECK(k_peer_do(&a, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&a);
	k_peer_end(&b);
	close(fd);
}

static void one_process_twice(void)
{
	int fd = k_memfd(LEN);
	char *one = k_map(LEN, MAP_SHARED, fd), *two = k_map(LEN, MAP_SHARED, fd);
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, one, LEN, 0);
	k_peer_do(&peer, k_read, two, LEN, 0);
	T_CHECK(k_map_count(peer.pm, one) == 2);
	T_CHECK(gone(&peer, one, LEN) == 0 && gone(&peer, two, LEN) == 0);
	T_CHECK(k_peer_do(&peer, k_advise, two, LEN, MADV_DONTNEED) == 0);
	T_CHECK(gone(&peer, one, LEN) == N);
	k_peer_end(&peer);
	close(fd);
}

static void huge_forked(char *at)
{
	struct k_peer parent, child;
	size_t n;

	k_peer_start(&parent);
	k_peer_do(&parent, k_fill, at, K_HUGE, 0);
	if (!(k_bits(parent.pm, at) & PAGE_IS_HUGE)) {
		printf("no huge page was given: that part is left out\n");
		return;
	}
	k_peer_fork(&parent, &child);
	T_CHECK(gone(&parent, at, K_HUGE) == 0 && gone(&child, at, K_HUGE) == 0);
	T_CHECK(k_bits(parent.pm, at) & PAGE_IS_HUGE);
	/* One page of it asked for: not split either, since it is mapped twice. */
	T_CHECK(gone(&parent, at + 7 * K_PAGE, K_PAGE) == 0);
	T_CHECK(k_bits(parent.pm, at) & PAGE_IS_HUGE);

	/* The child keeps one page of it, by PTE: that holds all 512 of the parent. */
	T_CHECK(k_peer_do(&child, k_advise, at + K_PAGE, K_HUGE - K_PAGE, MADV_DONTNEED) == 0);
	n = gone(&parent, at, K_HUGE);
	k_fact("huge page of which the child still maps one page: %zu of %lu went from the parent",
		n, PAGES);
	n += gone(&parent, at, K_HUGE);
	k_peer_end(&child);
	n += gone(&parent, at, K_HUGE);
	k_fact("... when the child is gone: %zu", n);
	T_CHECK(n == PAGES);
	T_CHECK(k_peer_do(&parent, k_wrong, at, K_HUGE, 0) == 0);
	k_peer_end(&parent);
}

/* Huge, and the process itself has given a part of it back. */
static void huge_in_part(char *at)
{
	const size_t keep = 100;
	struct k_peer peer;
	size_t n;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, K_HUGE, 0);
	if (k_bits(peer.pm, at) & PAGE_IS_HUGE) {
		T_CHECK(k_peer_do(&peer, k_advise, at + keep * K_PAGE, K_HUGE - keep * K_PAGE,
				MADV_DONTNEED) == 0);
		n = gone(&peer, at + 3 * K_PAGE, K_PAGE);
		k_fact("huge page of which %zu pages are left: asked for one, %zu went, %zu stay",
			keep, n, k_here(peer.pm, at, K_HUGE));
		T_CHECK(n == 1 && k_here(peer.pm, at, K_HUGE) == keep - 1);
		n = gone(&peer, at, K_HUGE);
		T_CHECK(n == keep - 1 && k_out(peer.pm, at, K_HUGE) == keep);
		T_CHECK(k_peer_do(&peer, k_wrong, at, keep * K_PAGE, 0) == 0);
	}
	k_peer_end(&peer);
}

static void huge_shared(void)
{
	int fd = k_memfd(K_HUGE);
	char *at = k_map_huge(K_HUGE, fd), *small = k_map(K_HUGE, MAP_SHARED, fd);
	struct k_peer a, b;
	size_t n;

	k_peer_start(&a);
	k_peer_start(&b);
	k_peer_do(&a, k_fill, at, K_HUGE, 0);
	if (k_peer_do(&a, k_advise, at, K_HUGE, MADV_COLLAPSE) != 0) {
		printf("no huge page of shared memory was given: that part is left out\n");
		return;
	}
	k_peer_do(&a, k_read, at, K_HUGE, 0);
	k_fact("huge page of a memfd: %s",
		k_bits(a.pm, at) & PAGE_IS_HUGE ? "a huge entry" : "small entries");
	k_peer_do(&b, k_read, small, 1, 0);
	n = gone(&a, at, K_HUGE);
	k_fact("... of which another maps %zu pages: %zu of %lu went",
		k_here(b.pm, small, K_HUGE), n, PAGES);
	T_CHECK(k_peer_do(&b, k_advise, small, K_HUGE, MADV_DONTNEED) == 0);
	n = gone(&a, at, K_HUGE);
	k_fact("... when the other has dropped them: %zu went, %llu in memory", n,
		(unsigned long long)k_cached(fd, K_HUGE));
	k_peer_out_file(&a, at, K_HUGE, fd);
	T_CHECK(k_peer_do(&b, k_wrong, small, K_HUGE, 0) == 0);
	k_peer_end(&a);
	k_peer_end(&b);
}

int main(void)
{
	k_zram_swap(64 << 20);
	forked(k_anon(LEN));
	two_processes();
	one_process_twice();
	huge_forked(k_anon_huge(K_HUGE));
	huge_in_part(k_anon_huge(K_HUGE));
	huge_shared();
	return 0;
}
