// SPDX-License-Identifier: LGPL-2.1-or-later
/* Slices: what an interval showed, what went out, and how long to leave one alone. */
#include "lib/policy/slice.h"

#include "lib/base/attr.h"

/* Without a return for so many times its last hold, a slice is as good as never held. */
#define FORGET_HOLDS 4

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t mul_capped(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* Time passes; a sign of use starts it again. */
static void age(struct umem_slice *slice, uint64_t dt_ns)
{
	bool use = slice->returned || slice->used || slice->grown || slice->touched;

	/* silence of what nobody listens to says nothing */
	if (use)
		slice->quiet_ns = 0;
	else if (slice->at_risk || slice->trial || slice->source != UMEM_USE_UNKNOWN)
		slice->quiet_ns = add_capped(slice->quiet_ns, dt_ns);
	slice->sampled_ns = add_capped(slice->sampled_ns, dt_ns);
	slice->watched_ns = add_capped(slice->watched_ns, dt_ns);
	slice->recent_ns = add_capped(slice->recent_ns, dt_ns);
	if (slice->returned)
		slice->evidence_ns = 0;
	else
		slice->evidence_ns = add_capped(slice->evidence_ns,
			mul_capped(slice->at_risk, dt_ns));
	/* only pages that are out can tell that the slice has cooled down */
	if (slice->at_risk && slice->quiet_ns >= mul_capped(FORGET_HOLDS, slice->hold_ns))
		slice->hold_ns = 0;
}

void umem_slice_note(struct umem_slice *slice, const struct umem_slice_seen *seen,
	uint64_t dt_ns)
{
	uint64_t n = slice->n_pages, resident = umem_min_u64(seen->resident, n);
	uint64_t at_risk = umem_min_u64(seen->at_risk, n);
	uint64_t returned = umem_min_u64(seen->returned, at_risk);
	uint64_t touched = umem_min_u64(seen->touched, resident);
	uint64_t known = (uint64_t)slice->resident + returned + touched;

	if (!slice->seen && !slice->late)
		known = resident;
	slice->grown = resident > known ? (uint32_t)(resident - known) : 0;
	slice->resident = (uint32_t)resident;
	slice->trial = (uint32_t)umem_min_u64(seen->trial, n - resident);
	slice->touched = (uint32_t)touched;
	slice->out = (uint32_t)umem_min_u64(seen->out, n - resident - slice->trial);
	slice->at_risk = (uint32_t)at_risk;
	slice->returned = (uint32_t)returned;
	slice->source = (uint8_t)seen->source;
	slice->used = seen->source == UMEM_USE_UNKNOWN ? 0 : (uint32_t)umem_min_u64(seen->used, n);
	slice->back = (uint32_t)umem_min_u64(slice->back + returned + touched, slice->sample);
	slice->warm = (uint32_t)umem_min_u64(slice->warm + returned + slice->grown, resident);
	slice->recent = (uint32_t)umem_min_u64((uint64_t)slice->recent + touched, n);
	slice->want = 0;
	slice->split = false;
	slice->tries = seen->tries;
	slice->seen = true;
	age(slice, dt_ns);
}

void umem_slice_rest(struct umem_slice *slice, uint64_t now_ns, uint64_t first_ns,
	uint64_t max_ns)
{
	uint64_t twice = mul_capped(slice->hold_ns, 2);

	slice->hold_ns = umem_min_u64(twice ? twice : first_ns, max_ns);
	slice->hold_until_ns = add_capped(now_ns, slice->hold_ns);
}

void umem_slice_hold(struct umem_slice *slice, uint64_t now_ns, uint64_t first_ns,
	uint64_t max_ns)
{
	umem_slice_rest(slice, now_ns, first_ns, max_ns);
	slice->state = UMEM_SLICE_WARM;
	slice->sample = slice->put = slice->back = slice->warm = 0;
	slice->step = 0;
}

/* Move what was wanted. Return: pages that went where they were to go. */
static uint32_t move(struct umem_slice *slice, uint64_t got)
{
	bool from_trial = slice->way == UMEM_WAY_DROP || slice->way == UMEM_WAY_RELEASE;
	uint32_t most = from_trial ? (uint32_t)umem_min_u64(slice->want, slice->trial) :
				     slice->resident;
	uint32_t n = (uint32_t)umem_min_u64(got, most);

	switch ((enum umem_slice_way)slice->way) {
	case UMEM_WAY_OUT:
		slice->resident -= n;
		slice->out += n;
		break;
	case UMEM_WAY_TRY:
		slice->resident -= n;
		slice->trial += n;
		break;
	case UMEM_WAY_DROP:
		slice->trial -= most;
		slice->resident += most - n;
		slice->out += n;
		break;
	case UMEM_WAY_RELEASE:
		slice->trial -= most;
		slice->resident += most;
	}
	return n;
}

void umem_slice_put_out(struct umem_slice *slice, uint64_t got, uint64_t now_ns,
	uint64_t hold_ns)
{
	uint32_t n = move(slice, got);

	slice->want = 0;
	if (slice->way == UMEM_WAY_RELEASE)
		return;
	if (n == 0) {
		/* the kernel would not have it: asking again at once would be refused again */
		umem_slice_hold(slice, now_ns, hold_ns, UINT64_MAX);
		return;
	}
	slice->sampled_ns = slice->recent_ns = 0;
	slice->recent = 0;
	if (slice->state == UMEM_SLICE_COLD && slice->way == UMEM_WAY_TRY) {
		slice->state = UMEM_SLICE_PROBING;
		slice->watched_ns = 0;
		slice->sample = slice->put = n;
		slice->back = 0;
		slice->step = UMEM_TRIAL_WHOLE;
		return;
	}
	if (slice->state == UMEM_SLICE_NEW) {
		slice->state = UMEM_SLICE_PROBING;
		slice->watched_ns = 0;
		slice->sample = slice->put = n;
		slice->back = 0;
		slice->step = 0;
	} else if (slice->state == UMEM_SLICE_PROBING) {
		slice->sample += n;
		slice->put = n;
		slice->step += slice->step < UINT8_MAX;
		if (slice->way == UMEM_WAY_TRY && slice->all)
			slice->step = UMEM_TRIAL_WHOLE;
	} else if (slice->state == UMEM_SLICE_COLD) {
		slice->put += n;
	}
}
