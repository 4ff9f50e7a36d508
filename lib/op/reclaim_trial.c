// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages on trial.
 *
 * Theory of operation
 *
 *     MADV_PAGEOUT    the page has a slot in swap; with zram it is not in memory now
 *     MADV_WILLNEED   it is in the swap cache: in memory, and not in the page table
 *     a use of it     a minor fault maps it again: the look at the end of the interval
 *                     finds it resident
 *     no use of it    a touch of ours maps it, MADV_PAGEOUT drops it: page and slot
 *                     agree, so nothing is written (reclaim_work.c)
 *
 * That costs some 12 us of processor time a page (7 out, 3 in again, 2 to drop it), and
 * memory for the copies in zram, but the target waits for nothing; a page that is used
 * costs it a fault of 1 us. Only private memory is tried: shared memory that is read
 * ahead is back in its object. Memory that a userfaultfd serves is not, since touching
 * it might wait for ever.
 *
 * The kernel may take pages out of the swap cache when it is short of memory. It hardly
 * does so while we are at work, for we hold still then. The size of the whole swap
 * cache tells: where it has less than half of what is on trial, these pages are out.
 */
#include "lib/op/reclaim_trial.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/base/attr.h"
#include "lib/op/advise.h"
#include "lib/op/pages.h"

/* Which mappings a userfaultfd serves is read again after so long. */
#define SERVED_NS 300000000000u

/* Losing what is on trial so often, nothing is put there any more. */
#define LOSSES_MAX 2

/* What a page costs is a mean over about so many. */
#define TRY_MEMORY 4096

int umem_reclaim_trial_find(struct umem_reclaim_target *t, const struct umem_reclaim_swap *swap)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset gone = { 0 };
	int r = 0;

	umem_pageset_clear(&t->touched);
	if (umem_pageset_empty(&t->trial))
		return 0;
	if (swap->lost) {
		t->losses++;
		r = umem_pageset_union(&t->out, &t->trial);
		umem_pageset_clear(&t->trial);
		return r;
	}
	r = umem_pageset_union(&t->touched, &t->trial);
	if (r == 0)
		r = umem_pageset_subtract(&t->trial,
			umem_residency_pages(t->map, UMEM_STATE_RESIDENT));
	if (r == 0)
		r = umem_pageset_subtract(&t->touched, &t->trial);
	/* What is neither in memory nor swapped was discarded. */
	if (r == 0)
		r = umem_pageset_union(&gone, &t->trial);
	if (r == 0)
		r = umem_pageset_subtract(&gone, umem_residency_pages(t->map, UMEM_STATE_SWAPPED));
	if (r == 0)
		r = umem_pageset_subtract(&t->trial, &gone);
	if (swap->forced_back)
		umem_pageset_clear(&t->touched);
	return r;
}

bool umem_reclaim_can_try(const struct umem_reclaim_target *t)
{
	return t->tries && t->losses < LOSSES_MAX;
}

/**
 * struct putting - pages on their way to a trial.
 * @t: the target. @out, @in: the two advices.
 * @went: gets those that are on trial.
 * @asked_bytes, @moved_bytes: sums.
 * @reads: the kernel takes the second advice.
 */
struct putting {
	struct umem_reclaim_target *t;
	struct umem_advisor out;
	struct umem_advisor in;
	struct umem_pageset *went;
	uint64_t asked_bytes;
	uint64_t moved_bytes;
	bool reads;
};

/* Runs of the pages of a batch that are at @place. Return: how many. */
static size_t runs_of(const struct umem_page_batch *batch, enum umem_place place,
	struct umem_range runs[UMEM_BATCH_PAGES])
{
	size_t n = 0;

	for (size_t i = 0; i < batch->n; i++) {
		uint64_t addr = batch->addr[i];

		if (batch->place[i] != place)
			continue;
		if (n && runs[n - 1].end == addr)
			runs[n - 1].end += UMEM_PAGE_BYTES;
		else
			runs[n++] = (struct umem_range){ addr, addr + UMEM_PAGE_BYTES };
	}
	return n;
}

/* Out, and at once in again: what the target uses in between it has to wait for. */
static int put_batch(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct umem_range runs[UMEM_BATCH_PAGES];
	struct putting *putting = user;
	int r = umem_pages_words(view, batch);
	size_t n;

	putting->asked_bytes += batch->n * UMEM_PAGE_BYTES;
	n = r == 0 ? runs_of(batch, UMEM_PLACE_MAPPED, runs) : 0;
	if (n > 0)
		r = umem_advise(&putting->out, runs, n);
	if (r == 0 && n > 0 && putting->reads)
		r = umem_advise(&putting->in, runs, n);
	/* What cannot be read ahead is out, then, and what comes back of it is a refault. */
	if (r == -EPERM || r == -ENOSYS) {
		putting->reads = false;
		r = 0;
	}
	if (r == 0)
		r = umem_pages_words(view, batch);
	n = r == 0 ? runs_of(batch, UMEM_PLACE_OUT, runs) : 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		putting->moved_bytes += runs[i].end - runs[i].start;
		r = umem_pageset_add(putting->went, runs[i].start, runs[i].end);
	}
	return r;
}

static uint64_t cpu_ns(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int umem_reclaim_trial_put(struct umem_reclaim_target *t, struct umem_pageset *pages,
	struct umem_pageset *went, struct umem_note *note)
{
	struct putting putting = { .t = t, .went = went, .reads = true };
	struct umem_page_batch batch;
	struct umem_pages each = {
		.target = t->target,
		.map = t->map,
		.batch = &batch,
		.limit_bytes = &putting.out.batch_bytes,
		.work = put_batch,
		.user = &putting,
	};
	uint64_t start_ns = cpu_ns(), n_asked;
	int r;

	umem_advisor_init(&putting.out, t->target, MADV_PAGEOUT);
	umem_advisor_init(&putting.in, t->target, MADV_WILLNEED);
	putting.out.hasty = true;
	r = umem_pages_each(&each, pages);
	umem_advisor_deinit(&putting.out);
	umem_advisor_deinit(&putting.in);
	if (!putting.reads)
		t->losses = LOSSES_MAX;
	if (r == 0)
		r = umem_pageset_union(&t->trial, went);
	if (r == UMEM_GONE)
		umem_pages_gone(t->target, note);
	t->own_reads += putting.moved_bytes >> UMEM_PAGE_SHIFT;
	/* The mean of the last ones, by how many they were. */
	n_asked = putting.asked_bytes >> UMEM_PAGE_SHIFT;
	t->try_ns = (t->try_ns * TRY_MEMORY + cpu_ns() - start_ns) / (TRY_MEMORY + n_asked);
	t->seen.refused_bytes += putting.asked_bytes - putting.moved_bytes;
	return r;
}

/** struct touching - pages of a batch that are touched; @in gets those that were. */
struct touching {
	struct umem_reclaim_target *t;
	struct umem_pageset *in;
};

static int touch_batch(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct touching *touching = user;
	int r = umem_pages_words(view, batch);

	for (size_t i = 0; i < batch->n && r == 0; i++) {
		uint64_t addr = batch->addr[i];

		/* What is not there would be made; what was used meanwhile is left alone. */
		if (batch->place[i] != UMEM_PLACE_OUT)
			continue;
		r = umem_touch(&touching->t->toucher, addr);
		/* What may not be touched is out: it is in the swap cache for as long as it is. */
		if (r == 0 || r == -EFAULT)
			r = umem_pageset_add(r == 0 ? touching->in : &touching->t->out, addr,
				addr + UMEM_PAGE_BYTES);
	}
	return r;
}

int umem_reclaim_trial_touch(struct umem_reclaim_target *t, struct umem_pageset *pages,
	struct umem_pageset *in)
{
	struct touching touching = { t, in };
	struct umem_page_batch batch;
	struct umem_pages each = {
		.target = t->target,
		.map = t->map,
		.batch = &batch,
		.work = touch_batch,
		.user = &touching,
	};

	return umem_pages_each(&each, pages);
}

int umem_reclaim_trial_ready(struct umem_reclaim_target *t, uint64_t now_ns)
{
	int r;

	if (t->tries && now_ns - t->served_ns < SERVED_NS)
		return 0;
	if (t->tries)
		umem_toucher_deinit(&t->toucher);
	r = umem_toucher_init(&t->toucher, t->target);
	t->tries = r == 0;
	t->served_ns = now_ns;
	/* Who may not read its memory does without. */
	return r == -EPERM || r == -EACCES ? 0 : r;
}

int umem_reclaim_trial_release(struct umem_reclaim_target *t, uint64_t start, uint64_t end)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset pages = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset in = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges range = { 0 };
	int r = umem_ranges_add(&range, start, end);

	if (r == 0)
		r = umem_pageset_union(&pages, &t->trial);
	if (r == 0)
		r = umem_pageset_keep(&pages, &range);
	if (r == 0)
		r = umem_pageset_subtract(&t->trial, &pages);
	return r == 0 ? umem_reclaim_trial_touch(t, &pages, &in) : r;
}

void umem_reclaim_trial_end(struct umem_reclaim_target *t)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset in = { 0 };

	if (!t->tries)
		return;
	umem_reclaim_trial_touch(t, &t->trial, &in);
	umem_toucher_deinit(&t->toucher);
	t->tries = false;
}
