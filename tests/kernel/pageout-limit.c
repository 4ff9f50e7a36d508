// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A zram that may not take more memory (mem_limit) refuses what is put out to
 * it, and nobody is told: the pages have swap words or count as evicted, and as
 * Swap in smaps, and stay in memory as swap cache. Nothing is lost, nothing is
 * freed. mincore of shared memory shows it, and the area's count of failed writes.
 */
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N    512
#define LEN  (N * K_PAGE)
#define SEED 11

static void show(const char *what, const struct k_peer *peer, char *at, int fd, long got)
{
	k_fact("%s: %s %ld of %d pages; %zu present, %zu with swap words, Rss %ld kB, Swap %ld kB",
		what, got < 0 ? strerror((int)-got) : "returned", got / (long)K_PAGE, N,
		k_here(peer->pm, at, LEN), k_out(peer->pm, at, LEN),
		k_peer_do(peer, k_rss_kb, at, 0, 0), k_peer_do(peer, k_swap_kb, at, 0, 0));
	if (fd >= 0)
		k_fact("... in the object: %llu in memory, %llu out",
			(unsigned long long)k_cached(fd, LEN),
			(unsigned long long)k_evicted(fd, LEN));
}

static long out(const struct k_peer *peer, char *at)
{
	umem_lru_drain();
	return k_peer_advise(peer, at, LEN, MADV_PAGEOUT);
}

/* A zram with room for slots, and memory for some of what is put there. */
static void refuses(char *at)
{
	const char *area = k_zram_swap(16 << 20);
	int fd = k_memfd(LEN);
	char *shared = k_map(LEN, MAP_SHARED, fd);
	struct k_peer peer;
	size_t cached;
	long got;

	k_zram_set(area, "mem_limit", "1M");
	k_peer_start(&peer);
	k_peer_do(&peer, k_fill_random, at, LEN, SEED);
	k_peer_do(&peer, k_fill_random, shared, LEN, SEED);
	got = out(&peer, at);
	show("zram limited to half, anonymous", &peer, at, -1, got);
	k_fact("... stores %llu kB, failed writes %llu",
		(unsigned long long)k_zram_stat(area, "mm_stat", 0) / 1024,
		(unsigned long long)k_zram_stat(area, "io_stat", 1));
	T_CHECK(got == (long)LEN);
	T_CHECK(k_here(peer.pm, at, LEN) + k_out(peer.pm, at, LEN) == N);
	got = out(&peer, shared);
	show("... shared", &peer, shared, fd, got);
	T_CHECK(k_cached(fd, LEN) + k_evicted(fd, LEN) == N);
	cached = k_in_core(fd, LEN);
	k_fact("... of which in memory by mincore: %zu", cached);
	T_CHECK(k_zram_stat(area, "io_stat", 1) > 0);
	T_CHECK(k_out(peer.pm, at, LEN) > (1 << 20) / K_PAGE && k_here(peer.pm, at, LEN) == 0);
	T_CHECK(k_evicted(fd, LEN) > 0 && cached > 0);
	T_CHECK(k_peer_do(&peer, k_wrong_random, at, LEN, SEED) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong_random, shared, LEN, SEED) == 0);
	k_peer_end(&peer);
	k_swap_off(area);
	munmap(shared, LEN);
	close(fd);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("needs root");
	refuses(k_anon(LEN));
	return 0;
}
