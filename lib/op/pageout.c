// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Putting pages out, and verifying it.
 *
 * Theory of operation
 *
 * Pages go mapping by mapping, in batches of what one call of process_madvise(2)
 * should take (advise.c):
 *
 *     look     words of the batch: which can go, which frames they have
 *     advise   MADV_PAGEOUT on those
 *     look     out: noted, with its frame;  still in: a second try later
 *
 * The second try is for pages that wait in a list of some processor, where the kernel
 * does not find them; the lists are emptied first. Those that stay then are told by
 * reason. In the end all that was out is looked at once more: what is in again
 * came back at once. Every page that was asked ends in exactly one sum:
 *
 *     asked = moved + returned + sum of refused
 *
 * What the kernel refuses in silence is told from the words before it is asked: a
 * page that is mapped more than once (no bit 56) is never moved, nor is a page of a
 * file dropped here: clean ones cost the kernel nothing to drop, and dirty ones it
 * has to write to their file, not to swap. It does both when it needs memory.
 */
#include "lib/op/pageout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/lru.h"
#include "lib/kern/procstat.h"
#include "lib/kern/smaps.h"
#include "lib/mem/machine.h"
#include "lib/op/pageout_job.h"

static int add_pins(struct umem_pageout_job *job)
{
	int r = umem_target_read_pins(job->target, &job->pins);

	for (size_t i = 0; i < job->pins.n && r == 0; i++) {
		const struct umem_pin *pin = &job->pins.v[i];

		if (pin->range.end == UINT64_MAX)
			job->maybe_pinned = true;
		else
			r = umem_ranges_add(&job->pinned,
				umem_align_down(pin->range.start, UMEM_PAGE_BYTES),
				umem_align_up(pin->range.end, UMEM_PAGE_BYTES));
	}
	if (r == -EACCES || r == -EPERM) {
		/* The kernel keeps them anyway; that they are, is all that is known. */
		job->maybe_pinned = true;
		return 0;
	}
	return r;
}

static int add_locked(struct umem_pageout_job *job)
{
	UMEM_CLEANUP(umem_smaps_deinit) struct umem_smaps smaps = { 0 };
	int r = umem_smaps_read(job->target->proc_fd, &smaps);

	for (size_t i = 0; i < smaps.n && r == 0; i++)
		if (smaps.v[i].flags & UMEM_SMAP_LOCKED)
			r = umem_ranges_add(&job->advisor.deaf, smaps.v[i].start,
				smaps.v[i].end);
	return r;
}

static struct umem_pageout_job *job_free(struct umem_pageout_job *job)
{
	if (!job)
		return NULL;
	umem_advisor_deinit(&job->advisor);
	umem_own_deinit(&job->own);
	umem_fd_close(job->kpageflags_fd);
	umem_pins_deinit(&job->pins);
	umem_ranges_deinit(&job->pinned);
	umem_pageset_deinit(&job->stayed);
	umem_pageset_deinit(&job->out);
	umem_pageset_deinit(&job->hidden);
	free(job->frames.v);
	free(job);
	return NULL;
}

UMEM_DEFINE_CLEANUP(struct umem_pageout_job, job_free)

/*
 * @all: the whole target is to go, and it is worth reading all mappings for what is
 * locked. Else the first page of it that is advised tells.
 */
static int job_new(struct umem_target *target, struct umem_residency *map, bool all,
	struct umem_pageset *went, struct umem_pageout_job **ret_job)
{
	UMEM_CLEANUP(job_freep) struct umem_pageout_job *job = calloc(1, sizeof(*job));
	struct umem_procstat stat;
	int r;

	if (!job)
		return -ENOMEM;
	job->target = target;
	job->map = map;
	job->went = went;
	job->full = UMEM_N_REFUSALS;
	umem_advisor_init(&job->advisor, target, MADV_PAGEOUT);
	umem_own_init(&job->own, target);
	if (umem_machine_open_frames(target, &job->kpageflags_fd) < 0)
		job->kpageflags_fd = -1;
	r = umem_procstat_read(target->proc_fd, &stat);
	if (r == 0 && stat.pinned_bytes > 0)
		r = add_pins(job);
	if (r == 0 && all && stat.locked_bytes > 0)
		r = add_locked(job);
	if (r != 0)
		return r == -ESRCH || r == -ENOENT ? UMEM_GONE : r;
	*ret_job = UMEM_TAKE_PTR(job);
	return 0;
}

int umem_pageout_each(struct umem_pageout_job *job, struct umem_pageset *set, bool gently,
	int (*work)(void *job, struct umem_page_view *view, struct umem_page_batch *batch))
{
	struct umem_pages pages = {
		.target = job->target,
		.map = job->map,
		.batch = &job->batch,
		.limit_bytes = gently ? &job->advisor.batch_bytes : NULL,
		.work = work,
		.user = job,
	};

	return umem_pages_each(&pages, set);
}

bool umem_pageout_over(const struct umem_pageout_job *job)
{
	const struct umem_pageout_watcher *watcher = job->watcher;

	if (job->deadline_ns && umem_now_ns() >= job->deadline_ns)
		return true;
	return watcher && watcher->progress &&
		watcher->progress(watcher->user, job->asked_bytes, job->total_bytes);
}

/* The last look: what is out now is what moved. */
static int look_last(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct umem_pageout_job *job = user;
	uint64_t moved[UMEM_BATCH_PAGES];
	size_t n = 0;
	int r = umem_pages_look(view, batch);

	for (size_t i = 0; i < batch->n && r == 0; i++) {
		uint64_t addr = batch->addr[i];

		switch (batch->place[i]) {
		case UMEM_PLACE_OUT:
			moved[n++] = addr;
			r = umem_pageset_add(job->went, addr, addr + UMEM_PAGE_BYTES);
			break;
		case UMEM_PLACE_NOWHERE:
			umem_refuse(job, UMEM_PAGE_BYTES, UMEM_REFUSAL_GONE);
			break;
		default:
			job->returned_bytes += UMEM_PAGE_BYTES;
		}
	}
	job->moved_bytes += n * UMEM_PAGE_BYTES;
	return r == 0 ? umem_frames_count(job, moved, n) : r;
}

static void sum_up(const struct umem_pageout_job *job, struct umem_pageout *ret_result)
{
	struct umem_pageout result = {
		.asked_bytes = job->asked_bytes,
		.moved_bytes = job->moved_bytes,
		.returned_bytes = job->returned_bytes,
	};

	for (size_t i = 0; i < UMEM_N_REFUSALS; i++)
		if (job->refused[i])
			result.refused[result.n_refused++] = (struct umem_refused){
				job->refused[i], umem_refusal_text((enum umem_refusal)i) };
	umem_frames_sum_up(job, &result);
	*ret_result = result;
}

/* All of it. @ret_result: @already_bytes is 0. */
static int run(struct umem_pageout_job *job, struct umem_pageset *pages, bool free_cached,
	struct umem_pageout *ret_result)
{
	int r;

	job->total_bytes = umem_pageset_bytes(pages);
	r = umem_pageout_each(job, pages, true, umem_pageout_first);
	if ((r == 0 || r == UMEM_AGAIN) && !umem_pageset_empty(&job->stayed)) {
		job->again = true;
		umem_lru_drain();
		r = umem_pageout_each(job, &job->stayed, true, umem_pageout_second);
	}
	if ((r == 0 || r == UMEM_AGAIN) && free_cached)
		r = umem_frames_free_cached(job);
	if (r == 0 || r == UMEM_AGAIN)
		r = umem_pageout_each(job, &job->out, false, look_last);
	if (r == 0)
		sum_up(job, ret_result);
	return r;
}

/* Say what went wrong. Return: @r. */
static int explain(const struct umem_target *target, int r, struct umem_note *note)
{
	if (r == -EPERM)
		umem_note_set(note, r, 0, "pages of pid %d may not be put out: that needs "
			"CAP_SYS_NICE and the right to trace it", target->pid);
	else if (r == -ENOSYS)
		umem_note_set(note, r, 0, "this kernel has no process_madvise (Linux 5.10)");
	else if (r == UMEM_GONE)
		umem_pages_gone(target, note);
	else if (r < 0)
		umem_note_set(note, r, 0, "putting out pages of pid %d: %s", target->pid,
			strerror(-r));
	return r;
}

int umem_pageout_pages(struct umem_target *target, struct umem_residency *map,
	struct umem_pageset *pages, uint64_t deadline_ns, struct umem_pageset *went,
	struct umem_pageout *ret_result, struct umem_note *note)
{
	UMEM_CLEANUP(job_freep) struct umem_pageout_job *job = NULL;
	int r = job_new(target, map, false, went, &job);

	if (r == 0) {
		job->deadline_ns = deadline_ns;
		r = run(job, pages, false, ret_result);
	}
	return explain(target, r, note);
}

/**
 * struct choice - which pages are asked, when that may not be all.
 * @job: of them.
 * @max_bytes: so much.
 * @chosen, @chosen_bytes: those that can go, by what is known before.
 * @rest: those that cannot.
 */
struct choice {
	struct umem_pageout_job *job;
	uint64_t max_bytes;
	struct umem_pageset chosen;
	uint64_t chosen_bytes;
	struct umem_pageset rest;
};

static int pick(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct choice *choice = user;
	enum umem_refusal why[UMEM_BATCH_PAGES], region = umem_refuse_region(view->region);
	int r = umem_pages_words(view, batch);

	if (r == 0)
		r = umem_refuse_before(choice->job, view, batch, why);
	for (size_t i = 0; i < batch->n && r == 0; i++) {
		bool can_go = region == UMEM_N_REFUSALS && why[i] == UMEM_N_REFUSALS;

		if (can_go && choice->chosen_bytes >= choice->max_bytes)
			return UMEM_AGAIN;
		r = umem_pageset_add(can_go ? &choice->chosen : &choice->rest, batch->addr[i],
			batch->addr[i] + UMEM_PAGE_BYTES);
		choice->chosen_bytes += can_go ? UMEM_PAGE_BYTES : 0;
	}
	return r;
}

/* Add runs of @from until @to has @max_bytes. */
static int fill_up(struct umem_pageset *from, uint64_t max_bytes, struct umem_pageset *to)
{
	uint64_t bytes = umem_pageset_bytes(to);
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(from, &iter);

	if (r < 0)
		return r;
	while (bytes < max_bytes && r == 0 && umem_pageset_next(&iter, &run)) {
		uint64_t len = umem_min_u64(run.end - run.start, max_bytes - bytes);

		r = umem_pageset_add(to, run.start, run.start + len);
		bytes += len;
	}
	umem_pageset_walk_end(&iter);
	return r;
}

/*
 * At most @max_bytes of @pages: what can go first, lower addresses first; only when that
 * is less, what cannot, so that the answer tells why it is less.
 */
static int choose(struct umem_pageout_job *job, struct umem_pageset *pages,
	uint64_t max_bytes, struct umem_pageset *ret_chosen)
{
	struct choice choice = { .job = job, .max_bytes = umem_align_down(max_bytes,
		UMEM_PAGE_BYTES) };
	struct umem_pages each = {
		.target = job->target,
		.map = job->map,
		.batch = &job->batch,
		.work = pick,
		.user = &choice,
	};
	int r = umem_pages_each(&each, pages);

	if (r == 0 || r == UMEM_AGAIN)
		r = fill_up(&choice.rest, choice.max_bytes, &choice.chosen);
	umem_pageset_deinit(&choice.rest);
	if (r == 0)
		*ret_chosen = choice.chosen;
	else
		umem_pageset_deinit(&choice.chosen);
	return r;
}

/* The resident pages of the map that are asked, put out. */
static int put_out(struct umem_pageout_job *job, const struct umem_pageout_options *options,
	struct umem_pageout *ret_result)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset chosen = { 0 };
	struct umem_pageset *pages = umem_residency_pages(job->map, UMEM_STATE_RESIDENT);
	int r = 0;

	if (job->watcher && job->watcher->leave)
		r = umem_pageset_subtract(pages, job->watcher->leave);
	if (r == 0 && options && options->max_bytes &&
		umem_pageset_bytes(pages) > options->max_bytes) {
		r = choose(job, pages, options->max_bytes, &chosen);
		pages = &chosen;
	}
	return r == 0 ? run(job, pages, options && options->free_cached, ret_result) : r;
}

int umem_pageout_watched(struct umem_target *target,
	const struct umem_pageout_options *options,
	const struct umem_pageout_watcher *watcher, struct umem_pageout *ret_result,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_residency_freep) struct umem_residency *map = NULL;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset went = { 0 };
	UMEM_CLEANUP(job_freep) struct umem_pageout_job *job = NULL;
	struct umem_residency_options where = {
		.size = sizeof(where),
		.regions = options ? options->ranges : NULL,
		.n_regions = options ? options->n_ranges : 0,
	};
	uint64_t already_bytes;
	int r;

	if (!umem_machine_has_swap(target))
		return umem_note_set(note, -ENOTSUP, 0, "there is no swap to put pages of pid %d "
			"to: make an area (zram, a file) and switch it on with swapon(8)",
			target->pid);
	r = umem_residency_new(target, &where, &map, note);
	if (r != 0)
		return r;
	already_bytes = umem_pageset_bytes(umem_residency_pages(map, UMEM_STATE_SWAPPED));
	r = job_new(target, map, true, &went, &job);
	if (r == 0) {
		job->watcher = watcher;
		r = put_out(job, options, ret_result);
	}
	if (r == 0)
		ret_result->already_bytes = already_bytes;
	return explain(target, r, note);
}

int umem_pageout(struct umem_target *target, const struct umem_pageout_options *options,
	struct umem_pageout *ret_result, struct umem_note *note)
{
	return umem_pageout_watched(target, options, NULL, ret_result, note);
}
