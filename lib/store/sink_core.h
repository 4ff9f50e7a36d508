/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of a sink, for its own files: sink.c has blocks and frames, sink_write.c
 * buffers and slots of the file, sink_end.c what comes behind the frames.
 */
#ifndef UMEM_STORE_SINK_CORE_H
#define UMEM_STORE_SINK_CORE_H

#include "lib/kern/ring.h"
#include "lib/store/sink.h"

#define UMEM_NO_BUFFER UINT32_MAX

/**
 * struct umem_sink - see sink.h.
 * @slot_bytes: length of a slot, of a buffer, and of the pages of a block.
 * @memory, @n_buffers: buffers.
 * @unused, @n_unused: a stack of those that are free.
 * @block: is being filled with pages; NULL: none.
 * @pack, @pack_bytes, @pack_offset: the buffer that frames are packed into, how much of
 *	it is used, and where it goes; UMEM_NO_BUFFER: none.
 * @frames, @n_frames, @frames_room: what was stored.
 * @free_slots: by number. @n_slots: up to the highest that is in use.
 * @end: where the frames end, or what came behind them.
 * @high: nothing was ever written from here on.
 * @room_end: how far room was allocated.
 * @pushed: how far the page cache was cleaned.
 * @tail, @tail_bytes: the buffer that umem_sink_append() fills.
 * @err, @failed_at: the first error, and where in the file.
 */
struct umem_sink {
	struct umem_sink_options options;
	size_t slot_bytes;
	unsigned char *memory;
	unsigned n_buffers;
	unsigned *unused;
	unsigned n_unused;
	struct umem_pipe *pipe;
	struct umem_ring *ring;
	struct umem_block *block;
	unsigned pack;
	size_t pack_bytes;
	uint64_t pack_offset;
	struct umem_frame *frames;
	size_t n_frames;
	size_t frames_room;
	struct umem_ranges free_slots;
	uint64_t n_slots;
	uint64_t end;
	uint64_t high;
	uint64_t room_end;
	uint64_t pushed;
	uint64_t n_written;
	unsigned tail;
	size_t tail_bytes;
	int err;
	uint64_t failed_at;
};

/** umem_sink_fail - remember an error. Return: the first one. */
int umem_sink_fail(struct umem_sink *sink, int err, uint64_t offset);

/** umem_sink_buffer - the memory of buffer @i. */
static inline unsigned char *umem_sink_buffer(const struct umem_sink *sink, unsigned i)
{
	return sink->memory + i * sink->slot_bytes;
}

/** umem_sink_give_back - buffer @i is free. */
static inline void umem_sink_give_back(struct umem_sink *sink, unsigned i)
{
	sink->unused[sink->n_unused++] = i;
}

/** umem_sink_get_buffer - a free buffer; waits for one. */
int umem_sink_get_buffer(struct umem_sink *sink, unsigned *ret_buffer);

/** umem_sink_take_slot - a slot of the file. @ret_offset: where it is. */
int umem_sink_take_slot(struct umem_sink *sink, uint64_t *ret_offset);

/**
 * umem_sink_write_slot - write a buffer into a slot; it is free again when that is done.
 * @len_bytes: of it; zeros are added, up to a whole page, or a whole slot where there
 *	was something before.
 */
int umem_sink_write_slot(struct umem_sink *sink, unsigned buffer, size_t len_bytes,
	uint64_t offset);

/** umem_sink_write_buffer - write a buffer anywhere; @len_bytes: a multiple of 4096. */
int umem_sink_write_buffer(struct umem_sink *sink, unsigned buffer, size_t len_bytes,
	uint64_t offset);

/** umem_sink_write_now - write and wait; @bytes is aligned. */
int umem_sink_write_now(struct umem_sink *sink, const unsigned char *bytes, size_t len_bytes,
	uint64_t offset);

/** umem_sink_reap - take one write that ended. Return: 0, UMEM_AGAIN: none. */
int umem_sink_reap(struct umem_sink *sink, bool wait);

/** umem_sink_drain_one - begin to write a block that is encoded. Return: 0, UMEM_AGAIN: none. */
int umem_sink_drain_one(struct umem_sink *sink, bool wait);

#endif
