// SPDX-License-Identifier: LGPL-2.1-or-later
/* Probe: the bound against the exact sums, every state with every count, whole probes. */
#include "lib/policy/probe.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define SECOND 1000000000ull

static const struct umem_probe_conf conf = UMEM_PROBE_CONF_DEFAULT;

/* P(at most @back of @n) by Pascal's rule, one draw after the other. */
static long double at_most(uint64_t back, uint64_t n, long double p)
{
	long double chance[130] = { 1 }, sum = 0;

	for (uint64_t draw = 0; draw < n; draw++)
		for (uint64_t k = draw + 1; k-- > 0;) {
			chance[k + 1] += chance[k] * p;
			chance[k] *= 1 - p;
		}
	for (uint64_t k = 0; k <= back; k++)
		sum += chance[k];
	return sum;
}

static void bound_is_exact(void **state)
{
	static const uint32_t confidences[] = { 500000, 950000, 999000 };

	for (size_t c = 0; c < UMEM_ARRAY_LEN(confidences); c++) {
		long double rest = 1 - confidences[c] / 1e6L;

		for (uint64_t n = 1; n <= 120; n += n < 20 ? 1 : 25) {
			uint32_t last = 0;

			for (uint64_t back = 0; back <= n; back++) {
				uint32_t bound = umem_probe_bound(back, n, confidences[c]);

				assert_true(bound > last || back == n);
				last = bound;
				if (back == n) {
					assert_int_equal(bound, 1000000);
					continue;
				}
				/* the chance of so few is @rest at the bound, to 3 ppm of it */
				assert_true(at_most(back, n, bound / 1e6L) <= rest);
				assert_true(at_most(back, n, (bound - 3) / 1e6L) > rest);
			}
		}
	}
}

static void bound_at_the_edges(void **state)
{
	/* values from tables: the rule of three, and 1 of 10 */
	assert_int_equal(umem_probe_bound(0, 0, 950000), 1000000);
	assert_in_range(umem_probe_bound(0, 59, 950000), 49500, 49520);
	assert_in_range(umem_probe_bound(0, 10, 950000), 258860, 258870);
	assert_in_range(umem_probe_bound(1, 10, 950000), 394160, 394170);
	assert_int_equal(umem_probe_bound(0, 5, 0), 0);
	assert_int_equal(umem_probe_bound(UINT64_MAX, 5, 950000), 1000000);
	assert_in_range(umem_probe_bound(0, UINT64_MAX, 950000), 1, 1);
	assert_int_equal(umem_probe_enough(50000, 950000), 59);
	assert_int_equal(umem_probe_enough(1000000, 950000), 1);
	assert_int_equal(umem_probe_enough(0, 950000), UINT64_MAX);
	for (uint32_t bound = 1000; bound < 1000000; bound += 1777) {
		uint64_t n = umem_probe_enough(bound, 950000);

		assert_true(umem_probe_bound(0, n, 950000) <= bound);
		assert_true(n == 1 || umem_probe_bound(0, n - 1, 950000) > bound);
	}
}

/* Every state with every small count: nothing is wanted that is not there. */
static void never_more_than_resident(void **state)
{
	static const uint64_t times[] = { 0, 10 * SECOND, 300 * SECOND, UINT64_MAX };
	struct umem_probe_odds odds = { 0 };

	for (int k = 0; k < 4 * 4 * 4 * 3 * 3 * 3 * 4 * 2 * 2; k++) {
		uint32_t rest = (uint32_t)k;
		struct umem_slice a = { .n_pages = 8, .hold_until_ns = 100 * SECOND };
		struct umem_probe_answer answer;
		uint8_t was;

		a.state = was = rest % 4, rest /= 4;
		a.resident = rest % 4 * 2, rest /= 4;
		a.sample = rest % 4 * 2, rest /= 4;
		a.back = a.sample ? rest % 3 * a.sample / 2 : 0, rest /= 3;
		a.returned = rest % 3, rest /= 3;
		a.used = rest % 3 * 4, rest /= 3;
		a.sampled_ns = a.watched_ns = a.quiet_ns = times[rest % 4], rest /= 4;
		a.n_pages = rest % 2 ? 8 : 512, rest /= 2;
		a.hold_ns = rest % 2 ? 30 * SECOND : 0;
		a.out = 2;
		a.at_risk = 2;
		a.put = a.sample;
		a.warm = a.returned < a.resident ? a.returned : a.resident;
		umem_probe_judge(&conf, &a, 50 * SECOND, k % 2 ? &odds : NULL, &answer);
		assert_true(answer.want <= a.resident);
		assert_non_null(answer.reason);
		assert_true(answer.bound_ppm <= 1000000);
		assert_int_equal(answer.confidence_ppm, 950000);
		assert_int_equal(answer.want != 0, answer.action == UMEM_PROBE_SAMPLE ||
			answer.action == UMEM_PROBE_EVICT);
		if (answer.action == UMEM_PROBE_EVICT) {
			assert_int_equal(a.state, UMEM_SLICE_COLD);
			assert_int_equal(answer.step, UMEM_PROBE_REST);
		}
		if (answer.action == UMEM_PROBE_SPLIT)
			assert_int_equal(a.n_pages, 512);
		/* a held slice stays so */
		if (was == UMEM_SLICE_WARM)
			assert_int_equal(a.state, UMEM_SLICE_WARM);
		/* use that a source sees ends every probe */
		if (was == UMEM_SLICE_PROBING && a.used)
			assert_true(answer.want == 0 || a.state == UMEM_SLICE_NEW);
	}
}

/* One interval of 5 s: nothing, or @back pages, came back. Puts out what is asked for. */
static enum umem_probe_action interval(struct umem_slice *a, uint64_t *now, uint64_t back,
	struct umem_probe_answer *answer)
{
	*now += 5 * SECOND;
	umem_slice_note(a, &(struct umem_slice_seen){ .resident = a->resident + back,
		.out = a->out - back, .at_risk = a->out, .returned = back }, 5 * SECOND);
	umem_probe_judge(&conf, a, *now, NULL, answer);
	if (answer->want)
		umem_slice_put_out(a, answer->want, *now, conf.hold_ns);
	return answer->action;
}

static void cold_slice(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 512 };
	struct umem_probe_answer answer;
	uint64_t now = 0, begin = 0, samples = 0, last = 0;

	for (int i = 0; i < 100; i++) {
		enum umem_probe_action action = interval(&a, &now, 0, &answer);

		if (action == UMEM_PROBE_SAMPLE) {
			begin = begin ? begin : now;
			/* grows, and is watched before it grows again */
			assert_true(a.sample <= last * 4 || samples == 0);
			last = a.sample;
			samples++;
		}
		if (action == UMEM_PROBE_EVICT)
			break;
	}
	assert_int_equal(answer.action, UMEM_PROBE_EVICT);
	assert_int_equal(samples, 4);
	assert_int_equal(last, 59);
	assert_int_equal(answer.want, 512 - 59);
	assert_true(answer.bound_ppm <= conf.bound_max_ppm);
	assert_true(now - begin >= conf.watch_ns);
	assert_true(answer.watched_ns >= conf.watch_ns);
	assert_int_equal(a.resident, 0);
}

/* Single pages that come back stay for a while, longer each time; many end it. */
static void cold_slice_in_use_again(void **state)
{
	struct umem_slice a = { .n_pages = 512, .out = 512, .state = UMEM_SLICE_COLD };
	struct umem_probe_answer answer;
	uint64_t now = 0, begin;

	assert_int_equal(interval(&a, &now, 0, &answer), UMEM_PROBE_WAIT);
	assert_int_equal(interval(&a, &now, 1, &answer), UMEM_PROBE_WAIT);
	assert_int_equal(a.state, UMEM_SLICE_COLD);
	begin = now;
	while (interval(&a, &now, 0, &answer) == UMEM_PROBE_WAIT)
		;
	assert_int_equal(answer.want, 1);
	assert_int_equal(now - begin, conf.hold_ns);
	/* and longer each time */
	assert_int_equal(interval(&a, &now, 1, &answer), UMEM_PROBE_WAIT);
	begin = now;
	while (interval(&a, &now, 0, &answer) == UMEM_PROBE_WAIT)
		;
	assert_int_equal(now - begin, 2 * conf.hold_ns);
	/* what the target filled stays for a while as well */
	now += 5 * SECOND;
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = a.resident + 2,
		.out = a.out - 2, .at_risk = a.out }, 5 * SECOND);
	umem_probe_judge(&conf, &a, now, NULL, &answer);
	assert_int_equal(answer.want, 0);
	begin = now;
	while (interval(&a, &now, 0, &answer) == UMEM_PROBE_WAIT)
		;
	assert_int_equal(now - begin, 4 * conf.hold_ns);
	/* a twentieth of the slice is few */
	assert_int_equal(interval(&a, &now, 24, &answer), UMEM_PROBE_WAIT);
	assert_int_equal(interval(&a, &now, 1, &answer), UMEM_PROBE_WAIT);
	assert_int_equal(a.state, UMEM_SLICE_COLD);
	assert_int_equal(a.warm, 25);
	/* many: not cold any more */
	assert_int_equal(interval(&a, &now, 300, &answer), UMEM_PROBE_WAIT);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
}

/* A sample teaches once, and no more came back of it than was put out. */
static void samples_teach_once(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 500, .sample = 8, .put = 6, .back = 8,
		.step = 1, .state = UMEM_SLICE_PROBING };
	struct umem_probe_odds odds = { 0 };
	struct umem_probe_answer answer;

	umem_probe_judge(&conf, &a, 0, &odds, &answer);
	assert_true(odds.put[UMEM_PROBE_GROWN] == 6 && odds.back[UMEM_PROBE_GROWN] == 6);
	/* quiet, and waiting for its turn to grow */
	a = (struct umem_slice){ .n_pages = 512, .resident = 500, .sample = 2, .put = 2,
		.sampled_ns = 99 * SECOND, .watched_ns = 99 * SECOND,
		.state = UMEM_SLICE_PROBING };
	for (int i = 0; i < 5; i++) {
		umem_probe_judge(&conf, &a, 0, &odds, &answer);
		assert_int_equal(answer.want, 6);
	}
	assert_true(odds.put[UMEM_PROBE_FIRST] == 2 && odds.back[UMEM_PROBE_FIRST] == 0);
}

/* Few of many came back: they stay, the rest goes. */
static void cold_but_for_a_few(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 315, .out = 197, .sample = 200,
		.back = 3, .state = UMEM_SLICE_PROBING, .sampled_ns = 99 * SECOND,
		.watched_ns = 99 * SECOND };
	struct umem_probe_answer answer;

	umem_probe_judge(&conf, &a, 0, NULL, &answer);
	assert_int_equal(answer.action, UMEM_PROBE_EVICT);
	assert_int_equal(answer.want, 312);
	assert_int_equal(answer.bound_ppm, umem_probe_bound(3, 200, 950000));
}

/* Half of the slice used by a source is the border between mixed and in use. */
static void used_in_part(void **state)
{
	for (uint64_t used = 1; used <= 512; used++) {
		struct umem_slice a = { .n_pages = 512 };
		struct umem_probe_answer answer;

		for (int probing = 0; probing < 2; probing++) {
			a.state = probing ? UMEM_SLICE_PROBING : UMEM_SLICE_NEW;
			a.sample = a.out = 2;
			umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 510, .out = 2,
				.used = used, .source = UMEM_USE_WRITES }, SECOND);
			umem_probe_judge(&conf, &a, 0, NULL, &answer);
			assert_int_equal(answer.action == UMEM_PROBE_SPLIT, used <= 256);
			assert_int_equal(a.state, UMEM_SLICE_WARM);
		}
	}
}

static void hot_slice(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 512 };
	struct umem_probe_answer answer;
	uint64_t now = 0, put = 0, last = 0;

	for (int i = 0; i < 4 * 720; i++) {
		/* everything comes back at once */
		if (interval(&a, &now, a.out, &answer) == UMEM_PROBE_SAMPLE) {
			assert_true(put == 0 || now - last >= conf.hold_ns);
			last = now;
			put += answer.want;
		}
		assert_int_not_equal(answer.action, UMEM_PROBE_EVICT);
	}
	/* 4 hours: five doublings to 30 minutes, then one page each half an hour */
	assert_in_range(put, 6, 15);
	assert_int_equal(a.hold_ns, conf.hold_max_ns);
}

static void mixed_slice(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 512 };
	struct umem_probe_answer answer;
	uint64_t now = 0;

	while (a.sample < 8)
		interval(&a, &now, 0, &answer);
	/* two of eight come back; the others are given more time before it is called mixed */
	assert_int_equal(interval(&a, &now, 2, &answer), UMEM_PROBE_WAIT);
	while (interval(&a, &now, 0, &answer) == UMEM_PROBE_WAIT)
		;
	assert_int_equal(answer.action, UMEM_PROBE_SPLIT);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
	assert_true(answer.watched_ns >= 3 * conf.step_ns);
	/* not while it is to stay whole */
	a = (struct umem_slice){ .n_pages = 512, .resident = 504, .sample = 8, .out = 8,
		.state = UMEM_SLICE_PROBING, .back = 2, .sampled_ns = 99 * SECOND,
		.whole_until_ns = 1 };
	umem_probe_judge(&conf, &a, 0, NULL, &answer);
	assert_int_equal(answer.action, UMEM_PROBE_WAIT);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
}

static void use_and_growth_cost_nothing(void **state)
{
	struct umem_slice a = { .n_pages = 512 };
	struct umem_probe_answer answer;

	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 512, .used = 500,
		.source = UMEM_USE_WRITES }, SECOND);
	umem_probe_judge(&conf, &a, 0, NULL, &answer);
	assert_int_equal(answer.want, 0);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
	a = (struct umem_slice){ .n_pages = 512, .late = true };
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 100 }, SECOND);
	umem_probe_judge(&conf, &a, 0, NULL, &answer);
	assert_int_equal(answer.action, UMEM_PROBE_WAIT);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
}

static void odds_learn(void **state)
{
	struct umem_probe_odds odds = { 0 };

	for (enum umem_probe_step step = 0; step < UMEM_PROBE_STEPS; step++) {
		uint64_t before = umem_probe_cost(&odds, step, 1000);

		assert_in_range(before, 1, 1000000);
		assert_int_equal(umem_probe_cost(&odds, step, 0), 0);
		/* any number of pages */
		assert_true(umem_probe_cost(&odds, step, UINT64_MAX) >= before);
		for (int i = 0; i < 1000; i++)
			umem_probe_learn(&odds, step, 100, 50);
		assert_in_range(umem_probe_cost(&odds, step, 1000), 440000, 510000);
		/* what changes is learned anew */
		for (int i = 0; i < 10000; i++)
			umem_probe_learn(&odds, step, 100, 0);
		assert_true(umem_probe_cost(&odds, step, 1000) < 5000);
		umem_probe_learn(&odds, step, 0, 1u << 30);
		assert_true(umem_probe_cost(&odds, step, 1000) <= 1000000);
	}
	umem_probe_learn(NULL, UMEM_PROBE_FIRST, 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bound_is_exact),
		cmocka_unit_test(bound_at_the_edges),
		cmocka_unit_test(never_more_than_resident),
		cmocka_unit_test(cold_slice),
		cmocka_unit_test(cold_slice_in_use_again),
		cmocka_unit_test(samples_teach_once),
		cmocka_unit_test(cold_but_for_a_few),
		cmocka_unit_test(used_in_part),
		cmocka_unit_test(hot_slice),
		cmocka_unit_test(mixed_slice),
		cmocka_unit_test(use_and_growth_cost_nothing),
		cmocka_unit_test(odds_learn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
