// SPDX-License-Identifier: LGPL-2.1-or-later
/* Registering regions for asynchronous write protection, and why some cannot be. */
#include "lib/track/wp_async.h"

#include <errno.h>

#include "lib/kern/uffd.h"
#include "lib/track/exact.h"

/*
 * Memory that is not for us to register: the program's it is not, or the
 * kernel writes it through a mapping of its own, which no protection stops
 * (the run page of a KVM vCPU can be armed all the same).
 */
static const char *explain_kind(enum umem_kind kind)
{
	switch (kind) {
	case UMEM_KIND_KERNEL:
		return "not the program's memory";
	case UMEM_KIND_KERNEL_SHARED:
		return "written by the kernel itself";
	default:
		return NULL;
	}
}

/* Why the kernel refused to watch a region; static text. */
static const char *explain_register(const struct umem_region *region, int error)
{
	if (error == -EBUSY)
		return "another userfaultfd watches it";
	if (error == -ENOMEM)
		return "the process has too many mappings (vm.max_map_count)";
	switch (region->kind) {
	case UMEM_KIND_DEVICE:
		return "memory of a device";
	case UMEM_KIND_FILE_SHARED:
	case UMEM_KIND_SHMEM:
		if (!(region->vma_flags & UMEM_VMA_WRITE))
			return "shared read-only: it changes only from outside";
		break;
	default:
		break;
	}
	return error == -EPERM ? "its file may not be written" :
				 "this kind of mapping cannot be write-protected";
}

int umem_wp_async_register(struct umem_wp_async *self, struct umem_region *region,
	const struct umem_range *piece)
{
	struct umem_target *target = self->base.target;
	uint64_t start = target->adopted ? piece->start : region->start;
	uint64_t end = target->adopted ? piece->end : region->end;
	int r;

	if (region->untrackable || (region->registered && !target->adopted))
		return 0;
	region->untrackable = explain_kind(region->kind);
	if (region->untrackable)
		return 0;
	if (target->adopted)
		r = umem_uffd_register(target->uffd, start, end, UFFDIO_REGISTER_MODE_WP);
	else
		r = umem_register_exactly(target, target->uffd, start, end);
	if (r == UMEM_AGAIN)
		return r;
	/* A memory that is gone answers ENOMEM here (Linux 6.18), not ESRCH. */
	if (r == -ESRCH || (r == -ENOMEM && umem_target_gone(target)))
		return UMEM_GONE;
	if (r < 0)
		region->untrackable = explain_register(region, r);
	else
		region->registered = true;
	return 0;
}
