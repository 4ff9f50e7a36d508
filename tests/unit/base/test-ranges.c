// SPDX-License-Identifier: LGPL-2.1-or-later
/* Range sets against a naive bitmap model, random operations. */
#include "lib/base/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

#define SPACE 300

static void check_same(const struct umem_ranges *set, const bool *model)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < set->n; i++) {
		assert_true(set->v[i].start < set->v[i].end);
		/* sorted, disjoint and not touching */
		if (i)
			assert_true(set->v[i - 1].end < set->v[i].start);
	}
	for (uint64_t a = 0; a < SPACE; a++) {
		assert_int_equal(umem_ranges_has(set, a), model[a]);
		bytes += model[a];
	}
	assert_int_equal(umem_ranges_bytes(set), bytes);
}

static void change(uint64_t *rng, struct umem_ranges *set, bool *model)
{
	uint64_t start = t_below(rng, SPACE), end = start + t_below(rng, 12);
	bool add = t_below(rng, 3) != 0;

	if (end > SPACE)
		end = SPACE;
	assert_int_equal(0, add ? umem_ranges_add(set, start, end) :
				  umem_ranges_sub(set, start, end));
	for (uint64_t a = start; a < end; a++)
		model[a] = add;
}

static void random_operations(void **state)
{
	uint64_t rng = t_seed();

	for (int round = 0; round < 300; round++) {
		struct umem_ranges a = { 0 }, b = { 0 }, out = { 0 };
		bool ma[SPACE] = { 0 }, mb[SPACE] = { 0 }, m[SPACE];

		for (int i = 0; i < 60; i++) {
			change(&rng, &a, ma);
			change(&rng, &b, mb);
			check_same(&a, ma);
		}
		assert_int_equal(0, umem_ranges_union(&a, &b, &out));
		for (int i = 0; i < SPACE; i++)
			m[i] = ma[i] || mb[i];
		check_same(&out, m);
		assert_int_equal(0, umem_ranges_intersect(&a, &b, &out));
		for (int i = 0; i < SPACE; i++)
			m[i] = ma[i] && mb[i];
		check_same(&out, m);
		assert_int_equal(0, umem_ranges_subtract(&a, &b, &out));
		for (int i = 0; i < SPACE; i++)
			m[i] = ma[i] && !mb[i];
		check_same(&out, m);
		for (uint64_t s = 0; s < SPACE; s += 7) {
			bool any = false;

			for (uint64_t x = s; x < s + 9 && x < SPACE; x++)
				any |= ma[x];
			assert_int_equal(umem_ranges_overlaps(&a, s, s + 9), any);
		}
		umem_ranges_deinit(&a);
		umem_ranges_deinit(&b);
		umem_ranges_deinit(&out);
	}
}

static void edges(void **state)
{
	struct umem_ranges s = { 0 };

	assert_int_equal(0, umem_ranges_add(&s, 5, 5));
	assert_int_equal(0, s.n);
	assert_int_equal(0, umem_ranges_add(&s, 0, 1));
	assert_int_equal(0, umem_ranges_add(&s, UINT64_MAX - 1, UINT64_MAX));
	assert_int_equal(2, s.n);
	assert_int_equal(0, umem_ranges_sub(&s, 0, UINT64_MAX));
	assert_int_equal(0, s.n);
	umem_ranges_deinit(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
