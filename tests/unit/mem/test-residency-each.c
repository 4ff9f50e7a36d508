// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Runs of states: sums and merging of a walk, and the runs of a map's sets, put
 * together again, against a byte a page.
 */
#include "lib/mem/residency.h"

#include <string.h>

#include "lib/mem/residency_walk.h"
#include "tests/lib/harness.h"

#define PAGE    UMEM_PAGE_BYTES
#define BASE    0x700000000000ull
#define N_PAGES 300
#define NONE    0xff
#define ROUNDS  3000

/* What was handed on: a byte a page, and whether runs were as they should be. */
struct taken {
	unsigned char state[N_PAGES];
	size_t n_runs;
	uint64_t last_end;
	int stop_at;
};

static int take(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct taken *taken = user;
	bool whole = ((start | end) & (PAGE - 1)) == 0;

	T_CHECK(whole && start < end && start >= taken->last_end && start >= BASE &&
		end <= BASE + N_PAGES * PAGE);
	memset(taken->state + (start - BASE) / PAGE, (int)state, (end - start) / PAGE);
	taken->last_end = end;
	taken->n_runs++;
	return taken->stop_at && (int)taken->n_runs == taken->stop_at ? 7 : 0;
}

static void walks(void)
{
	struct taken taken = { 0 };
	struct umem_walk walk = { .each = take, .user = &taken };

	T_OK(umem_walk_end(&walk)); /* nothing at all */
	T_CHECK(taken.n_runs == 0);
	T_OK(umem_walk_add(&walk, BASE, BASE + PAGE, UMEM_STATE_SWAPPED));
	T_OK(umem_walk_add(&walk, BASE + PAGE, BASE + 3 * PAGE, UMEM_STATE_SWAPPED));
	T_CHECK(taken.n_runs == 0);
	/* A gap ends a run, and so does another state. */
	T_OK(umem_walk_add(&walk, BASE + 4 * PAGE, BASE + 5 * PAGE, UMEM_STATE_SWAPPED));
	T_CHECK(taken.n_runs == 1 && taken.last_end == BASE + 3 * PAGE);
	T_OK(umem_walk_add(&walk, BASE + 5 * PAGE, BASE + 6 * PAGE, UMEM_STATE_ZERO));
	T_CHECK(taken.n_runs == 2);
	T_OK(umem_walk_end(&walk));
	T_OK(umem_walk_end(&walk));
	T_CHECK(taken.n_runs == 3);
	T_CHECK(walk.bytes[UMEM_STATE_SWAPPED] == 4 * PAGE && walk.bytes[UMEM_STATE_ZERO] == PAGE);
	taken.stop_at = 4;
	T_OK(umem_walk_add(&walk, BASE + 7 * PAGE, BASE + 8 * PAGE, UMEM_STATE_GUARD));
	T_CHECK(umem_walk_add(&walk, BASE + 9 * PAGE, BASE + 10 * PAGE, UMEM_STATE_GUARD) == 7);

	T_CHECK(umem_page_up(0) == 0 && umem_page_up(1) == PAGE && umem_page_up(PAGE) == PAGE);
	T_CHECK(umem_page_up(UINT64_MAX) == UINT64_MAX - PAGE + 1);
	T_CHECK(umem_page_up(UINT64_MAX - PAGE + 1) == UINT64_MAX - PAGE + 1);
}

/* Mappings with gaps between some of them, and any states in them. */
static size_t make_regions(uint64_t *state, unsigned char *model,
	struct umem_residency_region *regions)
{
	size_t n = 0;

	memset(model, NONE, N_PAGES);
	for (size_t at = t_below(state, 4); at < N_PAGES;) {
		size_t len = 1 + t_below(state, 60);

		len = at + len > N_PAGES ? N_PAGES - at : len;
		regions[n++] = (struct umem_residency_region){
			.start = BASE + at * PAGE,
			.end = BASE + (at + len) * PAGE,
		};
		for (size_t i = 0; i < len; i++)
			model[at + i] = (unsigned char)(i && t_below(state, 3) ? model[at + i - 1] :
					t_below(state, UMEM_N_STATES));
		at += len + (t_below(state, 2) ? t_below(state, 5) : 0);
	}
	return n;
}

/* How many runs there must be: states change, or mappings. */
static size_t count_runs(const unsigned char *model, const struct umem_residency_region *regions,
	size_t n, uint64_t start, uint64_t end)
{
	size_t runs = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = regions[i].start > start ? regions[i].start : start;
		uint64_t to = regions[i].end < end ? regions[i].end : end;

		for (uint64_t at = from; at < to; at += PAGE)
			runs += at == from ||
				model[(at - BASE) / PAGE] != model[(at - BASE) / PAGE - 1];
	}
	return runs;
}

static void check_each(struct umem_residency *map, const unsigned char *model, uint64_t start,
	uint64_t end)
{
	struct taken taken = { 0 };

	memset(taken.state, NONE, sizeof(taken.state));
	T_OK(umem_residency_each(map, start, end, take, &taken));
	for (size_t i = 0; i < N_PAGES; i++) {
		uint64_t at = BASE + i * PAGE;

		T_CHECK(taken.state[i] == (at >= start && at < end ? model[i] : NONE),
			"page %zu is %d, not %d", i, taken.state[i], model[i]);
	}
	T_CHECK(taken.n_runs == count_runs(model, map->v, map->n, start, end));
	if (taken.n_runs > 1) {
		taken = (struct taken){ .stop_at = (int)taken.n_runs - 1 };
		T_CHECK(umem_residency_each(map, start, end, take, &taken) == 7);
	}
}

static void each(uint64_t *state)
{
	struct umem_residency_region regions[N_PAGES];
	struct umem_residency map = { .v = regions };
	unsigned char model[N_PAGES];

	map.n = make_regions(state, model, regions);
	for (size_t i = 0; i < UMEM_N_STATES; i++)
		map.sets[i].limit = t_below(state, 2) ? 0 : 2; /* runs, or bitmaps */
	for (size_t i = 0; i < N_PAGES; i++)
		if (model[i] != NONE && model[i] != UMEM_STATE_UNTOUCHED)
			T_OK(umem_pageset_add(&map.sets[model[i]], BASE + i * PAGE,
				BASE + (i + 1) * PAGE));
	/* What became of pages that are mapped no longer is not told. */
	T_OK(umem_pageset_add(&map.sets[UMEM_STATE_RESIDENT], BASE + 2 * N_PAGES * PAGE,
		BASE + (2 * N_PAGES + 5) * PAGE));
	check_each(&map, model, 0, UINT64_MAX);
	for (int i = 0; i < 4; i++) {
		uint64_t start = BASE + t_below(state, N_PAGES) * PAGE;

		check_each(&map, model, start, start + t_below(state, N_PAGES) * PAGE);
	}
	for (size_t i = 0; i < UMEM_N_STATES; i++)
		umem_pageset_deinit(&map.sets[i]);
}

int main(void)
{
	uint64_t state = t_seed();

	walks();
	for (int i = 0; i < ROUNDS; i++)
		each(&state);
	for (int i = 0; i < UMEM_N_STATES; i++)
		T_CHECK(strcmp(umem_state_name((enum umem_state)i), "unknown") != 0);
	T_CHECK(strcmp(umem_state_name(UMEM_N_STATES), "unknown") == 0);
	return 0;
}
