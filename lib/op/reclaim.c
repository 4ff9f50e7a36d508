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
 * A process that ends drops out; one that executed another program is taken in
 * anew, with nothing known of it. One that may not be had (another user's, or
 * another umemctl reclaims from it) is told once and not tried again. Where
 * processes were named by their ids any of this at the start is an error.
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
#include "lib/op/reclaim_find.h"
#include "lib/op/reclaim_machine.h"
#include "lib/op/reclaim_sum.h"
#include "lib/op/reclaim_target.h"
#include "lib/policy/shares.h"

/* Of the resident memory, what a target may want at least when shares are divided. */
#define LEAST_SHARE 64

/**
 * struct umem_reclaim - a run.
 * @targets: @n_targets of them.
 * @refused: processes that are not tried again.
 * @n_ever: targets there ever were.
 * @limits: of all.
 * @report, @seen, @events: what the caller is shown; the first @n_shown events were.
 * @turn: the target that works next.
 * @forced_back: swap was taken away since the last look.
 * @cpu: our share of a processor.
 * @short_of_cpu: it was used up before all went out.
 */
struct umem_reclaim {
	struct umem_reclaim_options options;
	struct umem_reclaim_finder finder;
	struct umem_reclaim_target **targets;
	size_t n_targets;
	size_t targets_room;
	struct umem_cgroup_pids refused;
	struct umem_limits limits;
	struct umem_reclaim_machine machine;
	struct umem_reclaim_report report;
	struct umem_reclaim_seen *seen;
	size_t seen_room;
	struct umem_reclaim_event *events;
	size_t n_events;
	size_t n_shown;
	size_t events_room;
	size_t turn;
	uint64_t random;
	bool forced_back;
	struct umem_cpu_share cpu;
	bool short_of_cpu;
	bool begun;
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
	for (size_t i = 0; i < reclaim->n_targets; i++)
		umem_reclaim_target_free(reclaim->targets[i]);
	free(reclaim->targets);
	umem_reclaim_finder_deinit(&reclaim->finder);
	umem_cgroup_pids_deinit(&reclaim->refused);
	umem_reclaim_machine_deinit(&reclaim->machine);
	free(reclaim->seen);
	free(reclaim->events);
	free(reclaim);
	return NULL;
}

static uint64_t now(const struct umem_reclaim *reclaim)
{
	const struct umem_clock *clock = reclaim->options.clock ?: &umem_clock_monotonic;

	return clock->now_ns(clock->user);
}

static int add_event(struct umem_reclaim *reclaim, int pid, const char *comm, const char *text)
{
	struct umem_reclaim_event *event;

	if (reclaim->n_events == reclaim->events_room) {
		size_t room = reclaim->events_room ? reclaim->events_room * 2 : 8;
		struct umem_reclaim_event *v = reallocarray(reclaim->events, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		reclaim->events = v;
		reclaim->events_room = room;
	}
	event = &reclaim->events[reclaim->n_events++];
	*event = (struct umem_reclaim_event){ .pid = pid };
	strncpy(event->comm, comm, sizeof(event->comm) - 1);
	strncpy(event->text, text, sizeof(event->text) - 1);
	return 0;
}

/* What the caller has seen is forgotten; what came up since then is kept. */
static void forget_shown(struct umem_reclaim *reclaim)
{
	reclaim->n_events -= reclaim->n_shown;
	memmove(reclaim->events, reclaim->events + reclaim->n_shown,
		reclaim->n_events * sizeof(*reclaim->events));
	reclaim->n_shown = 0;
}

static bool has_pid(const struct umem_cgroup_pids *pids, int pid)
{
	for (size_t i = 0; i < pids->n; i++)
		if (pids->v[i] == pid)
			return true;
	return false;
}

static int refuse(struct umem_reclaim *reclaim, int pid, const char *comm, const char *why)
{
	struct umem_cgroup_pids *refused = &reclaim->refused;

	if (refused->n == refused->room) {
		size_t room = refused->room ? refused->room * 2 : 8;
		int *v = reallocarray(refused->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		refused->v = v;
		refused->room = room;
	}
	refused->v[refused->n++] = pid;
	return add_event(reclaim, pid, comm, why);
}

/* Take a process in. Return: 0, also when it cannot be had and was not named by its id. */
static int take_in(struct umem_reclaim *reclaim, int pid, const char *event,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_reclaim_target_freep) struct umem_reclaim_target *t = NULL;
	struct umem_note why = { 0 };
	int r;

	if (reclaim->n_targets == reclaim->targets_room) {
		size_t room = reclaim->targets_room ? reclaim->targets_room * 2 : 8;
		struct umem_reclaim_target **v =
			reallocarray(reclaim->targets, room,
				sizeof(struct umem_reclaim_target *));

		if (!v)
			return -ENOMEM;
		reclaim->targets = v;
		reclaim->targets_room = room;
	}
	r = umem_reclaim_target_new(pid, &reclaim->options, &t, &why);
	if (r == -ENOMEM || (r != 0 && reclaim->options.n_pids > 0 && !reclaim->begun)) {
		if (note)
			*note = why;
		return r;
	}
	if (r == UMEM_GONE)
		return 0;
	if (r < 0)
		return refuse(reclaim, pid, "", why.text[0] ? why.text : strerror(-r));
	r = add_event(reclaim, pid, t->seen.comm, event);
	if (r == 0)
		reclaim->targets[reclaim->n_targets++] = UMEM_TAKE_PTR(t);
	return r;
}

static void drop(struct umem_reclaim *reclaim, size_t i)
{
	umem_reclaim_target_free(reclaim->targets[i]);
	memmove(&reclaim->targets[i], &reclaim->targets[i + 1],
		(reclaim->n_targets - i - 1) * sizeof(struct umem_reclaim_target *));
	reclaim->n_targets--;
}

static bool is_target(const struct umem_reclaim *reclaim, int pid)
{
	for (size_t i = 0; i < reclaim->n_targets; i++)
		if (reclaim->targets[i]->seen.pid == pid)
			return true;
	return false;
}

/* Let go of a target that cannot be had any more, and tell. */
static int give_up(struct umem_reclaim *reclaim, size_t i, int err, const struct umem_note *why)
{
	const struct umem_reclaim_seen *seen = &reclaim->targets[i]->seen;
	int r = refuse(reclaim, seen->pid, seen->comm,
		why->text[0] ? why->text : strerror(-err));

	drop(reclaim, i);
	return r;
}

/* A number that is not found any more may be another process the next time. */
static void forget_refused(struct umem_reclaim *reclaim)
{
	struct umem_cgroup_pids *refused = &reclaim->refused;
	size_t kept = 0;

	for (size_t i = 0; i < refused->n; i++)
		if (has_pid(&reclaim->finder.pids, refused->v[i]))
			refused->v[kept++] = refused->v[i];
	refused->n = kept;
}

/* Who came, who left the group. Who ended is found by looking at it. */
static int find_targets(struct umem_reclaim *reclaim, struct umem_note *note)
{
	const struct umem_cgroup_pids *pids = &reclaim->finder.pids;
	int found = umem_reclaim_find(&reclaim->finder, note), r = found == UMEM_GONE ? 0 : found;

	if (r == 0)
		forget_refused(reclaim);
	for (size_t i = 0; i < reclaim->n_targets && r == 0;) {
		struct umem_reclaim_target *t = reclaim->targets[i];

		if (has_pid(pids, t->seen.pid)) {
			i++;
			continue;
		}
		r = add_event(reclaim, t->seen.pid, t->seen.comm,
			umem_target_gone(t->target) ? "ended" : "is not one of them any more");
		drop(reclaim, i);
	}
	for (size_t i = 0; i < pids->n && r == 0; i++) {
		/* One that was named by its id is not another one of that number. */
		if (reclaim->begun && reclaim->options.n_pids > 0)
			break;
		if (!is_target(reclaim, pids->v[i]) && !has_pid(&reclaim->refused, pids->v[i]))
			r = take_in(reclaim, pids->v[i], "found", note);
	}
	return r == 0 ? found : r;
}

/*
 * A target whose memory is gone: it ended, or goes on as another program. Then it is the
 * last of the targets, and looked at in its turn.
 */
static int replace(struct umem_reclaim *reclaim, size_t i, struct umem_note *note)
{
	struct umem_reclaim_target *t = reclaim->targets[i];
	char comm[64];
	int pid = t->seen.pid;
	bool ended = umem_target_gone(t->target);

	memcpy(comm, t->seen.comm, sizeof(comm));
	drop(reclaim, i);
	if (ended)
		return add_event(reclaim, pid, comm, "ended");
	return take_in(reclaim, pid, "executed another program; begun anew", note);
}

static int look_at_targets(struct umem_reclaim *reclaim, uint64_t now_ns,
	struct umem_note *note)
{
	struct umem_reclaim_swap swap = { .forced_back = reclaim->forced_back };

	for (size_t i = 0; i < reclaim->n_targets; i++) {
		swap.own_reads += reclaim->targets[i]->own_reads;
		swap.own_cached += umem_pageset_bytes(&reclaim->targets[i]->trial) >>
			UMEM_PAGE_SHIFT;
	}
	umem_reclaim_swap_read(&reclaim->machine.areas, &swap);
	for (size_t i = 0; i < reclaim->n_targets;) {
		struct umem_reclaim_target *t = reclaim->targets[i];
		struct umem_note why = { 0 };
		int r = umem_reclaim_target_look(t, now_ns, &swap, &why);

		if (r == 0) {
			i++;
			continue;
		}
		if (r == UMEM_GONE)
			r = replace(reclaim, i, note);
		else if (r != -ENOMEM)
			r = give_up(reclaim, i, r, &why);
		if (r != 0)
			return r;
	}
	return 0;
}

/* Divide what is allowed, and let each target plan. */
static int plan(struct umem_reclaim *reclaim, uint64_t now_ns,
	const struct umem_limits_answer *allowed)
{
	size_t n = reclaim->n_targets;
	UMEM_FREE struct umem_share *shares = calloc(umem_max_u64(n, 1), sizeof(*shares));
	int r = 0;

	if (!shares)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct umem_reclaim_seen *seen = &reclaim->targets[i]->seen;

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
		r = umem_reclaim_target_plan(reclaim->targets[i], now_ns, shares[i].got_bytes,
			allowed->swap_bytes / n, allowed->reason);
	return r;
}

static int show_targets(struct umem_reclaim *reclaim)
{
	struct umem_reclaim_report *report = &reclaim->report;

	if (reclaim->n_targets > reclaim->seen_room) {
		struct umem_reclaim_seen *v =
			reallocarray(reclaim->seen, reclaim->n_targets, sizeof(*v));

		if (!v)
			return -ENOMEM;
		reclaim->seen = v;
		reclaim->seen_room = reclaim->n_targets;
	}
	for (size_t i = 0; i < reclaim->n_targets; i++) {
		struct umem_reclaim_seen *seen = &reclaim->targets[i]->seen;

		reclaim->seen[i] = *seen;
		/* Counted anew until the next look. */
		seen->reclaimed_bytes = seen->refused_bytes = 0;
	}
	report->targets = reclaim->seen;
	report->n_targets = reclaim->n_targets;
	report->events = reclaim->events;
	report->n_events = reclaim->n_shown = reclaim->n_events;
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
	if (!reclaim->begun)
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
	if (found == UMEM_GONE || reclaim->n_targets > 0 || reclaim->options.n_pids == 0)
		return found;
	if (reclaim->refused.n > 0)
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
	uint64_t dt_ns = reclaim->begun ? now_ns - report->at_ns : 0;
	int r, found;

	reclaim->forced_back |= umem_reclaim_swap_went_away(&reclaim->machine);
	forget_shown(reclaim);
	r = found = find_targets(reclaim, note);
	if (found == 0 || found == UMEM_GONE)
		r = look_at_targets(reclaim, now_ns, note);
	if (r != 0)
		return r;
	reclaim->forced_back = false;
	umem_reclaim_sum_seen(reclaim->targets, reclaim->n_targets, &report->sum);
	ask_limits(reclaim, dt_ns, &allowed);
	r = plan(reclaim, now_ns, &allowed);
	if (r == 0) {
		umem_reclaim_sum_decided(reclaim->targets, reclaim->n_targets, &allowed,
			&report->sum);
		if (reclaim->short_of_cpu && report->sum.decision == UMEM_RECLAIM_GROW)
			report->sum.reason = "limited: CPU time";
		r = show_targets(reclaim);
	}
	if (r != 0)
		return r;
	report->interval = reclaim->begun ? report->interval + 1 : 0;
	report->at_ns = now_ns;
	report->interval_ns = dt_ns;
	reclaim->begun = true;
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
	while (reclaim->turn < reclaim->n_targets && left > 0 && !reclaim->short_of_cpu) {
		struct umem_reclaim_target *t = reclaim->targets[reclaim->turn];
		struct umem_note why = { 0 };
		uint64_t bytes = 0;
		int r = umem_reclaim_target_work(t, left, now_ns, &reclaim->random, &bytes, &why);

		if (r < 0 && r != -ENOMEM)
			r = give_up(reclaim, reclaim->turn, r, &why);
		else if (r == UMEM_GONE || (r == 0 && bytes == 0))
			reclaim->turn++;
		if (r < 0)
			return r;
		left -= umem_min_u64(bytes, left);
	}
	/* An area may come and go between two looks; what it holds of ours went there now. */
	reclaim->forced_back |= umem_reclaim_swap_went_away(&reclaim->machine);
	*ret_more = reclaim->turn < reclaim->n_targets && !reclaim->short_of_cpu;
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
	reclaim->options.limits.pressure_max_ppm = options->pressure_max_ppm;
	reclaim->random = options->seed;
	limits = reclaim->options.limits;
	/* The share is held as it is spent; this is for what looking alone takes. */
	limits.cpu_max_ppm *= 4;
	reclaim->cpu.max_ppm = options->limits.cpu_max_ppm;
	umem_limits_init(&reclaim->limits, &limits);
	r = check_options(options, note);
	if (r == 0)
		r = umem_reclaim_finder_init(&reclaim->finder, &reclaim->options, note);
	if (r == 0)
		r = umem_reclaim_machine_check(&reclaim->machine, &reclaim->options, note);
	if (r == 0)
		r = find_targets(reclaim, note);
	if (r != 0)
		return r;
	*ret_reclaim = UMEM_TAKE_PTR(reclaim);
	return 0;
}
