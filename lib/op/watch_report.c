// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a watch says about itself: assumptions, ranges, memory. */
#include <errno.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/op/watch.h"

bool umem_watch_is_assumed(const struct umem_region *region)
{
	return umem_kind_shared(region->kind) && !(region->vma_flags & UMEM_VMA_WRITE);
}

/* One region's share of the assumptions; sets *@files for a private file mapping. */
static int assume_region(struct umem_watch *watch, const struct umem_region *g, bool *files)
{
	if (g->kind == UMEM_KIND_FILE_PRIVATE)
		*files = true;
	if (g->kind == UMEM_KIND_HUGETLB)
		return umem_reasons_add(&watch->assumes, g->start, g->end,
			"huge pages: none is discarded and read again within one round");
	if (!umem_kind_shared(g->kind))
		return 0;
	if (g->untrackable)
		return umem_watch_is_assumed(g) ?
			umem_reasons_add(&watch->assumes, g->start, g->end,
				"mapped shared for reading only: nobody changes the file") :
			0;
	return umem_reasons_add(&watch->assumes, g->start, g->end,
		"shared: nobody changes it by write(2), maps it for less than a round, or "
		"punches a hole that is read or evicted within one round");
}

int umem_watch_add_assumes(struct umem_watch *watch)
{
	const struct umem_space *space = &watch->target->space;
	bool files = false;
	int r = 0;

	for (size_t i = 0; i < space->n && r == 0; i++)
		if (umem_ranges_overlaps(&watch->selected, space->v[i].start, space->v[i].end))
			r = assume_region(watch, &space->v[i], &files);
	if (r == 0 && files)
		r = umem_reasons_add(&watch->assumes, 0, UINT64_MAX,
			"files that are mapped privately are not changed on disk");
	if (r == 0 && watch->pins.direct_io)
		r = umem_reasons_add(&watch->assumes, 0, UINT64_MAX,
			"direct I/O into its memory ends within one round, and none is under "
			"way while it is armed");
	if (r == 0 && watch->sharers.hidden)
		r = umem_reasons_add(&watch->assumes, 0, UINT64_MAX,
			"processes that may not be looked at do not write its shared memory");
	if (r == 0)
		r = umem_reasons_add(&watch->assumes, 0, UINT64_MAX,
			"no other process writes into it (ptrace, process_vm_writev) at the very "
			"moment of a collect");
	return r;
}

int umem_watch_check_busy(const struct umem_watch *watch, struct umem_note *note)
{
	const struct umem_space *space = &watch->target->space;

	for (size_t i = 0; i < space->n; i++) {
		const struct umem_region *g = &space->v[i];

		if (g->untrackable && strstr(g->untrackable, "another userfaultfd") &&
			umem_ranges_overlaps(&watch->selected, g->start, g->end))
			return umem_note_set(note, -EBUSY, g->start,
				"another userfaultfd watches %#llx-%#llx of pid %d, and a mapping "
				"can have only one; leave it out with --region, or end its user",
				(unsigned long long)g->start, (unsigned long long)g->end,
				watch->target->pid);
	}
	return 0;
}

uint64_t umem_watch_n_regions(const struct umem_watch *watch)
{
	const struct umem_ranges *watched = watch->tracker->ops->watched(watch->tracker);
	const struct umem_space *space = &watch->target->space;
	uint64_t n = 0;

	for (size_t i = 0; i < space->n; i++)
		n += umem_ranges_overlaps(watched, space->v[i].start, space->v[i].end);
	return n;
}

const struct umem_armed *umem_watch_armed(const struct umem_watch *watch)
{
	return &watch->armed;
}

const struct umem_range *umem_watch_gone(const struct umem_watch *watch, size_t *ret_n)
{
	*ret_n = watch->gone.n;
	return watch->gone.v;
}

int umem_watch_each(struct umem_watch *watch,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why), void *user)
{
	struct umem_pageset_iter iters[UMEM_N_WHYS];
	struct umem_range heads[UMEM_N_WHYS];
	bool have[UMEM_N_WHYS] = { 0 };
	int n = 0, r = 0;

	for (; n < UMEM_N_WHYS && r == 0; n++) {
		r = umem_pageset_walk(&watch->sets[n], &iters[n]);
		if (r < 0)
			break;
		have[n] = umem_pageset_next(&iters[n], &heads[n]);
	}
	while (r == 0) {
		int first = -1;

		for (int i = 0; i < UMEM_N_WHYS; i++)
			if (have[i] && (first < 0 || heads[i].start < heads[first].start))
				first = i;
		if (first < 0)
			break;
		r = each(user, heads[first].start, heads[first].end, (enum umem_why)first);
		have[first] = umem_pageset_next(&iters[first], &heads[first]);
	}
	for (int i = 0; i < n; i++)
		umem_pageset_walk_end(&iters[i]);
	return r;
}

uint64_t umem_watch_memory(const struct umem_watch *watch)
{
	uint64_t bytes = sizeof(*watch) + watch->tracker->ops->memory(watch->tracker) +
		umem_pageset_memory(&watch->carried) +
		(watch->gone.room + watch->appeared.room + watch->pieces.room) *
			sizeof(struct umem_range) +
		(watch->target->space.room + watch->target->space.before_room) *
			sizeof(struct umem_region);

	for (int i = 0; i < UMEM_N_WHYS; i++)
		bytes += umem_pageset_memory(&watch->sets[i]);
	return bytes;
}
