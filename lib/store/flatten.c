// SPDX-License-Identifier: LGPL-2.1-or-later
/* A chain of images folded into one. */
#include <errno.h>
#include <stdlib.h>

#include <umemd/store.h>

#include "lib/base/note.h"
#include "lib/store/image.h"

#define CHUNK_PAGES 256u

/**
 * struct flatten - a chain on its way.
 * @space: that is being copied.
 * @bytes: room for CHUNK_PAGES pages.
 * @done, @total: bytes of stored pages.
 */
struct flatten {
	struct umem_image *image;
	struct umem_image_writer *writer;
	struct umem_note *note;
	uint32_t space;
	unsigned char *bytes;
	uint64_t done;
	uint64_t total;
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
};

UMEM_DEFINE_CLEANUP(struct umem_image_writer, umem_image_writer_free)

static int count(void *user, const struct umem_image_run *run)
{
	struct flatten *f = user;

	if (run->what == UMEM_IMAGE_DATA || run->what == UMEM_IMAGE_FILL)
		f->total += run->end - run->start;
	return 0;
}

static int copy_pages(struct flatten *f, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t n = umem_min_u64((end - start) / UMEM_IMAGE_PAGE_BYTES, CHUNK_PAGES);
		int r = umem_image_get(f->image, f->space, start, f->bytes, n, f->note);

		if (r == 0)
			r = umem_image_put(f->writer, f->space, start, f->bytes, n);
		if (r < 0)
			return r;
		start += n * UMEM_IMAGE_PAGE_BYTES;
		f->done += n * UMEM_IMAGE_PAGE_BYTES;
		r = f->progress ? f->progress(f->user, f->done, f->total) : 0;
		if (r != 0)
			return r;
	}
	return 0;
}

static int copy(void *user, const struct umem_image_run *run)
{
	struct flatten *f = user;

	switch (run->what) {
	case UMEM_IMAGE_ZERO:
		return umem_image_put_zero(f->writer, f->space, run->start, run->end);
	case UMEM_IMAGE_FILL:
	case UMEM_IMAGE_DATA:
	case UMEM_IMAGE_PARENT:
		/* Of a parent that was not opened, reading says so. */
		return copy_pages(f, run->start, run->end);
	default:
		return 0;
	}
}

static int each_space(struct flatten *f, int (*each)(void *user, const struct umem_image_run *run))
{
	int r = 0;

	for (f->space = 0; f->space < umem_image_n_spaces(f->image) && r == 0; f->space++)
		r = umem_image_each(f->image, f->space, 0, UINT64_MAX, each, f);
	return r;
}

int umem_image_flatten(struct umem_image *image, const char *path,
	const struct umem_image_create_options *options,
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes), void *user,
	struct umem_image_totals *ret_totals, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_writer_freep) struct umem_image_writer *writer = NULL;
	UMEM_FREE unsigned char *bytes = malloc((size_t)CHUNK_PAGES * UMEM_IMAGE_PAGE_BYTES);
	struct flatten f = { .image = image, .note = note, .bytes = bytes,
		.progress = progress, .user = user };
	const struct umem_image_process *processes;
	size_t n;
	int r;

	if (!bytes)
		return -ENOMEM;
	if (options && options->parent)
		return umem_note_set(note, -EINVAL, 0, "what is flat has no parent");
	r = umem_image_create(path, options, &writer, note);
	if (r < 0)
		return r;
	f.writer = writer;
	each_space(&f, count);
	r = each_space(&f, copy);
	if (r > 0 || (r < 0 && note && note->text[0]))
		return r;
	processes = umem_image_processes(image, &n);
	if (r == 0)
		r = umem_image_describe(writer, processes, n, umem_image_info(image));
	/* What failed in the writer is told by its note. */
	if (r < 0 && umem_image_commit(writer, NULL, note) == r)
		return r;
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", path, strerror(-r));
	return umem_image_commit(writer, ret_totals, note);
}
