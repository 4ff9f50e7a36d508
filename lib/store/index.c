// SPDX-License-Identifier: LGPL-2.1-or-later
/* The index of an image, parsed and checked; see image.h and format.h. */
#include <errno.h>
#include <stdlib.h>

#include "lib/store/image.h"

/* The highest address that may be the end of a run. */
#define LAST_END (UINT64_MAX - UMEM_IMAGE_PAGE_BYTES + 1)

static int wrong(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

static int check_frame(const struct umem_frame *frame, unsigned char reserved, uint64_t next,
	uint64_t data_end, const char **ret_why)
{
	uint64_t raw = (uint64_t)frame->n_pages * UMEM_IMAGE_PAGE_BYTES;

	if (frame->codec > UMEM_FRAME_ZSTD || reserved != 0) {
		*ret_why = "a frame has a codec that this version does not know";
		return -ENOTSUP;
	}
	if (frame->n_pages == 0 || frame->n_pages > UMEM_MAX_FRAME_PAGES ||
		frame->first < next || frame->first > UINT64_MAX - frame->n_pages)
		return wrong(ret_why, "frames have impossible pages");
	if (frame->stored_bytes == 0 || frame->stored_bytes > raw ||
		(frame->codec == UMEM_FRAME_PLAIN && frame->stored_bytes != raw))
		return wrong(ret_why, "a frame has an impossible length");
	if (frame->offset < UMEM_IMAGE_HEADER_BYTES || frame->offset > data_end ||
		frame->stored_bytes > data_end - frame->offset)
		return wrong(ret_why, "a frame lies outside of the file");
	return 0;
}

static int parse_frames(struct umem_index *index, const struct umem_part *part,
	uint64_t data_end, const char **ret_why)
{
	uint64_t next = 0;

	if (index->frames || part->len_bytes % UMEM_FRAME_RECORD_BYTES)
		return wrong(ret_why, "the list of frames is cut off");
	index->frames = part->at;
	index->n_frames = part->len_bytes / UMEM_FRAME_RECORD_BYTES;
	for (size_t i = 0; i < index->n_frames; i++) {
		struct umem_frame frame = umem_index_frame(index, i);
		int r = check_frame(&frame, part->at[i * UMEM_FRAME_RECORD_BYTES + 23], next,
			data_end, ret_why);

		if (r < 0)
			return r;
		next = frame.first + frame.n_pages;
		index->n_stored += frame.n_pages;
		index->max_frame_pages = umem_max_u64(index->max_frame_pages, frame.n_pages);
	}
	return 0;
}

static int check_run(const struct umem_run *run, uint64_t end, const char **ret_why)
{
	if (run->start % UMEM_IMAGE_PAGE_BYTES || run->n_pages == 0 || run->start < end ||
		run->start > LAST_END ||
		run->n_pages > (LAST_END - run->start) / UMEM_IMAGE_PAGE_BYTES)
		return wrong(ret_why, "runs of pages are not in ascending order");
	if (run->kind != UMEM_RUN_PARENT && run->space != 0)
		return wrong(ret_why, "a run of pages has what it should not have");
	switch (run->kind) {
	case UMEM_RUN_ZERO:
		return run->ref == 0 ? 0 : wrong(ret_why, "a run of zeros is not of zeros");
	case UMEM_RUN_FILL:
		return 0;
	case UMEM_RUN_DATA:
		return run->ref <= UINT64_MAX - run->n_pages ?
			0 : wrong(ret_why, "a run has impossible pages");
	case UMEM_RUN_PARENT:
		return run->ref % UMEM_IMAGE_PAGE_BYTES == 0 && run->ref <= LAST_END &&
			run->n_pages <= (LAST_END - run->ref) / UMEM_IMAGE_PAGE_BYTES ?
			0 : wrong(ret_why, "a run refers to impossible pages of the parent");
	default:
		*ret_why = "a run of pages is of a kind that this version does not know";
		return -ENOTSUP;
	}
}

static int parse_space(struct umem_index *index, const struct umem_part *part,
	const char **ret_why)
{
	struct umem_index_space *space = &index->spaces[index->n_spaces];
	uint64_t end = 0;

	if (part->len_bytes % UMEM_RUN_RECORD_BYTES)
		return wrong(ret_why, "the runs of a space are cut off");
	space->at = part->at;
	space->n = part->len_bytes / UMEM_RUN_RECORD_BYTES;
	for (size_t i = 0; i < space->n; i++) {
		struct umem_run run = umem_run_load(space->at + i * UMEM_RUN_RECORD_BYTES);
		int r = check_run(&run, end, ret_why);

		if (r < 0)
			return r;
		if (run.kind == UMEM_RUN_PARENT && !index->has_parent)
			return wrong(ret_why, "a run refers to a parent, and there is none");
		end = umem_run_end(&run);
	}
	index->n_spaces++;
	return 0;
}

static int parse_parent(struct umem_index *index, const struct umem_part *part,
	const char **ret_why)
{
	const char *name = umem_part_text(part, sizeof(index->parent_id));

	if (!name || name[0] == '\0' || index->has_parent)
		return wrong(ret_why, "the name of the parent is cut off");
	index->has_parent = true;
	memcpy(index->parent_id.bytes, part->at, sizeof(index->parent_id));
	index->parent_name = name;
	return 0;
}

static int parse_hashes(struct umem_index *index, const struct umem_part *part,
	uint64_t data_end, const char **ret_why)
{
	if (part->len_bytes < 24 + UMEM_PAGEHASH_WORDS * 8 || index->hashes_key)
		return wrong(ret_why, "the place of the hashes is cut off");
	index->hashes_offset = umem_get64(part->at);
	index->n_hashes = umem_get64(part->at + 8);
	index->hashes_checksum = umem_get64(part->at + 16);
	index->hashes_key = part->at + 24;
	if (index->hashes_offset < UMEM_IMAGE_HEADER_BYTES || index->hashes_offset > data_end ||
		index->n_hashes > (data_end - index->hashes_offset) / 8)
		return wrong(ret_why, "the hashes lie outside of the file");
	return 0;
}

/* The first walk: the parent, which runs need, and how many spaces there are. */
static int survey(struct umem_index *index, const char **ret_why)
{
	struct umem_cursor c = umem_cursor_init(index->bytes, index->len_bytes);
	struct umem_part part;
	size_t n_spaces = 0;
	int r;

	while ((r = umem_part_next(&c, &part)) > 0) {
		n_spaces += part.tag == UMEM_TAG_SPACE;
		if (part.tag == UMEM_TAG_PARENT)
			r = parse_parent(index, &part, ret_why);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return wrong(ret_why, "the index is cut off");
	if (n_spaces > UMEM_MAX_SPACES)
		return wrong(ret_why, "it has too many spaces");
	index->spaces = calloc(n_spaces + 1, sizeof(*index->spaces));
	index->processes_of = calloc(n_spaces + 1, sizeof(*index->processes_of));
	return index->spaces && index->processes_of ? 0 : -ENOMEM;
}

static int parse_part(struct umem_index *index, const struct umem_part *part,
	uint64_t data_end, const char **ret_why)
{
	switch (part->tag) {
	case UMEM_TAG_FRAMES:
		return parse_frames(index, part, data_end, ret_why);
	case UMEM_TAG_SPACE:
		return parse_space(index, part, ret_why);
	case UMEM_TAG_HASHES:
		return parse_hashes(index, part, data_end, ret_why);
	case UMEM_TAG_PARENT:
	case UMEM_TAG_INFO:
	case UMEM_TAG_PROCESS:
		return 0;
	default:
		if (!part->required)
			return 0;
		*ret_why = "it has a part that this version does not know and must";
		return -ENOTSUP;
	}
}

static void name_processes(struct umem_index *index)
{
	memset(index->processes_of, 0xff, index->n_spaces * sizeof(*index->processes_of));
	for (size_t i = index->described.n_processes; i-- > 0;) {
		uint32_t space = index->described.processes[i].space;

		if (space < index->n_spaces)
			index->processes_of[space] = (uint32_t)i;
	}
}

int umem_index_parse(struct umem_index *index, uint64_t data_end, const char **ret_why)
{
	struct umem_cursor c = umem_cursor_init(index->bytes, index->len_bytes);
	struct umem_part part;
	int r = survey(index, ret_why);

	if (r < 0)
		return r;
	while (umem_part_next(&c, &part) > 0) {
		r = parse_part(index, &part, data_end, ret_why);
		if (r < 0)
			return r;
	}
	if (!index->frames)
		return wrong(ret_why, "there is no list of frames");
	if (index->hashes_key && index->n_hashes != index->n_stored)
		return wrong(ret_why, "there are not as many hashes as pages");
	r = umem_described_read(umem_cursor_init(index->bytes, index->len_bytes),
		&index->described, ret_why);
	if (r == 0)
		name_processes(index);
	return r;
}

void umem_index_deinit(struct umem_index *index)
{
	umem_described_deinit(&index->described);
	free(index->spaces);
	free(index->processes_of);
	free(index->bytes);
	*index = (struct umem_index){ 0 };
}

bool umem_index_frame_of(const struct umem_index *index, uint64_t number, size_t *ret_i)
{
	size_t low = 0, high = index->n_frames;
	struct umem_frame frame;

	/* The last frame that begins at or before it. */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (umem_get64(index->frames + mid * UMEM_FRAME_RECORD_BYTES) <= number)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return false;
	frame = umem_index_frame(index, low - 1);
	if (number - frame.first >= frame.n_pages)
		return false;
	*ret_i = low - 1;
	return true;
}
