// SPDX-License-Identifier: LGPL-2.1-or-later
/* What can be scanned in one call, and which mappings are not ours any more. */
#include "lib/track/wp_async.h"

#include "lib/kern/pagemap.h"

/* Is everything that is mapped in [start, end) registered? */
static bool all_registered(const struct umem_space *space, uint64_t start, uint64_t end)
{
	for (size_t i = umem_space_first(space, start);
		i < space->n && space->v[i].start < end; i++)
		if (!space->v[i].registered)
			return false;
	return true;
}

int umem_wp_async_spans(struct umem_wp_async *self, const struct umem_ranges *ranges,
	bool registered)
{
	const struct umem_space *space = &self->base.target->space;

	umem_ranges_clear(&self->spans);
	for (size_t i = 0; i < ranges->n; i++) {
		const struct umem_range *a = &ranges->v[i];
		struct umem_range *last = self->spans.n ? &self->spans.v[self->spans.n - 1] : NULL;
		int r = 0;

		if (last && (registered ? all_registered(space, last->end, a->start) :
					  !umem_space_mapped(space, last->end, a->start)))
			last->end = a->end;
		else
			r = umem_ranges_add(&self->spans, a->start, a->end);
		if (r < 0)
			return r;
	}
	return 0;
}

int umem_wp_async_find_lost(struct umem_wp_async *self, const struct umem_range *span,
	struct umem_ranges *lost)
{
	struct umem_scan scan = {
		.at = span->start,
		.end = span->end,
		.inverted = PAGE_IS_WPALLOWED,
		.all = PAGE_IS_WPALLOWED,
		.wanted = PAGE_IS_WPALLOWED,
	};

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(self->base.target->pagemap_fd, &scan, self->vec,
			self->n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++)
			r = umem_ranges_add(lost, self->vec[i].start, self->vec[i].end);
		if (r < 0)
			return r;
	}
	return 0;
}
