/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/pagemap: the PAGEMAP_SCAN ioctl (Linux 6.7) and the classic words.
 *
 * The scan is a stream: one call of umem_pagemap_scan() fills a vector, the
 * caller repeats it from the position where the kernel stopped. What the bits
 * mean, and when they lie, is documented at umem_pagemap_scan().
 */
#ifndef UMEM_KERN_PAGEMAP_H
#define UMEM_KERN_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kern/uapi.h"

/**
 * struct umem_scan - one pass over a range.
 * @at: next address to look at; umem_pagemap_scan() moves it on.
 * @end: one past the last address.
 * @protect: write-protect again what is reported (PM_SCAN_WP_MATCHING); a
 *           mapping that is not registered for WP_ASYNC then answers -EPERM
 *           instead of being passed over in silence.
 * @inverted, @all, @any: a page is reported when, with @inverted flipped, it
 *           has every bit of @all and (if @any) one of @any; PAGE_IS_*.
 * @wanted: the bits that are returned, and that split ranges where they change.
 * @max_pages: end a call after so many pages were reported; 0 means no limit.
 *           Not with @protect, where it splits huge pages, and not over pages of
 *           the reserved pool, which it passes over unreported (Linux 6.18).
 */
struct umem_scan {
	uint64_t at;
	uint64_t end;
	bool protect;
	uint64_t inverted;
	uint64_t all;
	uint64_t any;
	uint64_t wanted;
	uint64_t max_pages;
};

/** umem_pagemap_open - /proc/@pid/pagemap. Return: 0, -ENOENT, -EACCES, -EPERM. */
int umem_pagemap_open(int pid, int *ret_fd);

/**
 * umem_pagemap_scan - the next ranges of a pass.
 * @fd: of umem_pagemap_open(); it stays with the memory it was opened on.
 * @scan: the pass; done when @at has reached @end.
 * @vec: where ranges go, ascending; room for at least one.
 * @n_vec: room of @vec.
 * @ret_n: ranges put there; 0 is possible before the end.
 *
 * PAGE_IS_WRITTEN only says that the write-protect bit is not set: every page
 * of an unregistered mapping is WRITTEN. A request for exactly WRITTEN also
 * sees (and, protecting, marks) pages that are not there; marks read as
 * SWAPPED from then on. Guard pages are WRITTEN and SWAPPED besides GUARD.
 * Write-protecting what was never touched costs page tables.
 *
 * Return: 0, -EPERM (see @protect), -ESRCH when the memory is gone (the process
 * exited or executed another program), -ENOMEM, -EINVAL, -ENOTTY before 6.7.
 * On -EPERM an unknown part of the range may be protected and unreported.
 */
int umem_pagemap_scan(int fd, struct umem_scan *scan, struct page_region *vec,
	size_t n_vec, size_t *ret_n);

/* Bits of a classic pagemap word, Documentation/admin-guide/mm/pagemap.rst. */
#define UMEM_PM_PRESENT   (1ull << 63)
#define UMEM_PM_SWAPPED   (1ull << 62)
#define UMEM_PM_FILE      (1ull << 61)
#define UMEM_PM_GUARD     (1ull << 58)
#define UMEM_PM_UFFD_WP   (1ull << 57)
#define UMEM_PM_EXCLUSIVE (1ull << 56)
#define UMEM_PM_SOFT_DIRTY (1ull << 55)
/** UMEM_PM_PFN_MASK - frame number of a present page; 0 to readers without CAP_SYS_ADMIN. */
#define UMEM_PM_PFN_MASK ((1ull << 55) - 1)
/** UMEM_PM_MARKER_TYPE - the swap type of a mark, which is no swap (MAX_SWAPFILES_SHIFT is 5). */
#define UMEM_PM_MARKER_TYPE 31u
/** UMEM_PM_SWAP_TYPE - swap type of a swapped word; 0 to readers without CAP_SYS_ADMIN. */
#define UMEM_PM_SWAP_TYPE(word) ((unsigned)((word) & 31))

/**
 * umem_pagemap_words - the classic words of pages.
 * @start: address of the first page.
 * @words: @n_words of them, one a base page.
 * @ret_n: how many were read; less than @n_words at the end of the memory.
 *
 * Return: 0, -ESRCH when the memory is gone, or -errno of pread(2).
 */
int umem_pagemap_words(int fd, uint64_t start, uint64_t *words, size_t n_words,
	size_t *ret_n);

#endif
