// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Dirty tracking by asynchronous write protection and PAGEMAP_SCAN.
 *
 * Theory of operation
 *
 * The kernel resolves a write to a protected page by itself: it lifts the
 * protection of that page and lets the writer go on. A collect is one pass of
 * PAGEMAP_SCAN that reports the unprotected pages and protects them again, both
 * under the page-table lock of each page: a write is before it (reported now)
 * or behind it (reported next time), never in neither.
 *
 *     watched   registered with the userfaultfd; in three states:
 *       armed     every page is protected, or marked where nothing is mapped;
 *                 discards and first touches are seen. One pass a round.
 *       unarmed   nothing was ever mapped there; no page table is spent on it.
 *                 A look for populated pages a round, which skips empty tables.
 *     not watched   another's, or not yet found
 *
 * Arming what was never touched would cost a page table per 2 MiB (132 MiB
 * for 64 GiB), so only blocks of 2 MiB that hold something are armed. When a
 * look finds a populated page in an unarmed block, the page is reported and
 * its block armed (populate.c).
 *
 * "Not protected" is all that the kernel means by WRITTEN. A mapping that was
 * replaced by another is not registered, so all of it would read as written,
 * or be passed over in silence. Therefore a collect begins with a scan that
 * lists mappings that are not ours (it costs per mapping, not per page), armed
 * or not, and the protecting pass insists (PM_SCAN_CHECK_WPASYNC): if a mapping
 * appears in between, it fails, an unknown part was protected without being
 * reported, and all populated pages of that span are reported instead. Where
 * nothing is armed, the same refusal comes when a block is to be armed: then
 * the look is repeated; it goes by content, so nothing is lost by it.
 *
 * Each call is made for as much as possible: the first scan passes over
 * whatever is registered and over nothing, the protecting one over armed ranges
 * with nothing mapped between them. Ten thousand mappings cost a few system
 * calls, not ten thousand.
 *
 * What the scan cannot see is looked after elsewhere: vanish.c (private
 * content that leaves a mark behind), objects.c (punched shared memory),
 * lib/op/watch.c (pins, sharers).
 */
#include "lib/track/wp_async.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/fault.h"
#include "lib/base/note.h"
#include "lib/kern/pagemap.h"
#include "lib/mem/scan.h"

/* A page that appears between two looks at the map costs one more attempt. */
#define MAX_ATTEMPTS 16

/*
 * What one call scans at first, and after much was written: the target cannot
 * map or unmap anything while a call runs, and protecting costs 40 ns a page.
 * Limited by addresses, since a limit by pages splits huge ones (or passes over
 * those of the reserved pool, Linux 6.18).
 */
#define CALL_BYTES (64ull << 20)

static struct umem_wp_async *self_of(struct umem_tracker *tracker)
{
	return (struct umem_wp_async *)tracker;
}

static bool usable(const struct umem_feats *feats)
{
	return umem_feats_has(feats, UMEM_FEAT_UFFD_WP_ASYNC) &&
		umem_feats_has(feats, UMEM_FEAT_PAGEMAP_SCAN);
}

static int create(struct umem_target *target, struct umem_tracker **ret_tracker)
{
	struct umem_wp_async *self = calloc(1, sizeof(*self));

	if (!self)
		return -ENOMEM;
	self->n_vec = 8192;
	self->vec = reallocarray(NULL, self->n_vec, sizeof(*self->vec));
	if (!self->vec) {
		free(self);
		return -ENOMEM;
	}
	*ret_tracker = &self->base;
	return 0;
}

static void destroy(struct umem_tracker *tracker)
{
	struct umem_wp_async *self = self_of(tracker);

	umem_ranges_deinit(&self->watched);
	umem_ranges_deinit(&self->armed);
	umem_ranges_deinit(&self->spans);
	umem_ranges_deinit(&self->unarmed);
	umem_ranges_deinit(&self->touched);
	umem_vanish_deinit(&self->vanish);
	umem_objects_deinit(&self->objects);
	umem_pageset_deinit(&self->scratch);
	free(self->vec);
	free(self);
}

static int watch_piece(struct umem_wp_async *self, struct umem_region *region,
	const struct umem_range *asked, struct umem_pageset *fresh)
{
	/* A scan that begins or ends inside a huge page protects nothing of it. */
	struct umem_range whole = {
		umem_align_down(asked->start, region->page_size_bytes),
		umem_align_up(asked->end, region->page_size_bytes),
	};
	const struct umem_ranges one = { .v = &whole, .n = 1 };
	const struct umem_range *piece = &whole;
	int r = umem_wp_async_register(self, region, piece);

	/* Something else is mapped there by now: the next collect finds it lost. */
	if (r == UMEM_AGAIN) {
		region->registered = true;
		return umem_ranges_add(&self->watched, piece->start, piece->end);
	}
	if (r != 0 || !region->registered)
		return r;
	self->huge |= region->page_size_bytes > UMEM_PAGE_BYTES;
	r = umem_ranges_add(&self->watched, piece->start, piece->end);
	if (r == 0)
		r = umem_wp_async_populate(self, region, piece, true, fresh);
	/* Replaced since it was registered: the next collect finds it lost. */
	if (r == -EPERM)
		return 0;
	if (r == 0 && region->kind == UMEM_KIND_FILE_PRIVATE)
		r = umem_vanish_collect(&self->vanish, self->base.target, &one, fresh, true,
			self->vec, self->n_vec);
	else if (r == 0 && umem_vanish_applies(region->kind))
		r = umem_vanish_collect_huge(&self->vanish, self->base.target, region, piece,
			fresh, true, self->vec, self->n_vec);
	return r;
}

static int watch(struct umem_tracker *tracker, const struct umem_ranges *ranges,
	struct umem_pageset *fresh, struct umem_note *note)
{
	struct umem_wp_async *self = self_of(tracker);
	struct umem_space *space = &tracker->target->space;

	for (size_t i = 0; i < ranges->n; i++) {
		const struct umem_range *w = &ranges->v[i];

		for (size_t k = umem_space_first(space, w->start);
			k < space->n && space->v[k].start < w->end; k++) {
			struct umem_region *region = &space->v[k];
			struct umem_range piece = {
				umem_max_u64(region->start, w->start),
				umem_min_u64(region->end, w->end),
			};
			int r = -(int)UMEM_FAULT_POINT("track.watch-errno");

			if (r == 0)
				r = watch_piece(self, region, &piece, fresh);

			if (r == -ESRCH)
				return UMEM_GONE;
			if (r < 0)
				umem_note_set(note, r, piece.start,
					"watching %#llx-%#llx of pid %d: %s",
					(unsigned long long)piece.start,
					(unsigned long long)piece.end, tracker->target->pid,
					strerror(-r));
			if (r != 0)
				return r;
		}
	}
	return 0;
}

static int forget(struct umem_tracker *tracker, const struct umem_ranges *ranges)
{
	struct umem_wp_async *self = self_of(tracker);
	int r = 0;

	for (size_t i = 0; i < ranges->n && r == 0; i++) {
		r = umem_ranges_sub(&self->watched, ranges->v[i].start, ranges->v[i].end);
		if (r == 0)
			r = umem_ranges_sub(&self->armed, ranges->v[i].start, ranges->v[i].end);
		if (r == 0)
			r = umem_vanish_forget(&self->vanish, &ranges->v[i]);
	}
	return r;
}

/* Bytes of the next call: more as long as little is written, little after much was. */
static uint64_t next_step(uint64_t step, uint64_t bytes, uint64_t written_bytes)
{
	if (written_bytes > bytes / 8)
		return CALL_BYTES;
	return step > UINT64_MAX / 4 ? step : step * 4;
}

int umem_wp_async_scan(struct umem_wp_async *self, const struct umem_range *span,
	struct umem_pageset *written)
{
	uint64_t step = self->huge ? UINT64_MAX : CALL_BYTES;
	struct umem_scan scan = {
		.at = span->start,
		.protect = true,
		.all = PAGE_IS_WRITTEN,
		.wanted = PAGE_IS_WRITTEN,
	};

	while (scan.at < span->end) {
		uint64_t begin = scan.at, bytes = 0;
		size_t n;
		int r;

		scan.end = span->end - begin > step ?
			umem_align_up(begin + step, CALL_BYTES) : span->end;
		scan.end = umem_min_u64(scan.end, span->end);
		r = umem_pagemap_scan(self->base.target->pagemap_fd, &scan, self->vec,
			self->n_vec, &n);
		for (size_t i = 0; i < n && r == 0; i++) {
			r = umem_pageset_add(written, self->vec[i].start, self->vec[i].end);
			bytes += self->vec[i].end - self->vec[i].start;
		}
		if (r < 0)
			return r;
		step = self->huge ? step : next_step(step, scan.at - begin, bytes);
	}
	return 0;
}

/*
 * A mapping appeared inside while the span was being protected. What was
 * protected by then is unknown: everything populated may have changed.
 */
static int report_populated(struct umem_wp_async *self, const struct umem_range *span,
	struct umem_pageset *written)
{
	struct umem_scan scan = {
		.at = span->start,
		.end = span->end,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};

	return umem_scan_pages(self->base.target, &scan, self->vec, self->n_vec, written);
}

static int collect_span(struct umem_wp_async *self, const struct umem_range *span,
	struct umem_pageset *written, struct umem_ranges *lost)
{
	struct umem_ranges other = { 0 }, rest = { 0 };
	struct umem_ranges whole = { .v = (struct umem_range *)span, .n = 1 };
	int r = 0;

	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
		umem_ranges_clear(&other);
		/* At first they are known: collect_lost(). */
		r = attempt ? umem_wp_async_find_lost(self, span, &other) : 0;
		if (r == 0 && other.n == 0)
			r = umem_wp_async_scan(self, span, written);
		else if (r == 0) {
			r = umem_ranges_subtract(&whole, &other, &rest);
			for (size_t i = 0; i < rest.n && r == 0; i++)
				r = umem_wp_async_scan(self, &rest.v[i], written);
			for (size_t i = 0; i < other.n && r == 0; i++)
				r = umem_ranges_add(lost, other.v[i].start, other.v[i].end);
		}
		if (r != -EPERM)
			break;
		r = report_populated(self, span, written);
		if (r < 0)
			break;
		r = -EAGAIN;
	}
	umem_ranges_deinit(&other);
	umem_ranges_deinit(&rest);
	return r;
}

/* Watched mappings that are registered no longer are forgotten, and go to @lost. */
static int collect_lost(struct umem_wp_async *self, struct umem_ranges *lost)
{
	struct umem_ranges other = { 0 }, ours = { 0 };
	int r = umem_wp_async_spans(self, &self->watched, true);

	for (size_t i = 0; i < self->spans.n && r == 0; i++)
		r = umem_wp_async_find_lost(self, &self->spans.v[i], &other);
	if (r == 0 && other.n)
		r = umem_ranges_intersect(&other, &self->watched, &ours);
	if (r == 0 && ours.n)
		r = forget(&self->base, &ours);
	for (size_t i = 0; i < ours.n && r == 0; i++)
		r = umem_ranges_add(lost, ours.v[i].start, ours.v[i].end);
	umem_ranges_deinit(&other);
	umem_ranges_deinit(&ours);
	return r;
}

/* A look found pages in @piece of @region, where nothing is armed. */
static int collect_touched(struct umem_wp_async *self, const struct umem_region *region,
	const struct umem_range *piece, struct umem_pageset *written, struct umem_ranges *lost)
{
	struct umem_ranges other = { 0 }, rest = { 0 };
	struct umem_ranges whole = { .v = (struct umem_range *)piece, .n = 1 };
	int r = umem_wp_async_populate(self, region, piece, false, written);

	/* Arming was refused: a mapping appeared since collect_lost(). */
	for (int attempt = 1; attempt < MAX_ATTEMPTS && r == -EPERM; attempt++) {
		umem_ranges_clear(&other);
		r = umem_wp_async_find_lost(self, piece, &other);
		if (r == 0)
			r = umem_ranges_subtract(&whole, &other, &rest);
		for (size_t i = 0; i < rest.n && r == 0; i++)
			r = umem_wp_async_populate(self, region, &rest.v[i], false, written);
	}
	for (size_t i = 0; i < other.n && r == 0; i++)
		r = umem_ranges_add(lost, other.v[i].start, other.v[i].end);
	umem_ranges_deinit(&other);
	umem_ranges_deinit(&rest);
	return r == -EPERM ? -EAGAIN : r;
}

/* Populated pages where nothing is armed: first touches. */
static int collect_unarmed(struct umem_wp_async *self, struct umem_pageset *written,
	struct umem_ranges *lost)
{
	struct umem_space *space = &self->base.target->space;
	int r = umem_ranges_subtract(&self->watched, &self->armed, &self->unarmed);

	if (r == 0)
		r = umem_wp_async_touched(self, &self->touched);
	for (size_t i = 0; i < self->touched.n && r == 0; i++) {
		const struct umem_range *t = &self->touched.v[i];

		for (size_t k = umem_space_first(space, t->start);
			k < space->n && space->v[k].start < t->end && r == 0; k++) {
			struct umem_range piece = {
				umem_max_u64(space->v[k].start, t->start),
				umem_min_u64(space->v[k].end, t->end),
			};

			r = collect_touched(self, &space->v[k], &piece, written, lost);
		}
	}
	return r;
}

/* Private pages of files in one go; huge pages mapping by mapping. */
static int collect_vanished(struct umem_wp_async *self, struct umem_pageset *written)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges files = { 0 };
	struct umem_space *space = &self->base.target->space;
	const struct umem_ranges *w = &self->watched;
	int r = 0;

	for (size_t k = 0; k < space->n && r == 0; k++) {
		const struct umem_region *g = &space->v[k];

		/* Not @registered: a mapping that grew is not until its new part is watched. */
		if (!umem_vanish_applies(g->kind))
			continue;
		for (size_t i = umem_ranges_find(w, g->start);
			i < w->n && w->v[i].start < g->end && r == 0; i++) {
			struct umem_range piece = {
				umem_max_u64(g->start, w->v[i].start),
				umem_min_u64(g->end, w->v[i].end),
			};

			if (g->kind == UMEM_KIND_FILE_PRIVATE)
				r = umem_ranges_add(&files, piece.start, piece.end);
			else
				r = umem_vanish_collect_huge(&self->vanish, self->base.target, g,
					&piece, written, false, self->vec, self->n_vec);
		}
	}
	return r < 0 ? r : umem_vanish_collect(&self->vanish, self->base.target, &files, written,
		false, self->vec, self->n_vec);
}

static int collect(struct umem_tracker *tracker, struct umem_pageset *written,
	struct umem_ranges *lost, struct umem_reasons *why, struct umem_note *note)
{
	struct umem_wp_async *self = self_of(tracker);
	int r = collect_lost(self, lost);
	size_t before = lost->n;

	if (r == 0)
		r = umem_wp_async_spans(self, &self->armed, false);
	for (size_t i = 0; i < self->spans.n && r == 0; i++)
		r = collect_span(self, &self->spans.v[i], written, lost);
	if (r == 0)
		r = collect_unarmed(self, written, lost);
	if (r == 0 && lost->n != before)
		r = forget(tracker, lost);
	if (r == 0)
		r = collect_vanished(self, written);
	if (r == 0 && !umem_feats_has(&tracker->target->feats, UMEM_FEAT_SCAN_REPORTS_HOLES))
		r = umem_reasons_add(why, 0, UINT64_MAX,
			"this kernel does not report when 2 MiB or more are discarded at once "
			"(scan_reports_holes)");
	if (r == 0)
		r = -(int)UMEM_FAULT_POINT("track.collect-errno");
	if (r == -ESRCH)
		return UMEM_GONE;
	if (r == -EAGAIN)
		return umem_note_set(note, r, 0,
			"the mappings of pid %d changed %d times while they were scanned",
			tracker->target->pid, MAX_ATTEMPTS);
	return r < 0 ? umem_note_set(note, r, 0, "scanning pid %d: %s", tracker->target->pid,
			       strerror(-r)) :
		       r;
}

static int collect_punched(struct umem_tracker *tracker, struct umem_pageset *written,
	struct umem_pageset *punched, struct umem_reasons *why)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset grown = { 0 };
	struct umem_wp_async *self = self_of(tracker);
	int r = umem_objects_collect(&self->objects, tracker->target, &self->watched,
		self->vec, self->n_vec, written, &grown, punched, why);

	/* Wherever an object shows data is armed: there a first touch is no change. */
	if (r == 0)
		r = umem_wp_async_arm_data(self, &grown, written);
	return r == -ESRCH ? UMEM_GONE : r;
}

static const struct umem_ranges *watched(const struct umem_tracker *tracker)
{
	return &((const struct umem_wp_async *)tracker)->watched;
}

/* Where nothing is armed, nothing was populated at the last look. */
static const struct umem_ranges *armed(const struct umem_tracker *tracker)
{
	return &((const struct umem_wp_async *)tracker)->armed;
}

static uint64_t memory(const struct umem_tracker *tracker)
{
	const struct umem_wp_async *self = (const struct umem_wp_async *)tracker;

	return sizeof(*self) + self->n_vec * sizeof(*self->vec) +
		(self->watched.room + self->armed.room + self->spans.room +
			self->unarmed.room + self->touched.room) * sizeof(struct umem_range) +
		umem_pageset_memory(&self->vanish.held) + umem_pageset_memory(&self->scratch) +
		umem_objects_memory(&self->objects);
}

const struct umem_tracker_ops umem_track_wp_async = {
	.name = "wp_async",
	.usable = usable,
	.create = create,
	.watch = watch,
	.forget = forget,
	.collect = collect,
	.collect_punched = collect_punched,
	.watched = watched,
	.held = armed,
	.memory = memory,
	.destroy = destroy,
};
