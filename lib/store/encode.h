/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks of pages made into frames, by threads of the writer.
 *
 * A block is up to UMEM_BLOCK_PAGES pages that were stored one after the other; its
 * frames become one piece of the file. Blocks come back in the order in which they
 * were given, so what a writer makes does not depend on the number of threads.
 */
#ifndef UMEM_STORE_ENCODE_H
#define UMEM_STORE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/attr.h"
#include "lib/store/codec.h"
#include "lib/store/format.h"

#define UMEM_BLOCK_PAGES 256u

/**
 * struct umem_block - pages on their way into the file.
 * @pages: their content.
 * @n_pages: how many.
 * @out: where frames go, as much room as the pages have; NULL: they stay as they are
 *	in @pages, and only get their checksums.
 * @out_bytes: how much of @out is used (or of @pages).
 * @frames, @n_frames: @first and @n_pages of each are given, their sum is that of the
 *	block; the rest is filled in, @offset from the beginning of the block.
 * @pages_buffer, @out_buffer: of the owner.
 */
struct umem_block {
	const unsigned char *pages;
	unsigned n_pages;
	unsigned char *out;
	size_t out_bytes;
	struct umem_frame frames[UMEM_BLOCK_PAGES];
	unsigned n_frames;
	unsigned pages_buffer;
	unsigned out_buffer;
};

/** umem_block_encode - make the frames of a block, in this thread. */
void umem_block_encode(struct umem_block *block, struct umem_encoder *encoder);

struct umem_pipe;

/** UMEM_PIPE_MAX_THREADS - more are not started. */
#define UMEM_PIPE_MAX_THREADS 16

/**
 * umem_pipe_new - threads that encode.
 * @n_threads: 0: umem_pipe_give() does the work itself. They are started when the
 *	second block comes, so that a small image costs none.
 * @depth: blocks that can be under way.
 * @zstd: compress, at @level.
 *
 * Return: 0, -EINVAL: no such level; -ENOMEM.
 */
int umem_pipe_new(unsigned n_threads, unsigned depth, bool zstd, int level,
	struct umem_pipe **ret_pipe);

/** umem_pipe_free - end the threads; blocks under way are lost. NULL is fine. Return: NULL. */
struct umem_pipe *umem_pipe_free(struct umem_pipe *pipe);

/** umem_pipe_free_block - an empty block to fill; NULL: all are under way. */
struct umem_block *umem_pipe_free_block(struct umem_pipe *pipe);

/** umem_pipe_give - encode the block that umem_pipe_free_block() gave last. */
void umem_pipe_give(struct umem_pipe *pipe);

/**
 * umem_pipe_take - the oldest block under way, when it is done.
 * @block: wait for it.
 *
 * Return: NULL: none, or not done. It is free again at the next call of this, or of
 * umem_pipe_free_block().
 */
struct umem_block *umem_pipe_take(struct umem_pipe *pipe, bool wait);

/** umem_pipe_under_way - blocks given, and not taken. */
unsigned umem_pipe_under_way(const struct umem_pipe *pipe);

UMEM_DEFINE_CLEANUP(struct umem_pipe, umem_pipe_free)

#endif
