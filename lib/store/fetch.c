// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading and decoding the frames of an image; see image.h.
 *
 * Theory of operation
 *
 * Whole frames that lie in the range that is asked for are decoded to where they are
 * wanted. Of a frame of which only a part is, all is decoded into the cache, a slot
 * for each frame number modulo the number of slots.
 *
 * Bytes of the file come through a window: what was read last, a frame and as many
 * that follow it in the file as the range needs, up to WINDOW_BYTES. Plain frames that
 * follow each other are read straight to where they are wanted.
 *
 * Who reads on and on (STREAK_BYTES, each frame close behind the one before) gets the
 * file read ahead, past the page cache, which is quicker and leaves what others have
 * there; until a frame lies elsewhere.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/store/ahead.h"
#include "lib/store/digest.h"
#include "lib/store/image.h"

#define WINDOW_BYTES (1u << 20)
#define STREAK_BYTES (8u << 20)
#define CLOSE_BYTES  (64u << 10)

/** struct slot - a frame of the cache; @frame is one more than its number, 0: none. */
struct slot {
	size_t frame;
	unsigned char *bytes;
};

/**
 * struct umem_fetch - what reads.
 * @window, @window_at, @window_len: bytes of the file.
 * @next, @streak: where the last frame ended, and how much was read in a row.
 * @ahead: what reads ahead, while that is so.
 * @why, @bad_at: what went wrong, and where.
 */
struct umem_fetch {
	struct umem_image *image;
	struct umem_decoder *decoder;
	size_t n_slots;
	struct slot *slots;
	unsigned char *window;
	uint64_t window_at;
	size_t window_len;
	uint64_t next;
	uint64_t streak;
	struct umem_ahead *ahead;
	const char *why;
	uint64_t bad_at;
};

UMEM_DEFINE_CLEANUP(struct umem_fetch, umem_fetch_free)

int umem_fetch_new(struct umem_image *image, uint64_t cache_bytes, struct umem_fetch **ret_fetch)
{
	UMEM_CLEANUP(umem_fetch_freep) struct umem_fetch *fetch = calloc(1, sizeof(*fetch));
	uint64_t frame_bytes = umem_max_u64(image->index.max_frame_pages, 1) *
		UMEM_IMAGE_PAGE_BYTES;

	if (!fetch)
		return -ENOMEM;
	fetch->image = image;
	fetch->n_slots = umem_max_u64(umem_min_u64(cache_bytes / frame_bytes,
		image->index.n_frames), 1);
	fetch->slots = calloc(fetch->n_slots, sizeof(*fetch->slots));
	if (!fetch->slots)
		return -ENOMEM;
	*ret_fetch = UMEM_TAKE_PTR(fetch);
	return 0;
}

struct umem_fetch *umem_fetch_free(struct umem_fetch *fetch)
{
	if (!fetch)
		return NULL;
	for (size_t i = 0; fetch->slots && i < fetch->n_slots; i++)
		free(fetch->slots[i].bytes);
	umem_ahead_free(fetch->ahead);
	umem_decoder_free(fetch->decoder);
	free(fetch->slots);
	free(fetch->window);
	free(fetch);
	return NULL;
}

static int bad(struct umem_fetch *fetch, int err, const char *why, uint64_t offset)
{
	fetch->why = why;
	fetch->bad_at = offset;
	return err;
}

static int read_at(struct umem_fetch *fetch, void *bytes, size_t len_bytes, uint64_t offset)
{
	int r = umem_image_pread(fetch->image->fd, bytes, len_bytes, offset);

	if (r == -EBADMSG)
		return bad(fetch, r, "the file ends before", offset);
	return r < 0 ? bad(fetch, r, strerror(-r), offset) : 0;
}

/* Bytes from @offset on are wanted: is it a streak? Then there is an @ahead. */
static void note_place(struct umem_fetch *fetch, uint64_t offset, size_t len_bytes)
{
	bool goes_on = offset >= fetch->next && offset - fetch->next < CLOSE_BYTES;

	fetch->streak = goes_on ? fetch->streak + len_bytes : 0;
	fetch->next = offset + len_bytes;
	if (!goes_on)
		fetch->ahead = umem_ahead_free(fetch->ahead);
	/* When it cannot be had, reading goes on as before. */
	if (fetch->streak >= STREAK_BYTES && !fetch->ahead) {
		if (umem_ahead_new(fetch->image->fd, fetch->image->file_bytes, &fetch->ahead) < 0)
			fetch->streak = 0;
		free(UMEM_TAKE_PTR(fetch->window));
		fetch->window_len = 0;
	}
}

/* How much to read for frame @i, when @n_pages from its beginning on will be wanted. */
static size_t read_ahead(const struct umem_fetch *fetch, size_t i, uint64_t n_pages)
{
	struct umem_frame frame = umem_index_frame(&fetch->image->index, i);
	uint64_t first = frame.first, offset = frame.offset;
	size_t len = frame.stored_bytes;

	for (i++; i < fetch->image->index.n_frames; i++) {
		frame = umem_index_frame(&fetch->image->index, i);
		if (frame.first - first >= n_pages || frame.offset != offset + len ||
			len + frame.stored_bytes > WINDOW_BYTES)
			break;
		len += frame.stored_bytes;
	}
	return len;
}

static bool in_window(const struct umem_fetch *fetch, const struct umem_frame *frame)
{
	uint64_t into = frame->offset - fetch->window_at;

	return fetch->window && frame->offset >= fetch->window_at && into <= fetch->window_len &&
		frame->stored_bytes <= fetch->window_len - into;
}

/* The bytes of a frame in the file. */
static int stored(struct umem_fetch *fetch, size_t i, const struct umem_frame *frame,
	uint64_t n_pages, const unsigned char **ret_at)
{
	note_place(fetch, frame->offset, frame->stored_bytes);
	if (fetch->ahead) {
		int r = umem_ahead_get(fetch->ahead, frame->offset, frame->stored_bytes, ret_at);

		return r < 0 ? bad(fetch, r, r == -EBADMSG ? "the file ends before" :
			strerror(-r), frame->offset) : 0;
	}
	if (!in_window(fetch, frame)) {
		size_t len = read_ahead(fetch, i, n_pages);
		int r;

		if (!fetch->window)
			fetch->window = malloc(umem_min_u64(WINDOW_BYTES,
				fetch->image->file_bytes));
		if (!fetch->window)
			return bad(fetch, -ENOMEM, "no memory", frame->offset);
		fetch->window_len = 0;
		r = read_at(fetch, fetch->window, len, frame->offset);
		if (r < 0)
			return r;
		fetch->window_at = frame->offset;
		fetch->window_len = len;
	}
	*ret_at = fetch->window + (frame->offset - fetch->window_at);
	return 0;
}

/* A frame into @bytes, which has room for all of it. */
static int decode(struct umem_fetch *fetch, size_t i, const struct umem_frame *frame,
	uint64_t n_pages, unsigned char *bytes)
{
	size_t len = (size_t)frame->n_pages * UMEM_IMAGE_PAGE_BYTES;
	const unsigned char *at;
	int r = stored(fetch, i, frame, n_pages, &at);

	if (r < 0)
		return r;
	if (umem_digest64(at, frame->stored_bytes) != frame->checksum) {
		/* Not from the window the next time: it may have been repaired. */
		fetch->window_len = 0;
		return bad(fetch, -EBADMSG, "a frame does not match its checksum", frame->offset);
	}
	if (frame->codec == UMEM_FRAME_PLAIN) {
		memcpy(bytes, at, len);
		return 0;
	}
	if (!fetch->decoder) {
		r = umem_decoder_new(&fetch->decoder);
		if (r < 0)
			return bad(fetch, r, "no memory", frame->offset);
	}
	r = umem_decoder_frame(fetch->decoder, at, frame->stored_bytes, bytes, len);
	return r < 0 ? bad(fetch, r, "a frame does not decompress", frame->offset) : 0;
}

/* A part of a frame, by way of the cache. */
static int from_cache(struct umem_fetch *fetch, size_t i, const struct umem_frame *frame,
	uint64_t first, uint64_t n_pages, unsigned char *bytes)
{
	struct slot *slot = &fetch->slots[i % fetch->n_slots];

	if (slot->frame != i + 1) {
		int r;

		if (!slot->bytes)
			slot->bytes = malloc((size_t)fetch->image->index.max_frame_pages *
				UMEM_IMAGE_PAGE_BYTES);
		if (!slot->bytes)
			return bad(fetch, -ENOMEM, "no memory", frame->offset);
		slot->frame = 0;
		r = decode(fetch, i, frame, 1, slot->bytes);
		if (r < 0)
			return r;
		slot->frame = i + 1;
	}
	memcpy(bytes, slot->bytes + first * UMEM_IMAGE_PAGE_BYTES,
		n_pages * UMEM_IMAGE_PAGE_BYTES);
	return 0;
}

/* Whole plain frames that follow each other, from @i on. Return: how many. */
static size_t plain_frames(const struct umem_fetch *fetch, size_t i, uint64_t n_pages,
	size_t *ret_bytes)
{
	const struct umem_index *index = &fetch->image->index;
	struct umem_frame frame = umem_index_frame(index, i);
	uint64_t first = frame.first, offset = frame.offset, len = 0;
	size_t n = 0;

	/* What is read ahead is in memory already. */
	if (fetch->ahead)
		return 0;
	while (frame.codec == UMEM_FRAME_PLAIN && frame.offset == offset + len &&
		frame.first == first + len / UMEM_IMAGE_PAGE_BYTES &&
		len + frame.stored_bytes <= n_pages * UMEM_IMAGE_PAGE_BYTES &&
		len + frame.stored_bytes <= WINDOW_BYTES) {
		len += frame.stored_bytes;
		n++;
		if (++i == index->n_frames)
			break;
		frame = umem_index_frame(index, i);
	}
	*ret_bytes = len;
	return n;
}

/* Read @n plain frames to where they are wanted. */
static int read_plain(struct umem_fetch *fetch, size_t i, size_t n, unsigned char *bytes,
	size_t len_bytes)
{
	struct umem_frame frame = umem_index_frame(&fetch->image->index, i);
	int r = read_at(fetch, bytes, len_bytes, frame.offset);

	note_place(fetch, frame.offset, len_bytes);
	for (; r == 0 && n > 0; n--, i++) {
		frame = umem_index_frame(&fetch->image->index, i);
		if (umem_digest64(bytes, frame.stored_bytes) != frame.checksum)
			r = bad(fetch, -EBADMSG, "a frame does not match its checksum",
				frame.offset);
		bytes += frame.stored_bytes;
	}
	return r;
}

/* As many of the pages as one step gives. */
static int step(struct umem_fetch *fetch, uint64_t number, unsigned char *bytes,
	uint64_t n_pages, uint64_t *ret_done)
{
	struct umem_frame frame;
	uint64_t into, n;
	size_t i, n_frames, len;

	if (!umem_index_frame_of(&fetch->image->index, number, &i))
		return bad(fetch, -EBADMSG, "a run refers to pages that no frame has", 0);
	frame = umem_index_frame(&fetch->image->index, i);
	into = number - frame.first;
	n = umem_min_u64(n_pages, frame.n_pages - into);
	*ret_done = n;
	if (n < frame.n_pages)
		return from_cache(fetch, i, &frame, into, n, bytes);
	n_frames = plain_frames(fetch, i, n_pages, &len);
	if (n_frames == 0)
		return decode(fetch, i, &frame, n_pages, bytes);
	*ret_done = len / UMEM_IMAGE_PAGE_BYTES;
	return read_plain(fetch, i, n_frames, bytes, len);
}

int umem_fetch_pages(struct umem_fetch *fetch, uint64_t number, void *bytes, uint64_t n_pages,
	const char **ret_why, uint64_t *ret_offset)
{
	unsigned char *at = bytes;

	while (n_pages > 0) {
		uint64_t done = 0;
		int r = step(fetch, number, at, n_pages, &done);

		if (r < 0) {
			*ret_why = fetch->why;
			*ret_offset = fetch->bad_at;
			return r;
		}
		number += done;
		at += done * UMEM_IMAGE_PAGE_BYTES;
		n_pages -= done;
	}
	return 0;
}
