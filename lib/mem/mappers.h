/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which other processes map the shared memory of a target: read from the
 * mappings of all processes that this one may look at. A walk, in no order.
 *
 * A process that maps an object for less than the time between two walks is
 * not found, nor is one of another pid namespace. One owner, no locks.
 */
#ifndef UMEM_MEM_MAPPERS_H
#define UMEM_MEM_MAPPERS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/json.h"
#include "lib/base/ranges.h"
#include "lib/kern/pidfd.h"
#include "lib/mem/target.h"

/**
 * struct umem_mapped - a shared region of the target, by its object.
 * @inode, @device: of the object; the device as major << 32 | minor.
 * @start, @len_bytes: addresses of the target.
 * @offset: where in the object @start is.
 */
struct umem_mapped {
	uint64_t inode;
	uint64_t device;
	uint64_t start;
	uint64_t offset;
	uint64_t len_bytes;
};

/**
 * struct umem_mapper - a process that maps shared memory of the target.
 * @pid: its id; 0 where that may not be told, and then @stat is empty.
 * @stat: start time and name.
 * @mapped: addresses of the target whose memory it maps, too.
 * @written: the part of @mapped that it may write through a mapping.
 */
struct umem_mapper {
	int pid;
	struct umem_proc_stat stat;
	struct umem_ranges mapped;
	struct umem_ranges written;
};

/**
 * struct umem_mappers - a walk; all zero before the first one.
 * @n_hidden: processes so far that may not be looked at; also 1 when /proc
 *	hides processes of others altogether, or is out of reach.
 * @proc, @tid, @pid, @index, @n_index, @index_room, @maps, @now: private.
 * @found, @next: private: what somebody else found, where /proc is out of reach.
 */
struct umem_mappers {
	uint64_t n_hidden;
	DIR *proc;
	int tid;
	int pid;
	struct umem_mapped *index;
	size_t n_index;
	size_t index_room;
	struct umem_maps maps;
	struct umem_mapper now;
	struct umem_json *found;
	size_t next;
};

/** umem_mappers_deinit - end the walk and free everything. */
void umem_mappers_deinit(struct umem_mappers *mappers);

/**
 * umem_mappers_begin - begin a walk (anew).
 * @target: refreshed; its regions must stay as they are while the walk lasts.
 * @only: addresses that matter; NULL for all.
 *
 * Without shared memory the walk is empty and costs nothing.
 *
 * Return: 0, -ENOMEM, or -errno of opening /proc.
 */
int umem_mappers_begin(struct umem_mappers *mappers, const struct umem_target *target,
	const struct umem_ranges *only);

/**
 * umem_mappers_find - a whole walk for somebody else, who has no /proc (struct umem_reach).
 * @pid: the target; @tid: a thread of it that has its memory.
 * @objects: of umem_mappers_ask(); not trusted.
 * @may_name: may process @pid be named to whoever asks?
 * @ret_found: for umem_mappers_begin() there; owned by the caller.
 *
 * Return: 0, -EINVAL, -ENOMEM, -errno of opening /proc.
 */
int umem_mappers_find(int pid, int tid, const struct umem_json *objects,
	bool (*may_name)(void *user, int pid), void *user, struct umem_json **ret_found);

/**
 * umem_mappers_next - the next process.
 * @skip: asked before a process is looked at; true passes it over. May be NULL.
 * @user: for @skip.
 * @ret_mapper: valid until the next call.
 *
 * The target itself, and what shares its page tables (a vfork child), are not
 * listed. Return: 1 with a process, 0 at the end, -ENOMEM.
 */
int umem_mappers_next(struct umem_mappers *mappers, bool (*skip)(void *user, int pid),
	void *user, const struct umem_mapper **ret_mapper);

#endif
