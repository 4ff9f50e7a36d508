// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One target of reclaim.
 *
 * Theory of operation
 *
 *     look    map -> resident, swapped; of what was out, what came back
 *             (reclaim_returns.c)
 *             slices <- what was seen in each, watch <- what was written
 *             thrash <- the sums
 *     plan    slices -> how many pages of each
 *     work    pages at random of each slice -> put out -> out
 *
 * "out" holds what we put out and did not see come back. It is the only memory
 * that is needed of single pages; slices hold numbers. A page that came back
 * and was put out by the kernel between two looks is missed: the kernel is at
 * work then, and we hold still.
 *
 * The map is made anew for each look, which reads nothing in, and is right also where
 * pages came and went by other hands than ours. It costs some ns a page; where every
 * few pages change between in and out, as under samples, telling swap entries from marks
 * would cost fifty, so where nobody makes marks that is not done.
 */
#include "lib/op/reclaim_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/claim.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/procstat.h"
#include "lib/mem/machine.h"
#include "lib/op/reclaim_count.h"
#include "lib/op/reclaim_huge.h"
#include "lib/op/reclaim_trial.h"

/* Slices that are alike again are put together once in so long, and stay so for this long. */
#define MERGE_NS 60000000000u
#define WHOLE_NS 600000000000u

/* What it costs to put a page on trial, until that is known. */
#define TRY_NS 12000

struct umem_reclaim_target *umem_reclaim_target_free(struct umem_reclaim_target *t)
{
	if (!t)
		return NULL;
	umem_reclaim_trial_end(t);
	umem_accessed_free(t->accessed);
	umem_watch_free(t->watch);
	umem_residency_free(t->map);
	if (!t->borrowed) {
		umem_target_free(t->watched);
		umem_target_free(t->target);
	}
	umem_ranges_deinit(&t->can_go);
	umem_ranges_deinit(&t->can_try);
	umem_ranges_deinit(&t->huge);
	umem_pageset_deinit(&t->out);
	umem_pageset_deinit(&t->returned);
	umem_pageset_deinit(&t->trial);
	umem_pageset_deinit(&t->touched);
	umem_pageset_deinit(&t->warm);
	umem_pageset_deinit(&t->used);
	umem_slices_deinit(&t->slices);
	umem_cgroup_deinit(&t->cgroup);
	umem_fd_close(t->claim);
	free(t);
	return NULL;
}

static int claim(struct umem_reclaim_target *t, struct umem_note *note)
{
	struct umem_proc_stat stat;
	int r = umem_proc_stat_read_at(t->target->dir_fd, 0, &stat);

	if (r == -ENOENT || r == -ESRCH) {
		umem_note_set(note, -ESRCH, 0, "there is no process %d", t->seen.pid);
		return UMEM_GONE;
	}
	if (r < 0)
		return r;
	t->start_ticks = stat.start_ticks;
	memcpy(t->seen.comm, stat.comm, sizeof(t->seen.comm));
	/* Whoever gave it to us has seen to that. */
	if (t->borrowed)
		return 0;
	r = umem_claim("reclaim", t->seen.pid, t->start_ticks, &t->claim);
	return r == -EADDRINUSE ? umem_note_set(note, r, 0,
		"another umemctl reclaims from pid %d (%s) already; end that one first",
		t->seen.pid, stat.comm) : r;
}

/* Have somebody tell when memory is written. */
static int watch(struct umem_reclaim_target *t, const struct umem_attach_options *attach,
	struct umem_note *note)
{
	struct umem_watch_options options = { .size = sizeof(options), .pins = UMEM_PINS_ALWAYS };
	int r = 0;

	if (!t->borrowed)
		r = umem_target_attach(t->seen.pid, attach, &t->watched, note);
	else if (t->target->uffd < 0)
		r = umem_note_set(note, -EOPNOTSUPP, 0, "process %d was opened to be looked at "
			"only; attach to it for the policy age", t->seen.pid);
	else
		t->watched = t->target;
	return r != 0 ? r : umem_watch_new(t->watched, &options, &t->watch, note);
}

/* May its pages be put out? The kernel says so by advice about nothing. */
static int check_may(struct umem_reclaim_target *t, struct umem_note *note)
{
	struct iovec nothing = { 0 };
	uint64_t bytes;
	int r = umem_pidfd_madvise(umem_target_pidfd(t->target), &nothing, 1, MADV_PAGEOUT,
		&bytes);

	if (r == -EPERM || r == -EACCES)
		umem_note_set(note, r, 0, "pages of pid %d (%s) may not be put out: that needs "
			"CAP_SYS_NICE and the right to trace it", t->seen.pid, t->seen.comm);
	else if (r == -ENOSYS)
		umem_note_set(note, r, 0, "this kernel has no process_madvise (Linux 5.10), so "
			"that nothing can be put out");
	return r == -ESRCH ? UMEM_GONE : r;
}

static void find_pressure(struct umem_reclaim_target *t)
{
	if (t->target->reach || umem_cgroup_of("/proc", t->seen.pid, &t->cgroup, NULL) != 0)
		t->cgroup = UMEM_CGROUP_NONE;
}

static void set_policy(struct umem_reclaim_target *t, const struct umem_reclaim_options *options)
{
	struct umem_thrash_conf thrash = UMEM_THRASH_CONF_DEFAULT;
	struct umem_pressure_conf pressure = UMEM_PRESSURE_CONF_DEFAULT;

	/* Without an objective nothing ever is too much. */
	thrash.objective_ppm_min = options->refault_max_ppm_min == UINT64_MAX ?
		1000000000u : options->refault_max_ppm_min;
	umem_thrash_init(&t->thrash, &thrash);
	pressure.max_ppm = options->pressure_max_ppm;
	umem_pressure_init(&t->pressure, &pressure);
	umem_planner_init(&t->planner, options->policy);
	t->sampled_max_ppm = t->planner.trial.sampled_max_ppm;
	/* And with it not held to anything, what is not written is cold: no probe is needed. */
	t->planner.age.trust_writes = options->refault_max_ppm_min == UINT64_MAX;
	if (options->age_ns)
		t->planner.age.threshold_ns = options->age_ns;
}

int umem_reclaim_target_new(int pid, const struct umem_reclaim_options *options,
	struct umem_reclaim_target **ret_target, struct umem_note *note)
{
	UMEM_CLEANUP(umem_reclaim_target_freep) struct umem_reclaim_target *t =
		calloc(1, sizeof(*t));
	struct umem_attach_options attach = {
		.size = sizeof(attach),
		.feature_override = options->features,
	};
	int r;

	if (!t)
		return -ENOMEM;
	t->seen.pid = pid;
	t->claim = -1;
	t->any_shared = true;
	t->dry_run = options->dry_run;
	t->try_ns = TRY_NS;
	t->cgroup = UMEM_CGROUP_NONE;
	umem_slices_init(&t->slices, UMEM_PAGE_BYTES);
	set_policy(t, options);
	t->borrowed = options->target != NULL;
	t->target = options->target;
	r = t->borrowed ? 0 : umem_target_open(pid, &attach, &t->target, note);
	if (r == 0)
		r = claim(t, note);
	if (r == 0 && !options->dry_run)
		r = check_may(t, note);
	/*
	 * Reads and writes, where the kernel tells of both; else it has to be attached to. A
	 * look costs some 100 ns a page, which the other policies do without.
	 */
	if (r == 0 && options->policy == UMEM_POLICY_AGE &&
		umem_accessed_open(t->target, NULL, &t->accessed, NULL) != 0)
		t->accessed = NULL;
	if (r == 0 && options->policy == UMEM_POLICY_AGE && !t->accessed)
		r = watch(t, &attach, note);
	if (r == 0)
		r = umem_residency_new(t->target, NULL, &t->map, note);
	if (r != 0)
		return r;
	find_pressure(t);
	*ret_target = UMEM_TAKE_PTR(t);
	return 0;
}

/* Addresses of what can go to swap at all. */
static int find_can_go(struct umem_reclaim_target *t)
{
	int r = 0;

	umem_ranges_clear(&t->can_go);
	umem_ranges_clear(&t->can_try);
	t->any_shared = false;
	for (size_t i = 0; i < t->map->n && r == 0; i++) {
		const struct umem_region *region = umem_residency_region_at(t->map, i);

		t->any_shared |= region->kind == UMEM_KIND_SHMEM;
		if (region->kind == UMEM_KIND_ANON || region->kind == UMEM_KIND_SHMEM)
			r = umem_ranges_add(&t->can_go, t->map->v[i].start, t->map->v[i].end);
		if (region->kind == UMEM_KIND_ANON && r == 0)
			r = umem_ranges_add(&t->can_try, t->map->v[i].start, t->map->v[i].end);
	}
	return r;
}

static int add_used(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	(void)why;
	return umem_pageset_add(user, start, end);
}

/* What was accessed since the last look, or written, by what there is. */
static int find_used(struct umem_reclaim_target *t, struct umem_note *note)
{
	struct umem_accessed_count count;
	const struct umem_round *round;
	int r;

	umem_pageset_clear(&t->used);
	/* What cannot be told counts as accessed; when nothing can, nothing is said. */
	if (t->accessed) {
		r = umem_accessed_collect(t->accessed,
			umem_residency_pages(t->map, UMEM_STATE_RESIDENT), &t->used, &count);
		t->blind = r == 0 && (count.disturbed || count.idle + count.accessed == 0);
		return r;
	}
	if (!t->watch)
		return 0;
	r = umem_watch_collect(t->watch, &round, note);
	return r == 0 ? umem_watch_each(t->watch, add_used, &t->used) : r;
}

/* What "used" knows. */
static enum umem_use_source source_of(const struct umem_reclaim_target *t)
{
	if (t->accessed)
		return t->blind ? UMEM_USE_UNKNOWN : UMEM_USE_ACCESSES;
	return t->watch ? UMEM_USE_WRITES : UMEM_USE_UNKNOWN;
}

/* What is counted of each slice. */
enum tally {
	TALLY_RESIDENT,
	TALLY_TRIAL,
	TALLY_TOUCHED,
	TALLY_RETURNED,
	TALLY_OUT,
	TALLY_USED,
	N_TALLIES,
};

/* Can all of the slice be put on trial? */
static bool can_try(const struct umem_reclaim_target *t, const struct umem_slice *slice)
{
	uint64_t end = umem_slice_end(&t->slices, slice);
	const struct umem_ranges *served = &t->toucher.served;
	size_t i;

	if (!umem_reclaim_can_try(t))
		return false;
	i = umem_ranges_find(&t->can_try, slice->start);
	return i < t->can_try.n && t->can_try.v[i].start <= slice->start &&
		end <= t->can_try.v[i].end &&
		!(served->n && umem_ranges_overlaps(served, slice->start, end));
}

static int note_slices(struct umem_reclaim_target *t, const uint32_t *at_risk)
{
	size_t n = t->slices.n;
	UMEM_FREE uint32_t *counts = calloc(umem_max_u64(n, 1) * N_TALLIES, sizeof(*counts));
	struct umem_pageset *sets[N_TALLIES] = {
		[TALLY_RESIDENT] = umem_residency_pages(t->map, UMEM_STATE_RESIDENT),
		[TALLY_TRIAL] = &t->trial,
		[TALLY_TOUCHED] = &t->touched,
		[TALLY_RETURNED] = &t->returned,
		[TALLY_OUT] = &t->out,
		[TALLY_USED] = &t->used,
	};
	int r = 0;

	if (!counts)
		return -ENOMEM;
	for (size_t k = 0; k < N_TALLIES && r == 0; k++)
		r = umem_count_slices(sets[k], &t->slices, counts + k * n);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct umem_slice_seen seen = {
			.resident = counts[TALLY_RESIDENT * n + i],
			.trial = counts[TALLY_TRIAL * n + i],
			.touched = counts[TALLY_TOUCHED * n + i],
			.tries = can_try(t, &t->slices.v[i]),
			.out = counts[TALLY_OUT * n + i],
			.at_risk = at_risk[i],
			.returned = counts[TALLY_RETURNED * n + i],
			.used = counts[TALLY_USED * n + i],
			.source = source_of(t),
		};

		umem_slice_note(&t->slices.v[i], &seen, t->dt_ns);
	}
	return r;
}

/* Stalls of the cgroup, or of the machine. Return: 0 or -errno. */
static int read_psi(struct umem_reclaim_target *t, struct umem_psi *ret_psi)
{
	struct umem_machine_strain strain;
	int r;

	if (t->target->reach) {
		r = umem_machine_strain(t->target, &strain);
		t->seen.pressure_own = r == 0 && strain.psi_own;
		if (r == 0)
			*ret_psi = strain.psi;
		return r == 0 && !strain.psi_known ? -ENOENT : r;
	}
	r = umem_cgroup_psi(&t->cgroup, ret_psi);
	t->seen.pressure_own = r == 0;
	return r < 0 ? umem_psi_read(AT_FDCWD, UMEM_PSI_MACHINE, ret_psi) : 0;
}

/* The share of the interval that tasks stood still for memory, where the kernel tells. */
static void find_stalls(struct umem_reclaim_target *t)
{
	struct umem_psi psi;
	int r = read_psi(t, &psi);

	t->seen.pressure_known = r == 0 && t->psi_known;
	if (t->seen.pressure_known)
		t->seen.pressure_ppm = umem_psi_share(&t->psi, &psi, t->dt_ns).some_ppm;
	t->psi_known = r == 0;
	if (r == 0)
		t->psi = psi;
}

/* Slices for all that is there, or was when it was looked at last. */
static int find_slices(struct umem_reclaim_target *t)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges cells = { 0 };
	struct umem_pageset *const sets[] = {
		umem_residency_pages(t->map, UMEM_STATE_RESIDENT),
		umem_residency_pages(t->map, UMEM_STATE_SWAPPED),
		&t->out,
		&t->trial,
	};
	int r = umem_cells(sets, UMEM_ARRAY_LEN(sets), &t->can_go, &cells);

	return r == 0 ? umem_slices_sync(&t->slices, &cells) : r;
}

static int note_interval(struct umem_reclaim_target *t, const struct umem_reclaim_swap *swap,
	struct umem_note *note)
{
	UMEM_FREE uint32_t *at_risk = NULL;
	struct umem_thrash_seen seen = { .dt_ns = t->dt_ns };
	int r = find_can_go(t);

	if (r == 0)
		r = umem_pageset_keep(umem_residency_pages(t->map, UMEM_STATE_RESIDENT),
			&t->can_go);
	if (r == 0)
		r = umem_pageset_keep(umem_residency_pages(t->map, UMEM_STATE_SWAPPED),
			&t->can_go);
	if (r == 0)
		r = find_slices(t);
	if (r != 0)
		return r;
	at_risk = calloc(umem_max_u64(t->slices.n, 1), sizeof(*at_risk));
	if (!at_risk)
		return -ENOMEM;
	r = umem_reclaim_trial_find(t, swap);
	if (r == 0)
		r = umem_reclaim_find_returned(t, swap);
	/* What was given back was at no risk; of the rest both halves were. */
	if (r == 0)
		r = umem_count_slices(&t->out, &t->slices, at_risk);
	if (r == 0)
		r = umem_count_slices(&t->returned, &t->slices, at_risk);
	if (r == 0)
		r = umem_pageset_union(&t->warm, &t->returned);
	if (r == 0)
		r = umem_pageset_union(&t->warm, &t->touched);
	if (r == 0)
		r = find_used(t, note);
	if (r == 0)
		r = note_slices(t, at_risk);
	if (r != 0)
		return r;
	umem_slices_sum(&t->slices, &t->sum);
	seen.resident = t->sum.resident + t->sum.trial;
	seen.at_risk = t->sum.at_risk;
	seen.returned = t->sum.returned + t->waited;
	seen.sampled_back = t->sum.sampled_back + t->waited;
	umem_thrash_note(&t->thrash, &seen, &t->allowed);
	return 0;
}

int umem_reclaim_target_look(struct umem_reclaim_target *t, uint64_t now_ns,
	const struct umem_reclaim_swap *swap, struct umem_note *note)
{
	int r;

	/* Marks are on memory that is watched, or served by others. */
	umem_residency_rough(t->map, t->tries && t->toucher.served.n == 0 && !t->watch);
	r = umem_residency_refresh(t->map, note);
	t->dt_ns = t->looked_ns ? now_ns - t->looked_ns : 0;
	/*
	 * What goes out stays in the swap cache of a file or a disk, but not what comes from
	 * a trial: so there all is tried.
	 */
	t->planner.trial.sampled_max_ppm = swap->kept ? 0 : t->sampled_max_ppm;
	if (r == 0 && !t->dry_run)
		r = umem_reclaim_trial_ready(t, now_ns);
	if (r == 0)
		r = note_interval(t, swap, note);
	if (r != 0)
		return r;
	t->looked_ns = now_ns;
	find_stalls(t);
	/* What is on trial has a slot in swap, but is in memory. */
	t->seen.trial_bytes = umem_pageset_bytes(&t->trial);
	t->seen.resident_bytes = umem_pageset_bytes(
		umem_residency_pages(t->map, UMEM_STATE_RESIDENT)) + t->seen.trial_bytes;
	t->seen.swapped_bytes = umem_pageset_bytes(
		umem_residency_pages(t->map, UMEM_STATE_SWAPPED)) - t->seen.trial_bytes;
	t->seen.out_bytes = umem_pageset_bytes(&t->out);
	t->seen.refaulted_bytes = (t->sum.returned + t->waited) << UMEM_PAGE_SHIFT;
	t->seen.refault_ppm_min = t->allowed.rate_ppm_min;
	t->seen.refault_out_ppm_min = t->allowed.rate_out_ppm_min;
	return 0;
}

static void count_part(void *arg, uint64_t start, uint64_t n_pages,
	struct umem_slice_seen *ret_seen)
{
	struct umem_reclaim_target *t = arg;
	uint64_t end = start + (n_pages << UMEM_PAGE_SHIFT);

	*ret_seen = (struct umem_slice_seen){
		.resident = umem_count_range(umem_residency_pages(t->map, UMEM_STATE_RESIDENT),
			start, end),
		.trial = umem_count_range(&t->trial, start, end),
		.touched = umem_count_range(&t->touched, start, end),
		.out = umem_count_range(&t->out, start, end),
		.returned = umem_count_range(&t->returned, start, end),
		.used = umem_count_range(&t->used, start, end),
		.tries = umem_reclaim_can_try(t),
		.source = source_of(t),
	};
	ret_seen->at_risk = ret_seen->out + ret_seen->returned;
}

static void decide(struct umem_reclaim_target *t, uint64_t allowed_bytes, const char *limit)
{
	struct umem_reclaim_seen *seen = &t->seen;

	seen->cold_bytes = t->plan.cold_pages << UMEM_PAGE_SHIFT;
	seen->want_bytes = (t->plan.want_pages - t->plan.try_pages) << UMEM_PAGE_SHIFT;
	seen->sample_bytes = (t->plan.sample_pages - t->plan.try_pages) << UMEM_PAGE_SHIFT;
	seen->try_bytes = t->plan.try_pages << UMEM_PAGE_SHIFT;
	seen->bound_ppm = t->plan.bound_ppm;
	seen->confidence_ppm = t->plan.confidence_ppm;
	seen->reason = t->plan.reason;
	if (allowed_bytes == 0 && limit) {
		seen->decision = UMEM_RECLAIM_STOP;
		seen->reason = limit;
	} else if (t->allowed.state == UMEM_THRASH_BACK_OFF) {
		seen->decision = UMEM_RECLAIM_BACK_OFF;
		seen->reason = t->allowed.reason;
	} else if (t->plan.want_pages > 0) {
		seen->decision = UMEM_RECLAIM_GROW;
	} else {
		seen->decision = UMEM_RECLAIM_HOLD;
		if (t->allowed.state == UMEM_THRASH_HOLD)
			seen->reason = t->allowed.reason;
	}
}

/*
 * What may go on trial: no more than there is time for, so that what is best to try is
 * tried, and not what comes first.
 */
static uint64_t try_pages(const struct umem_reclaim_target *t,
	const struct umem_reclaim_allowed *allowed)
{
	uint64_t pages = umem_trial_room(&t->planner.trial, t->sum.trial,
		t->sum.resident + t->sum.trial);

	pages = umem_min_u64(pages, allowed->swap_bytes >> UMEM_PAGE_SHIFT);
	if (allowed->cpu_ns == UINT64_MAX || allowed->cpu_ns == 0)
		return allowed->cpu_ns ? pages : 0;
	/* A slice at least, or it would never come to that. */
	return umem_min_u64(pages, umem_max_u64(UMEM_SLICE_PAGES,
		allowed->cpu_ns / umem_max_u64(t->try_ns, 1)));
}

/* What is not of interest any more is as it was. */
static int release(struct umem_reclaim_target *t, uint64_t now_ns)
{
	for (size_t i = 0; i < t->slices.n; i++) {
		struct umem_slice *slice = &t->slices.v[i];
		int r;

		if (slice->way != UMEM_WAY_RELEASE || slice->want == 0)
			continue;
		r = umem_reclaim_trial_release(t, slice->start,
			umem_slice_end(&t->slices, slice));
		if (r == -ENOMEM)
			return r;
		/* Whatever else is wrong with the target is found by the next look. */
		umem_slice_put_out(slice, slice->want, now_ns, t->planner.probe.hold_ns);
	}
	return 0;
}

int umem_reclaim_target_plan(struct umem_reclaim_target *t, uint64_t now_ns,
	const struct umem_reclaim_allowed *allowed)
{
	struct umem_plan_in in = {
		.now_ns = now_ns,
		.thrash = &t->allowed,
		.allowed_pages = allowed->bytes >> UMEM_PAGE_SHIFT,
		.try_pages = try_pages(t, allowed),
	};
	int r;

	if (t->planner.policy == UMEM_POLICY_PRESSURE) {
		struct umem_pressure_answer answer;

		umem_pressure_next(&t->pressure, t->seen.pressure_ppm, t->seen.resident_bytes,
			t->dt_ns, &answer);
		in.take_pages = answer.take_bytes >> UMEM_PAGE_SHIFT;
	}
	umem_plan_make(&t->planner, &t->slices, &in, &t->plan);
	decide(t, allowed->bytes, allowed->limit);
	if (t->plan.n_release > 0) {
		r = release(t, now_ns);
		if (r != 0)
			return r;
	}
	if (t->plan.n_split > 0) {
		r = umem_slices_split(&t->slices, count_part, t, t->dt_ns);
		if (r < 0)
			return r;
	}
	if (now_ns - t->merged_ns >= MERGE_NS) {
		umem_slices_merge(&t->slices, now_ns, WHOLE_NS);
		t->merged_ns = now_ns;
	}
	t->pass = 0;
	t->next = 0;
	return t->huge.n ? umem_reclaim_huge_restore(t) : 0;
}
