// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshots: life cycle, and what all methods share.
 *
 * Theory of operation
 *
 *     new      open the members, choose a method, prepare it (attach)
 *     take     image <- method's take: copy, stop, the rest, go on, write out
 *              fill: what holds nothing reads as zeros
 *              commit: the file appears whole, or not at all
 *     free     detach
 *
 * The image is of one moment in the middle of the stop, or at its end:
 *
 *     time      ---- copying ----|stop|------- copying -------
 *     precopy   rounds            rest  write out
 *     freeze                      all
 *     cow                         -     each page before its first write
 *     fork                        fork  from the child
 *
 * Nothing of a failure reaches the members: what stops them is given back on
 * every way out (and by the kernel when this process dies), and a writer without
 * a commit leaves no file.
 *
 * What is in no set of a method at the end, and lies in memory that reads as
 * zeros where nothing is, is put as zeros. What could not be read stays out of
 * the image and is named.
 */
#include "lib/op/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/op/snapshot_choose.h"
#include "lib/op/snapshot_tree.h"
#include "lib/op/watch.h"

/* Give up when a thread does not stop within this time. */
#define STOP_DEADLINE_NS 5000000000u

UMEM_DEFINE_CLEANUP(struct umem_snapshotter, umem_snapshotter_free)
UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)

static const char *const method_names[UMEM_N_SNAPSHOT_METHODS] = {
	[UMEM_SNAPSHOT_AUTO] = "auto",
	[UMEM_SNAPSHOT_PRECOPY] = "precopy",
	[UMEM_SNAPSHOT_COW] = "cow",
	[UMEM_SNAPSHOT_FORK] = "fork",
	[UMEM_SNAPSHOT_FREEZE] = "freeze",
};

const char *umem_snapshot_method_name(enum umem_snapshot_method method)
{
	return method_names[method];
}

void umem_snapshot_detach(struct umem_snapshot_member *m)
{
	umem_copier_deinit(&m->copier);
	m->watch = umem_watch_free(m->watch);
	m->target = umem_target_free(m->target);
}

static int open_member(struct umem_snapshotter *s, struct umem_snapshot_member *m,
	struct umem_note *note)
{
	struct umem_attach_options options = {
		.size = sizeof(options),
		.feature_override = s->options.feature_override,
	};
	int r = 0;

	if (!m->target)
		r = umem_target_open(m->pid, &options, &m->target, note);
	if (r == 0 && !m->copier.target)
		r = umem_copier_init(&m->copier, m->target);
	return r;
}

int umem_snapshot_open(struct umem_snapshotter *s, struct umem_note *note)
{
	int r = 0;

	for umem_each_member(s, m)
		if (r == 0)
			r = umem_snapshot_result(s, m, open_member(s, m, note));
	return r;
}

static void member_deinit(struct umem_snapshot_member *m)
{
	umem_snapshot_detach(m);
	umem_content_deinit(&m->content);
	umem_stage_deinit(&m->stage);
	umem_pageset_deinit(&m->dirty);
	umem_pageset_deinit(&m->gone);
	umem_ranges_deinit(&m->unwatched);
	umem_ranges_deinit(&m->huge);
	umem_reasons_deinit(&m->why);
	umem_description_deinit(&m->description);
}

struct umem_snapshotter *umem_snapshotter_free(struct umem_snapshotter *s)
{
	if (!s)
		return NULL;
	umem_freeze_free(s->freeze);
	umem_image_writer_free(s->writer);
	if (s->ops && s->ops->release)
		s->ops->release(s);
	for (size_t i = 0; i < s->n; i++)
		member_deinit(&s->v[i]);
	free(s->v);
	free(s->pids);
	umem_ranges_deinit(&s->selected);
	umem_reasons_deinit(&s->incomplete);
	free(s);
	return NULL;
}

struct umem_snapshot_member *umem_snapshot_next(struct umem_snapshotter *s,
	struct umem_snapshot_member *m)
{
	for (m = m ? m + 1 : s->v; m < s->v + s->n; m++)
		if (!m->ended)
			return m;
	return NULL;
}

int umem_snapshot_result(struct umem_snapshotter *s, struct umem_snapshot_member *m, int r)
{
	if (r != UMEM_GONE || m == s->v)
		return r;
	m->ended = true;
	return 0;
}

int umem_snapshot_name_workers(struct umem_snapshotter *s)
{
	int r = 0;

	for umem_each_member(s, m) {
		struct umem_freeze_count count;

		umem_freeze_count(s->freeze, m->frozen, &count);
		for (int k = 0; k < UMEM_FREEZE_N_WORKERS && r == 0; k++)
			if (count.n_workers[k])
				r = umem_reasons_add(&m->why, 0, UINT64_MAX,
					"%zu threads of the kernel in pid %d could not be stopped, "
					"and may have written: %s", count.n_workers[k], m->pid,
					umem_freeze_worker_name((enum umem_freeze_worker)k));
	}
	return r;
}

int umem_snapshot_stop(struct umem_snapshotter *s, struct umem_note *note)
{
	UMEM_FREE struct umem_freeze_process *v = calloc(s->n, sizeof(*v));
	UMEM_FREE struct umem_snapshot_member **whose =
		calloc(s->n, sizeof(struct umem_snapshot_member *));
	uint64_t deadline_ns = umem_now_ns() + STOP_DEADLINE_NS;
	int r;

	if (!v || !whose)
		return -ENOMEM;
	umem_urgent_begin(&s->urgent);
	do {
		size_t n = 0;

		for umem_each_member(s, m) {
			v[n] = (struct umem_freeze_process){
				.pid = m->pid,
				.pidfd = m->target->pidfd,
			};
			m->frozen = n;
			whose[n++] = m;
		}
		umem_note_clear(note);
		r = umem_freeze_stop(s->freeze, v, n, deadline_ns, NULL, note);
		if (r == UMEM_GONE && whose[umem_freeze_failed(s->freeze)] != s->v)
			whose[umem_freeze_failed(s->freeze)]->ended = true;
		else
			break;
	} while (umem_now_ns() < deadline_ns);
	return r == 0 ? umem_snapshot_name_workers(s) : r;
}

int umem_snapshot_go(struct umem_snapshotter *s, int result, struct umem_note *note)
{
	uint64_t ns;
	int r = umem_freeze_go(s->freeze, &ns);

	umem_urgent_end(&s->urgent);
	if (ns)
		s->result.pause_ns = ns;
	if (r == UMEM_AGAIN && result == 0)
		return umem_note_set(note, -EIO, 0, "the helper that held pid %d was killed "
			"before all was read: it runs on; take the snapshot again", s->v[0].pid);
	return result;
}

int umem_snapshot_describe(struct umem_snapshotter *s)
{
	struct timespec now;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	s->moment_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	for umem_each_member(s, m)
		if (r == 0)
			r = umem_describe_threads(&m->description, s->freeze, m->frozen);
	return r;
}

void umem_snapshot_begin_round(struct umem_snapshotter *s, uint64_t bytes)
{
	s->round++;
	s->round_bytes = bytes;
	s->round_done = 0;
}

/* Progress of the copiers. */
static int step(void *user, uint64_t bytes)
{
	struct umem_snapshotter *s = user;
	struct umem_snapshot_progress progress = {
		.stage = "copy",
		.round = s->round,
		.done_bytes = s->round_done += bytes,
		.total_bytes = s->round_bytes,
	};

	return s->options.progress && s->options.progress(s->options.user, &progress) ?
		-ECANCELED : 0;
}

static int take_options(struct umem_snapshotter *s, const struct umem_snapshot_options *options)
{
	int r = 0;

	if (options)
		s->options = *options;
	for (size_t i = 0; i < s->options.n_regions && r == 0; i++) {
		const struct umem_range *a = &s->options.regions[i];

		r = umem_ranges_add(&s->selected, umem_align_down(a->start, UMEM_PAGE_BYTES),
			umem_align_up(a->end, UMEM_PAGE_BYTES));
	}
	s->whole = s->options.n_regions == 0;
	if (r == 0 && s->whole)
		r = umem_ranges_add(&s->selected, 0, UMEM_ADDRESS_END);
	s->options.regions = NULL;
	return r;
}

int umem_snapshotter_new(int pid, const struct umem_snapshot_options *options,
	struct umem_snapshotter **ret_snapshotter, struct umem_note *note)
{
	UMEM_CLEANUP(umem_snapshotter_freep) struct umem_snapshotter *s = calloc(1, sizeof(*s));
	size_t n_new;
	int r;

	if (!s)
		return -ENOMEM;
	r = take_options(s, options);
	if (r == 0)
		r = umem_freeze_new(&s->freeze);
	if (r == 0)
		r = umem_snapshot_add_member(s, pid);
	if (r == 0 && s->options.tree)
		r = umem_snapshot_find_tree(s, &n_new, note);
	if (r == 0)
		r = umem_snapshot_choose(s, note);
	if (r != 0)
		return r;
	*ret_snapshotter = UMEM_TAKE_PTR(s);
	return 0;
}

/* Who came up since the last snapshot is a member, too; each knows of the others. */
static int renew_members(struct umem_snapshotter *s, struct umem_note *note)
{
	size_t n_new = 0;
	int *pids;
	int r = 0;

	if (s->options.tree)
		r = umem_snapshot_find_tree(s, &n_new, note);
	if (r == 0 && n_new)
		r = s->ops->prepare(s, note);
	if (r != 0)
		return r;
	pids = reallocarray(s->pids, s->n, sizeof(*pids));
	if (!pids)
		return -ENOMEM;
	s->pids = pids;
	for (size_t i = 0; i < s->n; i++)
		pids[i] = s->v[i].pid;
	for umem_each_member(s, m)
		if (m->watch)
			umem_watch_elsewhere(m->watch, pids, s->n, UMEM_SNAPSHOT_HINT);
	return 0;
}

/* Where in the parent what is known of a member is: the process of its number. */
static int link_parent(struct umem_snapshotter *s, const struct umem_image *parent,
	const struct umem_snapshot_member *m)
{
	uint32_t space = umem_snapshot_space(s, m), found = UMEM_IMAGE_NO_SPACE;
	size_t n;
	const struct umem_image_process *v = umem_image_processes(parent, &n);

	for (size_t i = 0; i < n; i++)
		if (v[i].pid == m->pid)
			found = v[i].space;
	/* A program that was started anew is likely to be much the same. */
	if (found == UMEM_IMAGE_NO_SPACE && s->n == 1 && n == 1)
		found = v[0].space;
	return umem_image_link_space(s->writer, space, found);
}

static int begin_member(struct umem_snapshotter *s, struct umem_image *parent,
	struct umem_snapshot_member *m)
{
	m->tracked = s->tracked && m->in_last;
	m->in_last = false;
	umem_pageset_clear(&m->content.data);
	umem_pageset_clear(&m->content.swapped);
	if (!m->tracked)
		umem_pageset_clear(&m->content.blank);
	umem_reasons_clear(&m->why);
	umem_copier_begin(&m->copier, s->writer, umem_snapshot_space(s, m),
		parent && !m->tracked, m->tracked);
	m->copier.step = step;
	m->copier.user = s;
	umem_description_deinit(&m->description);
	if (parent) {
		int r = link_parent(s, parent, m);

		if (r < 0)
			return r;
	}
	return umem_snapshot_result(s, m, umem_describe_process(&m->description, m->target));
}

/* Where an image goes: to a path, or into a file that is open. */
struct place {
	const char *path;
	const struct umem_snapshot_file *file;
};

static int begin(struct umem_snapshotter *s, const struct place *place,
	struct umem_image *parent, struct umem_note *note)
{
	struct umem_image_create_options options = {
		.size = sizeof(options),
		.codec = s->options.codec,
		.parent = parent,
		.parent_name = place->file ? place->file->parent_name : NULL,
		.anonymous = s->options.unnamed,
		.fd = place->file ? &place->file->fd : NULL,
	};
	int r;

	s->start_ns = umem_now_ns();
	umem_reasons_clear(&s->incomplete);
	s->result = (struct umem_snapshot){ .method = s->ops->name, .why = s->why };
	s->tracked = parent && s->has_last &&
		memcmp(umem_image_id(parent), &s->last_id, sizeof(s->last_id)) == 0;
	s->has_last = false;
	if (parent)
		s->result.incremental = s->tracked ? "tracked" : "compared";
	s->round = 0;
	r = renew_members(s, note);
	if (r == 0)
		r = umem_image_create(place->path, &options, &s->writer, note);
	for umem_each_member(s, m)
		if (r == 0)
			r = begin_member(s, parent, m);
	return r;
}

/* Open what was committed: for the caller, or to know it again as a parent. */
static int take_image(struct umem_snapshotter *s, struct umem_image **ret_image,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	int r;

	if (!ret_image && !s->options.stay_armed)
		return 0;
	r = umem_image_reopen(s->writer, &image, note);
	if (r < 0)
		return r;
	s->last_id = *umem_image_id(image);
	s->has_last = s->options.stay_armed && s->ops->method == UMEM_SNAPSHOT_PRECOPY;
	for umem_each_member(s, m)
		m->in_last = s->has_last;
	if (ret_image)
		*ret_image = UMEM_TAKE_PTR(image);
	return 0;
}

static int take(struct umem_snapshotter *s, const struct place *place,
	struct umem_image *parent, struct umem_image **ret_image,
	const struct umem_snapshot **ret_snapshot, struct umem_note *note)
{
	struct umem_image_totals totals = { 0 };
	int r = begin(s, place, parent, note);

	if (r == 0)
		r = s->ops->take(s, note);
	/* Whatever happened: nobody stands still any more. */
	r = umem_snapshot_go(s, r, note);
	if (r == 0)
		r = umem_snapshot_finish(s, &totals, note);
	if (r == 0)
		r = take_image(s, ret_image, note);
	s->writer = umem_image_writer_free(s->writer);
	if (r != 0)
		return r;
	s->result.total_ns = umem_now_ns() - s->start_ns;
	s->result.rounds = s->round;
	for umem_each_member(s, m) {
		s->result.n_processes++;
		s->result.attach_stop_ns = umem_max_u64(s->result.attach_stop_ns,
			umem_target_stop_ns(m->target));
	}
	s->result.written_bytes = totals.file_bytes;
	s->result.parent_pages = totals.parent_bytes / UMEM_IMAGE_PAGE_BYTES;
	s->result.complete = s->incomplete.n == 0;
	s->result.incomplete = s->incomplete.v;
	s->result.n_incomplete = s->incomplete.n;
	*ret_snapshot = &s->result;
	return 0;
}

int umem_snapshotter_take(struct umem_snapshotter *s, const char *path,
	struct umem_image *parent, struct umem_image **ret_image,
	const struct umem_snapshot **ret_snapshot, struct umem_note *note)
{
	return take(s, &(struct place){ .path = path }, parent, ret_image, ret_snapshot, note);
}

int umem_snapshotter_take_into(struct umem_snapshotter *s, const struct umem_snapshot_file *file,
	struct umem_image *parent, const struct umem_snapshot **ret_snapshot,
	struct umem_note *note)
{
	if (file->size != sizeof(*file))
		return umem_note_set(note, -EINVAL, 0, "options of another version");
	return take(s, &(struct place){ file->name, file }, parent, NULL, ret_snapshot, note);
}
