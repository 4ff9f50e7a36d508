/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages into a file: blocks are filled, encoded, and written where there is room.
 *
 * Theory of operation
 *
 *     page() -> block being filled -> pipe (threads) -> packed -> ring -> file
 *
 * The file behind the header is cut into slots of equal length, a MiB usually. Memory is
 * one array of buffers of the same length, registered with the ring. A block has one
 * for its pages; when it is not compressed, that is what is written into a slot. When
 * it is, the threads put its frames into another buffer, and from there they are packed
 * into a slot as long as they fit, so no frame lies in two of them. Where there is no
 * free buffer, page() takes what the pipe has done and waits for the disk: that is the
 * back-pressure.
 *
 * A slot that is released is written again, the lowest first. As slots are all alike,
 * the file does not fall into pieces that fit nothing. What is free when the file is
 * finished is punched out, so that it reads as zeros and takes no space.
 *
 * Slots are taken in the order of the pages, whatever the threads do, so the same calls
 * make the same file.
 *
 * Writes go past the page cache (O_DIRECT), with room allocated ahead, since writes
 * that extend a file wait for each other. Where that is refused, what was written is
 * pushed to the disk and out of the cache, some MiB behind.
 *
 * The first error stays, and is what every call returns from then on.
 */
#ifndef UMEM_STORE_SINK_H
#define UMEM_STORE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/base/ranges.h"
#include "lib/store/encode.h"

struct umem_sink;

/**
 * struct umem_sink_options - how to write.
 * @fd: the file, which outlives the sink; @direct: see struct umem_outfile.
 * @zstd, @level: compress.
 * @n_threads: that compress.
 * @frame_pages: pages in a frame.
 * @buffer_bytes: memory for all buffers.
 */
struct umem_sink_options {
	int fd;
	bool direct;
	bool zstd;
	int level;
	unsigned n_threads;
	unsigned frame_pages;
	uint64_t buffer_bytes;
};

/** umem_sink_new - a sink that writes behind the header. Return: 0, -EINVAL, -ENOMEM. */
int umem_sink_new(const struct umem_sink_options *options, struct umem_sink **ret_sink);

/** umem_sink_free - wait for what is under way, and free; NULL is fine. Return: NULL. */
struct umem_sink *umem_sink_free(struct umem_sink *sink);

/**
 * umem_sink_page - store a page.
 * @number: its number; those that follow each other share frames.
 * @bytes: copied.
 */
int umem_sink_page(struct umem_sink *sink, uint64_t number, const void *bytes);

/** umem_sink_settle - all blocks that were filled have their place in the file. */
int umem_sink_settle(struct umem_sink *sink);

/** umem_sink_flush - all pages have their frames, and all frames are written. */
int umem_sink_flush(struct umem_sink *sink);

/**
 * umem_sink_frames - the frames, in the order in which they were stored; may be sorted
 * and replaced by umem_sink_set_frames(). Complete after a flush.
 */
struct umem_frame *umem_sink_frames(struct umem_sink *sink, size_t *ret_n);

/** umem_sink_set_frames - only the first @n frames are left. */
void umem_sink_set_frames(struct umem_sink *sink, size_t n);

/** umem_sink_slot_bytes - length of a slot; the first is behind the header. */
size_t umem_sink_slot_bytes(const struct umem_sink *sink);

/** umem_sink_release - the slot at @offset may be written again; it was flushed. */
int umem_sink_release(struct umem_sink *sink, uint64_t offset);

/** umem_sink_read - read back what was flushed; @bytes, @offset: multiples of 4096. */
int umem_sink_read(struct umem_sink *sink, void *bytes, size_t len_bytes, uint64_t offset);

/** umem_sink_append - raw bytes behind all frames, after the last flush. */
int umem_sink_append(struct umem_sink *sink, const void *bytes, size_t len_bytes);

/** umem_sink_position - where the next raw byte goes. */
uint64_t umem_sink_position(const struct umem_sink *sink);

/** umem_sink_align - zeros up to a multiple of 4096. */
int umem_sink_align(struct umem_sink *sink);

/**
 * umem_sink_finish - write out, punch what is free, set the length, write the header.
 * @header: UMEM_IMAGE_HEADER_BYTES bytes.
 */
int umem_sink_finish(struct umem_sink *sink, const void *header);

/** umem_sink_written - bytes that went to the file. */
uint64_t umem_sink_written(const struct umem_sink *sink);

/** umem_sink_end - one past the last slot that is in use. */
uint64_t umem_sink_end(const struct umem_sink *sink);

/** umem_sink_failed_at - where in the file the first error happened, 0: not at writing. */
uint64_t umem_sink_failed_at(const struct umem_sink *sink);

UMEM_DEFINE_CLEANUP(struct umem_sink, umem_sink_free)

#endif
