// SPDX-License-Identifier: LGPL-2.1-or-later
/* Slices: splitting where parts differ, merging where they do not. */
#include "lib/policy/slice.h"

#include "lib/base/attr.h"
#include "lib/policy/slice_array.h"

/* A slice merged from parts in use stays whole for so many holds, but at least for so long. */
#define WHOLE_HOLDS 4
#define WHOLE_LEAST_NS 120000000000u

/* Can it be split, and is there room for its parts? One more than usual when it is off the grid. */
static bool splits(const struct umem_slices *self, const struct umem_slice *slice, size_t n)
{
	return slice->split && slice->n_pages > UMEM_SLICE_PAGES_MIN &&
		n + UMEM_SLICE_FANOUT <= self->max;
}

/* Pages of the grid one level below a slice: parts end at its lines. */
static uint64_t part_pages(const struct umem_slice *slice)
{
	uint64_t pages = UMEM_SLICE_PAGES;

	while (pages >= slice->n_pages)
		pages /= UMEM_SLICE_FANOUT;
	return umem_max_u64(pages, UMEM_SLICE_PAGES_MIN);
}

/* What the first @at of @whole hold of @count that is spread evenly over them. */
static uint64_t until(uint64_t count, uint64_t at, uint64_t whole)
{
	return whole ? count * at / whole : 0;
}

/*
 * Without a counter: what was seen of the parent's first @at pages. What is a
 * share of something else follows that, so that no part has more out than is
 * not resident, or more returned than was at risk.
 */
static struct umem_slice_seen seen_until(const struct umem_slice *parent, uint64_t at)
{
	struct umem_slice_seen seen = {
		.resident = until(parent->resident, at, parent->n_pages),
		.at_risk = until(parent->at_risk, at, parent->n_pages),
		.used = until(parent->used, at, parent->n_pages),
		.source = (enum umem_use_source)parent->source,
	};

	seen.out = until(parent->out, at - seen.resident, parent->n_pages - parent->resident);
	seen.trial = until(parent->trial, at - seen.resident - seen.out,
		parent->n_pages - parent->resident - parent->out);
	seen.tries = parent->tries;
	seen.returned = until(parent->returned, seen.at_risk, parent->at_risk);
	return seen;
}

static void count_evenly(const struct umem_slice *parent, uint64_t from, uint64_t to,
	struct umem_slice_seen *seen)
{
	struct umem_slice_seen before = seen_until(parent, from);

	*seen = seen_until(parent, to);
	seen->resident -= before.resident;
	seen->out -= before.out;
	seen->trial -= before.trial;
	seen->at_risk -= before.at_risk;
	seen->returned -= before.returned;
	seen->used -= before.used;
}

/* The state that a part starts with, once it was noted. */
static void start_part(struct umem_slice *part, const struct umem_slice *parent)
{
	part->whole_until_ns = parent->whole_until_ns;
	part->grown = 0;
	/* of a kind that was in use; whether it is itself nobody knows: no hold_until_ns */
	part->hold_ns = parent->hold_ns;
	if (part->returned || part->used) {
		part->state = parent->state;
		part->hold_until_ns = parent->hold_until_ns;
	} else if (part->out || part->trial) {
		part->state = UMEM_SLICE_PROBING;
		part->sample = part->put = part->out + part->trial;
		part->sampled_ns = parent->sampled_ns;
		part->watched_ns = parent->watched_ns;
	}
}

static int append_parts(const struct umem_slices *self, const struct umem_slice *parent,
	umem_slice_counter *count, void *arg, uint64_t dt_ns, struct umem_slices *fresh)
{
	uint64_t pages = part_pages(parent), first = parent->start / self->page_bytes;
	uint64_t from = 0;

	while (from < parent->n_pages) {
		uint64_t to = umem_min_u64(parent->n_pages,
			(first + from) / pages * pages + pages - first);
		struct umem_slice part = {
			.start = parent->start + from * self->page_bytes,
			.n_pages = (uint32_t)(to - from),
		};
		struct umem_slice_seen seen = { 0 };
		int r;

		if (count)
			count(arg, part.start, part.n_pages, &seen);
		else
			count_evenly(parent, from, to, &seen);
		umem_slice_note(&part, &seen, dt_ns);
		start_part(&part, parent);
		r = umem_slices_append(fresh, &part);
		if (r < 0)
			return r;
		from = to;
	}
	return 0;
}

int umem_slices_split(struct umem_slices *self, umem_slice_counter *count, void *arg,
	uint64_t dt_ns)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices fresh = {
		.page_bytes = self->page_bytes,
	};
	size_t n = self->n, first = 0;

	while (first < self->n && !splits(self, &self->v[first], n))
		self->v[first++].split = false;
	if (first == self->n)
		return 0;
	for (size_t i = 0; i < self->n; i++) {
		const struct umem_slice *slice = &self->v[i];
		size_t before = fresh.n;
		int r;

		if (splits(self, slice, n)) {
			r = append_parts(self, slice, count, arg, dt_ns, &fresh);
			n += fresh.n - before - 1;
		} else {
			r = umem_slices_append(&fresh, slice);
			if (r == 0)
				fresh.v[before].split = false;
		}
		if (r < 0)
			return r;
	}
	umem_slices_take(self, &fresh);
	return 0;
}

/* In use when last looked at, whatever is being tried now. */
static bool in_use(const struct umem_slice *slice)
{
	return slice->state != UMEM_SLICE_COLD && slice->hold_until_ns;
}

/* Is it as cold, or as much in use, as the other? */
static bool alike(const struct umem_slice *a, const struct umem_slice *b)
{
	if (a->split || b->split)
		return false;
	if (a->state == UMEM_SLICE_COLD)
		return b->state == UMEM_SLICE_COLD;
	return in_use(a) && in_use(b);
}

/* @b's counts and times into @a, which it follows. */
static void join(struct umem_slice *a, const struct umem_slice *b)
{
	if (a->state != b->state)
		a->state = UMEM_SLICE_WARM;
	a->n_pages += b->n_pages;
	a->resident += b->resident;
	a->trial += b->trial;
	a->touched += b->touched;
	a->recent += b->recent;
	a->recent_ns = umem_min_u64(a->recent_ns, b->recent_ns);
	a->out += b->out;
	a->at_risk += b->at_risk;
	a->returned += b->returned;
	a->used += b->used;
	a->grown += b->grown;
	a->warm += b->warm;
	a->want += b->want;
	if (a->state == UMEM_SLICE_PROBING) {
		a->sample += b->sample;
		a->put += b->put;
		a->back += b->back;
	} else {
		a->sample = a->back = 0;
		a->put = a->state == UMEM_SLICE_COLD ? a->put + b->put : 0;
	}
	a->quiet_ns = umem_min_u64(a->quiet_ns, b->quiet_ns);
	a->sampled_ns = umem_min_u64(a->sampled_ns, b->sampled_ns);
	a->watched_ns = umem_min_u64(a->watched_ns, b->watched_ns);
	a->hold_ns = umem_max_u64(a->hold_ns, b->hold_ns);
	a->hold_until_ns = umem_max_u64(a->hold_until_ns, b->hold_until_ns);
	if (__builtin_add_overflow(a->evidence_ns, b->evidence_ns, &a->evidence_ns))
		a->evidence_ns = UINT64_MAX;
	a->source = b->source < a->source ? b->source : a->source;
	a->seen = a->seen && b->seen;
	a->tries = a->tries && b->tries;
}

/* Parts that were all in use: looking at them one by one was in vain, so not again soon. */
static void keep_whole(struct umem_slice *slice, uint64_t now_ns, uint64_t whole_ns)
{
	uint64_t ns;

	if (__builtin_mul_overflow(slice->hold_ns, WHOLE_HOLDS, &ns))
		ns = UINT64_MAX;
	ns = umem_min_u64(umem_max_u64(ns, WHOLE_LEAST_NS), whole_ns);
	if (__builtin_add_overflow(now_ns, ns, &slice->whole_until_ns))
		slice->whole_until_ns = UINT64_MAX;
}

/* Merge what lies within blocks of @pages and is alike from the first to the last slice. */
static void merge_level(struct umem_slices *self, uint64_t pages, uint64_t now_ns,
	uint64_t whole_ns)
{
	uint64_t block = pages * self->page_bytes;
	size_t to = 0, next;

	for (size_t i = 0; i < self->n; i = next) {
		struct umem_slice sum = self->v[i];
		bool same = true;

		for (next = i + 1; next < self->n &&
			self->v[next].start / block == sum.start / block; next++) {
			same = same && alike(&self->v[i], &self->v[next]) &&
				self->v[next].start == umem_slice_end(self, &self->v[next - 1]);
		}
		if (!same || next == i + 1) {
			while (i < next)
				self->v[to++] = self->v[i++];
			continue;
		}
		for (size_t j = i + 1; j < next; j++)
			join(&sum, &self->v[j]);
		if (sum.state != UMEM_SLICE_COLD)
			keep_whole(&sum, now_ns, whole_ns);
		self->v[to++] = sum;
	}
	self->n = to;
}

size_t umem_slices_merge(struct umem_slices *self, uint64_t now_ns, uint64_t whole_ns)
{
	size_t before = self->n;

	merge_level(self, UMEM_SLICE_PAGES_MIN * UMEM_SLICE_FANOUT, now_ns, whole_ns);
	merge_level(self, UMEM_SLICE_PAGES, now_ns, whole_ns);
	return before - self->n;
}
