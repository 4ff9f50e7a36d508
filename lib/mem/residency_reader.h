/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What looking at the regions of one target shares: its page tables, the object
 * that was opened last, smaps, and where swapped pages are.
 */
#ifndef UMEM_MEM_RESIDENCY_READER_H
#define UMEM_MEM_RESIDENCY_READER_H

#include "lib/kern/smaps.h"
#include "lib/kern/swapdev.h"
#include "lib/kern/vmstat.h"
#include "lib/mem/residency_object.h"
#include "lib/mem/residency_open.h"
#include "lib/mem/residency_table.h"
#include "lib/mem/target.h"

/** enum umem_table_method - how page tables are read. */
enum umem_table_method {
	UMEM_TABLE_SCAN,
	UMEM_TABLE_WORDS,
	UMEM_TABLE_SMAPS,
};

/**
 * enum umem_swap_place - where swapped pages are.
 * @UMEM_SWAP_UNKNOWN: some here, some there, or it cannot be told.
 * @UMEM_SWAP_NOWHERE: nothing is swapped on the whole machine.
 * @UMEM_SWAP_MEMORY: in memory all of them (zram): no I/O brings them back.
 * @UMEM_SWAP_DEVICE: on devices all of them, but some may be in the swap cache, too.
 * @UMEM_SWAP_DEVICE_ONLY: and nothing is in the swap cache.
 */
enum umem_swap_place {
	UMEM_SWAP_UNKNOWN,
	UMEM_SWAP_NOWHERE,
	UMEM_SWAP_MEMORY,
	UMEM_SWAP_DEVICE,
	UMEM_SWAP_DEVICE_ONLY,
};

/**
 * struct umem_regions_reader - what reading a target's regions shares.
 * @target: the caller's.
 * @table: its page tables.
 * @table_method: how to read them.
 * @object_method: how to ask objects, NULL chooses.
 * @without: of UMEM_OBJECT_NO_*.
 * @opener: opens objects.
 * @view: the object that was opened last, or none.
 * @smaps: read when a region needs it, then @smaps_read.
 * @place: likewise, then @place_read.
 * @unconfirmed: sums of smaps have to be looked at once more in the end.
 */
struct umem_regions_reader {
	const struct umem_target *target;
	struct umem_table table;
	enum umem_table_method table_method;
	const char *object_method;
	unsigned without;
	struct umem_opener opener;
	struct umem_object_view view;
	struct umem_smaps smaps;
	bool smaps_read;
	enum umem_swap_place place;
	bool place_read;
	bool unconfirmed;
};

/**
 * umem_regions_reader_init - begin to read a target.
 * @method: as in struct umem_residency_options.
 *
 * What the target's features say that the kernel lacks is done without.
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
 * umem_reader_table - the entries of [@start, @end) of a region.
 * Return: 0, what @each returned, -ESRCH, -ENOMEM.
 */
int umem_reader_table(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, umem_table_each each, void *user);

/**
 * umem_reader_object - the object behind a region.
 * @ret_view: valid until the next call; NULL when there is none, or none that can be asked.
 *
 * Return: 0, -ENOTSUP: no object of memory; else why it cannot be asked, see
 * umem_opener_open() and umem_object_open_consume().
 */
int umem_reader_object(struct umem_regions_reader *reader, const struct umem_region *region,
	struct umem_object_view **ret_view);

/** umem_reader_smap - what smaps says of a region, or NULL: it changed, or cannot be read. */
const struct umem_smap *umem_reader_smap(struct umem_regions_reader *reader,
	const struct umem_region *region);

/** umem_reader_smaps_again - what smaps said is forgotten. */
void umem_reader_smaps_again(struct umem_regions_reader *reader);

/**
 * umem_reader_guards_unseen - can there be guards that the kernel does not tell from
 * other marks? So it is from Linux 6.13 to 6.14 for those who do not see swap types.
 */
bool umem_reader_guards_unseen(const struct umem_regions_reader *reader);

/** umem_swap_place - where swapped pages of the machine are now. @info: NULL: not known. */
enum umem_swap_place umem_swap_place(const struct umem_swap_areas *areas,
	const struct umem_meminfo *info);

/** umem_reader_place - the same, of one look at all regions. */
enum umem_swap_place umem_reader_place(struct umem_regions_reader *reader);

#endif
