// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Registering exactly what is mapped.
 *
 * The target maps and unmaps meanwhile. Registering what is there no longer would divide
 * the mapping that is there now, and a mremap(2) of the target over both parts fails
 * with EFAULT. So the borders are looked at right before and right after (PROCMAP_QUERY,
 * about a microsecond each): what is not as it was is given back, and left to the next
 * look at the mappings.
 */
#include "lib/track/exact.h"

#include <errno.h>

#include "lib/kern/maps.h"
#include "lib/kern/uffd.h"

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

int umem_register_exactly(const struct umem_target *target, int uffd, uint64_t start,
	uint64_t end)
{
	struct borders before, after;
	bool looks = umem_feats_has(&target->feats, UMEM_FEAT_PROCMAP_QUERY) &&
		look_at_borders(target, start, end, &before) == 0;
	int r;

	if (looks && (before.itself.start != start || before.itself.end != end))
		return UMEM_AGAIN;
	r = umem_uffd_register(uffd, start, end, UFFDIO_REGISTER_MODE_WP);
	if (r < 0 || !looks || look_at_borders(target, start, end, &after) < 0)
		return r;
	/* Neighbours that are registered, too, may have become one with it. */
	if ((after.below.end > start || same_border(&before.below, &after.below)) &&
		(after.behind.start < end || same_border(&before.behind, &after.behind)))
		return 0;
	umem_uffd_unregister(uffd, start, end);
	return UMEM_AGAIN;
}
