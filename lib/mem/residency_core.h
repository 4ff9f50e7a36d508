/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What mincore(2) and SEEK_DATA say of an object (see residency_object.h). Both
 * are cheap, and neither is the truth: the swap cache counts as memory, a page
 * that was allocated and never written as nothing.
 */
#ifndef UMEM_MEM_RESIDENCY_CORE_H
#define UMEM_MEM_RESIDENCY_CORE_H

#include "lib/mem/residency_object.h"

/** UMEM_CORE_BYTES, UMEM_CORE_PAGES - the most that is looked at with one call. */
#define UMEM_CORE_BYTES (2ull << 20)
#define UMEM_CORE_PAGES 512

/**
 * umem_core_tells - does mincore(2) tell this process of @fd? It calls all pages
 * in memory for those who could not write the file and do not own it.
 */
bool umem_core_tells(int fd);

/**
 * umem_core_look - one byte a page of [@start, @end), at most UMEM_CORE_BYTES: is it
 * in memory? Maps the object, touches nothing. Return: pages that are, or -1.
 */
int64_t umem_core_look(struct umem_object_view *view, uint64_t start, uint64_t end,
	unsigned char in[UMEM_CORE_PAGES]);

/** umem_core_walk - as umem_object_walk(), by both. Return: also -EPERM: it does not tell. */
int umem_core_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk);

#endif
