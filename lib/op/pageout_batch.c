// SPDX-License-Identifier: LGPL-2.1-or-later
/* One batch of pages on their way out: look, advise, look. */
#include "lib/op/pageout_job.h"

/**
 * struct wanted - pages of a batch that are to go.
 * @runs, @n_runs: addresses of those that the target maps.
 * @index, @pfn, @n: all of them: their places in the batch, their frames (0: hidden).
 * @unmapped, @n_unmapped: addresses of those that the target does not map.
 * @own: their places in @index.
 * @why: why the others cannot go.
 */
struct wanted {
	struct umem_range runs[UMEM_BATCH_PAGES];
	size_t n_runs;
	uint16_t index[UMEM_BATCH_PAGES];
	uint64_t pfn[UMEM_BATCH_PAGES];
	size_t n;
	uint64_t unmapped[UMEM_BATCH_PAGES];
	uint16_t own[UMEM_BATCH_PAGES];
	size_t n_unmapped;
	enum umem_refusal why[UMEM_BATCH_PAGES];
};

/* May our own mappings keep the page from going? */
static bool in_the_way(const struct umem_page_batch *batch, const struct wanted *wanted, size_t i)
{
	return wanted->why[i] == UMEM_REFUSAL_SHARED ||
		(wanted->why[i] == UMEM_N_REFUSALS && batch->place[i] == UMEM_PLACE_UNMAPPED);
}

/* Take what we map ourselves out of our page table. */
static int drop_own(struct umem_pageout_job *job, struct umem_page_view *view,
	struct umem_page_batch *batch, struct wanted *wanted)
{
	bool dropped = false;
	int r;

	for (size_t i = 0, end; i < batch->n; i = end) {
		end = i + 1;
		if (!in_the_way(batch, wanted, i))
			continue;
		while (end < batch->n && in_the_way(batch, wanted, end) &&
			batch->addr[end] == batch->addr[end - 1] + UMEM_PAGE_BYTES)
			end++;
		dropped |= umem_own_drop(&job->own, view, batch->addr[i],
			batch->addr[end - 1] + UMEM_PAGE_BYTES);
	}
	if (!dropped)
		return 0;
	r = umem_pages_look(view, batch);
	return r == 0 ? umem_refuse_before(job, view, batch, wanted->why) : r;
}

static void want(struct wanted *wanted, const struct umem_page_batch *batch, size_t i)
{
	uint64_t addr = batch->addr[i], word = batch->word[i];
	size_t k = wanted->n++;

	wanted->index[k] = (uint16_t)i;
	wanted->pfn[k] = word & UMEM_PM_PRESENT ? word & UMEM_FRAME_MASK : 0;
	if (batch->place[i] == UMEM_PLACE_UNMAPPED) {
		wanted->own[wanted->n_unmapped] = (uint16_t)k;
		wanted->unmapped[wanted->n_unmapped++] = addr;
	} else if (wanted->n_runs && wanted->runs[wanted->n_runs - 1].end == addr) {
		wanted->runs[wanted->n_runs - 1].end += UMEM_PAGE_BYTES;
	} else {
		wanted->runs[wanted->n_runs++] =
			(struct umem_range){ addr, addr + UMEM_PAGE_BYTES };
	}
}

/* Somebody else was quicker: the page is out, and its frame is not known. */
static int went_before(struct umem_pageout_job *job, uint64_t addr)
{
	int r = umem_pageset_add(&job->out, addr, addr + UMEM_PAGE_BYTES);

	return r == 0 ? umem_frames_note(job, &(struct umem_frame){ .addr = addr }, 1) : r;
}

/* Tell those of the batch that can go from those that cannot, or are out already. */
static int choose(struct umem_pageout_job *job, struct umem_page_view *view,
	struct umem_page_batch *batch, struct wanted *wanted)
{
	int r = umem_refuse_before(job, view, batch, wanted->why);

	if (r == 0 && view->has_object)
		r = drop_own(job, view, batch, wanted);
	wanted->n = wanted->n_runs = wanted->n_unmapped = 0;
	for (size_t i = 0; i < batch->n && r == 0; i++) {
		uint64_t addr = batch->addr[i];

		if (wanted->why[i] != UMEM_N_REFUSALS)
			umem_refuse(job, UMEM_PAGE_BYTES, wanted->why[i]);
		else if (batch->place[i] == UMEM_PLACE_OUT)
			r = went_before(job, addr);
		else if (job->full != UMEM_N_REFUSALS)
			umem_refuse(job, UMEM_PAGE_BYTES, job->full);
		else
			want(wanted, batch, i);
	}
	return r;
}

static int advise(struct umem_pageout_job *job, struct umem_page_view *view,
	struct wanted *wanted)
{
	uint64_t words[UMEM_BATCH_PAGES];
	int r = 0;

	if (wanted->n_runs > 0)
		r = umem_advise(&job->advisor, wanted->runs, wanted->n_runs);
	if (r != 0 || wanted->n_unmapped == 0)
		return r;
	/* What cannot be mapped stays, and is told so. */
	if (umem_own_put_out(&job->own, view, wanted->unmapped, wanted->n_unmapped, words) < 0)
		return 0;
	for (size_t k = 0; k < wanted->n_unmapped; k++) {
		size_t at = wanted->own[k];

		if (!(words[k] & UMEM_PM_PRESENT))
			continue;
		wanted->pfn[at] = words[k] & UMEM_FRAME_MASK;
		if (!(words[k] & UMEM_PM_EXCLUSIVE))
			wanted->why[wanted->index[at]] = UMEM_REFUSAL_SHARED;
	}
	return 0;
}

static bool is_in(uint8_t place)
{
	return place == UMEM_PLACE_MAPPED || place == UMEM_PLACE_UNMAPPED;
}

/* What became of those that were wanted. */
static int sort_out(struct umem_pageout_job *job, struct umem_page_view *view,
	struct umem_page_batch *batch, struct wanted *wanted)
{
	enum umem_refusal after[UMEM_BATCH_PAGES];
	struct umem_frame frames[UMEM_BATCH_PAGES];
	size_t n_in = 0, n_out = 0;
	int r;

	for (size_t k = 0; k < wanted->n; k++)
		n_in += is_in(batch->place[wanted->index[k]]);
	if (n_in == wanted->n || job->again)
		umem_refuse_full(job, n_in * UMEM_PAGE_BYTES);
	r = umem_refuse_after(job, view, batch, after);
	for (size_t k = 0; k < wanted->n && r == 0; k++) {
		size_t i = wanted->index[k];
		uint64_t addr = batch->addr[i], end = addr + UMEM_PAGE_BYTES;

		if (batch->place[i] == UMEM_PLACE_OUT) {
			r = umem_pageset_add(&job->out, addr, end);
			frames[n_out++] = (struct umem_frame){ addr, wanted->pfn[k] };
		} else if (wanted->why[i] != UMEM_N_REFUSALS) {
			umem_refuse(job, UMEM_PAGE_BYTES, wanted->why[i]);
		} else if (is_in(batch->place[i]) && !job->again) {
			r = umem_pageset_add(&job->stayed, addr, end);
		} else {
			umem_refuse(job, UMEM_PAGE_BYTES, after[i]);
		}
	}
	return r == 0 ? umem_frames_note(job, frames, n_out) : r;
}

static int do_batch(struct umem_pageout_job *job, struct umem_page_view *view,
	struct umem_page_batch *batch)
{
	struct wanted wanted;
	int r = umem_pages_look(view, batch);

	if (r == 0)
		r = choose(job, view, batch, &wanted);
	if (r != 0 || wanted.n == 0)
		return r;
	r = advise(job, view, &wanted);
	if (r == 0)
		r = umem_pages_look(view, batch);
	return r == 0 ? sort_out(job, view, batch, &wanted) : r;
}

int umem_pageout_first(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct umem_pageout_job *job = user;
	enum umem_refusal why = umem_refuse_region(view->region);
	int r = 0;

	if (umem_pageout_over(job))
		return UMEM_AGAIN;
	job->asked_bytes += batch->n * UMEM_PAGE_BYTES;
	if (why == UMEM_N_REFUSALS)
		r = do_batch(job, view, batch);
	else
		umem_refuse(job, batch->n * UMEM_PAGE_BYTES, why);
	return r;
}

int umem_pageout_second(void *user, struct umem_page_view *view,
	struct umem_page_batch *batch)
{
	struct umem_pageout_job *job = user;
	enum umem_refusal why[UMEM_BATCH_PAGES];
	int r;

	if (!umem_pageout_over(job))
		return do_batch(job, view, batch);
	/* No time for a second try: those that stayed are told as they are now. */
	r = umem_pages_look(view, batch);
	if (r == 0)
		r = umem_refuse_after(job, view, batch, why);
	for (size_t i = 0; i < batch->n && r == 0; i++) {
		if (batch->place[i] == UMEM_PLACE_OUT)
			r = went_before(job, batch->addr[i]);
		else
			umem_refuse(job, UMEM_PAGE_BYTES, why[i]);
	}
	return r;
}
