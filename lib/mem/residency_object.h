/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages an object of shared memory holds, and where: the same for all
 * who map it, and for pages that nobody maps.
 */
#ifndef UMEM_MEM_RESIDENCY_OBJECT_H
#define UMEM_MEM_RESIDENCY_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/mem/residency_walk.h"

/**
 * enum umem_object_method - how to ask.
 * @UMEM_OBJECT_CACHESTAT: counts of cachestat(2), and where they are mixed,
 *	those of runs that mincore(2) gives; for long swapped ranges sums of smaps.
 * @UMEM_OBJECT_HALVING: cachestat(2) alone.
 * @UMEM_OBJECT_EXTENTS: SEEK_DATA for what there is, mincore(2) for what of it
 *	is in memory; pages in the swap cache then count as resident, and pages that
 *	were allocated but never written as untouched.
 * @UMEM_OBJECT_CONTINUE: huge pages: UFFDIO_CONTINUE into a mapping of our own.
 */
enum umem_object_method {
	UMEM_OBJECT_CACHESTAT,
	UMEM_OBJECT_HALVING,
	UMEM_OBJECT_EXTENTS,
	UMEM_OBJECT_CONTINUE,
};

/** enum umem_sums - may umem_sums_read() be used? */
enum umem_sums {
	UMEM_SUMS_UNKNOWN,
	UMEM_SUMS_CAN,
	UMEM_SUMS_CANNOT,
};

/** UMEM_OBJECT_NO_CACHESTAT, UMEM_OBJECT_NO_MINOR - do without this, as if the kernel had none. */
#define UMEM_OBJECT_NO_CACHESTAT (1u << 0)
#define UMEM_OBJECT_NO_MINOR     (1u << 1)

/**
 * struct umem_object_view - an object that is being looked at.
 * @fd: the file; owned. Its position is moved.
 * @uffd: of our own memory, for CONTINUE; or -1.
 * @method: how.
 * @huge_bytes: size of its huge pages, 0 for others.
 * @device, @inode: of the file.
 * @map, @map_at, @map_len: our own mapping of [@map_at, @map_at + @map_len) of
 *	the file, never touched; NULL as long as it was not needed.
 * @no_map: it cannot be mapped, or mincore(2) would not tell.
 * @data_start, @data_end: the stretch of data that was found last (EXTENTS).
 * @dense: the last step of pages was a jumble.
 * @sums: may be read.
 * @any_read, @any: umem_sums_any() said so.
 * @counted, @all_written: umem_object_all_written() said so.
 */
struct umem_object_view {
	int fd;
	int uffd;
	enum umem_object_method method;
	uint64_t huge_bytes;
	uint64_t device;
	uint64_t inode;
	unsigned char *map;
	uint64_t map_at;
	uint64_t map_len;
	bool no_map;
	uint64_t data_start;
	uint64_t data_end;
	bool dense;
	enum umem_sums sums;
	bool any_read;
	bool any;
	bool counted;
	bool all_written;
};

/** UMEM_OBJECT_NONE - a view of nothing. */
#define UMEM_OBJECT_NONE ((struct umem_object_view){ .fd = -1, .uffd = -1 })

/**
 * umem_object_open_consume - look at the object behind a file.
 * @fd: always consumed.
 * @method: the one to use; NULL chooses.
 * @without: of UMEM_OBJECT_NO_*.
 *
 * Return: 0; -ENOTSUP: a file of a disk; -EINVAL: an unknown method, or one that
 * does not apply; -EPERM, -ENOSYS: the kernel does not tell; -EMFILE.
 */
int umem_object_open_consume(int fd, const char *method, unsigned without,
	struct umem_object_view *ret_view);

/** umem_object_close - close and unmap. */
void umem_object_close(struct umem_object_view *view);

/**
 * umem_object_walk - the states of the pages in [@start, @end) of the file.
 * @walk: gets all of the range, moved by @shift (wrapping). There may be pages past
 *	the end of the file (fallocate(2) with KEEP_SIZE), except huge ones.
 *
 * Return: 0, what the walk returned, -errno.
 */
int umem_object_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk);

/**
 * umem_object_alike - are all pages of [@start, @end) in the same state?
 * Return: 1, 0: no, or it takes more to tell; -errno.
 */
int umem_object_alike(struct umem_object_view *view, uint64_t start, uint64_t end,
	enum umem_state *ret_state);

/**
 * umem_object_in_memory - bytes of [@start, @end) of the file that mincore(2) says are
 * in memory, those in the swap cache included. Return: 0, -ENODATA when it does not tell.
 */
int umem_object_in_memory(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t *ret_bytes);

/**
 * umem_object_all_written - has every page that the object holds been written (or read)
 * once? If not, EXTENTS misses pages. Walks all of the object.
 */
bool umem_object_all_written(struct umem_object_view *view);

/** umem_object_size - bytes of the file now. Return: 0 or -errno. */
int umem_object_size(const struct umem_object_view *view, uint64_t *ret_bytes);

/** umem_object_is_memory - is a file system of this type (statfs(2)) memory? */
bool umem_object_is_memory(uint64_t fs_type);

/** umem_object_method_name - "cachestat", "halving", "extents", "continue". */
const char *umem_object_method_name(enum umem_object_method method);

#endif
