// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which pages of a target are written within a time. */
#include "lib/op/unwritten.h"

#include "lib/op/watch.h"

void umem_unwritten_deinit(struct umem_unwritten *unwritten)
{
	umem_pageset_deinit(&unwritten->written);
	umem_pageset_deinit(&unwritten->unwatched);
	umem_reasons_deinit(&unwritten->unseen);
}

static int note_written(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct umem_unwritten *unwritten = user;

	return why == UMEM_WHY_PINNED ? 0 : umem_pageset_add(&unwritten->written, start, end);
}

/* What was not watched, or not all of it. */
static int note_unwatched(const struct umem_target *target, const struct umem_round *round,
	struct umem_unwritten *unwritten)
{
	int r = 0;

	for (size_t i = 0; i < target->space.n && r == 0; i++)
		if (!target->space.v[i].registered)
			r = umem_pageset_add(&unwritten->unwatched, target->space.v[i].start,
				target->space.v[i].end);
	for (size_t i = 0; i < round->n_incomplete && r == 0; i++) {
		const struct umem_reason *reason = &round->incomplete[i];

		if (reason->end != UINT64_MAX)
			r = umem_pageset_add(&unwritten->unwatched, reason->start, reason->end);
		else
			r = umem_reasons_add(&unwritten->unseen, 0, UINT64_MAX, "%s",
				reason->reason);
	}
	return r;
}

int umem_unwritten_find(struct umem_target *target, const struct umem_range *regions,
	size_t n_regions, int (*wait)(void *user), void *user, struct umem_unwritten *unwritten,
	struct umem_note *note)
{
	const struct umem_watch_options options = {
		.size = sizeof(options),
		.regions = regions,
		.n_regions = n_regions,
	};
	const struct umem_round *round;
	struct umem_watch *watch = NULL;
	int r = umem_watch_new(target, &options, &watch, note);

	/* The first round is what came before. */
	if (r == 0)
		r = umem_watch_collect(watch, &round, note);
	if (r == 0)
		r = wait(user);
	if (r == 0)
		r = umem_watch_collect(watch, &round, note);
	if (r == 0)
		r = umem_watch_each(watch, note_written, unwritten);
	if (r == 0)
		r = note_unwatched(target, round, unwritten);
	umem_watch_free(watch);
	return r;
}
