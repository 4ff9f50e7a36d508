/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two halves of `umemctl doctor`: the kernel, and one process.
 */
#ifndef CTL_DOCTOR_H
#define CTL_DOCTOR_H

#include "daemon/ctl/ctl.h"
#include "lib/base/reasons.h"
#include "lib/kern/feat.h"
#include "lib/op/obstacles.h"
#include "lib/op/survey.h"

/**
 * struct doctor_target - what was found about a process.
 * @survey: owned by the caller.
 * @obstacles: what stands in the way of attaching.
 * @trackable_bytes: of its mappings.
 * @why: why rounds of it will not be complete.
 */
struct doctor_target {
	struct umem_survey *survey;
	struct umem_obstacles obstacles;
	uint64_t trackable_bytes;
	struct umem_reasons why;
};

/** doctor_target_deinit - free what it owns. */
void doctor_target_deinit(struct doctor_target *target);

/**
 * doctor_target_examine - fill an empty @target from @survey, which must outlive it.
 * Return: 0, UMEM_GONE, -ENOMEM.
 */
int doctor_target_examine(struct umem_survey *survey, const struct umem_feats *feats,
	struct doctor_target *target);

/** doctor_target_json, doctor_target_table - print it. Return: 0 or -errno. */
int doctor_target_json(const struct doctor_target *target);
int doctor_target_table(const struct doctor_target *target);

/** doctor_target_blocked - what keeps us from attaching, or NULL. */
const struct umem_obstacle *doctor_target_blocked(const struct doctor_target *target);

#endif
