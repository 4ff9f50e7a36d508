// SPDX-License-Identifier: LGPL-2.1-or-later
/* Buffers and slots of a sink; see sink.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/store/sink_core.h"

#define PAGE_BYTES  UMEM_IMAGE_PAGE_BYTES
#define AHEAD_BYTES (64ull << 20)
#define PUSH_BYTES  (8ull << 20)

/* In the cookie of a write, the buffer is above the page of the file. */
#define COOKIE_SHIFT 52

int umem_sink_fail(struct umem_sink *sink, int err, uint64_t offset)
{
	if (sink->err == 0) {
		sink->err = err;
		sink->failed_at = offset;
	}
	return sink->err;
}

/*
 * Room ahead only makes it quicker: where it is not had, the write itself says whether
 * there is any. An image that stays below needs none.
 */
static void allocate_ahead(struct umem_sink *sink)
{
	uint64_t from = umem_max_u64(sink->room_end, sink->high);

	if (sink->end <= sink->room_end || sink->end <= AHEAD_BYTES / 8)
		return;
	sink->room_end = sink->end + AHEAD_BYTES;
	if (fallocate(sink->options.fd, 0, (off_t)from, (off_t)(sink->room_end - from)) < 0)
		sink->room_end = INT64_MAX;
}

int umem_sink_take_slot(struct umem_sink *sink, uint64_t *ret_offset)
{
	uint64_t slot = sink->n_slots;

	if (sink->free_slots.n > 0) {
		int r;

		slot = sink->free_slots.v[0].start;
		r = umem_ranges_sub(&sink->free_slots, slot, slot + 1);
		if (r < 0)
			return umem_sink_fail(sink, r, 0);
	} else if (slot > (INT64_MAX - 2 * AHEAD_BYTES) / sink->slot_bytes) {
		return umem_sink_fail(sink, -EFBIG, sink->end);
	}
	*ret_offset = UMEM_IMAGE_HEADER_BYTES + slot * sink->slot_bytes;
	if (slot == sink->n_slots) {
		sink->n_slots++;
		sink->end = *ret_offset + sink->slot_bytes;
		allocate_ahead(sink);
	}
	return 0;
}

int umem_sink_release(struct umem_sink *sink, uint64_t offset)
{
	uint64_t slot = (offset - UMEM_IMAGE_HEADER_BYTES) / sink->slot_bytes;
	int r = umem_ranges_add(&sink->free_slots, slot, slot + 1);
	struct umem_range *last;

	if (r < 0)
		return umem_sink_fail(sink, r, 0);
	last = &sink->free_slots.v[sink->free_slots.n - 1];
	if (last->end == sink->n_slots) {
		sink->n_slots = last->start;
		sink->end = UMEM_IMAGE_HEADER_BYTES + sink->n_slots * sink->slot_bytes;
		sink->free_slots.n--;
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

int umem_sink_write_now(struct umem_sink *sink, const unsigned char *bytes, size_t len_bytes,
	uint64_t offset)
{
	while (len_bytes > 0) {
		ssize_t n = pwrite(sink->options.fd, bytes, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return umem_sink_fail(sink, n < 0 ? -errno : -EIO, offset);
		bytes += n;
		offset += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

/* What fits into one buffer needs no ring, which takes longer to make. */
static void need_ring(struct umem_sink *sink)
{
	int r;

	if (sink->ring || sink->n_slots < 2)
		return;
	r = umem_ring_new(sink->n_buffers, sink->memory, sink->slot_bytes, sink->n_buffers,
		&sink->ring);
	if (r < 0)
		umem_sink_fail(sink, r, 0);
}

int umem_sink_write_buffer(struct umem_sink *sink, unsigned buffer, size_t len_bytes,
	uint64_t offset)
{
	int r;

	sink->n_written += len_bytes;
	sink->high = umem_max_u64(sink->high, offset + len_bytes);
	need_ring(sink);
	r = sink->err;
	if (r == 0 && sink->ring) {
		r = umem_ring_write(sink->ring, sink->options.fd, buffer, len_bytes, offset,
			(uint64_t)buffer << COOKIE_SHIFT | offset / PAGE_BYTES);
		if (r == 0) {
			push(sink);
			return 0;
		}
		umem_sink_fail(sink, r, offset);
	} else if (r == 0) {
		r = umem_sink_write_now(sink, umem_sink_buffer(sink, buffer), len_bytes, offset);
	}
	umem_sink_give_back(sink, buffer);
	return r;
}

int umem_sink_write_slot(struct umem_sink *sink, unsigned buffer, size_t len_bytes,
	uint64_t offset)
{
	size_t len = offset < sink->high ? sink->slot_bytes : umem_align_up(len_bytes, PAGE_BYTES);

	memset(umem_sink_buffer(sink, buffer) + len_bytes, 0, len - len_bytes);
	/* The last slot may be shorter: what comes behind the frames begins there. */
	if (offset + sink->slot_bytes == sink->end)
		sink->end = offset + len;
	return umem_sink_write_buffer(sink, buffer, len, offset);
}

int umem_sink_reap(struct umem_sink *sink, bool wait)
{
	struct umem_ring_done done;
	int r;

	if (!sink->ring)
		return UMEM_AGAIN;
	r = umem_ring_wait(sink->ring, wait, &done);
	if (r < 0)
		return umem_sink_fail(sink, r, 0);
	if (r > 0)
		return r;
	umem_sink_give_back(sink, (unsigned)(done.cookie >> COOKIE_SHIFT));
	if (done.err < 0)
		umem_sink_fail(sink, done.err,
			(done.cookie & ((1ull << COOKIE_SHIFT) - 1)) * PAGE_BYTES);
	return 0;
}

int umem_sink_get_buffer(struct umem_sink *sink, unsigned *ret_buffer)
{
	while (sink->n_unused == 0) {
		int r = umem_sink_drain_one(sink, false);

		if (r > 0)
			r = umem_sink_reap(sink, false);
		/* Neither: wait for the disk when that has work, else for the threads. */
		if (r > 0)
			r = umem_sink_reap(sink, true);
		if (r > 0)
			r = umem_sink_drain_one(sink, true);
		if (r < 0)
			return r;
	}
	*ret_buffer = sink->unused[--sink->n_unused];
	return 0;
}
