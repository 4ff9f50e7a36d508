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
 *     set --> batch --> read --+--> buf   --> image        (copy)
 *                              +--> stage ......> image    (stage, unstage)
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
	free(stage->runs);
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

int umem_stage_reserve(struct umem_stage *stage, uint64_t bytes, size_t runs)
{
	uint64_t want = stage->used_bytes + bytes;

	if (want > stage->room_bytes) {
		int r = grow_memory(stage, want);

		if (r < 0)
			return r;
	}
	if (stage->n_runs + runs > stage->runs_room) {
		size_t room = umem_max_u64(stage->n_runs + runs, 2 * stage->runs_room);
		struct umem_range *grown = realloc(stage->runs, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		memset(grown + stage->runs_room, 0,
			(room - stage->runs_room) * sizeof(*grown));
		stage->runs = grown;
		stage->runs_room = room;
	}
	return 0;
}

int umem_copier_init(struct umem_copier *copier, struct umem_target *target)
{
	int r;

	*copier = (struct umem_copier){ .target = target, .reader = UMEM_READER_NONE };
	copier->buf = malloc(UMEM_COPIER_BYTES);
	if (!copier->buf)
		return -ENOMEM;
	r = umem_reader_init(&copier->reader, target);
	if (r != 0)
		umem_copier_deinit(copier);
	return r;
}

void umem_copier_deinit(struct umem_copier *copier)
{
	umem_reader_deinit(&copier->reader);
	umem_pageset_deinit(&copier->covered);
	umem_pageset_deinit(&copier->unreadable);
	free(copier->buf);
	*copier = (struct umem_copier){ .reader = UMEM_READER_NONE };
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
	return r == 0 ? umem_pageset_subtract(&copier->covered, set) : r;
}

/* Put what was read of a batch; what is a hole of it is not. */
static int put_runs(struct umem_copier *copier, const struct umem_range *runs, size_t n,
	const uint8_t *bytes)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t len = runs[i].end - runs[i].start;

		r = umem_copier_put(copier, runs[i].start, bytes, len >> UMEM_PAGE_SHIFT);
		bytes += len;
	}
	return r;
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

static int read_batch(struct umem_copier *copier, const struct batch *b, struct umem_stage *stage)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	uint8_t *to = copier->buf;
	int r = 0;

	if (b->n == 0)
		return 0;
	if (stage) {
		r = umem_stage_reserve(stage, b->bytes, b->n);
		if (r < 0)
			return r;
		to = stage->base + stage->used_bytes;
	}
	r = umem_reader_read(&copier->reader, b->region, b->runs, b->n, to, &holes);
	if (r != 0)
		return r;
	copier->read_bytes += b->bytes;
	if (stage) {
		memcpy(stage->runs + stage->n_runs, b->runs, b->n * sizeof(b->runs[0]));
		stage->n_runs += b->n;
		stage->used_bytes += b->bytes;
		return umem_pageset_add_ranges(&copier->unreadable, &holes);
	}
	r = put_runs(copier, b->runs, b->n, to);
	if (r == 0)
		r = take_holes(copier, &holes);
	return r == 0 && copier->step ? copier->step(copier->user, b->bytes) : r;
}

/* Add [@start, @end) of @region to the batch, which is read when it is full. */
static int add_run(struct umem_copier *copier, struct batch *b, struct umem_stage *stage,
	const struct umem_region *region, uint64_t start, uint64_t end)
{
	int r = 0;

	while (start < end && r == 0) {
		uint64_t take;

		if (b->region != region || b->n == BATCH_RUNS || b->bytes == UMEM_COPIER_BYTES) {
			r = read_batch(copier, b, stage);
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

static int copy(struct umem_copier *copier, struct umem_pageset *set, struct umem_stage *stage)
{
	const struct umem_space *space = &copier->target->space;
	struct batch b = { .n = 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		for (size_t k = umem_space_first(space, run.start);
			k < space->n && space->v[k].start < run.end && r == 0; k++)
			r = add_run(copier, &b, stage, &space->v[k],
				umem_max_u64(space->v[k].start, run.start),
				umem_min_u64(space->v[k].end, run.end));
	umem_pageset_walk_end(&iter);
	return r == 0 ? read_batch(copier, &b, stage) : r;
}

int umem_copier_copy(struct umem_copier *copier, struct umem_pageset *set)
{
	return copy(copier, set, NULL);
}

int umem_copier_stage(struct umem_copier *copier, struct umem_pageset *set,
	struct umem_stage *stage)
{
	return copy(copier, set, stage);
}

int umem_copier_unstage(struct umem_copier *copier, struct umem_stage *stage)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(&copier->unreadable, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_ranges_add(&holes, run.start, run.end);
	umem_pageset_walk_end(&iter);
	if (r == 0)
		r = put_runs(copier, stage->runs, stage->n_runs, stage->base);
	stage->used_bytes = 0;
	stage->n_runs = 0;
	return r == 0 ? take_holes(copier, &holes) : r;
}
