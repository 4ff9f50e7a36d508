// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page sets against a naive array, in both forms and across segments. */
#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

#define PAGES 400
/* Half of the pages lie below a segment's border (2^32 pages), half above. */
#define BASE ((1ull << 44) - PAGES / 2 * UMEM_PAGE_BYTES)

static uint64_t addr(uint64_t page)
{
	return BASE + page * UMEM_PAGE_BYTES;
}

static void check_same(struct umem_pageset *set, const bool *model)
{
	struct umem_pageset_iter it;
	struct umem_range run;
	uint64_t n = 0, at = 0;

	for (uint64_t p = 0; p < PAGES; p++) {
		assert_int_equal(umem_pageset_has(set, addr(p) + 17), model[p]);
		n += model[p];
	}
	assert_int_equal(umem_pageset_bytes(set), n * UMEM_PAGE_BYTES);
	assert_int_equal(umem_pageset_empty(set), n == 0);
	assert_int_equal(0, umem_pageset_walk(set, &it));
	while (umem_pageset_next(&it, &run)) {
		uint64_t first = (run.start - BASE) / UMEM_PAGE_BYTES;
		uint64_t last = (run.end - BASE) / UMEM_PAGE_BYTES;

		/* runs are maximal: a clean page before, between and behind */
		for (; at < first; at++)
			assert_false(model[at]);
		for (; at < last; at++)
			assert_true(model[at]);
		assert_false(at < PAGES && model[at]);
	}
	umem_pageset_walk_end(&it);
	for (; at < PAGES; at++)
		assert_false(model[at]);
}

static void change(uint64_t *rng, struct umem_pageset *set, bool *model)
{
	uint64_t start = t_below(rng, PAGES), end = start + 1 + t_below(rng, 4);
	bool add = t_below(rng, 4) != 0;

	if (end > PAGES)
		end = PAGES;
	assert_int_equal(0, add ? umem_pageset_add(set, addr(start) + 5, addr(end) - 5) :
				  umem_pageset_sub(set, addr(start), addr(end)));
	for (uint64_t p = start; p < end; p++)
		model[p] = add;
}

static void random_operations(void **state)
{
	uint64_t rng = t_seed();

	for (int round = 0; round < 200; round++) {
		/* limits that are never, sometimes and soon passed */
		struct umem_pageset a = { .limit = 1 + t_below(&rng, 60) };
		struct umem_pageset b = { .limit = 1 + t_below(&rng, 60) };
		struct umem_ranges keep = { 0 };
		bool ma[PAGES] = { 0 }, mb[PAGES] = { 0 };

		for (int i = 0; i < 80; i++) {
			change(&rng, &a, ma);
			change(&rng, &b, mb);
			if (i % 20 == 0)
				check_same(&a, ma);
		}
		if (round % 2) {
			assert_int_equal(0, umem_pageset_union(&a, &b));
			for (int p = 0; p < PAGES; p++)
				ma[p] |= mb[p];
		} else {
			assert_int_equal(0, umem_pageset_subtract(&a, &b));
			for (int p = 0; p < PAGES; p++)
				ma[p] &= !mb[p];
		}
		check_same(&a, ma);
		check_same(&b, mb);
		assert_int_equal(0, umem_ranges_add(&keep, addr(10), addr(50)));
		assert_int_equal(0, umem_ranges_add(&keep, addr(190), addr(333)));
		assert_int_equal(0, umem_pageset_keep(&a, &keep));
		for (int p = 0; p < PAGES; p++)
			ma[p] &= (p >= 10 && p < 50) || (p >= 190 && p < 333);
		check_same(&a, ma);
		umem_pageset_clear(&a);
		memset(ma, 0, sizeof(ma));
		check_same(&a, ma);
		umem_ranges_deinit(&keep);
		umem_pageset_deinit(&a);
		umem_pageset_deinit(&b);
	}
}

/* Many short runs and some long ones, over the borders of containers and of segments. */
static void dense_runs(void **state)
{
	const uint64_t n_pages = 6 * 65536, first = (1ull << 32) - 3 * 65536 - 77;
	bool *model = malloc(n_pages);
	uint64_t rng = t_seed();

	for (int round = 0; round < 30; round++) {
		struct umem_pageset set = { .limit = 1 + t_below(&rng, 40000) };
		uint64_t gap = 1 + t_below(&rng, 40), longest = 1 + t_below(&rng, 100), n = 0;
		uint64_t all = 0;
		struct umem_pageset_iter it;
		struct umem_range run;

		memset(model, 0, n_pages);
		for (uint64_t at = t_below(&rng, gap + 1); at < n_pages;) {
			uint64_t len = 1 + t_below(&rng, longest);

			if (t_below(&rng, 5000) == 0)
				len = t_below(&rng, 100000);
			len = umem_min_u64(len, n_pages - at);
			assert_int_equal(0, umem_pageset_add(&set, (first + at) << 12,
				(first + at + len) << 12));
			memset(model + at, true, len);
			at += len + 1 + t_below(&rng, gap);
		}
		for (uint64_t i = 0; i < n_pages; i++)
			n += model[i];
		assert_int_equal(umem_pageset_bytes(&set), n << 12);
		assert_int_equal(0, umem_pageset_walk(&set, &it));
		while (umem_pageset_next(&it, &run))
			for (uint64_t p = run.start >> 12; p < run.end >> 12; p++, all++)
				assert_true(model[p - first]);
		umem_pageset_walk_end(&it);
		assert_int_equal(all, n);
		umem_pageset_deinit(&set);
	}
	free(model);
}

/* A dense set costs little more than a bit a page. */
static void dense_is_small(void **state)
{
	const uint64_t pages = 1u << 20;
	struct umem_pageset set = { 0 };

	for (uint64_t p = 0; p < pages; p += 2)
		assert_int_equal(0, umem_pageset_add(&set, p << 12, (p + 1) << 12));
	assert_int_equal(umem_pageset_bytes(&set), pages / 2 * UMEM_PAGE_BYTES);
	assert_true(umem_pageset_memory(&set) <= pages / 8 + (1u << 20));
	umem_pageset_deinit(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(dense_runs),
		cmocka_unit_test(dense_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
