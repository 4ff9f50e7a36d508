// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The address space of a target.
 *
 * Theory of operation
 *
 * The kernel splits and merges mappings for reasons of its own (mprotect, a
 * userfaultfd on one half, a neighbour that became alike), so a mapping's
 * borders are not its identity. What counts is which bytes of which object an
 * address shows. The refresh walks the old and the new array side by side and
 * compares piece by piece:
 *
 *     old   [ heap          )    [ file A      )
 *     new   [ heap    )[heap2)        [ file B )
 *           same .... same  new  gone . replaced (gone and new)
 *
 * Two things cannot be seen here: private anonymous memory that was unmapped
 * and mapped again at the same place, and a file mapping that was replaced by
 * an equal one. Both lose their userfaultfd, and the tracker finds that out
 * with one cheap scan (lib/track/wp_async.c).
 *
 * Names point into the list of mappings that was read; there are two lists in
 * turn, so that old names live while they are compared.
 */
#include "lib/mem/space.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"

void umem_space_deinit(struct umem_space *space)
{
	free(space->v);
	free(space->before);
	umem_maps_deinit(&space->maps[0]);
	umem_maps_deinit(&space->maps[1]);
	*space = (struct umem_space){ 0 };
}

size_t umem_space_first(const struct umem_space *space, uint64_t addr)
{
	size_t low = 0, high = space->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (space->v[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

struct umem_region *umem_space_find(struct umem_space *space, uint64_t addr)
{
	size_t i = umem_space_first(space, addr);

	return i < space->n && space->v[i].start <= addr ? &space->v[i] : NULL;
}

void umem_space_unregister(struct umem_space *space, const struct umem_range *range)
{
	for (size_t i = umem_space_first(space, range->start);
		i < space->n && space->v[i].start < range->end; i++) {
		space->v[i].registered = false;
		space->v[i].untrackable = NULL;
	}
}

bool umem_space_mapped(const struct umem_space *space, uint64_t start, uint64_t end)
{
	size_t i = umem_space_first(space, start);

	return i < space->n && space->v[i].start < end;
}

/* The region of @vma: classified anew, or as its old self at the same place was. */
static void init_region(struct umem_region *region, const struct umem_vma *vma,
	umem_ask_backing *ask, const void *user, const struct umem_region *old)
{
	enum umem_backing backing = UMEM_BACKING_UNKNOWN;

	umem_region_init(region, vma, UMEM_BACKING_UNKNOWN);
	if (!umem_region_needs_backing(vma))
		return;
	if (old && old->inode == vma->inode && old->dev_major == vma->dev_major &&
		old->dev_minor == vma->dev_minor &&
		((old->vma_flags ^ vma->flags) & UMEM_VMA_SHARED) == 0) {
		region->kind = old->kind;
		region->page_size_bytes = old->page_size_bytes;
		return;
	}
	if (ask)
		backing = ask(user, vma);
	umem_region_init(region, vma, backing);
	/* The text of maps does not tell the page size; assume the common one. */
	if (backing == UMEM_BACKING_HUGETLB && vma->page_size_bytes == 0)
		region->page_size_bytes = 2u << 20;
}

static int build(struct umem_space *space, const struct umem_maps *maps, umem_ask_backing *ask,
	const void *user)
{
	size_t old = 0;

	if (maps->n > space->before_room) {
		struct umem_region *more = reallocarray(space->before, maps->n * 2, sizeof(*more));

		if (!more)
			return -ENOMEM;
		space->before = more;
		space->before_room = maps->n * 2;
	}
	for (size_t i = 0; i < maps->n; i++) {
		const struct umem_vma *vma = &maps->v[i];

		while (old < space->n && space->v[old].end <= vma->start)
			old++;
		init_region(&space->before[i], vma, ask, user,
			old < space->n && space->v[old].start < vma->end ?
				&space->v[old] : NULL);
	}
	return 0;
}

/* Compare the old array @a with the new @b; carry state over into @b. */
static int compare(const struct umem_region *a, size_t n_a, struct umem_region *b, size_t n_b,
	struct umem_ranges *appeared, struct umem_ranges *vanished)
{
	size_t i = 0, j = 0;
	uint64_t at = 0;

	while (i < n_a || j < n_b) {
		bool in_a = i < n_a && a[i].start <= at;
		bool in_b = j < n_b && b[j].start <= at;
		uint64_t stop = UINT64_MAX;
		int r = 0;

		if (i < n_a)
			stop = umem_min_u64(stop, in_a ? a[i].end : a[i].start);
		if (j < n_b)
			stop = umem_min_u64(stop, in_b ? b[j].end : b[j].start);
		if (in_a && in_b && umem_region_same_object(&a[i], &b[j], at)) {
			if (at == b[j].start || !b[j].untrackable)
				b[j].untrackable = a[i].untrackable;
			b[j].registered = a[i].registered &&
				(at == b[j].start || b[j].registered);
		} else {
			/* A part that is new makes the whole region one to register. */
			if (in_b) {
				b[j].registered = false;
				r = umem_ranges_add(appeared, at, stop);
			}
			if (in_a && r == 0)
				r = umem_ranges_add(vanished, at, stop);
		}
		if (r < 0)
			return r;
		at = stop;
		if (i < n_a && a[i].end <= at)
			i++;
		if (j < n_b && b[j].end <= at)
			j++;
	}
	return 0;
}

int umem_space_refresh(struct umem_space *space, umem_ask_backing *ask, const void *user,
	int maps_fd, enum umem_maps_method method, struct umem_ranges *appeared,
	struct umem_ranges *vanished)
{
	struct umem_maps *maps = &space->maps[space->now ^ 1];
	int r = umem_maps_read(maps_fd, method, maps);

	if (r < 0)
		return r;
	if (maps->n == 0)
		return UMEM_GONE; /* no process lives without a mapping */
	umem_ranges_clear(appeared);
	umem_ranges_clear(vanished);
	r = build(space, maps, ask, user);
	if (r < 0)
		return r;
	r = compare(space->v, space->n, space->before, maps->n, appeared, vanished);
	if (r < 0)
		return r;

	struct umem_region *old = space->v;
	size_t old_room = space->room;

	space->v = space->before;
	space->room = space->before_room;
	space->n_before = space->n;
	space->n = maps->n;
	space->before = old;
	space->before_room = old_room;
	space->now ^= 1;
	return 0;
}
