/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Idle page tracking: one bit a page frame in /sys/kernel/mm/page_idle/bitmap
 * (CONFIG_IDLE_PAGE_TRACKING, root only), see
 * Documentation/admin-guide/mm/idle_page_tracking.rst.
 *
 * A bit is set by us and cleared by the kernel when the frame is accessed. What
 * mm/page_idle.c makes of that (read, not run: no kernel at hand has the file; tests
 * run against a file system that behaves as told here):
 *
 * - Writing takes the accessed bits of all mappings of a frame whose bit is 1 in
 *   what is written; 0 leaves a frame alone. Never write what was read: the
 *   frames of others would be marked anew, and their accesses lost.
 * - Reading a word looks at all 64 frames of it, also at those of others. That
 *   takes nothing from them: an access that is found clears the idle bit.
 * - Only a frame on a list of the reclaimer (LRU) can be marked. For others a
 *   mark is ignored without an error, and they never read as idle: the huge pages
 *   of the reserved pool, pages of drivers, and what was faulted in just now
 *   (umem_lru_drain()).
 * - A large page has one bit, that of its head frame (KPF_COMPOUND_HEAD). The bits
 *   of its other frames stay 0 whatever is written.
 * - Past the last frame a write gives ENXIO and a read 0 bytes; so does a last word
 *   that is not whole, whose frames can never be seen idle.
 * - Accessed bits are taken without flushing the processors' page-table caches (x86):
 *   a page that stays cached there for the whole time between mark and read is
 *   taken for idle. Not for intervals of less than a second.
 * - Writes of devices (DMA to pinned pages) are not accesses.
 * - MADV_PAGEOUT and MADV_COLD take accessed bits without clearing the idle bit:
 *   what was tried to page out and stayed reads as idle whatever it did before.
 *
 * Who marks also decides how long an interval is for everybody else: a frame has
 * one bit. DAMON uses the same one. Nothing here blocks.
 */
#ifndef UMEM_KERN_PAGEIDLE_H
#define UMEM_KERN_PAGEIDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * umem_pageidle_open - open the bitmap.
 * @sys: "/sys", or what stands in for it; NULL is the former.
 *
 * Return: 0, -ENOENT when the kernel has none, -EACCES, -EMFILE.
 */
int umem_pageidle_open(const char *sys, int *ret_fd);

/**
 * umem_pageidle_mark - set the bits of frames.
 * @pfns: @n frame numbers, in any order, also repeated. Those that do not exist,
 *	or cannot be marked, are passed over.
 *
 * Frames of one word and of the words next to it go in one call. Return: 0, or
 * -errno of pwrite(2); then a part is marked.
 */
int umem_pageidle_mark(int fd, const uint64_t *pfns, size_t n);

/**
 * umem_pageidle_read - which frames were not accessed since they were marked?
 * @pfns: as in umem_pageidle_mark().
 * @ret_idle: @n answers, in the order of @pfns. False says little: accessed, never
 *	marked, or not possible to mark.
 *
 * Return: 0, or -errno of pread(2); then @ret_idle is in part written.
 */
int umem_pageidle_read(int fd, const uint64_t *pfns, size_t n, bool *ret_idle);

#endif
