/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a target into an image: read and stored at once while it runs, or
 * read into memory while it is stopped and stored afterwards.
 */
#ifndef UMEM_OP_COPIER_H
#define UMEM_OP_COPIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/store.h>
#include <umemd/types.h>

#include "lib/base/ranges.h"
#include "lib/mem/pageset.h"
#include "lib/mem/reader.h"
#include "lib/mem/target.h"
#include "lib/op/fan.h"

/**
 * struct umem_stage_piece - a run of one region.
 * @region: it; valid only until the target's space is refreshed.
 * @start, @end: addresses.
 */
struct umem_stage_piece {
	const struct umem_region *region;
	uint64_t start;
	uint64_t end;
};

/**
 * struct umem_stage - memory for pages that are read while the target is stopped.
 * @base, @room_bytes: touched before, so that filling it takes no page fault.
 * @used_bytes: filled.
 * @pieces: what is in it, in order of filling.
 * @n_pieces, @pieces_room: how many.
 */
struct umem_stage {
	uint8_t *base;
	uint64_t room_bytes;
	uint64_t used_bytes;
	struct umem_stage_piece *pieces;
	size_t n_pieces;
	size_t pieces_room;
};

/** umem_stage_deinit - free it. */
void umem_stage_deinit(struct umem_stage *stage);

/**
 * umem_stage_reserve - make room for @bytes more in @pieces more, all touched.
 * Quick when there is room. Return: 0 or -ENOMEM.
 */
int umem_stage_reserve(struct umem_stage *stage, uint64_t bytes, size_t pieces);

/**
 * struct umem_copier - copies one target.
 * @target: the caller's.
 * @readers: read it, one for each slice of a stop; the first does the rest.
 * @n_readers: how many there are.
 * @writer: the image; the caller's.
 * @space: index of the target in it.
 * @compare: store only what differs from the parent.
 * @buf: of UMEM_COPIER_BYTES.
 * @covered: pages of which the image has the content.
 * @unreadable: pages that could not be read.
 * @read_bytes: so much was read.
 * @step: called with bytes read; other than 0 ends a copy. May be NULL.
 * @user: for @step.
 */
struct umem_copier {
	struct umem_target *target;
	struct umem_reader readers[UMEM_FAN_MAX];
	unsigned n_readers;
	struct umem_image_writer *writer;
	uint32_t space;
	bool compare;
	uint8_t *buf;
	struct umem_pageset covered;
	struct umem_pageset unreadable;
	uint64_t read_bytes;
	int (*step)(void *user, uint64_t bytes);
	void *user;
};

/** UMEM_COPIER_BYTES - read at once: what a cache holds. */
#define UMEM_COPIER_BYTES (1u << 20)

/** UMEM_COPIER_NONE - a copier of nothing, fit for umem_copier_deinit(). */
#define UMEM_COPIER_NONE ((struct umem_copier){ .n_readers = 0 })

/** umem_copier_init - Return: 0, UMEM_GONE, -ENOMEM, -errno of opening its memory. */
int umem_copier_init(struct umem_copier *copier, struct umem_target *target);

/** umem_copier_deinit - free what it owns. */
void umem_copier_deinit(struct umem_copier *copier);

/**
 * umem_copier_begin - a new image.
 * @compare: as in struct umem_copier.
 * @more: the image goes on from the last one: what was covered by that still is.
 */
void umem_copier_begin(struct umem_copier *copier, struct umem_image_writer *writer,
	uint32_t space, bool compare, bool more);

/**
 * umem_copier_copy - read @set, and put it into the image.
 * What no region of the target's space holds is left out. What cannot be read is
 * @unreadable.
 *
 * Return: 0; UMEM_GONE; what @step returned; -ENOMEM; errors of the writer.
 */
int umem_copier_copy(struct umem_copier *copier, struct umem_pageset *set);

/**
 * umem_copier_prepare - find the objects behind all regions of the target now, so that
 * reading them within a stop takes no more than that. Return: 0 or -ENOMEM.
 */
int umem_copier_prepare(struct umem_copier *copier);

/**
 * umem_copier_stage - read @set into @stage only, behind what is there, by several threads
 * when it is much; nothing is written. Return: as umem_copier_copy().
 */
int umem_copier_stage(struct umem_copier *copier, struct umem_pageset *set,
	struct umem_stage *stage);

/**
 * umem_copier_unstage - put what is in @stage into the image; it is empty then. Of a page
 * that was staged several times the last one counts.
 * @gone: pages that are not of the image any more; may be NULL.
 */
int umem_copier_unstage(struct umem_copier *copier, struct umem_stage *stage,
	struct umem_pageset *gone);

/**
 * umem_copier_put - put pages that the caller has read.
 * @addr, @bytes, @n_pages: them.
 */
int umem_copier_put(struct umem_copier *copier, uint64_t addr, const void *bytes,
	uint64_t n_pages);

/** umem_copier_drop - @set is not of this image any more. */
int umem_copier_drop(struct umem_copier *copier, struct umem_pageset *set);

#endif
