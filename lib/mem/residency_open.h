/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening the memory behind a mapping of a target, where this process may.
 */
#ifndef UMEM_MEM_RESIDENCY_OPEN_H
#define UMEM_MEM_RESIDENCY_OPEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/mem/region.h"
#include "lib/mem/target.h"

/** struct umem_opener_fd - descriptor @number of the target, and what it is of. */
struct umem_opener_fd {
	uint64_t device;
	uint64_t inode;
	int number;
};

/**
 * struct umem_opener - one target's.
 * @target: the caller's.
 * @no_map_files: do without /proc/PID/map_files.
 * @fds, @n_fds, @room: its descriptors of regular files, when @listed.
 */
struct umem_opener {
	const struct umem_target *target;
	bool no_map_files;
	struct umem_opener_fd *fds;
	size_t n_fds;
	size_t room;
	bool listed;
};

/** umem_opener_deinit - free what it owns. */
void umem_opener_deinit(struct umem_opener *opener);

/** umem_opener_forget - the target's descriptors may be others now. */
void umem_opener_forget(struct umem_opener *opener);

/**
 * umem_opener_open - open the file behind @region for reading, if it is memory.
 *
 * A file of a disk is not opened: somebody could see it.
 *
 * Return: 0; -ENOTSUP: no memory-backed file; -ESTALE: something else is mapped
 * there by now; -EACCES: it may not be opened, or cannot be found; -ENOMEM, -EMFILE.
 */
int umem_opener_open(struct umem_opener *opener, const struct umem_region *region,
	int *ret_fd);

/** umem_opener_device - a device number, as umem_opener_fd has it, from that of a mapping. */
uint64_t umem_opener_device(const struct umem_region *region);

#endif
