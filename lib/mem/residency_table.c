// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Page tables, entry by entry.
 *
 * Theory of operation
 *
 * PAGEMAP_SCAN costs a nanosecond a page and sees everything but one thing:
 * "swapped" is whatever is not empty and not present. Of that kind are also
 * the marks that a userfaultfd leaves on pages that were never there, and
 * entries of pages that are just being moved. The classic word has the swap
 * type, which tells them apart, but costs some 30 ns. So words are read where
 * the scan says swapped and nowhere else, in one piece for runs that lie
 * close: a system call costs as much as ten words.
 *
 * The two do not look at the same moment. A page that came in between is
 * present in its word: the word is newer, and it wins.
 *
 *     swap type   0 ...          areas of swapon(2)
 *                 23 ... 30      no swap: devices' pages, pages being moved,
 *                                poisoned ones (SWP_*_NUM, linux/swap.h)
 *                 31             marks
 *
 * The kernel shows type and offset only to CAP_SYS_ADMIN; for others all of it
 * is 0, which no true entry is (the first page of an area is its header).
 */
#include "lib/mem/residency_table.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/mem/pageset.h"

/*
 * The kernel collects ranges 512 at a time. A call that fills more than one such
 * batch and gets to the end leaves walk_end where the last but one batch ended, and
 * the last batch is reported again by the next call (pagemap_scan, fs/proc/task_mmu.c,
 * Linux 6.18). With room for one batch that does not happen.
 */
#define N_VEC   512
#define N_WORDS 8192

/* Runs that are closer than so many pages are read in one piece. */
#define JOIN_PAGES 16

/* The last type that can be a swap area: MAX_SWAPFILES - 1 with every option on. */
#define LAST_AREA 22

int umem_table_init(struct umem_table *table, int pagemap_fd)
{
	*table = (struct umem_table){
		.pagemap_fd = pagemap_fd,
		.kpageflags_fd = -1,
		.guard = PAGE_IS_GUARD,
		.n_vec = N_VEC,
		.n_words = N_WORDS,
	};
	table->vec = calloc(N_VEC, sizeof(*table->vec));
	table->words = calloc(N_WORDS, sizeof(*table->words));
	if (!table->vec || !table->words) {
		umem_table_deinit(table);
		return -ENOMEM;
	}
	return 0;
}

void umem_table_deinit(struct umem_table *table)
{
	if (table->vec)
		umem_fd_close(table->kpageflags_fd);
	free(table->vec);
	free(table->words);
	*table = (struct umem_table){ .pagemap_fd = -1, .kpageflags_fd = -1 };
}

/* Read words from @at on, at most up to @end. */
static int fill(struct umem_table *table, uint64_t at, uint64_t end)
{
	size_t want = (size_t)umem_min_u64(table->n_words, (end - at) >> UMEM_PAGE_SHIFT), n;
	int r;

	table->n_valid = 0;
	r = umem_pagemap_words(table->pagemap_fd, at, table->words, want, &n);
	if (r < 0)
		return r;
	if (n == 0)
		return -ESRCH;
	table->words_at = at;
	table->n_valid = n;
	return 0;
}

static enum umem_entry entry_of_swap(uint64_t word)
{
	unsigned type = UMEM_PM_SWAP_TYPE(word);

	if ((word & (UMEM_PM_SOFT_DIRTY - 1)) == 0)
		return UMEM_ENTRY_HIDDEN;
	if (type == UMEM_PM_MARKER_TYPE)
		return UMEM_ENTRY_NONE;
	return type > LAST_AREA ? UMEM_ENTRY_PRESENT : UMEM_ENTRY_SWAPPED;
}

/* Is a page that is shared by page tables the page of zeros? */
static bool is_zero(struct umem_table *table, uint64_t word)
{
	if (word & (UMEM_PM_FILE | UMEM_PM_EXCLUSIVE))
		return false;
	table->zero_blind = true;
	return false;
}

static enum umem_entry entry_of(struct umem_table *table, uint64_t word)
{
	if (word & UMEM_PM_GUARD)
		return UMEM_ENTRY_GUARD;
	if (word & UMEM_PM_PRESENT)
		return is_zero(table, word) ? UMEM_ENTRY_ZERO : UMEM_ENTRY_PRESENT;
	return word & UMEM_PM_SWAPPED ? entry_of_swap(word) : UMEM_ENTRY_NONE;
}

/* Hand on the entries of a range by its words. */
static int by_words(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user)
{
	enum umem_entry entry = UMEM_ENTRY_NONE;
	uint64_t from = start;
	int r;

	for (uint64_t at = start; at < end; at += UMEM_PAGE_BYTES) {
		uint64_t index = (at - table->words_at) >> UMEM_PAGE_SHIFT;
		enum umem_entry now;

		if (at < table->words_at || index >= table->n_valid) {
			r = fill(table, at, end);
			if (r < 0)
				return r;
			index = 0;
		}
		now = entry_of(table, table->words[index]);
		if (at > from && now != entry) {
			r = each(user, from, at, entry);
			if (r != 0)
				return r;
			from = at;
		}
		entry = now;
	}
	return from < end ? each(user, from, end, entry) : 0;
}

int umem_table_words(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user)
{
	table->n_valid = 0;
	return by_words(table, start, end, each, user);
}

static bool needs_words(const struct page_region *range)
{
	return (range->categories & (PAGE_IS_SWAPPED | PAGE_IS_PRESENT | PAGE_IS_GUARD)) ==
		PAGE_IS_SWAPPED;
}

/* Where reading words for the range @i of @n, and for swapped ones close behind it, ends. */
static uint64_t words_end(const struct umem_table *table, size_t i, size_t n)
{
	uint64_t start = table->vec[i].start, end = table->vec[i].end;

	for (i++; i < n && end - start < table->n_words * UMEM_PAGE_BYTES; i++) {
		if (table->vec[i].start > end + JOIN_PAGES * UMEM_PAGE_BYTES)
			break;
		if (needs_words(&table->vec[i]))
			end = table->vec[i].end;
	}
	return end;
}

static int scanned(struct umem_table *table, size_t i, size_t n, umem_table_each each,
	void *user)
{
	struct page_region *range = &table->vec[i];
	uint64_t valid_end = table->words_at + (table->n_valid << UMEM_PAGE_SHIFT);
	int r;

	if (range->categories & PAGE_IS_GUARD)
		return each(user, range->start, range->end, UMEM_ENTRY_GUARD);
	if (!needs_words(range))
		return each(user, range->start, range->end,
			range->categories & PAGE_IS_PFNZERO ? UMEM_ENTRY_ZERO :
							      UMEM_ENTRY_PRESENT);
	if (range->start < table->words_at || range->start >= valid_end) {
		r = fill(table, range->start, words_end(table, i, n));
		if (r < 0)
			return r;
	}
	return by_words(table, range->start, range->end, each, user);
}

int umem_table_scan(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user)
{
	struct umem_scan scan = {
		.at = start,
		.end = end,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | table->guard,
		.wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | table->guard | PAGE_IS_PFNZERO,
	};
	uint64_t done = start;

	while (scan.at < end) {
		size_t n;
		int r = umem_pagemap_scan(table->pagemap_fd, &scan, table->vec, table->n_vec, &n);

		if (r == -EINVAL && table->guard) {
			/* Before 6.15; a guard then is a mark like others. */
			table->guard = 0;
			return umem_table_scan(table, start, end, each, user);
		}
		table->n_valid = 0;
		for (size_t i = 0; i < n && r == 0; i++) {
			struct page_region *range = &table->vec[i];

			/* Never twice, should a call report again what one before it did. */
			range->start = umem_max_u64(range->start, done);
			if (range->start >= range->end)
				continue;
			if (range->start > done)
				r = each(user, done, range->start, UMEM_ENTRY_NONE);
			if (r == 0)
				r = scanned(table, i, n, each, user);
			done = range->end;
		}
		if (r != 0)
			return r;
	}
	return done < end ? each(user, done, end, UMEM_ENTRY_NONE) : 0;
}
