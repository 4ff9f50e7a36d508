// SPDX-License-Identifier: LGPL-2.1-or-later
/* Thrash: the outer loop, a smoothed rate and a bucket of tokens. */
#include "lib/policy/thrash.h"

#include <math.h>

/*
 * Growth starts at this part of its maximum and doubles with each of these
 * times: fast at first, slowly once it went too far, for the rate follows what
 * went out only after a window.
 */
#define GROW_START (1.0 / 64)
#define GROW_FAST_NS 5e9
#define GROW_SLOW_NS 60e9

/* Ages: longer by twice in this time above the objective, shorter again much slower. */
#define AGE_LONGER_NS 60e9
#define AGE_SHORTER_NS 600e9
#define AGE_MOST 64.0

/* A further burst within this time makes patience longer by so many times. */
#define PATIENCE_MEMORY_NS 3600000000000u
#define PATIENCE_TIMES 4

/* Leave debt with this part of the bucket full, lest the state flips at zero. */
#define OUT_OF_DEBT (1.0 / 8)

/* The buckets of the smallest target hold so many pages: less than one could never be spent. */
#define BUCKET_LEAST 2.0

#define MINUTE_NS 60e9

void umem_thrash_init(struct umem_thrash *self, const struct umem_thrash_conf *conf)
{
	static const struct umem_thrash_conf defaults = UMEM_THRASH_CONF_DEFAULT;

	*self = (struct umem_thrash){
		.conf = conf ? *conf : defaults,
		.threshold = 1,
		.grow = GROW_START,
		.calm_ns = PATIENCE_MEMORY_NS,
	};
	self->patience_ns = self->conf.patience_ns;
}

static uint64_t to_u64(double value)
{
	if (!(value > 0))
		return 0;
	return value >= 0x1p64 ? UINT64_MAX : (uint64_t)value;
}

static double clamp(double value, double low, double high)
{
	return fmin(fmax(value, low), high);
}

/* Pages that the objective is a share of. */
static double base_of(const struct umem_thrash_conf *conf, const struct umem_thrash_seen *seen)
{
	double out = (double)seen->at_risk, resident = (double)seen->resident;
	double little = clamp((double)conf->little_ppm / 1e6, 1e-6, 1);

	return fmax(out, resident - out * (1 / little - 1));
}

/* The decaying window; each interval weighs by its length. */
static void smooth(struct umem_thrash *self, const struct umem_thrash_seen *seen, double base)
{
	double window = fmax((double)self->conf.window_ns, 1), dt = (double)seen->dt_ns;
	double keep = exp(-dt / window), minutes = (1 - keep) * window / MINUTE_NS;

	if (!self->started) {
		/* as if a window without returns lay behind: one interval is no rate */
		self->base_min = base * window / MINUTE_NS;
		self->started = true;
	}
	self->returns *= keep;
	self->rest_returns *= keep;
	if (seen->dt_ns) {
		double weight = (1 - keep) * window / dt, returned = (double)seen->returned;

		self->returns += returned * weight;
		self->rest_returns += fmax(returned - (double)seen->sampled_back, 0) * weight;
	}
	self->base_min = self->base_min * keep + base * minutes;
	self->out_min = self->out_min * keep + (double)seen->at_risk * minutes;
}

/*
 * A burst that patience does not cover: the next time it lasts longer. One that
 * came out of the blue is not our doing: debt that piles up is.
 */
static void burst(struct umem_thrash *self)
{
	bool calm = self->calm_ns >= PATIENCE_MEMORY_NS;
	uint64_t longer;

	if (self->in_burst)
		return;
	self->in_burst = true;
	self->surprise = calm && self->debt_ns < self->conf.window_ns / 2 &&
		self->patience_ns == self->conf.patience_ns;
	self->calm_ns = 0;
	if (calm)
		return;
	if (__builtin_mul_overflow(self->patience_ns, PATIENCE_TIMES, &longer) ||
		longer > self->conf.patience_max_ns)
		longer = self->conf.patience_max_ns;
	self->patience_ns = longer;
}

/* Long without debt: forget half of the patience. */
static void calm(struct umem_thrash *self, uint64_t dt_ns)
{
	if (self->in_debt)
		return;
	if (__builtin_add_overflow(self->calm_ns, dt_ns, &self->calm_ns))
		self->calm_ns = UINT64_MAX;
	if (self->calm_ns < PATIENCE_MEMORY_NS || self->patience_ns <= self->conf.patience_ns)
		return;
	self->calm_ns = 0;
	self->patience_ns /= 2;
	if (self->patience_ns < self->conf.patience_ns)
		self->patience_ns = self->conf.patience_ns;
}

/*
 * A bucket: fill by time, pay for what came back. What did not come back within
 * the window is not expected any more.
 */
static void fill(struct umem_thrash_bucket *bucket, const struct umem_thrash_conf *conf,
	double dt_ns, double by, double most, double returned)
{
	double expected = fmin(returned, bucket->reserved), released;

	bucket->reserved -= expected;
	released = bucket->reserved * -expm1(-dt_ns / fmax((double)conf->window_ns, 1));
	bucket->reserved -= released;
	bucket->tokens = fmin(bucket->tokens + by + released - (returned - expected), most);
}

/* Keep the accounts. Return: how much the bucket for everything holds. */
static double account(struct umem_thrash *self, const struct umem_thrash_seen *seen, double base)
{
	const struct umem_thrash_conf *conf = &self->conf;
	double fill_ns = base * (double)conf->objective_ppm_min / 1e6 / MINUTE_NS;
	double most = fmax(fill_ns * (double)conf->burst_ns, BUCKET_LEAST);
	double probe = clamp((double)conf->probe_ppm / 1e6, 0, 1), least;
	double probe_most = probe > 0 ? fmax(most * probe, BUCKET_LEAST) : 0;
	double dt = (double)seen->dt_ns;

	if (!self->started) {
		self->all.tokens = most;
		self->probe.tokens = probe_most;
	}
	fill(&self->all, conf, dt, fill_ns * dt, most, (double)seen->returned);
	fill(&self->probe, conf, dt, fill_ns * dt * probe, probe_most,
		(double)seen->sampled_back);
	least = fmin(-fill_ns * (double)self->patience_ns, -BUCKET_LEAST);
	if (self->all.tokens < least) {
		burst(self);
		least = fmin(-fill_ns * (double)self->patience_ns, -BUCKET_LEAST);
		self->all.tokens = fmax(self->all.tokens, least);
	}
	self->probe.tokens = fmax(self->probe.tokens, least);
	if (!self->in_debt)
		self->debt_ns = 0;
	else if (__builtin_add_overflow(self->debt_ns, seen->dt_ns, &self->debt_ns))
		self->debt_ns = UINT64_MAX;
	if (self->all.tokens < 0)
		self->in_debt = true;
	else if (self->all.tokens >= most * OUT_OF_DEBT)
		self->in_debt = false;
	return most;
}

/* Ages get longer while too much comes back, slowly shorter while little does. */
static void adapt_age(struct umem_thrash *self, enum umem_thrash_state state, double share,
	double dt_ns)
{
	if (state != UMEM_THRASH_GROW)
		self->threshold *= exp2(fmin(dt_ns / AGE_LONGER_NS, 1));
	else if (share < 0.5)
		self->threshold *= exp2(-dt_ns / AGE_SHORTER_NS);
	self->threshold = clamp(self->threshold, 1, AGE_MOST);
}

/* @rest: returns that are not of samples, as a share of the objective. */
static void adapt_growth(struct umem_thrash *self, enum umem_thrash_state state, double rest,
	double dt_ns)
{
	double twice_ns;

	if (state == UMEM_THRASH_BACK_OFF || rest >= 1) {
		self->grow = GROW_START;
		self->careful = !self->surprise;
		return;
	}
	twice_ns = self->careful ? GROW_SLOW_NS : GROW_FAST_NS;
	self->grow = fmin(self->grow * exp2(fmin(dt_ns / twice_ns, 1)), 1);
}

void umem_thrash_note(struct umem_thrash *self, const struct umem_thrash_seen *seen,
	struct umem_thrash_answer *ret_answer)
{
	static const char *const reasons[] = {
		[UMEM_THRASH_GROW] = "growing: refaults are below the objective",
		[UMEM_THRASH_HOLD] = "holding: refaults are above the objective",
		[UMEM_THRASH_BACK_OFF] = "backing off: refaults have used up the budget",
	};
	double base = base_of(&self->conf, seen), most = account(self, seen, base);
	double objective = fmax((double)self->conf.objective_ppm_min, 1);
	double rate = 0, share, rest = 0;
	struct umem_thrash_answer answer = { .state = UMEM_THRASH_GROW };

	smooth(self, seen, base);
	calm(self, seen->dt_ns);
	if (self->base_min > 0) {
		rate = self->returns / self->base_min * 1e6;
		rest = self->rest_returns / self->base_min * 1e6 / objective;
	}
	share = rate / objective;
	if (self->in_debt)
		answer.state = UMEM_THRASH_BACK_OFF;
	else if (share >= 1)
		answer.state = UMEM_THRASH_HOLD;
	if (!self->in_debt && self->in_burst) {
		self->in_burst = false;
		answer.changed = self->surprise;
		/* ages and growth were not to blame for what nobody could foresee */
		if (self->surprise)
			self->threshold = 1;
		self->surprise = false;
	}
	adapt_age(self, answer.state, share, (double)seen->dt_ns);
	adapt_growth(self, answer.state, rest, (double)seen->dt_ns);
	if (answer.state != UMEM_THRASH_BACK_OFF) {
		/* everything up to half the objective, then less and less */
		answer.scale_ppm = (uint32_t)(clamp(2 - 2 * rest, 0, 1) * 1e6);
		answer.budget_mpages = to_u64(fmin(self->all.tokens, most) * 1000);
	}
	if (answer.state == UMEM_THRASH_GROW)
		answer.probe_mpages = to_u64(fmin(self->probe.tokens, self->all.tokens) * 1000);
	answer.free_ppm_min = self->conf.objective_ppm_min;
	answer.threshold_ppm = to_u64(self->threshold * 1e6);
	answer.grow_pages = to_u64((double)seen->resident * self->grow *
		(double)self->conf.grow_ppm_min / 1e6 * (double)seen->dt_ns / MINUTE_NS *
		(answer.scale_ppm / 1e6));
	answer.rate_ppm_min = to_u64(rate);
	if (self->out_min > 0)
		answer.rate_out_ppm_min = to_u64(self->returns / self->out_min * 1e6);
	answer.reason = reasons[answer.state];
	*ret_answer = answer;
}

void umem_thrash_spend(struct umem_thrash *self, uint64_t expected_mpages,
	uint64_t probe_mpages)
{
	double all = (double)expected_mpages / 1000, probe = (double)probe_mpages / 1000;

	self->all.tokens -= all;
	self->all.reserved += all;
	self->probe.tokens -= probe;
	self->probe.reserved += probe;
}
