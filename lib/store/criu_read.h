/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRIU's image files, parsed: records, and the pagemap as ranges. Pure; no byte is
 * trusted.
 */
#ifndef UMEM_STORE_CRIU_READ_H
#define UMEM_STORE_CRIU_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/cursor.h"

/**
 * struct umem_criu_span - pages of a pagemap.
 * @start, @end: addresses; of a shared segment offsets.
 * @offset: of the first one in the file of pages; UMEM_CRIU_IN_PARENT: not there.
 */
struct umem_criu_span {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
};

#define UMEM_CRIU_IN_PARENT UINT64_MAX

/**
 * struct umem_criu_map - a pagemap; all zero is empty.
 * @v, @n, @room: ascending and disjoint.
 * @pages_id: of the file of pages.
 * @pages_bytes: so long must it be.
 */
struct umem_criu_map {
	struct umem_criu_span *v;
	size_t n;
	size_t room;
	uint32_t pages_id;
	uint64_t pages_bytes;
};

/**
 * umem_criu_begin - step over the magic numbers of a file.
 * @second: 0: there is only one.
 * Return: false: it is another file.
 */
bool umem_criu_begin(struct umem_cursor *file, uint32_t first, uint32_t second);

/**
 * umem_criu_record - split the next record off.
 * Return: 1; 0 at the end; -EBADMSG: it is cut off.
 */
int umem_criu_record(struct umem_cursor *file, struct umem_cursor *ret_record);

/**
 * umem_criu_map_parse - a pagemap file, of any version up to 4.2.
 * @name: for the note.
 *
 * Return: 0; -EILSEQ: not a pagemap; -EBADMSG: damaged: cut off, or entries that are
 * not ascending, not at pages, past the end of memory; -ENOTSUP: an entry has a field
 * of a version that is not known; -ENODATA: pages that are to come from another
 * machine; -ENOMEM. Noted.
 */
int umem_criu_map_parse(const void *bytes, size_t len_bytes, const char *name,
	struct umem_criu_map *ret_map, struct umem_note *note);

/** umem_criu_map_find - the first span that ends behind @addr; @map->n: none. */
size_t umem_criu_map_find(const struct umem_criu_map *map, uint64_t addr);

/** umem_criu_map_deinit - free what it owns and make it empty. */
void umem_criu_map_deinit(struct umem_criu_map *map);

#endif
