// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finding populated pages where nothing is armed, and arming around them.
 *
 * Theory of operation
 *
 * A process has more than a hundred mappings with nothing armed in them: code,
 * constants, stacks of which little is used. One call for each would cost more
 * than all else in a round. So a round begins with a look that only asks
 * whether there is anything, in one call for all that lie near each other, and
 * only where there is, the following is done.
 *
 * Order: look (which pages are there), arm the blocks around them, look again
 * in those blocks. A page that is written between the first look and the
 * arming is protected with its new content in it; the second look finds it.
 * A page that is written after the arming is reported twice at worst.
 *
 *     look 1      x..x....|........|..x.....      x: populated
 *     blocks      [       )        [       )      2 MiB each: one page table
 *     arm         mmmmmmmm         mmmmmmmm       protected or marked
 *     look 2      x..xx...         ..x.....
 *
 * What is content depends on what the address showed before anything was
 * mapped: zeros for anonymous memory (so the shared zero page is no change),
 * the file for a private file mapping (so a page of the page cache is none),
 * the object's bytes for shared memory. There a first touch proves nothing,
 * neither read nor write: so all that the object holds data for is armed from
 * the start, and a page that comes up where the object had a hole was zeros
 * before; it is read, and only reported if it is no longer. Data that comes up
 * in a hole and is not mapped (objects.c) is reported and its block armed.
 *
 * A page that is swapped out between look 1 and look 2 looks like a mark; the
 * raw pagemap word tells, and where that is hidden (no CAP_SYS_ADMIN), all
 * marks count as content. Without a swap area there is no such page.
 */
#include "lib/track/wp_async.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/kern/pagemap.h"
#include "lib/kern/procmem.h"
#include "lib/kern/swapdev.h"
#include "lib/mem/scan.h"

#define BLOCK_BYTES (2ull << 20)

/* Blocks that lie closer than this are armed as one: 4 page tables between them. */
#define JOIN_BYTES (4 * BLOCK_BYTES)

/*
 * What lies between two unarmed parts is looked at for nothing; up to this it
 * is cheaper than a call.
 */
#define GAP_BYTES (1ull << 20)

/* An untouched mapping up to this size is armed along with its neighbour. */
#define SMALL_BYTES (64ull << 10)

/* How much is looked at, or armed, before a pause: 0.2 to 0.4 ms. */
#define STEP_PAGES 8192
#define STEP_BYTES (STEP_PAGES * UMEM_PAGE_BYTES)
#define PAUSE_NS   20000

#define LOOK_WANTED (PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_FILE | \
	PAGE_IS_HUGE)

/*
 * A call holds the lock that the target needs to map and unmap. Between two, the
 * lock is taken back before one who waits for it is awake, and is only handed
 * over after 4 ms. So large pieces are done in steps, with pauses.
 */
static void yield_lock(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
}

/* Is a page with these categories content that a report has to name? */
static bool is_content(const struct umem_region *region, uint64_t categories, bool fresh)
{
	if (categories & PAGE_IS_SWAPPED)
		return true;
	if (region->kind == UMEM_KIND_ANON)
		return !(categories & PAGE_IS_PFNZERO);
	if (region->kind == UMEM_KIND_FILE_PRIVATE)
		return fresh || !(categories & PAGE_IS_FILE);
	return true;
}

/*
 * What is armed around a page: what one page table holds. Of a private file
 * mapping only the page itself: nothing else in it can change but by becoming
 * such a page, and a mark in a mapping of a disk file is not harmless. A fault
 * at a mark in memory that the program locked starts over for ever when the
 * file's page is not in the page cache (Linux 6.18).
 */
static uint64_t block_of(const struct umem_region *region)
{
	if (region->kind == UMEM_KIND_FILE_PRIVATE)
		return UMEM_PAGE_BYTES;
	return umem_max_u64(BLOCK_BYTES, region->page_size_bytes);
}

/* One look at @piece: content to @found, the blocks of all that is there to @blocks. */
static int look(struct umem_wp_async *self, const struct umem_region *region,
	const struct umem_range *piece, bool fresh, uint64_t any, struct umem_pageset *found,
	struct umem_ranges *blocks)
{
	uint64_t block = block_of(region);
	struct umem_scan scan = {
		.at = piece->start,
		.end = piece->end,
		.any = any,
		.wanted = LOOK_WANTED,
		.max_pages = region->page_size_bytes > UMEM_PAGE_BYTES ? 0 : STEP_PAGES,
	};

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(self->base.target->pagemap_fd, &scan, self->vec,
			self->n_vec, &n);

		if (r == 0 && scan.at < scan.end)
			yield_lock();

		for (size_t i = 0; i < n && r == 0; i++) {
			const struct page_region *run = &self->vec[i];
			bool content = is_content(region, run->categories, fresh);

			if (content)
				r = umem_pageset_add(found, run->start, run->end);
			if (r == 0 && (run->categories & PAGE_IS_HUGE) &&
				region->kind == UMEM_KIND_ANON)
				r = umem_ranges_add(&self->base.target->huge,
					umem_align_up(run->start, BLOCK_BYTES),
					umem_align_down(run->end, BLOCK_BYTES));
			/* Page cache under a private mapping needs no block of its own. */
			if (r == 0 && blocks && is_content(region, run->categories, false))
				r = umem_ranges_add(blocks,
					umem_max_u64(piece->start,
						umem_align_down(run->start, block)),
					umem_min_u64(piece->end,
						umem_align_up(run->end, block)));
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Unarmed parts of regions for which @run counts go to @touched; *@done is where the last ends. */
static int touch(struct umem_wp_async *self, const struct page_region *run, bool shared,
	struct umem_ranges *touched, uint64_t *done)
{
	const struct umem_space *space = &self->base.target->space;

	for (size_t i = umem_ranges_find(&self->unarmed, run->start);
		i < self->unarmed.n && self->unarmed.v[i].start < run->end; i++) {
		const struct umem_range *u = &self->unarmed.v[i];
		uint64_t from = umem_max_u64(u->start, run->start);
		uint64_t to = umem_min_u64(u->end, run->end);

		for (size_t k = umem_space_first(space, from);
			k < space->n && space->v[k].start < to; k++) {
			const struct umem_region *g = &space->v[k];
			int r;

			if (umem_kind_shared(g->kind) != shared ||
				!is_content(g, run->categories, false))
				continue;
			*done = umem_min_u64(g->end, u->end);
			r = umem_ranges_add(touched, umem_max_u64(g->start, u->start), *done);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* One look over @group, past what is armed or page cache in it. */
static int look_group(struct umem_wp_async *self, const struct umem_range *group, bool shared,
	struct umem_ranges *touched)
{
	struct umem_scan scan = {
		.at = group->start,
		.end = group->end,
		.inverted = shared ? 0 : PAGE_IS_FILE,
		.all = shared ? 0 : PAGE_IS_FILE,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = LOOK_WANTED,
	};
	uint64_t done = 0;

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(self->base.target->pagemap_fd, &scan, self->vec,
			self->n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++)
			if (self->vec[i].end > done)
				r = touch(self, &self->vec[i], shared, touched, &done);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Look at all unarmed parts of shared (or of private) regions. */
static int look_kind(struct umem_wp_async *self, bool shared, struct umem_ranges *touched)
{
	const struct umem_space *space = &self->base.target->space;
	struct umem_range group = { 0, 0 };
	int r = 0;

	for (size_t i = 0; i < self->unarmed.n; i++) {
		const struct umem_range *u = &self->unarmed.v[i];

		for (size_t k = umem_space_first(space, u->start);
			k < space->n && space->v[k].start < u->end; k++) {
			uint64_t start = umem_max_u64(space->v[k].start, u->start);

			if (umem_kind_shared(space->v[k].kind) != shared)
				continue;
			if (group.end && start - group.end > GAP_BYTES &&
				umem_space_mapped(space, group.end, start)) {
				r = look_group(self, &group, shared, touched);
				if (r < 0)
					return r;
				group.end = 0;
			}
			if (!group.end)
				group.start = start;
			group.end = umem_min_u64(space->v[k].end, u->end);
		}
	}
	return group.end ? look_group(self, &group, shared, touched) : 0;
}

int umem_wp_async_touched(struct umem_wp_async *self, struct umem_ranges *touched)
{
	int r;

	umem_ranges_clear(touched);
	r = look_kind(self, false, touched);
	return r < 0 ? r : look_kind(self, true, touched);
}

/* Join blocks that are near each other. */
static void join(struct umem_ranges *blocks)
{
	size_t n = 0;

	for (size_t i = 0; i < blocks->n; i++) {
		if (n && blocks->v[i].start - blocks->v[n - 1].end <= JOIN_BYTES)
			blocks->v[n - 1].end = blocks->v[i].end;
		else
			blocks->v[n++] = blocks->v[i];
	}
	blocks->n = n;
}

/*
 * Read @run, at most 16 pages of shared memory: from the file, which needs no
 * right to read the mapping and touches no page table; else from the process.
 * What cannot be read goes to @holes.
 */
static int read_shared(struct umem_wp_async *self, const struct umem_range *run, char *bytes,
	struct umem_ranges *holes)
{
	const struct umem_target *target = self->base.target;
	const struct umem_region *region = umem_space_find(&self->base.target->space, run->start);
	const struct umem_object *o = region ? umem_objects_find(&self->objects, region) : NULL;

	if (o && o->fd >= 0 && run->end <= region->end) {
		size_t len = (size_t)(run->end - run->start);
		ssize_t n = pread(o->fd, bytes, len,
			(off_t)(run->start - region->start + region->offset));

		if (n == (ssize_t)len)
			return 0;
	}
	return umem_procmem_read(target->tid, target->mem_fd,
		target->mem_fd < 0 ? UMEM_PROCMEM_READV : UMEM_PROCMEM_MEM, run, 1, bytes, holes);
}

/* Pages of [start, end) that hold only zeros go to @zeros; what cannot be read is not zero. */
static int find_zeros(struct umem_wp_async *self, uint64_t start, uint64_t end,
	struct umem_pageset *zeros)
{
	static const char zero[UMEM_PAGE_BYTES];
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	char bytes[16 * UMEM_PAGE_BYTES];
	int r = 0;

	for (uint64_t at = start; at < end && r == 0;) {
		struct umem_range run = { at, umem_min_u64(end, at + sizeof(bytes)) };

		umem_ranges_clear(&holes);
		r = read_shared(self, &run, bytes, &holes);
		for (; at < run.end && r == 0; at += UMEM_PAGE_BYTES)
			if (!umem_ranges_has(&holes, at) &&
				memcmp(bytes + (at - run.start), zero, sizeof(zero)) == 0)
				r = umem_pageset_add(zeros, at, at + UMEM_PAGE_BYTES);
	}
	/* Without the right to read, nothing is known to be zero. */
	return r == -EPERM || r == -EACCES || r == -ENOSYS ? 0 : r;
}

/* Drop the pages of @set that hold only zeros, as they did before. */
static int drop_zeros(struct umem_wp_async *self, struct umem_pageset *set)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset zeros = { 0 };
	struct umem_pageset_iter it;
	struct umem_range run;
	int r = umem_pageset_walk(set, &it);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&it, &run))
		r = find_zeros(self, run.start, run.end, &zeros);
	umem_pageset_walk_end(&it);
	return r < 0 ? r : umem_pageset_subtract(set, &zeros);
}

/* Arm one block, a large one in steps. */
static int arm_block(struct umem_wp_async *self, const struct umem_range *block, uint64_t step)
{
	for (uint64_t at = block->start, end; at < block->end; at = end) {
		struct umem_range part = { at, block->end };
		int r;

		end = umem_min_u64(block->end, umem_align_down(at, step) + step);
		part.end = end;
		r = umem_wp_async_scan(self, &part, &self->scratch);
		if (r < 0)
			return r;
		if (end < block->end)
			yield_lock();
	}
	return 0;
}

/* Arm @blocks, look again, and put what is to be reported into @found. */
static int arm(struct umem_wp_async *self, const struct umem_region *region, bool fresh,
	const struct umem_ranges *blocks, struct umem_pageset *found)
{
	bool swaps = blocks->n && !umem_kind_shared(region->kind) &&
		region->page_size_bytes == UMEM_PAGE_BYTES && umem_swap_active();
	int r = 0;

	for (size_t i = 0; i < blocks->n && r == 0; i++) {
		const struct umem_range *block = &blocks->v[i];

		umem_pageset_clear(&self->scratch);
		r = arm_block(self, block, umem_max_u64(STEP_BYTES, region->page_size_bytes));
		if (r == 0)
			r = umem_ranges_add(&self->armed, block->start, block->end);
		if (r == 0 && swaps)
			r = umem_scan_swapped(self->base.target, block->start, block->end, found,
				found);
		if (r == 0)
			r = look(self, region, block, fresh, PAGE_IS_PRESENT, found, NULL);
	}
	return r;
}

/* The blocks around @run in one region, as far as they are watched and not armed. */
static int arm_blocks(struct umem_wp_async *self, const struct umem_region *region,
	const struct umem_range *run, struct umem_pageset *found)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges near = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ours = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges blocks = { 0 };
	int r = umem_ranges_add(&near,
		umem_max_u64(region->start, umem_align_down(run->start, BLOCK_BYTES)),
		umem_min_u64(region->end, umem_align_up(run->end, BLOCK_BYTES)));

	if (r == 0)
		r = umem_ranges_intersect(&near, &self->watched, &ours);
	if (r == 0)
		r = umem_ranges_subtract(&ours, &self->armed, &blocks);
	return r < 0 ? r : arm(self, region, false, &blocks, found);
}

int umem_wp_async_arm_data(struct umem_wp_async *self, struct umem_pageset *data,
	struct umem_pageset *out)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset found = { 0 };
	const struct umem_space *space = &self->base.target->space;
	struct umem_pageset_iter it;
	struct umem_range run;
	int r = umem_pageset_walk(data, &it);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&it, &run))
		for (size_t k = umem_space_first(space, run.start);
			k < space->n && space->v[k].start < run.end && r == 0; k++)
			r = arm_blocks(self, &space->v[k], &run, &found);
	umem_pageset_walk_end(&it);
	/* Replaced a moment ago: the next collect finds it lost. */
	if (r == -EPERM)
		r = 0;
	if (r == 0)
		r = drop_zeros(self, &found);
	return r < 0 ? r : umem_pageset_union(out, &found);
}

int umem_wp_async_populate(struct umem_wp_async *self, const struct umem_region *region,
	const struct umem_range *piece, bool fresh, struct umem_pageset *out)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset found = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges blocks = { 0 };
	bool shared = umem_kind_shared(region->kind) && region->inode != 0;
	bool huge = region->page_size_bytes > UMEM_PAGE_BYTES;
	int r = 0;

	/* A mark in a huge page table costs 8 bytes: arm all of it. */
	if (huge)
		r = umem_ranges_add(&blocks, piece->start, piece->end);
	else if (shared && fresh)
		r = umem_objects_watch(&self->objects, self->base.target, region, piece, &blocks);
	if (r < 0 && r != -ENOMEM)
		r = 0; /* umem_objects_collect() says so in every round */
	if (r == 0 && shared && !huge)
		r = umem_pageset_add_ranges(&found, &blocks);
	if (r == 0)
		r = look(self, region, piece, fresh, PAGE_IS_PRESENT | PAGE_IS_SWAPPED, &found,
			huge ? NULL : &blocks);
	if (r < 0)
		return r;
	/*
	 * A guard page between armed neighbours would cut the round's scan in two;
	 * it lies in their page table, so marking it costs nothing.
	 */
	if (fresh && blocks.n == 0 && region->kind == UMEM_KIND_ANON &&
		piece->end - piece->start <= SMALL_BYTES &&
		umem_ranges_has(&self->armed, piece->start - 1))
		r = umem_ranges_add(&blocks, piece->start, piece->end);
	if (r < 0)
		return r;
	if (region->kind != UMEM_KIND_FILE_PRIVATE)
		join(&blocks);
	r = arm(self, region, fresh, &blocks, &found);
	if (r == 0 && shared && !fresh)
		r = drop_zeros(self, &found);
	return r < 0 ? r : umem_pageset_union(out, &found);
}
