// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What mincore(2) and SEEK_DATA say of an object.
 *
 * Theory of operation
 *
 * mincore(2) wants a mapping: one of our own, for as much of the file as there is
 * room for, made once and never touched, so that no page is mapped by it and
 * MADV_PAGEOUT by others still works. Nobody can access it: one that could be read
 * would be filled at once in a process that has called mlockall(MCL_FUTURE).
 *
 * SEEK_HOLE finds the end of a stretch of data by walking all of it, however
 * little of it is asked for: 20 ns a page. So the last stretch is remembered and
 * each is walked once, not once a step.
 */
#include "lib/mem/residency_core.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

/* Room for a mapping of our own; files may be larger than the address space. */
#define MAP_BYTES (1ull << 40)

/* An offset that no page has: the last one that a file of 64-bit offsets can have. */
#define NOWHERE ((off_t)((UINT64_C(1) << 62) - UMEM_PAGE_BYTES))

bool umem_core_tells(int fd)
{
	unsigned char in = 1;
	void *map = mmap(NULL, UMEM_PAGE_BYTES, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, NOWHERE);
	bool tells;

	if (map == MAP_FAILED)
		return false;
	tells = mincore(map, UMEM_PAGE_BYTES, &in) == 0 && !(in & 1);
	munmap(map, UMEM_PAGE_BYTES);
	return tells;
}

/* Have [@start, @end) mapped, and what follows of the file. */
static bool have_map(struct umem_object_view *view, uint64_t start, uint64_t end)
{
	uint64_t at = umem_align_down(start, UMEM_CORE_BYTES), to, size = 0;
	void *map;

	if (view->map && start >= view->map_at && end <= view->map_at + view->map_len)
		return true;
	if (view->no_map)
		return false;
	if (view->map)
		munmap(view->map, view->map_len);
	view->map = NULL;
	umem_object_size(view, &size);
	to = umem_max_u64(umem_align_up(end, UMEM_CORE_BYTES),
		umem_min_u64(umem_align_up(size, UMEM_PAGE_BYTES), at + MAP_BYTES));
	map = mmap(NULL, to - at, PROT_NONE, MAP_SHARED | MAP_NORESERVE, view->fd, (off_t)at);
	if (map == MAP_FAILED || !umem_core_tells(view->fd)) {
		if (map != MAP_FAILED)
			munmap(map, to - at);
		view->no_map = true;
		return false;
	}
	view->map = map;
	view->map_at = at;
	view->map_len = to - at;
	return true;
}

int64_t umem_core_look(struct umem_object_view *view, uint64_t start, uint64_t end,
	unsigned char in[UMEM_CORE_PAGES])
{
	size_t n = (size_t)((end - start) >> UMEM_PAGE_SHIFT);
	int64_t count = 0;

	if (!have_map(view, start, end) ||
		mincore(view->map + (start - view->map_at), end - start, in) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		count += in[i] &= 1;
	return count;
}

int umem_object_in_memory(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t *ret_bytes)
{
	unsigned char in[UMEM_CORE_PAGES];
	uint64_t bytes = 0;

	for (uint64_t at = start, to; at < end; at = to) {
		int64_t n;

		to = umem_min_u64(end, at + UMEM_CORE_BYTES);
		n = umem_core_look(view, at, to, in);
		if (n < 0)
			return -ENODATA;
		bytes += (uint64_t)n << UMEM_PAGE_SHIFT;
	}
	*ret_bytes = bytes;
	return 0;
}

/* Have the stretch of data that holds @at or comes next. Return: 0 or -errno. */
static int have_data(struct umem_object_view *view, uint64_t at)
{
	off_t data, hole;

	if (at < view->data_end && at >= view->data_start)
		return 0;
	data = lseek(view->fd, (off_t)at, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		return -errno;
	/* To the end of all offsets there is nothing. */
	view->data_start = data < 0 ? UINT64_MAX : (uint64_t)data;
	view->data_end = UINT64_MAX;
	if (data < 0)
		return 0;
	hole = lseek(view->fd, data, SEEK_HOLE);
	if (hole < 0 && errno != ENXIO)
		return -errno;
	/* Punched or truncated in between: look behind it the next time. */
	view->data_end = hole <= data ? view->data_start + UMEM_PAGE_BYTES : (uint64_t)hole;
	return 0;
}

/* A step of which is known what is in memory. */
static int step(struct umem_object_view *view, uint64_t start, uint64_t end, uint64_t shift,
	const unsigned char *in, struct umem_walk *walk)
{
	int r = 0;

	for (uint64_t at = start; at < end && r == 0; at += UMEM_PAGE_BYTES) {
		enum umem_state state = UMEM_STATE_RESIDENT;

		if (!in[(at - start) >> UMEM_PAGE_SHIFT]) {
			/* The start of what comes next holds for all before it. */
			if (at >= view->data_end)
				r = have_data(view, at);
			if (r < 0)
				return r;
			state = at >= view->data_start ? UMEM_STATE_SWAPPED :
							 UMEM_STATE_UNTOUCHED;
		}
		r = umem_walk_add(walk, at + shift, at + UMEM_PAGE_BYTES + shift, state);
	}
	return r;
}

int umem_core_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	unsigned char in[UMEM_CORE_PAGES];
	int r = 0;

	/* It may lie behind the stretch that was found last, in a hole before it. */
	if (start < view->data_start)
		view->data_start = view->data_end = 0;
	for (uint64_t at = start, to; at < end && r == 0; at = to) {
		if (at >= view->data_end)
			r = have_data(view, at);
		if (r < 0)
			return r;
		/* What is in memory is data, or was never written: holes need no look. */
		to = umem_min_u64(end, umem_align_down(view->data_start, UMEM_PAGE_BYTES));
		if (to > at) {
			r = umem_walk_add(walk, at + shift, to + shift, UMEM_STATE_UNTOUCHED);
			continue;
		}
		to = umem_min_u64(end, umem_align_down(at + UMEM_CORE_BYTES, UMEM_CORE_BYTES));
		if (umem_core_look(view, at, to, in) < 0)
			return -EPERM;
		r = step(view, at, to, shift, in, walk);
	}
	return r;
}

/* Bytes of data in all of the object. */
static int count_data(struct umem_object_view *view, uint64_t *ret_bytes)
{
	uint64_t bytes = 0, at = 0;
	int r;

	view->data_start = view->data_end = 0;
	for (;;) {
		r = have_data(view, at);
		if (r < 0)
			return r;
		if (view->data_start == UINT64_MAX)
			break;
		at = umem_align_up(view->data_end, UMEM_PAGE_BYTES);
		bytes += at - view->data_start;
	}
	*ret_bytes = bytes;
	return 0;
}

bool umem_object_all_written(struct umem_object_view *view)
{
	struct stat before, after;
	uint64_t bytes = 0;

	if (!view->counted)
		view->all_written = fstat(view->fd, &before) == 0 &&
			count_data(view, &bytes) == 0 && fstat(view->fd, &after) == 0 &&
			(uint64_t)before.st_blocks * 512 == bytes &&
			before.st_blocks == after.st_blocks;
	view->counted = true;
	return view->all_written;
}
