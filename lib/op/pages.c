// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Single pages of a target in batches, and where each of them is.
 *
 * Theory of operation
 *
 * The pagemap word of a page tells most: in memory, or out by a swap entry. Of shared
 * memory a page table has no swap entries; what it does not map, the object is asked
 * for. A page that is being moved, or poisoned, is in memory whatever its word looks
 * like. Where the kernel hides swap types (no CAP_SYS_ADMIN), private memory that
 * has been in memory and now has an entry is out: a mark of a userfaultfd comes into
 * being only where nothing was.
 *
 * Words cost 32 ns each and a call some 800, so pages that lie close are read together.
 */
#include "lib/op/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/note.h"
#include "lib/mem/residency_open.h"

/* How long a process that lost its memory may take to end. */
#define END_MS 200

/* Pages that are closer than this are read together. */
#define JOIN_BYTES (24 * UMEM_PAGE_BYTES)

/* The last swap type that can be an area (see lib/mem/residency_table.c). */
#define LAST_AREA 22u

/* May this process write the file? Only of such a one are pages moved. */
static bool may_write(const struct umem_target *target, int fd)
{
	struct stat st;
	char path[40];

	if (fstat(fd, &st) == 0 && st.st_uid == geteuid())
		return true;
	if (target->reach)
		return target->reach->is_owner;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* The memory behind a region, if it may be opened. */
static int open_object(struct umem_opener *opener, const struct umem_region *region,
	struct umem_page_view *view)
{
	int fd, r;

	if (region->kind != UMEM_KIND_SHMEM && region->kind != UMEM_KIND_FILE_PRIVATE)
		return -ENOTSUP;
	r = umem_opener_open(opener, region, &fd);
	if (r < 0)
		return r;
	view->read_only = !may_write(opener->target, fd);
	return umem_object_open_consume(fd, NULL, 0, &view->object);
}

/* Get ready for pages of @region. What cannot be opened is not seen. */
static void open_view(struct umem_opener *opener, const struct umem_region *region,
	struct umem_page_view *ret_view)
{
	struct umem_page_view view = {
		.region = region,
		.pagemap_fd = opener->target->pagemap_fd,
		.object = UMEM_OBJECT_NONE,
		.shift = region->start - region->offset,
	};

	view.has_object = open_object(opener, region, &view) == 0;
	view.shared = view.has_object || region->kind == UMEM_KIND_SHMEM;
	*ret_view = view;
}

static enum umem_place place_of(const struct umem_page_view *view, uint64_t word)
{
	enum umem_place none = view->shared ? UMEM_PLACE_UNSEEN : UMEM_PLACE_NOWHERE;

	if (word & UMEM_PM_GUARD)
		return UMEM_PLACE_NOWHERE;
	if (word & UMEM_PM_PRESENT)
		return UMEM_PLACE_MAPPED;
	if (!(word & UMEM_PM_SWAPPED))
		return none;
	/* A type of 0 with no offset is one that is hidden: no page is at the head of an area. */
	if ((word & UMEM_FRAME_MASK) == 0)
		return view->shared ? UMEM_PLACE_UNSEEN : UMEM_PLACE_OUT;
	if (UMEM_PM_SWAP_TYPE(word) == UMEM_PM_MARKER_TYPE)
		return none;
	return UMEM_PM_SWAP_TYPE(word) > LAST_AREA ? UMEM_PLACE_MAPPED : UMEM_PLACE_OUT;
}

int umem_pages_words(struct umem_page_view *view, struct umem_page_batch *batch)
{
	for (size_t i = 0; i < batch->n;) {
		uint64_t words[UMEM_BATCH_PAGES];
		uint64_t start = batch->addr[i], last = start;
		size_t n, taken = i + 1;
		int r;

		while (taken < batch->n && batch->addr[taken] - last <= JOIN_BYTES &&
			batch->addr[taken] - start < UMEM_BATCH_PAGES * UMEM_PAGE_BYTES)
			last = batch->addr[taken++];
		r = umem_pagemap_words(view->pagemap_fd, start, words,
			(size_t)((last - start) >> UMEM_PAGE_SHIFT) + 1, &n);
		if (r == -ESRCH || (r == 0 && n == 0))
			return UMEM_GONE;
		if (r < 0)
			return r;
		for (; i < taken; i++) {
			uint64_t index = (batch->addr[i] - start) >> UMEM_PAGE_SHIFT;

			batch->word[i] = index < n ? words[index] : 0;
			batch->place[i] = (uint8_t)place_of(view, batch->word[i]);
		}
	}
	return 0;
}

/** struct answer - pages of a batch that get the states of a walk. */
struct answer {
	struct umem_page_batch *batch;
	size_t at;
};

static int note_state(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct answer *answer = user;
	struct umem_page_batch *batch = answer->batch;
	enum umem_place place = state == UMEM_STATE_RESIDENT ? UMEM_PLACE_UNMAPPED :
		state == UMEM_STATE_SWAPPED ? UMEM_PLACE_OUT : UMEM_PLACE_NOWHERE;

	for (; answer->at < batch->n && batch->addr[answer->at] < end; answer->at++)
		if (batch->addr[answer->at] >= start &&
			batch->place[answer->at] == UMEM_PLACE_UNSEEN)
			batch->place[answer->at] = (uint8_t)place;
	return 0;
}

int umem_pages_look(struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct answer answer = { .batch = batch };
	int r = umem_pages_words(view, batch);

	if (r != 0 || !view->has_object)
		return r;
	/* Run by run of those that the page table does not tell. */
	for (size_t i = 0; i < batch->n && r == 0;) {
		struct umem_walk walk = { .each = note_state, .user = &answer };
		uint64_t start = batch->addr[i], end = start;

		if (batch->place[i] != UMEM_PLACE_UNSEEN) {
			i++;
			continue;
		}
		for (answer.at = i; i < batch->n && batch->addr[i] == end &&
			batch->place[i] == UMEM_PLACE_UNSEEN; i++)
			end += UMEM_PAGE_BYTES;
		r = umem_object_walk(&view->object, start - view->shift, end - view->shift,
			view->shift, &walk);
		if (r == 0)
			r = umem_walk_end(&walk);
	}
	return r;
}

static int hand_on(const struct umem_pages *pages, struct umem_page_view *view)
{
	int r = pages->batch->n ? pages->work(pages->user, view, pages->batch) : 0;

	pages->batch->n = 0;
	return r;
}

/* The pages from the first run of @iter on that lie before @end. */
static int each_batch(const struct umem_pages *pages, struct umem_pageset_iter *iter,
	struct umem_range run, uint64_t end, struct umem_page_view *view)
{
	struct umem_page_batch *batch = pages->batch;
	bool more = true;
	int r = 0;

	batch->n = 0;
	while (more && run.start < end && r == 0) {
		uint64_t stop = umem_min_u64(run.end, end);

		for (uint64_t at = run.start; at < stop && r == 0; at += UMEM_PAGE_BYTES) {
			batch->addr[batch->n++] = at;
			if (batch->n == UMEM_BATCH_PAGES || (pages->limit_bytes &&
				batch->n * UMEM_PAGE_BYTES >= *pages->limit_bytes))
				r = hand_on(pages, view);
		}
		more = umem_pageset_next(iter, &run);
	}
	return r == 0 ? hand_on(pages, view) : r;
}

int umem_pages_each(const struct umem_pages *pages, struct umem_pageset *set)
{
	UMEM_CLEANUP(umem_opener_deinit) struct umem_opener opener = { .target = pages->target };
	int r = 0;

	for (size_t i = 0; i < pages->map->n && r == 0; i++) {
		const struct umem_residency_region *about = &pages->map->v[i];
		struct umem_pageset_iter iter;
		struct umem_page_view view;
		struct umem_range run;

		r = umem_pageset_walk_from(set, about->start, &iter);
		if (r < 0)
			return r;
		if (umem_pageset_next(&iter, &run) && run.start < about->end) {
			open_view(&opener, umem_residency_region_at(pages->map, i), &view);
			r = each_batch(pages, &iter, run, about->end, &view);
			if (view.has_object)
				umem_object_close(&view.object);
		}
		umem_pageset_walk_end(&iter);
	}
	return r;
}

int umem_pages_gone(const struct umem_target *target, struct umem_note *note)
{
	struct pollfd end = { .fd = target->pidfd, .events = POLLIN };

	poll(&end, 1, END_MS);
	umem_note_set(note, -ESRCH, 0, "process %d %s", target->pid,
		umem_target_gone(target) ? "ended" : "executed another program");
	return UMEM_GONE;
}
