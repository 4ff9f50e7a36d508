/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of putting pages out: one job, shared by the pageout_*.c files.
 */
#ifndef UMEM_OP_PAGEOUT_JOB_H
#define UMEM_OP_PAGEOUT_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/residency.h>

#include "lib/kern/pins.h"
#include "lib/mem/pageset.h"
#include "lib/mem/residency.h"
#include "lib/op/advise.h"
#include "lib/op/pageout_look.h"

/** enum umem_refusal - why a page did not go. */
enum umem_refusal {
	UMEM_REFUSAL_FILE,
	UMEM_REFUSAL_HUGE,
	UMEM_REFUSAL_PINNED,
	UMEM_REFUSAL_LOCKED,
	UMEM_REFUSAL_MERGED,
	UMEM_REFUSAL_FORKED,
	UMEM_REFUSAL_SHARED,
	UMEM_REFUSAL_READ_ONLY,
	UMEM_REFUSAL_FULL,
	UMEM_REFUSAL_UNSEEN,
	UMEM_REFUSAL_MAYBE_PINNED,
	UMEM_REFUSAL_BUSY,
	UMEM_REFUSAL_GONE,
	UMEM_N_REFUSALS,
};

/** umem_refusal_text - for people; static. */
const char *umem_refusal_text(enum umem_refusal refusal);

/** struct umem_frame - the frame that a page had before it went out. */
struct umem_frame {
	uint64_t addr;
	uint64_t pfn;
};

/** struct umem_frames - of pages that went out; all zero is empty. */
struct umem_frames {
	struct umem_frame *v;
	size_t n;
	size_t room;
};

/**
 * struct umem_pageout_job - pages on their way out.
 * @target, @map: the caller's.
 * @deadline_ns: no batch begins after it; 0 means none.
 * @advisor: gives the advice.
 * @pins, @pinned: pages of which it is known that somebody writes them without a fault.
 * @maybe_pinned: somebody has pages pinned, and it is not known which.
 * @view, @region: the mapping that is at work, and how it is looked at.
 * @batch: the pages that are.
 * @again: this is the second try for pages that stayed.
 * @stayed: pages that stayed at the first try and may go at the second.
 * @out: pages that were out right behind their batch.
 * @frames: what @out had, as far as the kernel tells.
 * @went: gets what is out at the last look; the caller's.
 * @asked_bytes, @moved_bytes, @returned_bytes, @refused: sums; the last by enum umem_refusal.
 */
struct umem_pageout_job {
	struct umem_target *target;
	struct umem_residency *map;
	uint64_t deadline_ns;
	struct umem_advisor advisor;
	struct umem_pins pins;
	struct umem_ranges pinned;
	bool maybe_pinned;
	struct umem_page_view view;
	const struct umem_region *region;
	struct umem_page_batch batch;
	bool again;
	struct umem_pageset stayed;
	struct umem_pageset out;
	struct umem_frames frames;
	struct umem_pageset *went;
	uint64_t asked_bytes;
	uint64_t moved_bytes;
	uint64_t returned_bytes;
	uint64_t refused[UMEM_N_REFUSALS];
};

/** umem_pageout_refuse - @bytes do not go. */
static inline void umem_pageout_refuse(struct umem_pageout_job *job, uint64_t bytes,
	enum umem_refusal refusal)
{
	job->refused[refusal] += bytes;
}

#endif
