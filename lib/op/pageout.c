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
 * The second try is for pages that wait in a list of some processor and that the
 * kernel therefore did not find. Those that stay then are told by reason. In the end
 * all that was out is looked at once more: what is in again came back at once.
 * Every page that was asked ends in exactly one sum:
 *
 *     asked = moved + returned + sum of refused
 *
 * What the kernel refuses in silence is told from the words before it is asked: a
 * page that is mapped more than once (no bit 56) is never moved, nor is a page of a
 * file dropped here.
 */
#include "lib/op/pageout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/procstat.h"
#include "lib/op/pageout_job.h"

#define FRAME_MASK (UMEM_PM_SOFT_DIRTY - 1)

/* Which pages are pinned. Reading that looks at all descriptors: only if there are any. */
static int read_pins(struct umem_pageout_job *job)
{
	struct umem_procstat stat;
	int r = umem_procstat_read(job->target->proc_fd, &stat);

	if (r == 0 && stat.pinned_bytes == 0)
		return 0;
	r = umem_target_read_pins(job->target, &job->pins);
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

static int job_init(struct umem_pageout_job *job, struct umem_target *target,
	struct umem_residency *map)
{
	*job = (struct umem_pageout_job){ .target = target, .map = map };
	umem_advisor_init(&job->advisor, target, MADV_PAGEOUT);
	return read_pins(job);
}

static void job_deinit(struct umem_pageout_job *job)
{
	umem_advisor_deinit(&job->advisor);
	umem_pins_deinit(&job->pins);
	umem_ranges_deinit(&job->pinned);
	umem_pageset_deinit(&job->stayed);
	umem_pageset_deinit(&job->out);
	free(job->frames.v);
}

/* Why the page @i of the batch cannot go, by what is known before; UMEM_N_REFUSALS if it can. */
static enum umem_refusal refused_before(const struct umem_pageout_job *job, size_t i)
{
	const struct umem_page_batch *batch = &job->batch;
	uint64_t addr = batch->addr[i], word = batch->word[i];

	if (batch->place[i] == UMEM_PLACE_NOWHERE)
		return UMEM_REFUSAL_GONE;
	if (word & UMEM_PM_FILE && !job->view.shared)
		return UMEM_REFUSAL_FILE;
	if (job->pinned.n && umem_ranges_has(&job->pinned, addr))
		return UMEM_REFUSAL_PINNED;
	if (job->advisor.deaf.n && umem_ranges_has(&job->advisor.deaf, addr))
		return UMEM_REFUSAL_LOCKED;
	if (batch->place[i] != UMEM_PLACE_MAPPED)
		return UMEM_REFUSAL_BUSY;
	/* Without the bit, and with a frame that may be seen, it is mapped elsewhere, too. */
	if (word & UMEM_PM_PRESENT && !(word & UMEM_PM_EXCLUSIVE))
		return word & UMEM_PM_FILE ? UMEM_REFUSAL_SHARED : UMEM_REFUSAL_FORKED;
	return UMEM_N_REFUSALS;
}

/* Why a page that could go did not. */
static enum umem_refusal refused_after(const struct umem_pageout_job *job, size_t i)
{
	uint64_t addr = job->batch.addr[i], word = job->batch.word[i];

	if (job->advisor.deaf.n && umem_ranges_has(&job->advisor.deaf, addr))
		return UMEM_REFUSAL_LOCKED;
	if (word & UMEM_PM_PRESENT && !(word & UMEM_PM_EXCLUSIVE))
		return word & UMEM_PM_FILE ? UMEM_REFUSAL_SHARED : UMEM_REFUSAL_FORKED;
	if (job->view.read_only && word & UMEM_PM_FILE)
		return UMEM_REFUSAL_READ_ONLY;
	return job->maybe_pinned ? UMEM_REFUSAL_MAYBE_PINNED : UMEM_REFUSAL_BUSY;
}

static int keep_frame(struct umem_frames *frames, uint64_t addr, uint64_t pfn)
{
	if (frames->n == frames->room) {
		size_t room = frames->room ? frames->room * 2 : 1024;
		struct umem_frame *v = reallocarray(frames->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		frames->v = v;
		frames->room = room;
	}
	frames->v[frames->n++] = (struct umem_frame){ addr, pfn };
	return 0;
}

/**
 * struct wanted - pages of the batch that are advised.
 * @runs, @n_runs: their addresses.
 * @index, @n: their places in the batch.
 * @pfn: their frames, 0 where it is hidden.
 */
struct wanted {
	struct umem_range runs[UMEM_BATCH_PAGES];
	size_t n_runs;
	uint16_t index[UMEM_BATCH_PAGES];
	uint64_t pfn[UMEM_BATCH_PAGES];
	size_t n;
};

/* Tell those of the batch that can go from those that cannot. */
static int choose(struct umem_pageout_job *job, struct wanted *wanted)
{
	struct umem_page_batch *batch = &job->batch;
	int r = 0;

	wanted->n = wanted->n_runs = 0;
	for (size_t i = 0; i < batch->n && r == 0; i++) {
		enum umem_refusal refusal;
		uint64_t addr = batch->addr[i];

		/* Somebody else was quicker. */
		if (batch->place[i] == UMEM_PLACE_OUT) {
			r = umem_pageset_add(&job->out, addr, addr + UMEM_PAGE_BYTES);
			continue;
		}
		refusal = refused_before(job, i);
		if (refusal != UMEM_N_REFUSALS) {
			umem_pageout_refuse(job, UMEM_PAGE_BYTES, refusal);
			continue;
		}
		wanted->index[wanted->n] = (uint16_t)i;
		wanted->pfn[wanted->n++] = batch->word[i] & UMEM_PM_PRESENT ?
			batch->word[i] & FRAME_MASK : 0;
		if (wanted->n_runs && wanted->runs[wanted->n_runs - 1].end == addr)
			wanted->runs[wanted->n_runs - 1].end += UMEM_PAGE_BYTES;
		else
			wanted->runs[wanted->n_runs++] =
				(struct umem_range){ addr, addr + UMEM_PAGE_BYTES };
	}
	return r;
}

/* What became of those that were advised. */
static int sort_out(struct umem_pageout_job *job, const struct wanted *wanted)
{
	int r = 0;

	for (size_t k = 0; k < wanted->n && r == 0; k++) {
		size_t i = wanted->index[k];
		uint64_t addr = job->batch.addr[i], end = addr + UMEM_PAGE_BYTES;

		switch (job->batch.place[i]) {
		case UMEM_PLACE_OUT:
			r = umem_pageset_add(&job->out, addr, end);
			if (r == 0 && wanted->pfn[k])
				r = keep_frame(&job->frames, addr, wanted->pfn[k]);
			break;
		case UMEM_PLACE_NOWHERE:
			umem_pageout_refuse(job, UMEM_PAGE_BYTES, UMEM_REFUSAL_GONE);
			break;
		case UMEM_PLACE_UNSEEN:
			umem_pageout_refuse(job, UMEM_PAGE_BYTES, UMEM_REFUSAL_UNSEEN);
			break;
		default:
			if (job->again)
				umem_pageout_refuse(job, UMEM_PAGE_BYTES, refused_after(job, i));
			else
				r = umem_pageset_add(&job->stayed, addr, end);
		}
	}
	return r;
}

static int do_batch(struct umem_pageout_job *job)
{
	struct wanted wanted;
	int r = umem_page_view_look(&job->view, &job->batch);

	if (r == 0)
		r = choose(job, &wanted);
	if (r == 0 && wanted.n > 0)
		r = umem_advise(&job->advisor, wanted.runs, wanted.n_runs);
	if (r == 0 && wanted.n > 0)
		r = umem_page_view_look(&job->view, &job->batch);
	return r == 0 ? sort_out(job, &wanted) : r;
}

static bool too_late(const struct umem_pageout_job *job)
{
	return job->deadline_ns && umem_now_ns() >= job->deadline_ns;
}

/* All that is left in the batch. Return: 0, UMEM_AGAIN when it is too late, ... */
static int end_batch(struct umem_pageout_job *job, int (*work)(struct umem_pageout_job *))
{
	int r;

	if (job->batch.n == 0)
		return 0;
	r = work(job);
	job->batch.n = 0;
	return r;
}

/* The pages of @pages in one mapping, batch by batch. */
static int each_batch(struct umem_pageout_job *job, struct umem_pageset *pages, uint64_t start,
	uint64_t end, int (*work)(struct umem_pageout_job *))
{
	struct umem_page_batch *batch = &job->batch;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk_from(pages, start, &iter);

	if (r < 0)
		return r;
	batch->n = 0;
	while (r == 0 && umem_pageset_next(&iter, &run) && run.start < end) {
		uint64_t stop = umem_min_u64(run.end, end);

		for (uint64_t at = umem_max_u64(run.start, start); at < stop && r == 0;
			at += UMEM_PAGE_BYTES) {
			batch->addr[batch->n++] = at;
			if (batch->n == UMEM_BATCH_PAGES ||
				batch->n * UMEM_PAGE_BYTES >= job->advisor.batch_bytes)
				r = end_batch(job, work);
		}
	}
	umem_pageset_walk_end(&iter);
	return r == 0 ? end_batch(job, work) : r;
}

/* The pages of @pages, mapping by mapping. */
static int each_region(struct umem_pageout_job *job, struct umem_pageset *pages,
	int (*work)(struct umem_pageout_job *))
{
	int r = 0;

	for (size_t i = 0; i < job->map->n && r == 0; i++) {
		const struct umem_residency_region *about = &job->map->v[i];
		struct umem_pageset_iter iter;
		struct umem_range run;
		bool any;

		r = umem_pageset_walk_from(pages, about->start, &iter);
		if (r < 0)
			return r;
		any = umem_pageset_next(&iter, &run) && run.start < about->end;
		umem_pageset_walk_end(&iter);
		if (!any)
			continue;
		job->region = umem_residency_region_at(job->map, i);
		umem_page_view_open(job->target, job->region, &job->view);
		r = each_batch(job, pages, about->start, about->end, work);
		umem_page_view_close(&job->view);
	}
	return r;
}

/* Mappings of which nothing can go, whatever the page. */
static enum umem_refusal refused_region(const struct umem_region *region)
{
	switch (region->kind) {
	case UMEM_KIND_HUGETLB:
	case UMEM_KIND_HUGETLB_SHARED:
		return UMEM_REFUSAL_HUGE;
	case UMEM_KIND_FILE_SHARED:
		return UMEM_REFUSAL_FILE;
	default:
		return UMEM_N_REFUSALS;
	}
}

static int put_out(struct umem_pageout_job *job)
{
	uint64_t bytes = job->batch.n * UMEM_PAGE_BYTES;
	enum umem_refusal refusal = refused_region(job->region);

	if (too_late(job))
		return UMEM_AGAIN;
	job->asked_bytes += bytes;
	if (refusal == UMEM_N_REFUSALS)
		return do_batch(job);
	umem_pageout_refuse(job, bytes, refusal);
	return 0;
}

static int try_again(struct umem_pageout_job *job)
{
	struct umem_page_batch *batch = &job->batch;
	int r;

	if (!too_late(job))
		return do_batch(job);
	r = umem_page_view_look(&job->view, batch);
	for (size_t i = 0; i < batch->n && r == 0; i++) {
		if (batch->place[i] == UMEM_PLACE_OUT)
			r = umem_pageset_add(&job->out, batch->addr[i],
				batch->addr[i] + UMEM_PAGE_BYTES);
		else
			umem_pageout_refuse(job, UMEM_PAGE_BYTES,
				batch->place[i] == UMEM_PLACE_NOWHERE ? UMEM_REFUSAL_GONE :
									refused_after(job, i));
	}
	return r;
}

/* The last look: what is out now is what moved. */
static int look_last(struct umem_pageout_job *job)
{
	struct umem_page_batch *batch = &job->batch;
	int r = umem_page_view_look(&job->view, batch);

	for (size_t i = 0; i < batch->n && r == 0; i++) {
		switch (batch->place[i]) {
		case UMEM_PLACE_OUT:
			job->moved_bytes += UMEM_PAGE_BYTES;
			r = umem_pageset_add(job->went, batch->addr[i],
				batch->addr[i] + UMEM_PAGE_BYTES);
			break;
		case UMEM_PLACE_NOWHERE:
			umem_pageout_refuse(job, UMEM_PAGE_BYTES, UMEM_REFUSAL_GONE);
			break;
		default:
			job->returned_bytes += UMEM_PAGE_BYTES;
		}
	}
	return r;
}

static void sum_up(const struct umem_pageout_job *job, struct umem_pageout *ret_result)
{
	struct umem_pageout result = {
		.asked_bytes = job->asked_bytes,
		.moved_bytes = job->moved_bytes,
		.returned_bytes = job->returned_bytes,
		.freed_note = "page frames were not looked at",
	};

	for (size_t i = 0; i < UMEM_N_REFUSALS; i++)
		if (job->refused[i])
			result.refused[result.n_refused++] = (struct umem_refused){
				job->refused[i], umem_refusal_text((enum umem_refusal)i) };
	*ret_result = result;
}

int umem_pageout_pages(struct umem_target *target, struct umem_residency *map,
	struct umem_pageset *pages, uint64_t deadline_ns, struct umem_pageset *went,
	struct umem_pageout *ret_result, struct umem_note *note)
{
	struct umem_pageout_job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	r = job_init(job, target, map);
	job->deadline_ns = deadline_ns;
	job->went = went;
	if (r == 0)
		r = each_region(job, pages, put_out);
	if (r == 0 || r == UMEM_AGAIN) {
		job->again = true;
		r = each_region(job, &job->stayed, try_again);
	}
	if (r == 0)
		r = each_region(job, &job->out, look_last);
	if (r == 0)
		sum_up(job, ret_result);
	else if (r == -EPERM)
		umem_note_set(note, r, 0, "pages of pid %d may not be put out: that needs "
			"CAP_SYS_NICE and the right to trace it", target->pid);
	else if (r == -ENOSYS)
		umem_note_set(note, r, 0, "this kernel has no process_madvise (Linux 5.10)");
	else if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "process %d %s", target->pid,
			umem_target_gone(target) ? "ended" : "executed another program");
	job_deinit(job);
	free(job);
	return r;
}
