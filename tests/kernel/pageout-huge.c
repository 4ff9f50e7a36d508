// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MADV_PAGEOUT of huge pages. Whole ones go out whole. Of one that is asked for
 * in part exactly that part goes; the rest stays in memory, but the huge page is
 * split, which is what looking at a sample of it costs. Each small page comes
 * back alone. MADV_COLLAPSE makes it whole again, and brings in what is out. A
 * huge page of shared memory that is asked for in part is split, too, loses all
 * its entries in the page table, and no part of it goes out.
 */
#include <unistd.h>

#include "tests/kernel/peer.h"

#define PAGES (K_HUGE / K_PAGE)

static bool huge(const struct k_peer *peer, char *at)
{
	return k_bits(peer->pm, at) & PAGE_IS_HUGE;
}

/* Start a peer that has huge pages in [at, at + len). */
static void start(struct k_peer *peer, char *at, size_t len)
{
	k_peer_start(peer);
	k_peer_do(peer, k_fill, at, len, 0);
	for (size_t i = 0; i < len; i += K_HUGE) {
		if (!huge(peer, at + i))
			T_SKIP("no huge page was given");
	}
	umem_lru_drain();
}

static uint64_t slot(const struct k_peer *peer, char *at)
{
	return k_word(peer->pm, at) >> 5 & ((1ull << 50) - 1);
}

static void whole(char *at)
{
	struct k_peer peer;
	uint64_t start_ns, took;
	size_t in_a_row = 0;
	long bytes;

	start(&peer, at, K_HUGE);
	start_ns = t_now_ns();
	bytes = k_peer_advise(&peer, at, K_HUGE, MADV_PAGEOUT);
	took = t_now_ns() - start_ns;
	T_CHECK(bytes == (long)K_HUGE);
	T_CHECK(k_out(peer.pm, at, K_HUGE) == PAGES && k_here(peer.pm, at, K_HUGE) == 0);
	for (size_t i = 1; i < PAGES; i++)
		in_a_row += slot(&peer, at + i * K_PAGE) == slot(&peer, at) + i;
	k_fact("a whole huge page: all out in %llu us, %zu of %lu slots in a row",
		(unsigned long long)took / 1000, in_a_row + 1, PAGES);
	k_peer_do(&peer, k_read, at + 9 * K_PAGE, K_PAGE, 0);
	k_fact("... one page read: %zu came back", k_here(peer.pm, at, K_HUGE));
	T_CHECK(k_here(peer.pm, at + 9 * K_PAGE, K_PAGE) == 1);
	T_CHECK(k_peer_do(&peer, k_wrong, at, K_HUGE, 0) == 0);
	T_CHECK(k_here(peer.pm, at, K_HUGE) == PAGES && !huge(&peer, at));
	k_peer_end(&peer);
}

/* @n_pages of a huge page from page @first; the neighbours stay. */
static void part(char *at, size_t first, size_t n_pages)
{
	struct k_faults before, after;
	struct k_peer peer;
	uint64_t start_ns, took, again;
	char *from = at + first * K_PAGE;

	start(&peer, at, K_HUGE);
	start_ns = t_now_ns();
	T_CHECK(k_peer_advise(&peer, from, n_pages * K_PAGE, MADV_PAGEOUT) ==
		(long)(n_pages * K_PAGE));
	took = t_now_ns() - start_ns;
	T_CHECK(k_out(peer.pm, from, n_pages * K_PAGE) == n_pages);
	T_CHECK(k_out(peer.pm, at, K_HUGE) == n_pages);
	T_CHECK(k_here(peer.pm, at, K_HUGE) == PAGES - n_pages);
	T_CHECK(!huge(&peer, at));
	before = k_faults(peer.pid);
	k_peer_do(&peer, k_read, at, first * K_PAGE, 0);
	k_peer_do(&peer, k_read, from + n_pages * K_PAGE, K_HUGE - (first + n_pages) * K_PAGE, 0);
	after = k_faults(peer.pid);
	T_CHECK(k_out(peer.pm, at, K_HUGE) == n_pages);

	/* The next page of it, already small. */
	start_ns = t_now_ns();
	k_peer_advise(&peer, at + 500 * K_PAGE, K_PAGE, MADV_PAGEOUT);
	again = t_now_ns() - start_ns;
	k_fact("%zu of a huge page: %llu us with the split; one more of it %llu us; its "
	       "neighbours read: %llu faults", n_pages, (unsigned long long)took / 1000,
		(unsigned long long)again / 1000,
		(unsigned long long)(after.minor + after.major - before.minor - before.major));
	T_CHECK(k_peer_do(&peer, k_wrong, at, K_HUGE, 0) == 0);
	k_peer_end(&peer);
}

/* Whole and in part in one range: two and a half, from the middle of the first. */
static void across(char *at)
{
	struct k_peer peer;
	size_t half = PAGES / 2;

	start(&peer, at, 3 * K_HUGE);
	T_CHECK(k_peer_advise(&peer, at + K_HUGE / 2, 2 * K_HUGE, MADV_PAGEOUT) ==
		(long)(2 * K_HUGE));
	T_CHECK(k_out(peer.pm, at, 3 * K_HUGE) == 2 * PAGES);
	T_CHECK(k_here(peer.pm, at, K_HUGE) == half);
	T_CHECK(k_here(peer.pm, at + K_HUGE, K_HUGE) == 0);
	T_CHECK(k_here(peer.pm, at + 2 * K_HUGE, K_HUGE) == half);
	T_CHECK(k_peer_do(&peer, k_wrong, at, 3 * K_HUGE, 0) == 0);
	k_peer_end(&peer);
}

static void collapse(char *at)
{
	struct k_faults before, after;
	struct k_peer peer;
	uint64_t start_ns, took;
	long bytes;

	start(&peer, at, K_HUGE);
	T_CHECK(k_peer_advise(&peer, at + 3 * K_PAGE, 4 * K_PAGE, MADV_PAGEOUT) ==
		4 * (long)K_PAGE);
	T_CHECK(k_out(peer.pm, at, K_HUGE) == 4);
	before = k_faults(peer.pid);
	start_ns = t_now_ns();
	bytes = k_peer_advise(&peer, at, K_HUGE, MADV_COLLAPSE);
	took = t_now_ns() - start_ns;
	after = k_faults(peer.pid);
	k_fact("MADV_COLLAPSE with 4 pages out: %s, %llu us, %zu out, %s; major faults of the "
	       "target %llu", bytes < 0 ? strerror((int)-bytes) : "done",
		(unsigned long long)took / 1000, k_out(peer.pm, at, K_HUGE),
		huge(&peer, at) ? "huge" : "small pages",
		(unsigned long long)(after.major - before.major));
	T_CHECK(bytes < 0 || (huge(&peer, at) && k_out(peer.pm, at, K_HUGE) == 0));
	T_CHECK(k_peer_do(&peer, k_wrong, at, K_HUGE, 0) == 0);
	k_peer_end(&peer);
}

/* A huge page of shared memory: what a sample of it does there. */
static void shared(void)
{
	int fd = k_memfd(K_HUGE);
	char *at = k_map_huge(K_HUGE, fd);
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, K_HUGE, 0);
	if (k_peer_do(&peer, k_advise, at, K_HUGE, MADV_COLLAPSE) != 0) {
		printf("no huge page of shared memory was given: that part is left out\n");
		return;
	}
	k_peer_do(&peer, k_read, at, K_HUGE, 0);
	T_CHECK(huge(&peer, at));
	umem_lru_drain();
	k_peer_advise(&peer, at + 9 * K_PAGE, K_PAGE, MADV_PAGEOUT);
	k_fact("one page of a huge page of shared memory: %zu present; %llu in memory, %llu out",
		k_here(peer.pm, at, K_HUGE), (unsigned long long)k_cached(fd, K_HUGE),
		(unsigned long long)k_evicted(fd, K_HUGE));
	T_CHECK(k_cached(fd, K_HUGE) + k_evicted(fd, K_HUGE) == PAGES);
	T_CHECK(k_here(peer.pm, at, K_HUGE) == 0 && k_cached(fd, K_HUGE) == PAGES);
	k_peer_do(&peer, k_read, at, K_HUGE, 0);
	k_fact("... read: %s", huge(&peer, at) ? "huge" : "small pages");
	T_CHECK(!huge(&peer, at));
	/* Small now, it is like others. */
	umem_lru_drain();
	k_peer_advise(&peer, at + 9 * K_PAGE, K_PAGE, MADV_PAGEOUT);
	T_CHECK(k_here(peer.pm, at, K_HUGE) == PAGES - 1 && k_evicted(fd, K_HUGE) == 1);
	T_CHECK(k_peer_do(&peer, k_wrong, at, K_HUGE, 0) == 0);
	k_peer_end(&peer);
}

int main(void)
{
	char *at = k_anon_huge(3 * K_HUGE);

	k_zram_swap(64 << 20);
	whole(at);
	part(at, 0, 1);
	part(at, 77, 1);
	part(at, 128, 64);
	across(at);
	collapse(at);
	shared();
	return 0;
}
