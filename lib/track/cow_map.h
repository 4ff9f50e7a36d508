/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which addresses show which pages: a sorted array of views, each a run of
 * addresses over pages of a part.
 *
 * A part is what has one content: a piece of private memory, or a shared
 * object, which several addresses of several processes may show. When memory
 * is moved, its view moves and the pages stay what they are. Pure data; one
 * owner at a time.
 */
#ifndef UMEM_TRACK_COW_MAP_H
#define UMEM_TRACK_COW_MAP_H

#include <stddef.h>
#include <stdint.h>

struct umem_cow_part;

/**
 * struct umem_cow_view - addresses that show pages of a part.
 * @start, @end: addresses, whole pages.
 * @part: the caller's.
 * @page: number of the page in @part that @start shows.
 */
struct umem_cow_view {
	uint64_t start;
	uint64_t end;
	struct umem_cow_part *part;
	uint64_t page;
};

/** struct umem_cow_map - @n views at @v, ascending, disjoint; all zero is empty. */
struct umem_cow_map {
	struct umem_cow_view *v;
	size_t n;
	size_t room;
};

/** umem_cow_map_deinit - free what the map owns and make it empty. */
void umem_cow_map_deinit(struct umem_cow_map *map);

/** umem_cow_map_first - index of the first view that ends past @addr; @n if none. */
size_t umem_cow_map_first(const struct umem_cow_map *map, uint64_t addr);

/** umem_cow_map_find - the view that holds @addr, or NULL; valid until the map changes. */
const struct umem_cow_view *umem_cow_map_find(const struct umem_cow_map *map, uint64_t addr);

/** umem_cow_map_add - put a view in; its addresses must be free. Return: 0 or -ENOMEM. */
int umem_cow_map_add(struct umem_cow_map *map, const struct umem_cow_view *view);

/**
 * umem_cow_map_cut - take the addresses of [@start, @end) out.
 * @ret_cut: overwritten with what was there; may be NULL.
 *
 * Return: 0, or -ENOMEM and the map is as it was.
 */
int umem_cow_map_cut(struct umem_cow_map *map, uint64_t start, uint64_t end,
	struct umem_cow_map *ret_cut);

/**
 * umem_cow_map_move - what [@from, @from + @len) showed is at @to now.
 * @ret_moved: overwritten with the views at their new addresses.
 *
 * What was at @to is gone; where the source shows nothing, so does the destination.
 * Return: 0 or -ENOMEM; then a part of it may be done.
 */
int umem_cow_map_move(struct umem_cow_map *map, uint64_t from, uint64_t to, uint64_t len,
	struct umem_cow_map *ret_moved);

/** umem_cow_map_copy - make @to the same as @from. Return: 0 or -ENOMEM. */
int umem_cow_map_copy(struct umem_cow_map *to, const struct umem_cow_map *from);

#endif
