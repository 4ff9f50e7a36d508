/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Proactive reclaim: put out what is cold, keep what came back, stay within
 * limits, say why.
 *
 * The caller owns time: umem_reclaim_look() at the end of each interval says
 * what happened in it and decides about the next; umem_reclaim_work() puts out
 * what was decided, a piece at a time, spread over the interval. Nothing is
 * ever brought in to look at it. One owner, no locks.
 */
#ifndef UMEM_OP_RECLAIM_H
#define UMEM_OP_RECLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/policy/limits.h"
#include "lib/policy/plan.h"

struct umem_reclaim;
struct umem_target;

/**
 * struct umem_reclaim_options - what to reclaim from, and how.
 * @pids, @n_pids: these processes, or
 * @cgroup: those of a cgroup and the ones below it, or
 * @name: those whose name matches a shell pattern. One of the three.
 * @policy: what tells that memory is cold.
 * @interval_ns: the length that the caller means to keep.
 * @refault_max_ppm_min: refault objective, of what is out, a minute; UINT64_MAX: none.
 * @pressure_max_ppm: highest share of time that tasks may stand still for memory.
 * @machine_pressure: hold to that also by the machine's figure, where the target's
 *	own cgroup has none; the policy pressure always does.
 * @limits: the rest of the limits; its @pressure_max_ppm is overwritten.
 * @age_ns: policy age: not used for this long is cold.
 * @dry_run: decide, but do nothing to a target.
 * @seed: of the choice of samples.
 * @features: as umem_attach_options.feature_override.
 * @clock: of intervals and ages; NULL: CLOCK_MONOTONIC.
 * @target: the one process of @pids, open already, and not watched; NULL: they are opened
 *	here. It is the only one then, and must outlive this.
 */
struct umem_reclaim_options {
	const int *pids;
	size_t n_pids;
	const char *cgroup;
	const char *name;
	enum umem_policy policy;
	uint64_t interval_ns;
	uint64_t refault_max_ppm_min;
	uint64_t pressure_max_ppm;
	bool machine_pressure;
	struct umem_limits_conf limits;
	uint64_t age_ns;
	bool dry_run;
	uint64_t seed;
	const char *features;
	const struct umem_clock *clock;
	struct umem_target *target;
};

/** enum umem_reclaim_decision - about the next interval. */
enum umem_reclaim_decision {
	UMEM_RECLAIM_GROW,     /* more goes out */
	UMEM_RECLAIM_HOLD,     /* nothing (more) for now */
	UMEM_RECLAIM_BACK_OFF, /* too much came back, or the machine is short itself */
	UMEM_RECLAIM_STOP,     /* a limit is reached: swap, floor, compression */
	UMEM_N_RECLAIM_DECISIONS,
};

/**
 * struct umem_reclaim_seen - one target, or the sum of all, after an interval.
 * @pid, @comm: of a target; 0 and "" of the sum.
 * @resident_bytes, @swapped_bytes: now, of memory that can be reclaimed.
 * @out_bytes: what we put out and is out still.
 * @trial_bytes: of @resident_bytes, on trial: not used since it was put there.
 * @reclaimed_bytes: what we put out in the interval.
 * @refaulted_bytes: of what was out at its begin, what came back in it.
 * @refused_bytes: what was to go out and did not.
 * @cold_bytes: resident and judged cold.
 * @refault_ppm_min: pages that come back a minute, smoothed, as a share of what is
 *	out, or while little is, of the resident memory: what is held to the objective.
 * @refault_out_ppm_min: the same, of what is out alone.
 * @pressure_known, @pressure_ppm: share of the interval that tasks stood still.
 * @pressure_own: it is that of the target's cgroup, not the machine's.
 * @want_bytes: what is to go out in the next interval.
 * @sample_bytes: of it, samples.
 * @try_bytes: what is to go on trial in it.
 * @bound_ppm, @confidence_ppm: what probing says of slices that go now: at most this
 *	share of their pages is in use, with this confidence; 0 when there are none.
 * @decision, @reason: about the next interval; static text.
 */
struct umem_reclaim_seen {
	int pid;
	char comm[64];
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
	uint64_t out_bytes;
	uint64_t trial_bytes;
	uint64_t reclaimed_bytes;
	uint64_t refaulted_bytes;
	uint64_t refused_bytes;
	uint64_t cold_bytes;
	uint64_t refault_ppm_min;
	uint64_t refault_out_ppm_min;
	bool pressure_known;
	bool pressure_own;
	uint64_t pressure_ppm;
	uint64_t want_bytes;
	uint64_t sample_bytes;
	uint64_t try_bytes;
	uint32_t bound_ppm;
	uint32_t confidence_ppm;
	enum umem_reclaim_decision decision;
	const char *reason;
};

/**
 * struct umem_reclaim_event - a target came, went, or cannot be had.
 * @pid, @comm: which.
 * @text: what; a sentence without a full stop.
 */
struct umem_reclaim_event {
	int pid;
	char comm[64];
	char text[384];
};

/**
 * struct umem_reclaim_report - an interval; valid until the next look.
 * @interval: its number, from 1; the first look is number 0: nothing happened yet.
 * @at_ns: on the clock of the options.
 * @interval_ns: since the look before.
 * @cpu_ppm: our own share of one processor.
 * @swap_free_bytes: left.
 * @stored_ppm: what compressed swap stores of what it was given since the start;
 *	0 when that is not known.
 * @sum: all targets.
 * @targets, @n_targets: each.
 * @events, @n_events: since the look before.
 */
struct umem_reclaim_report {
	uint64_t interval;
	uint64_t at_ns;
	uint64_t interval_ns;
	uint64_t cpu_ppm;
	uint64_t swap_free_bytes;
	uint64_t stored_ppm;
	struct umem_reclaim_seen sum;
	struct umem_reclaim_seen *targets;
	size_t n_targets;
	const struct umem_reclaim_event *events;
	size_t n_events;
};

/**
 * umem_reclaim_new - begin.
 * @options: copied, but what it points to must outlive this.
 * @ret_reclaim: freed with umem_reclaim_free().
 *
 * Return: 0; UMEM_GONE: a process that was named is not there; -EPERM, -EACCES;
 * -EADDRINUSE: another one reclaims from it already; -EBUSY: policy age, and
 * another userfaultfd watches it; -ENOSYS: policy pressure without PSI, or no
 * process_madvise; -ENOTSUP: no swap, or a kernel thread; -EINVAL: ourselves, a
 * thread's id, no cgroup; -ENOENT: nothing of that name; -ENOMEM.
 */
int umem_reclaim_new(const struct umem_reclaim_options *options,
	struct umem_reclaim **ret_reclaim, struct umem_note *note);

/** umem_reclaim_free - let go of all targets; what is out stays out. Return: NULL. */
struct umem_reclaim *umem_reclaim_free(struct umem_reclaim *reclaim);

UMEM_DEFINE_CLEANUP(struct umem_reclaim, umem_reclaim_free)

/**
 * umem_reclaim_look - an interval has ended: look, and decide about the next.
 *
 * Return: 0; UMEM_GONE, with a report and a note: no process that was named is left, or
 * the cgroup was removed; -ENOMEM, -errno.
 */
int umem_reclaim_look(struct umem_reclaim *reclaim,
	const struct umem_reclaim_report **ret_report, struct umem_note *note);

/**
 * umem_reclaim_work - put out a piece of what was decided.
 * @max_bytes: about so much.
 * @ret_more: there is more.
 *
 * A target that ends meanwhile is found by the next look; one that may not be put out
 * any more is let go, and the next look tells. Return: 0, -ENOMEM.
 */
int umem_reclaim_work(struct umem_reclaim *reclaim, uint64_t max_bytes, bool *ret_more);

/** umem_reclaim_decision_name - "grow", "hold", "back-off", "stop". */
const char *umem_reclaim_decision_name(enum umem_reclaim_decision decision);

#endif
