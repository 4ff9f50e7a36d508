// SPDX-License-Identifier: LGPL-2.1-or-later
/* What userfaultfd would refuse, from what is certain before it is tried. */
#include "lib/mem/trackable.h"

#include <stddef.h>

const char *umem_region_untrackable(const struct umem_region *region,
	const struct umem_smap *smap)
{
	uint32_t flags = smap ? smap->flags : UMEM_SMAP_MAY_WRITE;

	switch (region->kind) {
	case UMEM_KIND_KERNEL:
		return "not the program's memory";
	case UMEM_KIND_KERNEL_SHARED:
		return "written by the kernel itself";
	case UMEM_KIND_DEVICE:
		return "memory of a device";
	default:
		break;
	}
	if (flags & UMEM_SMAP_UFFD)
		return "another userfaultfd watches it";
	if (flags & UMEM_SMAP_DROPPABLE)
		return "the kernel may drop its content";
	if (flags & UMEM_SMAP_SHADOW)
		return "a shadow stack";
	/* Huge pages carry a flag of special mappings, but are none. */
	if ((flags & UMEM_SMAP_SPECIAL) && !(flags & UMEM_SMAP_HUGETLB))
		return "a special mapping of a driver";
	if (!(flags & UMEM_SMAP_MAY_WRITE))
		return umem_kind_shared(region->kind) ?
			"shared read-only: it changes only from outside" :
			"can never be made writable";
	return NULL;
}
