// SPDX-License-Identifier: LGPL-2.1-or-later
/* Age: a slice that nothing used for a while is cold. */
#include "lib/policy/age.h"

#include "lib/base/attr.h"

/* Not seen in use for so long, a slice is not alike any more to those that are. */
#define USED_NS 30000000000u

/* When is it old enough? Saturates. */
static uint64_t scaled(uint64_t ns, uint64_t scale_ppm)
{
	unsigned __int128 product = (unsigned __int128)ns * scale_ppm / 1000000;

	return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

bool umem_age_old_enough(const struct umem_age_conf *conf, const struct umem_slice *slice,
	uint64_t scale_ppm)
{
	return slice->source != UMEM_USE_UNKNOWN &&
		slice->quiet_ns >= scaled(conf->threshold_ns, scale_ppm);
}

/* Seen in use in this interval. */
static void judge_used(struct umem_slice *slice, uint64_t now_ns, struct umem_age_answer *answer)
{
	slice->state = UMEM_SLICE_NEW;
	slice->hold_until_ns = now_ns;
	answer->reason = "in use";
	/* that costs no refault; parts that are all in use are merged again */
	if (slice->used > slice->n_pages / 2 ||
		slice->n_pages <= UMEM_SLICE_PAGES_MIN || now_ns < slice->whole_until_ns)
		return;
	answer->split = true;
	answer->reason = "mixed: some pages are in use";
}

void umem_age_judge(const struct umem_age_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, uint64_t scale_ppm, struct umem_age_answer *ret_answer)
{
	struct umem_age_answer answer = { .reason = "not old enough" };

	if (slice->returned) {
		umem_slice_hold(slice, now_ns, conf->hold_ns, conf->hold_max_ns);
		answer.reason = "held: pages came back";
	} else if (slice->source == UMEM_USE_UNKNOWN) {
		answer.reason = "nothing tells when it was used";
	} else if (slice->state == UMEM_SLICE_WARM && now_ns < slice->hold_until_ns) {
		answer.reason = "held: pages came back";
	} else if (slice->used) {
		judge_used(slice, now_ns, &answer);
	} else if (umem_age_old_enough(conf, slice, scale_ppm)) {
		slice->state = UMEM_SLICE_COLD;
		answer.want = slice->resident;
		answer.reason = slice->resident ? "old enough" : "nothing resident";
	} else {
		slice->state = UMEM_SLICE_NEW;
		if (slice->quiet_ns >= USED_NS)
			slice->hold_until_ns = 0;
	}
	*ret_answer = answer;
}
