// SPDX-License-Identifier: LGPL-2.1-or-later
/* Slices: splitting and merging keep sums, and put together only what is alike. */
#include "lib/policy/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define PAGE 4096u
#define MINUTE 60000000000u

static void map(struct umem_slices *s, uint64_t from, uint64_t to)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };

	umem_slices_init(s, PAGE);
	T_OK(umem_ranges_add(&ranges, from * PAGE, to * PAGE));
	T_OK(umem_slices_sync(s, &ranges));
}

/* Pages of the parts of [from, to), once split. */
static void check_parts(const struct umem_slices *s, uint64_t from, uint64_t to)
{
	uint64_t pages = to - from > 64 ? 64 : 8, at = from;

	for (size_t i = 0; i < s->n; i++) {
		const struct umem_slice *a = &s->v[i];

		assert_int_equal(a->start, at * PAGE);
		assert_true(a->n_pages <= pages);
		at += a->n_pages;
		/* all lines of the grid but the ends */
		assert_true(at == to || at % pages == 0);
	}
	assert_int_equal(at, to);
}

/* Every length at several places of a cell: sums stay, parts end on the grid. */
static void split_keeps_sums(void **state)
{
	static const uint64_t places[] = { 0, 1, 7, 8, 63, 64, 65, 300 };
	uint64_t rng = t_seed();

	for (size_t p = 0; p < UMEM_ARRAY_LEN(places); p++) {
		for (uint64_t n = 1; places[p] + n <= 512; n++) {
			UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
			struct umem_slices_sum before, after;
			struct umem_slice_seen seen = { .resident = t_below(&rng, n + 1) };

			seen.out = t_below(&rng, 2) ? n - seen.resident :
						      t_below(&rng, n - seen.resident + 1);
			seen.at_risk = t_below(&rng, n + 1);
			seen.returned = t_below(&rng, seen.at_risk + 1);
			seen.used = t_below(&rng, n + 1);
			seen.source = UMEM_USE_WRITES;
			map(&s, places[p], places[p] + n);
			umem_slice_note(&s.v[0], &seen, 1);
			s.v[0].split = true;
			umem_slices_sum(&s, &before);
			T_OK(umem_slices_split(&s, NULL, NULL, 1));
			umem_slices_sum(&s, &after);
			if (n <= 8) {
				assert_int_equal(s.n, 1);
				continue;
			}
			after.n = before.n;
			/* which kind of slice they came back to is a matter of state */
			after.sampled_back = before.sampled_back;
			assert_memory_equal(&before, &after, sizeof(before));
			check_parts(&s, places[p], places[p] + n);
		}
	}
}

struct truth {
	uint64_t calls;
	uint64_t hot;
};

/* Page @hot came back, the ten pages from 128 on are out and stayed there. */
static void count(void *arg, uint64_t start, uint64_t n_pages, struct umem_slice_seen *ret_seen)
{
	struct truth *truth = arg;

	truth->calls++;
	*ret_seen = (struct umem_slice_seen){ .resident = n_pages };
	if (start / PAGE == 128)
		*ret_seen = (struct umem_slice_seen){
			.resident = n_pages - 10, .out = 10, .at_risk = 10 };
	if (truth->hot - start / PAGE < n_pages)
		*ret_seen = (struct umem_slice_seen){
			.resident = n_pages, .at_risk = 1, .returned = 1 };
}

static void parts_start_with_what_is_known(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct truth truth = { .hot = 70 };

	map(&s, 0, 1024);
	s.v[0].sampled_ns = 11;
	s.v[0].watched_ns = 12;
	umem_slice_hold(&s.v[0], 100, 30, 1000);
	s.v[0].split = true;
	T_OK(umem_slices_split(&s, count, &truth, 5));
	assert_int_equal(truth.calls, 8);
	assert_int_equal(s.n, 9);
	/* in use: held as its parent */
	assert_int_equal(s.v[1].state, UMEM_SLICE_WARM);
	assert_int_equal(s.v[1].hold_until_ns, 130);
	/* out: goes on */
	assert_int_equal(s.v[2].state, UMEM_SLICE_PROBING);
	assert_int_equal(s.v[2].sample, 10);
	assert_int_equal(s.v[2].sampled_ns, 11);
	assert_int_equal(s.v[2].watched_ns, 12);
	/* unknown */
	assert_int_equal(s.v[3].state, UMEM_SLICE_NEW);
	assert_int_equal(s.v[3].hold_until_ns, 0);
	/* the neighbour was not asked */
	assert_int_equal(s.v[8].n_pages, 512);
	for (size_t i = 0; i < s.n; i++)
		assert_false(s.v[i].split || s.v[i].want);
}

static void split_stops_at_the_most(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;

	map(&s, 0, 4 * 512);
	/* two splits, each of them of room for nine parts when it begins */
	s.max = 4 + 7 + 8;
	for (size_t i = 0; i < s.n; i++)
		s.v[i].split = true;
	T_OK(umem_slices_split(&s, NULL, NULL, 1));
	assert_int_equal(s.n, 4 + 2 * 7);
	for (size_t i = 0; i < s.n; i++)
		assert_false(s.v[i].split);
}

/* All pairs of states of two halves of a cell: what merges is alike. */
static void merges_what_is_alike(void **state)
{
	for (int k = 0; k < 4 * 4 * 4; k++) {
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
		bool held_a = k & 1, held_b = k & 2, a_cold, b_cold, alike;

		map(&s, 0, 16);
		s.v[0].split = true;
		T_OK(umem_slices_split(&s, NULL, NULL, 1));
		assert_int_equal(s.n, 2);
		s.v[0].state = (uint8_t)(k / 4 % 4);
		s.v[1].state = (uint8_t)(k / 16);
		s.v[0].hold_until_ns = held_a ? 70 : 0;
		s.v[1].hold_until_ns = held_b ? 80 : 0;
		s.v[0].hold_ns = 50;
		s.v[1].hold_ns = 40;
		s.v[0].quiet_ns = s.v[0].sampled_ns = s.v[0].watched_ns = 5;
		s.v[1].quiet_ns = s.v[1].sampled_ns = s.v[1].watched_ns = 3;
		s.v[0].sample = s.v[1].sample = 4;
		a_cold = s.v[0].state == UMEM_SLICE_COLD;
		b_cold = s.v[1].state == UMEM_SLICE_COLD;
		alike = a_cold ? b_cold : !b_cold && held_a && held_b;
		assert_int_equal(umem_slices_merge(&s, 0, MINUTE), alike);
		assert_int_equal(s.n, alike ? 1 : 2);
		if (!alike)
			continue;
		/* the shorter silence, the longer hold; of two states the one that waits */
		assert_int_equal(s.v[0].quiet_ns, 3);
		assert_int_equal(s.v[0].sampled_ns, 3);
		assert_int_equal(s.v[0].watched_ns, 3);
		assert_int_equal(s.v[0].hold_ns, 50);
		assert_int_equal(s.v[0].hold_until_ns, held_b ? 80 : held_a ? 70 : 0);
		assert_int_equal(s.v[0].state, k / 4 % 4 == k / 16 ? k / 16 : UMEM_SLICE_WARM);
		assert_int_equal(s.v[0].sample, s.v[0].state == UMEM_SLICE_PROBING ? 8 : 0);
		assert_int_equal(s.v[0].whole_until_ns, a_cold ? 0 : MINUTE);
	}
}

/* Split to the smallest, merge again: sums stay, and what differs stays apart. */
static void split_and_merge_again(void **state)
{
	uint64_t rng = t_seed();

	for (int round = 0; round < 200; round++) {
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
		uint64_t from = t_below(&rng, 600), to = from + 1 + t_below(&rng, 3000);
		uint64_t odd = t_below(&rng, 4);
		struct umem_slices_sum before, after;

		map(&s, from, to);
		for (int level = 0; level < 3; level++) {
			for (size_t i = 0; i < s.n; i++)
				s.v[i].split = true;
			T_OK(umem_slices_split(&s, NULL, NULL, 1));
		}
		for (size_t i = 0; i < s.n; i++) {
			struct umem_slice *a = &s.v[i];
			uint64_t back = t_below(&rng, a->n_pages + 1);

			assert_true(a->n_pages <= 8);
			umem_slice_note(a, &(struct umem_slice_seen){ .resident = back,
				.out = a->n_pages - back, .at_risk = a->n_pages, .returned = back },
				1);
			a->state = UMEM_SLICE_COLD;
		}
		for (uint64_t i = 0; i < odd; i++)
			s.v[t_below(&rng, s.n)].state = UMEM_SLICE_NEW;
		umem_slices_sum(&s, &before);
		size_t gone = umem_slices_merge(&s, UINT64_MAX, UINT64_MAX);

		umem_slices_sum(&s, &after);
		assert_int_equal(after.n + gone, before.n);
		after.n = before.n;
		assert_memory_equal(&before, &after, sizeof(before));
		for (size_t i = 0; i < s.n; i++)
			assert_true(s.v[i].n_pages <= 512);
		if (!odd)
			assert_int_equal(s.n, (to + 511) / 512 - from / 512);
		assert_int_equal(umem_slices_merge(&s, 0, 0), 0);
	}
}

/* What is about to be split is not merged before that. */
static void to_be_split_is_not_merged(void **state)
{
	for (int k = 1; k < 4; k++) {
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;

		map(&s, 0, 16);
		s.v[0].split = true;
		T_OK(umem_slices_split(&s, NULL, NULL, 1));
		s.v[0].state = s.v[1].state = UMEM_SLICE_COLD;
		s.v[0].split = k & 1;
		s.v[1].split = k & 2;
		assert_int_equal(umem_slices_merge(&s, 0, 0), 0);
	}
}

/* Memory that does not touch is not one. */
static void a_hole_is_not_merged(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };

	umem_slices_init(&s, PAGE);
	T_OK(umem_ranges_add(&ranges, 0, 8 * PAGE));
	T_OK(umem_ranges_add(&ranges, 9 * PAGE, 16 * PAGE));
	T_OK(umem_slices_sync(&s, &ranges));
	s.v[0].state = s.v[1].state = UMEM_SLICE_COLD;
	assert_int_equal(umem_slices_merge(&s, 0, 0), 0);
}

/* Half a million slices: would take hours if anything here were quadratic. */
static void many(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };

	umem_slices_init(&s, PAGE);
	T_OK(umem_ranges_add(&ranges, 0, 8192ull * 512 * PAGE));
	for (int level = 0; level < 3; level++) {
		T_OK(umem_slices_sync(&s, &ranges));
		for (size_t i = 0; i < s.n; i++)
			s.v[i].split = true;
		T_OK(umem_slices_split(&s, NULL, NULL, 1));
	}
	assert_int_equal(s.n, 8192 * 64);
	for (uint64_t i = 0; i < 8192; i++)
		T_OK(umem_ranges_sub(&ranges, (i * 512 + 100) * PAGE, (i * 512 + 101) * PAGE));
	T_OK(umem_slices_sync(&s, &ranges));
	assert_int_equal(s.n, 8192 * 65);
	for (size_t i = 0; i < s.n; i++)
		s.v[i].state = UMEM_SLICE_COLD;
	umem_slices_merge(&s, 0, 0);
	/* seven whole parts, and nine pieces of the one with the hole */
	assert_int_equal(s.n, 8192 * (7 + 9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_keeps_sums),
		cmocka_unit_test(parts_start_with_what_is_known),
		cmocka_unit_test(split_stops_at_the_most),
		cmocka_unit_test(merges_what_is_alike),
		cmocka_unit_test(split_and_merge_again),
		cmocka_unit_test(to_be_split_is_not_merged),
		cmocka_unit_test(a_hole_is_not_merged),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
