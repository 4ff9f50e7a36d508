/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Single pages of a target in batches, and where each of them is: for those who
 * move pages and want to know what became of them.
 */
#ifndef UMEM_OP_PAGES_H
#define UMEM_OP_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kern/pagemap.h"
#include "lib/mem/pageset.h"
#include "lib/mem/residency.h"
#include "lib/mem/residency_object.h"
#include "lib/mem/target.h"

/** UMEM_BATCH_PAGES - pages that are looked at together. */
#define UMEM_BATCH_PAGES 512

/** UMEM_FRAME_MASK - the bits of a present page's word that are the number of its frame. */
#define UMEM_FRAME_MASK (UMEM_PM_SOFT_DIRTY - 1)

/**
 * enum umem_place - where a page is.
 * @UMEM_PLACE_NOWHERE: not there, or a guard.
 * @UMEM_PLACE_MAPPED: in memory, in the page table of the target.
 * @UMEM_PLACE_UNMAPPED: in memory, in its object only.
 * @UMEM_PLACE_OUT: swapped out.
 * @UMEM_PLACE_UNSEEN: not in the page table; its object may not be looked at.
 */
enum umem_place {
	UMEM_PLACE_NOWHERE,
	UMEM_PLACE_MAPPED,
	UMEM_PLACE_UNMAPPED,
	UMEM_PLACE_OUT,
	UMEM_PLACE_UNSEEN,
};

/**
 * struct umem_page_batch - some pages of one mapping.
 * @n: how many.
 * @addr: ascending.
 * @word: their pagemap words.
 * @place: enum umem_place of each.
 */
struct umem_page_batch {
	size_t n;
	uint64_t addr[UMEM_BATCH_PAGES];
	uint64_t word[UMEM_BATCH_PAGES];
	uint8_t place[UMEM_BATCH_PAGES];
};

/**
 * struct umem_page_view - a mapping that is looked at.
 * @region: it.
 * @pagemap_fd: of the target.
 * @object: what is behind it, if @has_object.
 * @read_only: the object may not be written, so that the kernel moves none of it.
 * @shared: pages that are not in the page table may be in an object.
 * @shift: from an offset of the object to an address.
 */
struct umem_page_view {
	const struct umem_region *region;
	int pagemap_fd;
	struct umem_object_view object;
	bool has_object;
	bool read_only;
	bool shared;
	uint64_t shift;
};

/**
 * umem_pages_words - fill @word of the pages in @batch, and @place by them alone: what
 * an object has to tell is UMEM_PLACE_UNSEEN. Return: 0, UMEM_GONE, -errno.
 */
int umem_pages_words(struct umem_page_view *view, struct umem_page_batch *batch);

/** umem_pages_look - fill @word and @place. Return: 0, UMEM_GONE, -ENOMEM, -errno. */
int umem_pages_look(struct umem_page_view *view, struct umem_page_batch *batch);

/**
 * struct umem_pages - how pages are handed on in batches.
 * @target, @map: whose, and what its mappings are.
 * @batch: where they are put.
 * @limit_bytes: of a batch, looked at for each page; NULL: what a batch holds.
 * @work: gets the batch with @addr and @n set, and the mapping; what it returns other
 *	than 0 ends it.
 * @user: for @work.
 */
struct umem_pages {
	const struct umem_target *target;
	struct umem_residency *map;
	struct umem_page_batch *batch;
	const uint64_t *limit_bytes;
	int (*work)(void *user, struct umem_page_view *view, struct umem_page_batch *batch);
	void *user;
};

/**
 * umem_pages_each - hand on @set, ascending, mapping by mapping; what no mapping of the
 * map has is left out. @set may not change meanwhile.
 * Return: 0, what @work returned, -ENOMEM.
 */
int umem_pages_each(const struct umem_pages *pages, struct umem_pageset *set);

/**
 * umem_pages_gone - note that the memory of @target is gone, and how. Its end is waited for
 * a moment: memory goes first, and only then is the process known to have ended.
 * Return: UMEM_GONE.
 */
int umem_pages_gone(const struct umem_target *target, struct umem_note *note);

#endif
