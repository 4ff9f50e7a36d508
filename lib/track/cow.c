// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copy before write: the memory of running processes as it was at one moment.
 *
 * Theory of operation
 *
 * Goal: an image of one moment, for which the threads are stopped for as long
 * as it takes to protect what they write all the time, not for as long as their
 * memory is large.
 *
 *     prepare   register with a synchronous userfaultfd and protect. From now on
 *               a write faults; the serving thread lifts the page and notes it.
 *     moment    everything is stopped: protect what was noted, what appeared,
 *               and what lies where nothing was protected. Of what was noted,
 *               which will be written at once again, as much is copied here and
 *               now as a millisecond allows.
 *     copy      a write faults; the serving thread copies the page, lifts it and
 *               wakes the writer. Meanwhile the owner sweeps: it reads what
 *               nobody wrote, and takes both from here.
 *
 * What is held: for each page a state (cow_own.h), in parts: one for each piece
 * of private memory. A map says which addresses show which pages; the map of
 * the moment stays for the image, a second one follows moves and unmappings.
 * A page goes
 *
 *     EMPTY    was not populated: nothing to copy, read as zeros
 *     WANTED --> BUSY --> DONE     by the serving thread: before a write or a discard
 *        \---> DONE              by the sweep
 *        \---> MOVED --> BUSY    it is somewhere else now; the serving thread's
 *        \---> LOST_*            gone before anybody copied it, with the reason
 *
 * and is never taken back from DONE. Whoever takes it from WANTED has its bytes
 * from before any write, by these rules:
 *
 * - Only the serving thread lifts protection, and reads events. It takes a page
 *   before it lifts it.
 * - The kernel holds a discard up until its event is read; the serving thread
 *   copies first (cow_peek.c). A move or an unmapping is through when its event
 *   comes, and while it is unread nobody can lift anything. So bytes that were
 *   read at an address are those of the page that was there at the moment, if
 *   no change began since the last event that was applied (cow_copy.c for the
 *   serving thread, cow_sweep.c for the sweep).
 * - A page that is read must be there and protected behind the reading. What
 *   loses its protection without telling (merging, guards) is thus never taken
 *   for the page it was.
 *
 * What is not held page by page is told before: within_stop has to be copied by
 * the caller while everything is stopped. What could not be had is told after:
 * lost, never zeros in silence.
 *
 * The two threads share no lock: orders and their acknowledgement, a queue of
 * notes, the ring of staged pages, a ring of requests to lift, states by compare
 * and exchange. At rest (HOLD) the serving thread touches nothing, and all is
 * the owner's.
 *
 * Children of a fork are not watched (no EVENT_FORK) and run free; a page that
 * both have is copied for the parent's write as any other. When we die, the
 * kernel closes the last reference to the userfaultfd, lifts all protection and
 * wakes all writers.
 *
 * Costs: a byte a page, and a page of staging memory for each page that is
 * written before it was swept, up to the limit; then writers wait.
 *
 * Relied on: Linux 6.7 (PAGEMAP_SCAN), WP_UNPOPULATED, EVENT_REMOVE, EVENT_REMAP,
 * EVENT_UNMAP; tests/kernel/cow-*.c show each promise.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/maps.h"
#include "lib/kern/procmem.h"
#include "lib/kern/swapdev.h"
#include "lib/mem/thp.h"

#define STAGING_BYTES (32ull << 20)

/* The least that can hold a huge page, and be written on. */
#define STAGING_BYTES_MIN (4ull << 20)

/* How long hot pages are copied within the moment. */
#define HOT_NS 1000000ull

/* So much being open is protected again while it runs; it then faults once more. */
#define OPEN_MANY   4096
#define MAX_SETTLES 4

static void deinit_process(struct umem_cow_process *p)
{
	umem_fd_close(p->uffd);
	umem_fd_close(p->mem_fd);
	umem_ranges_deinit(&p->which);
	umem_ranges_deinit(&p->registered);
	umem_ranges_deinit(&p->watched);
	umem_ranges_deinit(&p->guarded);
	umem_ranges_deinit(&p->unsteady);
	umem_ranges_deinit(&p->shared);
	umem_ranges_deinit(&p->stopped);
	umem_reasons_deinit(&p->stop);
	umem_cow_map_deinit(&p->image);
	umem_cow_map_deinit(&p->now);
	umem_cow_peeks_deinit(&p->peeks);
}

static int init_process(struct umem_cow_process *p, const struct umem_cow_member *member,
	uint32_t index)
{
	int r = 0;

	*p = (struct umem_cow_process){
		.target = member->target,
		.uffd = -1,
		.mem_fd = -1,
		.index = index,
	};
	if (umem_procmem_open(member->target->tid, &p->mem_fd) < 0)
		p->mem_fd = -1;
	for (size_t i = 0; member->which && i < member->which->n && r == 0; i++)
		r = umem_ranges_add(&p->which, member->which->v[i].start,
			member->which->v[i].end);
	return r;
}

int umem_cow_new(const struct umem_cow_member *members, size_t n_members,
	const struct umem_cow_options *options, struct umem_cow **ret_cow,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_cow_freep) struct umem_cow *cow = calloc(1, sizeof(*cow));
	uint64_t staging = options && options->staging_bytes ? options->staging_bytes :
							       STAGING_BYTES;
	int r = 0;

	if (!cow)
		return -ENOMEM;
	cow->server.wake_fd = -1;
	if (n_members == 0)
		return -EINVAL;
	if (options)
		cow->options = *options;
	cow->no_room = UMEM_FAULT_POINT("cow.no-room");
	cow->no_peek = UMEM_FAULT_POINT("cow.no-peek");
	cow->slow_us = (uint32_t)UMEM_FAULT_POINT("cow.slow-events");
	cow->guard_bit = PAGE_IS_GUARD;
	cow->swaps = umem_swap_active();
	cow->n_vec = 8192;
	cow->vec = reallocarray(NULL, cow->n_vec, sizeof(*cow->vec));
	cow->v = calloc(n_members, sizeof(*cow->v));
	cow->sweep.bytes = aligned_alloc(UMEM_PAGE_BYTES,
		UMEM_COW_CHUNK_PAGES * UMEM_PAGE_BYTES);
	if (!cow->vec || !cow->v || !cow->sweep.bytes)
		return -ENOMEM;
	memset(cow->sweep.bytes, 0, UMEM_COW_CHUNK_PAGES * UMEM_PAGE_BYTES);
	for (; cow->n < n_members && r == 0; cow->n++)
		r = init_process(&cow->v[cow->n], &members[cow->n], (uint32_t)cow->n);
	if (r == 0)
		r = umem_cow_notes_init(&cow->notes);
	if (r == 0)
		r = umem_cow_ring_init(&cow->ring,
			umem_max_u64(staging, STAGING_BYTES_MIN) >> UMEM_PAGE_SHIFT);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_members; i++)
		cow->v[i].uffd = members[i].uffd;
	r = umem_cow_serve_start(cow);
	if (r < 0) {
		for (size_t i = 0; i < n_members; i++)
			cow->v[i].uffd = -1;
		return umem_note_set(note, r, 0,
			"the thread that serves the faults of the program cannot be made: %s",
			strerror(-r));
	}
	*ret_cow = UMEM_TAKE_PTR(cow);
	return 0;
}

/* What the serving thread noted. Return: 0 or -ENOMEM. */
static int take_notes(struct umem_cow *cow)
{
	struct umem_cow_note n;
	int r = 0;

	while (r == 0 && umem_cow_notes_get(&cow->notes, &n)) {
		struct umem_cow_process *p = &cow->v[n.member];

		switch (n.noted) {
		case UMEM_COW_LIFTED:
			r = umem_cow_mark_open(cow, p, n.start, n.end);
			break;
		case UMEM_COW_DISCARDED:
			r = umem_cow_mark(p, n.start, n.end, UMEM_COW_EMPTY);
			if (r == 0)
				r = umem_ranges_sub(&p->guarded, n.start, n.end);
			if (r == 0)
				r = umem_ranges_add(&p->unsteady, n.start, n.end);
			break;
		default:
			r = umem_cow_forget(p, n.start, n.end);
			break;
		}
	}
	return r;
}

/* The live map, and what of it vanished. */
static int refresh(struct umem_cow *cow, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	int r = 0;

	for (size_t k = 0; k < cow->n && r == 0; k++) {
		struct umem_cow_process *p = &cow->v[k];

		r = umem_target_refresh(p->target, &appeared, &vanished, note);
		for (size_t i = 0; i < vanished.n && r == 0; i++)
			r = umem_cow_forget(p, vanished.v[i].start, vanished.v[i].end);
		for (size_t i = 0; i < vanished.n && r == 0; i++)
			r = umem_ranges_sub(&p->stopped, vanished.v[i].start, vanished.v[i].end);
	}
	return r;
}

static int register_all(struct umem_cow *cow)
{
	struct umem_smaps smaps = { 0 };
	int r = 0;

	for (size_t k = 0; k < cow->n && r == 0; k++) {
		struct umem_cow_process *p = &cow->v[k];

		r = cow->stopped ? 0 : umem_smaps_read(p->target->proc_fd, &smaps);
		if (r == -ENOENT || r == -ESRCH)
			r = UMEM_GONE;
		if (r == 0)
			r = umem_cow_register(cow, p, cow->stopped ? NULL : &smaps);
	}
	umem_smaps_deinit(&smaps);
	return r;
}

static int adopt_all(struct umem_cow *cow)
{
	int r = 0;

	for (size_t k = 0; k < cow->n && r == 0; k++)
		r = umem_cow_adopt(cow, &cow->v[k]);
	return r;
}

/* What is watched and not protected whole. */
static int each_loose(struct umem_cow *cow,
	int (*look)(struct umem_cow *, struct umem_cow_process *, uint64_t, uint64_t))
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges loose = { 0 };
	int r = 0;

	for (size_t k = 0; k < cow->n && r == 0; k++) {
		struct umem_cow_process *p = &cow->v[k];

		r = umem_ranges_subtract(&p->watched, &p->guarded, &loose);
		for (size_t i = 0; i < loose.n && r == 0; i++)
			r = look(cow, p, loose.v[i].start, loose.v[i].end);
	}
	return r;
}

static int say(struct umem_cow *cow, int r, struct umem_note *note, const char *what)
{
	if (r == UMEM_GONE)
		umem_cow_say_gone(cow, note);
	else if (r < 0)
		umem_note_set(note, r, 0, "%s the memory of pid %d: %s", what,
			cow->v[0].target->pid, strerror(-r));
	return r;
}

int umem_cow_prepare(struct umem_cow *cow, struct umem_note *note)
{
	int r = 0;

	for (int i = 0; i < MAX_SETTLES && r == 0; i++) {
		uint64_t noted = atomic_load(&cow->notes.n);

		r = take_notes(cow);
		if (r == 0)
			r = refresh(cow, note);
		if (r == 0)
			r = register_all(cow);
		if (r == 0)
			r = refresh(cow, note);
		if (r == 0)
			r = adopt_all(cow);
		if (r == 0)
			r = umem_cow_close(cow, NULL);
		if (r == 0 && i > 0)
			r = each_loose(cow, umem_cow_guard);
		if (r == 0)
			r = umem_cow_objects_sync(cow);
		if (r == 0)
			r = atomic_load(&cow->error);
		if (atomic_load(&cow->notes.n) - noted < OPEN_MANY)
			break;
	}
	return say(cow, r, note, "protecting");
}

/* A note was lost: all is taken up anew, as if it had just appeared. */
static int distrust(struct umem_cow *cow)
{
	int r = 0;

	if (!atomic_exchange(&cow->overflow, false))
		return 0;
	for (size_t k = 0; k < cow->n && r == 0; k++)
		r = umem_cow_forget(&cow->v[k], 0, UINT64_MAX);
	return r;
}

/* Is a page of the run, which is not protected, one that is to be copied? */
static bool is_exposed(const struct umem_cow_process *p, const struct page_region *run,
	uint64_t *ret_addr)
{
	for (uint64_t at = run->start; at < run->end; at += UMEM_PAGE_BYTES) {
		const struct umem_cow_view *v = umem_cow_map_find(&p->image, at);

		*ret_addr = at;
		if (v && umem_cow_state_of(v->part,
				 v->page + ((at - v->start) >> UMEM_PAGE_SHIFT)) ==
				 UMEM_COW_WANTED)
			return true;
	}
	return false;
}

/* Every page that is to be copied must be protected now. Return: 0, -EUCLEAN, -errno. */
static int verify(struct umem_cow *cow, const struct umem_cow_process *p,
	const struct umem_range *range, struct umem_note *note)
{
	struct umem_scan scan = {
		.at = range->start,
		.end = range->end,
		.all = PAGE_IS_WRITTEN,
		.wanted = PAGE_IS_WRITTEN,
	};

	while (scan.at < scan.end) {
		uint64_t addr;
		size_t n;
		int r = umem_pagemap_scan(p->target->pagemap_fd, &scan, cow->vec, cow->n_vec, &n);

		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++)
			if (is_exposed(p, &cow->vec[i], &addr))
				return umem_note_set(note, -EUCLEAN, addr,
					"a page at %#llx is not protected",
					(unsigned long long)addr);
	}
	return 0;
}

static int verify_all(struct umem_cow *cow, struct umem_note *note)
{
	int r = 0;

	for (size_t k = 0; k < cow->n && r == 0; k++) {
		const struct umem_cow_process *p = &cow->v[k];

		for (size_t i = 0; i < p->watched.n && r == 0; i++)
			r = verify(cow, p, &p->watched.v[i], note);
		for (size_t i = 0; i < p->shared.n && r == 0; i++)
			r = verify(cow, p, &p->shared.v[i], note);
	}
	return r;
}

int umem_cow_moment(struct umem_cow *cow, struct umem_note *note)
{
	uint64_t start_ns = umem_now_ns();
	int r = umem_cow_order(cow, UMEM_COW_HOLD);

	cow->stopped = true;
	cow->n_protected = 0;
	if (cow->options.hot_ns != UMEM_COW_HOT_NEVER)
		cow->hot_until_ns = umem_now_ns() +
			(cow->options.hot_ns ? cow->options.hot_ns : HOT_NS);
	if (r == 0)
		r = take_notes(cow);
	if (r == 0)
		r = distrust(cow);
	if (r == 0)
		r = refresh(cow, note);
	if (r == 0)
		r = umem_cow_close(cow, &cow->sweep.hot);
	if (r == 0)
		r = each_loose(cow, umem_cow_catch_up);
	if (r == 0)
		r = register_all(cow);
	if (r == 0)
		r = adopt_all(cow);
	if (r == 0)
		r = umem_cow_objects_sync(cow);
	if (r == 0 && cow->options.verify)
		r = verify_all(cow, note);
	for (size_t k = 0; k < cow->n && r == 0; k++)
		r = umem_cow_map_copy(&cow->v[k].now, &cow->v[k].image);
	for (size_t i = 0; i < cow->n_parts; i++)
		if (cow->parts[i]->fd >= 0)
			atomic_store(&cow->shares, true);
	if (r == 0)
		r = umem_cow_order(cow, UMEM_COW_COPY);
	cow->moment_ns = umem_now_ns() - start_ns;
	return say(cow, r, note, "protecting, within the moment,");
}

const struct umem_reasons *umem_cow_within_stop(const struct umem_cow *cow, size_t member)
{
	return &cow->v[member].stop;
}

int umem_cow_except(struct umem_cow *cow, size_t member, const struct umem_ranges *ranges)
{
	const struct umem_cow_map *image = &cow->v[member].image;

	for (size_t k = 0; k < ranges->n; k++) {
		uint64_t start = ranges->v[k].start, end = ranges->v[k].end;

		for (size_t i = umem_cow_map_first(image, start);
			i < image->n && image->v[i].start < end; i++) {
			const struct umem_cow_view *v = &image->v[i];
			uint64_t at = umem_max_u64(v->start, start);

			for (; at < umem_min_u64(v->end, end); at += UMEM_PAGE_BYTES)
				umem_cow_take(v->part,
					v->page + ((at - v->start) >> UMEM_PAGE_SHIFT),
					UMEM_COW_WANTED, UMEM_COW_EMPTY);
		}
	}
	return 0;
}

struct umem_cow *umem_cow_free(struct umem_cow *cow)
{
	if (!cow)
		return NULL;
	if (cow->server.started) {
		/* Events are read until the last mapping is released. */
		umem_cow_order(cow, UMEM_COW_RELEASE);
		for (size_t k = 0; k < cow->n; k++)
			umem_cow_release(&cow->v[k]);
	}
	umem_cow_serve_end(cow);
	for (size_t k = 0; k < cow->n; k++) {
		deinit_process(&cow->v[k]);
		umem_thp_restore(cow->v[k].target, &cow->v[k].target->huge);
		umem_ranges_clear(&cow->v[k].target->huge);
	}
	for (size_t i = 0; i < cow->n_parts; i++)
		umem_cow_part_free(cow->parts[i]);
	free(cow->parts);
	umem_cow_runs_deinit(&cow->opened);
	umem_cow_sweep_deinit(&cow->sweep);
	umem_cow_notes_deinit(&cow->notes);
	umem_cow_ring_deinit(&cow->ring);
	free(cow->vec);
	free(cow->v);
	free(cow);
	return NULL;
}
