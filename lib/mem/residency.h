/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of a residency map (see <umemd/residency.h>).
 */
#ifndef UMEM_MEM_RESIDENCY_H
#define UMEM_MEM_RESIDENCY_H

#include <umemd/residency.h>

#include "lib/base/attr.h"
#include "lib/base/ranges.h"
#include "lib/mem/pageset.h"
#include "lib/mem/residency_region.h"
#include "lib/mem/space.h"

/**
 * struct umem_residency - a map.
 * @target: the caller's.
 * @only: addresses to look at; empty means all.
 * @space: the mappings that were looked at; the map's own, so that a watch of the
 *	same target is not disturbed.
 * @reader: how they are read.
 * @sets: pages by state; untouched ones are in none.
 * @v, @n, @room: what is known of each mapping.
 */
struct umem_residency {
	struct umem_target *target;
	struct umem_ranges only;
	struct umem_space space;
	struct umem_regions_reader reader;
	struct umem_pageset sets[UMEM_N_STATES];
	struct umem_residency_region *v;
	size_t n;
	size_t room;
};

UMEM_DEFINE_CLEANUP(struct umem_residency, umem_residency_free)

/**
 * umem_residency_pages - the pages of a map that are in @state (not untouched).
 * Owned by the map; valid until the next refresh. The caller may change it.
 */
struct umem_pageset *umem_residency_pages(struct umem_residency *map, enum umem_state state);

/**
 * umem_residency_rough - look roughly at anonymous memory from now on, or exactly again.
 *
 * Swap entries are not told from marks then, nor from pages that the kernel is moving at
 * the moment. It costs a scan alone, whatever is swapped: for who looks all the time,
 * at memory that nobody marks. Such regions are not exact.
 */
void umem_residency_rough(struct umem_residency *map, bool rough);

/**
 * umem_residency_widen - make ranges such that no huge page is cut in two, which is in one
 * state as a whole.
 * @space: of the target.
 * Return: 0 or -ENOMEM.
 */
int umem_residency_widen(struct umem_space *space, struct umem_ranges *ranges);

/** umem_residency_region_at - the mapping that @v[@i] of the map is a part of. */
const struct umem_region *umem_residency_region_at(struct umem_residency *map, size_t i);

#endif
