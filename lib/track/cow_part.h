/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of a snapshot: parts with a state for each page, and where they are
 * seen. The owner's before the moment; from then on states are changed by compare
 * and exchange, and nothing else changes.
 */
#ifndef UMEM_TRACK_COW_PART_H
#define UMEM_TRACK_COW_PART_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/ranges.h"
#include "lib/mem/pageset.h"
#include "lib/track/cow_map.h"

struct umem_cow;
struct umem_cow_process;

/** UMEM_COW_BLOCK_BYTES - what one page table maps. */
#define UMEM_COW_BLOCK_BYTES (2ull << 20)

/** UMEM_COW_BLOCK_PAGES - the same in pages. */
#define UMEM_COW_BLOCK_PAGES (UMEM_COW_BLOCK_BYTES >> UMEM_PAGE_SHIFT)

/**
 * enum umem_cow_state - of a page.
 * @UMEM_COW_EMPTY: not of the image: it read as zeros, or is not asked for.
 * @UMEM_COW_WANTED: to be copied, by whoever is first.
 * @UMEM_COW_MOVED: to be copied, by the serving thread: it alone knows where it is.
 * @UMEM_COW_BUSY: the serving thread is copying it.
 * @UMEM_COW_DONE: copied; it may be written.
 * @UMEM_COW_LOST_UNMAPPED and on: lost, and why.
 */
enum umem_cow_state {
	UMEM_COW_EMPTY,
	UMEM_COW_WANTED,
	UMEM_COW_MOVED,
	UMEM_COW_BUSY,
	UMEM_COW_DONE,
	UMEM_COW_LOST_UNMAPPED,
	UMEM_COW_LOST_DISCARDED,
	UMEM_COW_LOST_CHANGED,
	UMEM_COW_LOST_UNREADABLE,
	UMEM_COW_LOST_PUNCHED,
	UMEM_COW_LOST_GONE,
	UMEM_COW_N_STATES,
};

/** UMEM_COW_OPEN - flag of a state before the moment: its protection was lifted. */
#define UMEM_COW_OPEN 0x80

/**
 * struct umem_cow_seen - where a part was first seen: @n_pages from @page on, at @start of
 * @process. Whether they still are there a map tells.
 */
struct umem_cow_seen {
	struct umem_cow_process *process;
	uint64_t start;
	uint64_t page;
	uint64_t n_pages;
};

/**
 * struct umem_cow_part - pages with one content.
 * @seen, @n_seen: where.
 * @n_pages: how many.
 * @unit_pages: how many are protected together: 1, or a huge page's.
 * @state: enum umem_cow_state of each. The owner's until the moment, then by
 *	compare and exchange only.
 * @open: of each block, is it listed as having open pages?
 * @blocks: page numbers, by whole blocks, in which something is or was populated.
 * @fd: of a shared object: open for reading, its pages are those of the file; else -1.
 * @device, @inode: of the file.
 * @data: its pages that held data at the last look, and @n_others how many blocks of
 *	512 bytes it had besides.
 * @swept: all of it is copied.
 * @exposed: it was mapped anew before it was.
 */
struct umem_cow_part {
	struct umem_cow_seen *seen;
	size_t n_seen;
	uint64_t n_pages;
	uint64_t unit_pages;
	_Atomic uint8_t *state;
	uint8_t *open;
	struct umem_ranges blocks;
	int fd;
	uint64_t device;
	uint64_t inode;
	struct umem_ranges data;
	int64_t n_others;
	_Atomic bool swept;
	_Atomic bool exposed;
};

/** struct umem_cow_run - @n_pages pages of @part from @page on. */
struct umem_cow_run {
	struct umem_cow_part *part;
	uint64_t page;
	uint64_t n_pages;
};

/** struct umem_cow_runs - @n of them; all zero is empty. */
struct umem_cow_runs {
	struct umem_cow_run *v;
	size_t n;
	size_t room;
};

/** umem_cow_runs_add - append. Return: 0 or -ENOMEM. */
int umem_cow_runs_add(struct umem_cow_runs *runs, const struct umem_cow_run *run);

/** umem_cow_runs_deinit - free what the list owns and make it empty. */
void umem_cow_runs_deinit(struct umem_cow_runs *runs);

/**
 * umem_cow_part_new - a part of @n_pages empty pages, owned by @cow.
 * Return: 0 or -ENOMEM.
 */
int umem_cow_part_new(struct umem_cow *cow, uint64_t n_pages, uint64_t unit_pages,
	struct umem_cow_part **ret_part);

/**
 * umem_cow_part_show - @process shows pages of @part, from @page on, at [@start, @end).
 * Return: 0 or -ENOMEM.
 */
int umem_cow_part_show(struct umem_cow_part *part, struct umem_cow_process *process,
	uint64_t start, uint64_t end, uint64_t page);

/**
 * umem_cow_where - the address of a page at one of the places where it was seen.
 * @map: of the process of @seen.
 * @run: pages.
 *
 * Return: how many of @run, from its first on, are still there in a row; then *@ret_addr
 * is set.
 */
uint64_t umem_cow_where(const struct umem_cow_map *map, const struct umem_cow_seen *seen,
	const struct umem_cow_run *run, uint64_t *ret_addr);

/** umem_cow_part_grow - have room for @n_pages pages. Before the moment. Return: 0 or -ENOMEM. */
int umem_cow_part_grow(struct umem_cow_part *part, uint64_t n_pages);

/** umem_cow_mark_pages - set states as umem_cow_mark(), by page number. Return: 0 or -ENOMEM. */
int umem_cow_mark_pages(const struct umem_cow_run *run, enum umem_cow_state state);

/** umem_cow_part_free - NULL is fine. Return: NULL. */
struct umem_cow_part *umem_cow_part_free(struct umem_cow_part *part);

/**
 * umem_cow_mark - set the state of what [@start, @end) shows; what is not of the image is
 * passed over. @state without UMEM_COW_OPEN. Return: 0 or -ENOMEM.
 */
int umem_cow_mark(struct umem_cow_process *process, uint64_t start, uint64_t end,
	enum umem_cow_state state);

/**
 * umem_cow_mark_open - it is to be copied, and its protection was lifted: it goes to
 * @cow->opened. Return: 0 or -ENOMEM.
 */
int umem_cow_mark_open(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end);

/** umem_cow_open_page - the same of one page that is in a block already. Return: 0 or -ENOMEM. */
int umem_cow_open_page(struct umem_cow *cow, struct umem_cow_part *part, uint64_t page);

/** umem_cow_state_of - the state of one page. */
static inline enum umem_cow_state umem_cow_state_of(const struct umem_cow_part *part, uint64_t page)
{
	return (enum umem_cow_state)atomic_load_explicit(&part->state[page],
		memory_order_acquire);
}

/** umem_cow_take - move a page from one state to another. Return: was it in @from? */
static inline bool umem_cow_take(struct umem_cow_part *part, uint64_t page,
	enum umem_cow_state from, enum umem_cow_state to)
{
	uint8_t want = (uint8_t)from;

	return atomic_compare_exchange_strong_explicit(&part->state[page], &want, (uint8_t)to,
		memory_order_acq_rel, memory_order_acquire);
}

#endif
