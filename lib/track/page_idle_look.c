// SPDX-License-Identifier: LGPL-2.1-or-later
/* Accesses by idle page tracking: one look. */
#include "lib/track/page_idle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kern/kpage.h"
#include "lib/kern/pageidle.h"
#include "lib/kern/pagemap.h"

/* Pages that are looked at together; an index is of so many bits. */
#define INDEX_BITS 16u
#define CHUNK      (1u << INDEX_BITS)

/* Frame numbers are sorted by digits of so many bits. */
#define DIGIT_BITS 11u
#define N_DIGITS   3u

/* A large page has at most so many frames, as a power of two, and begins at a multiple. */
#define ORDER_MAX 10u

/**
 * struct page - a page that is being looked at.
 * @frame: the one it is in; 0: none that can be followed.
 * @unit: the frame whose bit stands for it.
 * @was: what @frame was in the last look, as remembered.
 * @large: @unit stands for several frames.
 * @idle: the bit of @unit.
 * @can_be_marked: the kernel takes marks for @unit.
 */
struct page {
	uint64_t addr;
	uint64_t frame;
	uint64_t unit;
	uint32_t was;
	bool large;
	bool idle;
	bool can_be_marked;
};

/**
 * struct look - one look, on its way through the pages.
 * @then: walks the pages of @marks; @run, @i_run: where it is, and the index of its first frame.
 * @frames: of this look, @n_frames of them so far.
 * @heads: frames of large pages that were marked, each as if it were an address.
 * @accessed, @count: what comes out.
 * @pages: @n_pages of a chunk, in order of their addresses.
 * @keys: of those of them that something is asked about: @unit, and behind it the index.
 * @list, @idle, @flags: what goes into the question, and comes out.
 */
struct look {
	const struct umem_idle_files *files;
	struct umem_idle_marks *marks;
	struct umem_pageset_iter then;
	struct umem_range run;
	size_t i_run;
	uint32_t *frames;
	size_t n_frames;
	struct umem_pageset heads;
	struct umem_pageset *accessed;
	struct umem_accessed_count count;
	size_t n_pages;
	struct page pages[CHUNK];
	uint64_t keys[CHUNK];
	uint64_t list[CHUNK];
	uint64_t flags[CHUNK];
	bool idle[CHUNK];
};

/* Which frame was the page at @addr in? Addresses ascend. Return: 0 where that is not known. */
static uint32_t frame_then(struct look *look, uint64_t addr)
{
	while (look->run.end <= addr) {
		look->i_run += (look->run.end - look->run.start) >> UMEM_PAGE_SHIFT;
		if (!umem_pageset_next(&look->then, &look->run))
			look->run = (struct umem_range){ UINT64_MAX, UINT64_MAX };
	}
	return addr < look->run.start ? 0 :
		look->marks->frames[look->i_run + ((addr - look->run.start) >> UMEM_PAGE_SHIFT)];
}

/* Take in a page. Return: 0, -EPERM. */
static int add(struct look *look, uint64_t addr, uint64_t word)
{
	const uint64_t needed = UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE;
	struct page *page = &look->pages[look->n_pages++];

	*page = (struct page){ .addr = addr, .was = frame_then(look, addr) };
	if ((word & needed) != needed)
		return 0;
	page->frame = page->unit = word & UMEM_PM_PFN_MASK;
	page->can_be_marked = true;
	return page->frame ? 0 : -EPERM;
}

static uint64_t address_of(uint64_t frame)
{
	return frame << UMEM_PAGE_SHIFT;
}

static struct page *page_of(struct look *look, size_t i)
{
	return &look->pages[look->keys[i] & (CHUNK - 1)];
}

/* Read the bits of the first @n keys. */
static int ask(struct look *look, size_t n)
{
	bool any_heads = !umem_pageset_empty(&look->heads);
	int r;

	for (size_t i = 0; i < n; i++)
		look->list[i] = page_of(look, i)->unit;
	r = umem_pageidle_read(look->files->bitmap_fd, look->list, n, look->idle);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct page *page = page_of(look, i);

		page->idle = look->idle[i] &&
			!(any_heads && umem_pageset_has(&look->heads, address_of(page->unit)));
	}
	return r;
}

/* Sort keys by units, a digit at a time; @list is overwritten. */
static void sort(struct look *look, size_t n)
{
	for (unsigned digit = 0; digit < N_DIGITS; digit++) {
		unsigned shift = INDEX_BITS + digit * DIGIT_BITS;
		uint32_t starts[(1u << DIGIT_BITS) + 1] = { 0 };

		for (size_t i = 0; i < n; i++)
			starts[(look->keys[i] >> shift) % (1u << DIGIT_BITS) + 1]++;
		for (size_t i = 0; i < 1u << DIGIT_BITS; i++)
			starts[i + 1] += starts[i];
		for (size_t i = 0; i < n; i++)
			look->list[starts[(look->keys[i] >> shift) % (1u << DIGIT_BITS)]++] =
				look->keys[i];
		memcpy(look->keys, look->list, n * sizeof(*look->keys));
	}
}

/* Make keys of those pages that have a frame and are not known to be idle. */
static size_t select_rest(struct look *look)
{
	size_t n = 0;

	for (size_t i = 0; i < look->n_pages; i++)
		if (look->pages[i].frame && !look->pages[i].idle)
			look->keys[n++] = look->pages[i].unit << INDEX_BITS | i;
	sort(look, n);
	return n;
}

/* The head of the large page that @frame is a part of, or 0. */
static uint64_t find_head(struct look *look, uint64_t frame)
{
	for (unsigned order = 1; order <= ORDER_MAX; order++) {
		uint64_t at = umem_align_down(frame, 1ull << order), flags;

		if (umem_kpage_read(look->files->flags_fd, &at, 1, UMEM_KPF(NOPAGE), &flags) < 0)
			return 0;
		if (flags & UMEM_KPF(COMPOUND_HEAD))
			return at;
		if (!(flags & UMEM_KPF(COMPOUND_TAIL)))
			return 0;
	}
	return 0;
}

/* Find the heads of what is a part of a large page, keep their keys. Return: how many, -errno. */
static int find_heads(struct look *look, size_t n)
{
	uint64_t last = 0, head = 0;
	size_t n_parts = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		look->list[i] = page_of(look, i)->frame;
	r = umem_kpage_read(look->files->flags_fd, look->list, n, UMEM_KPF(NOPAGE), look->flags);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct page *page = page_of(look, i);
		bool part = look->flags[i] & UMEM_KPF(COMPOUND_TAIL);

		/* A part right behind another one, or behind a head, is of the same page. */
		if (!part)
			head = page->frame;
		else if (head == 0 || page->frame != last + 1)
			head = find_head(look, page->frame);
		last = page->frame;
		page->large = part || look->flags[i] & UMEM_KPF(COMPOUND_HEAD);
		page->can_be_marked = part ? head != 0 : look->flags[i] & UMEM_KPF(LRU);
		if (!part || head == 0)
			continue;
		page->unit = head;
		look->keys[n_parts++] = look->keys[i];
	}
	return (int)n_parts;
}

/* Tell what is known of the pages of the chunk. */
static int judge(struct look *look)
{
	int r = 0;

	for (size_t i = 0; i < look->n_pages && r == 0; i++) {
		const struct page *page = &look->pages[i];
		bool followed = page->frame && page->was == (uint32_t)page->frame &&
			page->can_be_marked && !look->count.disturbed;

		look->frames[look->n_frames++] = (uint32_t)page->frame;
		if (followed && page->idle) {
			look->count.idle++;
			continue;
		}
		(*(followed ? &look->count.accessed : &look->count.unknown))++;
		r = umem_pageset_add(look->accessed, page->addr, page->addr + UMEM_PAGE_BYTES);
	}
	look->n_pages = 0;
	return r;
}

/* Mark what was accessed. */
static int mark(struct look *look)
{
	size_t n = select_rest(look);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct page *page = page_of(look, i);
		uint64_t at = address_of(page->unit);

		look->list[i] = page->unit;
		if (page->large)
			r = umem_pageset_add(&look->heads, at, at + UMEM_PAGE_BYTES);
	}
	return r < 0 ? r : umem_pageidle_mark(look->files->bitmap_fd, look->list, n);
}

/* All that is to be done with a chunk. */
static int settle(struct look *look)
{
	int r = ask(look, select_rest(look));

	if (r < 0)
		return r;
	r = find_heads(look, select_rest(look));
	if (r > 0)
		r = ask(look, (size_t)r);
	if (r == 0)
		r = mark(look);
	return r < 0 ? r : judge(look);
}

static int walk(struct look *look, struct umem_pageset_iter *now)
{
	struct umem_range run;
	int r = 0;

	while (umem_pageset_next(now, &run)) {
		while (run.start < run.end) {
			size_t n = 0, want = (size_t)umem_min_u64(CHUNK - look->n_pages,
					      (run.end - run.start) >> UMEM_PAGE_SHIFT);

			r = umem_pagemap_words(look->files->pagemap_fd, run.start,
				look->flags, want, &n);
			if (r == 0 && n == 0)
				r = -ESRCH;
			for (size_t i = 0; i < n && r == 0; i++, run.start += UMEM_PAGE_BYTES)
				r = add(look, run.start, look->flags[i]);
			if (r == 0 && look->n_pages == CHUNK)
				r = settle(look);
			if (r < 0)
				return r;
		}
	}
	return settle(look);
}

/* From the frames of the last look to those of this one. */
static int look_at(struct look *look, struct umem_pageset *pages)
{
	struct umem_pageset_iter now;
	int r = umem_pageset_walk(&look->marks->pages, &look->then);

	if (r < 0)
		return r;
	r = umem_pageset_walk(pages, &now);
	if (r == 0) {
		r = walk(look, &now);
		umem_pageset_walk_end(&now);
	}
	umem_pageset_walk_end(&look->then);
	return r;
}

static struct look *look_free(struct look *look)
{
	umem_pageset_deinit(&look->heads);
	free(look->frames);
	free(look);
	return NULL;
}

UMEM_DEFINE_CLEANUP(struct look, look_free)

void umem_idle_marks_deinit(struct umem_idle_marks *marks)
{
	umem_pageset_deinit(&marks->pages);
	free(marks->frames);
	*marks = (struct umem_idle_marks){ 0 };
}

int umem_idle_look(const struct umem_idle_files *files, struct umem_idle_marks *marks,
	struct umem_pageset *pages, struct umem_pageset *accessed, const char *disturbed,
	struct umem_accessed_count *ret_count)
{
	UMEM_CLEANUP(look_freep) struct look *look = calloc(1, sizeof(*look));
	int r;

	if (!look)
		return -ENOMEM;
	look->files = files;
	look->marks = marks;
	look->accessed = accessed;
	look->count.disturbed = disturbed;
	look->count.pages = umem_pageset_bytes(pages) >> UMEM_PAGE_SHIFT;
	look->frames = calloc(look->count.pages + 1, sizeof(*look->frames));
	r = look->frames ? look_at(look, pages) : -ENOMEM;
	umem_pageset_clear(&marks->pages);
	if (r == 0)
		r = umem_pageset_union(&marks->pages, pages);
	if (r < 0) {
		/* Half of the marks are of another time. */
		umem_idle_marks_deinit(marks);
		return r == -ESRCH ? UMEM_GONE : r;
	}
	free(marks->frames);
	marks->frames = UMEM_TAKE_PTR(look->frames);
	marks->n = look->n_frames;
	*ret_count = look->count;
	return 0;
}
