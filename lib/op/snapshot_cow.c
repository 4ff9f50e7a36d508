// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshot by copying before the write.
 *
 * Theory of operation
 *
 *     running   get a userfaultfd of each member, protect everything (track/cow)
 *     stopped   the moment: protect again what was written meanwhile; read what
 *               cannot be protected, or is written without a fault: pinned pages,
 *               pages of files; registers
 *     running   what was read; then piece by piece what track/cow copies: before a
 *               write, or because it is its turn
 *
 * Swapped pages come in when they are read; in portions they are put out again.
 *
 * The image is of the moment. What track/cow lost (unmapped or punched out before it
 * was copied) is named, and is no page of zeros.
 */
#include "lib/op/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/pins.h"
#include "lib/track/cow.h"

/* Room for what is read within the stop. */
#define STAGE_BYTES (8ull << 20)
#define STAGE_RUNS  4096

/* Between two looks for pages when there are none at this very moment. */
#define PAUSE_US 20

/*
 * A userfaultfd is fetched to see whether one can be had, and again for each snapshot:
 * between two nothing is to be protected.
 */
static int fetch(struct umem_snapshotter *s, struct umem_snapshot_member *m, int *ret_uffd,
	struct umem_note *note)
{
	uint64_t stop_ns;
	int r = umem_target_fetch_sync(m->target, UMEM_SNAPSHOT_ATTACH_NS, ret_uffd, &stop_ns,
		note);

	if (r == 0)
		s->result.attach_stop_ns = umem_max_u64(s->result.attach_stop_ns, stop_ns);
	return r;
}

static int prepare(struct umem_snapshotter *s, struct umem_note *note)
{
	int r = umem_snapshot_open(s, note);

	for umem_each_member(s, m) {
		UMEM_FD int uffd = -1;

		if (r == 0)
			r = umem_stage_reserve(&m->stage, STAGE_BYTES, STAGE_RUNS);
		if (r == 0)
			r = umem_snapshot_result(s, m, fetch(s, m, &uffd, note));
	}
	return r;
}

/**
 * struct cow - one snapshot.
 * @cow: copies.
 * @members: as it numbers them.
 * @swapped: of each, what was swapped out before.
 * @read_in: of each, what of that was read since it was put out last.
 * @n: how many.
 */
struct cow {
	struct umem_cow *cow;
	struct umem_snapshot_member **members;
	struct umem_pageset *swapped;
	struct umem_ranges *read_in;
	size_t n;
};

static void cow_deinit(struct cow *c)
{
	umem_cow_free(c->cow);
	for (size_t i = 0; i < c->n; i++) {
		umem_pageset_deinit(&c->swapped[i]);
		umem_ranges_deinit(&c->read_in[i]);
	}
	free(c->swapped);
	free(c->read_in);
	free(c->members);
}

/* What is swapped out now, so that it can be left so. */
static int find_swapped(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_pageset *ret_swapped, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	UMEM_CLEANUP(umem_content_deinit) struct umem_content content = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons ignored = { 0 };
	int r = umem_target_refresh(m->target, &appeared, &vanished, note);

	if (r == 0)
		r = umem_content_find(m->target, &s->selected, &content, &ignored, note);
	return r == 0 ? umem_pageset_union(ret_swapped, &content.swapped) : r;
}

static int begin(struct umem_snapshotter *s, struct cow *c, struct umem_note *note)
{
	UMEM_FREE struct umem_cow_member *v = calloc(s->n, sizeof(*v));
	int r = 0;

	c->members = calloc(s->n, sizeof(struct umem_snapshot_member *));
	c->swapped = calloc(s->n, sizeof(*c->swapped));
	c->read_in = calloc(s->n, sizeof(*c->read_in));
	if (!v || !c->members || !c->swapped || !c->read_in)
		return -ENOMEM;
	for umem_each_member(s, m) {
		v[c->n] = (struct umem_cow_member){
			.target = m->target,
			.uffd = -1,
			.which = s->whole ? NULL : &s->selected,
		};
		/* Before it is protected: a write to a huge page that is splits it. */
		if (r == 0)
			r = umem_snapshot_find_huge(m);
		if (r == 0)
			r = find_swapped(s, m, &c->swapped[c->n], note);
		if (r == 0)
			r = fetch(s, m, &v[c->n].uffd, note);
		r = umem_snapshot_result(s, m, r);
		if (!m->ended)
			c->members[c->n++] = m;
	}
	if (r == 0)
		r = umem_cow_new(v, c->n, NULL, &c->cow, note);
	for (size_t i = 0; i < c->n && r != 0; i++)
		umem_fd_close(v[i].uffd);
	return r == 0 ? umem_cow_prepare(c->cow, note) : r;
}

/* Ranges that are pinned are written without a fault: ours, within the stop. */
static int take_pins(struct cow *c, size_t i, struct umem_ranges *ranges)
{
	UMEM_CLEANUP(umem_pins_deinit) struct umem_pins pins = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges pinned = { 0 };
	struct umem_snapshot_member *m = c->members[i];
	int r = umem_target_read_pins(m->target, &pins);

	if (r == -EACCES || r == -EPERM)
		return umem_reasons_add(&m->why, 0, UINT64_MAX,
			"who has memory of pid %d pinned may not be looked at", m->pid);
	for (size_t k = 0; k < pins.n && r == 0; k++) {
		const struct umem_pin *pin = &pins.v[k];
		uint64_t start = umem_align_down(pin->range.start, UMEM_PAGE_BYTES);

		if (pin->range.end == UINT64_MAX)
			r = umem_reasons_add(&m->why, 0, UINT64_MAX,
				"pinned, may be written without a fault: %s (%s)",
				umem_pin_kind_name(pin->kind), pin->what);
		else
			r = umem_ranges_add(&pinned, start,
				umem_align_up(pin->range.end, UMEM_PAGE_BYTES));
	}
	for (size_t k = 0; k < pinned.n && r == 0; k++)
		r = umem_ranges_add(ranges, pinned.v[k].start, pinned.v[k].end);
	return r == 0 && pinned.n ? umem_cow_except(c->cow, i, &pinned) : r;
}

/* Nothing runs: read what cannot be copied later. */
static int read_within(struct umem_snapshotter *s, struct cow *c, size_t i,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges asked = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };
	const struct umem_reasons *within = umem_cow_within_stop(c->cow, i);
	struct umem_snapshot_member *m = c->members[i];
	int r = 0;

	for (size_t k = 0; k < within->n && r == 0; k++)
		r = umem_ranges_add(&asked, within->v[k].start, within->v[k].end);
	if (r == 0)
		r = take_pins(c, i, &asked);
	if (r == 0)
		r = umem_ranges_intersect(&asked, &s->selected, &ranges);
	if (r == 0)
		r = umem_content_find(m->target, &ranges, &m->content, &m->why, note);
	if (r == 0)
		r = umem_copier_stage(&m->copier, &m->content.data, &m->stage);
	s->result.stopped_bytes += m->stage.used_bytes;
	return r;
}

static int stop(struct umem_snapshotter *s, struct cow *c, struct umem_note *note)
{
	int r = umem_snapshot_stop(s, note);

	/* It waits for a thread of its own, which is not urgent and may share our processor. */
	umem_urgent_end(&s->urgent);
	if (r == 0)
		r = umem_cow_moment(c->cow, note);
	for (size_t i = 0; i < c->n && r == 0; i++)
		r = read_within(s, c, i, note);
	if (r == 0)
		r = umem_snapshot_describe(s);
	return umem_snapshot_go(s, r, note);
}

/* Pages that were swapped out have been read: enough of them go out again. */
static int note_read(struct cow *c, const struct umem_cow_piece *piece)
{
	struct umem_ranges *read_in = &c->read_in[piece->member];
	struct umem_pageset *swapped = &c->swapped[piece->member];
	uint64_t end = piece->addr + (piece->n_pages << UMEM_PAGE_SHIFT);
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r;

	if (umem_pageset_empty(swapped))
		return 0;
	r = umem_pageset_walk_from(swapped, piece->addr, &iter);
	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run) && run.start < end)
		r = umem_ranges_add(read_in, run.start, umem_min_u64(run.end, end));
	umem_pageset_walk_end(&iter);
	return r;
}

static int put_out(struct cow *c, size_t i, uint64_t least_bytes)
{
	int r;

	if (umem_ranges_bytes(&c->read_in[i]) < least_bytes)
		return 0;
	r = umem_snapshot_put_out(c->members[i], &c->read_in[i]);
	umem_ranges_clear(&c->read_in[i]);
	return r;
}

/* Take what is copied, until all is. */
static int take_pieces(struct umem_snapshotter *s, struct cow *c, struct umem_note *note)
{
	int r = 0;

	while (r == 0) {
		struct umem_cow_piece piece;
		struct umem_snapshot_member *m;

		r = umem_cow_next(c->cow, &piece, note);
		if (r == UMEM_AGAIN) {
			usleep(PAUSE_US);
			r = 0;
			continue;
		}
		if (r != 0 || piece.n_pages == 0)
			break;
		m = c->members[piece.member];
		r = umem_copier_put(&m->copier, piece.addr, piece.bytes, piece.n_pages);
		m->copier.read_bytes += piece.n_pages << UMEM_PAGE_SHIFT;
		if (r == 0)
			r = note_read(c, &piece);
		if (r == 0)
			r = put_out(c, piece.member, UMEM_SNAPSHOT_SWAPPED_BYTES);
		if (r == 0)
			r = m->copier.step(m->copier.user, piece.n_pages << UMEM_PAGE_SHIFT);
	}
	return r;
}

/* What was lost is named, and is not known to hold zeros. */
static int take_lost(struct cow *c, size_t i)
{
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons lost = { 0 };
	struct umem_snapshot_member *m = c->members[i];
	int r = umem_cow_lost(c->cow, i, &lost);

	for (size_t k = 0; k < lost.n && r == 0; k++)
		r = umem_pageset_add(&m->content.blank, lost.v[k].start, lost.v[k].end);
	return r == 0 ? umem_reasons_append(&m->why, &lost) : r;
}

static int copy(struct umem_snapshotter *s, struct cow *c, struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset populated = { 0 };
	uint64_t bytes = 0;
	int r = begin(s, c, note);

	if (r == 0)
		r = stop(s, c, note);
	for (size_t i = 0; i < c->n && r == 0; i++) {
		r = umem_copier_unstage(&c->members[i]->copier, &c->members[i]->stage,
			NULL);
		if (r == 0)
			r = umem_snapshot_put_back(c->members[i], &c->members[i]->content.swapped);
		if (r == 0)
			r = umem_cow_populated(c->cow, i, &populated);
		bytes += umem_pageset_bytes(&populated);
		umem_pageset_clear(&populated);
	}
	umem_snapshot_begin_round(s, bytes);
	if (r == 0)
		r = take_pieces(s, c, note);
	for (size_t i = 0; i < c->n && r == 0; i++) {
		r = put_out(c, i, 1);
		if (r == 0)
			r = take_lost(c, i);
	}
	return r;
}

static int take(struct umem_snapshotter *s, struct umem_note *note)
{
	struct cow c = { 0 };
	int r = copy(s, &c, note);

	/* On every way out: nobody stands, and nothing is protected. */
	r = umem_snapshot_go(s, r, note);
	cow_deinit(&c);
	for umem_each_member(s, m)
		umem_snapshot_restore_huge(m);
	return r;
}

const struct umem_snapshot_ops umem_snapshot_cow = {
	.method = UMEM_SNAPSHOT_COW,
	.name = "cow",
	.prepare = prepare,
	.take = take,
};
