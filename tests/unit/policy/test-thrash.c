// SPDX-License-Identifier: LGPL-2.1-or-later
/* Thrash: the rate, the buckets, debt and patience, and that a simple plant converges. */
#include "lib/policy/thrash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define SECOND 1000000000ull
#define MINUTE (60 * SECOND)
#define PAGES 100000u

static struct umem_thrash_answer note(struct umem_thrash *t, uint64_t dt_ns, uint64_t resident,
	uint64_t at_risk, uint64_t returned)
{
	struct umem_thrash_answer answer;

	umem_thrash_note(t, &(struct umem_thrash_seen){ .dt_ns = dt_ns, .resident = resident,
		.at_risk = at_risk, .returned = returned }, &answer);
	assert_non_null(answer.reason);
	assert_true(answer.scale_ppm <= 1000000);
	assert_true(answer.threshold_ppm >= 1000000);
	assert_true(answer.probe_mpages <= answer.budget_mpages);
	assert_true(answer.grow_pages <= resident || dt_ns > MINUTE);
	if (answer.state == UMEM_THRASH_BACK_OFF)
		assert_int_equal(answer.budget_mpages + answer.probe_mpages + answer.grow_pages, 0);
	return answer;
}

/* All combinations of numbers that break arithmetic, one after the other into one loop. */
static void any_numbers(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 4096, 1ull << 40, UINT64_MAX };
	const size_t n = UMEM_ARRAY_LEN(numbers);
	struct umem_thrash old;

	umem_thrash_init(&old, NULL);
	for (size_t k = 0; k < n * n * n * n * n; k++) {
		struct umem_thrash fresh;
		struct umem_thrash_answer answer;
		struct umem_thrash_seen seen = {
			.dt_ns = numbers[k % n],
			.resident = numbers[k / n % n],
			.at_risk = numbers[k / n / n % n],
			.returned = numbers[k / n / n / n % n],
			.sampled_back = numbers[k / n / n / n / n],
		};

		umem_thrash_init(&fresh, NULL);
		umem_thrash_note(&fresh, &seen, &answer);
		assert_true(answer.scale_ppm <= 1000000 && answer.threshold_ppm >= 1000000);
		umem_thrash_spend(&fresh, answer.budget_mpages, answer.probe_mpages);
		umem_thrash_note(&fresh, &seen, &answer);
		umem_thrash_note(&old, &seen, &answer);
		assert_true(answer.scale_ppm <= 1000000 && answer.threshold_ppm >= 1000000);
		assert_true(answer.probe_mpages <= answer.budget_mpages);
		/* nothing that is not a number */
		assert_true(old.all.tokens == old.all.tokens && old.returns == old.returns);
	}
}

static void any_settings(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 2000, MINUTE, UINT64_MAX };
	const size_t n = UMEM_ARRAY_LEN(numbers);

	for (size_t k = 0; k < n * n * n * n; k++) {
		struct umem_thrash_conf conf = {
			.objective_ppm_min = numbers[k % n],
			.window_ns = numbers[k / n % n],
			.little_ppm = numbers[k / n / n % n],
			.burst_ns = numbers[k / n / n / n],
			.patience_ns = numbers[k % n],
			.patience_max_ns = numbers[k / n % n],
			.probe_ppm = numbers[k / n / n % n],
			.grow_ppm_min = numbers[k / n / n / n],
		};
		struct umem_thrash t;
		struct umem_thrash_answer answer;

		umem_thrash_init(&t, &conf);
		for (int i = 0; i < 5; i++) {
			umem_thrash_note(&t, &(struct umem_thrash_seen){ .dt_ns = 5 * SECOND,
				.resident = PAGES, .at_risk = PAGES,
				.returned = i == 2 ? PAGES : 1 }, &answer);
			assert_true(answer.scale_ppm <= 1000000);
			umem_thrash_spend(&t, answer.budget_mpages, answer.probe_mpages);
		}
	}
}

static void starts_from_nothing(void **state)
{
	struct umem_thrash t;
	struct umem_thrash_answer a;

	umem_thrash_init(&t, NULL);
	a = note(&t, 5 * SECOND, PAGES, 0, 0);
	assert_int_equal(a.state, UMEM_THRASH_GROW);
	/* 0.2% a minute of what is resident, for three quarters of a minute */
	assert_int_equal(a.budget_mpages, PAGES * 2 * 3 / 4);
	assert_int_equal(a.probe_mpages, a.budget_mpages * 6 / 10);
	assert_int_equal(a.rate_out_ppm_min, 0);
	assert_true(a.grow_pages > 0);
	/* one interval is no rate: a clean minute is assumed before it */
	umem_thrash_init(&t, NULL);
	a = note(&t, 5 * SECOND, PAGES, 0, 40);
	assert_in_range(a.rate_ppm_min, 360, 400);
	/* also the smallest target may try something */
	umem_thrash_init(&t, NULL);
	a = note(&t, 5 * SECOND, 1, 0, 0);
	assert_true(a.probe_mpages >= 1000);
	/* without a target nothing can be done, and nothing breaks */
	umem_thrash_init(&t, NULL);
	a = note(&t, 5 * SECOND, 0, 0, 0);
	assert_int_equal(a.grow_pages, 0);
}

/* The same minute in intervals of any length gives the same rate. */
static void uneven_intervals(void **state)
{
	uint64_t rng = t_seed(), expect = 0;

	for (int round = 0; round < 50; round++) {
		struct umem_thrash t;
		struct umem_thrash_answer a = { 0 };
		uint64_t left = 10 * MINUTE;

		umem_thrash_init(&t, NULL);
		while (left) {
			uint64_t dt = round == 0 ? SECOND : SECOND * (1 + t_below(&rng, 20));

			dt = dt < left ? dt : left;
			/* one page a second of 50000 that are out: 1200 ppm a minute */
			a = note(&t, dt, PAGES, 50000, dt / SECOND);
			left -= dt;
		}
		expect = expect ? expect : a.rate_ppm_min;
		assert_in_range(a.rate_ppm_min, expect - 2, expect + 2);
		assert_in_range(a.rate_ppm_min, 1190, 1201);
		assert_in_range(a.rate_out_ppm_min, 1190, 1201);
		assert_int_equal(a.state, UMEM_THRASH_GROW);
	}
}

/* More returns never give more. */
static void monotone(void **state)
{
	struct umem_thrash_answer last = { 0 };

	for (uint64_t returned = 0; returned < 2000; returned += 7) {
		struct umem_thrash t;
		struct umem_thrash_answer a;

		umem_thrash_init(&t, NULL);
		note(&t, 5 * SECOND, PAGES, 50000, 0);
		a = note(&t, 5 * SECOND, PAGES, 50000, returned);
		if (returned) {
			assert_true(a.rate_ppm_min >= last.rate_ppm_min);
			assert_true(a.scale_ppm <= last.scale_ppm);
			assert_true(a.budget_mpages <= last.budget_mpages);
			assert_true(a.grow_pages <= last.grow_pages);
			assert_true(a.state >= last.state);
		}
		last = a;
	}
	assert_int_equal(last.state, UMEM_THRASH_BACK_OFF);
}

/* Returns of samples stop samples, not the eviction of what is cold. */
static void samples_are_apart(void **state)
{
	struct umem_thrash t;
	struct umem_thrash_answer a;

	umem_thrash_init(&t, NULL);
	note(&t, 5 * SECOND, PAGES, 50000, 0);
	umem_thrash_note(&t, &(struct umem_thrash_seen){ .dt_ns = 5 * SECOND, .resident = PAGES,
		.at_risk = 50000, .returned = 60, .sampled_back = 60 }, &a);
	assert_int_equal(a.probe_mpages, 0);
	assert_true(a.budget_mpages > 0);
	assert_int_equal(a.scale_ppm, 1000000);
	/* expected returns are not paid twice */
	umem_thrash_init(&t, NULL);
	a = note(&t, 5 * SECOND, PAGES, 50000, 0);
	umem_thrash_spend(&t, 40000, 40000);
	a = note(&t, 0, PAGES, 50000, 0);
	assert_int_equal(a.budget_mpages, 75000 - 40000);
	umem_thrash_note(&t, &(struct umem_thrash_seen){ .resident = PAGES, .at_risk = 50000,
		.returned = 40, .sampled_back = 40 }, &a);
	assert_int_equal(a.budget_mpages, 75000 - 40000);
}

/* What did not come back is not expected for ever; no samples when they may cost nothing. */
static void reservations_end(void **state)
{
	struct umem_thrash_conf conf = UMEM_THRASH_CONF_DEFAULT;
	struct umem_thrash t;
	struct umem_thrash_answer a;

	umem_thrash_init(&t, &conf);
	note(&t, 0, PAGES, 50000, 0);
	umem_thrash_spend(&t, 60000, 0);
	a = note(&t, MINUTE / 60, PAGES, 50000, 0);
	/* a sixtieth of the minute's filling, and of what was reserved */
	assert_in_range(a.budget_mpages, 15000 + 1666 + 900, 15000 + 1667 + 1000);
	/* samples: the same for their share of it */
	umem_thrash_init(&t, &conf);
	note(&t, 0, PAGES, 50000, 0);
	umem_thrash_spend(&t, 30000, 30000);
	a = note(&t, MINUTE / 60, PAGES, 50000, 0);
	assert_in_range(a.probe_mpages, 15000 + 1000 + 450, 15000 + 1000 + 500);
	conf.probe_ppm = 0;
	umem_thrash_init(&t, &conf);
	a = note(&t, 5 * SECOND, PAGES, 50000, 0);
	assert_int_equal(a.probe_mpages, 0);
	assert_true(a.budget_mpages > 0);
}

/* Minutes of standing still after a burst at @at, from a state that was calm. */
static uint64_t minutes_of_debt(struct umem_thrash *t, bool *changed)
{
	struct umem_thrash_answer a = note(t, 5 * SECOND, PAGES, 50000, 40000);
	uint64_t n = 0;

	assert_int_equal(a.state, UMEM_THRASH_BACK_OFF);
	*changed = false;
	for (; a.state == UMEM_THRASH_BACK_OFF; n++) {
		a = note(t, 5 * SECOND, PAGES, 50000, 0);
		*changed = *changed || a.changed;
	}
	return n / 12;
}

static void patience(void **state)
{
	struct umem_thrash t;
	uint64_t last;
	bool changed;

	umem_thrash_init(&t, NULL);
	note(&t, 5 * SECOND, PAGES, 50000, 0);
	/* once: the working set has moved */
	last = minutes_of_debt(&t, &changed);
	assert_in_range(last, 2, 3);
	assert_true(changed);
	/* again and again: longer each time, up to an hour */
	for (int i = 0; i < 6; i++) {
		uint64_t now = minutes_of_debt(&t, &changed);

		assert_true(now >= last && now <= 62);
		assert_false(changed);
		last = now;
	}
	assert_true(last >= 59);
	/* forgotten after a day without */
	for (int i = 0; i < 24 * 60; i++)
		note(&t, MINUTE, PAGES, 50000, 0);
	assert_in_range(minutes_of_debt(&t, &changed), 2, 3);
	assert_true(changed);
}

static void ages_get_longer(void **state)
{
	struct umem_thrash t;
	struct umem_thrash_answer a;
	uint64_t last;

	umem_thrash_init(&t, NULL);
	a = note(&t, 5 * SECOND, PAGES, 50000, 0);
	assert_int_equal(a.threshold_ppm, 1000000);
	for (int i = 0; i < 24; i++) {
		last = a.threshold_ppm;
		a = note(&t, 5 * SECOND, PAGES, 50000, 30);
		assert_true(a.threshold_ppm >= last);
	}
	assert_true(a.threshold_ppm > 1500000);
	for (int i = 0; i < 720; i++) {
		last = a.threshold_ppm;
		a = note(&t, 5 * SECOND, PAGES, 50000, i < 100 ? 30 : 0);
		assert_true(i < 100 || a.threshold_ppm <= last || a.state != UMEM_THRASH_GROW);
		assert_true(a.threshold_ppm <= 64000000);
	}
}

/*
 * A plant without any sense of what is cold: page number x of those that are out
 * comes back with x / PAGES of 4% a minute. What came back goes out again as the
 * loop allows. It has to end where the returns meet the objective, and stay
 * there: 0.02 x^2 = 0.002 base, with base = PAGES - 4 x: at 17.4% of the pages.
 */
static void converges(void **state)
{
	double out = 0, carry = 0, low = PAGES, high = 0, rates = 0;
	struct umem_thrash t;

	umem_thrash_init(&t, NULL);
	for (int i = 0; i < 12 * 300; i++) {
		struct umem_thrash_answer a;
		uint64_t back;

		carry += out * 0.04 * out / PAGES / 2 / 12;
		back = (uint64_t)carry;
		carry -= (double)back;
		a = note(&t, 5 * SECOND, PAGES - (uint64_t)out + back, (uint64_t)out, back);
		out += (double)a.grow_pages - (double)back;
		assert_true(out >= 0 && out < 0.35 * PAGES);
		if (i < 12 * 180)
			continue;
		/* smoothed over a minute it may waver, over two hours it may not */
		assert_in_range(a.rate_ppm_min, 1800, 2200);
		rates += (double)a.rate_ppm_min / (12 * 120);
		low = out < low ? out : low;
		high = out > high ? out : high;
	}
	assert_in_range((uint64_t)rates, 1900, 2050);
	assert_true(low > 0.165 * PAGES && high < 0.18 * PAGES);
	assert_true(high - low < 0.01 * PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_numbers),
		cmocka_unit_test(any_settings),
		cmocka_unit_test(starts_from_nothing),
		cmocka_unit_test(uneven_intervals),
		cmocka_unit_test(monotone),
		cmocka_unit_test(samples_are_apart),
		cmocka_unit_test(reservations_end),
		cmocka_unit_test(patience),
		cmocka_unit_test(ages_get_longer),
		cmocka_unit_test(converges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
