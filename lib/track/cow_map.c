// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which addresses show which pages. */
#include "lib/track/cow_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

void umem_cow_map_deinit(struct umem_cow_map *map)
{
	free(map->v);
	*map = (struct umem_cow_map){ 0 };
}

size_t umem_cow_map_first(const struct umem_cow_map *map, uint64_t addr)
{
	size_t low = 0, high = map->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (map->v[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

const struct umem_cow_view *umem_cow_map_find(const struct umem_cow_map *map, uint64_t addr)
{
	size_t i = umem_cow_map_first(map, addr);

	return i < map->n && map->v[i].start <= addr ? &map->v[i] : NULL;
}

static int grow(struct umem_cow_map *map, size_t n)
{
	size_t room = map->room ? map->room : 16;
	struct umem_cow_view *v;

	if (n <= map->room)
		return 0;
	while (room < n)
		room *= 2;
	v = reallocarray(map->v, room, sizeof(*v));
	if (!v)
		return -ENOMEM;
	map->v = v;
	map->room = room;
	return 0;
}

int umem_cow_map_add(struct umem_cow_map *map, const struct umem_cow_view *view)
{
	size_t i = umem_cow_map_first(map, view->start);
	int r = grow(map, map->n + 1);

	if (r < 0)
		return r;
	memmove(&map->v[i + 1], &map->v[i], (map->n - i) * sizeof(*map->v));
	map->v[i] = *view;
	map->n++;
	return 0;
}

/* The part of @view within [start, end). */
static struct umem_cow_view clip(const struct umem_cow_view *view, uint64_t start, uint64_t end)
{
	uint64_t from = umem_max_u64(view->start, start);

	return (struct umem_cow_view){
		.start = from,
		.end = umem_min_u64(view->end, end),
		.part = view->part,
		.page = view->page + ((from - view->start) >> UMEM_PAGE_SHIFT),
	};
}

/* Cut an end that lies inside a view at @addr, so that no view crosses it. */
static void split(struct umem_cow_map *map, uint64_t addr)
{
	size_t i = umem_cow_map_first(map, addr);
	struct umem_cow_view *v = map->v;

	if (i == map->n || v[i].start >= addr)
		return;
	memmove(&v[i + 1], &v[i], (map->n - i) * sizeof(*v));
	v[i + 1] = clip(&v[i], addr, v[i].end);
	v[i].end = addr;
	map->n++;
}

int umem_cow_map_cut(struct umem_cow_map *map, uint64_t start, uint64_t end,
	struct umem_cow_map *ret_cut)
{
	size_t first = umem_cow_map_first(map, start), last = first, n;
	int r = grow(map, map->n + 2);

	while (last < map->n && map->v[last].start < end)
		last++;
	if (r == 0 && ret_cut)
		r = grow(ret_cut, last - first + 1);
	if (r < 0)
		return r;
	split(map, start);
	split(map, end);
	first = umem_cow_map_first(map, start);
	for (last = first; last < map->n && map->v[last].start < end; last++)
		continue;
	n = last - first;
	if (ret_cut)
		ret_cut->n = n;
	if (n == 0)
		return 0;
	if (ret_cut)
		memcpy(ret_cut->v, &map->v[first], n * sizeof(*map->v));
	memmove(&map->v[first], &map->v[last], (map->n - last) * sizeof(*map->v));
	map->n -= n;
	return 0;
}

int umem_cow_map_move(struct umem_cow_map *map, uint64_t from, uint64_t to, uint64_t len,
	struct umem_cow_map *ret_moved)
{
	int r = umem_cow_map_cut(map, from, from + len, ret_moved);

	if (r == 0)
		r = umem_cow_map_cut(map, to, to + len, NULL);
	for (size_t i = 0; i < ret_moved->n && r == 0; i++) {
		ret_moved->v[i].start += to - from;
		ret_moved->v[i].end += to - from;
		r = umem_cow_map_add(map, &ret_moved->v[i]);
	}
	return r;
}

int umem_cow_map_copy(struct umem_cow_map *to, const struct umem_cow_map *from)
{
	int r = grow(to, from->n);

	if (r < 0)
		return r;
	if (from->n)
		memcpy(to->v, from->v, from->n * sizeof(*from->v));
	to->n = from->n;
	return 0;
}
