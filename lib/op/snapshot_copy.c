// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copying for a snapshot, with residency left as it was found: what was swapped out
 * comes in when it is read, in portions, and each goes out again before the next; what was
 * a huge page, and is split by writes meanwhile, is made one again.
 */
#include "lib/op/snapshot.h"

#include <errno.h>

#include "lib/kern/pagemap.h"
#include "lib/mem/thp.h"
#include "lib/op/pageout.h"

int umem_snapshot_put_out(struct umem_snapshot_member *m, const struct umem_ranges *ranges)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges mapped = { 0 };
	const struct umem_space *space = &m->target->space;
	struct umem_pageout_options options = { .size = sizeof(options), .free_cached = true };
	struct umem_pageout out;
	int r = 0;

	/* Objects were read, not the target's mapping of them. */
	for (size_t i = 0; i < ranges->n && r == 0; i++)
		for (size_t k = umem_space_first(space, ranges->v[i].start);
			k < space->n && space->v[k].start < ranges->v[i].end && r == 0; k++) {
			uint64_t start = umem_max_u64(space->v[k].start, ranges->v[i].start);
			uint64_t end = umem_min_u64(space->v[k].end, ranges->v[i].end);

			if (!umem_reader_put_out(&m->copier.readers[0], &space->v[k], start, end))
				r = umem_ranges_add(&mapped, start, end);
		}
	if (r < 0 || mapped.n == 0)
		return r;
	options.ranges = mapped.v;
	options.n_ranges = mapped.n;
	r = umem_pageout(m->target, &options, &out, NULL);
	return r == UMEM_GONE || r == -ENOMEM ? r : 0;
}

int umem_snapshot_put_back(struct umem_snapshot_member *m, struct umem_pageset *swapped)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r;

	if (umem_pageset_empty(swapped))
		return 0;
	r = umem_pageset_walk(swapped, &iter);
	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_ranges_add(&ranges, run.start, run.end);
	umem_pageset_walk_end(&iter);
	return r == 0 ? umem_snapshot_put_out(m, &ranges) : r;
}

/* A portion of swapped pages: copied, and out again. */
static int copy_portion(struct umem_snapshot_member *m, struct umem_pageset *portion,
	const struct umem_ranges *ranges)
{
	int r = umem_copier_copy(&m->copier, portion);

	return r == 0 ? umem_snapshot_put_out(m, ranges) : r;
}

static int copy_swapped(struct umem_snapshot_member *m, struct umem_pageset *swapped)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset portion = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(swapped, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		for (uint64_t at = run.start, end; at < run.end && r == 0; at = end) {
			end = umem_min_u64(run.end, at + UMEM_SNAPSHOT_SWAPPED_BYTES);
			r = umem_pageset_add(&portion, at, end);
			if (r == 0)
				r = umem_ranges_add(&ranges, at, end);
			if (r < 0 || umem_pageset_bytes(&portion) < UMEM_SNAPSHOT_SWAPPED_BYTES)
				continue;
			r = copy_portion(m, &portion, &ranges);
			umem_pageset_clear(&portion);
			umem_ranges_clear(&ranges);
		}
	umem_pageset_walk_end(&iter);
	return r == 0 && ranges.n ? copy_portion(m, &portion, &ranges) : r;
}

int umem_snapshot_copy(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_pageset *set, struct umem_pageset *swapped)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset resident = { 0 };
	int r;

	if (!swapped || umem_pageset_empty(swapped))
		return umem_copier_copy(&m->copier, set);
	r = umem_pageset_union(&resident, set);
	if (r == 0)
		r = umem_pageset_subtract(&resident, swapped);
	if (r == 0)
		r = umem_copier_copy(&m->copier, &resident);
	return r == 0 ? copy_swapped(m, swapped) : r;
}

int umem_snapshot_find_huge(struct umem_snapshot_member *m)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	struct umem_target *target = m->target;
	int r = umem_target_refresh(target, &appeared, &vanished, NULL);

	umem_ranges_clear(&m->huge);
	for (size_t i = 0; i < target->space.n && r == 0; i++) {
		const struct umem_region *g = &target->space.v[i];
		struct umem_scan scan = {
			.at = g->start,
			.end = g->end,
			.all = PAGE_IS_HUGE,
			.wanted = PAGE_IS_HUGE,
		};

		while (g->kind == UMEM_KIND_ANON && scan.at < scan.end && r == 0) {
			struct page_region vec[64];
			size_t n;

			r = umem_pagemap_scan(target->pagemap_fd, &scan, vec,
				UMEM_ARRAY_LEN(vec), &n);
			for (size_t k = 0; k < n && r == 0; k++)
				r = umem_ranges_add(&m->huge, vec[k].start, vec[k].end);
		}
	}
	return r == -ESRCH ? UMEM_GONE : r;
}

void umem_snapshot_restore_huge(struct umem_snapshot_member *m)
{
	if (m->huge.n)
		umem_thp_restore(m->target, &m->huge);
	umem_ranges_clear(&m->huge);
}
