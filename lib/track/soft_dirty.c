// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Dirty tracking by soft-dirty bits, for kernels without asynchronous write
 * protection (before 6.7).
 *
 * Theory of operation
 *
 * Writing 4 to clear_refs takes the soft-dirty bit from every page of the
 * process; a later write sets it again; bit 55 of the pagemap word shows it.
 * Reading and clearing are two steps, so a write that falls between them is
 * lost unless the target is stopped for both: every round says so. The bit is
 * one for all users of the process: another tracker (CRIU) steals it.
 *
 * A page that was populated and is not there any more was discarded, which no
 * bit shows: `held` remembers what was populated, one bit a page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/pagemap.h"
#include "lib/track/track.h"

#define N_WORDS 8192

/**
 * struct soft_dirty - a tracker by soft-dirty bits.
 * @watched: what the caller wants to know about.
 * @held: populated pages at the last collect.
 * @clear_fd: the process's clear_refs.
 * @words: scratch.
 */
struct soft_dirty {
	struct umem_tracker base;
	struct umem_ranges watched;
	struct umem_pageset held;
	int clear_fd;
	uint64_t *words;
};

static struct soft_dirty *self_of(struct umem_tracker *tracker)
{
	return (struct soft_dirty *)tracker;
}

static bool usable(const struct umem_feats *feats)
{
	return umem_feats_has(feats, UMEM_FEAT_SOFT_DIRTY);
}

static void destroy(struct umem_tracker *tracker)
{
	struct soft_dirty *self = self_of(tracker);

	umem_ranges_deinit(&self->watched);
	umem_pageset_deinit(&self->held);
	umem_fd_close(self->clear_fd);
	free(self->words);
	free(self);
}

static int create(struct umem_target *target, struct umem_tracker **ret_tracker)
{
	struct soft_dirty *self = calloc(1, sizeof(*self));

	if (!self)
		return -ENOMEM;
	self->words = reallocarray(NULL, N_WORDS, sizeof(*self->words));
	self->clear_fd = openat(target->proc_fd, "clear_refs", O_WRONLY | O_CLOEXEC);
	if (!self->words || self->clear_fd < 0) {
		int r = self->words ? -errno : -ENOMEM;

		destroy(&self->base);
		return r;
	}
	*ret_tracker = &self->base;
	return 0;
}

/* Populated pages of a range to @now, those of them that are soft-dirty to @dirty. */
static int look(struct soft_dirty *self, const struct umem_range *range,
	struct umem_pageset *now, struct umem_pageset *dirty)
{
	for (uint64_t at = range->start; at < range->end;) {
		size_t want = (size_t)umem_min_u64(N_WORDS, (range->end - at) >> UMEM_PAGE_SHIFT);
		size_t n;
		int r = umem_pagemap_words(self->base.target->pagemap_fd, at, self->words, want,
			&n);

		if (r < 0)
			return r;
		if (n == 0)
			return -ESRCH;
		for (size_t i = 0; i < n; i++, at += UMEM_PAGE_BYTES) {
			uint64_t word = self->words[i];

			if (!(word & (UMEM_PM_PRESENT | UMEM_PM_SWAPPED)))
				continue;
			r = umem_pageset_add(now, at, at + UMEM_PAGE_BYTES);
			if (r == 0 && (word & UMEM_PM_SOFT_DIRTY))
				r = umem_pageset_add(dirty, at, at + UMEM_PAGE_BYTES);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int watch(struct umem_tracker *tracker, const struct umem_ranges *ranges,
	struct umem_pageset *fresh, struct umem_note *note)
{
	struct soft_dirty *self = self_of(tracker);
	struct umem_space *space = &tracker->target->space;
	int r = 0;

	for (size_t i = 0; i < ranges->n && r == 0; i++) {
		const struct umem_range *w = &ranges->v[i];

		for (size_t k = umem_space_first(space, w->start);
			k < space->n && space->v[k].start < w->end && r == 0; k++) {
			struct umem_region *region = &space->v[k];
			struct umem_range piece = {
				umem_max_u64(region->start, w->start),
				umem_min_u64(region->end, w->end),
			};

			if (region->kind >= UMEM_KIND_KERNEL) {
				region->untrackable = "soft-dirty does not cover it";
				continue;
			}
			r = umem_ranges_add(&self->watched, piece.start, piece.end);
			if (r == 0)
				r = look(self, &piece, fresh, &self->held);
		}
	}
	if (r == 0)
		r = umem_pageset_union(&self->held, fresh);
	if (r == 0)
		r = umem_write_all(self->clear_fd, "4", 1);
	if (r == -ESRCH)
		return UMEM_GONE;
	return r < 0 ? umem_note_set(note, r, 0, "clearing soft-dirty bits of pid %d: %s",
			       tracker->target->pid, strerror(-r)) :
		       0;
}

static int forget(struct umem_tracker *tracker, const struct umem_ranges *ranges)
{
	struct soft_dirty *self = self_of(tracker);
	int r = 0;

	for (size_t i = 0; i < ranges->n && r == 0; i++) {
		r = umem_ranges_sub(&self->watched, ranges->v[i].start, ranges->v[i].end);
		if (r == 0)
			r = umem_pageset_sub(&self->held, ranges->v[i].start, ranges->v[i].end);
	}
	return r;
}

static int say_limits(struct soft_dirty *self, struct umem_reasons *why)
{
	const struct umem_space *space = &self->base.target->space;
	int r = umem_reasons_add(why, 0, UINT64_MAX,
		"soft-dirty bits are read and cleared in two steps: a write in between is lost "
		"unless the target is stopped for the collect");

	for (size_t k = 0; k < space->n && r == 0; k++)
		if (umem_kind_shared(space->v[k].kind) &&
			umem_ranges_overlaps(&self->watched, space->v[k].start, space->v[k].end))
			r = umem_reasons_add(why, space->v[k].start, space->v[k].end,
				"soft-dirty bits of shared memory are lost when it is swapped out "
				"or its pages are unmapped");
	return r;
}

static int collect(struct umem_tracker *tracker, struct umem_pageset *written,
	struct umem_ranges *lost, struct umem_reasons *why, struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset now = { 0 };
	struct soft_dirty *self = self_of(tracker);
	int r = 0;

	for (size_t i = 0; i < self->watched.n && r == 0; i++)
		r = look(self, &self->watched.v[i], &now, written);
	if (r == 0)
		r = umem_write_all(self->clear_fd, "4", 1);
	/* What was held and is no longer there was discarded. */
	if (r == 0)
		r = umem_pageset_subtract(&self->held, &now);
	if (r == 0)
		r = umem_pageset_union(written, &self->held);
	if (r == 0) {
		umem_pageset_deinit(&self->held);
		self->held = now;
		now = (struct umem_pageset){ 0 };
		r = say_limits(self, why);
	}
	if (r == -ESRCH)
		return UMEM_GONE;
	return r < 0 ? umem_note_set(note, r, 0, "soft-dirty bits of pid %d: %s",
			       tracker->target->pid, strerror(-r)) :
		       0;
}

static const struct umem_ranges *watched(const struct umem_tracker *tracker)
{
	return &((const struct soft_dirty *)tracker)->watched;
}

static uint64_t memory(const struct umem_tracker *tracker)
{
	const struct soft_dirty *self = (const struct soft_dirty *)tracker;

	return sizeof(*self) + N_WORDS * sizeof(*self->words) +
		self->watched.room * sizeof(struct umem_range) +
		umem_pageset_memory(&self->held);
}

const struct umem_tracker_ops umem_track_soft_dirty = {
	.name = "soft_dirty",
	.usable = usable,
	.create = create,
	.watch = watch,
	.forget = forget,
	.collect = collect,
	.watched = watched,
	.held = watched,
	.memory = memory,
	.destroy = destroy,
};
