// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Dirty tracking of a target, round after round.
 *
 * Theory of operation
 *
 * A round composes what several sources know:
 *
 *     live map ---- appeared, vanished --> new, gone
 *     tracker ----- scan ----------------> written   (and mappings lost: new, gone)
 *     objects ----- extents -------------> punched
 *     sharers ----- other page tables ---> sharer
 *     pins -------- /proc ---------------> pinned
 *
 * Order within a collect: pins, map, forget what vanished, scan, watch what
 * appeared, the rest, pins again. What appeared is watched behind the scan, so
 * that each page of it is reported once, as new.
 *
 * Pins are read before and after the scan. A pin is made by a write fault, so
 * the page is written in that round; from the scan on it may change unseen. A
 * pin that is there after the scan, or before the next one, is in the next
 * round. What is missed is a pin that comes and goes while one scan runs, and
 * that is what direct I/O does: a read into memory that was begun before the
 * scan and ends behind it. So while the target can do direct I/O, the pages
 * written in a round are reported once more in the next one, as pinned.
 *
 * The sets are made disjoint in the order of enum umem_why: a page is counted
 * once. After a failure nothing is cleared: the next round adds to it.
 */
#include "lib/op/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"

UMEM_DEFINE_CLEANUP(struct umem_watch, umem_watch_free)

static const char *const why_names[UMEM_N_WHYS] = {
	[UMEM_WHY_WRITTEN] = "written",
	[UMEM_WHY_NEW] = "new",
	[UMEM_WHY_PUNCHED] = "punched",
	[UMEM_WHY_SHARER] = "sharer",
	[UMEM_WHY_PINNED] = "pinned",
};

const char *umem_why_name(enum umem_why why)
{
	return why_names[why];
}

struct umem_watch *umem_watch_free(struct umem_watch *watch)
{
	if (!watch)
		return NULL;
	umem_tracker_free(watch->tracker);
	umem_sharers_deinit(&watch->sharers);
	umem_ranges_deinit(&watch->selected);
	umem_ranges_deinit(&watch->appeared);
	umem_ranges_deinit(&watch->vanished);
	umem_ranges_deinit(&watch->lost);
	umem_ranges_deinit(&watch->pieces);
	umem_ranges_deinit(&watch->unwatched);
	umem_ranges_deinit(&watch->gone);
	umem_ranges_deinit(&watch->pinned);
	umem_ranges_deinit(&watch->left_watched);
	umem_ranges_deinit(&watch->left_held);
	umem_pins_deinit(&watch->pins);
	for (int i = 0; i < UMEM_N_WHYS; i++)
		umem_pageset_deinit(&watch->sets[i]);
	umem_pageset_deinit(&watch->carried);
	umem_reasons_deinit(&watch->incomplete);
	umem_reasons_deinit(&watch->assumes);
	free(watch);
	return NULL;
}

/* Which of @ranges the caller wants to know about, into watch->pieces. */
static int select_ranges(struct umem_watch *watch, const struct umem_ranges *ranges)
{
	return umem_ranges_intersect(ranges, &watch->selected, &watch->pieces);
}

static int init_selection(struct umem_watch *watch, const struct umem_watch_options *options)
{
	const struct umem_target *target = watch->target;
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges asked = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges allowed = { 0 };
	int r = 0;

	for (size_t i = 0; options && i < options->n_regions && r == 0; i++)
		r = umem_ranges_add(&asked,
			umem_align_down(options->regions[i].start, UMEM_PAGE_BYTES),
			umem_align_up(options->regions[i].end, UMEM_PAGE_BYTES));
	if (r == 0 && asked.n == 0)
		r = umem_ranges_add(&asked, 0, UMEM_ADDRESS_END);
	if (r == 0 && target->managed.n)
		return umem_ranges_intersect(&asked, &target->managed, &watch->selected);
	return r < 0 ? r : umem_ranges_union(&asked, &allowed, &watch->selected);
}

/* Nothing that was asked for by name may be left out in silence. */
static int check_selection(struct umem_watch *watch, const struct umem_watch_options *options,
	struct umem_note *note)
{
	for (size_t i = 0; options && i < options->n_regions; i++) {
		const struct umem_range *r = &options->regions[i];

		if (r->end <= r->start || !umem_space_mapped(&watch->target->space, r->start,
						   r->end))
			return umem_note_set(note, -ENOENT, r->start,
				"pid %d has no mapping in %#llx-%#llx (umemctl regions lists them)",
				watch->target->pid, (unsigned long long)r->start,
				(unsigned long long)r->end);
	}
	return 0;
}

/* Pins: known ranges to watch->pinned, the rest to @why. */
static int add_pins(struct umem_watch *watch, struct umem_reasons *why, struct umem_note *note)
{
	const bool always = watch->pins_policy == UMEM_PINS_ALWAYS;

	for (size_t i = 0; i < watch->pins.n; i++) {
		const struct umem_pin *pin = &watch->pins.v[i];
		bool known = pin->range.end != UINT64_MAX;
		int r;

		if (known && !umem_ranges_overlaps(&watch->selected, pin->range.start,
				     pin->range.end))
			continue;
		if (watch->pins_policy == UMEM_PINS_REFUSE)
			return umem_note_set(note, -EADDRINUSE, pin->range.start,
				"pid %d has pinned memory, which can be written without a "
				"fault: %s (%s); --pins always reports it in every round",
				watch->target->pid, umem_pin_kind_name(pin->kind), pin->what);
		if (known && always)
			r = umem_ranges_add(&watch->pinned,
				umem_align_down(pin->range.start, UMEM_PAGE_BYTES),
				umem_align_up(pin->range.end, UMEM_PAGE_BYTES));
		else
			r = umem_reasons_add(why, pin->range.start, pin->range.end,
				"pinned, may be written without a fault: %s (%s)",
				umem_pin_kind_name(pin->kind), pin->what);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_pins(struct umem_watch *watch, struct umem_note *note)
{
	int r = umem_target_read_pins(watch->target, &watch->pins);

	if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "process %d ended", watch->target->pid);
	if (r == -EACCES || r == -EPERM) {
		watch->pins_hidden = true;
		return 0;
	}
	return r < 0 ? umem_note_set(note, r, 0, "looking for pinned memory of pid %d: %s",
			       watch->target->pid, strerror(-r)) :
		       r;
}

/* Regions that no tracker covers: pinned by nature, or a reason, or nothing. */
static int add_untrackable(struct umem_watch *watch)
{
	const struct umem_space *space = &watch->target->space;

	for (size_t i = 0; i < space->n; i++) {
		const struct umem_region *g = &space->v[i];
		int r = 0;

		if (!g->untrackable || g->kind == UMEM_KIND_KERNEL ||
			!umem_ranges_overlaps(&watch->selected, g->start, g->end))
			continue;
		if (g->kind == UMEM_KIND_KERNEL_SHARED &&
			watch->pins_policy != UMEM_PINS_REPORT)
			r = umem_ranges_add(&watch->pinned, g->start, g->end);
		else if (!umem_watch_is_assumed(g))
			r = umem_reasons_add(&watch->incomplete, g->start, g->end,
				"not tracked: %s", g->untrackable);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What vanished is gone, needs no watching, and is not what an unfinished round says. */
static int take_vanished(struct umem_watch *watch)
{
	int r = select_ranges(watch, &watch->vanished);

	for (size_t i = 0; i < watch->pieces.n && r == 0; i++) {
		const struct umem_range *v = &watch->pieces.v[i];

		r = umem_ranges_add(&watch->gone, v->start, v->end);
		if (r == 0)
			r = umem_ranges_sub(&watch->unwatched, v->start, v->end);
		for (int k = 0; k < UMEM_N_WHYS && r == 0; k++)
			r = umem_pageset_sub(&watch->sets[k], v->start, v->end);
	}
	return r < 0 ? r : watch->tracker->ops->forget(watch->tracker, &watch->vanished);
}

/* What appeared is watched in this collect, or in a later one if this fails. */
static int take_appeared(struct umem_watch *watch, const struct umem_ranges *appeared)
{
	int r = select_ranges(watch, appeared);

	for (size_t i = 0; i < watch->pieces.n && r == 0; i++)
		r = umem_ranges_add(&watch->unwatched, watch->pieces.v[i].start,
			watch->pieces.v[i].end);
	return r;
}

/* A mapping that was replaced by an equal one is gone, and new. */
static int take_lost(struct umem_watch *watch)
{
	int r = take_appeared(watch, &watch->lost);

	for (size_t i = 0; i < watch->lost.n && r == 0; i++) {
		const struct umem_range *l = &watch->lost.v[i];

		umem_space_unregister(&watch->target->space, l);
		r = umem_ranges_add(&watch->gone, l->start, l->end);
	}
	return r;
}

/* The map: gone; and, as they knew it, the sharers. */
static int refresh(struct umem_watch *watch, struct umem_note *note)
{
	int r = umem_target_refresh(watch->target, &watch->appeared, &watch->vanished, note);

	if (r == 0)
		r = take_vanished(watch);
	if (r == 0)
		r = take_appeared(watch, &watch->appeared);
	if (r == 0)
		r = umem_sharers_departed(watch->target, &watch->vanished, watch->target,
			watch->tracker->ops->watched(watch->tracker),
			&watch->sets[UMEM_WHY_SHARER]);
	return r;
}

/* The map and the tracker: written, new, gone. */
static int collect_own(struct umem_watch *watch, struct umem_note *note)
{
	const struct umem_tracker_ops *ops = watch->tracker->ops;
	int r = refresh(watch, note), lost;

	umem_ranges_clear(&watch->lost);
	if (r == 0)
		r = ops->collect(watch->tracker, &watch->sets[UMEM_WHY_WRITTEN], &watch->lost,
			&watch->incomplete, note);
	/* Also of a collect that failed: it has forgotten them. */
	lost = take_lost(watch);
	if (r == 0)
		r = lost;
	if (r == 0)
		r = ops->watch(watch->tracker, &watch->unwatched, &watch->sets[UMEM_WHY_NEW],
			note);
	if (r == 0)
		umem_ranges_clear(&watch->unwatched);
	if (r == 0 && ops->collect_punched)
		r = ops->collect_punched(watch->tracker, &watch->sets[UMEM_WHY_WRITTEN],
			&watch->sets[UMEM_WHY_PUNCHED], &watch->incomplete);
	return r;
}

static int collect_others(struct umem_watch *watch)
{
	const struct umem_ranges *watched = watch->tracker->ops->watched(watch->tracker);
	struct umem_pageset *out = &watch->sets[UMEM_WHY_SHARER];
	int r = umem_sharers_collect(&watch->sharers, watch->target, watched, false, out,
		&watch->incomplete);

	for (int i = UMEM_WHY_WRITTEN; i <= UMEM_WHY_PUNCHED && r == 0; i++)
		r = umem_sharers_aliases(watch->target, watched, &watch->sets[i], out);
	return r;
}

/* Make the sets disjoint and count. */
static int compose(struct umem_watch *watch)
{
	struct umem_round *round = &watch->round;
	int r = 0;

	for (int i = 1; i < UMEM_N_WHYS && r == 0; i++)
		for (int k = 0; k < i && r == 0; k++)
			r = umem_pageset_subtract(&watch->sets[i], &watch->sets[k]);
	if (r < 0)
		return r;
	round->dirty_bytes = 0;
	for (int i = 0; i < UMEM_N_WHYS; i++) {
		round->why_bytes[i] = umem_pageset_bytes(&watch->sets[i]);
		round->dirty_bytes += round->why_bytes[i];
	}
	round->gone_bytes = umem_ranges_bytes(&watch->gone);
	round->tracked_bytes =
		umem_ranges_bytes(watch->tracker->ops->watched(watch->tracker));
	round->complete = watch->incomplete.n == 0;
	round->incomplete = watch->incomplete.v;
	round->n_incomplete = watch->incomplete.n;
	return 0;
}

/* Pinned ranges, as far as anything is mapped there, and what direct I/O may still write. */
static int add_pinned_pages(struct umem_watch *watch)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset aliases = { 0 };
	const struct umem_ranges *watched = watch->tracker->ops->watched(watch->tracker);
	struct umem_pageset *out = &watch->sets[UMEM_WHY_PINNED];
	const struct umem_space *space = &watch->target->space;
	/* What was unmapped meanwhile is written by nobody. */
	int r = umem_pageset_keep(&watch->carried, watched);

	if (r == 0)
		r = umem_pageset_union(out, &watch->carried);

	for (size_t i = 0; i < watch->pinned.n && r == 0; i++)
		for (size_t k = umem_space_first(space, watch->pinned.v[i].start);
			k < space->n && space->v[k].start < watch->pinned.v[i].end && r == 0; k++)
			r = umem_pageset_add(out,
				umem_max_u64(space->v[k].start, watch->pinned.v[i].start),
				umem_min_u64(space->v[k].end, watch->pinned.v[i].end));
	/* A pinned page of shared memory is written wherever it is mapped. */
	if (r == 0)
		r = umem_sharers_aliases(watch->target, watched, out, &aliases);
	if (r == 0)
		r = umem_pageset_union(out, &aliases);
	return r < 0 ? r : umem_pageset_keep(out, &watch->selected);
}

/* Read pins for the next round, and what direct I/O may write until then. */
static int prepare_next(struct umem_watch *watch, struct umem_note *note)
{
	int r;

	umem_ranges_clear(&watch->pinned);
	umem_pageset_clear(&watch->carried);
	r = read_pins(watch, note);
	if (r == 0)
		r = add_pins(watch, &watch->incomplete, note);
	if (r == 0 && watch->pins.direct_io)
		r = umem_pageset_union(&watch->carried, &watch->sets[UMEM_WHY_WRITTEN]);
	if (r == 0 && watch->pins.direct_io && watch->recovering)
		r = umem_pageset_union(&watch->carried, &watch->sets[UMEM_WHY_NEW]);
	return r;
}

static int collect(struct umem_watch *watch, struct umem_note *note)
{
	int r = read_pins(watch, note);

	if (r == 0)
		r = add_pins(watch, &watch->incomplete, note);
	if (r == 0)
		r = collect_own(watch, note);
	if (r == 0)
		r = collect_others(watch);
	if (r == 0)
		r = add_untrackable(watch);
	if (r == 0)
		r = add_pinned_pages(watch);
	if (r == 0)
		r = prepare_next(watch, note);
	if (r == 0 && watch->pins_hidden)
		r = umem_reasons_add(&watch->incomplete, 0, UINT64_MAX,
			"who has memory of pid %d pinned may not be looked at",
			watch->target->pid);
	return r == 0 ? compose(watch) : r;
}

int umem_watch_collect(struct umem_watch *watch, const struct umem_round **ret_round,
	struct umem_note *note)
{
	uint64_t start_ns = umem_now_ns();
	int r;

	if (!watch->unfinished) {
		for (int i = 0; i < UMEM_N_WHYS; i++)
			umem_pageset_clear(&watch->sets[i]);
		umem_ranges_clear(&watch->gone);
		umem_reasons_clear(&watch->incomplete);
	}
	watch->unfinished = true;
	watch->pins_hidden = false;
	r = collect(watch, note);
	if (r != 0)
		return r;
	watch->unfinished = false;
	watch->recovering = false;

	uint64_t now_ns = umem_now_ns();

	watch->round.round++;
	watch->round.scan_ns = now_ns - start_ns;
	watch->round.interval_ns = now_ns - watch->round.at_ns;
	watch->round.at_ns = now_ns;
	*ret_round = &watch->round;
	return 0;
}

/* All that is mapped, whether a watch before this one saw it or not. */
static int take_all(struct umem_watch *watch)
{
	const struct umem_space *space = &watch->target->space;
	int r = 0;

	umem_ranges_clear(&watch->appeared);
	for (size_t i = 0; i < space->n && r == 0; i++)
		r = umem_ranges_add(&watch->appeared, space->v[i].start, space->v[i].end);
	return r;
}

static const struct umem_watch_left *left_of(const struct umem_watch_options *options)
{
	/* A caller of an older header has no such field. */
	return options && options->size >= sizeof(*options) ? options->left : NULL;
}

/* Register and protect everything; what is populated now is no change. */
static int arm(struct umem_watch *watch, const struct umem_watch_options *options,
	struct umem_note *note)
{
	struct umem_tracker *tracker = watch->tracker;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset baseline = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons ignored = { 0 };
	int r = umem_target_refresh(watch->target, &watch->appeared, &watch->vanished, note);

	/* What one before this one watched may be gone: its last word is not known. */
	if (r == 0 && !left_of(options))
		r = check_selection(watch, options, note);
	if (r == 0)
		r = take_all(watch);
	if (r == 0)
		r = select_ranges(watch, &watch->appeared);
	if (r == 0)
		r = tracker->ops->watch(tracker, &watch->pieces, &baseline, note);
	if (r == 0)
		r = umem_watch_check_busy(watch, note);
	if (r == 0)
		r = umem_sharers_collect(&watch->sharers, watch->target,
			tracker->ops->watched(tracker), true, &baseline, &ignored);
	if (r == 0 && left_of(options))
		r = umem_watch_take_left(watch, left_of(options), &baseline);
	if (r == 0)
		r = prepare_next(watch, note);
	return r == 0 ? umem_watch_add_assumes(watch) : r;
}

int umem_watch_new(struct umem_target *target, const struct umem_watch_options *options,
	struct umem_watch **ret_watch, struct umem_note *note)
{
	UMEM_CLEANUP(umem_watch_freep) struct umem_watch *watch = calloc(1, sizeof(*watch));
	uint64_t start_ns = umem_now_ns();
	int r;

	if (!watch)
		return -ENOMEM;
	watch->target = target;
	watch->pins_policy = options ? options->pins : UMEM_PINS_ALWAYS;
	watch->sharers.attach = options && options->sharers;
	r = init_selection(watch, options);
	if (r == 0)
		r = umem_tracker_new(target, options ? options->tracker : NULL, &watch->tracker,
			note);
	if (r == 0)
		r = arm(watch, options, note);
	if (r != 0)
		return r;
	watch->round.at_ns = umem_now_ns();
	watch->armed = (struct umem_armed){
		.tracker = watch->tracker->ops->name,
		.regions = umem_watch_n_regions(watch),
		.tracked_bytes =
			umem_ranges_bytes(watch->tracker->ops->watched(watch->tracker)),
		.stop_ns = target->stop_ns,
		.arm_ns = watch->round.at_ns - start_ns,
		.assumes = watch->assumes.v,
		.n_assumes = watch->assumes.n,
	};
	*ret_watch = UMEM_TAKE_PTR(watch);
	return 0;
}
