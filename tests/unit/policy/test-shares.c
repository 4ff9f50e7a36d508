// SPDX-License-Identifier: LGPL-2.1-or-later
/* Shares: sums are exact, none gets more than it wants, none starves, colder gets more. */
#include "lib/policy/shares.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define PAGE 4096u

/* Return: the sum that was given. */
static uint64_t divide(struct umem_share *v, size_t n, uint64_t allowed, uint64_t unit,
	uint64_t turn)
{
	uint64_t given = 0, wanted = 0;

	umem_shares_divide(v, n, allowed, unit, turn);
	for (size_t i = 0; i < n; i++) {
		assert_true(v[i].got_bytes <= v[i].want_bytes);
		given += v[i].got_bytes;
		if (__builtin_add_overflow(wanted, v[i].want_bytes, &wanted))
			wanted = UINT64_MAX;
	}
	assert_int_equal(given, n ? umem_min_u64(allowed, wanted) : 0);
	return given;
}

/* All small numbers for three targets. */
static void small_numbers(void **state)
{
	for (uint64_t k = 0; k < 5 * 5 * 5 * 16 * 3; k++) {
		struct umem_share v[3] = {
			{ .resident_bytes = k % 5, .want_bytes = k % 5 },
			{ .resident_bytes = 4, .want_bytes = k / 5 % 5 },
			{ .resident_bytes = 0, .want_bytes = k / 25 % 5 },
		};

		divide(v, 3, k / 125 % 16, k / 125 / 16, k);
	}
	divide(NULL, 0, 5, 5, 5);
}

static void any_numbers(void **state)
{
	static const uint64_t numbers[] = { 0, 1, PAGE, 1ull << 40, UINT64_MAX };
	const size_t n = UMEM_ARRAY_LEN(numbers);

	for (size_t k = 0; k < n * n * n * n * n * n; k++) {
		struct umem_share v[2] = {
			{ .resident_bytes = numbers[k % n], .want_bytes = numbers[k / n % n] },
			{ .resident_bytes = numbers[k / n / n % n],
				.want_bytes = numbers[k / n / n / n % n] },
		};

		divide(v, 2, numbers[k / n / n / n / n % n], numbers[k / n / n / n / n / n], 0);
	}
}

static void random_targets(void **state)
{
	uint64_t rng = t_seed();

	for (int round = 0; round < 3000; round++) {
		struct umem_share v[40];
		size_t n = 1 + t_below(&rng, 40), takers = 0, odd = 0;
		uint64_t allowed, least = UINT64_MAX;

		for (size_t i = 0; i < n; i++) {
			v[i].resident_bytes = t_below(&rng, 10000) * PAGE;
			v[i].want_bytes = t_below(&rng, 3) ? t_below(&rng, 10000) * PAGE : 0;
			takers += v[i].want_bytes > 0;
		}
		allowed = t_below(&rng, 50000) * PAGE;
		divide(v, n, allowed, PAGE, (uint64_t)round);
		for (size_t i = 0; i < n; i++) {
			odd += v[i].got_bytes % PAGE != 0;
			if (v[i].got_bytes < v[i].want_bytes)
				least = umem_min_u64(least, v[i].got_bytes);
		}
		assert_int_equal(odd, 0);
		/* who does not get all it wants gets at least its even part of a tenth */
		if (takers && least != UINT64_MAX)
			assert_true(least + PAGE >= allowed / 10 / n);
	}
}

static void colder_gets_more(void **state)
{
	struct umem_share v[] = {
		{ .resident_bytes = 1000 * PAGE, .want_bytes = 900 * PAGE },
		{ .resident_bytes = 10000 * PAGE, .want_bytes = 900 * PAGE },
		{ .resident_bytes = 1000 * PAGE, .want_bytes = 90 * PAGE },
	};

	for (int turned = 0; turned < 3; turned++) {
		struct umem_share first = v[0];
		size_t cold = (3 - (size_t)turned) % 3;

		/* ten pages each, and the other 270 as 810 : 81 : 8.1 */
		divide(v, 3, 300 * PAGE, PAGE, 0);
		assert_in_range(v[cold].got_bytes / PAGE, 10 + 240, 10 + 246);
		assert_in_range(v[(cold + 1) % 3].got_bytes / PAGE, 10 + 22, 10 + 26);
		assert_in_range(v[(cold + 2) % 3].got_bytes / PAGE, 10 + 2, 10 + 4);
		v[0] = v[1];
		v[1] = v[2];
		v[2] = first;
	}
}

/* Less than a page for each: all have had one after as many turns. */
static void takes_turns(void **state)
{
	uint64_t had[7] = { 0 };

	for (uint64_t turn = 0; turn < 7; turn++) {
		struct umem_share v[7];

		for (size_t i = 0; i < 7; i++)
			v[i] = (struct umem_share){ .resident_bytes = 10 * PAGE,
				.want_bytes = 10 * PAGE };
		divide(v, 7, PAGE, PAGE, turn);
		for (size_t i = 0; i < 7; i++)
			had[i] += v[i].got_bytes;
	}
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(had[i], PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_numbers),
		cmocka_unit_test(any_numbers),
		cmocka_unit_test(random_targets),
		cmocka_unit_test(colder_gets_more),
		cmocka_unit_test(takes_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
