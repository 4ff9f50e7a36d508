/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of ranges of an object is swapped, by what smaps says of mappings of
 * our own: a tenth of the price of cachestat(2) (see residency_object.h).
 */
#ifndef UMEM_MEM_RESIDENCY_SUMS_H
#define UMEM_MEM_RESIDENCY_SUMS_H

#include "lib/mem/residency_object.h"

/** UMEM_SUMS_MAX - ranges at a time. */
#define UMEM_SUMS_MAX 64

/** UMEM_SUMS_ALIGN - what ranges begin and end at: swap entries are no larger. */
#define UMEM_SUMS_ALIGN (2ull << 20)

/**
 * umem_sums_read - swapped bytes of ranges of an object.
 * @start: of the first, a multiple of UMEM_SUMS_ALIGN and not 0.
 * @len: of each, a multiple too.
 * @n: how many follow one another.
 * @ret_bytes: of each.
 *
 * Return: 0; -EOPNOTSUPP: it cannot be had like this, or would cost too much.
 */
int umem_sums_read(struct umem_object_view *view, uint64_t start, uint64_t len, size_t n,
	uint64_t *ret_bytes);

/**
 * umem_sums_any - is anything of the object swapped at all? The kernel has that as a
 * number. Asked once a view. Return: true when it cannot be told.
 */
bool umem_sums_any(struct umem_object_view *view);

#endif
