// SPDX-License-Identifier: LGPL-2.1-or-later
/* What an image is made of, in numbers. */
#include <stdlib.h>

#include <umemd/store.h>

#include "lib/store/image.h"

/* Mark the stored pages of a run. Return: how many of them were not marked. */
static uint64_t mark(struct umem_image *image, uint64_t *seen, const struct umem_run *run)
{
	uint64_t n_new = 0, number = run->ref, end = run->ref + run->n_pages;
	size_t i;

	while (number < end && umem_index_frame_of(&image->index, number, &i)) {
		struct umem_frame frame = umem_index_frame(&image->index, i);
		uint64_t at = image->ordinals[i] + number - frame.first;

		for (; number < end && number < frame.first + frame.n_pages; number++, at++) {
			n_new += !(seen[at / 64] >> (at % 64) & 1);
			seen[at / 64] |= 1ull << (at % 64);
		}
	}
	return n_new;
}

static void add_space(struct umem_image *image, uint32_t space, uint64_t *seen,
	struct umem_image_totals *totals)
{
	size_t n = umem_image_n_runs(image, space);

	for (size_t i = 0; i < n; i++) {
		struct umem_run run = umem_image_run_at(image, space, i);
		uint64_t bytes = (uint64_t)run.n_pages * UMEM_IMAGE_PAGE_BYTES;

		switch (run.kind) {
		case UMEM_RUN_ZERO:
			totals->zero_bytes += bytes;
			break;
		case UMEM_RUN_FILL:
			totals->fill_bytes += bytes;
			break;
		case UMEM_RUN_PARENT:
			totals->parent_bytes += bytes;
			break;
		default:
			totals->data_bytes += bytes;
			if (seen)
				totals->duplicate_bytes += bytes -
					mark(image, seen, &run) * UMEM_IMAGE_PAGE_BYTES;
			break;
		}
	}
	totals->n_runs += n;
}

void umem_image_totals(struct umem_image *image, struct umem_image_totals *ret_totals)
{
	UMEM_FREE uint64_t *seen = NULL;
	struct umem_image_totals totals = {
		.file_bytes = image->file_bytes,
		.disk_bytes = image->disk_bytes,
		.n_frames = image->index.n_frames,
		.stored_bytes = image->index.n_stored * UMEM_IMAGE_PAGE_BYTES,
		.index_bytes = UMEM_IMAGE_HEADER_BYTES + image->index.len_bytes +
			image->index.n_hashes * 8,
	};

	/* Without memory for it, duplicates are not told. */
	if (umem_image_ordinals(image) == 0)
		seen = calloc(image->index.n_stored / 64 + 1, sizeof(*seen));
	for (size_t i = 0; i < image->index.n_frames; i++)
		totals.frame_bytes += umem_index_frame(&image->index, i).stored_bytes;
	for (uint32_t s = 0; s < image->index.n_spaces; s++)
		add_space(image, s, seen, &totals);
	*ret_totals = totals;
}
