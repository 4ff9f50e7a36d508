/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shared objects (memfd, shared anonymous memory, files) that a target
 * maps, and what of them held data: to find what was punched or truncated,
 * which no page table tells (the write-protect mark survives a punch).
 *
 * See objects.c for when a file has to be looked at again. One owner.
 */
#ifndef UMEM_TRACK_OBJECTS_H
#define UMEM_TRACK_OBJECTS_H

#include <stddef.h>

#include "lib/base/reasons.h"
#include "lib/kern/filecache.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"
#include "lib/track/refill.h"

/**
 * struct umem_object - one shared object.
 * @dev_major, @dev_minor, @inode: its identity.
 * @fd: read-only descriptor of ours, or -1 with @error.
 * @error: -errno of opening it or asking it.
 * @stamp: taken before @data was read.
 * @data: pages of the file that held data, by file offset.
 * @added: of @data, what umem_objects_watch() found; other mappings do not know it yet.
 * @refill: looks for holes that were filled again.
 * @used: a watched region maps it.
 */
struct umem_object {
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t inode;
	int fd;
	int error;
	struct umem_file_stamp stamp;
	struct umem_pageset data;
	struct umem_pageset added;
	struct umem_refill refill;
	bool used;
};

/**
 * struct umem_objects - all objects of a target; all zero is empty.
 * @gate: whether anything happened that fills holes.
 */
struct umem_objects {
	struct umem_object *v;
	size_t n;
	size_t room;
	struct umem_refill_gate gate;
};

/** umem_objects_deinit - close and free everything. */
void umem_objects_deinit(struct umem_objects *objects);

/**
 * umem_objects_watch - begin to look after the object behind a region.
 * @region: of a shared kind with a file behind it.
 * @piece: the part of it that is watched.
 * @data: addresses of @piece that hold data are added.
 *
 * Return: 0, -ENOMEM, or -errno when the object cannot be asked (then nothing
 * is added, and umem_objects_collect() will say so each time).
 */
int umem_objects_watch(struct umem_objects *objects, const struct umem_target *target,
	const struct umem_region *region, const struct umem_range *piece,
	struct umem_ranges *data);

/**
 * umem_objects_collect - find what was punched or truncated since the last call.
 * @watched: only these addresses count; objects that none of them maps are closed.
 * @vec, @n_vec: scratch for a scan.
 * @written: addresses that got data but are not mapped are added.
 * @grown: addresses whose page got data, mapped or not, are added.
 * @punched: addresses whose data is gone are added.
 * @why: regions whose object cannot be asked are added.
 *
 * Return: 0, -ENOMEM, -ESRCH.
 */
int umem_objects_collect(struct umem_objects *objects, struct umem_target *target,
	const struct umem_ranges *watched, struct page_region *vec, size_t n_vec,
	struct umem_pageset *written, struct umem_pageset *grown, struct umem_pageset *punched,
	struct umem_reasons *why);

/** umem_objects_find - the object of @region, or NULL. */
struct umem_object *umem_objects_find(const struct umem_objects *objects,
	const struct umem_region *region);

/** umem_objects_memory - bytes of heap in use. */
size_t umem_objects_memory(const struct umem_objects *objects);

#endif
