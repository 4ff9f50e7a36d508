// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages into a file; see sink.h. */
#include "lib/store/sink.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/store/sink_core.h"

#define PAGE_BYTES  UMEM_IMAGE_PAGE_BYTES
#define MIN_BUFFERS 4u

/* A slot is as long as sixteen of them fit, up to UMEM_BLOCK_PAGES, of whole frames. */
static void choose_sizes(struct umem_sink *sink)
{
	uint64_t frame_bytes = (uint64_t)sink->options.frame_pages * PAGE_BYTES;
	uint64_t slot = umem_align_down(sink->options.buffer_bytes / 16, frame_bytes);

	slot = umem_max_u64(umem_min_u64(slot, UMEM_BLOCK_PAGES * PAGE_BYTES), frame_bytes);
	sink->slot_bytes = slot;
	sink->n_buffers = (unsigned)umem_min_u64(sink->options.buffer_bytes / slot,
		UMEM_RING_MAX);
	if (sink->n_buffers < MIN_BUFFERS)
		sink->n_buffers = MIN_BUFFERS;
}

int umem_sink_new(const struct umem_sink_options *options, struct umem_sink **ret_sink)
{
	UMEM_CLEANUP(umem_sink_freep) struct umem_sink *sink = calloc(1, sizeof(*sink));
	unsigned depth;
	int r;

	if (!sink)
		return -ENOMEM;
	sink->options = *options;
	sink->end = UMEM_IMAGE_HEADER_BYTES;
	sink->high = UMEM_IMAGE_HEADER_BYTES;
	sink->pushed = UMEM_IMAGE_HEADER_BYTES;
	sink->pack = UMEM_NO_BUFFER;
	sink->tail = UMEM_NO_BUFFER;
	choose_sizes(sink);
	sink->unused = calloc(sink->n_buffers, sizeof(*sink->unused));
	if (!sink->unused)
		return -ENOMEM;
	for (unsigned i = 0; i < sink->n_buffers; i++)
		umem_sink_give_back(sink, sink->n_buffers - 1 - i);
	sink->memory = mmap(NULL, sink->n_buffers * sink->slot_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sink->memory == MAP_FAILED) {
		sink->memory = NULL;
		return -ENOMEM;
	}
	depth = umem_min_u64(sink->n_buffers, 2 * options->n_threads + 2);
	r = umem_pipe_new(options->n_threads, depth, options->zstd, options->level, &sink->pipe);
	if (r < 0)
		return r;
	*ret_sink = UMEM_TAKE_PTR(sink);
	return 0;
}

struct umem_sink *umem_sink_free(struct umem_sink *sink)
{
	if (!sink)
		return NULL;
	umem_pipe_free(sink->pipe);
	umem_ring_free(sink->ring);
	if (sink->memory)
		munmap(sink->memory, sink->n_buffers * sink->slot_bytes);
	umem_ranges_deinit(&sink->free_slots);
	free(sink->frames);
	free(sink->unused);
	free(sink);
	return NULL;
}

static int need_frames_room(struct umem_sink *sink, unsigned n)
{
	size_t room = sink->frames_room ? sink->frames_room * 2 : 1024;
	struct umem_frame *more;

	if (sink->frames_room - sink->n_frames >= n)
		return 0;
	more = realloc(sink->frames, room * sizeof(*more));
	if (!more)
		return umem_sink_fail(sink, -ENOMEM, 0);
	sink->frames = more;
	sink->frames_room = room;
	return 0;
}

/* A block whose pages stay as they are fills a slot, and its buffer is what is written. */
static int place_plain(struct umem_sink *sink, const struct umem_block *block)
{
	uint64_t offset;
	int r = umem_sink_take_slot(sink, &offset);

	if (r < 0) {
		umem_sink_give_back(sink, block->pages_buffer);
		return r;
	}
	for (unsigned i = 0; i < block->n_frames; i++) {
		sink->frames[sink->n_frames] = block->frames[i];
		sink->frames[sink->n_frames++].offset += offset;
	}
	return umem_sink_write_slot(sink, block->pages_buffer, block->out_bytes, offset);
}

/* Write what was packed. */
static int pack_out(struct umem_sink *sink)
{
	unsigned buffer = sink->pack;

	sink->pack = UMEM_NO_BUFFER;
	return buffer == UMEM_NO_BUFFER ? sink->err :
		umem_sink_write_slot(sink, buffer, sink->pack_bytes, sink->pack_offset);
}

/*
 * Pack the frames of a block. As they are not longer than a slot, they begin at most one
 * new one, whose buffer is @spare. Return: 0 or an error; *@spare is taken or not.
 */
static int pack(struct umem_sink *sink, const struct umem_block *block, unsigned *spare)
{
	int r = 0;

	for (unsigned i = 0; i < block->n_frames && r == 0; i++) {
		struct umem_frame frame = block->frames[i];

		if (sink->pack != UMEM_NO_BUFFER &&
			sink->slot_bytes - sink->pack_bytes < frame.stored_bytes)
			r = pack_out(sink);
		if (r == 0 && sink->pack == UMEM_NO_BUFFER) {
			r = umem_sink_take_slot(sink, &sink->pack_offset);
			if (r < 0)
				break;
			sink->pack = *spare;
			sink->pack_bytes = 0;
			*spare = UMEM_NO_BUFFER;
		}
		if (r < 0)
			break;
		memcpy(umem_sink_buffer(sink, sink->pack) + sink->pack_bytes,
			block->out + frame.offset, frame.stored_bytes);
		frame.offset = sink->pack_offset + sink->pack_bytes;
		sink->frames[sink->n_frames++] = frame;
		sink->pack_bytes += frame.stored_bytes;
	}
	return r;
}

int umem_sink_drain_one(struct umem_sink *sink, bool wait)
{
	struct umem_block *block = umem_pipe_take(sink->pipe, wait);
	unsigned spare;
	int r = sink->err;

	if (!block)
		return UMEM_AGAIN;
	if (r == 0)
		r = need_frames_room(sink, block->n_frames);
	if (r == 0 && !block->out)
		return place_plain(sink, block);
	spare = block->pages_buffer;
	if (r == 0)
		r = pack(sink, block, &spare);
	if (spare != UMEM_NO_BUFFER)
		umem_sink_give_back(sink, spare);
	if (block->out)
		umem_sink_give_back(sink, block->out_buffer);
	return r;
}

/* Keep threads and disk busy, without waiting. */
static void advance(struct umem_sink *sink)
{
	while (umem_sink_drain_one(sink, false) == 0)
		;
	while (umem_sink_reap(sink, false) == 0)
		;
}

/* A block to fill. */
static int begin_block(struct umem_sink *sink)
{
	struct umem_block *block;
	int r;

	while (!(block = umem_pipe_free_block(sink->pipe))) {
		r = umem_sink_drain_one(sink, true);
		if (r < 0)
			return r;
	}
	r = umem_sink_get_buffer(sink, &block->pages_buffer);
	if (r < 0)
		return r;
	block->pages = umem_sink_buffer(sink, block->pages_buffer);
	block->out = NULL;
	sink->block = block;
	return 0;
}

/* Give the block to the threads. */
static int end_block(struct umem_sink *sink)
{
	struct umem_block *block = sink->block;
	int r;

	if (!block)
		return sink->err;
	if (sink->options.zstd) {
		r = umem_sink_get_buffer(sink, &block->out_buffer);
		if (r < 0)
			return r;
		block->out = umem_sink_buffer(sink, block->out_buffer);
	}
	sink->block = NULL;
	umem_pipe_give(sink->pipe);
	advance(sink);
	return sink->err;
}

int umem_sink_page(struct umem_sink *sink, uint64_t number, const void *bytes)
{
	struct umem_block *block;
	struct umem_frame *frame;

	if (sink->err == 0 && !sink->block)
		begin_block(sink);
	if (sink->err < 0)
		return sink->err;
	block = sink->block;
	memcpy((unsigned char *)block->pages + (size_t)block->n_pages * PAGE_BYTES, bytes,
		PAGE_BYTES);
	block->n_pages++;
	frame = block->n_frames ? &block->frames[block->n_frames - 1] : NULL;
	if (!frame || frame->n_pages == sink->options.frame_pages ||
		frame->first + frame->n_pages != number) {
		frame = &block->frames[block->n_frames++];
		*frame = (struct umem_frame){ .first = number };
	}
	frame->n_pages++;
	if ((size_t)block->n_pages * PAGE_BYTES == sink->slot_bytes)
		return end_block(sink);
	return 0;
}

int umem_sink_settle(struct umem_sink *sink)
{
	while (sink->err == 0 && umem_pipe_under_way(sink->pipe) > 0)
		umem_sink_drain_one(sink, true);
	return sink->err;
}

int umem_sink_flush(struct umem_sink *sink)
{
	int r = end_block(sink);

	if (r == 0)
		r = umem_sink_settle(sink);
	if (r == 0)
		r = pack_out(sink);
	while (r == 0 && sink->ring && umem_ring_in_flight(sink->ring) > 0)
		r = umem_sink_reap(sink, true);
	return sink->err;
}

struct umem_frame *umem_sink_frames(struct umem_sink *sink, size_t *ret_n)
{
	*ret_n = sink->n_frames;
	return sink->frames;
}

void umem_sink_set_frames(struct umem_sink *sink, size_t n)
{
	sink->n_frames = n;
}

int umem_sink_read(struct umem_sink *sink, void *bytes, size_t len_bytes, uint64_t offset)
{
	unsigned char *at = bytes;

	while (len_bytes > 0) {
		ssize_t n = pread(sink->options.fd, at, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return umem_sink_fail(sink, n < 0 ? -errno : -EIO, offset);
		at += n;
		offset += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

size_t umem_sink_slot_bytes(const struct umem_sink *sink)
{
	return sink->slot_bytes;
}

uint64_t umem_sink_written(const struct umem_sink *sink)
{
	return sink->n_written;
}

uint64_t umem_sink_end(const struct umem_sink *sink)
{
	return sink->end;
}

uint64_t umem_sink_failed_at(const struct umem_sink *sink)
{
	return sink->failed_at;
}
