// SPDX-License-Identifier: LGPL-2.1-or-later
/* Maps of where the pages of a target are. */
#include "lib/mem/residency.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/note.h"

static const char *const names[UMEM_N_STATES] = {
	[UMEM_STATE_UNTOUCHED] = "untouched",
	[UMEM_STATE_RESIDENT] = "resident",
	[UMEM_STATE_SWAPPED] = "swapped",
	[UMEM_STATE_ZERO] = "zero",
	[UMEM_STATE_GUARD] = "guard",
};

const char *umem_state_name(enum umem_state state)
{
	return state < UMEM_N_STATES ? names[state] : "unknown";
}

void umem_residency_rough(struct umem_residency *map, bool rough)
{
	map->reader.table.rough = rough;
}

struct umem_residency *umem_residency_free(struct umem_residency *map)
{
	if (!map)
		return NULL;
	umem_regions_reader_deinit(&map->reader);
	for (size_t i = 0; i < UMEM_N_STATES; i++)
		umem_pageset_deinit(&map->sets[i]);
	umem_space_deinit(&map->space);
	umem_ranges_deinit(&map->only);
	free(map->v);
	free(map);
	return NULL;
}

struct umem_pageset *umem_residency_pages(struct umem_residency *map, enum umem_state state)
{
	return &map->sets[state];
}

const struct umem_region *umem_residency_region_at(struct umem_residency *map, size_t i)
{
	return umem_space_find(&map->space, map->v[i].start);
}

static int keep(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct umem_residency *map = user;

	return state == UMEM_STATE_UNTOUCHED ? 0 :
					       umem_pageset_add(&map->sets[state], start, end);
}

/* Size of the page at @addr; that of a huge page where one is mapped. */
static uint64_t page_size_at(struct umem_space *space, uint64_t addr)
{
	const struct umem_region *region = umem_space_find(space, addr);

	return region ? region->page_size_bytes : UMEM_PAGE_BYTES;
}

int umem_residency_widen(struct umem_space *space, struct umem_ranges *ranges)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges wide = { 0 };
	int r = 0;

	for (size_t i = 0; i < ranges->n && r == 0; i++) {
		uint64_t start = ranges->v[i].start, last = ranges->v[i].end - 1;
		uint64_t size = page_size_at(space, last);

		/* The last page of all has no end that could be written. */
		last = umem_min_u64(last, UINT64_MAX - size);
		r = umem_ranges_add(&wide, umem_align_down(start, page_size_at(space, start)),
			umem_align_down(last, size) + size);
	}
	if (r == 0) {
		struct umem_ranges narrow = *ranges;

		*ranges = wide;
		wide = narrow;
	}
	return r;
}

/* What belongs to the program: not the kernel's own pages, not a device. */
static bool wanted(const struct umem_region *region)
{
	return region->kind != UMEM_KIND_KERNEL && region->kind != UMEM_KIND_KERNEL_SHARED &&
		region->kind != UMEM_KIND_DEVICE;
}

static int look_at(struct umem_residency *map, const struct umem_region *region,
	uint64_t start, uint64_t end)
{
	struct umem_residency_region *about;
	int r;

	if (map->n == map->room) {
		size_t room = map->room ? map->room * 2 : 64;
		struct umem_residency_region *v = reallocarray(map->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		map->v = v;
		map->room = room;
	}
	about = &map->v[map->n];
	r = umem_region_residency(&map->reader, region, start, end, keep, map, about);
	if (r != 0)
		return r;
	about->kind = umem_kind_name(region->kind);
	about->path = region->name;
	map->n++;
	return 0;
}

static int look_at_pieces(struct umem_residency *map, const struct umem_region *region)
{
	int r = 0;

	if (map->only.n == 0)
		return look_at(map, region, region->start, region->end);
	for (size_t i = umem_ranges_find(&map->only, region->start);
		i < map->only.n && map->only.v[i].start < region->end && r == 0; i++)
		r = look_at(map, region, umem_max_u64(map->only.v[i].start, region->start),
			umem_min_u64(map->only.v[i].end, region->end));
	return r;
}

/* What rests on sums of smaps is held against them once more. */
static void confirm(struct umem_residency *map)
{
	if (!map->reader.unconfirmed)
		return;
	umem_reader_smaps_again(&map->reader);
	for (size_t i = 0; i < map->n; i++)
		umem_region_confirm(&map->reader, umem_residency_region_at(map, i), &map->v[i]);
}

static int look(struct umem_residency *map)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	const struct umem_target *target = map->target;
	bool query = umem_feats_has(&target->feats, UMEM_FEAT_PROCMAP_QUERY);
	int r = umem_space_refresh(&map->space, umem_target_backing, target, target->maps_fd,
		query ? UMEM_MAPS_AUTO : UMEM_MAPS_TEXT, &appeared, &vanished);

	for (size_t i = 0; i < map->space.n && r == 0; i++)
		if (wanted(&map->space.v[i]))
			r = look_at_pieces(map, &map->space.v[i]);
	if (r == 0)
		confirm(map);
	return r;
}

int umem_residency_refresh(struct umem_residency *map, struct umem_note *note)
{
	int r;

	for (size_t i = 0; i < UMEM_N_STATES; i++)
		umem_pageset_clear(&map->sets[i]);
	map->n = 0;
	umem_regions_reader_again(&map->reader);
	r = look(map);
	if (r == -ESRCH || r == UMEM_GONE || (r == 0 && umem_target_gone(map->target))) {
		umem_note_set(note, -ESRCH, 0, "process %d %s", map->target->pid,
			umem_target_gone(map->target) ? "ended" : "executed another program");
		return UMEM_GONE;
	}
	if (r < 0)
		return umem_note_set(note, r, 0, "looking where the pages of pid %d are: %s",
			map->target->pid, strerror(-r));
	if (map->n == 0 && map->only.n > 0)
		return umem_note_set(note, -ENOENT, map->only.v[0].start,
			"nothing is mapped in the regions that were given for pid %d",
			map->target->pid);
	return r;
}

static int set_up(struct umem_residency *map, const struct umem_residency_options *options,
	struct umem_note *note)
{
	int r = 0;

	for (size_t i = 0; options && i < options->n_regions && r == 0; i++)
		r = umem_ranges_add(&map->only,
			umem_align_down(options->regions[i].start, UMEM_PAGE_BYTES),
			umem_page_up(options->regions[i].end));
	if (r < 0)
		return r;
	r = umem_regions_reader_init(&map->reader, map->target, options ? options->method : NULL);
	if (r == -EINVAL)
		return umem_note_set(note, r, 0, "there is no method \"%s\" of looking at pages; "
			"take one of scan, words, smaps, cachestat, halving, extents, continue",
			options->method);
	return r;
}

int umem_residency_new(struct umem_target *target,
	const struct umem_residency_options *options, struct umem_residency **ret_map,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_residency_freep) struct umem_residency *map = calloc(1, sizeof(*map));
	int r;

	if (!map)
		return -ENOMEM;
	map->target = target;
	r = set_up(map, options, note);
	if (r == 0)
		r = umem_residency_refresh(map, note);
	if (r != 0)
		return r;
	*ret_map = UMEM_TAKE_PTR(map);
	return 0;
}

const struct umem_residency_region *umem_residency_regions(const struct umem_residency *map,
	size_t *ret_n)
{
	*ret_n = map->n;
	return map->v;
}

/**
 * struct merge - the sets of a map, walked side by side.
 * @iters: of each set but the untouched.
 * @runs: the next run of each; empty at its end.
 * @n_begun: walks that have to be ended.
 */
struct merge {
	struct umem_pageset_iter iters[UMEM_N_STATES];
	struct umem_range runs[UMEM_N_STATES];
	size_t n_begun;
};

static int merge_begin(struct merge *merge, struct umem_residency *map, uint64_t start)
{
	*merge = (struct merge){ .n_begun = 1 };
	for (size_t i = 1; i < UMEM_N_STATES; i++, merge->n_begun++) {
		int r = umem_pageset_walk_from(&map->sets[i], start, &merge->iters[i]);

		if (r < 0)
			return r;
		umem_pageset_next(&merge->iters[i], &merge->runs[i]);
	}
	return 0;
}

static void merge_end(struct merge *merge)
{
	for (size_t i = 1; i < merge->n_begun; i++)
		umem_pageset_walk_end(&merge->iters[i]);
}

/* The state at @at, and where it may change, at most @end. */
static enum umem_state merge_at(struct merge *merge, uint64_t at, uint64_t *end)
{
	enum umem_state state = UMEM_STATE_UNTOUCHED;

	for (size_t i = 1; i < UMEM_N_STATES; i++) {
		struct umem_range *run = &merge->runs[i];

		while (run->end <= at && run->end > run->start)
			if (!umem_pageset_next(&merge->iters[i], run))
				*run = (struct umem_range){ 0 };
		if (run->end <= at)
			continue;
		if (run->start <= at)
			state = (enum umem_state)i;
		*end = umem_min_u64(*end, run->start <= at ? run->end : run->start);
	}
	return state;
}

int umem_residency_each(struct umem_residency *map, uint64_t start, uint64_t end,
	umem_walk_each each, void *user)
{
	struct umem_walk walk = { .each = each, .user = user };
	struct merge merge;
	int r = merge_begin(&merge, map, start);

	for (size_t i = 0; i < map->n && r == 0; i++) {
		uint64_t at = umem_max_u64(map->v[i].start, start);
		uint64_t stop = umem_min_u64(map->v[i].end, end);

		while (at < stop && r == 0) {
			uint64_t to = stop;
			enum umem_state state = merge_at(&merge, at, &to);

			r = umem_walk_add(&walk, at, to, state);
			at = to;
		}
		/* Runs end with their mapping. */
		if (r == 0)
			r = umem_walk_end(&walk);
	}
	merge_end(&merge);
	return r;
}
