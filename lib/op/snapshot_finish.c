// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The end of a snapshot: everything is copied, the processes run on. What holds
 * nothing is put as zeros, what could not be read is named, the image is described
 * and committed.
 */
#include "lib/op/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "lib/base/clock.h"
#include "lib/mem/mappers.h"
#include "lib/op/watch.h"

/* What no copy covers and holds nothing reads as zeros. */
static int fill_zeros(struct umem_snapshotter *s, struct umem_snapshot_member *m)
{
	uint32_t space = umem_snapshot_space(s, m);
	const struct umem_image_process *p = &m->description.process;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset zeros = { 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = 0;

	for (size_t i = 0; i < p->n_regions && r == 0; i++)
		if (umem_kind_zero_filled((enum umem_kind)p->regions[i].kind))
			r = umem_pageset_add(&zeros, p->regions[i].start, p->regions[i].end);
	if (r == 0)
		r = umem_pageset_keep(&zeros, &s->selected);
	if (r == 0)
		r = umem_pageset_subtract(&zeros, &m->copier.covered);
	if (r == 0)
		r = umem_pageset_subtract(&zeros, &m->copier.unreadable);
	if (r == 0)
		r = umem_pageset_subtract(&zeros, &m->content.blank);
	if (r == 0)
		r = umem_pageset_walk(&zeros, &iter);
	if (r < 0)
		return r;
	s->result.zero_pages += umem_pageset_bytes(&zeros) >> UMEM_PAGE_SHIFT;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_image_put_zero(s->writer, space, run.start, run.end);
	umem_pageset_walk_end(&iter);
	return r;
}

/* Each page that could not be read is named, if it is mapped at the moment. */
static int name_unreadable(struct umem_snapshot_member *m)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges mapped = { 0 };
	const struct umem_image_process *p = &m->description.process;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = 0;

	for (size_t i = 0; i < p->n_regions && r == 0; i++)
		r = umem_ranges_add(&mapped, p->regions[i].start, p->regions[i].end);
	if (r == 0)
		r = umem_pageset_keep(&m->copier.unreadable, &mapped);
	if (r == 0)
		r = umem_pageset_walk(&m->copier.unreadable, &iter);
	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_reasons_add(&m->why, run.start, run.end,
			"not in the image: these pages of pid %d cannot be read from outside",
			m->pid);
	umem_pageset_walk_end(&iter);
	return r;
}

static bool is_member(void *user, int pid)
{
	const struct umem_snapshotter *s = user;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].pid == pid)
			return true;
	return false;
}

/*
 * Others, who did not stand still, may have written shared memory while it was read. Of
 * processes that may not be looked at it is assumed that they did not, as a watch does.
 */
static int name_writers(struct umem_snapshotter *s, struct umem_snapshot_member *m)
{
	UMEM_CLEANUP(umem_mappers_deinit) struct umem_mappers mappers = { 0 };
	const struct umem_mapper *mapper;
	int r = umem_mappers_begin(&mappers, m->target, &s->selected);

	while (r == 0) {
		r = umem_mappers_next(&mappers, is_member, s, &mapper);
		if (r <= 0)
			break;
		r = 0;
		for (size_t i = 0; i < mapper->written.n && r == 0; i++)
			r = umem_reasons_add(&m->why, mapper->written.v[i].start,
				mapper->written.v[i].end,
				"pid %d (%s) maps it too and may write it; " UMEM_SNAPSHOT_HINT,
				mapper->pid, mapper->stat.comm);
	}
	return r;
}

/* What is missing, for the image and for the caller. */
static int list_incomplete(struct umem_snapshotter *s, struct umem_image_incomplete **ret_v,
	size_t *ret_n)
{
	struct umem_image_incomplete *v;
	size_t n = 0, at = 0;
	int r = 0;

	for umem_each_member(s, m)
		n += m->why.n;
	v = calloc(umem_max_u64(n, 1), sizeof(*v));
	if (!v)
		return -ENOMEM;
	for umem_each_member(s, m) {
		for (size_t k = 0; k < m->why.n; k++)
			v[at++] = (struct umem_image_incomplete){
				.space = umem_snapshot_space(s, m),
				.start = m->why.v[k].start,
				.end = m->why.v[k].end,
				.reason = m->why.v[k].reason,
			};
		if (r == 0)
			r = umem_reasons_append(&s->incomplete, &m->why);
	}
	if (r < 0) {
		free(v);
		return r;
	}
	*ret_v = v;
	*ret_n = n;
	return 0;
}

static int describe_image(struct umem_snapshotter *s)
{
	UMEM_FREE struct umem_image_process *v = calloc(s->n + 1, sizeof(*v));
	UMEM_FREE struct umem_image_incomplete *why = NULL;
	struct utsname uts = { 0 };
	struct umem_image_info info = {
		.method = s->ops->name,
		.creator = "umemd " UMEMD_VERSION,
		.kernel = uts.release,
		.machine = uts.machine,
		.time_ns = s->moment_ns,
		.pause_ns = s->result.pause_ns,
		.total_ns = umem_now_ns() - s->start_ns,
		.rounds = s->round,
	};
	size_t n = 0;
	int r = v ? list_incomplete(s, &why, &info.n_incomplete) : -ENOMEM;

	if (r < 0)
		return r;
	info.complete = info.n_incomplete == 0;
	info.incomplete = why;
	for umem_each_member(s, m) {
		v[n] = m->description.process;
		v[n++].space = umem_snapshot_space(s, m);
	}
	uname(&uts);
	return umem_image_describe(s->writer, v, n, &info);
}

int umem_snapshot_finish(struct umem_snapshotter *s, struct umem_image_totals *ret_totals,
	struct umem_note *note)
{
	int r = 0;

	for umem_each_member(s, m) {
		if (r == 0)
			r = umem_describe_regions(&m->description, m->target, &s->selected);
		if (r == 0)
			r = name_unreadable(m);
		if (r == 0 && !s->ops->sees_writers)
			r = name_writers(s, m);
		if (r == 0)
			r = fill_zeros(s, m);
		s->result.pages += m->copier.read_bytes >> UMEM_PAGE_SHIFT;
	}
	/* Who ended meanwhile is not of the image. */
	for (size_t i = 0; i < s->n && r == 0; i++)
		if (s->v[i].ended)
			r = umem_image_drop(s->writer, (uint32_t)i, 0, UMEM_ADDRESS_END);
	if (r == 0)
		r = describe_image(s);
	return r == 0 ? umem_image_commit(s->writer, ret_totals, note) : r;
}
