// SPDX-License-Identifier: LGPL-2.1-or-later
/* Slices: the array, and what the mappings leave of it. */
#include "lib/policy/slice.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"
#include "lib/policy/slice_array.h"

void umem_slices_init(struct umem_slices *self, uint64_t page_bytes)
{
	assert(page_bytes && (page_bytes & (page_bytes - 1)) == 0);
	*self = (struct umem_slices){ .page_bytes = page_bytes, .max = UMEM_SLICES_MAX };
}

void umem_slices_deinit(struct umem_slices *self)
{
	free(self->v);
	*self = (struct umem_slices){ .page_bytes = self->page_bytes, .max = self->max };
}

int umem_slices_append(struct umem_slices *self, const struct umem_slice *slice)
{
	if (self->n == self->room) {
		size_t room = self->room ? self->room * 2 : 64;
		struct umem_slice *v = reallocarray(self->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		self->v = v;
		self->room = room;
	}
	self->v[self->n++] = *slice;
	return 0;
}

void umem_slices_take(struct umem_slices *self, struct umem_slices *from)
{
	free(self->v);
	self->v = UMEM_TAKE_PTR(from->v);
	self->n = from->n;
	self->room = from->room;
	from->n = from->room = 0;
}

size_t umem_slices_find(const struct umem_slices *self, uint64_t addr)
{
	size_t low = 0, high = self->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (umem_slice_end(self, &self->v[mid]) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* The slice's part [start, end); what was counted of it is scaled until it is seen again. */
static struct umem_slice part_of(const struct umem_slices *self, const struct umem_slice *slice,
	uint64_t start, uint64_t end)
{
	struct umem_slice part = *slice;
	uint32_t whole = slice->n_pages, n = (uint32_t)((end - start) / self->page_bytes);
	uint32_t *counts[] = { &part.resident, &part.trial, &part.touched, &part.out,
		&part.at_risk, &part.returned, &part.used, &part.grown, &part.warm, &part.sample,
		&part.put, &part.back, &part.recent, &part.want };

	if (n == whole)
		return part;
	part.start = start;
	part.n_pages = n;
	/* rounding down keeps every promised order between the counts */
	for (size_t i = 0; i < UMEM_ARRAY_LEN(counts); i++)
		*counts[i] = (uint32_t)((uint64_t)*counts[i] * n / whole);
	return part;
}

/* New memory, cut along the grid. */
static int append_new(struct umem_slices *fresh, uint64_t start, uint64_t end, bool late)
{
	uint64_t cell_bytes = UMEM_SLICE_PAGES * fresh->page_bytes;

	while (start < end) {
		uint64_t left = cell_bytes - start % cell_bytes;
		uint64_t stop = start + umem_min_u64(left, end - start);
		struct umem_slice slice = {
			.start = start,
			.n_pages = (uint32_t)((stop - start) / fresh->page_bytes),
			.late = late,
		};
		int r = umem_slices_append(fresh, &slice);

		if (r < 0)
			return r;
		start = stop;
	}
	return 0;
}

/* One range of the new map: old slices where there are some, new ones between them. */
static int append_range(const struct umem_slices *self, size_t *at,
	const struct umem_range *range, struct umem_slices *fresh)
{
	uint64_t done = range->start;

	while (*at < self->n && umem_slice_end(self, &self->v[*at]) <= range->start)
		(*at)++;
	for (; *at < self->n && self->v[*at].start < range->end; (*at)++) {
		const struct umem_slice *old = &self->v[*at];
		uint64_t start = umem_max_u64(old->start, range->start);
		uint64_t end = umem_min_u64(umem_slice_end(self, old), range->end);
		struct umem_slice part = part_of(self, old, start, end);
		int r = append_new(fresh, done, start, self->n);

		if (r == 0)
			r = umem_slices_append(fresh, &part);
		if (r < 0)
			return r;
		done = end;
		/* the rest of it may be in the next range */
		if (umem_slice_end(self, old) > range->end)
			break;
	}
	return append_new(fresh, done, range->end, self->n);
}

/* Are the slices exactly these ranges already? Then there is nothing to copy. */
static bool same(const struct umem_slices *self, const struct umem_ranges *ranges)
{
	size_t at = 0;

	for (size_t i = 0; i < ranges->n; i++) {
		uint64_t addr = ranges->v[i].start;

		for (; at < self->n && self->v[at].start == addr && addr < ranges->v[i].end; at++)
			addr = umem_slice_end(self, &self->v[at]);
		if (addr != ranges->v[i].end)
			return false;
	}
	return at == self->n;
}

int umem_slices_sync(struct umem_slices *self, const struct umem_ranges *ranges)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices fresh = {
		.page_bytes = self->page_bytes,
	};
	size_t at = 0;

	if (same(self, ranges))
		return 0;
	for (size_t i = 0; i < ranges->n; i++) {
		int r = append_range(self, &at, &ranges->v[i], &fresh);

		if (r < 0)
			return r;
	}
	umem_slices_take(self, &fresh);
	return 0;
}

void umem_slices_sum(const struct umem_slices *self, struct umem_slices_sum *ret_sum)
{
	struct umem_slices_sum sum = { .n = self->n };

	for (size_t i = 0; i < self->n; i++) {
		const struct umem_slice *slice = &self->v[i];

		sum.pages += slice->n_pages;
		sum.resident += slice->resident;
		sum.trial += slice->trial;
		sum.touched += slice->touched;
		sum.out += slice->out;
		sum.at_risk += slice->at_risk;
		sum.returned += slice->returned;
		if (slice->state == UMEM_SLICE_PROBING)
			sum.sampled_back += slice->returned;
		sum.used += slice->used;
		sum.want += slice->want;
	}
	*ret_sum = sum;
}

void umem_slices_wake(struct umem_slices *self, uint64_t now_ns, uint64_t within_ns)
{
	uint64_t n_held = 0, turn = 0;

	for (size_t i = 0; i < self->n; i++)
		n_held += self->v[i].state == UMEM_SLICE_WARM;
	for (size_t i = 0; i < self->n; i++) {
		struct umem_slice *slice = &self->v[i];
		uint64_t until;

		if (slice->state != UMEM_SLICE_WARM)
			continue;
		until = now_ns + within_ns / n_held * turn++;
		slice->hold_until_ns = umem_min_u64(slice->hold_until_ns, until);
		slice->hold_ns = 0;
	}
}
