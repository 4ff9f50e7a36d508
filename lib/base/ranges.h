/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sorted sets of address ranges, with set algebra.
 *
 * A set is an array of half-open ranges that are sorted, disjoint and never
 * touch (touching ranges are merged). Binary operations are linear in the
 * number of ranges of both sides. No locks; one owner.
 */
#ifndef UMEM_BASE_RANGES_H
#define UMEM_BASE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

/**
 * struct umem_ranges - a set of ranges; all zero is the empty set.
 * @v: the ranges, @n of them.
 * @n: how many.
 * @room: how many @v has room for.
 */
struct umem_ranges {
	struct umem_range *v;
	size_t n;
	size_t room;
};

/** umem_ranges_deinit - free what the set owns and make it empty. */
void umem_ranges_deinit(struct umem_ranges *set);

/** umem_ranges_clear - make the set empty, keep its memory. */
static inline void umem_ranges_clear(struct umem_ranges *set)
{
	set->n = 0;
}

/**
 * umem_ranges_add - put [@start, @end) into the set; empty ranges are ignored.
 * In ascending order this is a constant-time append. Return: 0 or -ENOMEM.
 */
int umem_ranges_add(struct umem_ranges *set, uint64_t start, uint64_t end);

/** umem_ranges_sub - take [@start, @end) out of the set. Return: 0 or -ENOMEM. */
int umem_ranges_sub(struct umem_ranges *set, uint64_t start, uint64_t end);

/** umem_ranges_union - *@ret_set = a or b. Neither side may be *@ret_set. Return: 0 or -ENOMEM. */
int umem_ranges_union(const struct umem_ranges *a, const struct umem_ranges *b,
	struct umem_ranges *ret_set);

/** umem_ranges_intersect - *@ret_set = a and b; as umem_ranges_union(). */
int umem_ranges_intersect(const struct umem_ranges *a, const struct umem_ranges *b,
	struct umem_ranges *ret_set);

/** umem_ranges_subtract - *@ret_set = a without b; as umem_ranges_union(). */
int umem_ranges_subtract(const struct umem_ranges *a, const struct umem_ranges *b,
	struct umem_ranges *ret_set);

/** umem_ranges_find - index of the first range whose end is past @addr; @n if none. */
size_t umem_ranges_find(const struct umem_ranges *set, uint64_t addr);

/** umem_ranges_has - is @addr in the set? */
bool umem_ranges_has(const struct umem_ranges *set, uint64_t addr);

/** umem_ranges_overlaps - has the set an address of [@start, @end)? */
bool umem_ranges_overlaps(const struct umem_ranges *set, uint64_t start, uint64_t end);

/** umem_ranges_bytes - sum of the lengths. */
uint64_t umem_ranges_bytes(const struct umem_ranges *set);

#endif
