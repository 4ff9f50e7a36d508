// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bringing swapped memory back.
 *
 * Theory of operation
 *
 * Pages come mapping by mapping, in batches:
 *
 *     look     which of them are out still; what is not there is never touched
 *     advise   MADV_WILLNEED: reading begins, of all of them at once
 *     touch    each page: it is mapped, and young: not the first to go again
 *     look     in: noted;  out: refused
 *
 * Reading ahead is for devices. What lies in zram is brought in by the touch, right into
 * place and with its slot given back; read ahead, it would go through the swap cache and
 * stay in zram as well (256 MiB took 251 MiB more).
 *
 * It ends before memory runs short: bringing in what pushes out something else gains
 * nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/mem/machine.h"
#include "lib/op/advise.h"
#include "lib/op/pageout.h"
#include "lib/op/pages.h"
#include "lib/op/touch.h"

/* So much of memory is left alone: a part, and never less than some. */
#define SPARE_PART  32
#define SPARE_BYTES (64ull << 20)

/* Look at what is available after so many bytes. */
#define CHECK_BYTES (16ull << 20)

enum refusal {
	REFUSAL_SERVED,
	REFUSAL_HIDDEN,
	REFUSAL_SHORT,
	REFUSAL_UNSEEN,
	REFUSAL_GONE,
	REFUSAL_FAILED,
	N_REFUSALS,
};

static const char *const texts[N_REFUSALS] = {
	[REFUSAL_SERVED] = "a userfaultfd serves this memory: touching it could wait for ever",
	[REFUSAL_HIDDEN] =
		("whether they are swapped or only marked by a userfaultfd is told only to "
		"CAP_SYS_ADMIN"),
	[REFUSAL_SHORT] = "memory would run short",
	[REFUSAL_UNSEEN] =
		("the memory behind the mapping may not be looked at (needs "
		"CAP_CHECKPOINT_RESTORE): it is not known what became of its pages"),
	[REFUSAL_GONE] = "not there any more: unmapped or discarded by the program",
	[REFUSAL_FAILED] =
		("could not be brought in: the swap area does not give it back, or memory of "
		"this mapping may not be read"),
};

/**
 * struct job - pages on their way in.
 * @target, @map: whose.
 * @watcher: sees it go on; may be NULL.
 * @total_bytes: how much it will be.
 * @advisor: of MADV_WILLNEED, if @ahead.
 * @toucher: touches them.
 * @batch: at work.
 * @in: pages that were in right behind their batch.
 * @check_bytes: when to look at what memory is available; @scarce: it is not enough.
 * @result: sums.
 * @refused: by enum refusal.
 */
struct job {
	struct umem_target *target;
	struct umem_residency *map;
	const struct umem_pageout_watcher *watcher;
	uint64_t total_bytes;
	struct umem_advisor advisor;
	bool ahead;
	struct umem_toucher toucher;
	struct umem_page_batch batch;
	struct umem_pageset in;
	uint64_t check_bytes;
	bool scarce;
	struct umem_pageout result;
	uint64_t refused[N_REFUSALS];
};

static struct job *job_free(struct job *job)
{
	if (!job)
		return NULL;
	umem_advisor_deinit(&job->advisor);
	umem_toucher_deinit(&job->toucher);
	umem_pageset_deinit(&job->in);
	free(job);
	return NULL;
}

UMEM_DEFINE_CLEANUP(struct job, job_free)

static int job_new(struct umem_target *target, struct umem_residency *map, struct job **ret_job)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };
	struct job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->target = target;
	job->map = map;
	umem_advisor_init(&job->advisor, target, MADV_WILLNEED);
	job->ahead = umem_machine_read(target, &machine) < 0 ||
		!umem_swap_in_memory(&machine.areas);
	r = umem_toucher_init(&job->toucher, target);
	if (r != 0) {
		job_free(job);
		return r;
	}
	*ret_job = job;
	return 0;
}

static bool is_over(const struct job *job)
{
	const struct umem_pageout_watcher *watcher = job->watcher;

	return watcher && watcher->progress &&
		watcher->progress(watcher->user, job->result.asked_bytes, job->total_bytes);
}

/* Is there memory for @bytes more? Where the kernel does not tell, there is. */
static bool is_scarce(struct job *job, uint64_t bytes)
{
	struct umem_meminfo info;
	uint64_t spare;

	if (job->scarce || job->result.asked_bytes < job->check_bytes ||
		umem_machine_meminfo(job->target, &info) < 0 ||
		!(info.present & 1u << UMEM_MEMINFO_AVAILABLE))
		return job->scarce;
	spare = umem_max_u64(info.total_bytes / SPARE_PART, SPARE_BYTES);
	job->check_bytes = job->result.asked_bytes + CHECK_BYTES;
	job->scarce = info.available_bytes < spare + CHECK_BYTES + bytes;
	return job->scarce;
}

/* Begin to read all of the batch that is out. */
static int read_ahead(struct job *job, const struct umem_page_batch *batch)
{
	struct umem_range runs[UMEM_BATCH_PAGES];
	size_t n = 0;

	for (size_t i = 0; i < batch->n; i++) {
		uint64_t addr = batch->addr[i];

		if (batch->place[i] != UMEM_PLACE_OUT)
			continue;
		if (n && runs[n - 1].end == addr)
			runs[n - 1].end += UMEM_PAGE_BYTES;
		else
			runs[n++] = (struct umem_range){ addr, addr + UMEM_PAGE_BYTES };
	}
	return n ? umem_advise(&job->advisor, runs, n) : 0;
}

static int touch(struct job *job, struct umem_page_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++) {
		/* Those that may not be touched are told apart when it is seen what came. */
		if (batch->place[i] == UMEM_PLACE_OUT &&
			umem_touch(&job->toucher, batch->addr[i]) == UMEM_GONE)
			return UMEM_GONE;
	}
	return 0;
}

static int sort_out(struct job *job, const struct umem_page_batch *batch)
{
	int r = 0;

	for (size_t i = 0; i < batch->n && r == 0; i++) {
		uint64_t addr = batch->addr[i];

		if (batch->place[i] == UMEM_PLACE_NOWHERE)
			job->refused[REFUSAL_GONE] += UMEM_PAGE_BYTES;
		else if (batch->place[i] == UMEM_PLACE_UNSEEN)
			job->refused[REFUSAL_UNSEEN] += UMEM_PAGE_BYTES;
		else if (batch->place[i] != UMEM_PLACE_OUT)
			r = umem_pageset_add(&job->in, addr, addr + UMEM_PAGE_BYTES);
		else if (job->toucher.served.n && umem_ranges_has(&job->toucher.served, addr))
			job->refused[REFUSAL_SERVED] += UMEM_PAGE_BYTES;
		else
			job->refused[REFUSAL_FAILED] += UMEM_PAGE_BYTES;
	}
	return r;
}

static int bring_in(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	uint64_t bytes = batch->n * UMEM_PAGE_BYTES;
	struct job *job = user;
	int r;

	if (is_over(job))
		return UMEM_AGAIN;
	job->result.asked_bytes += bytes;
	if (is_scarce(job, bytes)) {
		job->refused[REFUSAL_SHORT] += bytes;
		return 0;
	}
	r = umem_pages_look(view, batch);
	if (r == 0 && job->ahead)
		r = read_ahead(job, batch);
	if (r == -EPERM || r == -ENOSYS) {
		/* It is no more than reading ahead. */
		job->ahead = false;
		r = 0;
	}
	if (r == 0)
		r = touch(job, batch);
	if (r == 0)
		r = umem_pages_look(view, batch);
	return r == 0 ? sort_out(job, batch) : r;
}

static int look_last(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct job *job = user;
	int r = umem_pages_look(view, batch);

	for (size_t i = 0; i < batch->n && r == 0; i++) {
		if (batch->place[i] == UMEM_PLACE_NOWHERE)
			job->refused[REFUSAL_GONE] += UMEM_PAGE_BYTES;
		else if (batch->place[i] == UMEM_PLACE_OUT)
			job->result.returned_bytes += UMEM_PAGE_BYTES;
		else
			job->result.moved_bytes += UMEM_PAGE_BYTES;
	}
	return r;
}

/* The first @max_bytes of @pages. */
static int cut(struct umem_pageset *pages, uint64_t max_bytes, struct umem_pageset *out)
{
	uint64_t left = umem_align_down(max_bytes, UMEM_PAGE_BYTES);
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(pages, &iter);

	if (r < 0)
		return r;
	while (left > 0 && r == 0 && umem_pageset_next(&iter, &run)) {
		uint64_t len = umem_min_u64(run.end - run.start, left);

		r = umem_pageset_add(out, run.start, run.start + len);
		left -= len;
	}
	umem_pageset_walk_end(&iter);
	return r;
}

/*
 * Take out what may be no more than a mark on a page that is not there: touching it would
 * make the page.
 */
static int leave_hidden(struct job *job, struct umem_pageset *set)
{
	uint64_t before = umem_pageset_bytes(set);
	int r = 0;

	for (size_t i = 0; i < job->map->n && r == 0; i++) {
		const struct umem_residency_region *about = &job->map->v[i];
		const struct umem_region *region = umem_residency_region_at(job->map, i);

		if (!about->exact && !umem_kind_shared(region->kind))
			r = umem_pageset_sub(set, about->start, about->end);
	}
	job->refused[REFUSAL_HIDDEN] = before - umem_pageset_bytes(set);
	job->result.asked_bytes = job->refused[REFUSAL_HIDDEN];
	return r;
}

static int run(struct job *job, struct umem_pageset *set)
{
	struct umem_pages pages = {
		.target = job->target,
		.map = job->map,
		.batch = &job->batch,
		.work = bring_in,
		.user = job,
	};
	int r;

	job->total_bytes = umem_pageset_bytes(set);
	r = leave_hidden(job, set);
	if (r == 0)
		r = umem_pages_each(&pages, set);
	if (r != 0 && r != UMEM_AGAIN)
		return r;
	pages.work = look_last;
	r = umem_pages_each(&pages, &job->in);
	for (size_t i = 0; i < N_REFUSALS && r == 0; i++)
		if (job->refused[i])
			job->result.refused[job->result.n_refused++] =
				(struct umem_refused){ job->refused[i], texts[i] };
	return r;
}

int umem_pagein_watched(struct umem_target *target,
	const struct umem_pageout_options *options,
	const struct umem_pageout_watcher *watcher, struct umem_pageout *ret_result,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_residency_freep) struct umem_residency *map = NULL;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset first = { 0 };
	UMEM_CLEANUP(job_freep) struct job *job = NULL;
	struct umem_residency_options where = {
		.size = sizeof(where),
		.regions = options ? options->ranges : NULL,
		.n_regions = options ? options->n_ranges : 0,
	};
	struct umem_pageset *pages;
	int r;

	r = umem_residency_new(target, &where, &map, note);
	if (r != 0)
		return r;
	pages = umem_residency_pages(map, UMEM_STATE_SWAPPED);
	if (options && options->max_bytes) {
		r = cut(pages, options->max_bytes, &first);
		pages = &first;
	}
	if (r == 0)
		r = job_new(target, map, &job);
	if (r == 0) {
		job->watcher = watcher;
		r = run(job, pages);
	}
	if (r == 0) {
		job->result.already_bytes = umem_pageset_bytes(
			umem_residency_pages(map, UMEM_STATE_RESIDENT));
		*ret_result = job->result;
	}
	if (r == UMEM_GONE)
		umem_pages_gone(target, note);
	else if (r < 0)
		umem_note_set(note, r, 0, "bringing in pages of pid %d: %s", target->pid,
			strerror(-r));
	return r;
}

int umem_pagein(struct umem_target *target, const struct umem_pageout_options *options,
	struct umem_pageout *ret_result, struct umem_note *note)
{
	return umem_pagein_watched(target, options, NULL, ret_result, note);
}
