/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All targets of reclaim together, as one.
 */
#ifndef UMEM_OP_RECLAIM_SUM_H
#define UMEM_OP_RECLAIM_SUM_H

#include "lib/op/reclaim_target.h"

/** umem_reclaim_sum_seen - what was seen of @n targets, before anything is decided. */
void umem_reclaim_sum_seen(struct umem_reclaim_target *const *targets, size_t n,
	struct umem_reclaim_seen *ret_sum);

/**
 * umem_reclaim_sum_decided - and what was decided: that of the target with the most to do.
 * @allowed: by the limits; named as the reason where it binds.
 * @sum: of umem_reclaim_sum_seen(); added to.
 */
void umem_reclaim_sum_decided(struct umem_reclaim_target *const *targets, size_t n,
	const struct umem_limits_answer *allowed, struct umem_reclaim_seen *sum);

#endif
