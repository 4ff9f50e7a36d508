// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umem_pageout_pages() and umem_pagein() on random pages of a process that does random
 * things with its memory in between: the bytes stay what they are, every page that was
 * asked is in one sum, what is said to be out is out by an independent look, and what
 * was not asked stays where it was. Then 100,000 single pages.
 */
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "lib/op/pageout.h"
#include "tests/matrix/moves.h"

#define N      2048
#define LEN    (N * K_PAGE)
#define ROUNDS 60

/**
 * struct scene - the memory and who has it.
 * @peer: who.
 * @at: where, private or shared by turns of 256 pages; holes in it.
 * @fd: of the shared part, at the same offsets.
 * @target: the same for the library.
 */
struct scene {
	struct k_peer peer;
	char *at;
	int fd;
	struct umem_target *target;
};

static uint64_t random_state;

static bool is_shared(size_t page)
{
	return page / 256 % 2;
}

/* Is the page out, by a look that shares nothing with what is tested? */
static bool is_out(const struct scene *s, size_t page)
{
	uint64_t word = k_word(s->peer.pm, s->at + page * K_PAGE);
	struct umem_cachestat stat;

	if (word & UMEM_PM_PRESENT)
		return false;
	if (!is_shared(page))
		return word & UMEM_PM_SWAPPED && UMEM_PM_SWAP_TYPE(word) < 23;
	T_OK(umem_filecache_stat(s->fd, page * K_PAGE, (page + 1) * K_PAGE, &stat));
	return stat.nr_evicted == 1;
}

static void act(const struct scene *s)
{
	static const struct {
		k_act *act;
		long arg;
	} acts[] = { { k_read, 0 }, { k_write, 3 }, { k_fill, 9 }, { k_advise, MADV_DONTNEED },
		{ k_advise, MADV_PAGEOUT }, { k_advise, MADV_COLD } };
	size_t i = t_below(&random_state, sizeof(acts) / sizeof(acts[0]));
	size_t page = t_below(&random_state, N);
	size_t n = 1 + t_below(&random_state, N - page < 300 ? N - page : 300);

	T_OK((int)k_peer_do(&s->peer, acts[i].act, s->at + page * K_PAGE, n * K_PAGE,
		acts[i].arg));
}

/* Some pages of the map, in runs of random length. */
static void choose(struct umem_pageset *resident, struct umem_pageset *chosen)
{
	uint64_t longest = 1 + t_below(&random_state, 40);
	struct umem_pageset_iter iter;
	struct umem_range run;

	T_OK(umem_pageset_walk(resident, &iter));
	while (umem_pageset_next(&iter, &run)) {
		uint64_t at = run.start;

		while (at < run.end) {
			uint64_t len = (1 + t_below(&random_state, longest)) * K_PAGE;

			if (at + len > run.end)
				len = run.end - at;
			if (t_below(&random_state, 2))
				T_OK(umem_pageset_add(chosen, at, at + len));
			at += len;
		}
	}
	umem_pageset_walk_end(&iter);
}

/* Return: pages that are not as said, which others' swap can do; never many, never twice. */
static size_t check_went(const struct scene *s, struct umem_pageset *chosen,
	struct umem_pageset *went)
{
	size_t wrong = 0;

	for (size_t i = 0; i < N; i++) {
		uint64_t addr = (uintptr_t)s->at + i * K_PAGE;
		bool has = umem_pageset_has(went, addr);

		T_CHECK(!has || umem_pageset_has(chosen, addr), "page %zu went unasked", i);
		wrong += umem_pageset_has(chosen, addr) && has != is_out(s, i);
	}
	return wrong;
}

static void look(const struct scene *s, struct umem_residency **ret_map)
{
	struct umem_range range = { (uintptr_t)s->at, (uintptr_t)s->at + LEN };
	struct umem_residency_options where = { .size = sizeof(where), .regions = &range,
		.n_regions = 1 };
	struct umem_note note = { 0 };
	int r = umem_residency_new(s->target, &where, ret_map, &note);

	T_CHECK(r == 0, "%s", note.text);
}

/* Return: was it as it should be, but for what others' swap did? */
static bool round_of(const struct scene *s)
{
	struct umem_pageset chosen = { 0 }, went = { 0 };
	struct umem_pageout result;
	struct umem_residency *map;
	struct umem_note note = { 0 };
	uint64_t asked, others = 0;
	size_t wrong;
	int r;

	for (int i = 0; i < 5; i++)
		act(s);
	umem_lru_drain();
	look(s, &map);
	choose(umem_residency_pages(map, UMEM_STATE_RESIDENT), &chosen);
	asked = umem_pageset_bytes(&chosen);
	T_OK(umem_pageset_subtract(umem_residency_pages(map, UMEM_STATE_RESIDENT), &chosen));
	r = umem_pageout_pages(s->target, map, &chosen, 0, &went, &result, &note);
	T_CHECK(r == 0, "%d %s", r, note.text);
	m_check(&result);
	T_CHECK(umem_pageset_bytes(&chosen) == asked, "the set of the caller was changed");
	T_CHECK(result.asked_bytes == asked && result.already_bytes == 0);
	T_CHECK(result.moved_bytes == umem_pageset_bytes(&went));
	wrong = check_went(s, &chosen, &went);
	for (size_t i = 0; i < N; i++)
		others += umem_pageset_has(umem_residency_pages(map, UMEM_STATE_RESIDENT),
			(uintptr_t)s->at + i * K_PAGE) && is_out(s, i);
	umem_residency_free(map);
	umem_pageset_deinit(&chosen);
	umem_pageset_deinit(&went);
	/* Shared memory that was read and never written is dropped by the kernel. */
	return result.moved_bytes + m_refused(&result, "not there") == asked && wrong == 0 &&
		others == 0;
}

static void random_rounds(void)
{
	struct scene s = { .at = k_anon(LEN), .fd = k_memfd(LEN) };
	size_t n_quiet = 0;

	for (size_t i = 256; i < N; i += 512)
		T_CHECK(mmap(s.at + i * K_PAGE, 256 * K_PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, s.fd, (off_t)(i * K_PAGE)) != MAP_FAILED);
	k_peer_start(&s.peer);
	munmap(s.at, LEN);
	s.target = m_open(s.peer.pid);
	k_peer_do(&s.peer, k_fill_random, s.at, LEN / 2, 1);
	for (int i = 0; i < ROUNDS; i++) {
		struct umem_pageout result;
		long before, after;

		n_quiet += round_of(&s);
		/* Out, in, and out again does not change a byte. */
		if (i % 10 != 0)
			continue;
		m_out(s.peer.pid, s.at, LEN, NULL);
		before = k_peer_do(&s.peer, m_hash, s.at, LEN, 0);
		m_out(s.peer.pid, s.at, LEN, NULL);
		result = m_in(s.peer.pid, s.at, LEN);
		T_CHECK(m_refused(&result, NULL) == 0);
		m_out(s.peer.pid, s.at, LEN, NULL);
		after = k_peer_do(&s.peer, m_hash, s.at, LEN, 0);
		T_CHECK(before == after, "round %d: content changed", i);
	}
	printf("%zu of %d rounds exact, the others disturbed by other swap\n", n_quiet, ROUNDS);
	T_CHECK(n_quiet >= ROUNDS / 3);
	umem_target_free(s.target);
	k_peer_end(&s.peer);
	close(s.fd);
}

/* Every third page of many, each on its own. */
static void singles(void)
{
	const size_t n = 300000, len = n * K_PAGE;
	struct umem_pageset chosen = { 0 }, went = { 0 };
	struct scene s = { .at = k_anon(len), .fd = -1 };
	struct umem_pageout result;
	struct umem_residency *map;
	struct umem_note note = { 0 };
	uint64_t start_ns, took_ns;
	long hash;

	k_peer_start(&s.peer);
	munmap(s.at, len);
	k_peer_do(&s.peer, k_fill, s.at, len, 0);
	hash = k_peer_do(&s.peer, m_hash, s.at, len, 0);
	s.target = m_open(s.peer.pid);
	T_OK(umem_residency_new(s.target, NULL, &map, &note));
	for (size_t i = 0; i < n; i += 3)
		T_OK(umem_pageset_add(&chosen, (uintptr_t)s.at + i * K_PAGE,
			(uintptr_t)s.at + (i + 1) * K_PAGE));
	start_ns = t_now_ns();
	T_OK(umem_pageout_pages(s.target, map, &chosen, 0, &went, &result, &note));
	took_ns = t_now_ns() - start_ns;
	m_show("every third of 300,000 pages", &result);
	printf("fact: %.2f us a page\n", (double)took_ns / 1e3 / (double)(n / 3));
	m_check(&result);
	T_CHECK(result.asked_bytes == n / 3 * K_PAGE);
	T_CHECK(result.moved_bytes + result.returned_bytes == result.asked_bytes);
	T_CHECK(result.moved_bytes == umem_pageset_bytes(&went));
	/* Their neighbours are in memory, if nobody else put them out. */
	printf("%zu of %zu others are in memory\n", k_here(s.peer.pm, s.at, len) -
		result.returned_bytes / K_PAGE, n - n / 3);
	T_CHECK(k_peer_do(&s.peer, m_hash, s.at, len, 0) == hash);
	umem_residency_free(map);
	umem_pageset_deinit(&chosen);
	umem_pageset_deinit(&went);
	umem_target_free(s.target);
	k_peer_end(&s.peer);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("paging out another process needs CAP_SYS_NICE");
	random_state = t_seed();
	k_zram_swap(1 << 30);
	random_rounds();
	singles();
	return 0;
}
