// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MADV_PAGEOUT without a place to put pages: no area, or a full one. It says
 * that all went well; nothing is lost. Private pages stay as they are, shared
 * ones lose their entries in the page table and stay in memory.
 */
#include <unistd.h>

#include "lib/kern/swapdev.h"
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

static void absent(char *at)
{
	int fd = k_memfd(LEN);
	char *shared = k_map(LEN, MAP_SHARED, fd);
	struct k_peer peer;
	long got;

	if (umem_swap_active())
		T_SKIP("swap is on: its absence, and a full area, cannot be seen");
	k_peer_start(&peer);
	k_peer_do(&peer, k_fill_random, at, LEN, SEED);
	k_peer_do(&peer, k_fill_random, shared, LEN, SEED);
	got = out(&peer, at);
	show("no swap, anonymous", &peer, at, -1, got);
	T_CHECK(got == (long)LEN && k_here(peer.pm, at, LEN) == N);
	got = out(&peer, shared);
	show("no swap, shared", &peer, shared, fd, got);
	T_CHECK(got == (long)LEN && k_cached(fd, LEN) == N && k_evicted(fd, LEN) == 0);
	T_CHECK(k_here(peer.pm, shared, LEN) == 0); /* the entries are gone for all that */
	T_CHECK(k_peer_do(&peer, k_wrong_random, at, LEN, SEED) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong_random, shared, LEN, SEED) == 0);
	k_peer_end(&peer);
	munmap(shared, LEN);
	close(fd);
}

/* An area of half the size. */
static void full(char *at)
{
	int fd = k_memfd(LEN);
	const char *area;
	char *shared = k_map(LEN, MAP_SHARED, fd);
	struct k_peer peer;
	size_t n;
	long got;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill_random, at, LEN, SEED);
	k_peer_do(&peer, k_fill_random, shared, LEN, SEED);
	area = k_zram_swap(LEN / 2);
	got = out(&peer, at);
	show("area of half the size, anonymous", &peer, at, -1, got);
	n = k_out(peer.pm, at, LEN);
	T_CHECK(got == (long)LEN && n > N / 4 && n < N / 2);
	T_CHECK(k_here(peer.pm, at, LEN) == N - n);
	got = out(&peer, at);
	show("... full, again", &peer, at, -1, got);
	T_CHECK(got == (long)LEN);
	got = out(&peer, shared);
	show("... full, shared", &peer, shared, fd, got);
	T_CHECK(got == (long)LEN);
	T_CHECK(k_cached(fd, LEN) + k_evicted(fd, LEN) == N && k_cached(fd, LEN) > N / 2);
	T_CHECK(k_peer_do(&peer, k_wrong_random, at, LEN, SEED) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong_random, shared, LEN, SEED) == 0);
	k_peer_end(&peer);
	k_swap_off(area);
	munmap(shared, LEN);
	close(fd);
}

int main(void)
{
	char *at = k_anon(LEN);

	if (geteuid() != 0)
		T_SKIP("needs root");
	absent(at);
	full(at);
	return 0;
}
