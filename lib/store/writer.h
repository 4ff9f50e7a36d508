/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writer of an image, as its files see it; <umemd/store.h> has what it does.
 *
 * Theory of operation
 *
 *     put() -> what is this page? -> zero, fill, as in the parent: a run of the index
 *                                 -> stored already: a run that refers to that number
 *                                 -> new: the next number, and the sink stores it
 *
 * Every space has its runs. A later put replaces runs; what was stored for them stays
 * in the file until writer_clean.c finds that no run refers to it. `n_superseded`
 * counts pages that lost a run since the last look, which may be more than are dead
 * (a duplicate has several runs), never less.
 *
 * writer.c creates, describes, frees; writer_put.c has what is known of pages,
 * writer_clean.c superseded content, writer_commit.c the index and the end.
 */
#ifndef UMEM_STORE_WRITER_H
#define UMEM_STORE_WRITER_H

#include <stdbool.h>

#include "lib/store/dedup.h"
#include "lib/store/kin.h"
#include "lib/store/outfile.h"
#include "lib/store/pagehash.h"
#include "lib/store/parts.h"
#include "lib/store/runs.h"
#include "lib/store/sink.h"

/** struct umem_writer_space - a space; @parent: of which of the parent it is continued. */
struct umem_writer_space {
	struct umem_runs runs;
	uint32_t parent;
};

/**
 * struct umem_image_writer - an image that is being written.
 * @path: as given.
 * @file, @sink: where it goes.
 * @parent, @parent_name: NULL: none.
 * @spaces, @n_spaces: by number.
 * @key: of the hashes of this image.
 * @hashes: first lane of every stored page, by number; @hashes_room is its length.
 * @next: number of the next stored page.
 * @dedup: numbers by content. @kin: the same of the parent, NULL: not wanted.
 * @description: INFO and PROC.
 * @n_superseded: see above. @n_superseded_ever: all of them.
 * @n_kept, @next_kept: pages in frames at the last cleaning, and @next then.
 * @n_dead: of these, those that no run referred to.
 * @min_superseded: fewer replaced pages are no reason to clean.
 * @frame_pages: pages in a frame.
 * @err: the first error; 0.
 * @note: what it was.
 * @committed: the file is complete.
 * @adopted: it was opened by somebody else, so its parents are not found by their names.
 */
struct umem_image_writer {
	char *path;
	struct umem_outfile file;
	struct umem_sink *sink;
	struct umem_image *parent;
	char *parent_name;
	struct umem_writer_space *spaces;
	uint32_t n_spaces;
	struct umem_pagehash key;
	uint64_t *hashes;
	uint64_t hashes_room;
	uint64_t next;
	struct umem_dedup dedup;
	struct umem_kin *kin;
	struct umem_parts description;
	uint64_t n_superseded;
	uint64_t n_superseded_ever;
	uint64_t n_kept;
	uint64_t next_kept;
	uint64_t n_dead;
	uint64_t min_superseded;
	uint32_t frame_pages;
	int err;
	struct umem_note note;
	bool committed;
	bool adopted;
};

/** umem_writer_fail - remember an error and what it was about. Return: the first one. */
int umem_writer_fail(struct umem_image_writer *w, int err, const char *what);

/** umem_writer_fail_writing - the same, of an error of the sink. */
int umem_writer_fail_writing(struct umem_image_writer *w, int err);

/** umem_writer_check - the writer is fine; sink errors are noted. Return: 0 or its error. */
int umem_writer_check(struct umem_image_writer *w);

/** umem_writer_space - space @number, made when it is new. Return: 0, -EINVAL, -ENOMEM. */
int umem_writer_space(struct umem_image_writer *w, uint32_t number,
	struct umem_writer_space **ret_space);

/** umem_writer_clean_if - clean when much may be dead. Return: 0 or the writer's error. */
int umem_writer_clean_if(struct umem_image_writer *w);

/** umem_writer_clean_last - the same, before the index is written; it is done sooner. */
int umem_writer_clean_last(struct umem_image_writer *w);

/** umem_writer_clean - free what no run refers to; @max_dead_pages of it may stay. */
int umem_writer_clean(struct umem_image_writer *w, uint64_t max_dead_pages);

/** umem_writer_sort - the frames in ascending order of their numbers. */
struct umem_frame *umem_writer_sort(struct umem_image_writer *w, size_t *ret_n);

#endif
