// SPDX-License-Identifier: LGPL-2.1-or-later
/* All targets of reclaim together, as one. */
#include "lib/op/reclaim_sum.h"

#include "lib/base/attr.h"

/* What is wanted and this close to what is allowed is limited by it. */
#define NEAR_BYTES (1u << 20)

static void add_seen(struct umem_reclaim_seen *sum, const struct umem_reclaim_seen *seen)
{
	sum->resident_bytes += seen->resident_bytes;
	sum->swapped_bytes += seen->swapped_bytes;
	sum->out_bytes += seen->out_bytes;
	sum->trial_bytes += seen->trial_bytes;
	sum->reclaimed_bytes += seen->reclaimed_bytes;
	sum->refaulted_bytes += seen->refaulted_bytes;
	sum->refused_bytes += seen->refused_bytes;
	sum->pressure_known |= seen->pressure_known;
	sum->pressure_own |= seen->pressure_own;
	sum->pressure_ppm = umem_max_u64(sum->pressure_ppm, seen->pressure_ppm);
}

void umem_reclaim_sum_seen(struct umem_reclaim_target *const *targets, size_t n,
	struct umem_reclaim_seen *ret_sum)
{
	*ret_sum = (struct umem_reclaim_seen){ 0 };
	for (size_t i = 0; i < n; i++)
		add_seen(ret_sum, &targets[i]->seen);
}

static uint64_t work_of(const struct umem_reclaim_seen *seen)
{
	return seen->want_bytes + seen->try_bytes;
}

void umem_reclaim_sum_decided(struct umem_reclaim_target *const *targets, size_t n,
	const struct umem_limits_answer *allowed, struct umem_reclaim_seen *sum)
{
	const struct umem_reclaim_seen *most = NULL;
	double rate = 0, weights = 0, out_rate = 0;

	for (size_t i = 0; i < n; i++) {
		const struct umem_reclaim_seen *seen = &targets[i]->seen;

		sum->want_bytes += seen->want_bytes;
		sum->sample_bytes += seen->sample_bytes;
		sum->try_bytes += seen->try_bytes;
		sum->cold_bytes += seen->cold_bytes;
		/* Each by its size: its rate may be that of what is out or of what is resident. */
		rate += (double)seen->refault_ppm_min *
			(double)(seen->out_bytes + seen->resident_bytes);
		weights += (double)(seen->out_bytes + seen->resident_bytes);
		out_rate += (double)seen->refault_out_ppm_min * (double)seen->out_bytes;
		sum->bound_ppm = (uint32_t)umem_max_u64(sum->bound_ppm, seen->bound_ppm);
		if (!most || work_of(seen) > work_of(most) ||
			(work_of(seen) == work_of(most) &&
				seen->resident_bytes > most->resident_bytes))
			most = seen;
	}
	sum->refault_ppm_min = weights > 0 ? (uint64_t)(rate / weights) : 0;
	sum->refault_out_ppm_min = sum->out_bytes ?
		(uint64_t)(out_rate / (double)sum->out_bytes) : 0;
	sum->decision = most ? most->decision : UMEM_RECLAIM_HOLD;
	sum->reason = most ? most->reason : "no process is there";
	sum->confidence_ppm = most ? most->confidence_ppm : 0;
	if (allowed->reason && sum->decision == UMEM_RECLAIM_GROW &&
		sum->want_bytes + NEAR_BYTES >= allowed->allowed_bytes)
		sum->reason = allowed->reason;
}
