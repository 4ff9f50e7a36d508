// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sorted sets of address ranges, with set algebra. */
#include "lib/base/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"

void umem_ranges_deinit(struct umem_ranges *set)
{
	free(set->v);
	*set = (struct umem_ranges){ 0 };
}

static int reserve(struct umem_ranges *set, size_t n)
{
	size_t room = set->room ? set->room : 16;
	struct umem_range *v;

	if (n <= set->room)
		return 0;
	while (room < n)
		room *= 2;
	v = reallocarray(set->v, room, sizeof(*v));
	if (!v)
		return -ENOMEM;
	set->v = v;
	set->room = room;
	return 0;
}

size_t umem_ranges_find(const struct umem_ranges *set, uint64_t addr)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (set->v[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Put one range in place of [first, last). */
static int replace(struct umem_ranges *set, size_t first, size_t last,
	const struct umem_range *with, size_t n_with)
{
	int r = reserve(set, set->n - (last - first) + n_with);

	if (r < 0)
		return r;
	memmove(set->v + first + n_with, set->v + last,
		(set->n - last) * sizeof(*set->v));
	memcpy(set->v + first, with, n_with * sizeof(*with));
	set->n = set->n - (last - first) + n_with;
	return 0;
}

int umem_ranges_add(struct umem_ranges *set, uint64_t start, uint64_t end)
{
	if (end <= start)
		return 0;
	if (set->n == 0 || start > set->v[set->n - 1].end) {
		int r = reserve(set, set->n + 1);

		if (r < 0)
			return r;
		set->v[set->n++] = (struct umem_range){ start, end };
		return 0;
	}

	/* First range that touches or lies behind, then all up to the first clear of it. */
	size_t first = start ? umem_ranges_find(set, start - 1) : 0, last = first;
	struct umem_range sum = { start, end };

	for (; last < set->n && set->v[last].start <= end; last++) {
		sum.start = umem_min_u64(sum.start, set->v[last].start);
		sum.end = umem_max_u64(sum.end, set->v[last].end);
	}
	return replace(set, first, last, &sum, 1);
}

int umem_ranges_sub(struct umem_ranges *set, uint64_t start, uint64_t end)
{
	if (end <= start)
		return 0;

	size_t first = umem_ranges_find(set, start), last = first, n = 0;
	struct umem_range rest[2];

	while (last < set->n && set->v[last].start < end)
		last++;
	if (first == last)
		return 0;
	if (set->v[first].start < start)
		rest[n++] = (struct umem_range){ set->v[first].start, start };
	if (set->v[last - 1].end > end)
		rest[n++] = (struct umem_range){ end, set->v[last - 1].end };
	return replace(set, first, last, rest, n);
}

int umem_ranges_union(const struct umem_ranges *a, const struct umem_ranges *b,
	struct umem_ranges *ret_set)
{
	size_t i = 0, j = 0;

	umem_ranges_clear(ret_set);
	while (i < a->n || j < b->n) {
		const struct umem_range *next;

		if (j == b->n || (i < a->n && a->v[i].start <= b->v[j].start))
			next = &a->v[i++];
		else
			next = &b->v[j++];
		int r = umem_ranges_add(ret_set, next->start, next->end);

		if (r < 0)
			return r;
	}
	return 0;
}

int umem_ranges_intersect(const struct umem_ranges *a, const struct umem_ranges *b,
	struct umem_ranges *ret_set)
{
	size_t i = 0, j = 0;

	umem_ranges_clear(ret_set);
	while (i < a->n && j < b->n) {
		int r = umem_ranges_add(ret_set, umem_max_u64(a->v[i].start, b->v[j].start),
			umem_min_u64(a->v[i].end, b->v[j].end));

		if (r < 0)
			return r;
		if (a->v[i].end < b->v[j].end)
			i++;
		else
			j++;
	}
	return 0;
}

int umem_ranges_subtract(const struct umem_ranges *a, const struct umem_ranges *b,
	struct umem_ranges *ret_set)
{
	size_t j = 0;

	umem_ranges_clear(ret_set);
	for (size_t i = 0; i < a->n; i++) {
		uint64_t at = a->v[i].start, end = a->v[i].end;
		int r;

		while (j < b->n && b->v[j].end <= at)
			j++;
		for (size_t k = j; k < b->n && b->v[k].start < end; k++) {
			r = umem_ranges_add(ret_set, at, b->v[k].start);
			if (r < 0)
				return r;
			at = umem_max_u64(at, b->v[k].end);
		}
		r = umem_ranges_add(ret_set, at, end);
		if (r < 0)
			return r;
	}
	return 0;
}

bool umem_ranges_has(const struct umem_ranges *set, uint64_t addr)
{
	size_t i = umem_ranges_find(set, addr);

	return i < set->n && set->v[i].start <= addr;
}

bool umem_ranges_overlaps(const struct umem_ranges *set, uint64_t start, uint64_t end)
{
	size_t i = umem_ranges_find(set, start);

	return i < set->n && set->v[i].start < end;
}

uint64_t umem_ranges_bytes(const struct umem_ranges *set)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < set->n; i++)
		sum += set->v[i].end - set->v[i].start;
	return sum;
}
