/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which huge pages of the reserved pool an object holds (see
 * residency_object.h, method "continue").
 */
#ifndef UMEM_MEM_RESIDENCY_HUGE_H
#define UMEM_MEM_RESIDENCY_HUGE_H

#include "lib/mem/residency_object.h"

/**
 * umem_huge_open - get ready; @view has its fd and page size.
 * Return: 0; -EPERM, -ENOSYS, -EINVAL: this kernel or user has no userfaultfd
 * with minor faults of huge pages.
 */
int umem_huge_open(struct umem_object_view *view);

/** umem_huge_walk - as umem_object_walk(); @start and @end may lie within huge pages. */
int umem_huge_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk);

#endif
