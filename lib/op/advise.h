/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Advice to the kernel about memory of another process (process_madvise(2)), in
 * calls that do not hold the process up.
 */
#ifndef UMEM_OP_ADVISE_H
#define UMEM_OP_ADVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/ranges.h"
#include "lib/kern/maps.h"
#include "lib/mem/target.h"

/** UMEM_ADVISE_MAX_BYTES - the most that is advised in one call. */
#define UMEM_ADVISE_MAX_BYTES (2ull << 20)

/**
 * struct umem_advisor - one advice, given in many calls.
 * @target: the caller's.
 * @advice: MADV_PAGEOUT or MADV_WILLNEED.
 * @hasty: the caller goes on with the same pages at once: no pause behind a call.
 * @batch_bytes: what one call should have at most; grows and shrinks by the time
 *	that calls take.
 * @deaf: mappings that do not take the advice (locked, of a driver).
 * @maps: scratch.
 */
struct umem_advisor {
	const struct umem_target *target;
	int advice;
	bool hasty;
	uint64_t batch_bytes;
	struct umem_ranges deaf;
	struct umem_maps maps;
};

/** umem_advisor_init - begin to advise. */
void umem_advisor_init(struct umem_advisor *advisor, const struct umem_target *target,
	int advice);

/** umem_advisor_deinit - free what it owns. */
void umem_advisor_deinit(struct umem_advisor *advisor);

/**
 * umem_advise - advise about runs of pages.
 * @runs: @n_runs of them, ascending, together not more than @batch_bytes.
 *
 * What is not mapped any more is passed over, what does not take the advice is
 * added to @deaf; neither keeps the rest from being advised. That the kernel took
 * the advice does not mean that it followed it.
 *
 * Return: 0, UMEM_GONE, -EPERM (needs CAP_SYS_NICE and what ptrace needs), -ENOSYS
 * before Linux 5.10, -ENOMEM.
 */
int umem_advise(struct umem_advisor *advisor, const struct umem_range *runs, size_t n_runs);

#endif
