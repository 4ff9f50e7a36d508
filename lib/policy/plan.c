// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plan: judge each slice, then grant what is wanted in the order of its worth. */
#include "lib/policy/plan.h"

#include "lib/base/attr.h"

/* After the working set has moved, what was held is looked at again within this time. */
#define WAKE_NS 60000000000u

/* What a slice may wish for. */
enum wish {
	WISH_NONE,
	WISH_AGAIN,
	WISH_PART,
	WISH_FIRST,
	WISH_GROWN,
	WISH_REST,
	WISH_SAMPLED,
	WISH_TRY_FIRST,
	WISH_TRY_MORE,
	WISH_TRY_ALL,
	WISH_TRY_MIXED,
};

_Static_assert(WISH_TRY_MIXED < UMEM_PLAN_WISHES, "a turn for each wish");

static const enum umem_probe_step step_of[] = {
	[WISH_AGAIN] = UMEM_PROBE_AGAIN,
	[WISH_PART] = UMEM_PROBE_PART,
	[WISH_FIRST] = UMEM_PROBE_FIRST,
	[WISH_GROWN] = UMEM_PROBE_GROWN,
	[WISH_REST] = UMEM_PROBE_REST,
	[WISH_SAMPLED] = UMEM_PROBE_SAMPLED,
};

static const enum wish wish_of[] = {
	[UMEM_PROBE_AGAIN] = WISH_AGAIN,
	[UMEM_PROBE_FIRST] = WISH_FIRST,
	[UMEM_PROBE_PART] = WISH_PART,
	[UMEM_PROBE_GROWN] = WISH_GROWN,
	[UMEM_PROBE_REST] = WISH_REST,
	[UMEM_PROBE_SAMPLED] = WISH_SAMPLED,
};

static const enum wish try_of[UMEM_PROBE_STEPS] = {
	[UMEM_PROBE_FIRST] = WISH_TRY_FIRST,
	[UMEM_PROBE_GROWN] = WISH_TRY_MORE,
	[UMEM_PROBE_REST] = WISH_TRY_ALL,
	[UMEM_PROBE_PART] = WISH_TRY_MIXED,
};

/* Of slices judged cold? */
static bool is_rest(enum wish wish)
{
	return wish == WISH_REST || wish == WISH_SAMPLED;
}

/*
 * What is left to grant: @pages of any kind, of them @rest_pages of slices
 * judged cold; @try_pages go on trial; @mpages of expected returns, of them
 * @probe_mpages of samples. @no_pages, @no_mpages: something was refused for want of them.
 */
struct purse {
	uint64_t pages;
	uint64_t rest_pages;
	uint64_t try_pages;
	uint64_t mpages;
	uint64_t probe_mpages;
	bool no_pages;
	bool no_mpages;
};

void umem_planner_init(struct umem_planner *self, enum umem_policy policy)
{
	*self = (struct umem_planner){
		.policy = policy,
		.age = UMEM_AGE_CONF_DEFAULT,
		.probe = UMEM_PROBE_CONF_DEFAULT,
		.trial = UMEM_TRIAL_CONF_DEFAULT,
	};
}

/* What is done with the pages, and in which order it is granted. */
static void wish(struct umem_slice *slice, const struct umem_probe_answer *answer)
{
	slice->want = (uint32_t)answer->want;
	slice->wish = answer->want ? wish_of[answer->step] : WISH_NONE;
	switch (answer->action) {
	case UMEM_PROBE_TRY:
		slice->way = UMEM_WAY_TRY;
		slice->wish = try_of[answer->step];
		break;
	case UMEM_PROBE_DROP:
		slice->way = UMEM_WAY_DROP;
		break;
	case UMEM_PROBE_RELEASE:
		slice->way = UMEM_WAY_RELEASE;
		slice->wish = WISH_NONE;
		break;
	default:
		slice->way = UMEM_WAY_OUT;
	}
}

static void judge_probe(struct umem_planner *self, struct umem_slice *slice,
	const struct umem_plan_in *in, struct umem_plan *plan)
{
	struct umem_probe_answer answer;

	if (slice->tries)
		umem_trial_judge(&self->probe, &self->trial, slice, in->now_ns,
			in->thrash->threshold_ppm, &self->odds, &answer);
	else
		umem_probe_judge(&self->probe, slice, in->now_ns, &self->odds, &answer);
	slice->split = answer.action == UMEM_PROBE_SPLIT;
	wish(slice, &answer);
	plan->n_release += answer.action == UMEM_PROBE_RELEASE;
	if (answer.action == UMEM_PROBE_EVICT && answer.bound_ppm >= plan->bound_ppm) {
		plan->bound_ppm = answer.bound_ppm;
		plan->confidence_ppm = answer.confidence_ppm;
	}
}

/* Old enough by writes alone: it may be read, so it is probed. Return: was it taken care of? */
static bool probe_unread(struct umem_planner *self, struct umem_slice *slice,
	const struct umem_plan_in *in, struct umem_plan *plan)
{
	if (slice->source != UMEM_USE_WRITES || self->age.trust_writes)
		return false;
	if (slice->state == UMEM_SLICE_WARM && in->now_ns >= slice->hold_until_ns)
		slice->state = UMEM_SLICE_NEW;
	if (slice->state == UMEM_SLICE_NEW && (slice->used ||
		!umem_age_old_enough(&self->age, slice, in->thrash->threshold_ppm)))
		return false;
	judge_probe(self, slice, in, plan);
	return true;
}

static void judge_age(struct umem_planner *self, struct umem_slice *slice,
	const struct umem_plan_in *in, struct umem_plan *plan)
{
	struct umem_age_answer answer;

	if (probe_unread(self, slice, in, plan))
		return;
	if (slice->state == UMEM_SLICE_COLD)
		umem_probe_learn_rest(&self->odds, slice, UMEM_PROBE_REST,
			self->probe.watch_ns);
	umem_age_judge(&self->age, slice, in->now_ns, in->thrash->threshold_ppm, &answer);
	slice->split = answer.split;
	slice->want = (uint32_t)answer.want;
	slice->wish = answer.want ? WISH_REST : WISH_NONE;
	slice->way = UMEM_WAY_OUT;
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
			judge_age(self, slice, in, plan);
		else
			judge_probe(self, slice, in, plan);
		plan->n_cold += slice->state == UMEM_SLICE_COLD;
		plan->n_probing += slice->state == UMEM_SLICE_PROBING;
		plan->n_held += slice->state == UMEM_SLICE_WARM;
		plan->n_split += slice->split;
		if (is_rest(slice->wish) || slice->wish == WISH_GROWN ||
			slice->wish == WISH_TRY_ALL)
			plan->cold_pages += slice->want;
	}
}

/* Returns to expect of 1000 pages of a kind, in thousandths of a page. */
static uint64_t cost_of(const struct umem_planner *self, enum wish wish,
	const struct umem_thrash_answer *thrash)
{
	uint64_t cost = umem_probe_cost(&self->odds, step_of[wish], 1000);

	/* what is cold enough makes room for its own returns */
	if (is_rest(wish))
		cost -= umem_min_u64(cost, thrash->free_ppm_min);
	return cost;
}

/* As much of a wish as the purse has; @want is at most a slice. */
static uint64_t grant(struct purse *purse, enum wish wish, uint64_t want, uint64_t cost_1000)
{
	bool rest = is_rest(wish);
	uint64_t mpages = rest ? purse->mpages : umem_min_u64(purse->mpages, purse->probe_mpages);
	uint64_t n = umem_min_u64(want, purse->pages), cost;

	if (rest)
		n = umem_min_u64(n, purse->rest_pages);
	purse->no_pages = purse->no_pages || n < want;
	if (mpages < cost_1000 && mpages * 1000 < n * cost_1000) {
		n = mpages * 1000 / cost_1000;
		purse->no_mpages = true;
	}
	cost = umem_min_u64((n * cost_1000 + 999) / 1000, mpages);
	purse->mpages -= cost;
	purse->pages -= n;
	if (rest)
		purse->rest_pages -= n;
	else
		purse->probe_mpages -= cost;
	return n;
}

/* All wishes of a kind, beginning with the slice that was refused the last time. */
static void grant_all(struct umem_planner *self, struct umem_slices *slices, enum wish wish,
	const struct umem_thrash_answer *thrash, struct purse *purse, struct umem_plan *plan)
{
	uint64_t cost_1000 = cost_of(self, wish, thrash);
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
		if (!is_rest(wish))
			plan->sample_pages += got;
	}
}

/*
 * What goes on trial costs no refault. A slice as a whole or not at all: a part of it
 * would be judged as if it were all.
 */
static void grant_trials(struct umem_planner *self, struct umem_slices *slices, enum wish wish,
	struct purse *purse, struct umem_plan *plan)
{
	size_t first = umem_slices_find(slices, self->turn[wish]);
	bool refused = false;

	for (size_t k = 0; k < slices->n; k++) {
		struct umem_slice *slice = &slices->v[(first + k) % slices->n];

		if (slice->wish != wish)
			continue;
		if (slice->want > purse->try_pages) {
			slice->want = 0;
			purse->no_pages = true;
			if (!refused)
				self->turn[wish] = slice->start;
			refused = true;
		}
		purse->try_pages -= slice->want;
		plan->want_pages += slice->want;
		plan->sample_pages += slice->want;
		plan->try_pages += slice->want;
	}
}

static const char *reason_of(const struct umem_plan *plan, const struct umem_plan_in *in,
	const struct purse *purse)
{
	if (in->thrash->state == UMEM_THRASH_BACK_OFF ||
		(in->thrash->state == UMEM_THRASH_HOLD && !plan->want_pages))
		return in->thrash->reason;
	if (!in->allowed_pages)
		return "stopped: nothing may go out now";
	if (plan->want_pages > plan->sample_pages)
		return purse->no_mpages ? "evicting what is cold, as fast as refaults allow" :
		       purse->no_pages ? "evicting what is cold, as fast as is allowed" :
					 "evicting what is cold";
	if (plan->try_pages)
		return "trying what may be cold";
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
	static const enum wish order[3][6] = {
		{ WISH_REST, WISH_SAMPLED, WISH_GROWN, WISH_FIRST, WISH_PART, WISH_AGAIN },
		{ WISH_REST, WISH_SAMPLED, WISH_GROWN, WISH_PART, WISH_AGAIN, WISH_FIRST },
		{ WISH_REST, WISH_SAMPLED, WISH_GROWN, WISH_AGAIN, WISH_FIRST, WISH_PART },
	};
	size_t turn = self->round++ % UMEM_ARRAY_LEN(order);
	struct umem_plan plan = { 0 };
	struct purse purse = {
		.pages = in->allowed_pages,
		.rest_pages = in->thrash->grow_pages,
		.try_pages = in->allowed_pages ? in->try_pages : 0,
		.mpages = in->thrash->budget_mpages,
		.probe_mpages = in->thrash->probe_mpages,
	};

	if (self->policy == UMEM_POLICY_PRESSURE)
		purse.pages = umem_min_u64(purse.pages, in->take_pages);
	if (in->thrash->state == UMEM_THRASH_BACK_OFF)
		purse.pages = purse.try_pages = 0;
	if (in->thrash->changed)
		umem_slices_wake(slices, in->now_ns, WAKE_NS);
	judge_all(self, slices, in, &plan);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(order[0]); i++)
		grant_all(self, slices, order[turn][i], in->thrash, &purse, &plan);
	for (enum wish w = WISH_TRY_FIRST; w <= WISH_TRY_MIXED; w++)
		grant_trials(self, slices, w, &purse, &plan);
	plan.expected_mpages = in->thrash->budget_mpages - purse.mpages;
	plan.probe_mpages = in->thrash->probe_mpages - purse.probe_mpages;
	plan.reason = reason_of(&plan, in, &purse);
	*ret_plan = plan;
}
