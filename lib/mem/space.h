/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The address space of a target: its regions, and how they change.
 *
 * A space is a sorted array of regions that is refreshed against the live map;
 * the refresh says what appeared and what vanished since the last one. State
 * of a region (registered, untrackable) is carried over where the same object
 * is still mapped at the same address. One owner, no locks.
 */
#ifndef UMEM_MEM_SPACE_H
#define UMEM_MEM_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/ranges.h"
#include "lib/mem/region.h"

/**
 * struct umem_space - regions of a target; all zero is empty.
 * @v, @n: regions, ascending.
 * @before, @n_before: the regions before the last refresh, to look at once more.
 * @room, @before_room, @maps, @now: private to space.c.
 */
struct umem_space {
	struct umem_region *v;
	size_t n;
	size_t room;
	struct umem_region *before;
	size_t n_before;
	size_t before_room;
	struct umem_maps maps[2];
	unsigned now;
};

/** umem_space_deinit - free what the space owns and make it empty. */
void umem_space_deinit(struct umem_space *space);

/**
 * umem_space_refresh - read the live map and compare.
 * @ask, @user: who knows what the file behind a mapping is; NULL: nobody (tests).
 * @maps_fd: of umem_maps_open().
 * @method: how to read it.
 * @appeared: overwritten: addresses that map something they did not map before.
 * @vanished: overwritten: addresses that no longer map what they did. A
 *            replaced mapping is in both.
 *
 * Return: 0; UMEM_GONE when the memory exists no longer; -errno as
 * umem_maps_read(), the space then unchanged.
 */
int umem_space_refresh(struct umem_space *space, umem_ask_backing *ask, const void *user,
	int maps_fd, enum umem_maps_method method, struct umem_ranges *appeared,
	struct umem_ranges *vanished);

/** umem_space_find - the region that holds @addr, or NULL. */
struct umem_region *umem_space_find(struct umem_space *space, uint64_t addr);

/** umem_space_first - index of the first region that ends past @addr; @n if none. */
size_t umem_space_first(const struct umem_space *space, uint64_t addr);

/** umem_space_unregister - the regions of @range turned out not to be registered. */
void umem_space_unregister(struct umem_space *space, const struct umem_range *range);

/** umem_space_mapped - is any byte of [@start, @end) mapped? */
bool umem_space_mapped(const struct umem_space *space, uint64_t start, uint64_t end);

#endif
