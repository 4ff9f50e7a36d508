// SPDX-License-Identifier: LGPL-2.1-or-later
/* Looking pages of an image up, through its parents; see image.h. */
#include <errno.h>

#include <umemd/store.h>

#include "lib/store/image.h"

size_t umem_image_n_runs(const struct umem_image *image, uint32_t space)
{
	return space < image->index.n_spaces ? image->index.spaces[space].n : 0;
}

struct umem_run umem_image_run_at(const struct umem_image *image, uint32_t space, size_t i)
{
	return umem_run_load(image->index.spaces[space].at + i * UMEM_RUN_RECORD_BYTES);
}

static uint64_t end_of(const struct umem_image *image, uint32_t space, size_t i)
{
	struct umem_run run = umem_image_run_at(image, space, i);

	return umem_run_end(&run);
}

size_t umem_image_find(struct umem_image *image, uint32_t space, uint64_t addr)
{
	size_t low = 0, high = umem_image_n_runs(image, space), at = image->hint_run;

	/* Most look-ups are in the run of the one before, or in the next. */
	if (image->hint_space == space && at < high) {
		for (int i = 0; i < 2 && at < high; i++, at++) {
			if (end_of(image, space, at) > addr &&
				(at == 0 || end_of(image, space, at - 1) <= addr)) {
				image->hint_run = at;
				return at;
			}
		}
	}
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (end_of(image, space, mid) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	image->hint_space = space;
	image->hint_run = low;
	return low;
}

void umem_image_resolve(struct umem_image *image, uint32_t space, uint64_t addr, uint64_t end,
	struct umem_resolved *ret_resolved)
{
	static const unsigned what_of[] = {
		[UMEM_RUN_ZERO] = UMEM_IMAGE_ZERO,
		[UMEM_RUN_FILL] = UMEM_IMAGE_FILL,
		[UMEM_RUN_DATA] = UMEM_IMAGE_DATA,
		[UMEM_RUN_PARENT] = UMEM_IMAGE_PARENT,
	};
	uint64_t len = end - addr, at = addr;
	struct umem_resolved found = { .what = UMEM_RESOLVED_ABSENT, .image = image };

	/* The chain is of bounded length, so this ends. */
	for (;;) {
		size_t i = umem_image_find(found.image, space, at);
		struct umem_run run;
		uint64_t into;

		found.what = UMEM_RESOLVED_ABSENT;
		if (i == umem_image_n_runs(found.image, space))
			break;
		run = umem_image_run_at(found.image, space, i);
		if (run.start > at) {
			len = umem_min_u64(len, run.start - at);
			break;
		}
		into = at - run.start;
		len = umem_min_u64(len, umem_run_end(&run) - at);
		found.what = what_of[run.kind];
		found.ref = run.kind == UMEM_RUN_DATA ?
			run.ref + (into >> UMEM_IMAGE_PAGE_SHIFT) : run.ref;
		if (run.kind != UMEM_RUN_PARENT || !found.image->parent)
			break;
		at = run.ref + into;
		space = run.space;
		found.image = found.image->parent;
		found.depth++;
	}
	found.end = addr + len;
	*ret_resolved = found;
}

const struct umem_image_region *umem_image_region(const struct umem_image *image,
	uint32_t space, uint64_t addr)
{
	const struct umem_image_process *process;
	size_t low = 0, high;

	if (space >= image->index.n_spaces || image->index.processes_of[space] == UINT32_MAX)
		return NULL;
	process = &image->index.described.processes[image->index.processes_of[space]];
	high = process->n_regions;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (process->regions[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low < process->n_regions ? &process->regions[low] : NULL;
}

/* What is not in the image, but in regions of the space. */
static int each_absent(struct umem_image *image, uint32_t space, uint64_t start, uint64_t end,
	int (*each)(void *user, const struct umem_image_run *run), void *user)
{
	const struct umem_image_region *region;

	while (start < end && (region = umem_image_region(image, space, start)) &&
		region->start < end) {
		struct umem_image_run run = {
			.start = umem_max_u64(start, region->start),
			.end = umem_min_u64(end, region->end),
			.what = region->file_backed ? UMEM_IMAGE_FILE : UMEM_IMAGE_NONE,
		};
		int r = each(user, &run);

		if (r != 0)
			return r;
		start = run.end;
	}
	return 0;
}

int umem_image_each(struct umem_image *image, uint32_t space, uint64_t start, uint64_t end,
	int (*each)(void *user, const struct umem_image_run *run), void *user)
{
	if (space >= image->index.n_spaces)
		return -EINVAL;
	start = umem_align_down(start, UMEM_IMAGE_PAGE_BYTES);
	end = umem_align_down(umem_min_u64(end, UINT64_MAX - UMEM_IMAGE_PAGE_BYTES) +
		UMEM_IMAGE_PAGE_BYTES - 1, UMEM_IMAGE_PAGE_BYTES);
	while (start < end) {
		struct umem_resolved found;
		int r;

		umem_image_resolve(image, space, start, end, &found);
		if (found.what == UMEM_RESOLVED_ABSENT) {
			r = each_absent(image, space, start, found.end, each, user);
		} else {
			struct umem_image_run run = {
				.start = start,
				.end = found.end,
				.what = (enum umem_image_page)found.what,
				.depth = found.depth,
				.fill = found.what == UMEM_IMAGE_FILL ? found.ref : 0,
			};

			r = each(user, &run);
		}
		if (r != 0)
			return r;
		start = found.end;
	}
	return 0;
}

const char *umem_image_page_name(enum umem_image_page what)
{
	static const char *const names[] = {
		[UMEM_IMAGE_ZERO] = "zero",
		[UMEM_IMAGE_FILL] = "fill",
		[UMEM_IMAGE_DATA] = "data",
		[UMEM_IMAGE_FILE] = "file",
		[UMEM_IMAGE_NONE] = "none",
		[UMEM_IMAGE_PARENT] = "parent",
	};

	return (unsigned)what < UMEM_ARRAY_LEN(names) ? names[what] : "unknown";
}
