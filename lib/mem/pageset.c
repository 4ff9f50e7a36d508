// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A set of pages.
 *
 * Theory of operation
 *
 * What the kernel reports is runs, in ascending order, and mostly few of them:
 * so a set is an array of runs, and adding at its end costs what copying 16
 * bytes costs. A set that has more than `limit` runs is dense, and then a
 * compressed bitmap is smaller than runs: everything moves into segments of
 * 2^32 pages (16 TiB of addresses each, so one or two for a process), a Roaring
 * bitmap each: at most one bit a page and some. From then on `runs` is only a
 * buffer of additions that are not in a segment yet.
 *
 *     runs:      [a,b) [c,d) [e,f)           sorted, disjoint, never touching
 *     segments:  key 0x5 -> bitmap of page numbers & 0xffffffff
 *                key 0x7 -> bitmap
 *
 * Invariants: either n_segments is 0 and `runs` is the set; or the set is the
 * union of both, and every call but umem_pageset_add() settles `runs` into the
 * segments first. Segments are ascending by key and never empty of a bitmap.
 *
 * The bitmap library aborts nothing and reports no lack of memory; on Linux
 * with overcommit that is a process that is killed, not a wrong result.
 */
#include "lib/mem/pageset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <roaring/roaring.h>

#include "lib/base/attr.h"

struct umem_pageset_segment {
	uint64_t key;
	roaring_bitmap_t *bits;
};

#define SEGMENT_PAGES (1ull << 32)

static size_t limit_of(const struct umem_pageset *set)
{
	return set->limit ? set->limit : UMEM_PAGESET_LIMIT;
}

static void free_segments(struct umem_pageset *set)
{
	for (size_t i = 0; i < set->n_segments; i++)
		roaring_bitmap_free(set->segments[i].bits);
	free(set->segments);
	set->segments = NULL;
	set->n_segments = 0;
}

void umem_pageset_deinit(struct umem_pageset *set)
{
	free_segments(set);
	umem_ranges_deinit(&set->runs);
}

void umem_pageset_clear(struct umem_pageset *set)
{
	free_segments(set);
	umem_ranges_clear(&set->runs);
}

/* The segment of @key, made if @make; NULL if it is not there or memory is short. */
static struct umem_pageset_segment *segment(struct umem_pageset *set, uint64_t key, bool make)
{
	struct umem_pageset_segment *more;
	roaring_bitmap_t *bits;
	size_t i = 0;

	while (i < set->n_segments && set->segments[i].key < key)
		i++;
	if (i < set->n_segments && set->segments[i].key == key)
		return &set->segments[i];
	if (!make)
		return NULL;
	bits = roaring_bitmap_create();
	if (!bits)
		return NULL;
	more = reallocarray(set->segments, set->n_segments + 1, sizeof(*more));
	if (!more) {
		roaring_bitmap_free(bits);
		return NULL;
	}
	set->segments = more;
	memmove(more + i + 1, more + i, (set->n_segments - i) * sizeof(*more));
	more[i] = (struct umem_pageset_segment){ .key = key, .bits = bits };
	set->n_segments++;
	return &more[i];
}

/* Move the buffered runs into the segments; single pages go in batches. */
static int spill(struct umem_pageset *set)
{
	uint32_t single[1024];
	size_t n_single = 0;
	struct umem_pageset_segment *seg = NULL;

	for (size_t i = 0; i < set->runs.n; i++) {
		uint64_t page = set->runs.v[i].start >> UMEM_PAGE_SHIFT;
		uint64_t end = set->runs.v[i].end >> UMEM_PAGE_SHIFT;

		while (page < end) {
			uint64_t key = page / SEGMENT_PAGES;
			uint64_t stop = umem_min_u64(end, (key + 1) * SEGMENT_PAGES);

			if (n_single && (n_single == UMEM_ARRAY_LEN(single) || seg->key != key)) {
				roaring_bitmap_add_many(seg->bits, n_single, single);
				n_single = 0;
			}
			if (!seg || seg->key != key)
				seg = segment(set, key, true);
			if (!seg)
				return -ENOMEM;
			if (stop - page == 1)
				single[n_single++] = (uint32_t)page;
			else
				roaring_bitmap_add_range_closed(seg->bits, (uint32_t)page,
					(uint32_t)(stop - 1));
			page = stop;
		}
	}
	if (n_single)
		roaring_bitmap_add_many(seg->bits, n_single, single);
	umem_ranges_clear(&set->runs);
	return 0;
}

/* After this the set is in one form: runs only, or segments only. */
static int settle(struct umem_pageset *set)
{
	if (set->n_segments == 0 && set->runs.n <= limit_of(set))
		return 0;
	return spill(set);
}

int umem_pageset_add(struct umem_pageset *set, uint64_t start, uint64_t end)
{
	struct umem_ranges *runs = &set->runs;
	int r;

	start = umem_align_down(start, UMEM_PAGE_BYTES);
	end = umem_align_up(end, UMEM_PAGE_BYTES);
	/* What a scan brings is ascending: then this is all. */
	if (runs->n && runs->n < runs->room && runs->n < limit_of(set) &&
		start > runs->v[runs->n - 1].end && end > start) {
		runs->v[runs->n++] = (struct umem_range){ start, end };
		return 0;
	}
	r = umem_ranges_add(runs, start, end);
	if (r < 0 || runs->n <= limit_of(set))
		return r;
	return spill(set);
}

int umem_pageset_add_ranges(struct umem_pageset *set, const struct umem_ranges *ranges)
{
	for (size_t i = 0; i < ranges->n; i++) {
		int r = umem_pageset_add(set, ranges->v[i].start, ranges->v[i].end);

		if (r < 0)
			return r;
	}
	return 0;
}

int umem_pageset_sub(struct umem_pageset *set, uint64_t start, uint64_t end)
{
	int r = settle(set);

	if (r < 0)
		return r;
	start = umem_align_down(start, UMEM_PAGE_BYTES);
	end = umem_align_up(end, UMEM_PAGE_BYTES);
	if (set->n_segments == 0)
		return umem_ranges_sub(&set->runs, start, end);

	/* By the segments there are, not by the keys that the range could have. */
	for (size_t i = 0; i < set->n_segments; i++) {
		uint64_t base = set->segments[i].key * SEGMENT_PAGES;
		uint64_t first = umem_max_u64(start >> UMEM_PAGE_SHIFT, base);
		uint64_t last = umem_min_u64(end >> UMEM_PAGE_SHIFT, base + SEGMENT_PAGES);

		if (first < last)
			roaring_bitmap_remove_range_closed(set->segments[i].bits,
				(uint32_t)(first - base), (uint32_t)(last - 1 - base));
	}
	return 0;
}

/* Put in (or take out) every run of @other, whatever its form. */
static int by_runs(struct umem_pageset *set, struct umem_pageset *other,
	int (*change)(struct umem_pageset *, uint64_t, uint64_t))
{
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(other, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = change(set, run.start, run.end);
	umem_pageset_walk_end(&iter);
	return r;
}

int umem_pageset_union(struct umem_pageset *set, struct umem_pageset *other)
{
	struct umem_ranges sum = { 0 };
	int r;

	if (set->n_segments && other->n_segments) {
		r = settle(other);
		for (size_t i = 0; i < other->n_segments && r == 0; i++) {
			struct umem_pageset_segment *seg =
				segment(set, other->segments[i].key, true);

			if (!seg)
				return -ENOMEM;
			roaring_bitmap_or_inplace(seg->bits, other->segments[i].bits);
		}
		return r;
	}
	if (set->n_segments || other->n_segments)
		return by_runs(set, other, umem_pageset_add);
	r = umem_ranges_union(&set->runs, &other->runs, &sum);
	if (r < 0) {
		umem_ranges_deinit(&sum);
		return r;
	}
	umem_ranges_deinit(&set->runs);
	set->runs = sum;
	return settle(set);
}

/* What a set of few runs and a dense one have in common, by looking near the few. */
static int common_runs(const struct umem_pageset *few, struct umem_pageset *dense,
	struct umem_ranges *ret_common)
{
	int r = 0;

	for (size_t i = 0; i < few->runs.n && r == 0; i++) {
		uint64_t end = few->runs.v[i].end;
		struct umem_pageset_iter iter;
		struct umem_range run;

		r = umem_pageset_walk_from(dense, few->runs.v[i].start, &iter);
		if (r < 0)
			return r;
		while (r == 0 && umem_pageset_next(&iter, &run) && run.start < end)
			r = umem_ranges_add(ret_common, run.start, umem_min_u64(run.end, end));
		umem_pageset_walk_end(&iter);
	}
	return r;
}

int umem_pageset_subtract(struct umem_pageset *set, struct umem_pageset *other)
{
	struct umem_ranges rest = { 0 }, common = { 0 };
	int r = settle(set);

	if (r < 0)
		return r;
	if (umem_pageset_empty(set) || umem_pageset_empty(other))
		return 0;
	if (set->n_segments && other->n_segments) {
		r = settle(other);
		for (size_t i = 0; i < other->n_segments && r == 0; i++) {
			struct umem_pageset_segment *seg =
				segment(set, other->segments[i].key, false);

			if (seg)
				roaring_bitmap_andnot_inplace(seg->bits, other->segments[i].bits);
		}
		return r;
	}
	if (set->n_segments)
		return by_runs(set, other, umem_pageset_sub);
	if (other->n_segments) {
		r = common_runs(set, other, &common);
		if (r == 0)
			r = umem_ranges_subtract(&set->runs, &common, &rest);
		umem_ranges_deinit(&common);
	} else {
		r = umem_ranges_subtract(&set->runs, &other->runs, &rest);
	}
	if (r < 0) {
		umem_ranges_deinit(&rest);
		return r;
	}
	umem_ranges_deinit(&set->runs);
	set->runs = rest;
	return 0;
}

int umem_pageset_keep(struct umem_pageset *set, const struct umem_ranges *ranges)
{
	uint64_t at = 0;
	int r = 0;

	for (size_t i = 0; i < ranges->n && r == 0; i++) {
		r = umem_pageset_sub(set, at, ranges->v[i].start);
		at = ranges->v[i].end;
	}
	/* The highest page that an address can name is never mapped. */
	return r < 0 ? r : umem_pageset_sub(set, at, UINT64_MAX - UMEM_PAGE_BYTES);
}

bool umem_pageset_has(struct umem_pageset *set, uint64_t addr)
{
	uint64_t page = addr >> UMEM_PAGE_SHIFT;
	struct umem_pageset_segment *seg;

	if (settle(set) < 0)
		return true;
	if (set->n_segments == 0)
		return umem_ranges_has(&set->runs, addr);
	seg = segment(set, page / SEGMENT_PAGES, false);
	return seg && roaring_bitmap_contains(seg->bits, (uint32_t)page);
}

uint64_t umem_pageset_bytes(const struct umem_pageset *set)
{
	struct umem_pageset *self = (struct umem_pageset *)set;
	uint64_t pages = 0;

	/* Settling changes the form, not the set. */
	if (set->n_segments && settle(self) < 0)
		return 0;
	for (size_t i = 0; i < set->n_segments; i++)
		pages += roaring_bitmap_get_cardinality(set->segments[i].bits);
	return set->n_segments ? pages << UMEM_PAGE_SHIFT : umem_ranges_bytes(&set->runs);
}

bool umem_pageset_empty(const struct umem_pageset *set)
{
	if (set->runs.n)
		return false;
	for (size_t i = 0; i < set->n_segments; i++)
		if (!roaring_bitmap_is_empty(set->segments[i].bits))
			return false;
	return true;
}

size_t umem_pageset_memory(const struct umem_pageset *set)
{
	size_t bytes = set->runs.room * sizeof(*set->runs.v);

	for (size_t i = 0; i < set->n_segments; i++)
		bytes += sizeof(*set->segments) +
			roaring_bitmap_size_in_bytes(set->segments[i].bits);
	return bytes;
}

int umem_pageset_walk(struct umem_pageset *set, struct umem_pageset_iter *ret_iter)
{
	return umem_pageset_walk_from(set, 0, ret_iter);
}

int umem_pageset_walk_from(struct umem_pageset *set, uint64_t addr,
	struct umem_pageset_iter *ret_iter)
{
	uint64_t page = addr >> UMEM_PAGE_SHIFT;
	size_t at = 0;
	int r = settle(set);

	if (r < 0)
		return r;
	if (set->n_segments == 0)
		at = umem_ranges_find(&set->runs, addr);
	else
		while (at < set->n_segments && set->segments[at].key < page / SEGMENT_PAGES)
			at++;
	*ret_iter = (struct umem_pageset_iter){
		.set = set,
		.at = at,
		.from = page << UMEM_PAGE_SHIFT,
	};
	return 0;
}

/* Next page number of the bitmaps, or false. */
static bool next_page(struct umem_pageset_iter *it, uint64_t *ret_page)
{
	while (it->i_batch == it->n_batch) {
		if (!it->inner) {
			if (it->at == it->set->n_segments)
				return false;
			const struct umem_pageset_segment *seg = &it->set->segments[it->at];

			it->inner = roaring_create_iterator(seg->bits);
			if (seg->key == (it->from >> UMEM_PAGE_SHIFT) / SEGMENT_PAGES)
				roaring_move_uint32_iterator_equalorlarger(it->inner,
					(uint32_t)(it->from >> UMEM_PAGE_SHIFT));
		}
		it->i_batch = 0;
		it->n_batch = roaring_read_uint32_iterator(it->inner, it->batch,
			UMEM_ARRAY_LEN(it->batch));
		if (it->n_batch == 0) {
			roaring_free_uint32_iterator(it->inner);
			it->inner = NULL;
			it->at++;
		}
	}
	*ret_page = it->set->segments[it->at].key * SEGMENT_PAGES + it->batch[it->i_batch++];
	return true;
}

bool umem_pageset_next(struct umem_pageset_iter *it, struct umem_range *ret_run)
{
	uint64_t page;

	if (it->set->n_segments == 0) {
		if (it->at == it->set->runs.n)
			return false;
		*ret_run = it->set->runs.v[it->at++];
		ret_run->start = umem_max_u64(ret_run->start, it->from);
		return true;
	}
	while (next_page(it, &page)) {
		uint64_t start = page << UMEM_PAGE_SHIFT;
		struct umem_range done = it->pending;

		if (done.end == start && done.end > done.start) {
			it->pending.end += UMEM_PAGE_BYTES;
			continue;
		}
		it->pending = (struct umem_range){ start, start + UMEM_PAGE_BYTES };
		if (done.end > done.start) {
			*ret_run = done;
			return true;
		}
	}
	if (it->pending.end <= it->pending.start)
		return false;
	*ret_run = it->pending;
	it->pending = (struct umem_range){ 0 };
	return true;
}

void umem_pageset_walk_end(struct umem_pageset_iter *it)
{
	if (it->inner)
		roaring_free_uint32_iterator(it->inner);
	it->inner = NULL;
}
