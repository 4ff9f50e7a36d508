// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copying before the write, the discard and behind the move, by the serving
 * thread.
 *
 * Theory of operation
 *
 * A page is taken (WANTED or MOVED -> BUSY), read into staging memory, lifted, and
 * only then put out (-> DONE). That the lifting succeeds proves that the bytes
 * are right: the kernel refuses it from the moment on at which a change of the
 * mappings begins until its event is read, and this thread is the only one that
 * reads events. A move, or a mapping put in the place of another, between the
 * reading and the lifting is thus noticed; the page is given back, and the fault
 * held until the event is through.
 *
 * For a discard nothing is lifted. There the pages are looked at behind the
 * copy: one that still is there and protected was not written, discarded or
 * replaced before it was read. The same look saves what can be saved when the
 * event of a discard comes unseen: its maker runs already, but slower than we.
 *
 * After a move only this thread knows the addresses, so it copies what was
 * moved (MOVED), when nothing else is to be done. The sweep keeps away: it takes
 * pages from WANTED to DONE only behind a look that no event was missed.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "lib/kern/procmem.h"

/* How much of what was moved is copied between two looks for messages. */
#define MOVED_PAGES 16

/* How long the thread sleeps for staging memory before it looks itself. */
#define ROOM_MS 1

/* One copy: @n pages at @addr, which are those of @part from @page on. */
struct copy {
	struct umem_cow_process *process;
	struct umem_cow_part *part;
	uint64_t addr;
	uint64_t page;
	uint64_t n;
	uint8_t *bytes;
	uint8_t was[UMEM_COW_CHUNK_PAGES];
	uint8_t lost[UMEM_COW_CHUNK_PAGES]; /* enum umem_cow_state, or 0: it is good */
};

/* Take what is not copied yet. Return: is there any? */
static bool take(struct copy *c)
{
	bool any = false;

	for (uint64_t i = 0; i < c->n; i++) {
		enum umem_cow_state s = umem_cow_state_of(c->part, c->page + i);

		c->was[i] = UMEM_COW_EMPTY;
		if ((s == UMEM_COW_WANTED || s == UMEM_COW_MOVED) &&
			umem_cow_take(c->part, c->page + i, s, UMEM_COW_BUSY)) {
			c->was[i] = (uint8_t)s;
			any = true;
		}
	}
	return any;
}

static void set(struct copy *c, uint64_t i, enum umem_cow_state state)
{
	atomic_store_explicit(&c->part->state[c->page + i], (uint8_t)state, memory_order_release);
}

/* As if it had not been taken. */
static void give_back(struct copy *c)
{
	for (uint64_t i = 0; i < c->n; i++)
		if (c->was[i])
			set(c, i, (enum umem_cow_state)c->was[i]);
}

/* Staging memory; waits for it. Return: NULL when it is not needed any more. */
static uint8_t *room(struct umem_cow *cow, uint64_t n)
{
	struct pollfd *wake = &cow->server.polls[cow->n];
	uint8_t *bytes = cow->no_room ? NULL : umem_cow_ring_room(&cow->ring, n);

	if (bytes)
		return bytes;
	cow->server.stats.n_waits++;
	for (;;) {
		atomic_store(&cow->wants_room, true);
		bytes = umem_cow_ring_room(&cow->ring, n);
		if (bytes || atomic_load(&cow->order) != UMEM_COW_COPY)
			break;
		if (poll(wake, 1, ROOM_MS) > 0)
			umem_cow_awake(cow);
	}
	atomic_store(&cow->wants_room, false);
	return bytes;
}

/* Read all of it; what cannot be read, or was not protected any more, is lost. */
static int read_pages(struct umem_cow *cow, struct copy *c)
{
	struct umem_range run = { c->addr, c->addr + (c->n << UMEM_PAGE_SHIFT) };
	struct umem_ranges *holes = &cow->server.holes;
	int r;

	if (c->part->fd >= 0) {
		struct umem_cow_run pages = { c->part, c->page, c->n };

		return umem_cow_object_read(&pages, c->bytes, c->lost);
	}
	memset(c->lost, 0, c->n);
	umem_ranges_clear(holes);
	/* For one page the file is quicker than the call, by what that looks up. */
	r = umem_procmem_read(c->process->target->tid, c->process->mem_fd,
		c->n == 1 && c->process->mem_fd >= 0 ? UMEM_PROCMEM_MEM : UMEM_PROCMEM_AUTO, &run,
		1, c->bytes, holes);
	for (size_t i = 0; i < holes->n && r == 0; i++)
		for (uint64_t at = holes->v[i].start; at < holes->v[i].end;
			at += UMEM_PAGE_BYTES)
			c->lost[(at - c->addr) >> UMEM_PAGE_SHIFT] = UMEM_COW_LOST_UNREADABLE;
	return r;
}

/* What is not there and protected behind the reading may not be what it was at the moment. */
static int check_pages(struct umem_cow *cow, struct copy *c)
{
	uint8_t intact[UMEM_COW_CHUNK_PAGES];
	int r;

	if (c->part->fd >= 0)
		return 0;
	r = umem_cow_intact(c->process, c->addr, c->addr + (c->n << UMEM_PAGE_SHIFT),
		cow->server.vec, UMEM_COW_CHUNK_PAGES, intact);
	for (uint64_t i = 0; i < c->n && r == 0; i++)
		if (!intact[i] && !c->lost[i])
			c->lost[i] = UMEM_COW_LOST_CHANGED;
	return r;
}

/* What was taken goes out. */
static void put(struct umem_cow *cow, struct copy *c)
{
	for (uint64_t i = 0, n; i < c->n; i += n) {
		struct umem_cow_staged staged = {
			.part = c->part,
			.page = c->page + i,
			.bytes = c->bytes + (i << UMEM_PAGE_SHIFT),
		};

		for (n = 0; i + n < c->n && c->was[i + n] && !c->lost[i + n]; n++)
			set(c, i + n, UMEM_COW_DONE);
		staged.n_pages = n;
		if (n) {
			umem_cow_ring_put(&cow->ring, &staged);
			cow->server.stats.n_staged += n;
			continue;
		}
		n = 1;
		if (c->was[i]) {
			set(c, i, (enum umem_cow_state)c->lost[i]);
			cow->server.stats.n_lost++;
		}
	}
	for (uint64_t i = 0; i < c->n; i++)
		if (c->was[i] == UMEM_COW_MOVED)
			atomic_fetch_sub(&cow->server.n_moved, 1);
}

/*
 * Copy before a write: take, read, lift, put. Return: 0; -EAGAIN: nothing was done; -ESRCH.
 */
static int copy_and_lift(struct umem_cow *cow, struct copy *c)
{
	uint64_t end = c->addr + (c->n << UMEM_PAGE_SHIFT);
	int r;

	if (!take(c))
		return umem_cow_lift(c->process, c->addr, end);
	c->bytes = room(cow, c->n);
	if (!c->bytes) {
		give_back(c);
		return -EAGAIN;
	}
	r = read_pages(cow, c);
	/* The page that faulted is there and protected; of others that has to be seen. */
	if (r == 0 && c->n > 1)
		r = check_pages(cow, c);
	if (r == 0)
		r = umem_uffd_protect(c->process->uffd, c->addr, end, false);
	if (r == -ENOENT) {
		/* Registered no longer, without an event: whose bytes are these? */
		if (c->part->fd < 0)
			memset(c->lost, UMEM_COW_LOST_CHANGED, c->n);
		umem_uffd_wake(c->process->uffd, c->addr, end);
	} else if (r < 0) {
		give_back(c);
		return r;
	}
	put(cow, c);
	return 0;
}

int umem_cow_intact(struct umem_cow_process *process, uint64_t start, uint64_t end,
	struct page_region *vec, size_t n_vec, uint8_t *ok)
{
	struct umem_scan scan = {
		.at = start,
		.end = end,
		.inverted = PAGE_IS_WRITTEN,
		.all = PAGE_IS_WRITTEN,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = PAGE_IS_WRITTEN,
	};

	memset(ok, 0, (end - start) >> UMEM_PAGE_SHIFT);
	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(process->target->pagemap_fd, &scan, vec, n_vec, &n);

		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++)
			memset(ok + ((vec[i].start - start) >> UMEM_PAGE_SHIFT), 1,
				(vec[i].end - vec[i].start) >> UMEM_PAGE_SHIFT);
	}
	return 0;
}

int umem_cow_copy_fault(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr)
{
	const struct umem_cow_view *view = umem_cow_map_find(&process->now, addr);
	struct umem_range range;
	struct copy c;
	int r;

	if (!view)
		return umem_cow_lift(process, addr, addr + UMEM_PAGE_BYTES);
	umem_cow_extent(cow, process, addr, &range);
	range.start = umem_max_u64(range.start, view->start);
	range.end = umem_min_u64(range.end, view->end);
	if (view->part->unit_pages > 1) {
		uint64_t unit = view->part->unit_pages << UMEM_PAGE_SHIFT;

		range.start = umem_align_down(addr, unit);
		range.end = range.start + unit;
	}
	c.process = process;
	c.part = view->part;
	c.addr = range.start;
	c.page = view->page + ((range.start - view->start) >> UMEM_PAGE_SHIFT);
	c.n = (range.end - range.start) >> UMEM_PAGE_SHIFT;
	r = copy_and_lift(cow, &c);
	/* The memory is gone, and so is whoever waited. */
	if (r == -ESRCH) {
		atomic_store(&process->gone, true);
		return 0;
	}
	if (r < 0 && r != -EAGAIN)
		umem_cow_fail(cow, r);
	return r;
}

/*
 * Copy what is left to copy of pages at @c, without lifting; what is not intact stays.
 * @settled: no change of the mappings is waited for, so none may be under way.
 */
static int copy_only(struct umem_cow *cow, struct copy *c, bool settled)
{
	int r;

	if (!take(c))
		return 0;
	c->bytes = room(cow, c->n);
	r = c->bytes ? read_pages(cow, c) : -EAGAIN;
	if (r == 0)
		r = check_pages(cow, c);
	if (r == 0 && settled && umem_uffd_changing(c->process->uffd) != 0)
		r = -EAGAIN;
	if (r < 0) {
		give_back(c);
		return r;
	}
	for (uint64_t i = 0; i < c->n && !settled; i++) {
		if (!c->was[i] || !c->lost[i])
			continue;
		set(c, i, (enum umem_cow_state)c->was[i]);
		c->was[i] = UMEM_COW_EMPTY;
	}
	put(cow, c);
	return 0;
}

static void copy_range(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end, bool settled)
{
	const struct umem_cow_map *now = &process->now;

	for (size_t i = umem_cow_map_first(now, start); i < now->n && now->v[i].start < end; i++) {
		const struct umem_cow_view *view = &now->v[i];
		uint64_t at = umem_max_u64(view->start, start);
		uint64_t stop = umem_min_u64(view->end, end);

		while (at < stop) {
			struct copy c = {
				.process = process,
				.part = view->part,
				.addr = at,
				.page = view->page + ((at - view->start) >> UMEM_PAGE_SHIFT),
				.n = umem_min_u64((stop - at) >> UMEM_PAGE_SHIFT,
					UMEM_COW_SWEEP_PAGES),
			};
			int r = copy_only(cow, &c, settled);

			if (r == -ESRCH)
				atomic_store(&process->gone, true);
			else if (r < 0 && r != -EAGAIN)
				umem_cow_fail(cow, r);
			if (r < 0)
				return;
			at += c.n << UMEM_PAGE_SHIFT;
		}
	}
}

void umem_cow_copy_range(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	copy_range(cow, process, start, end, false);
}

/* What @view still has to give is lost. Return: pages. */
static uint64_t lose(struct umem_cow *cow, const struct umem_cow_view *view, uint64_t start,
	uint64_t end, enum umem_cow_state why)
{
	uint64_t from = umem_max_u64(view->start, start), to = umem_min_u64(view->end, end);
	uint64_t page = view->page + ((from - view->start) >> UMEM_PAGE_SHIFT), lost = 0;

	for (uint64_t at = from; at < to; at += UMEM_PAGE_BYTES, page++) {
		if (umem_cow_take(view->part, page, UMEM_COW_WANTED, why)) {
			lost++;
		} else if (umem_cow_take(view->part, page, UMEM_COW_MOVED, why)) {
			atomic_fetch_sub(&cow->server.n_moved, 1);
			lost++;
		}
	}
	cow->server.stats.n_lost += lost;
	return lost;
}

static void discarded(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	const struct umem_cow_map *now = &process->now;
	uint64_t before = cow->server.stats.n_staged, lost = 0;

	/* Nothing is left to do when its maker was seen in time. */
	umem_cow_copy_range(cow, process, start, end);
	for (size_t i = umem_cow_map_first(now, start); i < now->n && now->v[i].start < end; i++)
		lost += lose(cow, &now->v[i], start, end, UMEM_COW_LOST_DISCARDED);
	cow->server.stats.n_discards++;
	cow->server.stats.n_unseen += lost || cow->server.stats.n_staged != before;
}

static int unmapped(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	struct umem_cow_map cut = { 0 };
	int r = umem_cow_map_cut(&process->now, start, end, &cut);

	/* An object is there still. */
	for (size_t i = 0; i < cut.n && r == 0; i++)
		if (cut.v[i].part->fd < 0)
			lose(cow, &cut.v[i], start, end, UMEM_COW_LOST_UNMAPPED);
	umem_cow_map_deinit(&cut);
	return r;
}

static int moved(struct umem_cow *cow, struct umem_cow_process *process, uint64_t from,
	uint64_t to, uint64_t len)
{
	struct umem_cow_map views = { 0 };
	/* What lay there was unmapped by the same call. */
	int r = unmapped(cow, process, to, to + len);

	if (r == 0)
		r = umem_cow_map_move(&process->now, from, to, len, &views);
	for (size_t i = 0; i < views.n && r == 0; i++) {
		const struct umem_cow_view *view = &views.v[i];
		uint64_t n = (view->end - view->start) >> UMEM_PAGE_SHIFT;

		for (uint64_t page = view->page; page < view->page + n && view->part->fd < 0;
			page++)
			if (umem_cow_take(view->part, page, UMEM_COW_WANTED, UMEM_COW_MOVED))
				atomic_fetch_add(&cow->server.n_moved, 1);
	}
	umem_cow_map_deinit(&views);
	cow->server.stats.n_moves++;
	return r;
}

void umem_cow_copy_event(struct umem_cow *cow, struct umem_cow_process *process,
	const struct uffd_msg *msg)
{
	int r = 0;

	switch (msg->event) {
	case UFFD_EVENT_REMOVE:
		discarded(cow, process, msg->arg.remove.start, msg->arg.remove.end);
		break;
	case UFFD_EVENT_UNMAP:
		r = unmapped(cow, process, msg->arg.remove.start, msg->arg.remove.end);
		break;
	case UFFD_EVENT_REMAP:
		r = moved(cow, process, msg->arg.remap.from, msg->arg.remap.to,
			msg->arg.remap.len);
		break;
	default:
		break;
	}
	if (r < 0)
		umem_cow_fail(cow, r);
}

/* The next MOVED page of @view at or behind @at; its end when there is none. */
static uint64_t next_moved(const struct umem_cow_view *view, uint64_t at)
{
	uint64_t page = view->page + ((at - view->start) >> UMEM_PAGE_SHIFT);

	for (; at < view->end; at += UMEM_PAGE_BYTES, page++)
		if (umem_cow_state_of(view->part, page) == UMEM_COW_MOVED)
			break;
	return at;
}

/* The same in a whole process, from @*at on. */
static bool find_moved(const struct umem_cow_process *process, uint64_t *at,
	struct umem_cow_view *ret_view)
{
	const struct umem_cow_map *now = &process->now;

	for (size_t i = umem_cow_map_first(now, *at); i < now->n; i++) {
		*at = next_moved(&now->v[i], umem_max_u64(*at, now->v[i].start));
		if (*at < now->v[i].end) {
			*ret_view = now->v[i];
			return true;
		}
	}
	return false;
}

bool umem_cow_may_copy_moved(const struct umem_cow *cow)
{
	return atomic_load_explicit(&cow->server.n_moved, memory_order_relaxed) != 0 &&
		!umem_cow_ring_half_full(&cow->ring);
}

void umem_cow_copy_moved(struct umem_cow *cow)
{
	struct umem_cow_server *s = &cow->server;
	struct umem_cow_process *process = &cow->v[s->i_moved];
	struct umem_cow_view view;

	if (!umem_cow_may_copy_moved(cow))
		return;
	if (!find_moved(process, &s->moved_at, &view)) {
		/* Around again: what was passed may have moved, or waits for an event. */
		s->moved_at = 0;
		s->i_moved = (s->i_moved + 1) % cow->n;
		return;
	}
	copy_range(cow, process, s->moved_at,
		umem_min_u64(view.end, s->moved_at + MOVED_PAGES * UMEM_PAGE_BYTES), true);
}
