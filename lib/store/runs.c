// SPDX-License-Identifier: LGPL-2.1-or-later
/* Runs of pages of one space, changed in any order; see runs.h. */
#include "lib/store/runs.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"

#define PIECE_RUNS 256

/** struct umem_runs_piece - some runs; never empty when it is in the map. */
struct umem_runs_piece {
	size_t n;
	struct umem_run v[PIECE_RUNS];
};

void umem_runs_deinit(struct umem_runs *runs)
{
	for (size_t i = 0; i < runs->n_pieces; i++)
		free(runs->pieces[i]);
	free(runs->pieces);
	*runs = (struct umem_runs){ 0 };
}

bool umem_runs_find(const struct umem_runs *runs, uint64_t addr, struct umem_runs_at *ret_at)
{
	size_t low = 0, high = runs->n_pieces;
	const struct umem_runs_piece *piece;

	/* The first piece whose last run ends past @addr. */
	while (low < high) {
		size_t mid = (low + high) / 2;

		piece = runs->pieces[mid];
		if (umem_run_end(&piece->v[piece->n - 1]) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	if (low == runs->n_pieces)
		return false;
	ret_at->piece = low;
	piece = runs->pieces[low];
	low = 0;
	high = piece->n - 1;
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (umem_run_end(&piece->v[mid]) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	ret_at->index = low;
	return true;
}

bool umem_runs_first(const struct umem_runs *runs, struct umem_runs_at *ret_at)
{
	*ret_at = (struct umem_runs_at){ 0 };
	return runs->n_pieces > 0;
}

bool umem_runs_next(const struct umem_runs *runs, struct umem_runs_at *at)
{
	if (at->index + 1 < runs->pieces[at->piece]->n) {
		at->index++;
		return true;
	}
	if (at->piece + 1 == runs->n_pieces)
		return false;
	at->piece++;
	at->index = 0;
	return true;
}

const struct umem_run *umem_runs_get(const struct umem_runs *runs,
	const struct umem_runs_at *at)
{
	return &runs->pieces[at->piece]->v[at->index];
}

static struct umem_run *run_at(struct umem_runs *runs, const struct umem_runs_at *at)
{
	return &runs->pieces[at->piece]->v[at->index];
}

/* Put @piece before that of number @at. */
static int piece_insert(struct umem_runs *runs, size_t at, struct umem_runs_piece *piece)
{
	if (runs->n_pieces == runs->room) {
		size_t room = runs->room ? runs->room * 2 : 8;
		struct umem_runs_piece **more =
			realloc(runs->pieces, room * sizeof(struct umem_runs_piece *));

		if (!more)
			return -ENOMEM;
		runs->pieces = more;
		runs->room = room;
	}
	memmove(runs->pieces + at + 1, runs->pieces + at,
		(runs->n_pieces - at) * sizeof(struct umem_runs_piece *));
	runs->pieces[at] = piece;
	runs->n_pieces++;
	return 0;
}

static int piece_new(struct umem_runs *runs, size_t at)
{
	UMEM_FREE struct umem_runs_piece *piece = malloc(sizeof(*piece));
	int r;

	if (!piece)
		return -ENOMEM;
	piece->n = 0;
	r = piece_insert(runs, at, piece);
	if (r < 0)
		return r;
	UMEM_TAKE_PTR(piece);
	return 0;
}

/*
 * Put a run before the place @at, which may be one past the last of its piece. A full
 * piece is split: in the middle, but at the end of the map so that it stays full, since
 * most runs are put in ascending order.
 */
static int insert(struct umem_runs *runs, struct umem_runs_at at, const struct umem_run *run)
{
	struct umem_runs_piece *piece;
	int r;

	if (runs->n_pieces == 0) {
		r = piece_new(runs, 0);
		if (r < 0)
			return r;
	}
	piece = runs->pieces[at.piece];
	if (piece->n == PIECE_RUNS) {
		size_t keep = at.piece + 1 == runs->n_pieces && at.index == PIECE_RUNS ?
			PIECE_RUNS : PIECE_RUNS / 2;
		struct umem_runs_piece *next;

		r = piece_new(runs, at.piece + 1);
		if (r < 0)
			return r;
		next = runs->pieces[at.piece + 1];
		next->n = PIECE_RUNS - keep;
		memcpy(next->v, piece->v + keep, next->n * sizeof(*next->v));
		piece->n = keep;
		if (at.index > keep || keep == PIECE_RUNS) {
			at.index -= keep;
			piece = next;
		}
	}
	memmove(piece->v + at.index + 1, piece->v + at.index,
		(piece->n - at.index) * sizeof(*piece->v));
	piece->v[at.index] = *run;
	piece->n++;
	runs->n++;
	return 0;
}

/* Take @n runs of one piece out. */
static void take_out(struct umem_runs *runs, const struct umem_runs_at *at, size_t n)
{
	struct umem_runs_piece *piece = runs->pieces[at->piece];

	memmove(piece->v + at->index, piece->v + at->index + n,
		(piece->n - at->index - n) * sizeof(*piece->v));
	piece->n -= n;
	runs->n -= n;
	if (piece->n > 0)
		return;
	free(piece);
	runs->n_pieces--;
	memmove(runs->pieces + at->piece, runs->pieces + at->piece + 1,
		(runs->n_pieces - at->piece) * sizeof(struct umem_runs_piece *));
}

static void count_data(const struct umem_run *run, uint64_t n_pages, uint64_t *ret_data_pages)
{
	if (run->kind == UMEM_RUN_DATA)
		*ret_data_pages += n_pages;
}

/* Take [@start, @end), which lies inside of one run, out of it: two are left. */
static int cut_hole(struct umem_runs *runs, struct umem_runs_at at, uint64_t start,
	uint64_t end, uint64_t *ret_data_pages)
{
	struct umem_run *run = run_at(runs, &at), tail = *run;
	uint64_t n_before = (start - run->start) >> UMEM_IMAGE_PAGE_SHIFT;
	uint64_t n_hole = (end - start) >> UMEM_IMAGE_PAGE_SHIFT;

	count_data(run, n_hole, ret_data_pages);
	umem_run_skip(&tail, n_before + n_hole);
	run->n_pages = n_before;
	at.index++;
	return insert(runs, at, &tail);
}

int umem_runs_drop(struct umem_runs *runs, uint64_t start, uint64_t end,
	uint64_t *ret_data_pages)
{
	struct umem_runs_at at;

	while (start < end && umem_runs_find(runs, start, &at)) {
		struct umem_runs_piece *piece = runs->pieces[at.piece];
		struct umem_run *run = run_at(runs, &at);
		size_t n = 0;

		if (run->start >= end)
			break;
		if (run->start < start && umem_run_end(run) > end)
			return cut_hole(runs, at, start, end, ret_data_pages);
		if (run->start < start) {
			uint64_t left = (start - run->start) >> UMEM_IMAGE_PAGE_SHIFT;

			count_data(run, run->n_pages - left, ret_data_pages);
			run->n_pages = left;
			continue;
		}
		if (umem_run_end(run) > end) {
			uint64_t off = (end - run->start) >> UMEM_IMAGE_PAGE_SHIFT;

			count_data(run, off, ret_data_pages);
			umem_run_skip(run, off);
			break;
		}
		for (; at.index + n < piece->n && umem_run_end(&piece->v[at.index + n]) <= end; n++)
			count_data(&piece->v[at.index + n], piece->v[at.index + n].n_pages,
				ret_data_pages);
		take_out(runs, &at, n);
	}
	return 0;
}

/* Does @next say the same of the pages behind @run? */
static bool continues(const struct umem_run *run, const struct umem_run *next)
{
	if (umem_run_end(run) != next->start || run->kind != next->kind ||
		run->space != next->space ||
		(uint64_t)run->n_pages + (uint64_t)next->n_pages > UMEM_RUN_MAX_PAGES)
		return false;
	switch (run->kind) {
	case UMEM_RUN_DATA:
		return run->ref + run->n_pages == next->ref;
	case UMEM_RUN_PARENT:
		return run->ref + (umem_run_end(run) - run->start) == next->ref;
	default:
		return run->ref == next->ref;
	}
}

/* The place before @at; false at the beginning. */
static bool previous(const struct umem_runs *runs, struct umem_runs_at *at)
{
	if (at->index > 0) {
		at->index--;
		return true;
	}
	if (at->piece == 0)
		return false;
	at->piece--;
	at->index = runs->pieces[at->piece]->n - 1;
	return true;
}

int umem_runs_set(struct umem_runs *runs, const struct umem_run *run, uint64_t *ret_data_pages)
{
	int r = umem_runs_drop(runs, run->start, umem_run_end(run), ret_data_pages);
	struct umem_run joined = *run;
	struct umem_runs_at at, before;
	bool found;

	if (r < 0)
		return r;
	found = umem_runs_find(runs, run->start, &at);
	if (!found && runs->n_pieces > 0) {
		at.piece = runs->n_pieces - 1;
		at.index = runs->pieces[at.piece]->n;
	} else if (!found) {
		at = (struct umem_runs_at){ 0 };
	}
	if (found && continues(run, run_at(runs, &at))) {
		joined.n_pages += run_at(runs, &at)->n_pages;
		take_out(runs, &at, 1);
		return umem_runs_set(runs, &joined, ret_data_pages);
	}
	before = at;
	if (runs->n_pieces > 0 && previous(runs, &before) &&
		continues(run_at(runs, &before), run)) {
		run_at(runs, &before)->n_pages += run->n_pages;
		return 0;
	}
	/* The end of the piece before is as good a place, and may have room. */
	if (at.index == 0 && at.piece > 0 && runs->pieces[at.piece - 1]->n < PIECE_RUNS) {
		at.piece--;
		at.index = runs->pieces[at.piece]->n;
	}
	return insert(runs, at, run);
}
