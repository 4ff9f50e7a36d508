// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshot by pre-copy: copy while it runs, stop it for the rest.
 *
 * Theory of operation
 *
 *     running   baseline   a collect whose round is forgotten; then all that has
 *                          content, or (an increment) what changed since the parent
 *               rounds     what changed since the round before, into the image, as
 *                          long as it is much
 *               stages     the same into memory, which is many times faster than the
 *                          image, so that less changes meanwhile; until it is little
 *                          or does not get less
 *     stopped   last collect; read into memory: what changed, what no tracker
 *               watches, what may be written without a fault; registers, mappings
 *     running   write out what was read
 *
 * A page that changed is in the next collect, so each page of the image is as the
 * last collect saw it, and that one was made while nothing ran. What was not
 * copied of a round (the one that was little enough) is carried into the stop.
 *
 * The watch stays armed behind the stop where an increment is to follow: its next
 * round is what changed since this image.
 *
 * What is unmapped, or again a file's own page, is dropped from the image: at once while
 * rounds go there, and of what is staged when it is written out (gone has what is not of
 * the image any more and was not read again since).
 */
#include "lib/op/snapshot.h"

#include <errno.h>
#include <string.h>

#include "lib/kern/vmstat.h"
#include "lib/op/watch.h"

/* So little is left for the stop: half a millisecond of reading. */
#define LITTLE_BYTES (4ull << 20)

/* So much, and no more than a part of memory, is staged. */
#define STAGED_MOST_BYTES (512ull << 20)
#define STAGED_PART       16

/* Rounds that do not get shorter by this part end it; so does this many of them. */
#define SHORTER(before) ((before) / 4 * 3)
#define MOST_ROUNDS     12

/* Room for what a last collect may bring besides what is known. */
#define SPARE_BYTES (16ull << 20)
#define SPARE_RUNS  4096

static int prepare_member(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_note *note)
{
	struct umem_attach_options attach = {
		.size = sizeof(attach),
		.deadline_ns = UMEM_SNAPSHOT_ATTACH_NS,
		.feature_override = s->options.feature_override,
	};
	struct umem_watch_options watch = {
		.size = sizeof(watch),
		.pins = UMEM_PINS_ALWAYS,
		.regions = s->selected.v,
		.n_regions = s->whole ? 0 : s->selected.n,
	};
	int r = 0;

	if (!m->target)
		r = umem_target_attach(m->pid, &attach, &m->target, note);
	if (r == 0 && !m->watch)
		r = umem_watch_new(m->target, &watch, &m->watch, note);
	if (r == 0 && !m->copier.target)
		r = umem_copier_init(&m->copier, m->target);
	return r;
}

static int prepare(struct umem_snapshotter *s, struct umem_note *note)
{
	int r = 0;

	for umem_each_member(s, m)
		if (r == 0)
			r = umem_snapshot_result(s, m, prepare_member(s, m, note));
	return r;
}

/* Is this reason of a round about memory that is copied within the stop anyway? */
static bool is_unwatched(const struct umem_snapshot_member *m, const struct umem_reason *why)
{
	size_t i = umem_ranges_find(&m->unwatched, why->start);

	return i < m->unwatched.n && m->unwatched.v[i].start <= why->start &&
		why->end <= m->unwatched.v[i].end;
}

/* What the tracker of a member does not watch, of its mappings as they are now. */
static int find_unwatched(struct umem_snapshotter *s, struct umem_snapshot_member *m)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges all = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges mapped = { 0 };
	const struct umem_space *space = &m->target->space;
	int r = 0;

	for (size_t i = 0; i < space->n && r == 0; i++)
		r = umem_ranges_add(&all, space->v[i].start, space->v[i].end);
	if (r == 0)
		r = umem_ranges_intersect(&all, &s->selected, &mapped);
	return r == 0 ? umem_ranges_subtract(&mapped,
		m->watch->tracker->ops->watched(m->watch->tracker), &m->unwatched) : r;
}

/* One collect of a member: into its dirty and gone sets. */
static int collect_member(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_note *note)
{
	const struct umem_round *round;
	const struct umem_range *gone;
	size_t n;
	int r = umem_watch_collect(m->watch, &round, note);

	if (r == 0)
		r = find_unwatched(s, m);
	for (size_t i = 0; r == 0 && i < round->n_incomplete; i++)
		if (!is_unwatched(m, &round->incomplete[i]))
			r = umem_reasons_add(&m->why, round->incomplete[i].start,
				round->incomplete[i].end, "%s", round->incomplete[i].reason);
	if (r != 0)
		return r;
	gone = umem_watch_gone(m->watch, &n);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = umem_pageset_add(&m->gone, gone[i].start, gone[i].end);
		if (r == 0)
			r = umem_pageset_sub(&m->dirty, gone[i].start, gone[i].end);
	}
	for (int i = 0; i < UMEM_N_WHYS && r == 0; i++)
		r = umem_pageset_union(&m->dirty, &m->watch->sets[i]);
	return r;
}

/* What one member changed in shared memory is dirty in the others, too. */
static int spread(struct umem_snapshotter *s)
{
	int r = 0;

	for umem_each_member(s, from)
		for umem_each_member(s, to)
			for (int i = 0; i < UMEM_N_WHYS && r == 0 && from != to; i++)
				r = umem_sharers_spread(from->target, &from->watch->sets[i],
					to->target, to->watch->tracker->ops->watched(
						to->watch->tracker), &to->dirty);
	return r;
}

/* A collect of all. @ret_bytes: that are dirty now. */
static int collect(struct umem_snapshotter *s, uint64_t *ret_bytes, struct umem_note *note)
{
	uint64_t bytes = 0;
	int r = 0;

	for umem_each_member(s, m)
		if (r == 0)
			r = umem_snapshot_result(s, m, collect_member(s, m, note));
	if (r == 0)
		r = spread(s);
	for umem_each_member(s, m)
		bytes += umem_pageset_bytes(&m->dirty);
	*ret_bytes = bytes;
	return r;
}

/* What was mapped anew, or changed, is not gone. */
static int drop_gone(struct umem_snapshot_member *m)
{
	int r = umem_copier_drop(&m->copier, &m->gone);

	umem_pageset_clear(&m->gone);
	return r;
}

/* A member that was not copied yet: all that has content. */
static int find_content(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_note *note)
{
	int r;

	umem_pageset_clear(&m->dirty);
	umem_pageset_clear(&m->gone);
	r = umem_content_find(m->target, &s->selected, &m->content, &m->why, note);
	return r == 0 ? umem_pageset_union(&m->dirty, &m->content.data) : r;
}

/* The first set: all that has content, or what changed since the parent. */
static int baseline(struct umem_snapshotter *s, struct umem_note *note)
{
	uint64_t bytes = 0;
	int r;

	for umem_each_member(s, m) {
		umem_pageset_clear(&m->dirty);
		umem_pageset_clear(&m->gone);
	}
	r = collect(s, &bytes, note);
	bytes = 0;
	for umem_each_member(s, m) {
		if (r == 0 && m->tracked)
			r = umem_image_put_parent(s->writer, umem_snapshot_space(s, m), 0,
				UMEM_ADDRESS_END);
		else if (r == 0)
			r = umem_snapshot_result(s, m, find_content(s, m, note));
		bytes += umem_pageset_bytes(&m->dirty);
	}
	umem_snapshot_begin_round(s, bytes);
	return r;
}

/* What is a file's again is none of ours; what is dirty now is not gone. */
static int settle(struct umem_snapshot_member *m)
{
	int r = umem_content_settle(m->target, &m->dirty, &m->gone);

	return r == 0 ? umem_pageset_subtract(&m->gone, &m->dirty) : r;
}

/* Copy what is dirty of a member now. */
static int copy_member(struct umem_snapshotter *s, struct umem_snapshot_member *m)
{
	int r = settle(m);

	if (r == 0)
		r = drop_gone(m);
	if (r == 0)
		r = umem_snapshot_copy(s, m, &m->dirty, &m->content.swapped);
	umem_pageset_clear(&m->dirty);
	umem_pageset_clear(&m->content.swapped);
	return r;
}

/* Read what is dirty of a member into memory. */
static int stage_member(struct umem_snapshot_member *m)
{
	int r = settle(m);

	if (r == 0)
		r = umem_copier_stage(&m->copier, &m->dirty, &m->stage);
	umem_pageset_clear(&m->dirty);
	return r;
}

static uint64_t staged_most(void)
{
	struct umem_meminfo info;

	return umem_meminfo_read(NULL, &info) < 0 ? STAGED_MOST_BYTES / STAGED_PART :
		umem_min_u64(STAGED_MOST_BYTES, info.available_bytes / STAGED_PART);
}

/* Rounds into the image as long as much changes, then into memory; the rest is for the stop. */
static int run_rounds(struct umem_snapshotter *s, struct umem_note *note)
{
	uint64_t before = UINT64_MAX, bytes, room = staged_most();
	bool staging = false;
	int r = baseline(s, note);

	while (r == 0) {
		for umem_each_member(s, m)
			if (r == 0)
				r = umem_snapshot_result(s, m, staging ? stage_member(m) :
									 copy_member(s, m));
		if (r == 0)
			r = collect(s, &bytes, note);
		if (r != 0 || bytes <= LITTLE_BYTES || s->round >= MOST_ROUNDS)
			break;
		/* Too much even for the last stage, or it does not get less. */
		if (bytes > SHORTER(before) && (staging || bytes > room / 2))
			break;
		staging |= bytes <= room / 2;
		if (staging && bytes > room)
			break;
		room -= staging ? bytes : 0;
		before = bytes;
		umem_snapshot_begin_round(s, bytes);
	}
	return r;
}

/* Make room for what is read within the stop, and know where to read it. */
static int make_ready(struct umem_snapshot_member *m)
{
	int r = umem_copier_prepare(&m->copier);

	return r == 0 ? umem_stage_reserve(&m->stage, umem_pageset_bytes(&m->dirty) * 5 / 4 +
		SPARE_BYTES, SPARE_RUNS) : r;
}

/* Nothing runs: what changed since the last collect is known; and what nobody watches. */
static int read_rest(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_content_deinit) struct umem_content more = { 0 };
	uint64_t before = m->stage.used_bytes;
	int r = umem_content_find(m->target, &m->unwatched, &more, &m->why, note);

	if (r == 0)
		r = settle(m);
	if (r == 0)
		r = umem_pageset_union(&m->dirty, &more.data);
	if (r == 0)
		r = umem_copier_stage(&m->copier, &m->dirty, &m->stage);
	s->result.stopped_bytes += m->stage.used_bytes - before;
	return r;
}

static int stop(struct umem_snapshotter *s, struct umem_note *note)
{
	uint64_t bytes;
	int r = umem_snapshot_stop(s, note);

	if (r == 0)
		r = collect(s, &bytes, note);
	for umem_each_member(s, m)
		if (r == 0)
			r = read_rest(s, m, note);
	if (r == 0)
		r = umem_snapshot_describe(s);
	return umem_snapshot_go(s, r, note);
}

/* What was read into memory, into the image. */
static int write_out(struct umem_snapshot_member *m)
{
	int r = umem_copier_drop(&m->copier, &m->gone);

	if (r == 0)
		r = umem_copier_unstage(&m->copier, &m->stage, &m->gone);
	umem_pageset_clear(&m->gone);
	umem_pageset_clear(&m->dirty);
	return r;
}

static int take(struct umem_snapshotter *s, struct umem_note *note)
{
	int r = run_rounds(s, note);

	for umem_each_member(s, m)
		if (r == 0)
			r = make_ready(m);
	if (r == 0)
		r = stop(s, note);
	umem_snapshot_begin_round(s, 0);
	for umem_each_member(s, m)
		if (r == 0)
			r = write_out(m);
	return r;
}

const struct umem_snapshot_ops umem_snapshot_precopy = {
	.method = UMEM_SNAPSHOT_PRECOPY,
	.name = "precopy",
	.sees_writers = true,
	.prepare = prepare,
	.take = take,
};
