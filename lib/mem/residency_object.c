// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Objects of shared memory, page by page, without touching one.
 *
 * Theory of operation
 *
 * cachestat(2) counts, for any range of a file, the pages that are in memory
 * and those that are swapped out (for shmem "evicted" is a swap entry in the
 * file itself, whether or not the page is still in the swap cache). A range
 * in which all pages are alike is done with one call, at the price of walking
 * its pages once (50 to 90 ns each); holes cost nothing. So long ranges are
 * asked in steps that grow while they are uniform, and start small again when
 * one is mixed.
 *
 * In a step of 2 MiB that is mixed, halving would walk each page once a level.
 * Two other calls tell single pages of a whole step at once, but neither is to
 * be believed alone:
 *
 *     mincore(2)   on a mapping of our own, which is never touched: in memory
 *                  or not; the swap cache counts as memory
 *     SEEK_DATA    something or nothing; swapped is something
 *
 * Their sums must be the counts of cachestat(2); where they are (nothing is in
 * the swap cache, nothing moved meanwhile), each page is settled. Otherwise
 * the step is halved, down to single pages.
 *
 * Nothing of this maps a page, so the count of mappings stays as it is and
 * MADV_PAGEOUT by others still works.
 */
#include "lib/mem/residency_object.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/ranges.h"
#include "lib/kern/filecache.h"
#include "lib/mem/pageset.h"
#include "lib/mem/residency_huge.h"

/* The step that is settled by other calls when it is mixed. */
#define STEP_BYTES (2ull << 20)
#define STEP_PAGES (STEP_BYTES / UMEM_PAGE_BYTES)

/* Steps of pages grow up to this, so that little is walked twice. */
#define STEP_MAX_BYTES (64ull << 20)

/* And holes up to this. */
#define STEP_HOLE_BYTES (1ull << 40)

/* Below this halving goes on page by page. */
#define LEAST_BYTES (4 * UMEM_PAGE_BYTES)

static const char *const names[] = {
	[UMEM_OBJECT_CACHESTAT] = "cachestat",
	[UMEM_OBJECT_HALVING] = "halving",
	[UMEM_OBJECT_EXTENTS] = "extents",
	[UMEM_OBJECT_CONTINUE] = "continue",
};

const char *umem_object_method_name(enum umem_object_method method)
{
	return names[method];
}

static int method_of(const char *name, bool huge, enum umem_object_method *ret_method)
{
	enum umem_object_method first = huge ? UMEM_OBJECT_CONTINUE : UMEM_OBJECT_CACHESTAT;

	if (!name) {
		*ret_method = first;
		return 0;
	}
	for (size_t i = 0; i < UMEM_ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		if (huge != (i == UMEM_OBJECT_CONTINUE))
			return -EINVAL;
		*ret_method = (enum umem_object_method)i;
		return 0;
	}
	return -EINVAL;
}

/* Does mincore(2) tell? It calls all in memory for those who could not write the file. */
static bool tells(int fd)
{
	struct stat st;
	char path[40];

	if (fstat(fd, &st) == 0 && st.st_uid == geteuid())
		return true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* Try the method that was chosen, and where none was named the next one. */
static int settle(struct umem_object_view *view, bool named)
{
	struct umem_cachestat stat;
	int r;

	if (view->method == UMEM_OBJECT_CONTINUE)
		return umem_huge_open(view);
	if (view->method == UMEM_OBJECT_EXTENTS)
		return tells(view->fd) ? 0 : -EPERM;
	r = umem_filecache_stat(view->fd, 0, UMEM_PAGE_BYTES, &stat);
	if (r == 0 || named || !tells(view->fd))
		return r;
	view->method = UMEM_OBJECT_EXTENTS;
	return 0;
}

int umem_object_open_consume(int fd, const char *method, struct umem_object_view *ret_view)
{
	struct umem_object_view view = { .fd = fd, .uffd = -1 };
	struct statfs fs;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		r = -errno;
	else if (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		r = -ENOTSUP;
	else
		r = method_of(method, fs.f_type == HUGETLBFS_MAGIC, &view.method);
	if (r == 0) {
		view.size_bytes = (uint64_t)st.st_size;
		view.huge_bytes = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
		r = settle(&view, method != NULL);
	}
	if (r < 0) {
		umem_object_close(&view);
		return r;
	}
	*ret_view = view;
	return 0;
}

void umem_object_close(struct umem_object_view *view)
{
	if (view->map)
		munmap(view->map, view->map_len);
	umem_fd_close(view->uffd);
	umem_fd_close(view->fd);
	*view = (struct umem_object_view){ .fd = -1, .uffd = -1 };
}

/* Have [@start, @end) mapped; all that is left of the file, if it can be. */
static bool have_map(struct umem_object_view *view, uint64_t start, uint64_t end)
{
	uint64_t at = umem_align_down(start, STEP_BYTES);
	uint64_t to = umem_max_u64(end, umem_align_up(view->size_bytes, UMEM_PAGE_BYTES));
	void *map;

	if (view->map && start >= view->map_at && end <= view->map_at + view->map_len)
		return true;
	if (view->no_map)
		return false;
	if (view->map)
		munmap(view->map, view->map_len);
	view->map = NULL;
	map = mmap(NULL, to - at, PROT_READ, MAP_SHARED | MAP_NORESERVE, view->fd, (off_t)at);
	if (map == MAP_FAILED || !tells(view->fd)) {
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

/* One byte a page for at most a step: is it in memory? Return: how many are, or -1. */
static int64_t in_core(struct umem_object_view *view, uint64_t start, uint64_t end,
	unsigned char in[STEP_PAGES])
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
	unsigned char in[STEP_PAGES];
	uint64_t bytes = 0;

	for (uint64_t at = start, to; at < end; at = to) {
		int64_t n;

		to = umem_min_u64(end, at + STEP_BYTES);
		n = in_core(view, at, to, in);
		if (n < 0)
			return -ENODATA;
		bytes += (uint64_t)n << UMEM_PAGE_SHIFT;
	}
	*ret_bytes = bytes;
	return 0;
}

/**
 * struct step - what mincore and extents say of at most a step.
 * @in: a byte a page: in memory.
 * @data: what is no hole.
 */
struct step {
	unsigned char in[STEP_PAGES];
	struct umem_ranges data;
};

/* Return: 0; UMEM_AGAIN when the counts of @want (unless NULL) do not confirm it; -errno. */
static int look(struct umem_object_view *view, uint64_t start, uint64_t end,
	const struct umem_cachestat *want, struct step *step)
{
	uint64_t pages = (end - start) >> UMEM_PAGE_SHIFT;
	int64_t n_in = in_core(view, start, end, step->in);
	int r;

	if (n_in < 0 || (want && (uint64_t)n_in != want->nr_cache))
		return UMEM_AGAIN;
	/* Nothing is swapped, or there is no hole: no need to ask for extents. */
	if (want && want->nr_evicted == 0)
		return 0;
	if (want && want->nr_cache + want->nr_evicted == pages)
		return umem_ranges_add(&step->data, start, end);
	r = umem_filecache_extents(view->fd, start, end, &step->data);
	if (r < 0)
		return r;
	if (want && umem_ranges_bytes(&step->data) >> UMEM_PAGE_SHIFT !=
			    want->nr_cache + want->nr_evicted)
		return UMEM_AGAIN;
	return 0;
}

static int hand_on(const struct step *step, uint64_t start, uint64_t end, uint64_t shift,
	struct umem_walk *walk)
{
	size_t i = umem_ranges_find(&step->data, start);
	int r = 0;

	for (uint64_t at = start; at < end && r == 0; at += UMEM_PAGE_BYTES) {
		enum umem_state state = UMEM_STATE_UNTOUCHED;

		while (i < step->data.n && step->data.v[i].end <= at)
			i++;
		if (step->in[(at - start) >> UMEM_PAGE_SHIFT])
			state = UMEM_STATE_RESIDENT;
		else if (i < step->data.n && step->data.v[i].start <= at)
			state = UMEM_STATE_SWAPPED;
		r = umem_walk_add(walk, at + shift, at + UMEM_PAGE_BYTES + shift, state);
	}
	return r;
}

/* All alike? Then its state. */
static bool uniform(const struct umem_cachestat *stat, uint64_t start, uint64_t end,
	enum umem_state *ret_state)
{
	uint64_t pages = (end - start) >> UMEM_PAGE_SHIFT;

	if (stat->nr_evicted == 0 && stat->nr_cache == 0)
		*ret_state = UMEM_STATE_UNTOUCHED;
	else if (stat->nr_cache == pages)
		*ret_state = UMEM_STATE_RESIDENT;
	else if (stat->nr_evicted == pages)
		*ret_state = UMEM_STATE_SWAPPED;
	else
		return false;
	return true;
}

static int halve(struct umem_object_view *view, uint64_t start, uint64_t end, uint64_t shift,
	struct umem_walk *walk)
{
	struct umem_cachestat stat;
	enum umem_state state;
	uint64_t half;
	int r;

	/* Too small for one more level: each page is asked. */
	if (end - start <= LEAST_BYTES && end - start > UMEM_PAGE_BYTES) {
		for (r = 0; start < end && r == 0; start += UMEM_PAGE_BYTES)
			r = halve(view, start, start + UMEM_PAGE_BYTES, shift, walk);
		return r;
	}
	r = umem_filecache_stat(view->fd, start, end, &stat);
	if (r < 0)
		return r;
	if (uniform(&stat, start, end, &state))
		return umem_walk_add(walk, start + shift, end + shift, state);
	/* It moved while it was counted; where it is on its way to, it will be. */
	if (end - start == UMEM_PAGE_BYTES)
		return umem_walk_add(walk, start + shift, end + shift, UMEM_STATE_SWAPPED);
	half = start + umem_align_up((end - start) / 2, UMEM_PAGE_BYTES);
	r = halve(view, start, half, shift, walk);
	return r != 0 ? r : halve(view, half, end, shift, walk);
}

/* A step of which the counts are mixed. */
static int mixed(struct umem_object_view *view, uint64_t start, uint64_t end, uint64_t shift,
	const struct umem_cachestat *stat, struct umem_walk *walk)
{
	struct step step = { 0 };
	int r = UMEM_AGAIN;

	if (view->method != UMEM_OBJECT_HALVING)
		r = look(view, start, end, stat, &step);
	if (r == 0)
		r = hand_on(&step, start, end, shift, walk);
	else if (r == UMEM_AGAIN)
		r = halve(view, start, end, shift, walk);
	umem_ranges_deinit(&step.data);
	return r;
}

static int step_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	uint64_t step = STEP_BYTES;

	for (uint64_t at = start; at < end;) {
		uint64_t to = umem_min_u64(end, umem_align_down(at + step, STEP_BYTES));
		struct umem_cachestat stat;
		enum umem_state state;
		int r = umem_filecache_stat(view->fd, at, to, &stat);

		if (r < 0)
			return r;
		if (uniform(&stat, at, to, &state)) {
			/* Holes are counted in no time. */
			step = umem_min_u64(step * 2, state == UMEM_STATE_UNTOUCHED ?
				STEP_HOLE_BYTES : STEP_MAX_BYTES);
			r = umem_walk_add(walk, at + shift, to + shift, state);
		} else if (to - at > STEP_BYTES) {
			step = STEP_BYTES;
			continue;
		} else {
			step = STEP_BYTES;
			r = mixed(view, at, to, shift, &stat, walk);
		}
		if (r != 0)
			return r;
		at = to;
	}
	return 0;
}

static int extents_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	for (uint64_t at = start, to; at < end; at = to) {
		struct step step = { 0 };
		int r;

		to = umem_min_u64(end, umem_align_down(at + STEP_BYTES, STEP_BYTES));
		r = look(view, at, to, NULL, &step);
		if (r == 0)
			r = hand_on(&step, at, to, shift, walk);
		else if (r == UMEM_AGAIN)
			r = -EPERM;
		umem_ranges_deinit(&step.data);
		if (r != 0)
			return r;
	}
	return 0;
}

int umem_object_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	uint64_t page = umem_max_u64(view->huge_bytes, UMEM_PAGE_BYTES);
	uint64_t stop = umem_min_u64(end,
		umem_max_u64(start, umem_align_up(view->size_bytes, page)));
	int r;

	if (view->method == UMEM_OBJECT_CONTINUE)
		r = umem_huge_walk(view, start, stop, shift, walk);
	else if (view->method == UMEM_OBJECT_EXTENTS)
		r = extents_walk(view, start, stop, shift, walk);
	else
		r = step_walk(view, start, stop, shift, walk);
	if (r == 0 && stop < end)
		r = umem_walk_add(walk, stop + shift, end + shift, UMEM_STATE_UNTOUCHED);
	return r;
}
