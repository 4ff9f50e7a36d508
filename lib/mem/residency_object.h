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
 *	a look with the others that the counts must confirm.
 * @UMEM_OBJECT_HALVING: cachestat(2) alone.
 * @UMEM_OBJECT_EXTENTS: SEEK_DATA for what there is, mincore(2) for what of it
 *	is in memory; pages in the swap cache then count as resident.
 * @UMEM_OBJECT_CONTINUE: huge pages: UFFDIO_CONTINUE into a mapping of our own.
 */
enum umem_object_method {
	UMEM_OBJECT_CACHESTAT,
	UMEM_OBJECT_HALVING,
	UMEM_OBJECT_EXTENTS,
	UMEM_OBJECT_CONTINUE,
};

/**
 * struct umem_object_view - an object that is being looked at.
 * @fd: the file; owned.
 * @uffd: of our own memory, for CONTINUE; or -1.
 * @method: how.
 * @huge_bytes: size of its huge pages, 0 for shmem.
 * @size_bytes: of the file.
 * @map, @map_at, @map_len: our own mapping of [@map_at, @map_at + @map_len) of
 *	the file, never touched; NULL as long as it was not needed.
 * @no_map: it cannot be mapped, or mincore(2) would not tell.
 */
struct umem_object_view {
	int fd;
	int uffd;
	enum umem_object_method method;
	uint64_t huge_bytes;
	uint64_t size_bytes;
	unsigned char *map;
	uint64_t map_at;
	uint64_t map_len;
	bool no_map;
};

/**
 * umem_object_open_consume - look at the object behind a file.
 * @fd: always consumed.
 * @method: the one to use; NULL chooses.
 *
 * Return: 0; -ENOTSUP: a file of a disk; -EINVAL: an unknown method, or one that
 * does not apply; -EPERM, -ENOSYS: the kernel does not tell; -EMFILE.
 */
int umem_object_open_consume(int fd, const char *method, struct umem_object_view *ret_view);

/** umem_object_close - close and unmap. */
void umem_object_close(struct umem_object_view *view);

/**
 * umem_object_walk - the states of the pages in [@start, @end) of the file.
 * @walk: gets all of the range, moved by @shift (wrapping), past the end of the
 *	file as untouched.
 *
 * Return: 0, what the walk returned, -errno.
 */
int umem_object_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk);

/**
 * umem_object_in_memory - bytes of [@start, @end) of the file that mincore(2) says are
 * in memory, those in the swap cache included. Return: 0, -ENODATA when it does not tell.
 */
int umem_object_in_memory(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t *ret_bytes);

/** umem_object_method_name - "cachestat", "halving", "extents", "continue". */
const char *umem_object_method_name(enum umem_object_method method);

#endif
