// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshot by fork: a child of each member, made by injection, is read and ended.
 *
 * Theory of operation
 *
 *     running   helpers are started; which mappings are wiped in a child
 *     stopped   a child of each, while all threads stand; read what no child has a
 *               copy of: shared memory, mappings that are left out of a child or
 *               wiped in it, what the kernel shares; registers
 *     running   what was read; then all private memory, from the child; the child
 *               is ended
 *
 * The stop is as long as it takes to copy the page tables (25 ms a GiB of small
 * pages), and the shared memory. Swapped pages are brought in for the child alone.
 */
#include "lib/op/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/inject_fork.h"
#include "lib/kern/smaps.h"

#define STOP_DEADLINE_NS 10000000000u

/* Room for what is read within the stop. */
#define STAGE_BYTES (16ull << 20)
#define STAGE_RUNS  4096

/**
 * struct forks - the children of one snapshot.
 * @v: a child of each live member.
 * @wiped: of each, what is wiped in its child.
 * @own: of each, what is read from the member itself.
 * @n: how many.
 */
struct forks {
	struct umem_fork **v;
	struct umem_ranges *wiped;
	struct umem_ranges *own;
	size_t n;
};

static void forks_deinit(struct forks *f)
{
	for (size_t i = 0; i < f->n; i++) {
		umem_fork_free(f->v[i]);
		umem_ranges_deinit(&f->wiped[i]);
		umem_ranges_deinit(&f->own[i]);
	}
	free(f->v);
	free(f->wiped);
	free(f->own);
}

/* Mappings that a child does not get the content of. */
static int find_wiped(const struct umem_target *target, struct umem_ranges *ret_wiped)
{
	UMEM_CLEANUP(umem_smaps_deinit) struct umem_smaps smaps = { 0 };
	int r = umem_smaps_read(target->proc_fd, &smaps);

	for (size_t i = 0; i < smaps.n && r == 0; i++)
		if (smaps.v[i].flags & UMEM_SMAP_WIPED)
			r = umem_ranges_add(ret_wiped, smaps.v[i].start, smaps.v[i].end);
	return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
}

static int begin(struct umem_snapshotter *s, struct forks *f, struct umem_note *note)
{
	int r = 0;

	f->v = calloc(s->n, sizeof(struct umem_fork *));
	f->wiped = calloc(s->n, sizeof(*f->wiped));
	f->own = calloc(s->n, sizeof(*f->own));
	if (!f->v || !f->wiped || !f->own)
		return -ENOMEM;
	for umem_each_member(s, m) {
		m->frozen = f->n;
		if (r == 0)
			r = umem_fork_new(m->pid, m->target->pidfd, &f->v[f->n], note);
		if (r == 0) {
			f->n++;
			r = find_wiped(m->target, &f->wiped[m->frozen]);
			if (r == 0)
				r = umem_snapshot_find_huge(m);
		}
		r = umem_snapshot_result(s, m, r);
	}
	/* Behind it: the helpers have a copy of what is there before. */
	for umem_each_member(s, m)
		if (r == 0)
			r = umem_stage_reserve(&m->stage, STAGE_BYTES, STAGE_RUNS);
	return r;
}

static bool is_private(const struct umem_region *region)
{
	return region->kind == UMEM_KIND_ANON || region->kind == UMEM_KIND_FILE_PRIVATE ||
		region->kind == UMEM_KIND_HUGETLB;
}

/* What the child has no copy of: not private, or not mapped in it, or wiped. */
static int find_own(const struct umem_snapshotter *s, const struct umem_target *target,
	int child, const struct umem_ranges *wiped, struct umem_ranges *ret_own)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges copied = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges mapped = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges all = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges own = { 0 };
	UMEM_CLEANUP(umem_maps_deinit) struct umem_maps maps = { 0 };
	UMEM_FD int fd = -1;
	int r = umem_maps_open(child, &fd);

	if (r == 0)
		r = umem_maps_read(fd, UMEM_MAPS_AUTO, &maps);
	for (size_t i = 0; i < maps.n && r == 0; i++)
		r = umem_ranges_add(&mapped, maps.v[i].start, maps.v[i].end);
	for (size_t i = 0; i < target->space.n && r == 0; i++) {
		const struct umem_region *g = &target->space.v[i];

		r = umem_ranges_add(&all, g->start, g->end);
		if (r == 0 && is_private(g))
			r = umem_ranges_add(&copied, g->start, g->end);
	}
	for (size_t i = 0; i < wiped->n && r == 0; i++)
		r = umem_ranges_sub(&mapped, wiped->v[i].start, wiped->v[i].end);
	if (r == 0)
		r = umem_ranges_intersect(&copied, &mapped, &own);
	umem_ranges_clear(&copied);
	if (r == 0)
		r = umem_ranges_subtract(&all, &own, &copied);
	return r == 0 ? umem_ranges_intersect(&copied, &s->selected, ret_own) : r;
}

/* All stand: read what the child has no copy of. */
static int read_within(struct umem_snapshotter *s, struct forks *f,
	struct umem_snapshot_member *m, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	struct umem_ranges *own = &f->own[m->frozen];
	int r = umem_target_refresh(m->target, &appeared, &vanished, note);

	if (r == 0)
		r = find_own(s, m->target, umem_fork_child(f->v[m->frozen]).pid,
			&f->wiped[m->frozen], own);
	if (r == 0)
		r = umem_content_find(m->target, own, &m->content, &m->why, note);
	if (r == 0)
		r = umem_copier_stage(&m->copier, &m->content.data, &m->stage);
	s->result.stopped_bytes += m->stage.used_bytes;
	return r;
}

static int describe(struct umem_snapshotter *s, struct forks *f)
{
	int r = umem_snapshot_describe(s);

	/* The one that made the child is not among those that are frozen. */
	for umem_each_member(s, m) {
		const struct umem_frozen_thread *thread = umem_fork_thread(f->v[m->frozen]);

		if (r == 0 && thread)
			r = umem_describe_thread(&m->description, thread);
	}
	return r;
}

static int stop(struct umem_snapshotter *s, struct forks *f, struct umem_note *note)
{
	uint64_t longest_ns = 0;
	int r;

	umem_urgent_begin(&s->urgent);
	r = umem_fork_stop(f->v, f->n, s->freeze, umem_now_ns() + STOP_DEADLINE_NS, note);

	if (r != 0)
		return r;
	r = umem_snapshot_name_workers(s);
	for umem_each_member(s, m)
		if (r == 0)
			r = read_within(s, f, m, note);
	if (r == 0)
		r = describe(s, f);
	for (size_t i = 0; i < f->n; i++) {
		int gone = umem_fork_go(f->v[i]);

		longest_ns = umem_max_u64(longest_ns, umem_fork_report(f->v[i]).stop_ns);
		if (gone == -EIO && r == 0)
			r = umem_note_set(note, -EIO, 0, "a helper that held pid %d was killed: "
				"take the snapshot again", s->v[0].pid);
	}
	r = umem_snapshot_go(s, r, note);
	s->result.pause_ns = umem_max_u64(s->result.pause_ns, longest_ns);
	return r;
}

/* A mapping that was made wiped at the last moment: what was in it is not known. */
static int check_wiped(struct umem_snapshot_member *m, const struct umem_target *child,
	const struct umem_ranges *known)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges wiped = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges more = { 0 };
	int r = find_wiped(child, &wiped);

	if (r == 0)
		r = umem_ranges_subtract(&wiped, known, &more);
	for (size_t i = 0; i < more.n && r == 0; i++) {
		r = umem_pageset_add(&m->content.blank, more.v[i].start, more.v[i].end);
		if (r == 0)
			r = umem_reasons_add(&m->why, more.v[i].start, more.v[i].end,
				"the child has zeros in its place (MADV_WIPEONFORK)");
	}
	return r;
}

/* Private memory, from the child. */
static int copy_child(struct umem_snapshotter *s, struct forks *f,
	struct umem_snapshot_member *m, struct umem_note *note)
{
	struct umem_attach_options options = {
		.size = sizeof(options),
		.feature_override = s->options.feature_override,
	};
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges rest = { 0 };
	UMEM_CLEANUP(umem_content_deinit) struct umem_content content = { 0 };
	UMEM_CLEANUP(umem_copier_deinit) struct umem_copier copier = { 0 };
	UMEM_CLEANUP(umem_target_freep) struct umem_target *child = NULL;
	int pid = umem_fork_child(f->v[m->frozen]).pid;
	int r = umem_target_open(pid, &options, &child, note);

	if (r == 0)
		r = umem_target_refresh(child, &appeared, &vanished, note);
	if (r == 0)
		r = check_wiped(m, child, &f->wiped[m->frozen]);
	if (r == 0)
		r = umem_ranges_subtract(&s->selected, &f->own[m->frozen], &rest);
	if (r == 0)
		r = umem_content_find(child, &rest, &content, &m->why, note);
	if (r == 0)
		r = umem_copier_init(&copier, child);
	if (r != 0)
		return r;
	umem_snapshot_begin_round(s, umem_pageset_bytes(&content.data));
	umem_copier_begin(&copier, s->writer, umem_snapshot_space(s, m), m->copier.compare, false);
	copier.step = m->copier.step;
	copier.user = m->copier.user;
	r = umem_copier_copy(&copier, &content.data);
	m->copier.read_bytes += copier.read_bytes;
	if (r == 0)
		r = umem_pageset_union(&m->copier.covered, &copier.covered);
	if (r == 0)
		r = umem_pageset_union(&m->copier.unreadable, &copier.unreadable);
	return r == 0 ? umem_pageset_union(&m->content.blank, &content.blank) : r;
}

static int copy(struct umem_snapshotter *s, struct forks *f, struct umem_note *note)
{
	int r = begin(s, f, note);

	if (r == 0)
		r = stop(s, f, note);
	for umem_each_member(s, m) {
		if (r == 0)
			r = umem_copier_unstage(&m->copier, &m->stage, NULL);
		if (r == 0)
			r = umem_snapshot_put_back(m, &m->content.swapped);
		if (r == 0)
			r = copy_child(s, f, m, note);
	}
	return r;
}

static int take(struct umem_snapshotter *s, struct umem_note *note)
{
	struct forks f = { 0 };
	int r = umem_snapshot_go(s, copy(s, &f, note), note);

	/* The children go first: what they share cannot be made huge. */
	for (size_t i = 0; i < f.n; i++)
		f.v[i] = umem_fork_free(f.v[i]);
	for umem_each_member(s, m)
		umem_snapshot_restore_huge(m);
	forks_deinit(&f);
	return r;
}

const struct umem_snapshot_ops umem_snapshot_fork = {
	.method = UMEM_SNAPSHOT_FORK,
	.name = "fork",
	.prepare = umem_snapshot_open,
	.take = take,
};
