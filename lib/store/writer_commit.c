// SPDX-License-Identifier: LGPL-2.1-or-later
/* The writer of an image: its index, and the end; see writer.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/note.h"
#include "lib/store/digest.h"
#include "lib/store/image.h"
#include "lib/store/writer.h"

UMEM_DEFINE_CLEANUP(struct umem_digest, umem_digest_free)

/** struct hashes - where the hashes of pages are. */
struct hashes {
	uint64_t offset;
	uint64_t n;
	uint64_t checksum;
};

/* The hashes of all pages that are in frames, in the order of these. */
static int write_hashes(struct umem_image_writer *w, const struct umem_frame *frames, size_t n,
	struct hashes *ret_hashes)
{
	UMEM_CLEANUP(umem_digest_freep) struct umem_digest *digest = NULL;
	struct hashes hashes = { .offset = umem_sink_position(w->sink) };
	unsigned char bytes[UMEM_MAX_FRAME_PAGES * 8];
	int r = umem_digest_new(&digest);

	for (size_t i = 0; r == 0 && i < n; i++) {
		for (unsigned k = 0; k < frames[i].n_pages; k++)
			umem_put64(bytes + 8 * k, w->hashes[frames[i].first + k]);
		umem_digest_add(digest, bytes, frames[i].n_pages * 8u);
		hashes.n += frames[i].n_pages;
		r = umem_sink_append(w->sink, bytes, frames[i].n_pages * 8u);
	}
	if (r == 0)
		r = umem_sink_align(w->sink);
	if (r < 0)
		return r;
	hashes.checksum = umem_digest_value(digest);
	*ret_hashes = hashes;
	return 0;
}

static void add_frames(struct umem_parts *parts, const struct umem_frame *frames, size_t n)
{
	size_t begun = umem_parts_begin(parts, UMEM_TAG_FRAMES, UMEM_PART_REQUIRED);
	unsigned char *at = umem_parts_room(parts, n * UMEM_FRAME_RECORD_BYTES);

	for (size_t i = 0; at && i < n; i++)
		umem_frame_save(&frames[i], at + i * UMEM_FRAME_RECORD_BYTES);
	umem_parts_end(parts, begun);
}

static void add_space(struct umem_parts *parts, const struct umem_runs *runs)
{
	size_t begun = umem_parts_begin(parts, UMEM_TAG_SPACE, UMEM_PART_REQUIRED);
	unsigned char *to = umem_parts_room(parts, runs->n * UMEM_RUN_RECORD_BYTES);
	struct umem_runs_at at;

	for (bool more = to && umem_runs_first(runs, &at); more;
		more = umem_runs_next(runs, &at)) {
		umem_run_save(umem_runs_get(runs, &at), to);
		to += UMEM_RUN_RECORD_BYTES;
	}
	umem_parts_end(parts, begun);
}

static void add_hashes(struct umem_parts *parts, const struct hashes *hashes,
	const struct umem_pagehash *key)
{
	size_t begun = umem_parts_begin(parts, UMEM_TAG_HASHES, 0);
	unsigned char *at;

	umem_parts_u64(parts, hashes->offset);
	umem_parts_u64(parts, hashes->n);
	umem_parts_u64(parts, hashes->checksum);
	at = umem_parts_room(parts, UMEM_PAGEHASH_WORDS * 8);
	if (at)
		umem_pagehash_save(key, at);
	umem_parts_end(parts, begun);
}

static int make_index(struct umem_image_writer *w, const struct umem_frame *frames, size_t n,
	const struct hashes *hashes, struct umem_parts *parts)
{
	if (w->parent) {
		size_t begun = umem_parts_begin(parts, UMEM_TAG_PARENT, UMEM_PART_REQUIRED);

		umem_parts_add(parts, umem_image_id(w->parent)->bytes,
			sizeof(struct umem_image_id));
		umem_parts_text(parts, w->parent_name);
		umem_parts_end(parts, begun);
	}
	add_frames(parts, frames, n);
	for (uint32_t i = 0; i < w->n_spaces; i++)
		add_space(parts, &w->spaces[i].runs);
	add_hashes(parts, hashes, &w->key);
	umem_parts_add(parts, w->description.v, w->description.len_bytes);
	return parts->failed ? -ENOMEM : 0;
}

static void make_header(unsigned char *header, uint64_t index_offset, uint64_t file_bytes,
	const struct umem_parts *index)
{
	struct umem_image_id id;

	umem_digest128(index->v, index->len_bytes, &id);
	memset(header, 0, UMEM_IMAGE_HEADER_BYTES);
	memcpy(header + UMEM_HEADER_MAGIC, UMEM_IMAGE_MAGIC, 8);
	umem_put32(header + UMEM_HEADER_VERSION, UMEM_IMAGE_VERSION);
	umem_put32(header + UMEM_HEADER_LENGTH, UMEM_IMAGE_HEADER_BYTES);
	umem_put64(header + UMEM_HEADER_FILE_BYTES, file_bytes);
	umem_put64(header + UMEM_HEADER_INDEX_OFFSET, index_offset);
	umem_put64(header + UMEM_HEADER_INDEX_BYTES, index->len_bytes);
	memcpy(header + UMEM_HEADER_ID, id.bytes, sizeof(id.bytes));
	umem_put64(header + UMEM_HEADER_CHECKSUM, umem_digest64(header, UMEM_HEADER_CHECKSUM));
}

/* All that comes behind the frames, and the header. */
static int write_rest(struct umem_image_writer *w)
{
	UMEM_CLEANUP(umem_parts_deinit) struct umem_parts index = { 0 };
	unsigned char header[UMEM_IMAGE_HEADER_BYTES];
	struct hashes hashes;
	struct umem_frame *frames;
	uint64_t offset;
	size_t n;
	int r = umem_sink_flush(w->sink);

	if (r < 0)
		return r;
	frames = umem_writer_sort(w, &n);
	r = write_hashes(w, frames, n, &hashes);
	if (r == 0)
		r = make_index(w, frames, n, &hashes, &index);
	if (r < 0)
		return r;
	offset = umem_sink_position(w->sink);
	r = umem_sink_append(w->sink, index.v, index.len_bytes);
	if (r == 0)
		r = umem_sink_align(w->sink);
	if (r < 0)
		return r;
	make_header(header, offset, umem_sink_position(w->sink), &index);
	return umem_sink_finish(w->sink, header);
}

int umem_image_commit(struct umem_image_writer *w, struct umem_image_totals *ret_totals,
	struct umem_note *note)
{
	int r = umem_writer_check(w);

	if (r == 0)
		r = umem_writer_clean_last(w);
	if (r == 0) {
		r = write_rest(w);
		if (r < 0)
			r = umem_writer_fail_writing(w, r);
	}
	if (r == 0)
		r = umem_outfile_commit(&w->file, &w->note);
	if (r < 0) {
		w->err = r;
		return umem_note_set(note, r, 0, "%s", w->note.text[0] ? w->note.text :
			"the image was committed before");
	}
	w->committed = true;
	if (ret_totals) {
		UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;

		r = umem_image_reopen(w, &image, note);
		if (r < 0)
			return r;
		umem_image_totals(image, ret_totals);
		ret_totals->written_bytes = umem_sink_written(w->sink);
		ret_totals->superseded_bytes = w->n_superseded_ever * UMEM_IMAGE_PAGE_BYTES;
	}
	return 0;
}

int umem_image_reopen(struct umem_image_writer *w, struct umem_image **ret_image,
	struct umem_note *note)
{
	const struct umem_image_open_options options = {
		.size = sizeof(options),
		.without_parents = w->adopted,
	};

	if (!w->committed)
		return umem_note_set(note, -EINVAL, 0, "%s: is not committed", w->path);
	return umem_image_open_fd(w->file.fd, w->path, &options, ret_image, note);
}
