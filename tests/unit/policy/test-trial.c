// SPDX-License-Identifier: LGPL-2.1-or-later
/* Trial: every state with every count; whole trials of slices cold, hot, mixed and rarely used. */
#include "lib/policy/trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define SECOND	 1000000000ull
#define INTERVAL (5 * SECOND)
#define ONCE	 1000000u

static const struct umem_probe_conf probe = UMEM_PROBE_CONF_DEFAULT;
static const struct umem_trial_conf conf = UMEM_TRIAL_CONF_DEFAULT;

static void judge(struct umem_slice *a, uint64_t now, struct umem_probe_odds *odds,
	struct umem_probe_answer *answer)
{
	umem_trial_judge(&probe, &conf, a, now, ONCE, odds, answer);
}

/* Every state with every small count: nothing is wanted that is not there. */
static void never_more_than_there_is(void **state)
{
	static const uint64_t times[] = { 0, 15 * SECOND, 45 * SECOND, UINT64_MAX };
	struct umem_probe_odds odds = { 0 };

	for (uint32_t k = 0; k < 4 * 3 * 3 * 4 * 3 * 3 * 4 * 4 * 3 * 2; k++) {
		uint32_t rest = k;
		struct umem_slice a = { .n_pages = 512, .tries = true, .out = 2, .at_risk = 2 };
		struct umem_probe_answer answer;

		a.state = (uint8_t)(rest % 4), rest /= 4;
		a.resident = rest % 3 * 100, rest /= 3;
		a.trial = rest % 3 * 100, rest /= 3;
		a.sample = rest % 4 * 30, rest /= 4;
		a.back = rest % 3 * a.sample / 2, rest /= 3;
		a.returned = rest % 3 * 20, rest /= 3;
		a.sampled_ns = a.watched_ns = a.recent_ns = times[rest % 4], rest /= 4;
		a.recent = rest % 4 * 30, rest /= 4;
		a.step = (uint8_t)(rest % 3), rest /= 3;
		a.out = rest % 2 ? 0 : 2;
		a.warm = a.resident / 2;
		a.hold_until_ns = k % 7 * 10 * SECOND;
		a.grown = k % 5 == 0;
		a.used = k % 11 == 0 ? 300 : k % 3;
		judge(&a, 50 * SECOND, k % 2 ? &odds : NULL, &answer);
		assert_non_null(answer.reason);
		switch (answer.action) {
		case UMEM_PROBE_WAIT:
			assert_int_equal(answer.want, 0);
			break;
		case UMEM_PROBE_TRY:
			assert_in_range(answer.want, 1, a.resident);
			break;
		case UMEM_PROBE_EVICT:
			assert_in_range(answer.want, 1, a.resident);
			assert_int_equal(a.state, UMEM_SLICE_COLD);
			break;
		case UMEM_PROBE_DROP:
			assert_true(answer.want == a.trial && a.trial > 0);
			assert_int_equal(a.state, UMEM_SLICE_COLD);
			break;
		case UMEM_PROBE_RELEASE:
			assert_true(answer.want == a.trial && a.trial > 0);
			break;
		default:
			fail();
		}
	}
}

/*
 * A slice whose first @hot pages are used every @every seconds, and @rare more that are
 * used once in @seldom seconds, by chance. Which pages are where is kept as the owner does.
 */
enum where { RESIDENT, TRIAL, OUT };

struct memory {
	struct umem_slice slice;
	uint8_t where[512];
	bool was_used[512];
	uint32_t hot;
	uint32_t rare;
	double seldom_s;
	uint64_t random;
	uint64_t now;
	uint64_t came_back; /* refaults */
	uint64_t tried;
	uint64_t dropped;
	uint64_t lazy; /* what is wanted is done but once in so many times; 0: always */
};

static void memory_init(struct memory *m, uint32_t hot, uint32_t rare, double seldom_s)
{
	*m = (struct memory){
		.slice = { .n_pages = 512 },
		.hot = hot,
		.rare = rare,
		.seldom_s = seldom_s,
		.random = t_seed(),
		.now = 1000 * SECOND,
	};
}

static bool is_used(struct memory *m, uint32_t page)
{
	if (page < m->hot)
		return true;
	return page < m->hot + m->rare &&
		(double)t_below(&m->random, 1000000) < 1e6 * 5 / m->seldom_s;
}

/* Time goes by; what is used is resident. */
static void use(struct memory *m)
{
	struct umem_slice_seen seen = { .tries = true };

	for (uint32_t i = 0; i < 512; i++) {
		bool used = is_used(m, i);

		seen.at_risk += m->where[i] == OUT;
		seen.returned += used && m->where[i] == OUT;
		seen.touched += used && m->where[i] == TRIAL;
		m->was_used[i] |= used && m->where[i] != RESIDENT;
		if (used)
			m->where[i] = RESIDENT;
		seen.resident += m->where[i] == RESIDENT;
		seen.trial += m->where[i] == TRIAL;
		seen.out += m->where[i] == OUT;
	}
	m->came_back += seen.returned;
	m->now += INTERVAL;
	umem_slice_note(&m->slice, &seen, INTERVAL);
	assert_int_equal(m->slice.resident + m->slice.trial + m->slice.out, 512);
}

/* The pages that are wanted, by chance; of those that were used when they were away last. */
static void carry_out(struct memory *m, const struct umem_probe_answer *answer)
{
	static const struct {
		enum umem_slice_way way;
		enum where from, to;
	} ways[] = {
		[UMEM_PROBE_EVICT] = { UMEM_WAY_OUT, RESIDENT, OUT },
		[UMEM_PROBE_TRY] = { UMEM_WAY_TRY, RESIDENT, TRIAL },
		[UMEM_PROBE_DROP] = { UMEM_WAY_DROP, TRIAL, OUT },
		[UMEM_PROBE_RELEASE] = { UMEM_WAY_RELEASE, TRIAL, RESIDENT },
	};
	uint64_t left = answer->want;

	m->slice.way = (uint8_t)ways[answer->action].way;
	m->slice.want = (uint32_t)answer->want;
	m->tried += answer->action == UMEM_PROBE_TRY ? left : 0;
	m->dropped += answer->action == UMEM_PROBE_DROP ? left : 0;
	for (uint32_t k = 0, i = (uint32_t)t_below(&m->random, 512); left > 0;
		k++, i = (i + 211) % 512) {
		if (m->where[i] != ways[answer->action].from || (m->was_used[i] && k < 512))
			continue;
		m->where[i] = (uint8_t)ways[answer->action].to;
		left--;
	}
	umem_slice_put_out(&m->slice, answer->want, m->now, probe.hold_ns);
}

static void run(struct memory *m, unsigned seconds, struct umem_probe_odds *odds)
{
	for (unsigned s = 0; s < seconds; s += 5) {
		struct umem_probe_answer answer;

		use(m);
		judge(&m->slice, m->now, odds, &answer);
		if (answer.want && (!m->lazy || t_below(&m->random, m->lazy) == 0))
			carry_out(m, &answer);
	}
}

static void cold_slice(void **state)
{
	struct umem_probe_odds odds = { 0 };
	struct memory m;

	memory_init(&m, 0, 0, 1);
	run(&m, 60, &odds);
	/* A sample that says enough, and the rest went by it; the sample, too. */
	assert_int_equal(m.slice.out, 512);
	assert_int_equal(m.tried, umem_probe_enough(probe.bound_max_ppm, probe.confidence_ppm));
	assert_int_equal(m.dropped, m.tried);
	run(&m, 3600, &odds);
	assert_int_equal(m.slice.out, 512);
	assert_int_equal(m.came_back, 0);
}

static void hot_slice(void **state)
{
	struct memory m;

	memory_init(&m, 512, 0, 1);
	run(&m, 3600, NULL);
	assert_int_equal(m.slice.out + m.slice.trial + m.came_back, 0);
	assert_int_equal(m.slice.state, UMEM_SLICE_WARM);
	/* Asked a few times in an hour, each time with the first sample alone. */
	assert_in_range(m.tried, 4 * conf.first_pages, 10 * conf.first_pages);
}

/* Some pages in use, wherever they are: those stay, all others go, and nothing comes back. */
static void mixed_slice(void **state)
{
	for (uint32_t hot = 40; hot < 340; hot += 40) {
		/* Samples were not right before: without that a lucky one costs the hot pages. */
		struct umem_probe_odds odds = {
			.put[UMEM_PROBE_SAMPLED] = 4096,
			.back[UMEM_PROBE_SAMPLED] = 200,
		};
		struct memory m;

		memory_init(&m, hot, 0, 1);
		/* A first sample of which all are in use is held for a while. */
		run(&m, 4 * 3600, &odds);
		assert_int_equal(m.slice.out, 512 - hot);
		assert_int_equal(m.came_back, 0);
		assert_int_equal(m.slice.state, UMEM_SLICE_COLD);
		/* What is left is tried again, less and less often. */
		m.tried = 0;
		run(&m, 3600, &odds);
		assert_int_equal(m.came_back, 0);
		assert_in_range(m.tried, hot, 8 * hot);
	}
}

/* There may be no time for what is wanted: then it is wanted again. */
static void no_time(void **state)
{
	for (uint32_t hot = 0; hot < 200; hot += 40) {
		struct umem_probe_odds odds = { 0 };
		struct memory m;

		memory_init(&m, hot, 0, 1);
		m.lazy = 10;
		run(&m, 4 * 3600, &odds);
		assert_int_equal(m.slice.out, 512 - hot);
		/* Nothing was judged by the pages that happened to be on trial. */
		assert_true(m.came_back <= hot);
	}
}

/*
 * All in use, only seldom: at the end of the trial many are not used yet, but those that
 * were of late tell that the others will be.
 */
static void seldom_used(void **state)
{
	uint64_t back = 0;

	for (int i = 0; i < 20; i++) {
		struct memory m;

		memory_init(&m, 0, 512, 30);
		run(&m, 900, NULL);
		back += m.came_back;
		assert_int_equal(m.slice.state, UMEM_SLICE_WARM);
	}
	assert_in_range(back, 0, 20 * 512 / 20);
}

/* What came back of a cold slice, more than few, is held. */
static void wakes_up(void **state)
{
	struct memory m;

	memory_init(&m, 0, 0, 1);
	run(&m, 60, NULL);
	assert_int_equal(m.slice.out, 512);
	m.hot = 200;
	run(&m, 5, NULL);
	assert_int_equal(m.came_back, 200);
	assert_int_equal(m.slice.state, UMEM_SLICE_WARM);
	run(&m, 40, NULL);
	assert_int_equal(m.slice.resident, 200);
}

/* Where samples missed what was in use before, slices are tried as a whole. */
static void samples_were_wrong(void **state)
{
	struct umem_probe_odds odds = { 0 };
	struct memory m;

	umem_probe_learn(&odds, UMEM_PROBE_SAMPLED, 4096, 100);
	memory_init(&m, 0, 0, 1);
	run(&m, 120, &odds);
	assert_int_equal(m.slice.out, 512);
	assert_int_equal(m.tried, 512);
	assert_int_equal(m.dropped, 512);
}

/* The factor of the outer loop makes trials longer. */
static void longer(void **state)
{
	struct umem_probe_answer answer;
	struct umem_slice a = {
		.n_pages = 512, .state = UMEM_SLICE_PROBING, .tries = true, .trial = 512,
		.sample = 512, .step = UMEM_TRIAL_WHOLE, .sampled_ns = 40 * SECOND,
		.watched_ns = 40 * SECOND, .recent_ns = 40 * SECOND,
	};
	struct umem_slice b = a;

	umem_trial_judge(&probe, &conf, &a, 0, 2 * ONCE, NULL, &answer);
	assert_int_equal(answer.action, UMEM_PROBE_WAIT);
	umem_trial_judge(&probe, &conf, &b, 0, ONCE, NULL, &answer);
	assert_int_equal(answer.action, UMEM_PROBE_DROP);
}

static void room(void **state)
{
	assert_int_equal(umem_trial_room(&conf, 0, 0), conf.least_pages);
	assert_int_equal(umem_trial_room(&conf, 100, 0), conf.least_pages - 100);
	assert_int_equal(umem_trial_room(&conf, UINT64_MAX, 1u << 20), 0);
	assert_int_equal(umem_trial_room(&conf, 1000, 1u << 20), (1u << 20) / conf.part - 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_more_than_there_is),
		cmocka_unit_test(cold_slice),
		cmocka_unit_test(hot_slice),
		cmocka_unit_test(mixed_slice),
		cmocka_unit_test(no_time),
		cmocka_unit_test(seldom_used),
		cmocka_unit_test(wakes_up),
		cmocka_unit_test(samples_were_wrong),
		cmocka_unit_test(longer),
		cmocka_unit_test(room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
