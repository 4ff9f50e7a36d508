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
 * its pages once (50 to 90 ns each, three times that when swapped); holes cost
 * nothing. So long ranges are asked in steps that grow while they are uniform,
 * and start small again when one is mixed.
 *
 * In a step of 2 MiB that is mixed, halving would walk each page once a level.
 * mincore(2) on a mapping of our own tells for all pages of a step at once
 * which are in memory. Not quite: it counts the swap cache, and leaves out pages
 * that were allocated and never written. So it only says where the runs are:
 *
 *     mincore    in in in -- -- -- -- in in -- --
 *     cachestat           all swapped       none     a call for each run that is
 *                                                    out, halved where it is mixed
 *
 * If these have as many swapped pages as the step, before and after, then
 * none of the rest is swapped, and it is in memory. Otherwise (the swap cache)
 * the runs of the rest are asked, too. Where nothing at all is swapped and
 * mincore has as many pages as cachestat, that settles it without more calls.
 *
 * Long ranges that are all swapped are found with less: by sums (residency_sums.c),
 * from a few large ranges down to small ones where they are mixed.
 *
 * A step that was a jumble is most likely followed by another one; then each
 * page is asked, which costs less than to find the runs first.
 *
 * Nothing of this maps a page, so the count of mappings stays as it is and
 * MADV_PAGEOUT by others still works.
 */
#include "lib/mem/residency_object.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/filecache.h"
#include "lib/mem/pageset.h"
#include "lib/mem/residency_core.h"
#include "lib/mem/residency_huge.h"
#include "lib/mem/residency_sums.h"

/* The step that is settled by runs when it is mixed. */
#define STEP_BYTES UMEM_CORE_BYTES

/* Steps of pages grow up to this, so that little is walked twice. */
#define STEP_MAX_BYTES (64ull << 20)

/* And holes up to this. */
#define STEP_HOLE_BYTES (1ull << 40)

/* What is settled by sums of smaps is not less than this. */
#define SUMS_LEAST_BYTES (4ull << 20)

/* Below this halving goes on page by page. */
#define LEAST_BYTES (4 * UMEM_PAGE_BYTES)

/* With so many runs a step is a jumble. */
#define DENSE_RUNS 160

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

bool umem_object_is_memory(uint64_t fs_type)
{
	return fs_type == TMPFS_MAGIC || fs_type == HUGETLBFS_MAGIC;
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

/* Try the method that was chosen, and where none was named the next one. */
static int settle(struct umem_object_view *view, bool named, unsigned without)
{
	struct umem_cachestat stat;
	int r;

	if (view->method == UMEM_OBJECT_CONTINUE)
		return without & UMEM_OBJECT_NO_MINOR ? -ENOSYS : umem_huge_open(view);
	if (view->method == UMEM_OBJECT_EXTENTS)
		return umem_core_tells(view->fd) ? 0 : -EPERM;
	r = without & UMEM_OBJECT_NO_CACHESTAT ? -ENOSYS :
		umem_filecache_stat(view->fd, 0, UMEM_PAGE_BYTES, &stat);
	if (r == 0 || named || !umem_core_tells(view->fd))
		return r;
	view->method = UMEM_OBJECT_EXTENTS;
	return 0;
}

int umem_object_open_consume(int fd, const char *method, unsigned without,
	struct umem_object_view *ret_view)
{
	struct umem_object_view view = { .fd = fd, .uffd = -1 };
	struct statfs fs = { 0 };
	struct stat st = { 0 };
	int r;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		r = -errno;
	else if (!umem_object_is_memory((uint64_t)fs.f_type) || !S_ISREG(st.st_mode))
		r = -ENOTSUP;
	else
		r = method_of(method, fs.f_type == HUGETLBFS_MAGIC, &view.method);
	if (r == 0) {
		view.device = st.st_dev;
		view.inode = st.st_ino;
		view.huge_bytes = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
		r = settle(&view, method != NULL, without);
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
	*view = UMEM_OBJECT_NONE;
}

int umem_object_size(const struct umem_object_view *view, uint64_t *ret_bytes)
{
	struct stat st;

	if (fstat(view->fd, &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

/* All alike? Then its state. */
static bool uniform(const struct umem_cachestat *stat, uint64_t start, uint64_t end,
	enum umem_state *ret_state)
{
	uint64_t pages = (end - start) >> UMEM_PAGE_SHIFT;

	if (stat->nr_evicted == 0 && stat->nr_cache == 0)
		*ret_state = UMEM_STATE_UNTOUCHED;
	else if (stat->nr_cache == pages && stat->nr_evicted == 0)
		*ret_state = UMEM_STATE_RESIDENT;
	else if (stat->nr_evicted == pages && stat->nr_cache == 0)
		*ret_state = UMEM_STATE_SWAPPED;
	else
		return false;
	return true;
}

int umem_object_alike(struct umem_object_view *view, uint64_t start, uint64_t end,
	enum umem_state *ret_state)
{
	struct umem_cachestat stat;
	int r;

	if (view->method != UMEM_OBJECT_CACHESTAT && view->method != UMEM_OBJECT_HALVING)
		return 0;
	r = umem_filecache_stat(view->fd, start, end, &stat);
	return r < 0 ? r : uniform(&stat, start, end, ret_state);
}

static int halve(struct umem_object_view *view, uint64_t start, uint64_t end, uint64_t shift,
	struct umem_walk *walk);

static int each_page(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	int r = 0;

	for (; start < end && r == 0; start += UMEM_PAGE_BYTES)
		r = halve(view, start, start + UMEM_PAGE_BYTES, shift, walk);
	return r;
}

static int halve(struct umem_object_view *view, uint64_t start, uint64_t end, uint64_t shift,
	struct umem_walk *walk)
{
	struct umem_cachestat stat;
	enum umem_state state;
	uint64_t half;
	int r = umem_filecache_stat(view->fd, start, end, &stat);

	if (r < 0)
		return r;
	if (uniform(&stat, start, end, &state))
		return umem_walk_add(walk, start + shift, end + shift, state);
	/* It moved while it was counted; where it is on its way to, it will be. */
	if (end - start == UMEM_PAGE_BYTES)
		return umem_walk_add(walk, start + shift, end + shift, UMEM_STATE_SWAPPED);
	/* Too small for one more level: each page is asked. */
	if (end - start <= LEAST_BYTES)
		return each_page(view, start, end, shift, walk);
	half = start + umem_align_up((end - start) / 2, UMEM_PAGE_BYTES);
	r = halve(view, start, half, shift, walk);
	return r != 0 ? r : halve(view, half, end, shift, walk);
}

/**
 * struct jumble - a mixed step.
 * @in: a byte a page: in memory, by mincore(2).
 * @state: of each page.
 * @start: of the step.
 * @n_swapped: pages that were found to be.
 */
struct jumble {
	unsigned char in[UMEM_CORE_PAGES];
	unsigned char state[UMEM_CORE_PAGES];
	uint64_t start;
	uint64_t n_swapped;
};

static int put(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct jumble *jumble = user;
	size_t first = (size_t)((start - jumble->start) >> UMEM_PAGE_SHIFT);
	size_t n = (size_t)((end - start) >> UMEM_PAGE_SHIFT);

	memset(jumble->state + first, (int)state, n);
	jumble->n_swapped += state == UMEM_STATE_SWAPPED ? n : 0;
	return 0;
}

/* Ask for the runs of pages that mincore(2) says are in memory (@in), or are not. */
static int ask_runs(struct umem_object_view *view, struct jumble *jumble, size_t n, bool in)
{
	struct umem_walk walk = { .each = put, .user = jumble };
	int r = 0;

	for (size_t i = 0, first; i < n && r == 0;) {
		first = i;
		while (i < n && !!jumble->in[i] == in)
			i++;
		if (i > first)
			r = halve(view, jumble->start + first * UMEM_PAGE_BYTES,
				jumble->start + i * UMEM_PAGE_BYTES, 0, &walk);
		else
			i++;
	}
	return r != 0 ? r : umem_walk_end(&walk);
}

/* Find the state of each page of a step by runs. Return: UMEM_AGAIN: not by mincore(2). */
static int sort_out(struct umem_object_view *view, uint64_t start, uint64_t end,
	const struct umem_cachestat *stat, struct jumble *jumble)
{
	size_t n = (size_t)((end - start) >> UMEM_PAGE_SHIFT);
	int64_t n_in = umem_core_look(view, start, end, jumble->in);
	struct umem_cachestat then;
	int r;

	if (n_in < 0)
		return UMEM_AGAIN;
	for (size_t i = 0; i < n; i++)
		jumble->state[i] = jumble->in[i] ? UMEM_STATE_RESIDENT : UMEM_STATE_UNTOUCHED;
	if (stat->nr_evicted == 0 && (uint64_t)n_in == stat->nr_cache)
		return 0;
	r = ask_runs(view, jumble, n, false);
	if (r < 0 || stat->nr_evicted == 0)
		return r;
	r = umem_filecache_stat(view->fd, start, end, &then);
	if (r < 0)
		return r;
	if (jumble->n_swapped != stat->nr_evicted || jumble->n_swapped != then.nr_evicted)
		r = ask_runs(view, jumble, n, true);
	return r;
}

/* Find it without mincore(2): page by page, or halving. */
static int ask_all(struct umem_object_view *view, uint64_t start, uint64_t end,
	struct jumble *jumble)
{
	struct umem_walk walk = { .each = put, .user = jumble };
	int r = view->dense ? each_page(view, start, end, 0, &walk) :
			      halve(view, start, end, 0, &walk);

	return r != 0 ? r : umem_walk_end(&walk);
}

static bool is_dense(const struct jumble *jumble, size_t n)
{
	size_t runs = 1;

	for (size_t i = 1; i < n; i++)
		runs += jumble->state[i] != jumble->state[i - 1];
	return jumble->n_swapped > 0 && runs >= DENSE_RUNS;
}

/* A step of which the counts are mixed, or, when the last one was a jumble, not known. */
static int mixed(struct umem_object_view *view, uint64_t start, uint64_t end, uint64_t shift,
	const struct umem_cachestat *stat, struct umem_walk *walk)
{
	struct jumble jumble = { .start = start };
	int r = UMEM_AGAIN;

	if (!view->dense && view->method != UMEM_OBJECT_HALVING)
		r = sort_out(view, start, end, stat, &jumble);
	if (r == UMEM_AGAIN)
		r = ask_all(view, start, end, &jumble);
	view->dense = r == 0 && is_dense(&jumble, (size_t)((end - start) >> UMEM_PAGE_SHIFT));
	for (uint64_t at = start; at < end && r == 0; at += UMEM_PAGE_BYTES)
		r = umem_walk_add(walk, at + shift, at + UMEM_PAGE_BYTES + shift,
			(enum umem_state)jumble.state[(at - start) >> UMEM_PAGE_SHIFT]);
	return r;
}

static int step_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	uint64_t step = STEP_BYTES;

	for (uint64_t at = start; at < end;) {
		uint64_t to = umem_min_u64(end, umem_align_down(at + step, STEP_BYTES));
		struct umem_cachestat stat = { 0 };
		enum umem_state state;
		int r = view->dense ? 0 : umem_filecache_stat(view->fd, at, to, &stat);

		if (r < 0)
			return r;
		if (!view->dense && uniform(&stat, at, to, &state)) {
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

static int sums_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk);

/* A range of which @swapped bytes are. */
static int known_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t swapped, uint64_t shift, struct umem_walk *walk)
{
	if (swapped == end - start)
		return umem_walk_add(walk, start + shift, end + shift, UMEM_STATE_SWAPPED);
	if (swapped > 0 && end - start > SUMS_LEAST_BYTES)
		return sums_walk(view, start, end, shift, walk);
	return step_walk(view, start, end, shift, walk);
}

/* Sums of ranges, and of those that are mixed of smaller ones. Both ends are aligned. */
static int sums_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	uint64_t len = SUMS_LEAST_BYTES, bytes[UMEM_SUMS_MAX];
	int r = 0;

	while (len * UMEM_SUMS_MAX < end - start)
		len *= 2;
	for (uint64_t at = start, to; at < end && r == 0; at = to) {
		uint64_t left = end - at;
		size_t n = left < len ? 1 : (size_t)umem_min_u64(left / len, UMEM_SUMS_MAX);

		len = umem_min_u64(len, left);
		to = at + n * len;
		if (umem_sums_read(view, at, len, n, bytes) < 0)
			return step_walk(view, at, end, shift, walk);
		for (size_t i = 0; i < n && r == 0; i++)
			r = known_walk(view, at + i * len, at + (i + 1) * len, bytes[i], shift,
				walk);
	}
	return r;
}

/* By sums as far as it pays, the rest by steps. */
static int long_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	uint64_t from = umem_align_up(umem_max_u64(start, 1), UMEM_SUMS_ALIGN);
	uint64_t to = umem_align_down(end, UMEM_SUMS_ALIGN);
	int r;

	if (to < from + SUMS_LEAST_BYTES || !umem_sums_any(view))
		return step_walk(view, start, end, shift, walk);
	r = start < from ? step_walk(view, start, from, shift, walk) : 0;
	if (r == 0)
		r = sums_walk(view, from, to, shift, walk);
	if (r == 0 && to < end)
		r = step_walk(view, to, end, shift, walk);
	return r;
}

int umem_object_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	if (view->method == UMEM_OBJECT_CONTINUE)
		return umem_huge_walk(view, start, end, shift, walk);
	if (view->method == UMEM_OBJECT_EXTENTS)
		return umem_core_walk(view, start, end, shift, walk);
	if (view->method == UMEM_OBJECT_HALVING)
		return step_walk(view, start, end, shift, walk);
	return long_walk(view, start, end, shift, walk);
}
