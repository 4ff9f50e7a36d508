/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an image says of a process besides the bytes of its memory: who it is, its
 * mappings, its threads with their registers.
 */
#ifndef UMEM_OP_DESCRIBE_H
#define UMEM_OP_DESCRIBE_H

#include <umemd/store.h>
#include <umemd/types.h>

#include "lib/base/ranges.h"
#include "lib/kern/freeze.h"
#include "lib/mem/target.h"

/**
 * struct umem_description - of one process; all zero is empty.
 * @process: as an image takes it; points into the rest.
 * @threads, @threads_room: its threads.
 * @arena, @n_arena, @arena_room: allocations that it points to.
 */
struct umem_description {
	struct umem_image_process process;
	struct umem_image_thread *threads;
	size_t threads_room;
	void **arena;
	size_t n_arena;
	size_t arena_room;
};

/** umem_description_deinit - free what it owns and make it empty. */
void umem_description_deinit(struct umem_description *description);

/**
 * umem_describe_process - the process, without mappings and threads. It is read from
 * files that do not change while it runs one program; not within a stop.
 * Return: 0, UMEM_GONE, -ENOMEM.
 */
int umem_describe_process(struct umem_description *description,
	const struct umem_target *target);

/**
 * umem_describe_threads - the threads of a process that is stopped.
 * @index: of the process in @freeze.
 * Return: 0, UMEM_GONE, -ENOMEM, -errno of reading registers.
 */
int umem_describe_threads(struct umem_description *description, struct umem_freeze *freeze,
	size_t index);

/** umem_describe_thread - one thread more, behind the others. Return: 0, -ENOMEM. */
int umem_describe_thread(struct umem_description *description,
	const struct umem_frozen_thread *thread);

/**
 * umem_describe_regions - the mappings in @selected of the target's space as it is known:
 * it may run on meanwhile. Return: 0, -ENOMEM.
 */
int umem_describe_regions(struct umem_description *description,
	const struct umem_target *target, const struct umem_ranges *selected);

#endif
