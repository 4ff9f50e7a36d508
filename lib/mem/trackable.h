/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a region can be watched, as far as the kernel's flags tell before it
 * is tried.
 */
#ifndef UMEM_MEM_TRACKABLE_H
#define UMEM_MEM_TRACKABLE_H

#include "lib/kern/smaps.h"
#include "lib/mem/region.h"

/**
 * umem_region_untrackable - why no userfaultfd of ours could watch @region.
 * @smap: its flags; NULL when it changed since they were read, and its kind alone
 *	decides.
 *
 * Return: static text, or NULL when one could.
 */
const char *umem_region_untrackable(const struct umem_region *region,
	const struct umem_smap *smap);

#endif
