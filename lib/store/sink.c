// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages into a file; see sink.h. */
#include "lib/store/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/kern/ring.h"

#define NO_BUFFER     UINT32_MAX
#define PAGE_BYTES    UMEM_IMAGE_PAGE_BYTES
#define AHEAD_BYTES   (64ull << 20)
#define MIN_BUFFERS   4u
#define PUSH_BYTES    (8ull << 20)

/**
 * struct umem_sink - @block is being filled, and its pages are in a buffer already.
 * @unused: stack of buffers that are free.
 * @room_end: how far room was allocated.
 * @pushed: how far the page cache was cleaned.
 * @tail: buffer of what umem_sink_append() has collected, of @tail_bytes.
 */
struct umem_sink {
	struct umem_sink_options options;
	size_t block_bytes;
	unsigned n_buffers;
	unsigned char *memory;
	unsigned *unused;
	unsigned n_unused;
	struct umem_pipe *pipe;
	struct umem_ring *ring;
	struct umem_block *block;
	struct umem_frame *frames;
	size_t n_frames;
	size_t frames_room;
	struct umem_ranges room;
	uint64_t end;
	uint64_t room_end;
	uint64_t pushed;
	uint64_t n_written;
	unsigned tail;
	size_t tail_bytes;
	uint64_t failed_at;
	int err;
};

static int fail(struct umem_sink *sink, int err, uint64_t offset)
{
	if (sink->err == 0) {
		sink->err = err;
		sink->failed_at = offset;
	}
	return sink->err;
}

static unsigned char *buffer_at(const struct umem_sink *sink, unsigned i)
{
	return sink->memory + i * sink->block_bytes;
}

/* Blocks are as long as sixteen of them fit, up to UMEM_BLOCK_PAGES, of whole frames. */
static void choose_sizes(struct umem_sink *sink)
{
	uint64_t frame_bytes = (uint64_t)sink->options.frame_pages * PAGE_BYTES;
	uint64_t block = umem_align_down(sink->options.buffer_bytes / 16, frame_bytes);

	block = umem_max_u64(umem_min_u64(block, UMEM_BLOCK_PAGES * PAGE_BYTES), frame_bytes);
	sink->block_bytes = block;
	sink->n_buffers = (unsigned)umem_min_u64(sink->options.buffer_bytes / block,
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
	sink->pushed = UMEM_IMAGE_HEADER_BYTES;
	sink->tail = NO_BUFFER;
	choose_sizes(sink);
	sink->unused = calloc(sink->n_buffers, sizeof(*sink->unused));
	if (!sink->unused)
		return -ENOMEM;
	for (unsigned i = 0; i < sink->n_buffers; i++)
		sink->unused[sink->n_unused++] = sink->n_buffers - 1 - i;
	sink->memory = mmap(NULL, sink->n_buffers * sink->block_bytes, PROT_READ | PROT_WRITE,
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
		munmap(sink->memory, sink->n_buffers * sink->block_bytes);
	umem_ranges_deinit(&sink->room);
	free(sink->frames);
	free(sink->unused);
	free(sink);
	return NULL;
}

/* Room for @len_bytes, a multiple of 4096. */
static int take_room(struct umem_sink *sink, uint64_t len_bytes, uint64_t *ret_offset)
{
	for (size_t i = 0; i < sink->room.n; i++) {
		const struct umem_range *range = &sink->room.v[i];

		if (range->end - range->start < len_bytes)
			continue;
		*ret_offset = range->start;
		return umem_ranges_sub(&sink->room, range->start, range->start + len_bytes);
	}
	if (sink->end > INT64_MAX - AHEAD_BYTES - len_bytes)
		return -EFBIG;
	*ret_offset = sink->end;
	sink->end += len_bytes;
	/*
	 * Room ahead only makes it quicker: where it is not had, the write itself says
	 * whether there is any. An image that stays below needs none.
	 */
	if (sink->end > sink->room_end && sink->end > AHEAD_BYTES / 8) {
		uint64_t from = umem_max_u64(sink->room_end, *ret_offset);

		sink->room_end = sink->end + AHEAD_BYTES;
		if (fallocate(sink->options.fd, 0, (off_t)from,
			    (off_t)(sink->room_end - from)) < 0)
			sink->room_end = INT64_MAX;
	}
	return 0;
}

/* Without O_DIRECT: what was written goes to the disk and leaves the page cache. */
static void push(struct umem_sink *sink)
{
	uint64_t end = umem_align_down(sink->end, PUSH_BYTES);

	if (sink->options.direct || end < sink->pushed + 2 * PUSH_BYTES)
		return;
	sync_file_range(sink->options.fd, (off_t)(end - PUSH_BYTES), (off_t)PUSH_BYTES,
		SYNC_FILE_RANGE_WRITE);
	end -= PUSH_BYTES;
	sync_file_range(sink->options.fd, (off_t)sink->pushed, (off_t)(end - sink->pushed),
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
		SYNC_FILE_RANGE_WAIT_AFTER);
	posix_fadvise(sink->options.fd, (off_t)sink->pushed, (off_t)(end - sink->pushed),
		POSIX_FADV_DONTNEED);
	sink->pushed = end;
}

static int write_plainly(struct umem_sink *sink, const unsigned char *at, size_t len_bytes,
	uint64_t offset)
{
	while (len_bytes > 0) {
		ssize_t n = pwrite(sink->options.fd, at, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(sink, n < 0 ? -errno : -EIO, offset);
		at += n;
		offset += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

/* Write a buffer out; it is free again when that is done. */
static int write_buffer(struct umem_sink *sink, unsigned buffer, size_t len_bytes,
	uint64_t offset)
{
	int r = sink->err;

	sink->n_written += len_bytes;
	/* What fits into one buffer needs no ring, which takes longer to make. */
	if (r == 0 && !sink->ring && sink->end > UMEM_IMAGE_HEADER_BYTES + sink->block_bytes) {
		r = umem_ring_new(sink->n_buffers, sink->memory, sink->block_bytes,
			sink->n_buffers, &sink->ring);
		if (r < 0)
			fail(sink, r, 0);
	}
	if (r == 0 && sink->ring) {
		r = umem_ring_write(sink->ring, sink->options.fd, buffer, len_bytes, offset,
			(uint64_t)buffer << 52 | offset >> UMEM_IMAGE_PAGE_SHIFT);
		if (r == 0) {
			push(sink);
			return 0;
		}
		fail(sink, r, offset);
	} else if (r == 0) {
		r = write_plainly(sink, buffer_at(sink, buffer), len_bytes, offset);
	}
	sink->unused[sink->n_unused++] = buffer;
	return r;
}

/* Take one write that ended. Return: 0, UMEM_AGAIN: none. */
static int reap(struct umem_sink *sink, bool wait)
{
	struct umem_ring_done done;
	int r;

	if (!sink->ring)
		return UMEM_AGAIN;
	r = umem_ring_wait(sink->ring, wait, &done);
	if (r < 0)
		return fail(sink, r, 0);
	if (r > 0)
		return r;
	sink->unused[sink->n_unused++] = (unsigned)(done.cookie >> 52);
	if (done.err < 0)
		fail(sink, done.err,
			(done.cookie & ((1ull << 52) - 1)) << UMEM_IMAGE_PAGE_SHIFT);
	return 0;
}

static int keep_frames(struct umem_sink *sink, const struct umem_block *block, uint64_t offset)
{
	if (sink->frames_room - sink->n_frames < block->n_frames) {
		size_t room = sink->frames_room ? sink->frames_room * 2 : 1024;
		struct umem_frame *more = realloc(sink->frames, room * sizeof(*more));

		if (!more)
			return fail(sink, -ENOMEM, 0);
		sink->frames = more;
		sink->frames_room = room;
	}
	for (unsigned i = 0; i < block->n_frames; i++) {
		sink->frames[sink->n_frames] = block->frames[i];
		sink->frames[sink->n_frames++].offset += offset;
	}
	return 0;
}

/* Begin to write one block that is encoded. Return: 0, UMEM_AGAIN: none is. */
static int drain_one(struct umem_sink *sink, bool wait)
{
	struct umem_block *block = umem_pipe_take(sink->pipe, wait);
	unsigned buffer;
	uint64_t offset;
	size_t len;
	int r = sink->err;

	if (!block)
		return UMEM_AGAIN;
	buffer = block->pages_buffer;
	if (block->out) {
		sink->unused[sink->n_unused++] = block->pages_buffer;
		buffer = block->out_buffer;
	}
	len = umem_align_up(block->out_bytes, PAGE_BYTES);
	memset(buffer_at(sink, buffer) + block->out_bytes, 0, len - block->out_bytes);
	if (r == 0) {
		r = take_room(sink, len, &offset);
		if (r < 0)
			fail(sink, r, sink->end);
	}
	if (r == 0)
		r = keep_frames(sink, block, offset);
	if (r == 0)
		return write_buffer(sink, buffer, len, offset);
	sink->unused[sink->n_unused++] = buffer;
	return r;
}

/* A buffer; waits for one. */
static int get_buffer(struct umem_sink *sink, unsigned *ret_buffer)
{
	while (sink->n_unused == 0) {
		int r = drain_one(sink, false);

		if (r > 0)
			r = reap(sink, false);
		/* Neither: wait for the disk when that has work, else for the threads. */
		if (r > 0)
			r = reap(sink, true);
		if (r > 0)
			r = drain_one(sink, true);
		if (r < 0)
			return r;
	}
	*ret_buffer = sink->unused[--sink->n_unused];
	return 0;
}

/* Keep threads and disk busy, without waiting. */
static void advance(struct umem_sink *sink)
{
	while (drain_one(sink, false) == 0)
		;
	while (reap(sink, false) == 0)
		;
}

/* A block to fill. */
static int begin_block(struct umem_sink *sink)
{
	struct umem_block *block;
	int r;

	while (!(block = umem_pipe_free_block(sink->pipe))) {
		r = drain_one(sink, true);
		if (r < 0)
			return r;
	}
	r = get_buffer(sink, &block->pages_buffer);
	if (r < 0)
		return r;
	block->pages = buffer_at(sink, block->pages_buffer);
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
		return 0;
	if (sink->options.zstd) {
		r = get_buffer(sink, &block->out_buffer);
		if (r < 0)
			return r;
		block->out = buffer_at(sink, block->out_buffer);
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
	if ((size_t)block->n_pages * PAGE_BYTES == sink->block_bytes)
		return end_block(sink);
	return 0;
}

int umem_sink_flush(struct umem_sink *sink)
{
	int r = end_block(sink);

	while (r == 0 && umem_pipe_under_way(sink->pipe) > 0)
		r = drain_one(sink, true);
	while (r == 0 && sink->ring && umem_ring_in_flight(sink->ring) > 0)
		r = reap(sink, true);
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

int umem_sink_release(struct umem_sink *sink, uint64_t start, uint64_t end)
{
	int r = umem_ranges_add(&sink->room, start, end);
	struct umem_range *last;

	if (r < 0)
		return fail(sink, r, 0);
	last = sink->room.n ? &sink->room.v[sink->room.n - 1] : NULL;
	if (last && last->end == sink->end) {
		sink->end = last->start;
		sink->room.n--;
	}
	return 0;
}

int umem_sink_read(struct umem_sink *sink, void *bytes, size_t len_bytes, uint64_t offset)
{
	unsigned char *at = bytes;

	while (len_bytes > 0) {
		ssize_t n = pread(sink->options.fd, at, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(sink, n < 0 ? -errno : -EIO, offset);
		at += n;
		offset += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

uint64_t umem_sink_written(const struct umem_sink *sink)
{
	return sink->n_written;
}

uint64_t umem_sink_end(const struct umem_sink *sink)
{
	return sink->end;
}

uint64_t umem_sink_free_bytes(const struct umem_sink *sink)
{
	return umem_ranges_bytes(&sink->room);
}

uint64_t umem_sink_failed_at(const struct umem_sink *sink)
{
	return sink->failed_at;
}

/* Write the tail; it is padded where it is the last one. */
static int tail_out(struct umem_sink *sink)
{
	size_t len = umem_align_up(sink->tail_bytes, PAGE_BYTES);
	unsigned buffer = sink->tail;
	uint64_t offset = sink->end;

	if (buffer == NO_BUFFER)
		return sink->err;
	memset(buffer_at(sink, buffer) + sink->tail_bytes, 0, len - sink->tail_bytes);
	sink->tail = NO_BUFFER;
	sink->tail_bytes = 0;
	sink->end += len;
	return write_buffer(sink, buffer, len, offset);
}

int umem_sink_append(struct umem_sink *sink, const void *bytes, size_t len_bytes)
{
	const unsigned char *at = bytes;

	while (sink->err == 0 && len_bytes > 0) {
		size_t n;

		if (sink->tail == NO_BUFFER && get_buffer(sink, &sink->tail) < 0)
			break;
		n = umem_min_u64(len_bytes, sink->block_bytes - sink->tail_bytes);
		memcpy(buffer_at(sink, sink->tail) + sink->tail_bytes, at, n);
		sink->tail_bytes += n;
		at += n;
		len_bytes -= n;
		if (sink->tail_bytes == sink->block_bytes)
			tail_out(sink);
	}
	return sink->err;
}

uint64_t umem_sink_position(const struct umem_sink *sink)
{
	return sink->end + sink->tail_bytes;
}

int umem_sink_align(struct umem_sink *sink)
{
	return tail_out(sink);
}

/* What is free reads as zeros from now on, and takes no room where that is possible. */
static int clear_room(struct umem_sink *sink)
{
	static const unsigned char zeros[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

	for (size_t i = 0; i < sink->room.n; i++) {
		const struct umem_range *range = &sink->room.v[i];
		uint64_t len = range->end - range->start;

		if (fallocate(sink->options.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    (off_t)range->start, (off_t)len) == 0)
			continue;
		for (uint64_t at = range->start; at < range->end; at += PAGE_BYTES) {
			int r = write_plainly(sink, zeros, PAGE_BYTES, at);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int umem_sink_finish(struct umem_sink *sink, const void *header)
{
	unsigned buffer;
	int r = tail_out(sink);

	if (r == 0)
		r = umem_sink_flush(sink);
	if (r == 0)
		r = clear_room(sink);
	if (r == 0 && ftruncate(sink->options.fd, (off_t)sink->end) < 0)
		r = fail(sink, -errno, sink->end);
	if (r == 0)
		r = get_buffer(sink, &buffer);
	if (r < 0)
		return r;
	memcpy(buffer_at(sink, buffer), header, UMEM_IMAGE_HEADER_BYTES);
	r = write_plainly(sink, buffer_at(sink, buffer), UMEM_IMAGE_HEADER_BYTES, 0);
	sink->unused[sink->n_unused++] = buffer;
	sink->n_written += UMEM_IMAGE_HEADER_BYTES;
	return r;
}
