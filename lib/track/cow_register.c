// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Registering mappings, and taking them up into the image.
 *
 * Theory of operation
 *
 * Mappings change between the reading of their list and their registration, and
 * one that was registered with a hole in it would be taken for watched when the
 * hole is filled. So the list is read again behind the registration, and each
 * mapping of it is asked whether it is registered; from then on its end is told.
 *
 *     register   what is mapped, wanted and not watched yet; what cannot be is for
 *                the caller to copy within the stop
 *     refresh    the list of mappings
 *     adopt      what turns out to be registered: pages, and protection
 *     release    lift what is left, and unregister
 *     forget     what a note or the list says is not there any more
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/kern/maps.h"
#include "lib/mem/trackable.h"
#include "lib/track/exact.h"

/* A unit that is larger than this cannot be staged. */
#define MAX_UNIT_BYTES (UMEM_COW_CHUNK_PAGES * UMEM_PAGE_BYTES)

/* How long a change of the mappings may take: its maker has to run once more. */
#define PATIENCE_NS 10000000000ull
#define PAUSE_NS    20000

/* How much is lifted in one step. */
#define LIFT_BYTES (4ull << 20)

int umem_cow_forget(struct umem_cow_process *process, uint64_t start, uint64_t end)
{
	int r = umem_cow_mark(process, start, end, UMEM_COW_EMPTY);

	if (r == 0)
		r = umem_cow_map_cut(&process->image, start, end, NULL);
	if (r == 0)
		r = umem_ranges_sub(&process->registered, start, end);
	if (r == 0)
		r = umem_ranges_sub(&process->watched, start, end);
	if (r == 0)
		r = umem_ranges_sub(&process->guarded, start, end);
	if (r == 0)
		r = umem_ranges_sub(&process->unsteady, start, end);
	if (r == 0)
		r = umem_ranges_sub(&process->shared, start, end);
	return r;
}

/* Why the pages of @region cannot be held one by one; static text, or NULL. */
static const char *refuse(const struct umem_cow_process *process,
	const struct umem_region *region, const struct umem_smap *smap)
{
	const char *why = umem_region_untrackable(region, smap);

	if (why)
		return why;
	if (region->kind == UMEM_KIND_FILE_PRIVATE || region->kind == UMEM_KIND_FILE_SHARED)
		return "a mapping of a file: the kernel holds no write to it up";
	if (region->page_size_bytes > MAX_UNIT_BYTES)
		return "its huge pages are too large to be copied while a writer waits";
	if (smap ? smap->flags & UMEM_SMAP_MERGEABLE :
		   process->merging && region->kind == UMEM_KIND_ANON)
		return "its pages may be merged (KSM), which lifts their protection";
	return NULL;
}

static const char *explain(int error)
{
	if (error == -EBUSY)
		return "another userfaultfd watches it";
	if (error == -ENOMEM)
		return "the process has too many mappings (vm.max_map_count)";
	return "this kind of mapping cannot be write-protected";
}

static int add_stopped(struct umem_cow_process *process, const struct umem_range *piece,
	const char *why)
{
	int r = umem_ranges_add(&process->stopped, piece->start, piece->end);

	return r < 0 ? r : umem_reasons_add(&process->stop, piece->start, piece->end, "%s", why);
}

/* Begin to watch @piece of @region, which is registered. */
static int watch(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_region *region, const struct umem_range *piece)
{
	/* Huge pages are copied and protected as a whole. */
	uint64_t start = umem_align_down(piece->start, region->page_size_bytes);
	uint64_t end = umem_align_up(piece->end, region->page_size_bytes);
	struct umem_cow_part *part;
	int r;

	if (umem_kind_shared(region->kind)) {
		r = umem_cow_object_part(cow, process, region, &part);
		return r < 0 ? r : umem_cow_object_show(cow, process, part, start, end,
			(start - region->start + region->offset) >> UMEM_PAGE_SHIFT);
	}
	r = umem_cow_part_new(cow, (end - start) >> UMEM_PAGE_SHIFT,
		region->page_size_bytes >> UMEM_PAGE_SHIFT, &part);

	if (r == 0)
		r = umem_ranges_add(&process->watched, start, end);
	if (r == 0)
		r = umem_cow_part_show(part, process, start, end, 0);
	if (r < 0)
		return r;
	return cow->stopped ? umem_cow_catch_up(cow, process, start, end) :
			      umem_cow_guard(cow, process, start, end);
}

/* Has its memory no mapping any more? That is so before the process is known to have ended. */
static bool is_gone(const struct umem_cow_process *process)
{
	struct umem_range first;
	int r = umem_maps_at(process->target->maps_fd, 0, &first);

	return umem_target_gone(process->target) || (r < 0 && r != -ENOTTY);
}

/* Register @region, of which @wanted is not watched yet, or leave it to the caller. */
static int register_region(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_region *region, const struct umem_smap *smap,
	const struct umem_ranges *wanted)
{
	const char *why = refuse(process, region, smap);
	struct umem_cow_part *part;
	int r = 0;

	if (!why && umem_kind_shared(region->kind)) {
		r = umem_cow_object_part(cow, process, region, &part);
		if (r == -ENOMEM || r == -EMFILE)
			return r;
		/* Replaced since the list was read. */
		if (r == -ESTALE && !cow->stopped)
			return 0;
		if (r < 0)
			why = "its object may not be opened";
	}
	if (!why) {
		/* When everything stands still, it is what it was; but may be one with others. */
		r = cow->stopped ? umem_uffd_register(process->uffd, region->start, region->end,
					   UFFDIO_REGISTER_MODE_WP) :
				   umem_register_exactly(process->target, process->uffd,
					   region->start, region->end);
		/* Changed since the list was read. */
		if (r == UMEM_AGAIN)
			return 0;
		/* A memory that is gone answers ENOMEM here, not ESRCH (Linux 6.18). */
		if (r == -ESRCH || (r == -ENOMEM && is_gone(process)))
			return umem_cow_gone(process);
		/* Gone since the list was read. */
		if (r == -EINVAL && !cow->stopped)
			return 0;
		if (r < 0)
			why = explain(r);
	}
	if (!why)
		return umem_ranges_add(&process->registered, region->start, region->end);
	for (size_t i = 0; i < wanted->n; i++) {
		r = add_stopped(process, &wanted->v[i], why);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Is the mapping at @addr registered? Nothing of it is protected by us yet. */
static bool is_registered(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_region *region, uint64_t addr)
{
	uint64_t unit = region->page_size_bytes, start = umem_align_down(addr, unit);
	uint64_t since_ns = umem_now_ns();
	int r;

	if (!umem_ranges_has(&process->registered, addr))
		return false;
	if (cow->stopped)
		return true;
	while ((r = umem_uffd_protect(process->uffd, start, start + unit, false)) == -EAGAIN &&
		umem_now_ns() - since_ns < PATIENCE_NS)
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	return r == 0;
}

/* What of @region is to be in the image and is not looked after yet. */
static int unwatched(const struct umem_cow_process *process, const struct umem_region *region,
	struct umem_ranges *ret_wanted)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges a = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges b = { 0 };
	struct umem_range whole = { region->start, region->end };
	struct umem_ranges all = { .v = &whole, .n = 1 };
	int r = process->which.n ? umem_ranges_intersect(&all, &process->which, &a) :
				   umem_ranges_add(&a, whole.start, whole.end);

	if (r == 0)
		r = umem_ranges_subtract(&a, &process->watched, &b);
	if (r == 0)
		r = umem_ranges_subtract(&b, &process->shared, &a);
	return r < 0 ? r : umem_ranges_subtract(&a, &process->stopped, ret_wanted);
}

int umem_cow_register(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_smaps *smaps)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges wanted = { 0 };
	const struct umem_space *space = &process->target->space;

	for (size_t i = 0; i < space->n; i++) {
		const struct umem_region *region = &space->v[i];
		const struct umem_smap *smap;
		int r = unwatched(process, region, &wanted);

		if (r < 0)
			return r;
		if (wanted.n == 0)
			continue;
		smap = smaps ? umem_smaps_find(smaps, region->start, region->end) : NULL;
		if (smap && (smap->flags & UMEM_SMAP_MERGEABLE))
			process->merging = true;
		r = register_region(cow, process, region, smap, &wanted);
		if (r != 0)
			return r;
	}
	return 0;
}

int umem_cow_adopt(struct umem_cow *cow, struct umem_cow_process *process)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges wanted = { 0 };
	const struct umem_space *space = &process->target->space;

	for (size_t k = 0; k < space->n; k++) {
		const struct umem_region *region = &space->v[k];
		int r = unwatched(process, region, &wanted);

		for (size_t i = 0; i < wanted.n && r == 0; i++)
			if (is_registered(cow, process, region, wanted.v[i].start))
				r = watch(cow, process, region, &wanted.v[i]);
			else if (cow->stopped) /* there is no other time */
				r = add_stopped(process, &wanted.v[i], "could not be registered");
		if (r != 0)
			return r;
	}
	return 0;
}

/*
 * Release one mapping: protection goes in steps, since the kernel holds the lock that the
 * target needs to map and unmap while it goes; then the mapping is unregistered as a whole.
 * A part that is unregistered alone would divide it, and a mremap(2) of the target over
 * both parts fails.
 */
static void release_mapping(const struct umem_cow_process *p, const struct umem_range *mapping)
{
	for (uint64_t at = mapping->start, end; at < mapping->end; at = end) {
		uint64_t start_ns = umem_now_ns();

		end = umem_min_u64(mapping->end, umem_align_down(at, LIFT_BYTES) + LIFT_BYTES);
		/* Refused while mappings change: then unregistering does it, at once. */
		umem_uffd_protect(p->uffd, at, end, false);
		/* Where nothing was populated there is no reason to pause. */
		if (umem_now_ns() - start_ns > PAUSE_NS)
			nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	}
	umem_uffd_unregister(p->uffd, mapping->start, mapping->end);
	/* The kernel wakes nobody by itself. */
	umem_uffd_wake(p->uffd, mapping->start, mapping->end);
}

/* The mappings of a range that was registered, as they are now. */
static void release(const struct umem_cow_process *p, const struct umem_range *range)
{
	for (uint64_t at = range->start; at < range->end;) {
		struct umem_range mapping;
		int r = umem_maps_at(p->target->maps_fd, at, &mapping);

		if (r == -ENOTTY)
			mapping = (struct umem_range){ at, range->end };
		else if (r < 0 || mapping.start >= range->end)
			return;
		release_mapping(p, &mapping);
		at = mapping.end;
	}
}

void umem_cow_release(const struct umem_cow_process *process)
{
	for (size_t i = 0; i < process->registered.n; i++)
		release(process, &process->registered.v[i]);
}
