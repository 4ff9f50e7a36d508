// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MADV_PAGEOUT of pages of a special kind. What MADV_FREE gave back is dropped,
 * not put out, and reads as zeros; what was written since goes out. Pages that
 * KSM merged stay, as they are mapped more than once. Protected pages go out
 * with their bit, huge ones too: reading them back is no change, a store is.
 */
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N     16
#define LEN   (N * K_PAGE)
#define PAGES (K_HUGE / K_PAGE)
#define DIR   "/sys/kernel/mm/ksm/"

static void freed(char *at)
{
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	/* MADV_FREE passes over what waits in a batch, too, which then goes out like others. */
	umem_lru_drain();
	T_CHECK(k_peer_do(&peer, k_advise, at, LEN, MADV_FREE) == 0);
	k_peer_do(&peer, k_fill, at, 4 * K_PAGE, 1);
	T_CHECK(k_here(peer.pm, at, LEN) == N); /* there until somebody wants them */
	k_peer_out(&peer, at, LEN);
	k_fact("given back by MADV_FREE: %zu of %d out, word %#llx; %zu of 4 that were written "
	       "since", k_out(peer.pm, at + 4 * K_PAGE, LEN - 4 * K_PAGE), N - 4,
		(unsigned long long)k_word(peer.pm, at + 4 * K_PAGE),
		k_out(peer.pm, at, 4 * K_PAGE));
	T_CHECK(k_out(peer.pm, at, 4 * K_PAGE) == 4 && k_out(peer.pm, at, LEN) == 4);
	T_CHECK(k_word(peer.pm, at + 4 * K_PAGE) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at, 4 * K_PAGE, 1) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == N);
	k_peer_end(&peer);
}

static int peer_uffd = -1;

static long protect(char *at, size_t len, long unused)
{
	(void)unused;
	peer_uffd = k_uffd(K_TRACK);
	T_OK(k_register(peer_uffd, at, len));
	return (long)k_collect(k_pagemap(), at, len);
}

static size_t protected(const struct k_peer *peer, char *at, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += K_PAGE)
		n += (k_word(peer->pm, at + i) & UMEM_PM_UFFD_WP) != 0;
	return n;
}

static void armed(const char *what, char *at, size_t len)
{
	const size_t n = len / K_PAGE;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, len, 0);
	T_CHECK(k_peer_do(&peer, protect, at, len, 0) == (long)n);
	k_peer_do(&peer, k_write, at, K_PAGE, t_pattern(0, 0, 0)); /* before it goes */
	k_peer_out(&peer, at, len);
	k_fact("%s, protected: %zu of %zu out, %zu of them with the bit, %zu WRITTEN", what,
		k_out(peer.pm, at, len), n, protected(&peer, at, len),
		k_written(peer.pm, at, len));
	T_CHECK(k_out(peer.pm, at, len) == n);
	T_CHECK(protected(&peer, at, len) == n - 1 && k_written(peer.pm, at, len) == 1);
	T_CHECK(k_peer_do(&peer, k_wrong, at, len, 0) == 0);
	T_CHECK(k_here(peer.pm, at, len) == n);
	T_CHECK(k_written(peer.pm, at, len) == 1);
	k_peer_out(&peer, at, len);
	k_peer_do(&peer, k_write, at + 5 * K_PAGE, K_PAGE, 7); /* while it is out */
	T_CHECK(k_written(peer.pm, at, len) == 2);
	k_peer_do(&peer, k_write, at + 6 * K_PAGE, K_PAGE, 7);
	T_CHECK(k_collect(peer.pm, at, len) == 3);
	T_CHECK(k_written(peer.pm, at, len) == 0);
	k_peer_end(&peer);
}

static const char *const knobs[] = { DIR "pages_to_scan", DIR "sleep_millisecs", DIR "run" };
static uint64_t kept[3];

static int set(int i, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return k_write_text(knobs[i], text);
}

static void put_back(void)
{
	for (int i = 0; i < 3; i++)
		set(i, kept[i]);
}

static long fill_alike(char *at, size_t len, long unused)
{
	(void)unused;
	for (size_t i = 0; i < len; i += K_PAGE)
		t_fill_page(at + i, 1, 1);
	return madvise(at, len, MADV_MERGEABLE) < 0 ? -errno : 0;
}

static uint64_t merged(pid_t pid)
{
	char path[64];
	uint64_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", (int)pid);
	k_read_u64(path, &n);
	return n;
}

static void same_page(char *at)
{
	struct k_peer peer;

	for (int i = 0; i < 3; i++) {
		if (!k_read_u64(knobs[i], &kept[i]) || access(knobs[i], W_OK) < 0) {
			printf("no KSM that may be switched on\n");
			return;
		}
	}
	k_at_end(put_back);
	k_peer_start(&peer);
	T_OK((int)k_peer_do(&peer, fill_alike, at, LEN, 0));
	T_OK(set(0, 2000));
	T_OK(set(1, 5));
	T_OK(set(2, 1));
	T_UNTIL(20, merged(peer.pid) >= N - 1);
	put_back();
	umem_lru_drain();
	T_CHECK(k_peer_advise(&peer, at, LEN, MADV_PAGEOUT) == (long)LEN);
	k_fact("merged %llu pages: %zu of %d out", (unsigned long long)merged(peer.pid),
		k_out(peer.pm, at, LEN), N);
	T_CHECK(k_out(peer.pm, at, LEN) <= 1);
	/* The last of them that is left goes. */
	k_peer_do(&peer, k_write, at, LEN - K_PAGE, 9);
	k_peer_out(&peer, at, LEN);
	T_CHECK(k_out(peer.pm, at, LEN) == N);
	k_peer_end(&peer);
}

int main(void)
{
	k_zram_swap(64 << 20);
	freed(k_anon(LEN));
	armed("small pages", k_anon(LEN), LEN);
	armed("a huge page", k_anon_huge(K_HUGE), K_HUGE);
	same_page(k_anon(LEN));
	return 0;
}
