/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mappings of this process that have to do with putting out a target's shared memory:
 * those that are in the way, and one that is made to reach what nobody maps.
 */
#ifndef UMEM_OP_PAGEOUT_OWN_H
#define UMEM_OP_PAGEOUT_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kern/maps.h"
#include "lib/kern/smaps.h"
#include "lib/op/pages.h"

/**
 * struct umem_own - our own mappings.
 * @pagemap_fd: our page table, or -1.
 * @is_target: the target is this process.
 * @is_alone: this process maps nothing of the target's.
 * @region: the mapping of the target that was asked about last.
 * @maps: our mappings.
 * @smaps: the same with flags, if we map what @region shows; else empty.
 */
struct umem_own {
	int pagemap_fd;
	bool is_target;
	bool is_alone;
	const struct umem_region *region;
	struct umem_maps maps;
	struct umem_smaps smaps;
};

/** umem_own_init - begin a job on @target. */
void umem_own_init(struct umem_own *own, const struct umem_target *target);

/** umem_own_deinit - close and free what it owns. */
void umem_own_deinit(struct umem_own *own);

/**
 * umem_own_drop - take pages of the object behind @view out of our own page table.
 * @start, @end: addresses of the target.
 *
 * Our mappings stay, and the memory does; touching it maps it again. Mappings that a
 * userfaultfd watches, or that are locked, are left alone. Return: was there any page?
 */
bool umem_own_drop(struct umem_own *own, const struct umem_page_view *view, uint64_t start,
	uint64_t end);

/**
 * umem_own_put_out - put out pages that the target does not map, through a mapping of ours.
 * @addrs: @n of them, ascending, addresses of the target.
 * @ret_words: their words in our page table right before; 0 where it could not be mapped.
 *
 * A page that somebody else maps has no UMEM_PM_EXCLUSIVE, and stays. Nothing is left
 * mapped. Return: 0, -ENOMEM, -errno of mmap(2).
 */
int umem_own_put_out(struct umem_own *own, const struct umem_page_view *view,
	const uint64_t *addrs, size_t n, uint64_t *ret_words);

#endif
