// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Other mappings of the same memory.
 *
 * Theory of operation
 *
 * Write-protect bits belong to a page table, the page belongs to the object.
 * So every process that maps an object of the target is a target of its own,
 * with its own userfaultfd and tracker that watches just the mappings of these
 * objects, and a round is the union of all, translated over file offsets:
 *
 *     member's address --(its region)--> object, offset --(target's regions)--> addresses
 *
 * Who maps an object is asked anew in each round, by reading the mappings of
 * all processes: a child that was forked since, or a process that was handed
 * the descriptor, is a new member. What it wrote before it was found is not
 * known, so all pages that it has mapped count as changed. A member that ended
 * took its page tables with it: all data of the objects that it mapped counts.
 *
 * The same goes for a mapping that is gone while its process lives, be it a
 * member or the target itself: what was written through it in its last round
 * went with its page tables.
 *
 * A process that maps an object, writes and unmaps it within one round leaves
 * no trace that could be found; a watch lists that under what it assumes.
 */
#include "lib/track/sharers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/filecache.h"

static bool same_object(const struct umem_region *region, uint32_t major, uint32_t minor,
	uint64_t inode)
{
	return region->inode == inode && region->dev_major == major &&
		region->dev_minor == minor;
}

static bool is_shared(const struct umem_region *region, const struct umem_ranges *watched)
{
	return umem_kind_shared(region->kind) && region->inode != 0 &&
		umem_ranges_overlaps(watched, region->start, region->end);
}

/* Pages @set of region @from, at the addresses where region @to shows them. */
static int translate(const struct umem_region *from, struct umem_pageset *set,
	const struct umem_region *to, struct umem_pageset *out)
{
	uint64_t first = umem_max_u64(from->offset, to->offset);
	uint64_t last = umem_min_u64(from->offset + (from->end - from->start),
		to->offset + (to->end - to->start));
	struct umem_pageset_iter it;
	struct umem_range run;
	int r;

	if (first >= last)
		return 0;

	uint64_t start = first - from->offset + from->start;
	uint64_t end = last - from->offset + from->start;

	r = umem_pageset_walk_from(set, start, &it);
	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&it, &run) && run.start < end) {
		uint64_t a = run.start - from->start + from->offset;
		uint64_t b = umem_min_u64(run.end, end) - from->start + from->offset;

		r = umem_pageset_add(out, a - to->offset + to->start,
			b - to->offset + to->start);
	}
	umem_pageset_walk_end(&it);
	return r;
}

/* Pages @set of one space, at the watched addresses of @target that show the same. */
static int translate_all(const struct umem_space *from, struct umem_pageset *set,
	struct umem_target *target, const struct umem_ranges *watched, bool aliases,
	struct umem_pageset *out)
{
	if (umem_pageset_empty(set))
		return 0;
	for (size_t k = 0; k < target->space.n; k++) {
		const struct umem_region *to = &target->space.v[k];

		if (!is_shared(to, watched))
			continue;
		for (size_t i = 0; i < from->n; i++) {
			const struct umem_region *g = &from->v[i];
			int r;

			if (!umem_kind_shared(g->kind) || (aliases && g == to) ||
				!same_object(g, to->dev_major, to->dev_minor, to->inode))
				continue;
			r = translate(g, set, to, out);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int umem_sharers_aliases(struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *changed, struct umem_pageset *out)
{
	return translate_all(&target->space, changed, target, watched, true, out);
}

int umem_sharers_spread(const struct umem_target *from, struct umem_pageset *changed,
	struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *out)
{
	return translate_all(&from->space, changed, target, watched, false, out);
}

static void drop(struct umem_sharer *m)
{
	m->tracker = umem_tracker_free(m->tracker);
	m->target = umem_target_free(m->target);
	umem_pins_deinit(&m->pins);
	umem_pageset_deinit(&m->unseen);
}

void umem_sharers_deinit(struct umem_sharers *sharers)
{
	for (size_t i = 0; i < sharers->n; i++)
		drop(&sharers->v[i]);
	free(sharers->v);
	umem_mappers_deinit(&sharers->mappers);
	*sharers = (struct umem_sharers){ 0 };
}

/* Everything that @m maps of the target's objects, as far as it is new to it. */
static int object_pieces(const struct umem_sharer *m, const struct umem_target *target,
	const struct umem_ranges *watched, const struct umem_ranges *appeared,
	struct umem_ranges *ret_pieces)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges all = { 0 };
	const struct umem_space *space = &m->target->space;

	for (size_t i = 0; i < space->n; i++) {
		const struct umem_region *g = &space->v[i];

		for (size_t k = 0; k < target->space.n && umem_kind_shared(g->kind); k++) {
			const struct umem_region *to = &target->space.v[k];
			int r;

			if (!is_shared(to, watched) ||
				!same_object(g, to->dev_major, to->dev_minor, to->inode))
				continue;
			r = umem_ranges_add(&all, g->start, g->end);
			if (r < 0)
				return r;
			break;
		}
	}
	return umem_ranges_intersect(&all, appeared, ret_pieces);
}

/* Watched data of @target behind file offsets [first, last) of the object of @to. */
static int add_data(const struct umem_target *target, const struct umem_region *to,
	uint64_t first, uint64_t last, struct umem_pageset *out)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges extents = { 0 };
	UMEM_FD int fd = -1;
	int r;

	first = umem_max_u64(first, to->offset);
	last = umem_min_u64(last, to->offset + (to->end - to->start));
	if (first >= last)
		return 0;
	r = umem_target_open_mapped(target, to->start, to->end, O_RDONLY, &fd);
	if (r == 0)
		r = umem_filecache_extents(fd, first, last, &extents);
	if (r < 0) {
		umem_ranges_clear(&extents);
		r = umem_ranges_add(&extents, first, last);
	}
	for (size_t i = 0; i < extents.n && r == 0; i++)
		r = umem_pageset_add(out, extents.v[i].start - to->offset + to->start,
			extents.v[i].end - to->offset + to->start);
	return r;
}

/* All data of @target that was shown by @piece of region @g, which is gone, may have changed. */
static int report_piece(const struct umem_region *g, const struct umem_range *piece,
	const struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *out)
{
	uint64_t start = umem_max_u64(piece->start, g->start);
	uint64_t end = umem_min_u64(piece->end, g->end);
	int r = 0;

	if (start >= end || !umem_kind_shared(g->kind) || g->inode == 0)
		return 0;
	for (size_t k = 0; k < target->space.n && r == 0; k++) {
		const struct umem_region *to = &target->space.v[k];

		if (is_shared(to, watched) &&
			same_object(g, to->dev_major, to->dev_minor, to->inode))
			r = add_data(target, to, start - g->start + g->offset,
				end - g->start + g->offset, out);
	}
	return r;
}

/* A lost member took its page tables with it. */
static int report_all(const struct umem_sharer *m, const struct umem_target *target,
	const struct umem_ranges *watched, struct umem_pageset *out)
{
	const struct umem_range all = { 0, UINT64_MAX };
	int r = 0;

	for (size_t i = 0; i < m->target->space.n && r == 0; i++)
		r = report_piece(&m->target->space.v[i], &all, target, watched, out);
	return r;
}

int umem_sharers_departed(const struct umem_target *from, const struct umem_ranges *vanished,
	const struct umem_target *target, const struct umem_ranges *watched,
	struct umem_pageset *out)
{
	int r = 0;

	for (size_t i = 0, v = 0; i < from->space.n_before && r == 0; i++) {
		const struct umem_region *g = &from->space.before[i];

		while (v < vanished->n && vanished->v[v].end <= g->start)
			v++;
		for (size_t k = v; k < vanished->n && vanished->v[k].start < g->end && r == 0; k++)
			r = report_piece(g, &vanished->v[k], target, watched, out);
	}
	return r;
}

/*
 * What a member has pinned changes without a fault, as in the target itself
 * (lib/op/watch.c): known ranges count as changed now and in the next round,
 * and after direct I/O so do the pages that changed; the rest is said.
 */
static int collect_pins(struct umem_sharer *m, struct umem_pageset *changed,
	struct umem_reasons *why)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset next = { 0 };
	int r = umem_target_read_pins(m->target, &m->pins);

	if (r == -EACCES || r == -EPERM)
		return umem_reasons_add(why, 0, UINT64_MAX,
			"who has shared memory of pid %d pinned may not be looked at", m->pid);
	if (r == 0 && m->pins.direct_io)
		r = umem_pageset_union(&next, changed);
	for (size_t i = 0; i < m->pins.n && r == 0; i++) {
		const struct umem_pin *pin = &m->pins.v[i];

		if (pin->range.end == UINT64_MAX)
			r = umem_reasons_add(why, 0, UINT64_MAX,
				"pid %d, which shares its memory, has memory pinned: %s (%s)",
				m->pid, umem_pin_kind_name(pin->kind), pin->what);
		else
			r = umem_pageset_add(&next, pin->range.start, pin->range.end);
	}
	if (r == 0)
		r = umem_pageset_union(changed, &m->unseen);
	if (r == 0)
		r = umem_pageset_union(changed, &next);
	if (r != 0)
		return r;
	umem_pageset_deinit(&m->unseen);
	m->unseen = next;
	next = (struct umem_pageset){ 0 };
	return 0;
}

/* One round of a member. Return: 0, UMEM_GONE, -errno. */
static int collect_member(struct umem_sharer *m, struct umem_target *target,
	const struct umem_ranges *watched, bool baseline, struct umem_pageset *out,
	struct umem_reasons *why)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges lost = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges pieces = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset changed = { 0 };
	const struct umem_tracker_ops *ops = m->tracker->ops;
	int r = umem_target_refresh(m->target, &appeared, &vanished, NULL);

	if (r == 0 && !baseline)
		r = umem_sharers_departed(m->target, &vanished, target, watched, out);
	if (r == 0)
		r = ops->forget(m->tracker, &vanished);
	if (r == 0)
		r = ops->collect(m->tracker, &changed, &lost, why, NULL);
	for (size_t i = 0; i < lost.n && r == 0; i++) {
		umem_space_unregister(&m->target->space, &lost.v[i]);
		r = umem_ranges_add(&appeared, lost.v[i].start, lost.v[i].end);
	}
	if (r == 0)
		r = object_pieces(m, target, watched, &appeared, &pieces);
	if (r == 0)
		r = collect_pins(m, &changed, why);
	if (r == 0)
		r = ops->watch(m->tracker, &pieces, &changed, NULL);
	if (r != 0 || baseline)
		return r;
	return translate_all(&m->target->space, &changed, target, watched, false, out);
}

static int add_member(struct umem_sharers *sharers, int pid, uint64_t start_ticks,
	struct umem_sharer **ret_member, struct umem_note *note)
{
	struct umem_sharer *m;
	int r;

	if (sharers->n == sharers->room) {
		size_t room = sharers->room ? sharers->room * 2 : 8;
		struct umem_sharer *v = reallocarray(sharers->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		sharers->v = v;
		sharers->room = room;
	}
	m = &sharers->v[sharers->n];
	*m = (struct umem_sharer){ .pid = pid, .start_ticks = start_ticks };
	r = umem_target_attach(pid, NULL, &m->target, note);
	if (r == 0)
		r = umem_tracker_new(m->target, NULL, &m->tracker, note);
	if (r != 0) {
		drop(m);
		return r;
	}
	sharers->n++;
	*ret_member = m;
	return 0;
}

/* Say that process @m may write memory of the target. */
static int say_untracked(const struct umem_sharers *sharers, const struct umem_mapper *m,
	const char *why_not, struct umem_reasons *why)
{
	const char *hint = sharers->hint ? sharers->hint : "--sharers tracks it as well";
	int r = 0;

	for (size_t i = 0; i < m->written.n && r == 0; i++) {
		const struct umem_range *w = &m->written.v[i];

		if (m->pid == 0)
			r = umem_reasons_add(why, w->start, w->end,
				"a process of another user maps it too and may write it");
		else
			r = umem_reasons_add(why, w->start, w->end,
				"pid %d (%s) maps it too and may write it%s %s", m->pid,
				m->stat.comm, why_not[0] ? ":" : ";",
				why_not[0] ? why_not : hint);
	}
	return r;
}

static struct umem_sharer *find_member(struct umem_sharers *sharers, int pid)
{
	for (size_t i = 0; i < sharers->n; i++)
		if (sharers->v[i].pid == pid)
			return &sharers->v[i];
	return NULL;
}

/* Is it a member, or tracked by somebody else? */
static bool is_tracked(void *user, int pid)
{
	struct umem_sharers *sharers = user;

	for (size_t i = 0; i < sharers->n_elsewhere; i++)
		if (sharers->elsewhere[i] == pid)
			return true;
	return find_member(sharers, pid) != NULL;
}

/* A process that maps memory of the target, and is no member yet. */
static int consider(struct umem_sharers *sharers, const struct umem_mapper *mapper,
	struct umem_target *target, const struct umem_ranges *watched, bool baseline,
	struct umem_pageset *out, struct umem_reasons *why)
{
	struct umem_note note = { 0 };
	struct umem_sharer *m;
	int r;

	if (mapper->written.n == 0)
		return 0;
	if (!sharers->attach || mapper->pid == getpid())
		return say_untracked(sharers, mapper,
			mapper->pid == getpid() ? "it is this program itself" : "", why);
	r = add_member(sharers, mapper->pid, mapper->stat.start_ticks, &m, &note);
	if (r == 0)
		r = collect_member(m, target, watched, baseline, out, why);
	if (r == 0 || r == UMEM_GONE || r == -ENOMEM)
		return r == UMEM_GONE ? 0 : r;
	return say_untracked(sharers, mapper, note.text[0] ? note.text : strerror(-r), why);
}

/* Find processes that began to map memory of the target. */
static int find_others(struct umem_sharers *sharers, struct umem_target *target,
	const struct umem_ranges *watched, bool baseline, struct umem_pageset *out,
	struct umem_reasons *why)
{
	struct umem_mappers *mappers = &sharers->mappers;
	const struct umem_mapper *mapper;
	int r = umem_mappers_begin(mappers, target, watched);

	while (r == 0) {
		r = umem_mappers_next(mappers, is_tracked, sharers, &mapper);
		if (r <= 0)
			break;
		r = consider(sharers, mapper, target, watched, baseline, out, why);
	}
	if (baseline)
		sharers->hidden = mappers->n_hidden > 0;
	else if (r == 0 && mappers->n_hidden > 0 && !sharers->hidden)
		r = umem_reasons_add(why, 0, UINT64_MAX,
			"a process came up that may not be looked at: whether it maps and writes "
			"shared memory of pid %d is not known", target->pid);
	return r;
}

int umem_sharers_collect(struct umem_sharers *sharers, struct umem_target *target,
	const struct umem_ranges *watched, bool baseline, struct umem_pageset *out,
	struct umem_reasons *why)
{
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < sharers->n && r >= 0; i++) {
		struct umem_sharer *m = &sharers->v[i];

		r = collect_member(m, target, watched, false, out, why);
		if (r != 0 && r != -ENOMEM) {
			/* Gone, or no longer to be tracked: what it wrote is not known. */
			r = report_all(m, target, watched, out);
			drop(m);
			m->pid = -1;
		}
	}
	for (size_t i = 0; i < sharers->n; i++)
		if (sharers->v[i].pid != -1)
			sharers->v[kept++] = sharers->v[i];
	sharers->n = kept;
	return r < 0 ? r : find_others(sharers, target, watched, baseline, out, why);
}
