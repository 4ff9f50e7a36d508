// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Proactive reclaim of one or several processes.
 *
 * Theory of operation
 *
 *     look: who is there -> each target looks -> the machine -> limits
 *           -> shares of what is allowed -> each target plans
 *     work: a piece of each target's plan in turn, until nothing is left
 *
 * Who is a target is kept by reclaim_list.c.
 *
 * What the machine says (swap, compression, the kernel's own reclaim, our own
 * processor time) limits all targets together; the refault objective is each
 * target's own.
 */
#include "lib/op/reclaim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/op/reclaim_list.h"
#include "lib/op/reclaim_machine.h"
#include "lib/op/reclaim_sum.h"
#include "lib/policy/shares.h"

/* Of the resident memory, what a target may want at least when shares are divided. */
#define LEAST_SHARE 64

/**
 * struct umem_reclaim - a run.
 * @list: the targets.
 * @limits: of all.
 * @report, @seen: what the caller is shown.
 * @turn: the target that works next.
 * @forced_back: swap was taken away since the last look.
 * @cpu: our share of a processor.
 * @short_of_cpu: it was used up before all went out.
 */
struct umem_reclaim {
	struct umem_reclaim_options options;
	struct umem_reclaim_list list;
	struct umem_limits limits;
	struct umem_reclaim_machine machine;
	struct umem_reclaim_report report;
	struct umem_reclaim_seen *seen;
	size_t seen_room;
	size_t turn;
	uint64_t random;
	bool forced_back;
	struct umem_cpu_share cpu;
	bool short_of_cpu;
};

static const char *const decision_names[UMEM_N_RECLAIM_DECISIONS] = {
	[UMEM_RECLAIM_GROW] = "grow",
	[UMEM_RECLAIM_HOLD] = "hold",
	[UMEM_RECLAIM_BACK_OFF] = "back-off",
	[UMEM_RECLAIM_STOP] = "stop",
};

const char *umem_reclaim_decision_name(enum umem_reclaim_decision decision)
{
	return decision_names[decision];
}

struct umem_reclaim *umem_reclaim_free(struct umem_reclaim *reclaim)
{
	if (!reclaim)
		return NULL;
	umem_reclaim_list_deinit(&reclaim->list);
	umem_reclaim_machine_deinit(&reclaim->machine);
	free(reclaim->seen);
	free(reclaim);
	return NULL;
}

static uint64_t now(const struct umem_reclaim *reclaim)
{
	const struct umem_clock *clock = reclaim->options.clock ?: &umem_clock_monotonic;

	return clock->now_ns(clock->user);
}

/* Divide what is allowed, and let each target plan. */
static int plan(struct umem_reclaim *reclaim, uint64_t now_ns,
	const struct umem_limits_answer *allowed)
{
	size_t n = reclaim->list.n_targets;
	uint64_t cpu_ns = umem_cpu_share_left(&reclaim->cpu, reclaim->options.interval_ns);
	UMEM_FREE struct umem_share *shares = calloc(umem_max_u64(n, 1), sizeof(*shares));
	int r = 0;

	if (!shares)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct umem_reclaim_seen *seen = &reclaim->list.targets[i]->seen;

		shares[i] = (struct umem_share){
			.resident_bytes = seen->resident_bytes,
			.want_bytes = umem_max_u64(seen->cold_bytes,
				seen->resident_bytes / LEAST_SHARE),
			.got_bytes = allowed->allowed_bytes,
		};
	}
	if (n > 1 && allowed->allowed_bytes < reclaim->report.sum.resident_bytes)
		umem_shares_divide(shares, n, allowed->allowed_bytes, UMEM_PAGE_BYTES,
			reclaim->report.interval);
	for (size_t i = 0; i < n && r == 0; i++)
		r = umem_reclaim_target_plan(reclaim->list.targets[i], now_ns,
			&(struct umem_reclaim_allowed){
				.bytes = shares[i].got_bytes,
				.swap_bytes = allowed->swap_bytes / n,
				.cpu_ns = cpu_ns == UINT64_MAX ? cpu_ns : cpu_ns / n,
				.limit = allowed->reason,
			});
	return r;
}

static int show_targets(struct umem_reclaim *reclaim)
{
	struct umem_reclaim_report *report = &reclaim->report;

	if (reclaim->list.n_targets > reclaim->seen_room) {
		struct umem_reclaim_seen *v =
			reallocarray(reclaim->seen, reclaim->list.n_targets, sizeof(*v));

		if (!v)
			return -ENOMEM;
		reclaim->seen = v;
		reclaim->seen_room = reclaim->list.n_targets;
	}
	for (size_t i = 0; i < reclaim->list.n_targets; i++) {
		struct umem_reclaim_seen *seen = &reclaim->list.targets[i]->seen;

		reclaim->seen[i] = *seen;
		/* Counted anew until the next look. */
		seen->reclaimed_bytes = seen->refused_bytes = 0;
	}
	report->targets = reclaim->seen;
	report->n_targets = reclaim->list.n_targets;
	report->events = reclaim->list.events;
	report->n_events = reclaim->list.n_shown = reclaim->list.n_events;
	return 0;
}

/* What the limits say, from the targets and the machine; what it said is put in the report. */
static void ask_limits(struct umem_reclaim *reclaim, uint64_t dt_ns,
	struct umem_limits_answer *ret_allowed)
{
	struct umem_reclaim_report *report = &reclaim->report;
	struct umem_limits_seen seen = {
		.dt_ns = dt_ns,
		.resident_bytes = report->sum.resident_bytes,
	};

	/* Who else waits for memory on this machine says little about the target. */
	if (report->sum.pressure_own || reclaim->options.machine_pressure)
		seen.stalled_ppm = report->sum.pressure_ppm;
	umem_cpu_share_note(&reclaim->cpu, dt_ns, umem_reclaim_machine_cpu(&reclaim->machine));
	umem_reclaim_machine_look(&reclaim->machine, &seen);
	/* Nothing lies behind the first look: its rate is for the interval to come. */
	if (!reclaim->list.begun)
		seen.dt_ns = reclaim->options.interval_ns;
	umem_limits_note(&reclaim->limits, &seen, ret_allowed);
	report->cpu_ppm = seen.cpu_ppm;
	report->swap_free_bytes = seen.swap_free_bytes;
	report->stored_ppm = seen.swap_given_bytes ? (uint64_t)((double)seen.swap_stored_bytes *
		1e6 / (double)seen.swap_given_bytes) : 0;
}

/* Is there anything left to wait for? */
static int outcome(const struct umem_reclaim *reclaim, int found, struct umem_note *note)
{
	if (found == UMEM_GONE || reclaim->list.n_targets > 0 || reclaim->options.n_pids == 0)
		return found;
	if (reclaim->list.refused.n > 0)
		umem_note_set(note, -ESRCH, 0, "no target is left: the last one may not be had");
	else
		umem_note_set(note, -ESRCH, 0, "all targets have ended");
	return UMEM_GONE;
}

int umem_reclaim_look(struct umem_reclaim *reclaim,
	const struct umem_reclaim_report **ret_report, struct umem_note *note)
{
	struct umem_reclaim_report *report = &reclaim->report;
	struct umem_limits_answer allowed;
	uint64_t now_ns = now(reclaim);
	uint64_t dt_ns = reclaim->list.begun ? now_ns - report->at_ns : 0;
	int r, found;

	reclaim->forced_back |= umem_reclaim_swap_went_away(&reclaim->machine);
	umem_reclaim_list_forget_shown(&reclaim->list);
	r = found = umem_reclaim_list_find(&reclaim->list, note);
	if (found == 0 || found == UMEM_GONE)
		r = umem_reclaim_list_look(&reclaim->list, now_ns, &reclaim->machine.areas,
			reclaim->forced_back, note);
	if (r != 0)
		return r;
	reclaim->forced_back = false;
	umem_reclaim_sum_seen(reclaim->list.targets, reclaim->list.n_targets, &report->sum);
	ask_limits(reclaim, dt_ns, &allowed);
	r = plan(reclaim, now_ns, &allowed);
	if (r == 0) {
		umem_reclaim_sum_decided(reclaim->list.targets, reclaim->list.n_targets, &allowed,
			&report->sum);
		if (reclaim->short_of_cpu && report->sum.decision == UMEM_RECLAIM_GROW)
			report->sum.reason = "limited: CPU time";
		r = show_targets(reclaim);
	}
	if (r != 0)
		return r;
	report->interval = reclaim->list.begun ? report->interval + 1 : 0;
	report->at_ns = now_ns;
	report->interval_ns = dt_ns;
	reclaim->list.begun = true;
	reclaim->turn = 0;
	*ret_report = report;
	return outcome(reclaim, found, note);
}

/*
 * Is what an interval may take of a processor used up? A little is left for the look at
 * its end, which counts as well. So the share is held as it is spent: the limit that
 * looks back (lib/policy/limits.h) would let one interval take too much and the next
 * nothing.
 */
static bool cpu_is_used_up(const struct umem_reclaim *reclaim)
{
	uint64_t left = umem_cpu_share_left(&reclaim->cpu, reclaim->options.interval_ns);

	return left < UINT64_MAX && umem_reclaim_machine_cpu(&reclaim->machine) > left / 10 * 9;
}

int umem_reclaim_work(struct umem_reclaim *reclaim, uint64_t max_bytes, bool *ret_more)
{
	uint64_t now_ns = now(reclaim), left = max_bytes;

	if (reclaim->options.dry_run) {
		*ret_more = false;
		return 0;
	}
	reclaim->short_of_cpu = cpu_is_used_up(reclaim);
	while (reclaim->turn < reclaim->list.n_targets && left > 0 && !reclaim->short_of_cpu) {
		struct umem_reclaim_target *t = reclaim->list.targets[reclaim->turn];
		struct umem_note why = { 0 };
		uint64_t bytes = 0;
		int r;

		umem_beside_begin(&t->beside, t->target->proc_fd);
		r = umem_reclaim_target_work(t, left, now_ns, &reclaim->random, &bytes, &why);
		umem_beside_end(&t->beside, bytes >> UMEM_PAGE_SHIFT);
		if (r < 0 && r != -ENOMEM)
			r = umem_reclaim_list_give_up(&reclaim->list, reclaim->turn, r, &why);
		else if (r == UMEM_GONE || (r == 0 && bytes == 0))
			reclaim->turn++;
		if (r < 0)
			return r;
		left -= umem_min_u64(bytes, left);
	}
	/* An area may come and go between two looks; what it holds of ours went there now. */
	reclaim->forced_back |= umem_reclaim_swap_went_away(&reclaim->machine);
	*ret_more = reclaim->turn < reclaim->list.n_targets && !reclaim->short_of_cpu;
	return 0;
}

/* What is asked of us that nobody can do. */
static int check_options(const struct umem_reclaim_options *options, struct umem_note *note)
{
	for (size_t i = 0; i < options->n_pids; i++)
		if (options->pids[i] == getpid())
			return umem_note_set(note, -EINVAL, 0,
				"pid %d is this program itself; it would wait for its own pages",
				options->pids[i]);
	return 0;
}

int umem_reclaim_new(const struct umem_reclaim_options *options,
	struct umem_reclaim **ret_reclaim, struct umem_note *note)
{
	UMEM_CLEANUP(umem_reclaim_freep) struct umem_reclaim *reclaim =
		calloc(1, sizeof(*reclaim));
	struct umem_limits_conf limits;
	int r;

	if (!reclaim)
		return -ENOMEM;
	reclaim->options = *options;
	reclaim->list.options = &reclaim->options;
	reclaim->options.limits.pressure_max_ppm = options->pressure_max_ppm;
	reclaim->random = options->seed;
	limits = reclaim->options.limits;
	/* The share is held as it is spent; this is for what looking alone takes. */
	limits.cpu_max_ppm *= 4;
	reclaim->cpu.max_ppm = options->limits.cpu_max_ppm;
	umem_limits_init(&reclaim->limits, &limits);
	r = check_options(options, note);
	if (r == 0)
		r = umem_reclaim_finder_init(&reclaim->list.finder, &reclaim->options, note);
	if (r == 0)
		r = umem_reclaim_machine_check(&reclaim->machine, &reclaim->options, note);
	if (r == 0)
		r = umem_reclaim_list_find(&reclaim->list, note);
	if (r != 0)
		return r;
	*ret_reclaim = UMEM_TAKE_PTR(reclaim);
	return 0;
}
