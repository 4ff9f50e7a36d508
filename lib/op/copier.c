// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages of a target into an image.
 *
 * Theory of operation
 *
 * A set is cut at the borders of regions, for each has its way to be read, and
 * then into batches: runs of one region, a megabyte or 512 runs at most, which is
 * one system call where the memory is private.
 *
 *     set --> batch --> read --> buf --> image                       (copy)
 *     set --> pieces --> slices of equal size --> stage ....> image  (stage, unstage)
 *
 * Within a stop the processors of the target are idle: 16 MiB that another processor
 * has just written take one thread 3.1 ms (5.4 GB/s, Linux 6.18 on the test machine).
 *
 * What could not be read is taken out again: the image must not show zeros for
 * what is not known.
 */
#include "lib/op/copier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/attr.h"

#define BATCH_RUNS 512

#define STAGE_ALIGN (2ull << 20)

/* A thread is not worth while for less. */
#define SLICE_BYTES (256ull << 10)

/** struct batch - runs of one region. */
struct batch {
	const struct umem_region *region;
	struct umem_range runs[BATCH_RUNS];
	size_t n;
	uint64_t bytes;
};

void umem_stage_deinit(struct umem_stage *stage)
{
	if (stage->base)
		munmap(stage->base, stage->room_bytes);
	free(stage->pieces);
	*stage = (struct umem_stage){ 0 };
}

static int grow_memory(struct umem_stage *stage, uint64_t room)
{
	void *grown;

	room = umem_align_up(room, STAGE_ALIGN);
	grown = stage->base ? mremap(stage->base, stage->room_bytes, room, MREMAP_MAYMOVE) :
			      mmap(NULL, room, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (grown == MAP_FAILED)
		return -ENOMEM;
	stage->base = grown;
	/* Huge pages where there are any: fewer faults now, fewer misses later. */
	madvise(stage->base, room, MADV_HUGEPAGE);
	for (uint64_t at = stage->room_bytes; at < room; at += UMEM_PAGE_BYTES)
		*(volatile uint8_t *)(stage->base + at) = 0;
	stage->room_bytes = room;
	return 0;
}

int umem_stage_reserve(struct umem_stage *stage, uint64_t bytes, size_t pieces)
{
	uint64_t want = stage->used_bytes + bytes;

	if (want > stage->room_bytes) {
		int r = grow_memory(stage, want);

		if (r < 0)
			return r;
	}
	if (stage->n_pieces + pieces > stage->pieces_room) {
		size_t room = umem_max_u64(stage->n_pieces + pieces, 2 * stage->pieces_room);
		struct umem_stage_piece *grown = reallocarray(stage->pieces, room,
			sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		memset(grown + stage->pieces_room, 0,
			(room - stage->pieces_room) * sizeof(*grown));
		stage->pieces = grown;
		stage->pieces_room = room;
	}
	return 0;
}

int umem_copier_init(struct umem_copier *copier, struct umem_target *target)
{
	unsigned width = umem_fan_width();
	int r = 0;

	*copier = (struct umem_copier){ .target = target };
	copier->buf = malloc(UMEM_COPIER_BYTES);
	if (!copier->buf)
		return -ENOMEM;
	while (r == 0 && copier->n_readers < width) {
		r = umem_reader_init(&copier->readers[copier->n_readers], target);
		copier->n_readers += r == 0;
	}
	/* One is enough. */
	if (r < 0 && copier->n_readers > 0)
		r = 0;
	if (r != 0)
		umem_copier_deinit(copier);
	return r;
}

void umem_copier_deinit(struct umem_copier *copier)
{
	for (unsigned i = 0; i < copier->n_readers; i++)
		umem_reader_deinit(&copier->readers[i]);
	umem_pageset_deinit(&copier->covered);
	umem_pageset_deinit(&copier->unreadable);
	free(copier->buf);
	*copier = UMEM_COPIER_NONE;
}

int umem_copier_prepare(struct umem_copier *copier)
{
	const struct umem_space *space = &copier->target->space;
	int r = 0;

	for (unsigned i = 0; i < copier->n_readers; i++)
		for (size_t k = 0; k < space->n && r == 0; k++)
			r = umem_reader_prepare(&copier->readers[i], &space->v[k]);
	return r;
}

void umem_copier_begin(struct umem_copier *copier, struct umem_image_writer *writer,
	uint32_t space, bool compare, bool more)
{
	copier->writer = writer;
	copier->space = space;
	copier->compare = compare;
	copier->read_bytes = 0;
	if (more)
		return;
	umem_pageset_clear(&copier->covered);
	umem_pageset_clear(&copier->unreadable);
}

int umem_copier_put(struct umem_copier *copier, uint64_t addr, const void *bytes,
	uint64_t n_pages)
{
	uint64_t len = n_pages << UMEM_PAGE_SHIFT;
	int r = copier->compare ?
		umem_image_put_if_changed(copier->writer, copier->space, addr, bytes, n_pages) :
		umem_image_put(copier->writer, copier->space, addr, bytes, n_pages);

	if (r == 0 && !umem_pageset_empty(&copier->unreadable))
		r = umem_pageset_sub(&copier->unreadable, addr, addr + len);
	return r < 0 ? r : umem_pageset_add(&copier->covered, addr, addr + len);
}

int umem_copier_drop(struct umem_copier *copier, struct umem_pageset *set)
{
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_image_drop(copier->writer, copier->space, run.start, run.end);
	umem_pageset_walk_end(&iter);
	if (r == 0)
		r = umem_pageset_subtract(&copier->covered, set);
	return r == 0 ? umem_pageset_subtract(&copier->unreadable, set) : r;
}

/* Pages that could not be read: not of the image, and said. */
static int take_holes(struct umem_copier *copier, const struct umem_ranges *holes)
{
	int r = 0;

	for (size_t i = 0; i < holes->n && r == 0; i++) {
		const struct umem_range *h = &holes->v[i];

		r = umem_image_drop(copier->writer, copier->space, h->start, h->end);
		if (r == 0)
			r = umem_pageset_sub(&copier->covered, h->start, h->end);
		if (r == 0)
			r = umem_pageset_add(&copier->unreadable, h->start, h->end);
	}
	return r;
}

/* Read a batch, and put it. */
static int copy_batch(struct umem_copier *copier, const struct batch *b)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	const uint8_t *bytes = copier->buf;
	int r;

	if (b->n == 0)
		return 0;
	r = umem_reader_read(&copier->readers[0], b->region, b->runs, b->n, copier->buf, &holes);
	if (r != 0)
		return r;
	copier->read_bytes += b->bytes;
	for (size_t i = 0; i < b->n && r == 0; i++) {
		uint64_t len = b->runs[i].end - b->runs[i].start;

		r = umem_copier_put(copier, b->runs[i].start, bytes, len >> UMEM_PAGE_SHIFT);
		bytes += len;
	}
	if (r == 0)
		r = take_holes(copier, &holes);
	return r == 0 && copier->step ? copier->step(copier->user, b->bytes) : r;
}

/** struct filler - takes runs of regions into batches, which go on when they are full. */
struct filler {
	struct batch batch;
	int (*flush)(void *user, const struct batch *b);
	void *user;
};

/* Add [@start, @end) of @region to the batch. */
static int fill(struct filler *f, const struct umem_region *region, uint64_t start, uint64_t end)
{
	struct batch *b = &f->batch;
	int r = 0;

	while (start < end && r == 0) {
		uint64_t take;

		if (b->region != region || b->n == BATCH_RUNS || b->bytes == UMEM_COPIER_BYTES) {
			r = f->flush(f->user, b);
			b->region = region;
			b->n = 0;
			b->bytes = 0;
			continue;
		}
		take = umem_min_u64(end - start, UMEM_COPIER_BYTES - b->bytes);
		b->runs[b->n++] = (struct umem_range){ start, start + take };
		b->bytes += take;
		start += take;
	}
	return r;
}

/* Each run of @set within one region. */
static int each_piece(const struct umem_copier *copier, struct umem_pageset *set,
	int (*each)(void *user, const struct umem_region *region, uint64_t start, uint64_t end),
	void *user)
{
	const struct umem_space *space = &copier->target->space;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		for (size_t k = umem_space_first(space, run.start);
			k < space->n && space->v[k].start < run.end && r == 0; k++)
			r = each(user, &space->v[k], umem_max_u64(space->v[k].start, run.start),
				umem_min_u64(space->v[k].end, run.end));
	umem_pageset_walk_end(&iter);
	return r;
}

static int flush_copy(void *user, const struct batch *b)
{
	return copy_batch(user, b);
}

static int fill_piece(void *user, const struct umem_region *region, uint64_t start, uint64_t end)
{
	return fill(user, region, start, end);
}

int umem_copier_copy(struct umem_copier *copier, struct umem_pageset *set)
{
	struct filler f = { .flush = flush_copy, .user = copier };
	int r = each_piece(copier, set, fill_piece, &f);

	return r == 0 ? copy_batch(copier, &f.batch) : r;
}

static int add_piece(void *user, const struct umem_region *region, uint64_t start, uint64_t end)
{
	struct umem_stage *stage = user;
	int r = umem_stage_reserve(stage, end - start, 1);

	if (r < 0)
		return r;
	stage->pieces[stage->n_pieces++] = (struct umem_stage_piece){ region, start, end };
	stage->used_bytes += end - start;
	return 0;
}

/**
 * struct slice - one thread's part of what is staged.
 * @stage: where to.
 * @piece, @offset: the first piece that is new in it, and where its bytes begin.
 * @reader: its own.
 * @first, @last: bytes of the stage that it fills.
 * @at: where it is.
 * @holes: what it could not read.
 */
struct slice {
	struct umem_stage *stage;
	size_t piece;
	uint64_t offset;
	struct umem_reader *reader;
	uint64_t first;
	uint64_t last;
	uint64_t at;
	struct umem_ranges holes;
};

static int flush_slice(void *user, const struct batch *b)
{
	struct slice *s = user;
	int r;

	if (b->n == 0)
		return 0;
	r = umem_reader_read(s->reader, b->region, b->runs, b->n, s->stage->base + s->at,
		&s->holes);
	s->at += b->bytes;
	return r;
}

static int read_slice(void *user, unsigned index)
{
	struct slice *s = (struct slice *)user + index;
	struct filler f = { .flush = flush_slice, .user = s };
	uint64_t offset = s->offset;
	int r = 0;

	s->at = s->first;
	for (size_t i = s->piece; i < s->stage->n_pieces && offset < s->last && r == 0; i++) {
		const struct umem_stage_piece *p = &s->stage->pieces[i];
		uint64_t end = offset + (p->end - p->start);

		if (end > s->first)
			r = fill(&f, p->region,
				p->start + (umem_max_u64(offset, s->first) - offset),
				p->start + (umem_min_u64(end, s->last) - offset));
		offset = end;
	}
	return r == 0 ? flush_slice(s, &f.batch) : r;
}

int umem_copier_stage(struct umem_copier *copier, struct umem_pageset *set,
	struct umem_stage *stage)
{
	struct slice slices[UMEM_FAN_MAX] = { 0 };
	unsigned n = copier->n_readers;
	size_t piece = stage->n_pieces;
	uint64_t offset = stage->used_bytes, bytes, share;
	int r = each_piece(copier, set, add_piece, stage);

	bytes = stage->used_bytes - offset;
	if (r != 0 || bytes == 0)
		return r;
	if (bytes < SLICE_BYTES * n)
		n = 1;
	share = umem_align_up(bytes / n, UMEM_PAGE_BYTES);
	for (unsigned i = 0; i < n; i++)
		slices[i] = (struct slice){
			.stage = stage,
			.piece = piece,
			.offset = offset,
			.reader = &copier->readers[i],
			.first = offset + umem_min_u64(i * share, bytes),
			.last = offset + (i == n - 1 ? bytes :
						       umem_min_u64((i + 1) * share, bytes)),
		};
	r = umem_fan_out(n, read_slice, slices);
	/* What is read again, is readable now, or is not. */
	if (r == 0 && !umem_pageset_empty(&copier->unreadable))
		r = umem_pageset_subtract(&copier->unreadable, set);
	for (unsigned i = 0; i < n; i++) {
		if (r == 0)
			r = umem_pageset_add_ranges(&copier->unreadable, &slices[i].holes);
		umem_ranges_deinit(&slices[i].holes);
	}
	copier->read_bytes += bytes;
	return r;
}

/* Put [@start, @end) of a piece, but for what is in @seen; then all of it is. */
static int put_unseen(struct umem_copier *copier, const struct umem_stage_piece *p,
	const uint8_t *bytes, struct umem_pageset *seen)
{
	uint64_t at = p->start;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk_from(seen, p->start, &iter);

	if (r < 0)
		return r;
	while (r == 0 && at < p->end) {
		bool more = umem_pageset_next(&iter, &run) && run.start < p->end;
		uint64_t to = more ? run.start : p->end;

		if (at < to)
			r = umem_copier_put(copier, at, bytes + (at - p->start),
				(to - at) >> UMEM_PAGE_SHIFT);
		at = more ? umem_max_u64(run.end, at) : p->end;
	}
	umem_pageset_walk_end(&iter);
	return r == 0 ? umem_pageset_add(seen, p->start, p->end) : r;
}

int umem_copier_unstage(struct umem_copier *copier, struct umem_stage *stage,
	struct umem_pageset *gone)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset seen = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	const uint8_t *bytes = stage->base + stage->used_bytes;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(&copier->unreadable, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_ranges_add(&holes, run.start, run.end);
	umem_pageset_walk_end(&iter);
	if (r == 0 && gone)
		r = umem_pageset_union(&seen, gone);
	/* From the end: what was staged last of a page counts. */
	for (size_t i = stage->n_pieces; i > 0 && r == 0; i--) {
		const struct umem_stage_piece *p = &stage->pieces[i - 1];

		bytes -= p->end - p->start;
		r = put_unseen(copier, p, bytes, &seen);
	}
	stage->used_bytes = 0;
	stage->n_pieces = 0;
	return r == 0 ? take_holes(copier, &holes) : r;
}
