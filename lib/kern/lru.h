/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's lists of pages for reclaim.
 */
#ifndef UMEM_KERN_LRU_H
#define UMEM_KERN_LRU_H

/**
 * umem_lru_drain - have all processors put the pages of their batches on the lists.
 *
 * A page that was touched lately waits in a batch of the processor it was touched
 * on (up to 31 pages in each), and reclaim passes it over: MADV_PAGEOUT empties the
 * batches of the processor it runs on only. Every processor that has such pages is
 * interrupted. Blocks for some 70 us on two processors; the kernel decides whether it
 * works (move_pages(2) of no page begins with it, do_pages_move() in mm/migrate.c), so
 * that it cannot fail.
 */
void umem_lru_drain(void);

#endif
