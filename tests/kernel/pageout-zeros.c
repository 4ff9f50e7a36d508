// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages that hold nothing but zeros and are put out: swapped like others, each
 * with a slot of the area in its word, counted by smaps, but nothing is stored
 * for them. They come back as zeros.
 */
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N   1024
#define LEN (N * K_PAGE)

static int by_value(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return *one < *other ? -1 : *one > *other;
}

static size_t distinct_slots(const struct k_peer *peer, char *at)
{
	static uint64_t slots[N];
	size_t n = 1;

	for (size_t i = 0; i < N; i++)
		slots[i] = k_word(peer->pm, at + i * K_PAGE) & ((1ull << 55) - 1);
	qsort(slots, N, sizeof(slots[0]), by_value);
	for (size_t i = 1; i < N; i++)
		n += slots[i] != slots[i - 1];
	return n;
}

static void run(const char *area, unsigned type, const char *what, char *at, k_act *fill, long arg)
{
	uint64_t stored = k_zram_stat(area, "mm_stat", 0), memory, size;
	struct k_peer peer;
	struct k_faults before;

	k_peer_start(&peer);
	k_peer_do(&peer, fill, at, LEN, arg);
	k_peer_out(&peer, at, LEN);
	k_in_area(peer.pm, at, LEN, type);
	size = k_zram_stat(area, "mm_stat", 0) - stored;
	memory = k_zram_stat(area, "mm_stat", 2);
	k_fact("%d pages of %s: word %#llx, %zu slots, smaps Swap %ld kB; the area stores %lld kB "
	       "more, takes %llu kB, same-filled %llu", N, what,
		(unsigned long long)k_word(peer.pm, at), distinct_slots(&peer, at),
		k_peer_do(&peer, k_swap_kb, at, 0, 0), (long long)size / 1024,
		(unsigned long long)memory / 1024,
		(unsigned long long)k_zram_stat(area, "mm_stat", 5));
	T_CHECK(k_out(peer.pm, at, LEN) == N);
	T_CHECK(k_peer_do(&peer, k_swap_kb, at, 0, 0) == LEN / 1024);
	T_CHECK(distinct_slots(&peer, at) == N);
	before = k_faults(peer.pid);
	k_peer_do(&peer, k_read, at, LEN, 0);
	k_fact("... read back: %llu major, %llu minor faults",
		(unsigned long long)(k_faults(peer.pid).major - before.major),
		(unsigned long long)(k_faults(peer.pid).minor - before.minor));
	T_CHECK(k_here(peer.pm, at, LEN) == N);
	k_peer_end(&peer);
}

static long zero(char *at, size_t len, long unused)
{
	(void)unused;
	memset(at, 0, len);
	for (size_t i = 0; i < len; i += K_PAGE) /* not merely read */
		*(volatile char *)(at + i) = 0;
	return 0;
}

static long sevens(char *at, size_t len, long unused)
{
	(void)unused;
	memset(at, 7, len);
	return 0;
}

int main(void)
{
	const char *area = k_zram_swap(64 << 20);
	unsigned type = k_swap_type();
	char *at = k_anon(LEN);

	run(area, type, "zeros", at, zero, 0);
	run(area, type, "sevens", at, sevens, 0);
	run(area, type, "random bytes", at, k_fill_random, 1);
	return 0;
}
