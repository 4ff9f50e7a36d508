// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a snapshot found populated, what of it was lost, and what it cost. */
#include "lib/track/cow_own.h"

#include <errno.h>

#include "lib/base/note.h"

/* Hand on the pages of @view, with their address and state. Return: 0, or what @cb returned. */
static int each_page(const struct umem_cow_view *view,
	int (*cb)(void *user, uint64_t addr, enum umem_cow_state state), void *user)
{
	uint64_t n = (view->end - view->start) >> UMEM_PAGE_SHIFT;
	const struct umem_ranges *blocks = &view->part->blocks;
	int r = 0;

	for (size_t k = umem_ranges_find(blocks, view->page);
		k < blocks->n && blocks->v[k].start < view->page + n && r == 0; k++) {
		uint64_t from = umem_max_u64(blocks->v[k].start, view->page);
		uint64_t to = umem_min_u64(blocks->v[k].end, view->page + n);

		for (uint64_t p = from; p < to && r == 0; p++)
			r = cb(user, view->start + ((p - view->page) << UMEM_PAGE_SHIFT),
				umem_cow_state_of(view->part, p));
	}
	return r;
}

static int each_of(const struct umem_cow *cow, size_t member,
	int (*cb)(void *user, uint64_t addr, enum umem_cow_state state), void *user)
{
	const struct umem_cow_map *image = &cow->v[member].image;
	int r = 0;

	for (size_t i = 0; i < image->n && r == 0; i++)
		r = each_page(&image->v[i], cb, user);
	return r;
}

static int add_populated(void *user, uint64_t addr, enum umem_cow_state state)
{
	return state == UMEM_COW_EMPTY ? 0 :
					 umem_pageset_add(user, addr, addr + UMEM_PAGE_BYTES);
}

int umem_cow_populated(const struct umem_cow *cow, size_t member, struct umem_pageset *out)
{
	return each_of(cow, member, add_populated, out);
}

static const char *const reasons[UMEM_COW_N_STATES] = {
	[UMEM_COW_LOST_UNMAPPED] = "unmapped by the program before it was copied",
	[UMEM_COW_LOST_DISCARDED] =
		"discarded by the program before it was copied, in a way that does not wait",
	[UMEM_COW_LOST_CHANGED] =
		"found unprotected before it was copied (replaced, merged, or made a guard)",
	[UMEM_COW_LOST_UNREADABLE] = "cannot be read",
	[UMEM_COW_LOST_PUNCHED] = "punched out of its object before it was copied",
	[UMEM_COW_LOST_GONE] = "the process ended before it was copied",
};

static int add_lost(void *user, uint64_t addr, enum umem_cow_state state)
{
	return reasons[state] ? umem_reasons_add(user, addr, addr + UMEM_PAGE_BYTES, "%s",
					reasons[state]) :
				0;
}

int umem_cow_lost(const struct umem_cow *cow, size_t member, struct umem_reasons *out)
{
	const struct umem_cow_map *image = &cow->v[member].image;
	int r = each_of(cow, member, add_lost, out);

	for (size_t i = 0; i < image->n && r == 0; i++)
		if (atomic_load(&image->v[i].part->exposed))
			r = umem_reasons_add(out, image->v[i].start, image->v[i].end,
				"mapped anew by the program before it was copied; what was written "
				"through that is not held off");
	return r;
}

void umem_cow_say_gone(const struct umem_cow *cow, struct umem_note *note)
{
	const struct umem_target *target = cow->v[0].target;

	for (size_t i = 0; i < cow->n; i++)
		if (atomic_load(&cow->v[i].gone)) {
			target = cow->v[i].target;
			break;
		}
	umem_note_set(note, -ESRCH, 0, "process %d %s before all of its memory was copied",
		target->pid, umem_target_gone(target) ? "ended" : "executed another program");
}

void umem_cow_stats(const struct umem_cow *cow, struct umem_cow_stats *ret_stats)
{
	*ret_stats = cow->server.stats;
	ret_stats->n_swept = cow->sweep.n_done;
	ret_stats->n_protected = cow->n_protected;
	ret_stats->n_hot = cow->n_hot;
	ret_stats->moment_ns = cow->moment_ns;
}
