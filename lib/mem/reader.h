/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes of a target's memory, by the cheapest way that leaves no trace in it.
 *
 * Private memory is read through the target's page tables. Shared memory is
 * read from its object where that may be opened: pages that the target does
 * not map are then not mapped into it by our reading. One owner, no locks; a
 * reader of a target that is stopped does no more than one of a running one.
 */
#ifndef UMEM_MEM_READER_H
#define UMEM_MEM_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/ranges.h"
#include "lib/mem/region.h"
#include "lib/mem/residency_open.h"
#include "lib/mem/target.h"

/**
 * struct umem_reader_object - an object of shared memory.
 * @device, @inode: which.
 * @fd: open for reading, or -1 where it may not be opened.
 */
struct umem_reader_object {
	uint64_t device;
	uint64_t inode;
	int fd;
};

/**
 * struct umem_reader - reads one target.
 * @target: the caller's; must outlive the reader.
 * @mem_fd: its /proc/PID/mem.
 * @opener: finds objects.
 * @objects, @n_objects, @room: those that were met.
 */
struct umem_reader {
	const struct umem_target *target;
	int mem_fd;
	struct umem_opener opener;
	struct umem_reader_object *objects;
	size_t n_objects;
	size_t room;
};

/** UMEM_READER_NONE - a reader of nothing, fit for umem_reader_deinit(). */
#define UMEM_READER_NONE ((struct umem_reader){ .mem_fd = -1 })

/** umem_reader_init - Return: 0, UMEM_GONE, -EACCES, -EPERM, -EMFILE. */
int umem_reader_init(struct umem_reader *reader, const struct umem_target *target);

/** umem_reader_deinit - close everything. */
void umem_reader_deinit(struct umem_reader *reader);

/**
 * umem_reader_prepare - find the object behind @region now, so that a later
 * read of it need not. Return: 0 (also when there is none), -ENOMEM.
 */
int umem_reader_prepare(struct umem_reader *reader, const struct umem_region *region);

/**
 * umem_reader_read - read runs of one region, one behind the other.
 * @region: holds all of @runs.
 * @buf: room for the sum of their lengths.
 * @holes: gets what cannot be read, in whole pages; their bytes in @buf are 0.
 *
 * Reading a swapped page brings it in; of private memory, a page that was never
 * touched is mapped to the page of zeros.
 *
 * Return: 0, UMEM_GONE, -EPERM, -EACCES, -ENOMEM.
 */
int umem_reader_read(struct umem_reader *reader, const struct umem_region *region,
	const struct umem_range *runs, size_t n_runs, void *buf, struct umem_ranges *holes);

/**
 * umem_reader_put_out - put pages of a shared object out (MADV_PAGEOUT) that the target
 * does not map, as reading its object leaves them. Pages that somebody maps stay.
 * @region: holds [@start, @end).
 *
 * Return: true if @region is of an object that can be reached this way.
 */
bool umem_reader_put_out(struct umem_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end);

#endif
