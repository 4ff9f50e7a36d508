/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where single pages of a mapping are, looked at in batches: for those who moved
 * them and want to know what became of it.
 */
#ifndef UMEM_OP_PAGEOUT_LOOK_H
#define UMEM_OP_PAGEOUT_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/mem/residency_object.h"
#include "lib/mem/target.h"

/** UMEM_BATCH_PAGES - pages that are looked at together. */
#define UMEM_BATCH_PAGES 512

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
 * @pagemap_fd: of the target.
 * @object: what is behind it, if @has_object.
 * @read_only: the object may not be written, so that the kernel moves none of it.
 * @shared: pages that are not in the page table may be in an object.
 * @shift: from an offset of the object to an address.
 */
struct umem_page_view {
	int pagemap_fd;
	struct umem_object_view object;
	bool has_object;
	bool read_only;
	bool shared;
	uint64_t shift;
};

/** umem_page_view_open - get ready for pages of @region. What cannot be opened is not seen. */
void umem_page_view_open(const struct umem_target *target, const struct umem_region *region,
	struct umem_page_view *ret_view);

/** umem_page_view_close - close what it opened. */
void umem_page_view_close(struct umem_page_view *view);

/**
 * umem_page_view_words - fill @word of the pages in @batch, and @place by them alone:
 * what an object has to tell is UMEM_PLACE_UNSEEN. Return: 0, UMEM_GONE, -errno.
 */
int umem_page_view_words(struct umem_page_view *view, struct umem_page_batch *batch);

/** umem_page_view_look - fill @word and @place. Return: 0, UMEM_GONE, -ENOMEM, -errno. */
int umem_page_view_look(struct umem_page_view *view, struct umem_page_batch *batch);

#endif
