// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Why pages do not go out.
 *
 * Theory of operation
 *
 * MADV_PAGEOUT answers success whatever it did, so the reasons are read from what the
 * kernel shows: before, from the word of a page (a page of a file; without bit 56
 * mapped more than once, which nothing moves) and from what is known of its address;
 * afterwards from its frame (locked, merged, on no list), from the room in swap, and
 * from what may be pinned. The first that applies is told.
 */
#include <errno.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/kern/kpage.h"
#include "lib/mem/machine.h"
#include "lib/op/pageout_job.h"

/* Swap with so little room left is full. */
#define LAST_BYTES (64u << 10)

/* What stays is no reason to look for room more often than after so many bytes. */
#define CHECK_BYTES (4u << 20)

static const char *const texts[UMEM_N_REFUSALS] = {
	[UMEM_REFUSAL_FILE] =
		"pages of a file: the kernel drops them when it needs memory; they take no swap",
	[UMEM_REFUSAL_HUGE] = "huge pages of the reserved pool, which are never swapped",
	[UMEM_REFUSAL_UNWATCHED] = "cannot be watched for writes",
	[UMEM_REFUSAL_PINNED] = "pinned by the program for I/O without page faults",
	[UMEM_REFUSAL_LOCKED] = "locked in memory (mlock), or mapped by a driver",
	[UMEM_REFUSAL_MERGED] = "merged with equal pages (KSM)",
	[UMEM_REFUSAL_FORKED] = "shared with a process it was forked from, or a child",
	[UMEM_REFUSAL_SHARED] = "mapped by another process too, or twice by this one",
	[UMEM_REFUSAL_READ_ONLY] =
		"shared memory that this process may not write: the kernel moves none of it then",
	[UMEM_REFUSAL_FULL] = "swap is full",
	[UMEM_REFUSAL_LIMIT] = "its cgroup may have no more swap",
	[UMEM_REFUSAL_UNSEEN] =
		("the memory behind the mapping may not be looked at (needs "
		"CAP_CHECKPOINT_RESTORE): it is not known what became of its pages"),
	[UMEM_REFUSAL_MAYBE_PINNED] =
		"the kernel kept them; pinned, maybe: somebody has memory of this process pinned",
	[UMEM_REFUSAL_BUSY] = "the kernel kept them: they were in use at the moment",
	[UMEM_REFUSAL_GONE] =
		("not there any more: unmapped or discarded by the program, or dropped as nothing "
		"was in it (given free before, or never written)"),
};

const char *umem_refusal_text(enum umem_refusal refusal)
{
	return texts[refusal];
}

enum umem_refusal umem_refuse_region(const struct umem_region *region)
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

/* Is the page in a page table besides the target's? Pages on the move do not tell. */
static bool mapped_twice(uint64_t word)
{
	return (word & (UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE)) == UMEM_PM_PRESENT;
}

/* By what is known of the page's address; else UMEM_N_REFUSALS. */
static enum umem_refusal by_address(const struct umem_pageout_job *job, uint64_t addr)
{
	if (job->pinned.n && umem_ranges_has(&job->pinned, addr))
		return UMEM_REFUSAL_PINNED;
	if (job->advisor.deaf.n && umem_ranges_has(&job->advisor.deaf, addr))
		return UMEM_REFUSAL_LOCKED;
	return UMEM_N_REFUSALS;
}

/**
 * struct asked - frames of a batch whose flags are wanted.
 * @index: the places of their pages in the batch.
 * @pfn, @flags: of each.
 * @n: how many.
 */
struct asked {
	uint16_t index[UMEM_BATCH_PAGES];
	uint64_t pfn[UMEM_BATCH_PAGES];
	uint64_t flags[UMEM_BATCH_PAGES];
	size_t n;
};

static void ask_for(struct asked *asked, size_t i, uint64_t word)
{
	asked->index[asked->n] = (uint16_t)i;
	asked->pfn[asked->n++] = word & UMEM_FRAME_MASK;
}

/* Where flags may not be read, or the frame is hidden, there are none. */
static int read_flags(const struct umem_pageout_job *job, struct asked *asked)
{
	int r = 0;

	memset(asked->flags, 0, asked->n * sizeof(asked->flags[0]));
	if (job->kpageflags_fd >= 0 && asked->n > 0)
		r = umem_kpage_read(job->kpageflags_fd, asked->pfn, asked->n, UMEM_KPF(NOPAGE),
			asked->flags);
	for (size_t i = 0; i < asked->n; i++)
		if (!asked->pfn[i])
			asked->flags[i] = 0;
	return r;
}

int umem_refuse_before(struct umem_pageout_job *job, const struct umem_page_view *view,
	const struct umem_page_batch *batch, enum umem_refusal ret_why[UMEM_BATCH_PAGES])
{
	struct umem_pageset *unwatched = job->watcher ? job->watcher->unwatched : NULL;
	struct asked twice = { .n = 0 };
	int r;

	for (size_t i = 0; i < batch->n; i++) {
		uint64_t word = batch->word[i];

		ret_why[i] = by_address(job, batch->addr[i]);
		if (ret_why[i] != UMEM_N_REFUSALS)
			continue;
		if (batch->place[i] == UMEM_PLACE_NOWHERE)
			ret_why[i] = UMEM_REFUSAL_GONE;
		else if (batch->place[i] == UMEM_PLACE_UNSEEN && !view->has_object)
			ret_why[i] = UMEM_REFUSAL_UNSEEN;
		else if (batch->place[i] != UMEM_PLACE_MAPPED)
			continue;
		else if (word & UMEM_PM_PRESENT && word & UMEM_PM_FILE && !view->shared)
			ret_why[i] = UMEM_REFUSAL_FILE;
		else if (mapped_twice(word) && word & UMEM_PM_FILE)
			ret_why[i] = UMEM_REFUSAL_SHARED;
		else if (mapped_twice(word))
			ask_for(&twice, i, word);
	}
	r = read_flags(job, &twice);
	for (size_t k = 0; k < twice.n && r == 0; k++)
		ret_why[twice.index[k]] = twice.flags[k] & UMEM_KPF(KSM) ? UMEM_REFUSAL_MERGED :
			twice.flags[k] & UMEM_KPF(ZERO_PAGE) ? UMEM_REFUSAL_GONE :
							       UMEM_REFUSAL_FORKED;
	for (size_t i = 0; i < batch->n && unwatched; i++)
		if (ret_why[i] == UMEM_N_REFUSALS && umem_pageset_has(unwatched, batch->addr[i]))
			ret_why[i] = UMEM_REFUSAL_UNWATCHED;
	return r;
}

/* A page that could go, and has these flags, did not: why? */
static enum umem_refusal by_frame(const struct umem_pageout_job *job,
	const struct umem_page_view *view, uint64_t word, uint64_t flags)
{
	if (mapped_twice(word))
		return word & UMEM_PM_FILE ? UMEM_REFUSAL_SHARED :
			flags & UMEM_KPF(KSM) ? UMEM_REFUSAL_MERGED : UMEM_REFUSAL_FORKED;
	if (flags & UMEM_KPF(UNEVICTABLE))
		return UMEM_REFUSAL_LOCKED;
	if (view->read_only && (word & UMEM_PM_FILE || !(word & UMEM_PM_PRESENT)))
		return UMEM_REFUSAL_READ_ONLY;
	if (job->full != UMEM_N_REFUSALS)
		return job->full;
	return job->maybe_pinned ? UMEM_REFUSAL_MAYBE_PINNED : UMEM_REFUSAL_BUSY;
}

int umem_refuse_after(struct umem_pageout_job *job, const struct umem_page_view *view,
	const struct umem_page_batch *batch, enum umem_refusal ret_why[UMEM_BATCH_PAGES])
{
	struct asked asked = { .n = 0 };
	int r;

	for (size_t i = 0; i < batch->n; i++) {
		ret_why[i] = by_address(job, batch->addr[i]);
		if (ret_why[i] != UMEM_N_REFUSALS)
			continue;
		if (batch->place[i] == UMEM_PLACE_NOWHERE)
			ret_why[i] = UMEM_REFUSAL_GONE;
		else if (batch->place[i] == UMEM_PLACE_UNSEEN)
			ret_why[i] = UMEM_REFUSAL_UNSEEN;
		else if (batch->word[i] & UMEM_PM_PRESENT)
			ask_for(&asked, i, batch->word[i]);
		else
			ret_why[i] = by_frame(job, view, batch->word[i], 0);
	}
	r = read_flags(job, &asked);
	for (size_t k = 0; k < asked.n && r == 0; k++)
		ret_why[asked.index[k]] = by_frame(job, view, batch->word[asked.index[k]],
			asked.flags[k]);
	return r;
}

/* How much more may go out for @job's target: by the areas, and by its cgroup. */
static uint64_t room(const struct umem_pageout_job *job, enum umem_refusal *ret_limit)
{
	bool limited;
	uint64_t bytes = umem_machine_room(job->target, &limited);

	*ret_limit = limited ? UMEM_REFUSAL_LIMIT : UMEM_REFUSAL_FULL;
	return bytes;
}

void umem_refuse_full(struct umem_pageout_job *job, uint64_t bytes)
{
	enum umem_refusal limit;

	if (job->full != UMEM_N_REFUSALS || (!job->again && job->asked_bytes < job->check_bytes))
		return;
	job->check_bytes = job->asked_bytes + CHECK_BYTES;
	/* The last slots may be some that the kernel cannot get at. */
	if (room(job, &limit) < umem_max_u64(bytes, LAST_BYTES))
		job->full = limit;
}
