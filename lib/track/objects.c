// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The shared objects of a target: what was punched or truncated.
 *
 * Theory of operation
 *
 * Punching a hole into armed shmem (fallocate, MADV_REMOVE, ftruncate) zaps
 * the page-table entry but leaves the write-protect mark, so a scan calls the
 * page clean although its content went from data to zeros. What tells is the
 * file: a page that was data and is a hole now was punched.
 *
 * Asking a file for its extents costs 20 ns a page, twenty times a scan, so it
 * is asked as little as possible:
 *
 *   1. not at all if the file's times did not move: every punch, truncate and
 *      write(2) sets mtime and ctime. (So does a page fault by a store; then
 *      step 2 is done for nothing.) A stamp that is so fresh that another
 *      change could carry the same time is not trusted.
 *   2. A page that is mapped was not punched. A scan for pages that are not,
 *      3 ns a page, leaves the candidates: those of them that held data.
 *   3. Only these are looked up in the file. Most were swapped out, or were
 *      never touched through this mapping, and are data still.
 *
 *   4. Data under a page that is not mapped and was a hole before was written
 *      through a mapping, and the page was unmapped again (MADV_DONTNEED,
 *      reclaim). Where nothing is armed no table entry remembers that. So holes
 *      that are not mapped are looked up as well, which costs next to nothing
 *      as long as they are holes. A page of zeros there was only read.
 *
 * The stamp is taken before the scan: a change in between makes the next stamp
 * differ. A page that was punched and written again is seen by the tracker, and
 * one that became data with its neighbour by refill.c. A page that was punched and
 * then only read within one round gets a zeroed page under the old mark and is
 * seen by none: that goes into what a watch assumes.
 */
#include "lib/track/objects.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/pagemap.h"

/* Gaps in the candidates that are asked along with them: a system call costs more. */
#define ASK_JOIN_BYTES (64u << 10)

/* Is @region a mapping of @object whose content is the object's? */
static bool shows(const struct umem_region *region, const struct umem_object *object)
{
	return umem_kind_shared(region->kind) && region->inode == object->inode &&
		region->dev_major == object->dev_major && region->dev_minor == object->dev_minor;
}

static void drop(struct umem_object *object)
{
	object->fd = umem_fd_close(object->fd);
	umem_pageset_deinit(&object->data);
	umem_pageset_deinit(&object->added);
	umem_refill_deinit(&object->refill);
}

void umem_objects_deinit(struct umem_objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		drop(&objects->v[i]);
	umem_refill_gate_deinit(&objects->gate);
	free(objects->v);
	*objects = (struct umem_objects){ 0 };
}

struct umem_object *umem_objects_find(const struct umem_objects *objects,
	const struct umem_region *region)
{
	for (size_t i = 0; i < objects->n; i++) {
		struct umem_object *o = &objects->v[i];

		if (o->inode == region->inode && o->dev_major == region->dev_major &&
			o->dev_minor == region->dev_minor)
			return o;
	}
	return NULL;
}

static int add_object(struct umem_objects *objects, const struct umem_target *target,
	const struct umem_region *region, struct umem_object **ret_object)
{
	struct umem_object *o;

	if (objects->n == objects->room) {
		size_t room = objects->room ? objects->room * 2 : 8;
		struct umem_object *v = reallocarray(objects->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		objects->v = v;
		objects->room = room;
	}
	o = &objects->v[objects->n++];
	*o = (struct umem_object){
		.dev_major = region->dev_major,
		.dev_minor = region->dev_minor,
		.inode = region->inode,
		.fd = -1,
	};
	o->error = umem_target_open_mapped(target, region->start, region->end,
		O_RDONLY, &o->fd);
	if (o->error == 0)
		o->error = umem_filecache_stamp(o->fd, &o->stamp);
	if (o->error == 0)
		umem_refill_init(&o->refill, &objects->gate, o->fd);
	*ret_object = o;
	return 0;
}

/* File offsets of @from, as addresses of @region, into @to. */
static int project(const struct umem_region *region, const struct umem_ranges *from,
	struct umem_ranges *to)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i++)
		r = umem_ranges_add(to, from->v[i].start - region->offset + region->start,
			from->v[i].end - region->offset + region->start);
	return r;
}

int umem_objects_watch(struct umem_objects *objects, const struct umem_target *target,
	const struct umem_region *region, const struct umem_range *piece,
	struct umem_ranges *data)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges extents = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset more = { 0 };
	struct umem_object *o = umem_objects_find(objects, region);
	uint64_t first = piece->start - region->start + region->offset;
	int r = 0;

	if (!o)
		r = add_object(objects, target, region, &o);
	if (r == 0)
		r = o->error;
	if (r == 0)
		r = umem_filecache_extents(o->fd, first, first + (piece->end - piece->start),
			&extents);
	if (r < 0) {
		if (o)
			o->error = r;
		return r;
	}
	r = umem_pageset_add_ranges(&more, &extents);
	if (r == 0)
		r = umem_pageset_subtract(&more, &o->data);
	if (r == 0)
		r = umem_pageset_union(&o->added, &more);
	if (r == 0)
		r = umem_pageset_union(&o->data, &more);
	return r < 0 ? r : project(region, &extents, data);
}

/* The watched file offsets of @o, over all regions that map it. */
static int watched_offsets(const struct umem_object *o, const struct umem_space *space,
	const struct umem_ranges *watched, struct umem_ranges *ret_offsets)
{
	for (size_t i = 0; i < watched->n; i++) {
		const struct umem_range *w = &watched->v[i];

		for (size_t k = umem_space_first(space, w->start);
			k < space->n && space->v[k].start < w->end; k++) {
			const struct umem_region *g = &space->v[k];
			uint64_t start = umem_max_u64(g->start, w->start);
			uint64_t end = umem_min_u64(g->end, w->end);
			int r;

			if (!shows(g, o))
				continue;
			r = umem_ranges_add(ret_offsets, start - g->start + g->offset,
				end - g->start + g->offset);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Pages of file offsets @pages, at every watched address that shows them. */
static int project_all(struct umem_pageset *pages, const struct umem_object *o,
	struct umem_space *space, const struct umem_ranges *watched,
	struct umem_pageset *out)
{
	for (size_t k = 0; k < space->n; k++) {
		const struct umem_region *g = &space->v[k];
		struct umem_pageset_iter it;
		struct umem_range run;
		int r;

		if (!shows(g, o) || !umem_ranges_overlaps(watched, g->start, g->end))
			continue;

		uint64_t last = g->offset + (g->end - g->start);

		r = umem_pageset_walk_from(pages, g->offset, &it);
		if (r < 0)
			return r;
		while (r == 0 && umem_pageset_next(&it, &run) && run.start < last)
			r = umem_pageset_add(out, run.start - g->offset + g->start,
				umem_min_u64(run.end, last) - g->offset + g->start);
		umem_pageset_walk_end(&it);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Mapped pages of one region to @present, by file offset; all others to @absent. */
static int look_mapped(const struct umem_target *target, const struct umem_region *g,
	const struct umem_range *piece, struct page_region *vec, size_t n_vec,
	struct umem_pageset *present, struct umem_pageset *absent)
{
	uint64_t to_offset = g->offset - g->start, at = piece->start;
	struct umem_scan scan = {
		.at = piece->start,
		.end = piece->end,
		.inverted = PAGE_IS_PRESENT,
		.all = PAGE_IS_PRESENT,
		.wanted = PAGE_IS_PRESENT,
	};

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(target->pagemap_fd, &scan, vec, n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++) {
			r = umem_pageset_add(present, at + to_offset, vec[i].start + to_offset);
			if (r == 0)
				r = umem_pageset_add(absent, vec[i].start + to_offset,
					vec[i].end + to_offset);
			at = vec[i].end;
		}
		if (r < 0)
			return r;
	}
	return umem_pageset_add(present, at + to_offset, piece->end + to_offset);
}

/* look_mapped() of all watched regions of an object. */
static int look_all_mapped(const struct umem_object *o, const struct umem_target *target,
	const struct umem_ranges *watched, struct page_region *vec, size_t n_vec,
	struct umem_pageset *present, struct umem_pageset *absent)
{
	const struct umem_space *space = &target->space;
	int r = 0;

	for (size_t i = 0; i < watched->n; i++) {
		const struct umem_range *w = &watched->v[i];

		for (size_t k = umem_space_first(space, w->start);
			k < space->n && space->v[k].start < w->end && r == 0; k++) {
			const struct umem_region *g = &space->v[k];
			struct umem_range piece = {
				umem_max_u64(g->start, w->start),
				umem_min_u64(g->end, w->end),
			};

			if (shows(g, o))
				r = look_mapped(target, g, &piece, vec, n_vec, present, absent);
		}
	}
	return r;
}

/* Take what the file holds data for out of @candidates: the rest was punched. */
static int look_up(const struct umem_object *o, struct umem_pageset *candidates)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges extents = { 0 };
	struct umem_range asked = { 0, 0 }, run;
	struct umem_pageset_iter it;
	bool more = true;
	int r = umem_pageset_walk(candidates, &it);

	if (r < 0)
		return r;
	while (r == 0 && more) {
		more = umem_pageset_next(&it, &run);
		if (more && asked.end && run.start - asked.end < ASK_JOIN_BYTES) {
			asked.end = run.end;
			continue;
		}
		if (asked.end)
			r = umem_filecache_extents(o->fd, asked.start, asked.end, &extents);
		asked = run;
	}
	umem_pageset_walk_end(&it);
	for (size_t i = 0; i < extents.n && r == 0; i++)
		r = umem_pageset_sub(candidates, extents.v[i].start, extents.v[i].end);
	return r;
}

/* Take pages that hold only zeros out of @fresh: reading a hole fills it. */
static int drop_zeros(const struct umem_object *o, struct umem_pageset *fresh)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset zeros = { 0 };
	struct umem_pageset_iter it;
	struct umem_range run;
	int r = umem_pageset_walk(fresh, &it);

	if (r < 0)
		return r;
	/* What cannot be read is not known to be zeros. */
	while (r != -ENOMEM && umem_pageset_next(&it, &run))
		r = umem_refill_zeros(o->fd, run.start, run.end, &zeros);
	umem_pageset_walk_end(&it);
	return r == -ENOMEM ? r : umem_pageset_subtract(fresh, &zeros);
}

/*
 * Data where @rest, which is not mapped, had none before: remembered, and
 * unless it is zeros to @written at every address that shows it.
 */
static int collect_unmapped(struct umem_object *o, struct umem_target *target,
	const struct umem_ranges *watched, struct umem_pageset *rest,
	struct umem_pageset *written)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset holes = { 0 };
	int r = umem_pageset_union(&holes, rest);

	if (r == 0)
		r = look_up(o, &holes);
	if (r == 0)
		r = umem_pageset_subtract(rest, &holes);
	if (r == 0)
		r = umem_pageset_union(&o->data, rest);
	if (r == 0)
		r = drop_zeros(o, rest);
	return r < 0 ? r : project_all(rest, o, &target->space, watched, written);
}

/* Take the offsets whose pages are in @addresses, wherever they are mapped, out of @pages. */
static int drop_reported(const struct umem_object *o, const struct umem_space *space,
	struct umem_pageset *addresses, struct umem_pageset *pages)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset known = { 0 };

	for (size_t k = 0; k < space->n; k++) {
		const struct umem_region *g = &space->v[k];
		struct umem_pageset_iter it;
		struct umem_range run;
		int r;

		if (!shows(g, o))
			continue;
		r = umem_pageset_walk_from(addresses, g->start, &it);
		if (r < 0)
			return r;
		while (r == 0 && umem_pageset_next(&it, &run) && run.start < g->end)
			r = umem_pageset_add(&known, run.start - g->start + g->offset,
				umem_min_u64(run.end, g->end) - g->start + g->offset);
		umem_pageset_walk_end(&it);
		if (r < 0)
			return r;
	}
	return umem_pageset_subtract(pages, &known);
}

/*
 * Pages that are mapped and were holes before are written already, or only
 * read, unless the collect before this one failed half-way: then a block may
 * have been armed around data that nobody had looked for yet.
 */
static int collect_mapped(struct umem_object *o, struct umem_target *target,
	const struct umem_ranges *watched, struct umem_pageset *more,
	struct umem_pageset *written)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset rest = { 0 };
	int r = umem_pageset_union(&rest, more);

	if (r == 0)
		r = drop_reported(o, &target->space, written, &rest);
	if (r == 0)
		r = drop_zeros(o, &rest);
	return r < 0 ? r : project_all(&rest, o, &target->space, watched, written);
}

/* Of @kept, data then and now and not mapped: what was a hole in between. */
static int collect_filled(struct umem_object *o, struct umem_target *target,
	struct umem_refill_gate *gate, const struct umem_ranges *watched,
	struct umem_pageset *kept, struct umem_pageset *punched)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset filled = { 0 };
	int r = umem_refill_look(&o->refill, gate, o->fd, kept, &filled);

	return r < 0 ? r : project_all(&filled, o, &target->space, watched, punched);
}

/* Look at one object. Return: 0, -ENOMEM, -ESRCH; anything else is kept in its @error. */
static int collect_one(struct umem_object *o, struct umem_target *target,
	struct umem_refill_gate *gate, const struct umem_ranges *offsets,
	const struct umem_ranges *watched, struct page_region *vec, size_t n_vec,
	struct umem_pageset *written, struct umem_pageset *grown, struct umem_pageset *punched)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset more = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset present = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset candidates = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset kept = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset rest = { 0 };
	struct umem_file_stamp stamp;
	int r = project_all(&o->added, o, &target->space, watched, grown);

	umem_pageset_clear(&o->added);
	if (r == 0)
		r = umem_filecache_stamp(o->fd, &stamp);
	if (r == 0 && umem_filecache_same(&o->stamp, &stamp)) {
		umem_pageset_clear(&o->refill.zeros);
		return 0;
	}
	if (r == 0)
		r = look_all_mapped(o, target, watched, vec, n_vec, &present, &candidates);
	/* Candidates: not mapped now, and data at the last look. */
	if (r == 0)
		r = umem_pageset_keep(&o->data, offsets);
	if (r == 0)
		r = umem_pageset_union(&rest, &candidates);
	if (r == 0)
		r = umem_pageset_subtract(&rest, &o->data);
	if (r == 0)
		r = umem_pageset_subtract(&candidates, &rest);
	if (r == 0)
		r = umem_pageset_union(&kept, &candidates);
	if (r == 0)
		r = look_up(o, &candidates);
	if (r == 0)
		r = project_all(&candidates, o, &target->space, watched, punched);
	if (r == 0)
		r = umem_pageset_subtract(&kept, &candidates);
	if (r == 0)
		r = collect_filled(o, target, gate, watched, &kept, punched);
	if (r == 0)
		r = umem_pageset_subtract(&o->data, &candidates);
	if (r == 0)
		r = umem_pageset_union(&more, &present);
	if (r == 0)
		r = umem_pageset_subtract(&more, &o->data);
	if (r == 0)
		r = collect_mapped(o, target, watched, &more, written);
	if (r == 0)
		r = collect_unmapped(o, target, watched, &rest, written);
	if (r == 0)
		r = umem_pageset_union(&more, &rest);
	if (r == 0)
		r = project_all(&more, o, &target->space, watched, grown);
	if (r == 0)
		r = umem_pageset_union(&o->data, &present);
	if (r == -ENOMEM || r == -ESRCH)
		return r;
	o->error = r;
	o->stamp = stamp;
	return 0;
}

/* Say for every region of an object that it cannot be asked. */
static int cannot_ask(const struct umem_object *o, const struct umem_space *space,
	const struct umem_ranges *watched, struct umem_reasons *why)
{
	int r = 0;

	for (size_t k = 0; k < space->n && r == 0; k++) {
		const struct umem_region *g = &space->v[k];

		if (shows(g, o) && umem_ranges_overlaps(watched, g->start, g->end))
			r = umem_reasons_add(why, g->start, g->end,
				"holes punched in it cannot be seen: opening the file behind "
				"it: %s%s", strerror(-o->error),
				o->error == -EPERM ? " (needs CAP_CHECKPOINT_RESTORE)" : "");
	}
	return r;
}

int umem_objects_collect(struct umem_objects *objects, struct umem_target *target,
	const struct umem_ranges *watched, struct page_region *vec, size_t n_vec,
	struct umem_pageset *written, struct umem_pageset *grown, struct umem_pageset *punched,
	struct umem_reasons *why)
{
	size_t kept = 0;
	int r = 0;

	umem_refill_gate_begin(&objects->gate);
	for (size_t i = 0; i < objects->n && r == 0; i++) {
		UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges offsets = { 0 };
		struct umem_object *o = &objects->v[i];

		r = watched_offsets(o, &target->space, watched, &offsets);
		if (r < 0)
			break;
		o->used = offsets.n > 0;
		if (o->used && o->error == 0)
			r = collect_one(o, target, &objects->gate, &offsets, watched, vec, n_vec,
				written, grown, punched);
		if (o->used && o->error != 0 && r == 0)
			r = cannot_ask(o, &target->space, watched, why);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < objects->n; i++) {
		if (objects->v[i].used)
			objects->v[kept++] = objects->v[i];
		else
			drop(&objects->v[i]);
	}
	objects->n = kept;
	return 0;
}

size_t umem_objects_memory(const struct umem_objects *objects)
{
	size_t bytes = objects->room * sizeof(*objects->v);

	for (size_t i = 0; i < objects->n; i++)
		bytes += umem_pageset_memory(&objects->v[i].data) +
			umem_pageset_memory(&objects->v[i].added) +
			umem_pageset_memory(&objects->v[i].refill.zeros);
	return bytes;
}
