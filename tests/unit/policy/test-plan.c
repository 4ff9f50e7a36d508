// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plan: never more than is allowed, in the order of worth, and everybody's turn comes. */
#include "lib/policy/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define PAGE 4096u
#define SECOND 1000000000ull

static const struct umem_thrash_answer plenty = {
	.state = UMEM_THRASH_GROW,
	.scale_ppm = 1000000,
	.threshold_ppm = 1000000,
	.budget_mpages = 1u << 30,
	.probe_mpages = 1u << 30,
	.free_ppm_min = 2000,
	.grow_pages = UINT64_MAX,
	.reason = "growing",
};

static void map(struct umem_slices *s, uint64_t n_slices)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };

	umem_slices_init(s, PAGE);
	T_OK(umem_ranges_add(&ranges, 0, n_slices * 512 * PAGE));
	T_OK(umem_slices_sync(s, &ranges));
}

static void see_all(struct umem_slices *s, enum umem_use_source source, uint64_t used,
	uint64_t dt_ns)
{
	for (size_t i = 0; i < s->n; i++) {
		struct umem_slice *a = &s->v[i];

		umem_slice_note(a, &(struct umem_slice_seen){
			.resident = a->n_pages - a->out, .out = a->out, .at_risk = a->out,
			.used = used, .source = source }, dt_ns);
	}
}

static struct umem_plan plan_it(struct umem_planner *planner, struct umem_slices *s,
	const struct umem_plan_in *in)
{
	struct umem_plan plan;
	uint64_t want = 0, rest = 0, tries = 0, n_release = 0;

	umem_plan_make(planner, s, in, &plan);
	for (size_t i = 0; i < s->n; i++) {
		const struct umem_slice *a = &s->v[i];
		bool away = a->way == UMEM_WAY_DROP || a->way == UMEM_WAY_RELEASE;

		assert_true(a->want <= (away ? a->trial : a->resident));
		assert_true(a->tries || a->way == UMEM_WAY_OUT);
		if (a->want && a->way == UMEM_WAY_RELEASE) {
			n_release++;
			continue;
		}
		want += a->want;
		tries += a->way == UMEM_WAY_TRY ? a->want : 0;
		rest += a->state == UMEM_SLICE_COLD && a->way != UMEM_WAY_TRY ? a->want : 0;
	}
	assert_int_equal(want, plan.want_pages);
	assert_int_equal(want - rest, plan.sample_pages);
	assert_int_equal(tries, plan.try_pages);
	assert_int_equal(n_release, plan.n_release);
	assert_true(tries <= (in->allowed_pages ? in->try_pages : 0));
	want -= tries;
	assert_true(want <= in->allowed_pages);
	assert_true(rest <= in->thrash->grow_pages);
	assert_true(plan.expected_mpages <= in->thrash->budget_mpages);
	assert_true(plan.probe_mpages <= in->thrash->probe_mpages);
	assert_true(plan.probe_mpages <= plan.expected_mpages);
	assert_non_null(plan.reason);
	if (planner->policy == UMEM_POLICY_PRESSURE)
		assert_true(want <= in->take_pages);
	if (in->thrash->state == UMEM_THRASH_BACK_OFF)
		assert_int_equal(want + tries, 0);
	return plan;
}

/* Slices of any state, allowances of any size. */
static void never_more_than_allowed(void **state)
{
	static const uint64_t amounts[] = { 0, 1, 7, 500, 4000, 1ull << 20, UINT64_MAX };
	uint64_t rng = t_seed();

	for (int round = 0; round < 6000; round++) {
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
		struct umem_thrash_answer thrash = plenty;
		struct umem_planner planner;

		map(&s, 1 + t_below(&rng, 12));
		umem_planner_init(&planner, (enum umem_policy)t_below(&rng, 3));
		planner.age.trust_writes = t_below(&rng, 2);
		thrash.state = (enum umem_thrash_state)t_below(&rng, 3);
		thrash.budget_mpages = amounts[t_below(&rng, 6)];
		thrash.probe_mpages = umem_min_u64(thrash.budget_mpages,
			amounts[t_below(&rng, 6)]);
		thrash.grow_pages = amounts[t_below(&rng, 7)];
		thrash.changed = t_below(&rng, 2);
		for (int step = 0; step < 6; step++) {
			for (size_t i = 0; i < s.n; i++) {
				struct umem_slice *a = &s.v[i];
				bool tries = t_below(&rng, 2);
				struct umem_slice_seen seen = {
					.resident = t_below(&rng, 513),
					.trial = tries ? t_below(&rng, 513) : 0,
					.touched = tries ? t_below(&rng, 9) : 0,
					.tries = tries,
					.out = t_below(&rng, 513),
					.at_risk = t_below(&rng, 513),
					.returned = t_below(&rng, 3) ? 0 : t_below(&rng, 20),
					.used = t_below(&rng, 3) ? 0 : t_below(&rng, 513),
					.source = (enum umem_use_source)t_below(&rng, 3),
				};

				umem_slice_note(a, &seen, t_below(&rng, 60) * SECOND);
			}
			plan_it(&planner, &s, &(struct umem_plan_in){
				.now_ns = (uint64_t)step * 30 * SECOND, .thrash = &thrash,
				.allowed_pages = amounts[t_below(&rng, 7)],
				.try_pages = amounts[t_below(&rng, 7)],
				.take_pages = amounts[t_below(&rng, 7)] });
			for (size_t i = 0; i < s.n; i++)
				if (s.v[i].want)
					umem_slice_put_out(&s.v[i], t_below(&rng, s.v[i].want + 1),
						0, SECOND);
			T_OK(umem_slices_split(&s, NULL, NULL, SECOND));
			umem_slices_merge(&s, 0, SECOND);
		}
	}
}

/* A budget of one page an interval: after so many intervals each slice had its sample. */
static void each_has_its_turn(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct umem_planner planner;
	unsigned n = 0;

	map(&s, 50);
	umem_planner_init(&planner, UMEM_POLICY_PROBE);
	see_all(&s, UMEM_USE_UNKNOWN, 0, SECOND);
	for (; n < 150; n++) {
		plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
			.allowed_pages = 1 });
		for (size_t i = 0; i < s.n; i++)
			if (s.v[i].want)
				umem_slice_put_out(&s.v[i], 1, 0, SECOND);
	}
	for (size_t i = 0; i < s.n; i++)
		assert_true(s.v[i].out >= 1);
}

/* Who was refused first is the first the next time. */
static void goes_on_where_it_stopped(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct umem_planner planner;

	map(&s, 10);
	umem_planner_init(&planner, UMEM_POLICY_PROBE);
	see_all(&s, UMEM_USE_UNKNOWN, 0, SECOND);
	for (size_t first = 0; first < 30; first += 3) {
		plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
			.allowed_pages = 6 });
		for (size_t i = 0; i < 10; i++)
			assert_int_equal(s.v[(first + i) % 10].want, i < 3 ? 2 : 0);
	}
}

/* What is cold goes before samples, samples that grow before first ones. */
static void order_of_worth(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct umem_planner planner;
	struct umem_plan plan;

	map(&s, 3);
	umem_planner_init(&planner, UMEM_POLICY_PROBE);
	s.v[1].state = UMEM_SLICE_PROBING;
	s.v[1].sample = s.v[1].out = 2;
	s.v[1].sampled_ns = s.v[1].watched_ns = 100 * SECOND;
	s.v[2].state = UMEM_SLICE_COLD;
	see_all(&s, UMEM_USE_UNKNOWN, 0, SECOND);
	for (uint64_t allowed = 0; allowed < 530; allowed++) {
		uint64_t rest = umem_min_u64(allowed, 512);
		uint64_t grown = umem_min_u64(allowed - rest, 6);

		plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
			.allowed_pages = allowed });
		assert_int_equal(s.v[2].want, rest);
		assert_int_equal(s.v[1].want, grown);
		assert_int_equal(s.v[0].want, umem_min_u64(allowed - rest - grown, 2));
		assert_int_equal(plan.cold_pages, 512 + 6);
	}
	assert_string_equal(plan.reason, "evicting what is cold");
	plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
		.allowed_pages = 5 });
	assert_string_equal(plan.reason, "evicting what is cold, as fast as is allowed");
	assert_int_equal(plan.n_cold, 1);
	assert_int_equal(plan.n_probing, 1);
	assert_true(plan.bound_ppm <= planner.probe.bound_max_ppm);
}

/* What is cold enough pays for itself; samples never do, and learned odds count. */
static void costs_are_told(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct umem_thrash_answer thrash = plenty;
	struct umem_planner planner;
	struct umem_plan plan;

	map(&s, 2);
	umem_planner_init(&planner, UMEM_POLICY_PROBE);
	s.v[1].state = UMEM_SLICE_COLD;
	see_all(&s, UMEM_USE_UNKNOWN, 0, SECOND);
	plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		.allowed_pages = UINT64_MAX });
	assert_int_equal(plan.expected_mpages, plan.probe_mpages);
	assert_int_equal(plan.probe_mpages, 2 * 250);
	for (int i = 0; i < 1000; i++)
		umem_probe_learn(&planner.odds, UMEM_PROBE_REST, 100, 10);
	plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		.allowed_pages = UINT64_MAX });
	assert_int_equal(plan.probe_mpages, 2 * 250);
	assert_in_range(plan.expected_mpages - plan.probe_mpages, 512 * 80, 512 * 98);
	/* no more of it than is in the budget */
	thrash.budget_mpages = 10000;
	plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		.allowed_pages = UINT64_MAX });
	assert_in_range(s.v[1].want, 10000 / 98, 10000 / 80);
}

/* Writes alone: probed unless trusted; no source: nothing to age by. */
static void age_and_its_sources(void **state)
{
	for (int k = 0; k < 3 * 2; k++) {
		enum umem_use_source source = (enum umem_use_source)(k % 3);
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
		struct umem_planner planner;
		struct umem_plan plan;

		map(&s, 4);
		umem_planner_init(&planner, UMEM_POLICY_AGE);
		planner.age.trust_writes = k / 3;
		see_all(&s, source, 0, planner.age.threshold_ns - 1);
		plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
			.allowed_pages = UINT64_MAX });
		assert_int_equal(plan.want_pages, 0);
		see_all(&s, source, 0, 1);
		plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
			.allowed_pages = UINT64_MAX });
		if (source == UMEM_USE_UNKNOWN)
			assert_int_equal(plan.want_pages, 0);
		else if (source == UMEM_USE_WRITES && !planner.age.trust_writes)
			assert_int_equal(plan.want_pages, 4 * planner.probe.first_pages);
		else
			assert_int_equal(plan.want_pages, 4 * 512);
	}
}

/* Of three slices one is mixed: it alone is split, by any policy that finds that out. */
static void splits_what_is_mixed(void **state)
{
	for (int k = 0; k < 2 * 3; k++) {
		enum umem_use_source source = k % 2 ? UMEM_USE_WRITES : UMEM_USE_ACCESSES;
		enum umem_policy policy = (enum umem_policy)(k / 2);
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
		struct umem_planner planner;
		struct umem_plan plan;

		map(&s, 3);
		umem_planner_init(&planner, policy);
		for (size_t i = 0; i < 3; i++)
			umem_slice_note(&s.v[i], &(struct umem_slice_seen){ .resident = 512,
				.used = i == 1 ? 9 : i * 255, .source = source },
				SECOND);
		plan = plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
			.allowed_pages = UINT64_MAX });
		assert_int_equal(plan.n_split, 1);
		assert_true(!s.v[0].split && s.v[1].split && !s.v[2].split);
		assert_int_equal(s.v[1].want + s.v[2].want, 0);
		T_OK(umem_slices_split(&s, NULL, NULL, SECOND));
		assert_int_equal(s.n, 2 + 8);
	}
}

/* Ages learn as well what comes back of what was old enough. */
static void ages_learn(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct umem_planner planner;

	map(&s, 1);
	umem_planner_init(&planner, UMEM_POLICY_AGE);
	see_all(&s, UMEM_USE_ACCESSES, 0, planner.age.threshold_ns);
	plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
		.allowed_pages = UINT64_MAX });
	umem_slice_put_out(&s.v[0], 512, 0, SECOND);
	umem_slice_note(&s.v[0], &(struct umem_slice_seen){ .resident = 100, .out = 412,
		.at_risk = 512, .returned = 100, .source = UMEM_USE_ACCESSES }, SECOND);
	plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty });
	assert_true(planner.odds.put[UMEM_PROBE_REST] == 512);
	assert_true(planner.odds.back[UMEM_PROBE_REST] == 100);
}

static void says_why_nothing_goes(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	struct umem_thrash_answer thrash = plenty;
	struct umem_planner planner;

	map(&s, 2);
	umem_planner_init(&planner, UMEM_POLICY_PROBE);
	see_all(&s, UMEM_USE_UNKNOWN, 0, SECOND);
	assert_string_equal(plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		}).reason, "stopped: nothing may go out now");
	thrash.probe_mpages = 0;
	assert_string_equal(plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		.allowed_pages = 9 }).reason, "waiting: the budget of refaults is used up");
	thrash.state = UMEM_THRASH_BACK_OFF;
	thrash.reason = "why";
	assert_string_equal(plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		.allowed_pages = 9 }).reason, "why");
	for (size_t i = 0; i < s.n; i++)
		umem_slice_hold(&s.v[i], 0, SECOND, SECOND);
	assert_string_equal(plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &plenty,
		.allowed_pages = 9 }).reason, "nothing cold: what is resident is in use");
	/* the working set has moved: holds end */
	thrash = plenty;
	thrash.changed = true;
	s.v[0].hold_until_ns = s.v[1].hold_until_ns = UINT64_MAX;
	assert_int_equal(plan_it(&planner, &s, &(struct umem_plan_in){ .thrash = &thrash,
		.allowed_pages = 9 }).n_held, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_more_than_allowed),
		cmocka_unit_test(each_has_its_turn),
		cmocka_unit_test(goes_on_where_it_stopped),
		cmocka_unit_test(order_of_worth),
		cmocka_unit_test(costs_are_told),
		cmocka_unit_test(age_and_its_sources),
		cmocka_unit_test(splits_what_is_mixed),
		cmocka_unit_test(ages_learn),
		cmocka_unit_test(says_why_nothing_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
