// SPDX-License-Identifier: LGPL-2.1-or-later
/* Probe: judging a sample, and what it is expected to cost. */
#include "lib/policy/probe.h"

#include "lib/base/attr.h"

/* A sample of which some came back is watched so many times @step_ns for the others. */
#define MIXED_STEPS 3

/* Odds forget: from so many pages on, what was learned earlier counts half. */
#define ODDS_PAGES 65536.0

/* A smaller sample of which some came back does not tell a mixed slice from a warm one. */
#define MIXED_PAGES 4

/*
 * What is assumed before anything is known, worth so many pages: half of the
 * slices in use at first, what was in use before still is, later samples and
 * what is judged cold come back rarely.
 */
static const struct {
	double pages;
	double back;
} assumed[UMEM_PROBE_STEPS] = {
	[UMEM_PROBE_FIRST] = { 32, 8 },
	[UMEM_PROBE_PART] = { 32, 16 },
	[UMEM_PROBE_AGAIN] = { 32, 24 },
	[UMEM_PROBE_GROWN] = { 64, 3 },
	[UMEM_PROBE_REST] = { 4096, 2 },
	[UMEM_PROBE_SAMPLED] = { 4096, 2 },
};

void umem_probe_learn(struct umem_probe_odds *odds, enum umem_probe_step step, uint64_t put,
	uint64_t back)
{
	if (!odds)
		return;
	odds->put[step] += (double)put;
	odds->back[step] += (double)back;
	while (odds->put[step] > ODDS_PAGES) {
		odds->put[step] /= 2;
		odds->back[step] /= 2;
	}
}

void umem_probe_learn_rest(struct umem_probe_odds *odds, struct umem_slice *slice,
	enum umem_probe_step step, uint64_t within_ns)
{
	if (slice->sampled_ns <= within_ns)
		umem_probe_learn(odds, step, slice->put, slice->returned);
	slice->put = 0;
}

uint64_t umem_probe_cost(const struct umem_probe_odds *odds, enum umem_probe_step step,
	uint64_t pages)
{
	double put = odds->put[step] + assumed[step].pages;
	double back = odds->back[step] + assumed[step].back;
	double cost = (double)pages * back / put * 1000;

	/* more cannot come back than went out */
	if (cost >= (double)pages * 1000)
		cost = (double)pages * 1000;
	return cost >= 0x1p63 ? UINT64_MAX / 2 : (uint64_t)cost;
}

static bool can_split(const struct umem_slice *slice, uint64_t now_ns)
{
	return slice->n_pages > UMEM_SLICE_PAGES_MIN && now_ns >= slice->whole_until_ns;
}

/* In use, wholly or (@mixed) in part; then it is split as well, and held in case it cannot be. */
static void in_use(const struct umem_probe_conf *conf, struct umem_slice *slice, uint64_t now_ns,
	bool mixed, struct umem_probe_answer *answer)
{
	bool split = mixed && can_split(slice, now_ns);

	umem_slice_hold(slice, now_ns, conf->hold_ns, conf->hold_max_ns);
	answer->action = split ? UMEM_PROBE_SPLIT : UMEM_PROBE_WAIT;
	answer->reason = split ? "mixed: some pages are in use, some are not" : "in use";
}

/* What a first sample of the slice is, or was. */
static enum umem_probe_step first_of(const struct umem_slice *slice)
{
	if (slice->hold_until_ns)
		return UMEM_PROBE_AGAIN;
	return slice->hold_ns ? UMEM_PROBE_PART : UMEM_PROBE_FIRST;
}

/* Nothing is known, or not any more. */
static void judge_new(const struct umem_probe_conf *conf, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	enum umem_probe_step step = first_of(slice);

	slice->state = UMEM_SLICE_NEW;
	if (!slice->resident) {
		answer->reason = "nothing resident";
		return;
	}
	answer->action = UMEM_PROBE_SAMPLE;
	answer->step = step;
	answer->want = umem_min_u64(step == UMEM_PROBE_FIRST ? conf->first_pages :
							       conf->again_pages,
		slice->resident);
	answer->reason = "taking a sample";
}

/* Each sample is learned from once. */
static void learn_sample(struct umem_slice *slice, struct umem_probe_odds *odds)
{
	if (slice->put)
		umem_probe_learn(odds, slice->step ? UMEM_PROBE_GROWN : first_of(slice), slice->put,
			umem_min_u64(slice->back, slice->put));
	slice->put = 0;
}

/* None back, or few enough of many: larger, or large enough. */
static void judge_quiet(const struct umem_probe_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, struct umem_probe_odds *odds, struct umem_probe_answer *answer)
{
	bool certain = answer->bound_ppm <= conf->bound_max_ppm || !slice->resident;
	uint64_t most;

	if (slice->sampled_ns < (slice->step ? conf->step_ns : conf->first_ns) ||
		(certain && slice->watched_ns < conf->watch_ns)) {
		answer->reason = "watching the sample";
		return;
	}
	learn_sample(slice, odds);
	if (certain) {
		slice->state = UMEM_SLICE_COLD;
		slice->warm = slice->back;
		slice->back = 0;
		slice->hold_until_ns = now_ns + conf->hold_ns;
		answer->action = slice->resident ? UMEM_PROBE_EVICT : UMEM_PROBE_WAIT;
		answer->step = UMEM_PROBE_REST;
		answer->want = slice->resident - umem_min_u64(slice->warm, slice->resident);
		answer->reason = "cold: too little of the sample came back";
		return;
	}
	/* no more than what says enough, when that is within reach; at least one */
	most = umem_min_u64((uint64_t)slice->sample * conf->grow,
		umem_probe_enough(conf->bound_max_ppm, conf->confidence_ppm));
	most = umem_max_u64(most, slice->sample + 1);
	answer->action = UMEM_PROBE_SAMPLE;
	answer->step = UMEM_PROBE_GROWN;
	answer->want = umem_min_u64(most - slice->sample, slice->resident);
	answer->reason = "nothing came back: the sample grows";
}

static void judge_probing(const struct umem_probe_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, struct umem_probe_odds *odds, struct umem_probe_answer *answer)
{
	answer->bound_ppm = umem_probe_bound(slice->back, slice->sample, conf->confidence_ppm);
	answer->watched_ns = slice->watched_ns;
	if (slice->used || slice->back >= slice->sample) {
		bool few = slice->used && slice->used <= slice->n_pages / 2;

		learn_sample(slice, odds);
		in_use(conf, slice, now_ns, few && slice->back < slice->sample, answer);
	} else if (slice->back == 0 || answer->bound_ppm <= conf->bound_max_ppm) {
		judge_quiet(conf, slice, now_ns, odds, answer);
	} else if (slice->sampled_ns < MIXED_STEPS * conf->step_ns) {
		/* all in use, only less often? waiting costs nothing, splitting does */
		answer->reason = "some came back: watching the others";
	} else {
		learn_sample(slice, odds);
		in_use(conf, slice, now_ns, slice->sample >= MIXED_PAGES &&
			slice->back <= slice->sample / 2, answer);
	}
}

/*
 * What was judged cold before. Single pages that come back stay for a while,
 * longer each time; more of them, or new ones, say that it is not cold any more.
 */
static void judge_cold(const struct umem_probe_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, struct umem_probe_odds *odds, struct umem_probe_answer *answer)
{
	uint64_t few = (uint64_t)slice->n_pages * conf->bound_max_ppm / 1000000;

	umem_probe_learn_rest(odds, slice, UMEM_PROBE_REST, conf->watch_ns);
	if (slice->warm > few || slice->used > few) {
		in_use(conf, slice, now_ns, slice->warm <= slice->n_pages / 2, answer);
		return;
	}
	if (slice->returned || slice->used || slice->grown)
		umem_slice_rest(slice, now_ns, conf->hold_ns, conf->hold_max_ns);
	else if (now_ns >= slice->hold_until_ns)
		slice->warm = 0;
	answer->bound_ppm = conf->bound_max_ppm;
	answer->watched_ns = slice->watched_ns;
	answer->reason = "cold";
	if (slice->resident > slice->warm) {
		answer->action = UMEM_PROBE_EVICT;
		answer->step = UMEM_PROBE_REST;
		answer->want = slice->resident - slice->warm;
	}
}

void umem_probe_judge(const struct umem_probe_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, struct umem_probe_odds *odds, struct umem_probe_answer *ret_answer)
{
	struct umem_probe_answer answer = {
		.action = UMEM_PROBE_WAIT,
		.bound_ppm = 1000000,
		.confidence_ppm = conf->confidence_ppm,
	};

	if (slice->state == UMEM_SLICE_COLD) {
		judge_cold(conf, slice, now_ns, odds, &answer);
	} else if (slice->state == UMEM_SLICE_PROBING && slice->sample) {
		judge_probing(conf, slice, now_ns, odds, &answer);
	} else if (slice->state == UMEM_SLICE_WARM && now_ns < slice->hold_until_ns) {
		answer.reason = "held: was in use";
	} else if (slice->grown) {
		/* just filled: it would come back at once */
		in_use(conf, slice, now_ns, false, &answer);
	} else if (slice->used) {
		/* seen without a sample, at no cost */
		in_use(conf, slice, now_ns, slice->used <= slice->n_pages / 2, &answer);
	} else {
		judge_new(conf, slice, &answer);
	}
	*ret_answer = answer;
}
