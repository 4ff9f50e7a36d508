/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of one mapping: page tables and object put together.
 */
#ifndef UMEM_MEM_RESIDENCY_REGION_H
#define UMEM_MEM_RESIDENCY_REGION_H

#include "lib/mem/residency_reader.h"

/**
 * umem_region_residency - the states of the pages of [@start, @end) of a region.
 * @each, @user: get them; @each may be NULL.
 * @ret_about: everything but @kind and @path.
 *
 * Return: 0, what @each returned, UMEM_GONE, -ENOMEM, -errno.
 */
int umem_region_residency(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, umem_walk_each each, void *user,
	struct umem_residency_region *ret_about);

/**
 * umem_region_confirm - hold what was said of a region against smaps once more.
 * @about: of umem_region_residency(); may not be exact any more.
 *
 * For all regions, when all are done and @reader->unconfirmed is set, after
 * umem_reader_smaps_again().
 */
void umem_region_confirm(struct umem_regions_reader *reader, const struct umem_region *region,
	struct umem_residency_region *about);

#endif
