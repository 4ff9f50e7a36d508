// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Proving an image: every byte of the file, and of its parents.
 *
 * Theory of operation
 *
 * The file is read from front to back, once. The frames, sorted by place, and the
 * hashes, tell which bytes are under which checksum; what lies between them must be
 * zero. A frame must match its checksum, decompress to its pages, and these must match
 * the hashes of pages. Header and index are read again, too. Nothing may overlap. Then
 * the runs: what they refer to must be there, in the file or in the parent.
 */
#include <errno.h>
#include <stdlib.h>

#include <umemd/store.h>

#include "lib/base/note.h"
#include "lib/store/ahead.h"
#include "lib/store/digest.h"
#include "lib/store/image.h"

#define PROGRESS_BYTES (16ull << 20)

/** struct piece - bytes of the file that belong together; @frame: number, or NOT_A_FRAME. */
struct piece {
	uint64_t offset;
	uint64_t len_bytes;
	size_t frame;
};

#define NOT_A_FRAME SIZE_MAX

/**
 * struct verify - a verification of a chain.
 * @image: which of the chain.
 * @n_damages: so many were found.
 * @done, @total, @next: of progress.
 * @at: how far the file is proven.
 */
struct verify {
	const struct umem_image_verify_options *options;
	struct umem_note *note;
	struct umem_image *image;
	uint64_t n_damages;
	uint64_t done;
	uint64_t total;
	uint64_t next;
	struct umem_ahead *ahead;
	struct umem_decoder *decoder;
	unsigned char *pages;
	struct piece *pieces;
	size_t n_pieces;
	uint64_t at;
};

static void verify_deinit(struct verify *v)
{
	umem_ahead_free(v->ahead);
	umem_decoder_free(v->decoder);
	free(v->pages);
	free(v->pieces);
}

/* Report a damage. Return: 0: go on. */
static int damage(struct verify *v, uint64_t offset, const char *text)
{
	v->n_damages++;
	umem_note_set(v->note, -EBADMSG, 0, "%s: damaged: %s, at byte %llu", v->image->path,
		text, (unsigned long long)offset);
	if (!v->options->damage)
		return -EBADMSG;
	v->options->damage(v->options->user, v->image->path, offset, text);
	return 0;
}

static int progress(struct verify *v, uint64_t n_bytes)
{
	v->done += n_bytes;
	if (!v->options->progress || (v->done < v->next && v->done < v->total))
		return 0;
	v->next = v->done + PROGRESS_BYTES;
	return v->options->progress(v->options->user, v->done, v->total);
}

/* The next bytes, for a checksum; NULL in *ret_at: they cannot be had, which is told. */
static int next_bytes(struct verify *v, uint64_t offset, size_t len_bytes,
	const unsigned char **ret_at)
{
	int r = umem_ahead_get(v->ahead, offset, len_bytes, ret_at);

	if (r == 0)
		return 0;
	*ret_at = NULL;
	if (r == -EBADMSG)
		return damage(v, offset, "the file ends before");
	if (r == -EIO)
		return damage(v, offset, "the disk cannot read it");
	return umem_note_set(v->note, r, 0, "%s: reading: %s", v->image->path, strerror(-r));
}

static int by_offset(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* All that is under a checksum, by place. */
static int list_pieces(struct verify *v)
{
	const struct umem_index *index = &v->image->index;

	free(v->pieces);
	v->n_pieces = 0;
	v->pieces = malloc((index->n_frames + 2) * sizeof(*v->pieces));
	if (!v->pieces)
		return -ENOMEM;
	for (size_t i = 0; i < index->n_frames; i++) {
		struct umem_frame frame = umem_index_frame(index, i);

		v->pieces[v->n_pieces++] =
			(struct piece){ frame.offset, frame.stored_bytes, i };
	}
	if (index->n_hashes > 0)
		v->pieces[v->n_pieces++] =
			(struct piece){ index->hashes_offset, index->n_hashes * 8, NOT_A_FRAME };
	v->pieces[v->n_pieces++] =
		(struct piece){ v->image->index_offset, index->len_bytes, NOT_A_FRAME };
	qsort(v->pieces, v->n_pieces, sizeof(*v->pieces), by_offset);
	return 0;
}

static bool all_zero(const unsigned char *bytes, size_t len_bytes)
{
	return len_bytes == 0 ||
		(bytes[0] == 0 && memcmp(bytes, bytes + 1, len_bytes - 1) == 0);
}

/* What lies before @end, and in no piece. */
static int check_gap(struct verify *v, uint64_t end)
{
	bool told = false;
	int r = 0;

	while (v->at < end && r == 0) {
		size_t len = umem_min_u64(end - v->at, UMEM_AHEAD_MAX);
		const unsigned char *bytes;

		r = next_bytes(v, v->at, len, &bytes);
		if (r == 0 && bytes && !told && !all_zero(bytes, len)) {
			told = true;
			r = damage(v, v->at, "bytes between the parts of the file are not zero");
		}
		v->at += len;
		if (r == 0)
			r = progress(v, len);
	}
	return r;
}

/* Do the pages of a frame have the hashes that the file says? */
static bool hashes_match(const struct umem_image *image, size_t i, const struct umem_frame *frame,
	const unsigned char *pages)
{
	if (!image->hashes)
		return true;
	for (unsigned k = 0; k < frame->n_pages; k++) {
		if (umem_pagehash_one(image->key, pages + (size_t)k * UMEM_IMAGE_PAGE_BYTES) !=
			image->hashes[image->ordinals[i] + k])
			return false;
	}
	return true;
}

static int check_frame(struct verify *v, size_t i)
{
	struct umem_frame frame = umem_index_frame(&v->image->index, i);
	const unsigned char *bytes;
	int r = next_bytes(v, frame.offset, frame.stored_bytes, &bytes);

	if (r < 0 || !bytes)
		return r;
	if (umem_digest64(bytes, frame.stored_bytes) != frame.checksum)
		return damage(v, frame.offset, "a frame does not match its checksum");
	if (frame.codec == UMEM_FRAME_ZSTD) {
		if (umem_decoder_frame(v->decoder, bytes, frame.stored_bytes, v->pages,
			    (size_t)frame.n_pages * UMEM_IMAGE_PAGE_BYTES) < 0)
			return damage(v, frame.offset, "a frame does not decompress");
		bytes = v->pages;
	}
	if (!hashes_match(v->image, i, &frame, bytes))
		return damage(v, frame.offset, "a page does not match its hash");
	return 0;
}

static int check_pieces(struct verify *v)
{
	int r = 0;

	v->at = UMEM_IMAGE_HEADER_BYTES;
	for (size_t i = 0; i < v->n_pieces && r == 0; i++) {
		const struct piece *piece = &v->pieces[i];

		if (piece->offset < v->at) {
			r = damage(v, piece->offset, "parts of the file overlap");
			continue;
		}
		r = check_gap(v, piece->offset);
		if (r == 0 && piece->frame != NOT_A_FRAME)
			r = check_frame(v, piece->frame);
		v->at = piece->offset + piece->len_bytes;
		if (r == 0)
			r = progress(v, piece->len_bytes);
	}
	return r == 0 ? check_gap(v, v->image->file_bytes) : r;
}

/* Header, index and hashes are what they were when the image was opened. */
static int check_index(struct verify *v)
{
	struct umem_image *image = v->image;
	UMEM_FREE unsigned char *bytes = malloc(image->index.len_bytes + 1);
	unsigned char header[UMEM_IMAGE_HEADER_BYTES];
	int r = umem_image_pread(image->fd, header, sizeof(header), 0);

	if (!bytes)
		return -ENOMEM;
	if (r == -EBADMSG || (r == 0 && umem_get64(header + UMEM_HEADER_CHECKSUM) !=
		umem_digest64(header, UMEM_HEADER_CHECKSUM)))
		r = damage(v, 0, "the header does not match its checksum");
	if (r == 0)
		r = umem_image_pread(image->fd, bytes, image->index.len_bytes,
			image->index_offset);
	if (r == -EBADMSG || (r == 0 &&
		memcmp(bytes, image->index.bytes, image->index.len_bytes) != 0))
		r = damage(v, image->index_offset, "the index does not match its checksum");
	if (r < 0)
		return r;
	r = umem_image_load_hashes(image);
	if (r == -EBADMSG)
		return damage(v, image->index.hashes_offset,
			"the hashes of pages do not match their checksum");
	return r == -ENODATA ? 0 : r;
}

/* Does every page of a run of data have a frame? */
static bool has_frames(const struct umem_index *index, const struct umem_run *run)
{
	uint64_t number = run->ref, end = run->ref + run->n_pages;
	size_t i;

	if (!umem_index_frame_of(index, number, &i))
		return false;
	for (; number < end; i++) {
		struct umem_frame frame;

		if (i == index->n_frames)
			return false;
		frame = umem_index_frame(index, i);
		if (frame.first > number)
			return false;
		number = frame.first + frame.n_pages;
	}
	return true;
}

/* Is every page of a run in the parent? */
static bool has_parent(const struct verify *v, const struct umem_run *run)
{
	uint64_t at = run->ref, end = run->ref + (umem_run_end(run) - run->start);

	while (v->image->parent && at < end) {
		struct umem_resolved found;

		umem_image_resolve(v->image->parent, run->space, at, end, &found);
		if (found.what == UMEM_RESOLVED_ABSENT)
			return false;
		at = found.end;
	}
	return true;
}

static int check_runs(struct verify *v)
{
	for (uint32_t s = 0; s < v->image->index.n_spaces; s++) {
		for (size_t i = 0; i < umem_image_n_runs(v->image, s); i++) {
			struct umem_run run = umem_image_run_at(v->image, s, i);
			int r = 0;

			if (run.kind == UMEM_RUN_DATA && !has_frames(&v->image->index, &run))
				r = damage(v, v->image->index_offset,
					"a run refers to pages that no frame has");
			if (run.kind == UMEM_RUN_PARENT && !has_parent(v, &run))
				r = damage(v, v->image->index_offset,
					"a run refers to pages that the parent has not");
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int verify_one(struct verify *v)
{
	int r;

	v->ahead = umem_ahead_free(v->ahead);
	r = umem_ahead_new(v->image->fd, v->image->file_bytes, &v->ahead);
	if (r == 0)
		r = list_pieces(v);
	if (r == 0)
		r = check_index(v);
	if (r == 0)
		r = check_pieces(v);
	if (r == 0)
		r = progress(v, UMEM_IMAGE_HEADER_BYTES);
	return r == 0 ? check_runs(v) : r;
}

int umem_image_verify(struct umem_image *image, const struct umem_image_verify_options *options,
	struct umem_note *note)
{
	static const struct umem_image_verify_options defaults = { .size = sizeof(defaults) };
	UMEM_CLEANUP(verify_deinit) struct verify v = { .note = note };
	uint32_t n_pages = 1;
	int r;

	v.options = options ? options : &defaults;
	if (v.options->size != sizeof(*options))
		return umem_note_set(note, -EINVAL, 0, "options of another version");
	for (struct umem_image *i = image; i; i = v.options->without_parents ? NULL : i->parent) {
		v.total += i->file_bytes;
		n_pages = umem_max_u64(n_pages, i->index.max_frame_pages);
	}
	v.pages = malloc((size_t)n_pages * UMEM_IMAGE_PAGE_BYTES);
	if (!v.pages)
		return -ENOMEM;
	r = umem_decoder_new(&v.decoder);
	for (v.image = image; v.image && r == 0;
		v.image = v.options->without_parents ? NULL : v.image->parent)
		r = verify_one(&v);
	if (r == 0 && v.n_damages > 0)
		r = -EBADMSG;
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", image->path, strerror(-r));
	return r;
}
