// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Registering regions for asynchronous write protection, and why some cannot be.
 *
 * The target maps and unmaps meanwhile. Registering what is there no longer would divide
 * the mapping that is there now, and a mremap(2) of the target over both parts fails
 * with EFAULT. So the borders are looked at right before and right after (PROCMAP_QUERY,
 * about a microsecond each): what is not as it was is given back, and left to the next
 * collect.
 */
#include "lib/track/wp_async.h"

#include <errno.h>

#include "lib/kern/uffd.h"

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

/** struct borders - what lies around a region: below it, it, and behind it. */
struct borders {
	struct umem_range below;
	struct umem_range itself;
	struct umem_range behind;
};

/* Return: 0; -ENOTTY: the kernel does not tell. */
static int look_at_borders(const struct umem_target *target, uint64_t start, uint64_t end,
	struct borders *ret_borders)
{
	struct borders b = { 0 };
	int r = umem_maps_at(target->maps_fd, start, &b.itself);

	if (r == 0 && start > 0)
		r = umem_maps_at(target->maps_fd, start - 1, &b.below);
	/* Behind the last one there is none. */
	if (r == 0 && umem_maps_at(target->maps_fd, end, &b.behind) < 0)
		b.behind = (struct umem_range){ 0 };
	*ret_borders = b;
	return r == -ENOTTY ? r : 0;
}

static bool same_border(const struct umem_range *a, const struct umem_range *b)
{
	return a->start == b->start && a->end == b->end;
}

/* Register exactly what is mapped. Return: 0, UMEM_AGAIN: something else is by now; -errno. */
static int register_exactly(struct umem_target *target, uint64_t start, uint64_t end)
{
	struct borders before, after;
	bool looks = !target->adopted && umem_feats_has(&target->feats, UMEM_FEAT_PROCMAP_QUERY) &&
		look_at_borders(target, start, end, &before) == 0;
	int r;

	if (looks && (before.itself.start != start || before.itself.end != end))
		return UMEM_AGAIN;
	r = umem_uffd_register(target->uffd, start, end, UFFDIO_REGISTER_MODE_WP);
	if (r < 0 || !looks || look_at_borders(target, start, end, &after) < 0)
		return r;
	/* Neighbours that are registered, too, may have become one with it. */
	if ((after.below.end > start || same_border(&before.below, &after.below)) &&
		(after.behind.start < end || same_border(&before.behind, &after.behind)))
		return 0;
	umem_uffd_unregister(target->uffd, start, end);
	return UMEM_AGAIN;
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
	r = register_exactly(target, start, end);
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
