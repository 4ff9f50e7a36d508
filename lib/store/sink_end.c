// SPDX-License-Identifier: LGPL-2.1-or-later
/* What comes behind the frames of a sink, and the end; see sink.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/store/sink_core.h"

#define PAGE_BYTES UMEM_IMAGE_PAGE_BYTES

/* Write the tail; it is padded where it is the last one. */
static int tail_out(struct umem_sink *sink)
{
	size_t len = umem_align_up(sink->tail_bytes, PAGE_BYTES);
	unsigned buffer = sink->tail;
	uint64_t offset = sink->end;

	if (buffer == UMEM_NO_BUFFER)
		return sink->err;
	memset(umem_sink_buffer(sink, buffer) + sink->tail_bytes, 0, len - sink->tail_bytes);
	sink->tail = UMEM_NO_BUFFER;
	sink->tail_bytes = 0;
	sink->end += len;
	return umem_sink_write_buffer(sink, buffer, len, offset);
}

int umem_sink_append(struct umem_sink *sink, const void *bytes, size_t len_bytes)
{
	const unsigned char *at = bytes;

	while (sink->err == 0 && len_bytes > 0) {
		size_t n;

		if (sink->tail == UMEM_NO_BUFFER && umem_sink_get_buffer(sink, &sink->tail) < 0)
			break;
		n = umem_min_u64(len_bytes, sink->slot_bytes - sink->tail_bytes);
		memcpy(umem_sink_buffer(sink, sink->tail) + sink->tail_bytes, at, n);
		sink->tail_bytes += n;
		at += n;
		len_bytes -= n;
		if (sink->tail_bytes == sink->slot_bytes)
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

/* A range reads as zeros from now on, and takes no room where that is possible. */
static int clear(struct umem_sink *sink, uint64_t start, uint64_t end)
{
	static const unsigned char zeros[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

	if (fallocate(sink->options.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
		    (off_t)(end - start)) == 0)
		return 0;
	for (; start < end; start += PAGE_BYTES) {
		int r = umem_sink_write_now(sink, zeros, PAGE_BYTES, start);

		if (r < 0)
			return r;
	}
	return 0;
}

static int clear_free_slots(struct umem_sink *sink)
{
	int r = 0;

	for (size_t i = 0; i < sink->free_slots.n && r == 0; i++) {
		const struct umem_range *slots = &sink->free_slots.v[i];

		r = clear(sink, UMEM_IMAGE_HEADER_BYTES + slots->start * sink->slot_bytes,
			UMEM_IMAGE_HEADER_BYTES + slots->end * sink->slot_bytes);
	}
	return r;
}

int umem_sink_finish(struct umem_sink *sink, const void *header)
{
	unsigned buffer = UMEM_NO_BUFFER;
	int r = tail_out(sink);

	if (r == 0)
		r = umem_sink_flush(sink);
	if (r == 0)
		r = clear_free_slots(sink);
	if (r == 0 && ftruncate(sink->options.fd, (off_t)sink->end) < 0)
		r = umem_sink_fail(sink, -errno, sink->end);
	if (r == 0)
		r = umem_sink_get_buffer(sink, &buffer);
	if (r < 0)
		return r;
	memcpy(umem_sink_buffer(sink, buffer), header, UMEM_IMAGE_HEADER_BYTES);
	r = umem_sink_write_now(sink, umem_sink_buffer(sink, buffer), UMEM_IMAGE_HEADER_BYTES, 0);
	umem_sink_give_back(sink, buffer);
	sink->n_written += UMEM_IMAGE_HEADER_BYTES;
	return r;
}
