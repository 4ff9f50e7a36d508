// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Giving the pages of the image to the owner: what was staged, and what the
 * sweep copies in the background.
 *
 * Theory of operation
 *
 * The sweep reads a chunk without asking anybody, and finds out afterwards
 * whether it may keep it. A page may be kept when it was, at the time of the
 * reading, what it was at the moment. Behind the reading, in this order:
 *
 *   1. it is there and protected, so nobody wrote it, and nothing else was put
 *      in its place (another page that is protected would have to be moved there;)
 *   2. no change of the mappings is under way (so no move is through whose
 *      event was not read),
 *   3. the serving thread is not just between reading an event and having
 *      applied it: its section is even, or another one by now,
 *   4. it still is WANTED: whatever was written, discarded, moved or unmapped
 *      before is not, because the serving thread took it before it let that
 *      happen, or when it learned of it.
 *
 * In step 4 it becomes DONE, and its protection is left to the serving thread:
 * it alone may lift, because it alone knows what an address shows now.
 *
 * Nothing here waits for the serving thread, which may in turn wait for staging
 * memory to be given back here: where a step fails, what is staged is given
 * first, and the chunk is read again.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/kern/procmem.h"

/* Looks at the section before the staged pages are looked at again. */
#define MAX_LOOKS 200

/* So long without a page, and it is given up. */
#define STALLED_S 20

/* Between two chunks while the mappings are being changed. */
#define RETRY_NS 20000

void umem_cow_sweep_deinit(struct umem_cow_sweep *sweep)
{
	umem_cow_runs_deinit(&sweep->hot);
	free(sweep->bytes);
	*sweep = (struct umem_cow_sweep){ 0 };
}

/* The next WANTED pages of [from, to) of @part. */
static bool find_wanted(struct umem_cow_part *part, uint64_t from, uint64_t to,
	struct umem_cow_run *ret_run)
{
	uint64_t most = umem_max_u64(UMEM_COW_SWEEP_PAGES, part->unit_pages);
	const uint8_t *state = (const uint8_t *)part->state;
	const uint8_t *at = from < to ? memchr(state + from, UMEM_COW_WANTED, to - from) : NULL;

	if (!at)
		return false;
	ret_run->part = part;
	ret_run->page = (uint64_t)(at - state);
	if (part->unit_pages > 1)
		ret_run->page = umem_align_down(ret_run->page, part->unit_pages);
	to = umem_min_u64(to, ret_run->page + most);
	for (ret_run->n_pages = 1; ret_run->page + ret_run->n_pages < to; ret_run->n_pages++)
		if (state[ret_run->page + ret_run->n_pages] != UMEM_COW_WANTED)
			break;
	return true;
}

/* What was written shortly before the moment, as long as it is to be copied. */
static bool next_hot(struct umem_cow_sweep *sweep, struct umem_cow_run *ret_run)
{
	for (; sweep->i_hot < sweep->hot.n; sweep->i_hot++) {
		const struct umem_cow_run *hot = &sweep->hot.v[sweep->i_hot];

		if (find_wanted(hot->part, hot->page, hot->page + hot->n_pages, ret_run))
			return true;
	}
	return false;
}

/* The next of the current part. */
static bool next_in_part(struct umem_cow_sweep *sweep, struct umem_cow_part *part,
	struct umem_cow_run *ret_run)
{
	for (size_t i = umem_ranges_find(&part->blocks, sweep->at); i < part->blocks.n; i++) {
		const struct umem_range *b = &part->blocks.v[i];

		if (find_wanted(part, umem_max_u64(b->start, sweep->at), b->end, ret_run)) {
			sweep->at = ret_run->page;
			return true;
		}
		sweep->at = b->end;
	}
	return false;
}

/*
 * All of @part is copied. Of an object the serving thread has to say, afterwards, whether it
 * was mapped anew before. Return: 0, UMEM_AGAIN: it has not said yet.
 */
static int close_part(struct umem_cow *cow, struct umem_cow_part *part)
{
	struct umem_cow_sweep *sweep = &cow->sweep;

	if (part->fd < 0)
		return 0;
	if (!sweep->asked) {
		sweep->asked = true;
		atomic_fetch_add(&cow->n_asked, 1);
		umem_cow_wake(cow);
	}
	if (atomic_load(&cow->n_checked) != atomic_load(&cow->n_asked))
		return UMEM_AGAIN;
	sweep->asked = false;
	atomic_store(&part->swept, true);
	return 0;
}

/* Return: 0, UMEM_AGAIN, -ENODATA: there is no more. */
static int next_cold(struct umem_cow *cow, struct umem_cow_run *ret_run)
{
	struct umem_cow_sweep *sweep = &cow->sweep;

	for (; sweep->i_part < cow->n_parts; sweep->i_part++, sweep->at = 0) {
		struct umem_cow_part *part = cow->parts[sweep->i_part];
		int r;

		if (next_in_part(sweep, part, ret_run))
			return 0;
		r = close_part(cow, part);
		if (r != 0) {
			sched_yield();
			return r;
		}
	}
	atomic_store(&cow->shares, false);
	return -ENODATA;
}

/* Everything of @process that is not copied is lost. */
static void lose_all(struct umem_cow *cow, const struct umem_cow_process *process)
{
	for (size_t k = 0; k < cow->n_parts; k++) {
		struct umem_cow_part *part = cow->parts[k];

		/* An object is there still. */
		if (part->fd >= 0 || part->n_seen == 0 || part->seen[0].process != process)
			continue;
		for (size_t i = 0; i < part->blocks.n; i++)
			for (uint64_t p = part->blocks.v[i].start; p < part->blocks.v[i].end; p++)
				umem_cow_take(part, p, UMEM_COW_WANTED, UMEM_COW_LOST_GONE);
	}
}

/* Is the serving thread not between reading an event and having applied it? */
static bool settled(struct umem_cow *cow, const struct umem_cow_process *process)
{
	uint64_t section;

	if (umem_uffd_changing(process->uffd) != 0) {
		/* Its makers need a processor to come to an end. */
		nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
		return false;
	}
	section = atomic_load(&cow->section);
	for (int i = 0; (section & 1) && i < MAX_LOOKS; i++) {
		if (atomic_load(&cow->section) != section)
			return true;
		if (i > MAX_LOOKS / 4)
			sched_yield();
	}
	return !(section & 1) || atomic_load(&cow->section) != section;
}

static int read_run(struct umem_cow *cow, const struct umem_cow_process *process, uint64_t addr,
	uint64_t n_pages, uint8_t *lost)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	struct umem_range run = { addr, addr + (n_pages << UMEM_PAGE_SHIFT) };
	uint8_t intact[UMEM_COW_CHUNK_PAGES] = { 0 };
	int r = umem_procmem_read(process->target->tid, process->mem_fd, UMEM_PROCMEM_AUTO, &run,
		1, cow->sweep.bytes, &holes);

	memset(lost, 0, n_pages);
	if (r == 0)
		r = umem_cow_intact((struct umem_cow_process *)process, run.start, run.end,
			cow->vec, cow->n_vec, intact);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < n_pages; i++)
		if (!intact[i])
			lost[i] = UMEM_COW_LOST_CHANGED;
	for (size_t i = 0; i < holes.n; i++)
		for (uint64_t at = holes.v[i].start; at < holes.v[i].end; at += UMEM_PAGE_BYTES)
			lost[(at - addr) >> UMEM_PAGE_SHIFT] = UMEM_COW_LOST_UNREADABLE;
	return 0;
}

/* Read @run to @bytes while everything is stopped. Return: 0; UMEM_AGAIN: not whole; -errno. */
static int read_stopped(const struct umem_cow_run *run, uint8_t *bytes)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	const struct umem_cow_seen *seen = &run->part->seen[0];
	uint8_t lost[UMEM_COW_CHUNK_PAGES];
	struct umem_range range;
	int r;

	if (run->part->fd >= 0) {
		r = umem_cow_object_read(run, bytes, lost);
		return r == 0 && memchr(lost, UMEM_COW_LOST_PUNCHED, run->n_pages) ? UMEM_AGAIN :
										     r;
	}
	if (umem_cow_where(&seen->process->image, seen, run, &range.start) != run->n_pages)
		return UMEM_AGAIN;
	range.end = range.start + (run->n_pages << UMEM_PAGE_SHIFT);
	r = umem_procmem_read(seen->process->target->tid, seen->process->mem_fd,
		UMEM_PROCMEM_AUTO, &range, 1, bytes, &holes);
	return r == 0 && holes.n ? UMEM_AGAIN : r;
}

int umem_cow_copy_hot(struct umem_cow *cow, const struct umem_cow_run *run)
{
	struct umem_cow_staged staged = { run->part, run->page, run->n_pages, NULL };
	uint8_t *bytes;
	int r;

	if (run->n_pages > UMEM_COW_CHUNK_PAGES || umem_now_ns() >= cow->hot_until_ns ||
		umem_cow_ring_half_full(&cow->ring))
		return UMEM_AGAIN;
	/* At rest the ring is filled by the owner. */
	bytes = umem_cow_ring_room(&cow->ring, run->n_pages);
	r = bytes ? read_stopped(run, bytes) : UMEM_AGAIN;
	if (r == -ESRCH)
		return UMEM_GONE;
	if (r != 0)
		return r;
	for (uint64_t i = 0; i < run->n_pages; i++)
		umem_cow_take(run->part, run->page + i, UMEM_COW_WANTED, UMEM_COW_DONE);
	staged.bytes = bytes;
	umem_cow_ring_put(&cow->ring, &staged);
	cow->n_hot += run->n_pages;
	return 0;
}

/* Ask the serving thread to lift what was swept. */
static void ask_to_lift(struct umem_cow *cow, const struct umem_cow_run *run)
{
	struct umem_cow_lifts *lifts = &cow->lifts;
	uint64_t put = atomic_load_explicit(&lifts->put, memory_order_relaxed);

	if (put - atomic_load_explicit(&lifts->got, memory_order_acquire) == UMEM_COW_N_LIFTS)
		return;
	lifts->v[put % UMEM_COW_N_LIFTS] = *run;
	atomic_store_explicit(&lifts->put, put + 1, memory_order_release);
	/* It may sleep: not for every chunk. */
	if ((put + 1) % 8 == 0)
		umem_cow_wake(cow);
}

/* Keep what may be kept of @run, whose bytes were read. */
static void keep(struct umem_cow *cow, const struct umem_cow_run *run, const uint8_t *lost)
{
	struct umem_cow_sweep *sweep = &cow->sweep;

	sweep->n_chunk = sweep->i_chunk = 0;
	for (uint64_t i = 0; i < run->n_pages; i++) {
		struct umem_cow_staged *last = &sweep->chunk[sweep->n_chunk ?
			sweep->n_chunk - 1 : 0];
		uint64_t page = run->page + i;

		if (!umem_cow_take(run->part, page, UMEM_COW_WANTED,
			    lost[i] ? (enum umem_cow_state)lost[i] : UMEM_COW_DONE) || lost[i])
			continue;
		sweep->n_done++;
		if (sweep->n_chunk && last->page + last->n_pages == page)
			last->n_pages++;
		else
			sweep->chunk[sweep->n_chunk++] = (struct umem_cow_staged){
				.part = run->part,
				.page = page,
				.n_pages = 1,
				.bytes = sweep->bytes + (i << UMEM_PAGE_SHIFT),
			};
	}
	ask_to_lift(cow, run);
}

/*
 * Copy the next chunk. Return: 0: there may be something in it; UMEM_AGAIN: not now;
 * UMEM_GONE; -ENODATA: nothing is left to sweep; -errno.
 */
static int sweep_some(struct umem_cow *cow)
{
	uint8_t lost[UMEM_COW_CHUNK_PAGES];
	const struct umem_cow_seen *seen;
	struct umem_cow_run run;
	uint64_t addr, n;
	int r;

	r = next_hot(&cow->sweep, &run) ? 0 : next_cold(cow, &run);
	if (r != 0)
		return r;
	if (run.part->fd >= 0) {
		r = umem_cow_object_read(&run, cow->sweep.bytes, lost);
		if (r == 0)
			keep(cow, &run, lost);
		return r;
	}
	/* Before anything moved; what moved since is not WANTED behind the reading. */
	seen = &run.part->seen[0];
	n = umem_cow_where(&seen->process->image, seen, &run, &addr);
	if (n == 0)
		return -EIO;
	run.n_pages = n;
	r = read_run(cow, seen->process, addr, n, lost);
	if (r == -ESRCH) {
		atomic_store(&seen->process->gone, true);
		lose_all(cow, seen->process);
		return UMEM_GONE;
	}
	if (r < 0)
		return r;
	if (!settled(cow, seen->process))
		return UMEM_AGAIN;
	keep(cow, &run, lost);
	return 0;
}

/* The next address at which the image shows what is being given. Return: false at the end. */
static bool next_piece(struct umem_cow_sweep *sweep, struct umem_cow_piece *ret_piece)
{
	const struct umem_cow_part *part = sweep->given.part;

	for (; sweep->i_seen < part->n_seen; sweep->i_seen++, sweep->given_pages = 0) {
		const struct umem_cow_seen *seen = &part->seen[sweep->i_seen];

		while (sweep->given_pages < sweep->given.n_pages) {
			struct umem_cow_run rest = {
				.part = sweep->given.part,
				.page = sweep->given.page + sweep->given_pages,
				.n_pages = sweep->given.n_pages - sweep->given_pages,
			};
			uint64_t addr = 0;
			uint64_t n = umem_cow_where(&seen->process->image, seen, &rest, &addr);
			const uint8_t *bytes = sweep->given.bytes +
				(sweep->given_pages << UMEM_PAGE_SHIFT);

			sweep->given_pages += n ? n : 1;
			if (n == 0)
				continue;
			*ret_piece = (struct umem_cow_piece){
				.member = seen->process->index,
				.addr = addr,
				.n_pages = n,
				.bytes = bytes,
			};
			return true;
		}
	}
	return false;
}

/* Begin to give @staged. */
static void give(struct umem_cow_sweep *sweep, const struct umem_cow_staged *staged)
{
	sweep->given = *staged;
	sweep->i_seen = 0;
	sweep->given_pages = 0;
	sweep->stalled_ns = 0;
}

/* Something that is copied already, staged pages first. Return: was there something? */
static bool give_some(struct umem_cow *cow)
{
	struct umem_cow_sweep *sweep = &cow->sweep;
	struct umem_cow_staged staged;

	if (cow->giving) {
		umem_cow_ring_give_back(&cow->ring);
		cow->giving = false;
		if (atomic_load(&cow->wants_room))
			umem_cow_wake(cow);
	}
	if (umem_cow_ring_get(&cow->ring, &staged)) {
		cow->giving = true;
		give(sweep, &staged);
		return true;
	}
	if (sweep->i_chunk == sweep->n_chunk)
		return false;
	give(sweep, &sweep->chunk[sweep->i_chunk++]);
	return true;
}

/* Is a page of @part not copied yet, or just being copied? */
static bool is_left(const struct umem_cow_part *part)
{
	const uint8_t *state = (const uint8_t *)part->state;

	for (size_t i = 0; i < part->blocks.n; i++) {
		const struct umem_range *b = &part->blocks.v[i];
		uint64_t end = umem_min_u64(b->end, part->n_pages);
		size_t n = b->start < end ? end - b->start : 0;

		if (n && (memchr(state + b->start, UMEM_COW_WANTED, n) ||
				 memchr(state + b->start, UMEM_COW_BUSY, n)))
			return true;
	}
	return false;
}

/*
 * The serving thread gives a page back when it may not lift it: by then the sweep may be
 * past it. Return: is there such a page, so that all is swept once more?
 */
static bool begin_again(struct umem_cow *cow)
{
	bool any = false, shares = false;

	for (size_t i = 0; i < cow->n_parts; i++) {
		struct umem_cow_part *part = cow->parts[i];

		shares |= part->fd >= 0;
		if (!is_left(part))
			continue;
		any = true;
		atomic_store(&part->swept, false);
	}
	if (!any)
		return false;
	/* Of each object it is asked again, behind its last page, whether it was mapped anew. */
	atomic_store(&cow->shares, shares);
	cow->sweep.i_part = cow->sweep.at = 0;
	return true;
}

/*
 * Nothing is left to sweep: is anything left at all? Return: -ENODATA: nothing that is not
 * in the ring by now; UMEM_AGAIN, UMEM_GONE.
 */
static int finish(struct umem_cow *cow)
{
	uint64_t section = atomic_load(&cow->section);

	for (size_t i = 0; i < cow->n; i++)
		if (atomic_load(&cow->v[i].gone) && atomic_load(&cow->server.n_moved))
			return UMEM_GONE;
	/* What it is about to stage it has taken already. */
	if ((section & 1) || atomic_load(&cow->server.n_moved) != 0) {
		umem_cow_wake(cow);
		sched_yield();
		return UMEM_AGAIN;
	}
	/* Without a turn of that thread since, what is not left now cannot be given back. */
	return begin_again(cow) || atomic_load(&cow->section) != section ? UMEM_AGAIN : -ENODATA;
}

/* Nothing came for too long? */
static bool is_stalled(struct umem_cow_sweep *sweep)
{
	uint64_t now_ns = umem_now_ns();

	if (!sweep->stalled_ns)
		sweep->stalled_ns = now_ns;
	return now_ns - sweep->stalled_ns > STALLED_S * 1000000000ull;
}

int umem_cow_next(struct umem_cow *cow, struct umem_cow_piece *ret_piece,
	struct umem_note *note)
{
	struct umem_cow_sweep *sweep = &cow->sweep;

	for (;;) {
		int r;

		if (sweep->given.part && next_piece(sweep, ret_piece))
			return 0;
		sweep->given.part = NULL;
		if (give_some(cow))
			continue;
		r = atomic_load(&cow->error);
		if (r == 0)
			r = sweep_some(cow);
		if (r == 0)
			continue;
		if (r == -ENODATA)
			r = finish(cow);
		if (r == UMEM_AGAIN && is_stalled(sweep))
			return umem_note_set(note, -EAGAIN, 0,
				"the mappings of pid %d have been changed without a pause for %d s "
				"by more threads than there are processors; use method freeze",
				cow->v[0].target->pid, STALLED_S);
		if (r == -ENODATA) {
			if (give_some(cow))
				continue;
			*ret_piece = (struct umem_cow_piece){ 0 };
			return 0;
		}
		if (r < 0)
			umem_note_set(note, r, 0, "copying the memory of %zu processes: %s",
				cow->n, strerror(-r));
		if (r == UMEM_GONE)
			umem_cow_say_gone(cow, note);
		return r;
	}
}
