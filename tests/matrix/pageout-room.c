// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umem_pageout() and where pages go to: nowhere, into a full area, into a file, where
 * they stay in the swap cache and are freed only when asked for.
 */
#include <unistd.h>

#include "lib/kern/kpage.h"
#include "lib/kern/swapdev.h"
#include "tests/matrix/moves.h"

#define N    1024
#define LEN  (N * K_PAGE)
#define SEED 13

/* Pages of swap caches of others, frames that were given to somebody else. */
#define FEW (N / 16)

#define TRIES 20

/* Is there no area but one? Other programs may have made some meanwhile. */
static bool alone(void)
{
	struct umem_swap_areas areas = { 0 };
	size_t n;

	T_OK(umem_swap_areas_read(NULL, NULL, &areas));
	n = areas.n;
	umem_swap_areas_deinit(&areas);
	if (n > 1)
		printf("others have made swap areas: left out\n");
	return n <= 1;
}

static void absent(char *at)
{
	struct umem_pageout result;
	struct umem_target *target;
	struct umem_note note = { 0 };
	struct k_peer peer;
	int r;

	if (umem_swap_active()) {
		printf("swap is on: what happens without is left out\n");
		return;
	}
	k_peer_start(&peer);
	k_peer_do(&peer, k_fill_random, at, LEN, SEED);
	target = m_open(peer.pid);
	r = umem_pageout(target, NULL, &result, &note);
	printf("no swap: %s\n", note.text);
	T_CHECK(r == 0 ? umem_swap_active() : r == -ENOTSUP);
	T_CHECK(r == 0 || (strstr(note.text, "no swap") && note.err == -ENOTSUP));
	T_CHECK(umem_pagein(target, NULL, &result, &note) == 0);
	T_CHECK(r == 0 || (result.asked_bytes == 0 && result.already_bytes > LEN));
	umem_target_free(target);
	T_CHECK(k_peer_do(&peer, k_wrong_random, at, LEN, SEED) == 0);
	k_peer_end(&peer);
}

/* An area for half of it. */
static void full(bool shared)
{
	char *at = shared ? k_map(LEN, MAP_SHARED, k_memfd(LEN)) : k_anon(LEN);
	struct umem_pageout result, again;
	struct k_peer peer;
	const char *area;

	if (umem_swap_active()) {
		printf("swap is on: a full area is left out\n");
		return;
	}
	k_peer_start(&peer);
	k_peer_do(&peer, k_fill_random, at, LEN, SEED);
	area = k_zram_swap(LEN / 2);
	result = m_out(peer.pid, at, LEN, NULL);
	m_show(shared ? "an area for half, shared" : "an area for half", &result);
	again = m_out(peer.pid, at, LEN, NULL);
	if (alone()) {
		T_CHECK(result.asked_bytes == LEN && result.moved_bytes > LEN / 4);
		T_CHECK(result.moved_bytes < LEN / 2 && m_refused(&result, "full") > LEN / 2);
		T_CHECK(result.moved_bytes + m_refused(&result, "full") == LEN);
		T_CHECK(m_refused(&again, "full") + again.moved_bytes == again.asked_bytes);
	}
	T_CHECK(k_peer_do(&peer, k_wrong_random, at, LEN, SEED) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
	k_swap_off(area);
}

/* The frames of the pages now. */
static void note_frames(const struct k_peer *peer, const char *at, uint64_t pfns[N])
{
	for (size_t i = 0; i < N; i++) {
		uint64_t word = k_word(peer->pm, at + i * K_PAGE);

		T_CHECK(word & UMEM_PM_PRESENT);
		pfns[i] = word & ((1ull << 55) - 1);
	}
}

/* How many of them are in the swap cache. */
static size_t n_cached(const uint64_t pfns[N])
{
	uint64_t flags[N];
	size_t n = 0;
	int fd;

	T_OK(umem_kpage_open(UMEM_KPAGE_FLAGS, &fd));
	T_OK(umem_kpage_read(fd, pfns, N, UMEM_KPF(NOPAGE), flags));
	for (size_t i = 0; i < N; i++)
		n += umem_kpage_in_swap_cache(flags[i]);
	close(fd);
	return n;
}

/*
 * Fill it anew (what is in a slot already needs no writing) and put it out. Never is more
 * called free than is; that all is told holds when nobody else's swap moves meanwhile.
 * Return: was it quiet?
 */
static bool out_quietly(const struct k_peer *peer, char *at, long seed,
	const struct umem_pageout_options *options, struct umem_pageout *ret_result)
{
	uint64_t pfns[N];
	size_t freed, cached;

	k_peer_do(peer, k_fill_random, at, LEN, seed);
	note_frames(peer, at, pfns);
	*ret_result = m_out(peer->pid, at, LEN, options);
	cached = n_cached(pfns);
	freed = ret_result->freed_bytes / K_PAGE;
	T_CHECK(ret_result->freed_known && ret_result->asked_bytes == LEN);
	T_CHECK(freed + cached <= N + FEW, "%zu said to be freed, %zu in the swap cache", freed,
		cached);
	return ret_result->moved_bytes == LEN && freed + cached + FEW >= N;
}

/* @want_freed: pages that are freed then; @note: what is said of the others. */
static void to_file(const char *what, const struct k_peer *peer, char *at, bool free_cached,
	long want_freed, const char *note)
{
	struct umem_pageout_options options = { .free_cached = free_cached };
	struct umem_pageout result;

	for (int i = 0; i < TRIES; i++) {
		long freed, seed = SEED + 2 * i + free_cached;
		bool quiet = out_quietly(peer, at, seed, &options, &result);

		m_in_all("... and back", peer->pid, at, LEN);
		T_CHECK(k_peer_do(peer, k_wrong_random, at, LEN, seed) == 0);
		freed = (long)(result.freed_bytes / K_PAGE);
		m_show(what, &result);
		if (!quiet || freed > want_freed + FEW || freed + FEW < want_freed)
			continue;
		T_CHECK(freed == N || (note && strstr(result.freed_note, note)));
		return;
	}
	m_show("... at last", &result);
	T_SKIP("%s: other programs' swap moves all the time", what);
}

static void file(void)
{
	char *at = k_anon(LEN), *shared = k_map(LEN, MAP_SHARED, k_memfd(LEN));
	struct k_peer peer;

	k_peer_start(&peer);
	k_swap_file(64 << 20);
	to_file("to a file", &peer, at, false, 0, "swap cache");
	to_file("to a file, and freed", &peer, at, true, N, "swap cache");
	to_file("to a file, shared", &peer, shared, false, 0, "swap cache");
	to_file("to a file, shared, to be freed", &peer, shared, true, 0, "shared memory");
	k_peer_end(&peer);
}

/* More than half of swap used: touching would give slots back, so it is not done. */
static void half_used(void)
{
	struct umem_pageout_options options = { .free_cached = true };
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;
	const char *area;

	if (umem_swap_active()) {
		printf("swap is on: one half used is left out\n");
		return;
	}
	area = k_swap_file(LEN + LEN / 4);
	k_peer_start(&peer);
	k_peer_do(&peer, k_fill_random, at, LEN, SEED);
	result = m_out(peer.pid, at, LEN, &options);
	m_show("to a file that is used by more than half", &result);
	T_CHECK(result.moved_bytes + result.returned_bytes == LEN);
	if (alone())
		T_CHECK(strstr(result.freed_note, "half"));
	T_CHECK(k_peer_do(&peer, k_wrong_random, at, LEN, SEED) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
	k_swap_off(area);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("swap areas need root");
	absent(k_anon(LEN));
	full(false);
	full(true);
	half_used();
	file();
	return 0;
}
