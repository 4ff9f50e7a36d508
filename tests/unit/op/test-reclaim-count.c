// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page sets against slices, against a naive count of single pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/base/attr.h"
#include "lib/op/reclaim_count.h"
#include "tests/lib/harness.h"

#define BASE  0x7f0000000000ull
#define PAGES 4096

/* What is in the set, page by page. */
static bool in[PAGES];

static uint64_t at(uint64_t page)
{
	return BASE + page * UMEM_PAGE_BYTES;
}

static void fill(struct umem_pageset *set, uint64_t *random)
{
	memset(in, 0, sizeof(in));
	for (int i = 0; i < 60; i++) {
		uint64_t from = t_below(random, PAGES), n = 1 + t_below(random, 200);

		n = umem_min_u64(n, PAGES - from);
		assert_int_equal(umem_pageset_add(set, at(from), at(from + n)), 0);
		memset(in + from, 1, n);
	}
}

static uint32_t naive(uint64_t start, uint64_t end)
{
	uint32_t n = 0;

	for (uint64_t i = 0; i < PAGES; i++)
		n += in[i] && at(i) >= start && at(i) < end;
	return n;
}

/* Slices over parts of the memory, some of them split. */
static void cut(struct umem_slices *slices, uint64_t *random)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };

	for (uint64_t from = 0; from < PAGES;) {
		uint64_t n = 1 + t_below(random, 1500);

		n = umem_min_u64(n, PAGES - from);
		if (t_below(random, 4))
			assert_int_equal(umem_ranges_add(&ranges, at(from), at(from + n)), 0);
		from += n;
	}
	umem_slices_init(slices, UMEM_PAGE_BYTES);
	assert_int_equal(umem_slices_sync(slices, &ranges), 0);
	for (size_t i = 0; i < slices->n; i++)
		slices->v[i].split = slices->v[i].n_pages > UMEM_SLICE_PAGES_MIN &&
			t_below(random, 3) == 0;
	assert_int_equal(umem_slices_split(slices, NULL, NULL, 0), 0);
}

static void test_counts(void **state)
{
	uint64_t random = t_seed();

	for (int round = 0; round < 200; round++) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { .limit = 40 };
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices slices;
		UMEM_FREE uint32_t *counts = NULL;

		fill(&set, &random);
		cut(&slices, &random);
		counts = calloc(slices.n + 1, sizeof(*counts));
		assert_int_equal(umem_count_slices(&set, &slices, counts), 0);
		for (size_t i = 0; i < slices.n; i++) {
			uint64_t start = slices.v[i].start;
			uint64_t end = umem_slice_end(&slices, &slices.v[i]);

			assert_int_equal(counts[i], naive(start, end));
			assert_int_equal(umem_count_range(&set, start, end), counts[i]);
		}
	}
}

static void test_pick(void **state)
{
	uint64_t random = t_seed();

	for (int round = 0; round < 500; round++) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { 0 };
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset out = { 0 };
		uint64_t from = t_below(&random, PAGES - UMEM_SLICE_PAGES);
		uint64_t end = from + 1 + t_below(&random, UMEM_SLICE_PAGES);
		uint32_t want = (uint32_t)t_below(&random, 600), there;

		fill(&set, &random);
		there = naive(at(from), at(end));
		assert_int_equal(umem_pick_pages(&set, at(from), at(end), want, &random, &out), 0);
		/* As many as were wanted and are there, all of them of the set and the range. */
		assert_int_equal(umem_pageset_bytes(&out) / UMEM_PAGE_BYTES,
			umem_min_u64(want, there));
		for (uint64_t i = 0; i < PAGES; i++)
			if (umem_pageset_has(&out, at(i)))
				assert_true(in[i] && i >= from && i < end);
	}
}

/* Each page has the same chance. */
static void test_pick_is_fair(void **state)
{
	uint32_t hits[64] = { 0 };
	uint64_t random = 1;
	struct umem_pageset set = { 0 };

	assert_int_equal(umem_pageset_add(&set, at(0), at(64)), 0);
	for (int round = 0; round < 16000; round++) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset out = { 0 };

		assert_int_equal(umem_pick_pages(&set, at(0), at(64), 4, &random, &out), 0);
		for (uint64_t i = 0; i < 64; i++)
			hits[i] += umem_pageset_has(&out, at(i));
	}
	umem_pageset_deinit(&set);
	/* 1000 expected each; 6 standard deviations are 184. */
	for (int i = 0; i < 64; i++)
		assert_in_range(hits[i], 816, 1184);
}

/*
 * A short range, one of 20 TiB with a few pages in it, and pages outside of both: a cell
 * is there if it is of the short range or holds a page.
 */
static void test_cells(void **state)
{
	const uint64_t cell = UMEM_SLICE_PAGES * UMEM_PAGE_BYTES, low = 5 * cell + UMEM_PAGE_BYTES;
	const uint64_t far = 1ull << 40, far_end = far + (20ull << 40) - UMEM_PAGE_BYTES;
	uint64_t random = t_seed();

	(void)state;
	for (int round = 0; round < 50; round++) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset one = { 0 }, other = { 0 };
		UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges all = { 0 }, cells = { 0 };
		struct umem_pageset *const sets[] = { &one, &other };
		uint64_t pages[64], bytes = 0, expected = 8 * cell;

		assert_int_equal(umem_ranges_add(&all, low, low + 8 * cell), 0);
		assert_int_equal(umem_ranges_add(&all, far, far_end), 0);
		for (size_t i = 0; i < 64; i++) {
			pages[i] = far - 4 * cell + t_below(&random, 20ull << 28) * UMEM_PAGE_BYTES;
			assert_int_equal(umem_pageset_add(sets[i % 2], pages[i],
				pages[i] + UMEM_PAGE_BYTES), 0);
		}
		assert_int_equal(umem_cells(sets, 2, &all, &cells), 0);
		for (size_t i = 0; i < cells.n; i++)
			bytes += cells.v[i].end - cells.v[i].start;
		for (size_t i = 0; i < 64; i++) {
			uint64_t start = umem_align_down(pages[i], cell);
			bool twice = false;

			for (size_t k = 0; k < i; k++)
				twice |= umem_align_down(pages[k], cell) == start;
			if (twice || pages[i] < far || pages[i] >= far_end)
				continue;
			assert_true(umem_ranges_overlaps(&cells, pages[i],
				pages[i] + UMEM_PAGE_BYTES));
			expected += umem_min_u64(start + cell, far_end) - start;
		}
		assert_int_equal(bytes, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_pick),
		cmocka_unit_test(test_pick_is_fair),
		cmocka_unit_test(test_cells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
