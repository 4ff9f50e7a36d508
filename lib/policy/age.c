// SPDX-License-Identifier: LGPL-2.1-or-later
/* Age: a slice that nothing used for a while is cold. */
#include "lib/policy/age.h"

#include "lib/base/attr.h"

/* When is it old enough? Saturates. */
static uint64_t scaled(uint64_t ns, uint64_t scale_ppm)
{
	unsigned __int128 product = (unsigned __int128)ns * scale_ppm / 1000000;

	return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

/* Seen in use in this interval. */
static void judge_used(struct umem_slice *slice, uint64_t now_ns, struct umem_age_answer *answer)
{
	slice->state = UMEM_SLICE_NEW;
	answer->reason = "in use";
	if (slice->used > slice->n_pages / UMEM_SLICE_FANOUT ||
		slice->n_pages <= UMEM_SLICE_PAGES_MIN || now_ns < slice->whole_until_ns)
		return;
	answer->split = true;
	answer->reason = "mixed: few pages are in use";
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
	} else if (slice->quiet_ns >= scaled(conf->threshold_ns, scale_ppm)) {
		slice->state = UMEM_SLICE_COLD;
		answer.want = slice->resident;
		answer.reason = slice->resident ? "old enough" : "nothing resident";
	} else {
		slice->state = UMEM_SLICE_NEW;
	}
	*ret_answer = answer;
}
