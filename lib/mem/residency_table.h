/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the page tables of a process say of its pages. For private memory that
 * is the whole truth, for shared memory only which pages are mapped here.
 */
#ifndef UMEM_MEM_RESIDENCY_TABLE_H
#define UMEM_MEM_RESIDENCY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kern/pagemap.h"

/**
 * enum umem_entry - what a page-table entry is.
 * @UMEM_ENTRY_NONE: nothing, or a mark of a userfaultfd.
 * @UMEM_ENTRY_PRESENT: a page, also one that is just being moved.
 * @UMEM_ENTRY_SWAPPED: a swap entry.
 * @UMEM_ENTRY_ZERO: the shared page of zeros.
 * @UMEM_ENTRY_GUARD: a guard.
 * @UMEM_ENTRY_HIDDEN: a swap entry or a mark: the kernel does not tell this
 *	process which (it lacks CAP_SYS_ADMIN).
 * @UMEM_ENTRY_UNMARKED: the same, but certainly no mark of a write protection: a swap
 *	entry, a page that is being moved, or a poisoned one. Of huge pages of the
 *	pool one of the latter two, for everybody.
 */
enum umem_entry {
	UMEM_ENTRY_NONE,
	UMEM_ENTRY_PRESENT,
	UMEM_ENTRY_SWAPPED,
	UMEM_ENTRY_ZERO,
	UMEM_ENTRY_GUARD,
	UMEM_ENTRY_HIDDEN,
	UMEM_ENTRY_UNMARKED,
};

/** enum umem_huge_zero - does the scan tell the huge page of zeros? Words do. */
enum umem_huge_zero {
	UMEM_HUGE_ZERO_UNKNOWN,
	UMEM_HUGE_ZERO_TOLD,
	UMEM_HUGE_ZERO_HIDDEN,
};

/**
 * struct umem_table - a reader of page tables.
 * @pagemap_fd: of umem_pagemap_open(); the caller's.
 * @kpageflags_fd: /proc/kpageflags, or -1 where it may not be read; given by the caller,
 *	and owned.
 * @zero_pfn: the frame of zeros that was seen last; the flags of others are asked.
 * @blind: what the kernel shows to CAP_SYS_ADMIN only is passed over.
 * @anonymous: what is read is anonymous memory; set by the caller, like the next.
 * @pool: huge pages of the pool.
 * @rough: of anonymous memory all that a scan calls swapped is taken for that; see
 *	umem_residency_rough().
 * @zero_blind: a page of zeros may have been taken for a page; the caller clears it.
 * @huge_zero: found out when a huge page is seen that could be it.
 * @guard: PAGE_IS_GUARD, or 0 where the kernel does not know it.
 * @vec, @n_vec: scratch for ranges.
 * @words, @n_words: scratch for words; they are those of the pages from
 *	@words_at on, @n_valid of them.
 */
struct umem_table {
	int pagemap_fd;
	int kpageflags_fd;
	uint64_t zero_pfn;
	bool blind;
	bool anonymous;
	bool pool;
	bool rough;
	bool zero_blind;
	enum umem_huge_zero huge_zero;
	uint64_t guard;
	struct page_region *vec;
	size_t n_vec;
	uint64_t *words;
	size_t n_words;
	uint64_t words_at;
	size_t n_valid;
};

/** umem_table_each - takes a run of entries; what it returns other than 0 ends the walk. */
typedef int (*umem_table_each)(void *user, uint64_t start, uint64_t end,
	enum umem_entry entry);

/**
 * umem_table_init - a reader.
 * @blind: as in struct umem_table.
 * Return: 0 or -ENOMEM.
 */
int umem_table_init(struct umem_table *table, int pagemap_fd, bool blind);

/** umem_table_deinit - free what it owns. */
void umem_table_deinit(struct umem_table *table);

/**
 * umem_table_scan - the entries of [@start, @end) by PAGEMAP_SCAN; words are
 * read only where it says swapped, which it also says of marks.
 * @each: gets all of the range, ascending, in runs that may touch alike ones.
 *
 * Return: 0, what @each returned, -ENOTTY before Linux 6.7, -ESRCH, -ENOMEM.
 */
int umem_table_scan(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user);

/** umem_table_words - the same by the classic words alone. */
int umem_table_words(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user);

/** umem_table_entry - what @word says of a page. May ask for the flags of its frame. */
enum umem_entry umem_table_entry(struct umem_table *table, uint64_t word);

#endif
