// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What came back to a target of reclaim.
 *
 * Theory of operation
 *
 *     out, and resident now               came back, or was filled anew
 *     out, and neither of the two         was given back: forget it
 *     out, and swapped                    is out
 *
 * Pages that were discarded and filled anew look as if they had come back, but cost the
 * target nothing that it would not have had without us. They are told by number: of
 * those that look so, no more came back than left swap (lib/policy/returns.h). Which
 * ones these are nobody knows; they are taken evenly from all over the target, and the
 * others are memory that it filled, to the slices, too.
 *
 * What swapoff brings in says nothing about its use either, and is not counted at all.
 */
#include "lib/op/reclaim_returns.h"

#include "lib/kern/procstat.h"
#include "lib/kern/vmstat.h"
#include "lib/mem/machine.h"
#include "lib/op/reclaim_target.h"

/* More pages than this a fault does not bring in (64 KiB each, with room to spare). */
#define UNASKED_PAGES 32

/* So far off the size of the swap cache may be (see lib/policy/returns.c). */
#define CACHE_DRIFT 1024

static int read_machine(const struct umem_target *target, struct umem_vmstat *ret_stat,
	struct umem_meminfo *ret_info)
{
	struct umem_machine_strain strain;
	int r;

	if (!target) {
		r = umem_vmstat_read(NULL, ret_stat);
		return r == 0 ? umem_meminfo_read(NULL, ret_info) : r;
	}
	r = umem_machine_strain(target, &strain);
	if (r == 0) {
		*ret_stat = strain.vmstat;
		*ret_info = strain.info;
	}
	return r;
}

static void read_counters(const struct umem_reclaim_swap *swap,
	struct umem_returns_seen *ret_seen)
{
	const uint32_t needs = 1u << UMEM_VMSTAT_PSWPIN | 1u << UMEM_VMSTAT_PSWPOUT;
	const uint32_t cached = 1u << UMEM_MEMINFO_SWAP_CACHED;
	struct umem_meminfo info = { 0 };
	struct umem_vmstat stat = { 0 };

	*ret_seen = (struct umem_returns_seen){ 0 };
	if (read_machine(swap->target, &stat, &info) < 0 || (stat.present & needs) != needs ||
		!(info.present & cached))
		return;
	/* A kernel that does not count zeros by themselves counts their faults (Linux 6.12). */
	*ret_seen = (struct umem_returns_seen){
		.known = true,
		.read = stat.pswpin + stat.zswpin +
			(stat.present & 1u << UMEM_VMSTAT_SWPIN_ZERO ? stat.swpin_zero :
								       stat.pgmajfault) -
			swap->own_reads,
		.put_out = stat.pswpout + stat.swpout_zero + stat.zswpout,
		.cached = info.swap_cached_bytes >> UMEM_PAGE_SHIFT,
	};
}

void umem_reclaim_swap_read(const struct umem_swap_areas *areas,
	struct umem_reclaim_swap *swap)
{
	swap->kept = !umem_swap_in_memory(areas);
	read_counters(swap, &swap->seen);
	swap->lost = swap->seen.cached + CACHE_DRIFT < swap->own_cached / 2;
	swap->seen.cached -= umem_min_u64(swap->seen.cached, swap->own_cached);
}

/*
 * Did pages come back that the target did not ask for? swapoff does that, also when
 * another area of the same name was made since. A fault of the target brings in at most
 * what lies within one huge entry of its own size; shared memory may be others' faults.
 */
static bool came_unasked(const struct umem_reclaim_target *t, uint64_t before)
{
	uint64_t pages = umem_pageset_bytes(&t->returned) >> UMEM_PAGE_SHIFT;

	return !t->any_shared && pages > UNASKED_PAGES &&
		t->faults - before < pages / UNASKED_PAGES;
}

/* Faults of the target since the last look. @ret_majors: major ones. */
static void count_faults(struct umem_reclaim_target *t, uint64_t *ret_majors)
{
	struct umem_procstat stat;

	*ret_majors = 0;
	if (umem_procstat_read(t->target->proc_fd, &stat) < 0)
		return;
	*ret_majors = stat.maj_flt - t->majors;
	t->majors = stat.maj_flt;
	t->faults = stat.min_flt + stat.maj_flt;
}

/*
 * What was on trial comes back without waiting, but for what is used in the moment in
 * which it is put there, or was dropped by the kernel. Faults that waited, and are not
 * of what was out, are of these; no more than were used.
 */
static uint64_t waited_for(const struct umem_reclaim_target *t, uint64_t majors)
{
	uint64_t touched = umem_pageset_bytes(&t->touched) >> UMEM_PAGE_SHIFT;
	uint64_t returned = umem_pageset_bytes(&t->returned) >> UMEM_PAGE_SHIFT;

	return majors > returned ? umem_min_u64(majors - returned, touched) : 0;
}

/* Keep @n of the @of pages of @set, evenly. */
static int thin(struct umem_pageset *set, uint64_t n, uint64_t of)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset kept = { 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	uint64_t i = 0;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		for (uint64_t at = run.start; at < run.end && r == 0; at += UMEM_PAGE_BYTES, i++)
			if ((i + 1) * n / of > i * n / of)
				r = umem_pageset_add(&kept, at, at + UMEM_PAGE_BYTES);
	umem_pageset_walk_end(&iter);
	if (r < 0)
		return r;
	umem_pageset_clear(set);
	return umem_pageset_union(set, &kept);
}

/* Of what looks as if it came back, leave as many as can have. */
static int leave_what_can(struct umem_reclaim_target *t, const struct umem_reclaim_swap *swap)
{
	uint64_t pages = umem_pageset_bytes(&t->returned) >> UMEM_PAGE_SHIFT, most;
	struct umem_returns_seen before = t->swap_seen, after;

	t->swap_seen = swap->seen;
	if (pages == 0)
		return 0;
	read_counters(swap, &after);
	most = umem_returns_most(&before, &after, swap->kept);
	if (most >= pages)
		return 0;
	return thin(&t->returned, most, pages);
}

int umem_reclaim_find_returned(struct umem_reclaim_target *t,
	const struct umem_reclaim_swap *swap)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset lost = { 0 };
	uint64_t faults = t->faults, majors;
	int r;

	umem_pageset_clear(&t->returned);
	r = umem_pageset_union(&t->returned, &t->out);
	/* What is left of out when the resident ones are taken away did not return. */
	if (r == 0)
		r = umem_pageset_subtract(&t->out,
			umem_residency_pages(t->map, UMEM_STATE_RESIDENT));
	if (r == 0)
		r = umem_pageset_subtract(&t->returned, &t->out);
	if (r == 0)
		r = umem_pageset_union(&lost, &t->out);
	if (r == 0)
		r = umem_pageset_subtract(&lost, umem_residency_pages(t->map, UMEM_STATE_SWAPPED));
	if (r == 0)
		r = umem_pageset_subtract(&t->out, &lost);
	count_faults(t, &majors);
	if (came_unasked(t, faults) || swap->forced_back)
		umem_pageset_clear(&t->returned);
	if (r == 0)
		r = leave_what_can(t, swap);
	t->waited = swap->forced_back ? 0 : waited_for(t, majors);
	return r;
}
