/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of each region is in memory and how much is swapped, and what the
 * kernel's flags say about watching it. One look at smaps; nothing is brought
 * in, no thread is stopped.
 */
#ifndef UMEM_MEM_RESIDENT_H
#define UMEM_MEM_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/kern/smaps.h"
#include "lib/mem/target.h"

/**
 * struct umem_resident - what is known of one region.
 * @known: it was found; otherwise it changed while we looked, all else is 0.
 * @resident_bytes: mapped by its page table; the shared zero page is not counted.
 * @swapped_bytes: on a swap device; see struct umem_smap.
 * @page_size_bytes: granule in which it is mapped.
 * @untrackable: why no userfaultfd of ours could watch it (static text), or NULL.
 */
struct umem_resident {
	bool known;
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
	uint64_t page_size_bytes;
	const char *untrackable;
};

/**
 * umem_resident_read - look at all mappings of @target now.
 * @smaps: overwritten; kept by the caller for umem_resident_of().
 *
 * Return: 0, UMEM_GONE, -EACCES or -EPERM, -ENOMEM, -EBADMSG.
 */
int umem_resident_read(const struct umem_target *target, struct umem_smaps *smaps,
	struct umem_note *note);

/** umem_resident_of - what that look says about @region. */
struct umem_resident umem_resident_of(const struct umem_smaps *smaps,
	const struct umem_region *region);

#endif
