// SPDX-License-Identifier: LGPL-2.1-or-later
/* Trial: find out page by page what is in use, at the cost of no refault. */
#include "lib/policy/trial.h"

#include "lib/base/attr.h"

/* A first sample of which some was used is watched so many times as long for the rest. */
#define FIRST_TIMES 3

/* A slice of which less than one in so many of the sample was used is tried before others. */
#define QUIET_PART 8

/* So many times its usual length a trial lasts at most. */
#define TRIAL_TIMES 4

/* What was used on trial is most likely used for longer: tried again so many holds later. */
#define REST_TIMES 4

/* One in so many of what is left, used in the last part of a trial: not worth waiting. */
#define RECENT_MANY 4

/* Where less than one in so many is left, those are most likely in use, only seldom. */
#define LEFT_LITTLE 8

/* And after the longest trial, so many times as many as otherwise may have been used. */
#define RECENT_TIMES 4

/** struct judge - what is asked for judging one slice. */
struct judge {
	const struct umem_probe_conf *conf;
	const struct umem_trial_conf *trial;
	uint64_t now_ns;
	uint64_t scale_ppm;
	struct umem_probe_odds *odds;
};

static uint64_t scaled(uint64_t ns, uint64_t scale_ppm)
{
	unsigned __int128 product = (unsigned __int128)ns * scale_ppm / 1000000;

	return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

uint64_t umem_trial_room(const struct umem_trial_conf *conf, uint64_t trial, uint64_t all)
{
	uint64_t most = umem_max_u64(all / umem_max_u64(conf->part, 1), conf->least_pages);

	return most > trial ? most - trial : 0;
}

static void try_pages(struct umem_probe_answer *answer, uint64_t want, enum umem_probe_step step,
	const char *reason)
{
	answer->action = UMEM_PROBE_TRY;
	answer->step = step;
	answer->want = want;
	answer->reason = reason;
}

/* All that was not tried yet. */
static void try_all(struct umem_probe_answer *answer, struct umem_slice *slice, uint64_t want)
{
	bool quiet = slice->back * QUIET_PART <= slice->sample;

	slice->all = true;
	try_pages(answer, want, quiet ? UMEM_PROBE_REST : UMEM_PROBE_PART, "trying all of it");
}

/* What is still on trial is not of interest any more. */
static void release(struct umem_slice *slice, struct umem_probe_answer *answer)
{
	if (!slice->trial)
		return;
	answer->action = UMEM_PROBE_RELEASE;
	answer->want = slice->trial;
}

static void in_use(const struct judge *judge, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	umem_slice_hold(slice, judge->now_ns, judge->conf->hold_ns, judge->conf->hold_max_ns);
	answer->reason = "in use";
	release(slice, answer);
}

/* What is on trial and was not used goes. */
static void drop(struct umem_slice *slice, struct umem_probe_answer *answer)
{
	answer->watched_ns = slice->watched_ns;
	answer->reason = "not used while on trial";
	if (!slice->trial)
		return;
	answer->action = UMEM_PROBE_DROP;
	answer->step = UMEM_PROBE_REST;
	answer->want = slice->trial;
}

/* What is resident goes without a trial of its own. */
static void evict(const struct umem_slice *slice, uint64_t want, const char *reason,
	struct umem_probe_answer *answer)
{
	answer->action = UMEM_PROBE_EVICT;
	answer->step = slice->step < UMEM_TRIAL_WHOLE ? UMEM_PROBE_SAMPLED : UMEM_PROBE_REST;
	answer->want = want;
	answer->watched_ns = slice->watched_ns;
	answer->reason = reason;
}

/* What was used while on trial stays; longer each time that anything was. */
static void tried(const struct judge *judge, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	slice->state = UMEM_SLICE_COLD;
	slice->put = 0;
	slice->warm = slice->resident;
	umem_slice_rest(slice, judge->now_ns, REST_TIMES * judge->conf->hold_ns,
		judge->conf->hold_max_ns);
	drop(slice, answer);
}

/* Did little come back of what went by a sample alone? */
static bool samples_are_right(const struct judge *judge)
{
	return !judge->odds || umem_probe_cost(judge->odds, UMEM_PROBE_SAMPLED, 1000) <=
		judge->trial->sampled_max_ppm;
}

/* What is left of a slice that is out otherwise is in use. */
static void stays(const struct judge *judge, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	tried(judge, slice, answer);
	slice->warm += slice->trial;
	answer->action = UMEM_PROBE_WAIT;
	answer->want = 0;
	answer->reason = "what is left of it is in use";
	release(slice, answer);
}

static void judge_cold(const struct judge *judge, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	uint64_t few = (uint64_t)slice->n_pages * judge->conf->bound_max_ppm / 1000000;
	bool sampled = slice->step < UMEM_TRIAL_WHOLE;

	umem_probe_learn_rest(judge->odds, slice,
		sampled ? UMEM_PROBE_SAMPLED : UMEM_PROBE_REST, judge->conf->watch_ns);
	answer->reason = "cold";
	if (slice->returned > few) {
		in_use(judge, slice, answer);
		return;
	}
	if (slice->returned)
		umem_slice_rest(slice, judge->now_ns, judge->conf->hold_ns,
			judge->conf->hold_max_ns);
	if (slice->trial)
		drop(slice, answer);
	else if (slice->resident > slice->warm && (!sampled || samples_are_right(judge)))
		evict(slice, slice->resident - slice->warm, "cold", answer);
	else if (slice->resident > slice->warm)
		try_all(answer, slice, slice->resident - slice->warm);
	else if (judge->now_ns >= slice->hold_until_ns && slice->resident)
		try_pages(answer, slice->resident, UMEM_PROBE_REST,
			"cold: trying what was in use before");
}

/* A sample that says enough: few of the slice are in use, and so the rest need not be tried. */
static bool sample_is_quiet(const struct judge *judge, const struct umem_slice *slice,
	uint32_t bound_ppm)
{
	return slice->step < UMEM_TRIAL_WHOLE && slice->back == 0 &&
		bound_ppm <= judge->conf->bound_max_ppm &&
		slice->sampled_ns >= scaled(judge->trial->step_ns, judge->scale_ppm);
}

/*
 * In use as a whole, but for little that is not worth a trial of all? Of a slice that is
 * out in part, what is left may well be in use.
 */
static bool hot(const struct umem_trial_conf *trial, const struct umem_slice *slice)
{
	uint32_t most = slice->sample / 8 * 7;

	if (slice->step == 0)
		most = slice->sampled_ns < FIRST_TIMES * trial->first_ns ? slice->sample - 1 :
									   slice->sample / 2;
	return slice->out == 0 && slice->back > most;
}

/* All that is to be tried is: long enough, and with what result? */
static void judge_whole(const struct judge *judge, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	uint64_t whole_ns = scaled(judge->trial->whole_ns, judge->scale_ppm);
	bool over = slice->sampled_ns / TRIAL_TIMES >= whole_ns, few;
	bool little = slice->trial < slice->sample / LEFT_LITTLE;

	if (slice->recent_ns < whole_ns / 2)
		return;
	few = (uint64_t)slice->recent * judge->trial->late_part <=
		(uint64_t)slice->trial * (over ? RECENT_TIMES : 1);
	if (slice->sampled_ns < whole_ns) {
		answer->reason = "on trial";
	} else if (few && !little) {
		tried(judge, slice, answer);
	} else if (slice->recent >= slice->trial / RECENT_MANY || over || little) {
		if (slice->out)
			stays(judge, slice, answer);
		else
			in_use(judge, slice, answer);
	}
	slice->recent = 0;
	slice->recent_ns = 0;
}

static void judge_probing(const struct judge *judge, struct umem_slice *slice,
	struct umem_probe_answer *answer)
{
	const struct umem_trial_conf *trial = judge->trial;
	uint64_t enough = umem_probe_enough(judge->conf->bound_max_ppm,
		judge->conf->confidence_ppm);
	/* what was used is not tried again */
	uint64_t rest = slice->resident - umem_min_u64(slice->back, slice->resident);
	bool quiet;

	answer->bound_ppm = umem_probe_bound(slice->back, slice->sample,
		judge->conf->confidence_ppm);
	quiet = rest && sample_is_quiet(judge, slice, answer->bound_ppm);
	answer->watched_ns = slice->watched_ns;
	answer->reason = "on trial";
	if (hot(trial, slice) || slice->used > slice->n_pages / 2) {
		in_use(judge, slice, answer);
	} else if (slice->step == 0 && slice->sampled_ns <
		(slice->back ? FIRST_TIMES : 1) * trial->first_ns) {
		/* the less is in use as a whole, the sooner that shows */
		return;
	} else if (quiet && samples_are_right(judge)) {
		slice->state = UMEM_SLICE_COLD;
		slice->put = slice->warm = 0;
		slice->hold_until_ns = judge->now_ns + judge->conf->hold_ns;
		evict(slice, rest, "cold: nothing of the sample was used", answer);
	} else if (slice->step == 0 && rest) {
		/* a large sample where nothing was used says enough; else all has to be tried */
		if (slice->back || enough <= slice->sample || enough - slice->sample >= rest ||
			!samples_are_right(judge))
			try_all(answer, slice, rest);
		else
			try_pages(answer, enough - slice->sample, UMEM_PROBE_GROWN,
				"trying more of it");
	} else if (slice->step < UMEM_TRIAL_WHOLE && rest && (slice->back || quiet)) {
		try_all(answer, slice, rest);
	} else {
		judge_whole(judge, slice, answer);
	}
}

void umem_trial_judge(const struct umem_probe_conf *conf, const struct umem_trial_conf *trial,
	struct umem_slice *slice, uint64_t now_ns, uint64_t scale_ppm,
	struct umem_probe_odds *odds, struct umem_probe_answer *ret_answer)
{
	const struct judge judge = { conf, trial, now_ns, scale_ppm, odds };
	struct umem_probe_answer answer = {
		.action = UMEM_PROBE_WAIT,
		.bound_ppm = 1000000,
		.confidence_ppm = conf->confidence_ppm,
	};

	slice->all = false;
	if (slice->state == UMEM_SLICE_COLD) {
		judge_cold(&judge, slice, &answer);
	} else if (slice->state == UMEM_SLICE_PROBING && slice->sample) {
		judge_probing(&judge, slice, &answer);
	} else if (slice->state == UMEM_SLICE_WARM && now_ns < slice->hold_until_ns) {
		answer.reason = "held: was in use";
		release(slice, &answer);
	} else if (slice->grown || slice->used > slice->n_pages / 2) {
		in_use(&judge, slice, &answer);
	} else {
		slice->state = UMEM_SLICE_NEW;
		answer.reason = "nothing resident";
		if (slice->trial)
			release(slice, &answer);
		else if (slice->resident)
			try_pages(&answer, umem_min_u64(trial->first_pages, slice->resident),
				UMEM_PROBE_FIRST, "trying some of it");
	}
	*ret_answer = answer;
}
