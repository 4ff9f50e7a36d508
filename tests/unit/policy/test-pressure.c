// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pressure: the published formula, growth and back-off, and any numbers. */
#include "lib/policy/pressure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define SECOND 1000000000ull
#define GIB (1ull << 30)

static const struct umem_pressure_conf conf = UMEM_PRESSURE_CONF_DEFAULT;

static uint64_t take(struct umem_pressure *p, uint64_t stalled, uint64_t resident, uint64_t dt)
{
	struct umem_pressure_answer answer;

	umem_pressure_next(p, stalled, resident, dt, &answer);
	assert_non_null(answer.reason);
	return answer.take_bytes;
}

static void formula(void **state)
{
	for (uint64_t stalled = 0; stalled <= 1500; stalled += 50) {
		struct umem_pressure p;
		uint64_t expect = stalled < 1000 ? GIB * 5 / 10000 * (1000 - stalled) / 1000 : 0;

		umem_pressure_init(&p, NULL);
		assert_in_range(take(&p, stalled, GIB, 5 * SECOND), expect ? expect - 2 : 0,
			expect + 2);
		/* half an interval takes half */
		umem_pressure_init(&p, NULL);
		assert_in_range(take(&p, stalled, GIB, 5 * SECOND / 2), expect ? expect / 2 - 2 : 0,
			expect / 2 + 2);
	}
}

static void grows_and_backs_off(void **state)
{
	struct umem_pressure p;
	uint64_t last = 0;

	umem_pressure_init(&p, NULL);
	for (int i = 0; i < 100; i++) {
		uint64_t now = take(&p, 0, GIB, 5 * SECOND);

		assert_true(now >= last && now <= GIB / 100);
		last = now;
	}
	assert_int_equal(last, GIB / 100);
	/* near the maximum it stays, above it it falls back and waits */
	assert_true(take(&p, 600, GIB, 5 * SECOND) < last);
	assert_int_equal(p.ratio_ppm, conf.ratio_max_ppm);
	assert_int_equal(take(&p, 1000, GIB, 5 * SECOND), 0);
	assert_int_equal(take(&p, 0, GIB, 5 * SECOND), 0);
	assert_in_range(take(&p, 0, GIB, 5 * SECOND), GIB / 2001, GIB / 1999);
}

static void any_numbers(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 999, 1000, 1ull << 40, UINT64_MAX };
	const size_t n = UMEM_ARRAY_LEN(numbers);

	for (size_t k = 0; k < n * n * n * n; k++) {
		struct umem_pressure_conf odd = {
			.max_ppm = numbers[k % n], .ratio_ppm = numbers[k / n % n],
			.ratio_max_ppm = numbers[k / n / n % n], .grow_ppm = numbers[k % n],
			.interval_ns = numbers[k / n % n], .back_off_ns = numbers[k / n / n % n],
		};
		uint64_t resident = numbers[k / n / n / n];
		struct umem_pressure p;

		umem_pressure_init(&p, NULL);
		for (int i = 0; i < 3; i++)
			assert_true(take(&p, numbers[k % n], resident, numbers[k / n % n]) <=
				resident / 100 + 1);
		umem_pressure_init(&p, &odd);
		for (int i = 0; i < 3; i++)
			assert_true(take(&p, 5, resident, SECOND) <= resident);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formula),
		cmocka_unit_test(grows_and_backs_off),
		cmocka_unit_test(any_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
