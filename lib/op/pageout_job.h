/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of putting pages out: one job, shared by pageout.c and pageout_*.c.
 */
#ifndef UMEM_OP_PAGEOUT_JOB_H
#define UMEM_OP_PAGEOUT_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/residency.h>

#include "lib/kern/pins.h"
#include "lib/op/advise.h"
#include "lib/op/pageout.h"
#include "lib/op/pageout_own.h"
#include "lib/op/pages.h"

/** enum umem_refusal - why a page did not go. */
enum umem_refusal {
	UMEM_REFUSAL_FILE,
	UMEM_REFUSAL_HUGE,
	UMEM_REFUSAL_UNWATCHED,
	UMEM_REFUSAL_PINNED,
	UMEM_REFUSAL_LOCKED,
	UMEM_REFUSAL_MERGED,
	UMEM_REFUSAL_FORKED,
	UMEM_REFUSAL_SHARED,
	UMEM_REFUSAL_READ_ONLY,
	UMEM_REFUSAL_FULL,
	UMEM_REFUSAL_LIMIT,
	UMEM_REFUSAL_UNSEEN,
	UMEM_REFUSAL_MAYBE_PINNED,
	UMEM_REFUSAL_BUSY,
	UMEM_REFUSAL_GONE,
	UMEM_N_REFUSALS,
};

/**
 * struct umem_frame - where a page was in memory before it went out.
 * @addr: its address.
 * @pfn: number of its frame.
 */
struct umem_frame {
	uint64_t addr;
	uint64_t pfn;
};

/**
 * struct umem_frames - pages that are in the swap cache; all zero is empty.
 * @v: @n of them, ascending by address once they are @sorted.
 */
struct umem_frames {
	struct umem_frame *v;
	size_t n;
	size_t room;
	bool sorted;
};

/**
 * struct umem_pageout_job - pages on their way out.
 * @target, @map: the caller's.
 * @deadline_ns: no batch begins after it; 0 means none.
 * @watcher: sees it go on, and may end it; may be NULL.
 * @total_bytes: how much it will be.
 * @advisor: gives the advice.
 * @pins, @pinned: pages of which it is known that somebody writes them without a fault.
 * @maybe_pinned: somebody has pages pinned, and it is not known which.
 * @own: what this process maps itself.
 * @kpageflags_fd: /proc/kpageflags, or -1 where it may not be read.
 * @batch: the pages that are at work.
 * @again: this is the second try, for pages that stayed.
 * @full: swap is, or what the target's cgroup may have of it; else UMEM_N_REFUSALS.
 * @check_bytes: of @asked_bytes, when to look for that again.
 * @stayed: pages that stayed at the first try and may go at the second.
 * @out: pages that were out right behind their batch.
 * @frames: of those, what was in the swap cache.
 * @hidden: of those, what had a frame that is not known.
 * @went: gets what is out at the last look; the caller's.
 * @asked_bytes, @moved_bytes, @returned_bytes: sums.
 * @cached_bytes: of what moved, what is in the swap cache.
 * @hidden_bytes: of what moved, what is in @hidden.
 * @refused: sums by enum umem_refusal.
 * @free_note: what kept pages from being freed; NULL as long as nothing did.
 */
struct umem_pageout_job {
	struct umem_target *target;
	struct umem_residency *map;
	uint64_t deadline_ns;
	const struct umem_pageout_watcher *watcher;
	uint64_t total_bytes;
	struct umem_advisor advisor;
	struct umem_pins pins;
	struct umem_ranges pinned;
	bool maybe_pinned;
	struct umem_own own;
	int kpageflags_fd;
	struct umem_page_batch batch;
	bool again;
	enum umem_refusal full;
	uint64_t check_bytes;
	struct umem_pageset stayed;
	struct umem_pageset out;
	struct umem_frames frames;
	struct umem_pageset hidden;
	struct umem_pageset *went;
	uint64_t asked_bytes;
	uint64_t moved_bytes;
	uint64_t returned_bytes;
	uint64_t cached_bytes;
	uint64_t hidden_bytes;
	uint64_t refused[UMEM_N_REFUSALS];
	const char *free_note;
};

/** umem_pageout_each - hand @set on to @work with the job. @gently: in batches to advise. */
int umem_pageout_each(struct umem_pageout_job *job, struct umem_pageset *set, bool gently,
	int (*work)(void *job, struct umem_page_view *view, struct umem_page_batch *batch));

/** umem_pageout_over - has the deadline passed, or does the watcher want it to end? */
bool umem_pageout_over(const struct umem_pageout_job *job);

/* pageout_batch.c */

/** umem_pageout_first - work of the first try: all of the batch is asked. */
int umem_pageout_first(void *job, struct umem_page_view *view, struct umem_page_batch *batch);

/** umem_pageout_second - work of the second try; what stays now is refused. */
int umem_pageout_second(void *job, struct umem_page_view *view, struct umem_page_batch *batch);

/* pageout_refuse.c */

/** umem_refusal_text - for people; static. */
const char *umem_refusal_text(enum umem_refusal refusal);

/** umem_refuse - @bytes do not go. */
static inline void umem_refuse(struct umem_pageout_job *job, uint64_t bytes,
	enum umem_refusal refusal)
{
	job->refused[refusal] += bytes;
}

/** umem_refuse_region - why nothing of a mapping can go; UMEM_N_REFUSALS if some can. */
enum umem_refusal umem_refuse_region(const struct umem_region *region);

/**
 * umem_refuse_before - which pages of the batch cannot go, by what is known before.
 * @ret_why: by page; UMEM_N_REFUSALS if it can.
 * Return: 0, -ENOMEM, -errno.
 */
int umem_refuse_before(struct umem_pageout_job *job, const struct umem_page_view *view,
	const struct umem_page_batch *batch, enum umem_refusal ret_why[UMEM_BATCH_PAGES]);

/** umem_refuse_after - why those that could go did not; as umem_refuse_before(). */
int umem_refuse_after(struct umem_pageout_job *job, const struct umem_page_view *view,
	const struct umem_page_batch *batch, enum umem_refusal ret_why[UMEM_BATCH_PAGES]);

/** umem_refuse_full - set @full if there is no room for @bytes; not each time it is asked. */
void umem_refuse_full(struct umem_pageout_job *job, uint64_t bytes);

/* pageout_frames.c */

/**
 * umem_frames_note - pages that went out just now.
 * @frames: @n of them, at most a batch, and the frames they had; 0 where that is hidden.
 * Return: 0, -ENOMEM, -errno.
 */
int umem_frames_note(struct umem_pageout_job *job, const struct umem_frame *frames, size_t n);

/** umem_frames_free_cached - have the kernel free what went out and is in the swap cache. */
int umem_frames_free_cached(struct umem_pageout_job *job);

/**
 * umem_frames_count - add pages to @cached_bytes and @hidden_bytes.
 * @addrs: @n of them that moved, ascending. Return: 0 or -errno.
 */
int umem_frames_count(struct umem_pageout_job *job, const uint64_t *addrs, size_t n);

/** umem_frames_sum_up - fill the part of the result that tells what is freed. */
void umem_frames_sum_up(const struct umem_pageout_job *job, struct umem_pageout *result);

#endif
