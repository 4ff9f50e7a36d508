/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of one mapping: page tables and object put together.
 */
#ifndef UMEM_MEM_RESIDENCY_REGION_H
#define UMEM_MEM_RESIDENCY_REGION_H

#include "lib/kern/smaps.h"
#include "lib/kern/swapdev.h"
#include "lib/mem/residency_object.h"
#include "lib/mem/residency_table.h"
#include "lib/mem/target.h"

/** enum umem_table_method - how page tables are read. */
enum umem_table_method {
	UMEM_TABLE_SCAN,
	UMEM_TABLE_WORDS,
	UMEM_TABLE_SMAPS,
};

/**
 * struct umem_regions_reader - what reading a target's regions shares.
 * @target: the caller's.
 * @table: its page tables.
 * @table_method: how to read them.
 * @object_method: how to ask objects, NULL chooses.
 * @smaps: read when a region needs it, then @smaps_read.
 * @io_free: swapped pages are in memory anyway (zram): no I/O brings them back.
 */
struct umem_regions_reader {
	const struct umem_target *target;
	struct umem_table table;
	enum umem_table_method table_method;
	const char *object_method;
	struct umem_smaps smaps;
	bool smaps_read;
	bool io_free;
};

/**
 * umem_regions_reader_init - begin to read a target.
 * @method: as in struct umem_residency_options.
 * Return: 0, -EINVAL: an unknown method; -ENOMEM.
 */
int umem_regions_reader_init(struct umem_regions_reader *reader,
	const struct umem_target *target, const char *method);

/** umem_regions_reader_deinit - free what it owns. */
void umem_regions_reader_deinit(struct umem_regions_reader *reader);

/**
 * umem_regions_reader_again - before another look at all regions: what was learned
 * in the last one may have changed.
 */
void umem_regions_reader_again(struct umem_regions_reader *reader);

/**
 * umem_region_residency - the states of the pages of [@start, @end) of a region.
 * @each, @user: get them; @each may be NULL.
 * @ret_about: everything but @kind and @path.
 *
 * Return: 0, what @each returned, UMEM_GONE, -ENOMEM, -errno.
 */
int umem_region_residency(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, umem_walk_each each, void *user,
	struct umem_residency_region *ret_about);

#endif
