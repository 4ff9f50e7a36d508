// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plan: judge each slice, then grant what is wanted in the order of its worth. */
#include "lib/policy/plan.h"

#include "lib/base/attr.h"

/* After the working set has moved, what was held is looked at again within this time. */
#define WAKE_NS 60000000000u

/* Pressure: a slice gives this part at first, and twice as much after so long without a return. */
#define PRESSURE_PART 64
#define PRESSURE_STEP_NS 30000000000u

/* What is granted first is last here; 0 is no wish. */
enum wish {
	WISH_NONE,
	WISH_AGAIN,
	WISH_FIRST,
	WISH_GROWN,
	WISH_REST,
};

_Static_assert(WISH_REST < UMEM_PLAN_WISHES, "a turn for each wish");

static const enum umem_probe_step step_of[] = {
	[WISH_AGAIN] = UMEM_PROBE_AGAIN,
	[WISH_FIRST] = UMEM_PROBE_FIRST,
	[WISH_GROWN] = UMEM_PROBE_GROWN,
	[WISH_REST] = UMEM_PROBE_REST,
};

static const enum wish wish_of[] = {
	[UMEM_PROBE_AGAIN] = WISH_AGAIN,
	[UMEM_PROBE_FIRST] = WISH_FIRST,
	[UMEM_PROBE_GROWN] = WISH_GROWN,
	[UMEM_PROBE_REST] = WISH_REST,
};

/*
 * What is left to grant: @pages of any kind, of them @rest_pages of slices
 * judged cold, @mpages of expected returns. @no_pages, @no_mpages: something was
 * refused for want of them.
 */
struct purse {
	uint64_t pages;
	uint64_t rest_pages;
	uint64_t mpages;
	bool no_pages;
	bool no_mpages;
};

void umem_planner_init(struct umem_planner *self, enum umem_policy policy)
{
	*self = (struct umem_planner){
		.policy = policy,
		.age = UMEM_AGE_CONF_DEFAULT,
		.probe = UMEM_PROBE_CONF_DEFAULT,
	};
}

static void judge_age(struct umem_planner *self, struct umem_slice *slice,
	const struct umem_plan_in *in)
{
	struct umem_age_answer answer;

	if (slice->state == UMEM_SLICE_COLD)
		umem_probe_learn_rest(&self->odds, slice, self->probe.watch_ns);
	umem_age_judge(&self->age, slice, in->now_ns, in->thrash->threshold_ppm, &answer);
	slice->split = answer.split;
	slice->want = (uint32_t)answer.want;
	slice->wish = answer.want ? WISH_REST : WISH_NONE;
}

static void judge_probe(struct umem_planner *self, struct umem_slice *slice,
	const struct umem_plan_in *in, struct umem_plan *plan)
{
	struct umem_probe_answer answer;

	umem_probe_judge(&self->probe, slice, in->now_ns, &self->odds, &answer);
	slice->split = answer.action == UMEM_PROBE_SPLIT;
	slice->want = (uint32_t)answer.want;
	slice->wish = answer.want ? wish_of[answer.step] : WISH_NONE;
	if (answer.action == UMEM_PROBE_EVICT && answer.bound_ppm >= plan->bound_ppm) {
		plan->bound_ppm = answer.bound_ppm;
		plan->confidence_ppm = answer.confidence_ppm;
	}
}

/* Everything that does not come back may go, a little of each; what comes back is held. */
static void judge_pressure(struct umem_planner *self, struct umem_slice *slice,
	const struct umem_plan_in *in)
{
	enum umem_probe_step step = slice->step ? UMEM_PROBE_GROWN :
				    slice->hold_ns ? UMEM_PROBE_AGAIN : UMEM_PROBE_FIRST;

	slice->wish = WISH_NONE;
	if (slice->put)
		umem_probe_learn(&self->odds, step, slice->put, slice->returned);
	slice->put = 0;
	if (slice->returned || slice->used)
		umem_slice_hold(slice, in->now_ns, self->probe.hold_ns, self->probe.hold_max_ns);
	if (slice->state == UMEM_SLICE_WARM && in->now_ns >= slice->hold_until_ns)
		slice->state = UMEM_SLICE_NEW;
	if (slice->state == UMEM_SLICE_NEW) {
		slice->want = slice->hold_ns ? 1 : umem_max_u64(slice->n_pages / PRESSURE_PART, 1);
		slice->wish = slice->hold_ns ? WISH_AGAIN : WISH_FIRST;
	} else if (slice->state == UMEM_SLICE_PROBING && slice->sampled_ns >= PRESSURE_STEP_NS) {
		slice->want = umem_max_u64(slice->sample, 1);
		slice->wish = WISH_GROWN;
	}
	slice->want = (uint32_t)umem_min_u64(slice->want, slice->resident);
	if (!slice->want)
		slice->wish = WISH_NONE;
}

/* Judge every slice; want is what it would have. */
static void judge_all(struct umem_planner *self, struct umem_slices *slices,
	const struct umem_plan_in *in, struct umem_plan *plan)
{
	for (size_t i = 0; i < slices->n; i++) {
		struct umem_slice *slice = &slices->v[i];

		slice->want = 0;
		slice->split = false;
		if (self->policy == UMEM_POLICY_AGE)
			judge_age(self, slice, in);
		else if (self->policy == UMEM_POLICY_PROBE)
			judge_probe(self, slice, in, plan);
		else
			judge_pressure(self, slice, in);
		plan->n_cold += slice->state == UMEM_SLICE_COLD;
		plan->n_probing += slice->state == UMEM_SLICE_PROBING;
		plan->n_held += slice->state == UMEM_SLICE_WARM;
		plan->n_split += slice->split;
		if (slice->wish == WISH_REST || slice->wish == WISH_GROWN)
			plan->cold_pages += slice->want;
	}
}

/* As much of a wish as the purse has. */
static uint64_t grant(struct purse *purse, enum wish wish, uint64_t want, uint64_t cost_1000)
{
	uint64_t n = umem_min_u64(want, purse->pages), cost;

	if (wish == WISH_REST)
		n = umem_min_u64(n, purse->rest_pages);
	purse->no_pages = purse->no_pages || n < want;
	/* @want is at most a slice: no overflow */
	if (cost_1000 && purse->mpages / cost_1000 < n && purse->mpages * 1000 / cost_1000 < n) {
		n = purse->mpages * 1000 / cost_1000;
		purse->no_mpages = true;
	}
	cost = umem_min_u64((n * cost_1000 + 999) / 1000, purse->mpages);
	purse->mpages -= cost;
	purse->pages -= n;
	if (wish == WISH_REST)
		purse->rest_pages -= n;
	return n;
}

/* All wishes of a kind, beginning with the slice that was refused the last time. */
static void grant_all(struct umem_planner *self, struct umem_slices *slices, enum wish wish,
	struct purse *purse, struct umem_plan *plan)
{
	uint64_t cost_1000 = umem_probe_cost(&self->odds, step_of[wish], 1000);
	size_t first = umem_slices_find(slices, self->turn[wish]);
	bool refused = false;

	for (size_t k = 0; k < slices->n; k++) {
		struct umem_slice *slice = &slices->v[(first + k) % slices->n];
		uint64_t got;

		if (slice->wish != wish)
			continue;
		got = grant(purse, wish, slice->want, cost_1000);
		if (got < slice->want && !refused) {
			refused = true;
			self->turn[wish] = slice->start;
		}
		slice->want = (uint32_t)got;
		plan->want_pages += got;
		if (wish != WISH_REST)
			plan->sample_pages += got;
	}
}

static const char *reason_of(const struct umem_plan *plan, const struct umem_plan_in *in,
	const struct purse *purse)
{
	if (in->thrash->state != UMEM_THRASH_GROW)
		return in->thrash->reason;
	if (!in->allowed_pages)
		return "stopped: nothing may go out now";
	if (plan->want_pages > plan->sample_pages)
		return purse->no_mpages ? "evicting what is cold, as fast as refaults allow" :
		       purse->no_pages ? "evicting what is cold, as fast as is allowed" :
					 "evicting what is cold";
	if (plan->want_pages)
		return purse->no_mpages ? "probing, as fast as refaults allow" : "probing";
	if (purse->no_mpages)
		return "waiting: the budget of refaults is used up";
	if (purse->no_pages)
		return "waiting: no more may go out now";
	if (plan->n_probing)
		return "watching samples";
	return plan->n_held ? "nothing cold: what is resident is in use" : "nothing cold";
}

void umem_plan_make(struct umem_planner *self, struct umem_slices *slices,
	const struct umem_plan_in *in, struct umem_plan *ret_plan)
{
	struct umem_plan plan = { 0 };
	struct purse purse = {
		.pages = in->allowed_pages,
		.rest_pages = in->thrash->grow_pages,
		.mpages = in->thrash->budget_mpages,
	};

	if (self->policy == UMEM_POLICY_PRESSURE)
		purse.pages = umem_min_u64(purse.pages, in->take_pages);
	if (in->thrash->state != UMEM_THRASH_GROW)
		purse.pages = 0;
	if (in->thrash->changed)
		umem_slices_wake(slices, in->now_ns, WAKE_NS);
	judge_all(self, slices, in, &plan);
	for (enum wish wish = WISH_REST; wish > WISH_NONE; wish--)
		grant_all(self, slices, wish, &purse, &plan);
	plan.expected_mpages = in->thrash->budget_mpages - purse.mpages;
	plan.reason = reason_of(&plan, in, &purse);
	*ret_plan = plan;
}
