// SPDX-License-Identifier: LGPL-2.1-or-later
/* How much of each region is in memory, and whether it could be watched. */
#include "lib/mem/resident.h"

#include <errno.h>
#include <string.h>

#include "lib/base/note.h"

int umem_resident_read(const struct umem_target *target, struct umem_smaps *smaps,
	struct umem_note *note)
{
	int r = umem_smaps_read(target->proc_fd, smaps);

	if (r == -ENOENT || r == -ESRCH) {
		umem_note_set(note, -ESRCH, 0, "process %d ended", target->pid);
		return UMEM_GONE;
	}
	return r < 0 ? umem_note_set(note, r, 0, "reading /proc/%d/smaps: %s", target->pid,
			       strerror(-r)) :
		       0;
}

/* What userfaultfd would refuse, from what is certain before it is tried. */
static const char *refusal(const struct umem_region *region, uint32_t flags)
{
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

struct umem_resident umem_resident_of(const struct umem_smaps *smaps,
	const struct umem_region *region)
{
	const struct umem_smap *smap = umem_smaps_find(smaps, region->start, region->end);

	if (!smap)
		return (struct umem_resident){
			.page_size_bytes = region->page_size_bytes,
			.untrackable = refusal(region, UMEM_SMAP_MAY_WRITE),
		};
	return (struct umem_resident){
		.known = true,
		.resident_bytes = smap->resident_bytes,
		.swapped_bytes = smap->swapped_bytes,
		.page_size_bytes = smap->page_size_bytes ? smap->page_size_bytes :
							   region->page_size_bytes,
		.untrackable = refusal(region, smap->flags),
	};
}
