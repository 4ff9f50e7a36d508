// SPDX-License-Identifier: LGPL-2.1-or-later
/* A run: a trace under a policy, interval after interval. */
#include "tests/policy/run.h"

#include <inttypes.h>
#include <math.h>

#include "lib/base/attr.h"
#include "lib/policy/pressure.h"
#include "lib/policy/shares.h"
#include "tests/lib/harness.h"

/* What a page that comes back costs its program, with swap in compressed memory. */
#define REFAULT_NS 50000u

#define SECOND_NS 1000000000u
#define MINUTE_NS (60ull * SECOND_NS)
#define WHOLE_NS (30 * MINUTE_NS)

/* Several targets share this many bytes a second. */
#define SHARED_BYTES (64ull << 20)

/* One target with everything that belongs to it. */
struct target {
	struct model model;
	struct umem_slices slices;
	struct umem_thrash thrash;
	struct umem_planner planner;
	struct umem_pressure pressure;
	enum umem_use_source source;
	bool tries;
	struct umem_slices_sum sum;
	struct umem_thrash_answer answer;
	struct umem_plan plan;
	uint64_t merge_ns;
};

const char *run_policy_name(enum umem_policy policy, bool tries)
{
	static const char *const names[][2] = {
		[UMEM_POLICY_AGE] = { "age", "age+try" },
		[UMEM_POLICY_PROBE] = { "probe", "probe+try" },
		[UMEM_POLICY_PRESSURE] = { "pressure", "pressure+try" },
	};

	return names[policy][tries];
}

static void count(void *arg, uint64_t start, uint64_t n_pages, struct umem_slice_seen *ret_seen)
{
	const struct target *target = arg;

	model_count(&target->model, target->source, target->tries, start, n_pages, ret_seen);
}

/* Time goes by, and what it did to the slices is taken in. */
static void observe(struct target *target, const struct trace *trace, double now_s, double dt_s)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };
	uint64_t dt_ns = (uint64_t)(dt_s * SECOND_NS);

	model_begin(&target->model);
	if (trace->tick)
		trace->tick(&target->model, now_s, dt_s);
	model_run(&target->model, dt_s);
	T_OK(umem_ranges_add(&ranges, 0, target->model.n_mapped * MODEL_PAGE_BYTES));
	T_OK(umem_slices_sync(&target->slices, &ranges));
	for (size_t i = 0; i < target->slices.n; i++) {
		struct umem_slice *slice = &target->slices.v[i];
		struct umem_slice_seen seen;

		count(target, slice->start, slice->n_pages, &seen);
		umem_slice_note(slice, &seen, dt_ns);
	}
	umem_slices_sum(&target->slices, &target->sum);
	umem_thrash_note(&target->thrash, &(struct umem_thrash_seen){
		.dt_ns = dt_ns,
		.resident = target->sum.resident + target->sum.trial,
		.at_risk = target->sum.at_risk,
		.returned = target->sum.returned,
		.sampled_back = target->sum.sampled_back,
	}, &target->answer);
}

/* What it costs to move a page, in microseconds, as measured beside a busy target. */
static const unsigned move_us[] = {
	[UMEM_WAY_OUT] = 12,
	[UMEM_WAY_TRY] = 16,
	[UMEM_WAY_DROP] = 5,
	[UMEM_WAY_RELEASE] = 2,
};

/*
 * Do what the slices want: first what goes out, then what goes on trial, as far as there
 * is time for it. Return: pages that went out; @ret_tried: on trial.
 */
static uint64_t carry_out(struct target *target, uint64_t now_ns, uint64_t us,
	uint64_t *ret_tried)
{
	uint64_t got[2] = { 0 };

	for (size_t k = 0; k < 2 * target->slices.n; k++) {
		struct umem_slice *slice = &target->slices.v[k % target->slices.n];
		bool tries = slice->way == UMEM_WAY_TRY;
		uint64_t want = slice->want, n, cost = want * move_us[slice->way];

		if (!want || tries != k / target->slices.n)
			continue;
		if (slice->way != UMEM_WAY_RELEASE && cost > us)
			continue;
		us -= umem_min_u64(cost, us);
		n = model_move(&target->model, slice);
		T_CHECK(n == want, "more was wanted than is there");
		got[tries] += slice->way == UMEM_WAY_RELEASE ? 0 : n;
		umem_slice_put_out(slice, n, now_ns, target->planner.probe.hold_ns);
	}
	*ret_tried = got[1];
	return got[0];
}

/* Plan, carry it out, and tell what went out. */
static void act(struct target *target, const struct trace *trace, uint64_t now_ns,
	uint64_t dt_ns, uint64_t allowed_pages, struct run_point *point)
{
	uint64_t cpu_us = trace->cpu_us_s ? trace->cpu_us_s * dt_ns / SECOND_NS : UINT64_MAX;
	uint64_t got, tried, out;
	struct umem_pressure_answer take;

	umem_pressure_next(&target->pressure,
		target->sum.returned * REFAULT_NS * 1000000 / dt_ns,
		target->sum.resident * MODEL_PAGE_BYTES, dt_ns, &take);
	umem_plan_make(&target->planner, &target->slices, &(struct umem_plan_in){
		.now_ns = now_ns,
		.thrash = &target->answer,
		.allowed_pages = allowed_pages,
		.try_pages = umem_min_u64(umem_trial_room(&target->planner.trial,
			target->sum.trial, target->sum.resident + target->sum.trial),
			cpu_us / move_us[UMEM_WAY_TRY]),
		.take_pages = take.take_bytes / MODEL_PAGE_BYTES,
	}, &target->plan);
	got = carry_out(target, now_ns, cpu_us, &tried);
	T_CHECK(got <= allowed_pages);
	if (!trace->cpu_us_s)
		T_CHECK(got + tried == target->plan.want_pages);
	out = target->plan.want_pages - target->plan.try_pages;
	if (out)
		umem_thrash_spend(&target->thrash, target->plan.expected_mpages * got / out,
			target->plan.probe_mpages * got / out);
	T_OK(umem_slices_split(&target->slices, count, target, dt_ns));
	if (now_ns >= target->merge_ns) {
		target->merge_ns = now_ns + MINUTE_NS;
		umem_slices_merge(&target->slices, now_ns, WHOLE_NS);
	}
	point->put += got;
	point->tried += tried;
	point->sampled += target->plan.sample_pages;
}

static void note(const struct target *target, struct run_point *point)
{
	uint64_t cold, cold_out;

	model_cold(&target->model, &cold, &cold_out);
	point->cold += cold;
	point->cold_out += cold_out;
	point->resident += target->sum.resident + target->sum.trial;
	point->trial += target->sum.trial;
	point->out += target->sum.out;
	point->at_risk += target->sum.at_risk;
	point->returned += target->sum.returned;
	point->n_slices += target->slices.n;
}

static void step(struct run *self, struct target *targets, struct umem_share *shares, size_t k)
{
	const struct trace *trace = self->trace;
	double now_s = (double)k * self->interval_s;
	uint64_t dt_ns = (uint64_t)(self->interval_s * SECOND_NS), now_ns = (k + 1) * dt_ns;
	struct run_point *point = &self->v[k];
	unsigned n = trace->n_targets;

	for (unsigned i = 0; i < n; i++) {
		observe(&targets[i], trace, now_s, self->interval_s);
		note(&targets[i], point);
		shares[i].resident_bytes = targets[i].sum.resident * MODEL_PAGE_BYTES;
		/* what the interval before could not have, and room for samples */
		shares[i].want_bytes = (targets[i].plan.cold_pages + targets[i].slices.n * 8) *
			MODEL_PAGE_BYTES;
	}
	umem_shares_divide(shares, n, n > 1 ? (uint64_t)(self->interval_s * SHARED_BYTES) :
		UINT64_MAX, MODEL_PAGE_BYTES, k);
	for (unsigned i = 0; i < n; i++)
		act(&targets[i], trace, now_ns, dt_ns,
			n > 1 ? shares[i].got_bytes / MODEL_PAGE_BYTES : UINT64_MAX, point);
	point->rate_ppm = targets[0].answer.rate_ppm_min;
	point->state = targets[0].answer.state;
	point->reason = targets[0].plan.reason;
	point->bound_ppm = targets[0].plan.bound_ppm;
	self->put += point->put;
	self->returned += point->returned;
}

static void print(const struct run *self, const struct target *target, size_t k)
{
	const struct run_point *p = &self->v[k];

	printf("%6.1f min  resident %7" PRIu64 " out %7" PRIu64 " back %6" PRIu64
	       " trial %6" PRIu64 " put %6" PRIu64 " tried %6" PRIu64 " sampled %6" PRIu64
	       " rate %6" PRIu64 " slices %6" PRIu64
	       " tokens %8.1f  cold %6" PRIu64 " probing %6" PRIu64 " held %6" PRIu64 "  %s\n",
		(double)(k + 1) * self->interval_s / 60, p->resident, p->out, p->returned,
		p->trial, p->put, p->tried, p->sampled, p->rate_ppm, p->n_slices,
		target->thrash.all.tokens,
		target->plan.n_cold, target->plan.n_probing, target->plan.n_held, p->reason);
}

void run_make(struct run *self, const struct trace *trace, enum umem_policy policy,
	bool tries, double interval_s, uint64_t seed, bool log)
{
	UMEM_FREE struct target *targets = calloc(trace->n_targets, sizeof(*targets));
	UMEM_FREE struct umem_share *shares = calloc(trace->n_targets, sizeof(*shares));

	*self = (struct run){
		.trace = trace,
		.policy = policy,
		.tries = tries,
		.interval_s = interval_s,
	};
	self->n = (size_t)(trace->minutes * 60 / interval_s);
	self->v = calloc(self->n, sizeof(*self->v));
	T_CHECK(targets && shares && self->v);
	for (unsigned i = 0; i < trace->n_targets; i++) {
		model_init(&targets[i].model, trace->n_pages, seed + i);
		trace->setup(&targets[i].model, i);
		umem_slices_init(&targets[i].slices, MODEL_PAGE_BYTES);
		umem_thrash_init(&targets[i].thrash, NULL);
		umem_planner_init(&targets[i].planner, policy);
		umem_pressure_init(&targets[i].pressure, NULL);
		/* probing has to do without any source */
		targets[i].tries = tries;
		targets[i].source = policy == UMEM_POLICY_AGE ? trace->source : UMEM_USE_UNKNOWN;
	}
	for (size_t k = 0; k < self->n; k++) {
		step(self, targets, shares, k);
		if (log)
			print(self, &targets[0], k);
	}
	for (unsigned i = 0; i < trace->n_targets; i++) {
		umem_slices_deinit(&targets[i].slices);
		model_deinit(&targets[i].model);
	}
}

void run_deinit(struct run *self)
{
	free(self->v);
}

static size_t at_minute(const struct run *self, double minute)
{
	size_t k = (size_t)(minute * 60 / self->interval_s + 0.5);

	return k < self->n ? k : self->n;
}

double run_rate(const struct run *self, double from, double to)
{
	double returned = 0, minutes = 0;

	for (size_t k = at_minute(self, from); k < at_minute(self, to); k++) {
		returned += (double)self->v[k].returned;
		minutes += (double)self->v[k].at_risk * self->interval_s / 60;
	}
	return minutes > 0 ? returned / minutes * 1e6 : 0;
}

double run_cold_out(const struct run *self, double minute)
{
	size_t k = at_minute(self, minute);
	const struct run_point *p = &self->v[k ? k - 1 : 0];

	return p->cold ? (double)p->cold_out / (double)p->cold : 0;
}

double run_recovery(const struct run *self, double minute, double share)
{
	for (double m = minute + 1; m <= self->trace->minutes; m++)
		if (run_cold_out(self, m) >= share)
			return m - minute;
	return self->trace->minutes;
}

double run_above(const struct run *self, double from, double to, double ppm)
{
	unsigned n = 0, above = 0;

	for (double minute = from; minute + 1 <= to; minute++, n++)
		above += run_rate(self, minute, minute + 1) > ppm;
	return n ? (double)above / n : 0;
}

unsigned run_reversals(const struct run *self, double share)
{
	double low = 0, high = 0;
	unsigned n = 0;
	int way = 0;

	for (size_t k = 0; k < self->n; k++) {
		double all = (double)(self->v[k].resident + self->v[k].out);
		double out = (double)self->v[k].out, most = share * all;

		low = fmin(low, out);
		high = fmax(high, out);
		if (way >= 0 && out < high - most) {
			n += way > 0;
			way = -1;
			low = out;
		} else if (way <= 0 && out > low + most) {
			n += way < 0;
			way = 1;
			high = out;
		}
	}
	return n;
}
