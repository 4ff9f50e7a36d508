// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Protecting, before the moment and within it.
 *
 * Theory of operation
 *
 * Protection costs 70 ns a page and a page table where there was none, so it is
 * put on ahead of the moment, and only by blocks (what one page table maps) in
 * which something is populated. Of a block all is protected: its holes get
 * marks, so that a first touch faults and is noted. A block in which nothing is
 * populated stays as it is; within the moment one scan, which passes over empty
 * page tables, finds what appeared there.
 *
 *     running    look 1: which pages are there -> WANTED, and their blocks
 *                protect the blocks
 *                look 2: what was populated between look 1 and the protection
 *     stopped    look, protect what is there; marks would tell nothing any more
 *
 * A page that is populated behind the protection faults, is lifted, and noted
 * (behind the lifting: so a note never stands for a page whose lifting is still
 * to come). Notes make pages OPEN; within the moment the open ones are protected.
 *
 * What was discarded has lost its protection, and an announced discard may yet
 * come behind a protection that was put on anew. It is left alone (unsteady)
 * until all threads are stopped, and then looked at.
 *
 * All calls hold the lock that the target needs to map and unmap: while it runs
 * they are made in steps, with pauses. An event that is not read yet makes them
 * fail with EAGAIN; the serving thread reads it.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/mem/scan.h"

/* How much is protected, or looked at, in one call while the target runs. */
#define STEP_BYTES (4ull << 20)
#define STEP_PAGES (STEP_BYTES >> UMEM_PAGE_SHIFT)
#define PAUSE_NS   20000

/*
 * How long a change of the mappings may take: its maker has to run once more. While
 * all is stopped, one that lasts is of something that is not.
 */
#define PATIENCE_NS         10000000000ull
#define STOPPED_PATIENCE_NS 1000000000ull

/* A gap that is protected along with what is on its sides: a call costs more. */
#define GAP_BYTES (16 * UMEM_PAGE_BYTES)

static void pause_ns(long ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

int umem_cow_gone(struct umem_cow_process *process)
{
	atomic_store(&process->gone, true);
	return UMEM_GONE;
}

int umem_cow_protect(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	uint64_t since_ns = 0;
	int r;

	while ((r = umem_uffd_protect(process->uffd, start, end, true)) == -EAGAIN) {
		int error = atomic_load(&cow->error);

		if (error < 0)
			return error;
		if (!since_ns)
			since_ns = umem_now_ns();
		else if (umem_now_ns() - since_ns >
			(cow->stopped ? STOPPED_PATIENCE_NS : PATIENCE_NS))
			return -EAGAIN;
		pause_ns(PAUSE_NS);
	}
	cow->n_protected += (end - start) >> UMEM_PAGE_SHIFT;
	return r == -ESRCH ? umem_cow_gone(process) : r;
}

/* The next ranges of a look at pages that are there. Return: 0, UMEM_GONE, -errno. */
static int look(struct umem_cow *cow, struct umem_cow_process *process, struct umem_scan *scan,
	size_t *ret_n)
{
	int r;

	scan->any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
	do {
		scan->wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO |
			PAGE_IS_HUGE | cow->guard_bit;
		r = umem_pagemap_scan(process->target->pagemap_fd, scan, cow->vec, cow->n_vec,
			ret_n);
		/* Before 6.15 guards are not told from marks, and read as zeros here. */
		if (r != -EINVAL || !cow->guard_bit)
			break;
		cow->guard_bit = 0;
	} while (true);
	return r == -ESRCH ? umem_cow_gone(process) : r;
}

/* Is there something at @run that an image has to hold? Marks only lie where we put them. */
static bool is_content(const struct umem_cow *cow, const struct page_region *run)
{
	return !(run->categories & (PAGE_IS_PFNZERO | cow->guard_bit));
}

static int note_huge(struct umem_cow_process *process, const struct page_region *run)
{
	if (!(run->categories & PAGE_IS_HUGE))
		return 0;
	atomic_store(&process->huge, true);
	return umem_ranges_add(&process->target->huge,
		umem_align_up(run->start, UMEM_COW_BLOCK_BYTES),
		umem_align_down(run->end, UMEM_COW_BLOCK_BYTES));
}

/* What appeared in [start, end) while it was being protected. */
static int look_again(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset swapped = { 0 };
	struct umem_scan scan = { .at = start, .end = end };
	struct umem_pageset_iter it;
	struct umem_range run;
	size_t n;
	int r = 0;

	while (scan.at < scan.end && r == 0) {
		r = look(cow, process, &scan, &n);
		for (size_t i = 0; i < n && r == 0; i++)
			if (is_content(cow, &cow->vec[i]) &&
				(cow->vec[i].categories & PAGE_IS_PRESENT))
				r = umem_cow_mark(process, cow->vec[i].start, cow->vec[i].end,
					UMEM_COW_WANTED);
	}
	if (r != 0 || !cow->swaps)
		return r;
	r = umem_scan_swapped(process->target, start, end, &swapped, &swapped);
	if (r == 0)
		r = umem_pageset_walk(&swapped, &it);
	if (r < 0)
		return r == -ESRCH ? umem_cow_gone(process) : r;
	while (r == 0 && umem_pageset_next(&it, &run))
		r = umem_cow_mark(process, run.start, run.end, UMEM_COW_WANTED);
	umem_pageset_walk_end(&it);
	return r;
}

/* Protect a block, or several that touch, in steps. */
static int guard_blocks(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_range *blocks)
{
	for (uint64_t at = blocks->start, end; at < blocks->end; at = end) {
		int r;

		end = umem_min_u64(blocks->end, umem_align_down(at, STEP_BYTES) + STEP_BYTES);
		r = umem_cow_protect(cow, process, at, end);
		/* Unmapped, in whole or in part: a note of that is under way. */
		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = umem_ranges_add(&process->guarded, at, end);
		if (r == 0)
			r = look_again(cow, process, at, end);
		if (r != 0)
			return r;
		pause_ns(PAUSE_NS);
	}
	return 0;
}

int umem_cow_guard(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges blocks = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges steady = { 0 };
	struct umem_scan scan = { .at = start, .end = end, .max_pages = STEP_PAGES };
	const struct umem_cow_view *view = umem_cow_map_find(&process->image, start);
	size_t n;

	/* A limit by pages does not go with those of the reserved pool. */
	if (view && view->part->unit_pages > 1)
		scan.max_pages = 0;
	while (scan.at < scan.end) {
		int r = look(cow, process, &scan, &n);

		umem_ranges_clear(&blocks);
		for (size_t i = 0; i < n && r == 0; i++) {
			const struct page_region *run = &cow->vec[i];

			if (is_content(cow, run))
				r = umem_cow_mark(process, run->start, run->end, UMEM_COW_WANTED);
			if (r == 0)
				r = note_huge(process, run);
			if (r == 0)
				r = umem_ranges_add(&blocks,
					umem_max_u64(start, umem_align_down(run->start,
						UMEM_COW_BLOCK_BYTES)),
					umem_min_u64(end, umem_align_up(run->end,
						UMEM_COW_BLOCK_BYTES)));
		}
		if (r == 0)
			r = umem_ranges_subtract(&blocks, &process->unsteady, &steady);
		for (size_t i = 0; i < steady.n && r == 0; i++)
			r = guard_blocks(cow, process, &steady.v[i]);
		if (r != 0)
			return r;
		if (n == cow->n_vec || scan.at < scan.end)
			pause_ns(PAUSE_NS);
	}
	return 0;
}

int umem_cow_catch_up(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	struct umem_scan scan = { .at = start, .end = end };
	struct umem_range run = { 0, 0 };
	size_t n;
	int r = 0;

	while (scan.at < scan.end && r == 0) {
		r = look(cow, process, &scan, &n);
		for (size_t i = 0; i < n && r == 0; i++) {
			const struct page_region *now = &cow->vec[i];

			if (!is_content(cow, now))
				continue;
			r = umem_cow_mark(process, now->start, now->end, UMEM_COW_WANTED);
			if (r == 0)
				r = note_huge(process, now);
			if (r == 0 && run.end && now->start - run.end > GAP_BYTES) {
				r = umem_cow_protect(cow, process, run.start, run.end);
				run.end = 0;
			}
			if (!run.end)
				run.start = now->start;
			run.end = now->end;
		}
	}
	return r == 0 && run.end ? umem_cow_protect(cow, process, run.start, run.end) : r;
}

/*
 * A part of the run is not registered any more, and the kernel stopped there: of that part
 * a note comes, the rest is to be protected yet.
 */
static int reopen(struct umem_cow *cow, const struct umem_cow_run *run)
{
	int r = 0;

	for (uint64_t p = run->page; p < run->page + run->n_pages && r == 0; p++)
		if (run->part->state[p] == UMEM_COW_WANTED)
			r = umem_cow_open_page(cow, run->part, p);
	return r;
}

int umem_cow_protect_run(struct umem_cow *cow, const struct umem_cow_run *run)
{
	for (size_t i = 0; i < run->part->n_seen; i++) {
		const struct umem_cow_seen *seen = &run->part->seen[i];
		struct umem_cow_run rest = *run;

		while (rest.n_pages > 0) {
			uint64_t addr, n = umem_cow_where(&seen->process->image, seen, &rest,
				&addr);
			int r = n ? umem_cow_protect(cow, seen->process, addr,
					    addr + (n << UMEM_PAGE_SHIFT)) : 0;

			if (r == -ENOENT && !cow->stopped)
				r = reopen(cow, run);
			if (r != 0)
				return r;
			n = n ? n : 1;
			rest.page += n;
			rest.n_pages -= n;
		}
	}
	return 0;
}

/* Protect the open pages of one block again, or copy them, a run of them at a time. */
static int close_block(struct umem_cow *cow, const struct umem_cow_run *block,
	struct umem_cow_runs *hot)
{
	struct umem_cow_part *part = block->part;
	uint64_t end = block->page + block->n_pages, at = block->page;
	int r = 0;

	part->open[block->page / UMEM_COW_BLOCK_PAGES] = 0;
	while (at < end && r == 0) {
		struct umem_cow_run run = { .part = part, .page = at };

		for (; at < end && (part->state[at] & UMEM_COW_OPEN); at++)
			atomic_store_explicit(&part->state[at], UMEM_COW_WANTED,
				memory_order_relaxed);
		run.n_pages = at - run.page;
		if (run.n_pages == 0) {
			at++;
			continue;
		}
		r = hot ? umem_cow_copy_hot(cow, &run) : UMEM_AGAIN;
		if (r != UMEM_AGAIN)
			continue;
		r = umem_cow_protect_run(cow, &run);
		if (r == 0 && hot)
			r = umem_cow_runs_add(hot, &run);
	}
	return r;
}

int umem_cow_close(struct umem_cow *cow, struct umem_cow_runs *hot)
{
	struct umem_cow_runs *opened = &cow->opened;
	size_t n = opened->n;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct umem_cow_run block = opened->v[i];

		r = close_block(cow, &block, hot);
	}
	/* Those that are open again are behind. */
	if (n > 0)
		memmove(opened->v, opened->v + n, (opened->n - n) * sizeof(*opened->v));
	opened->n -= n;
	return r;
}
