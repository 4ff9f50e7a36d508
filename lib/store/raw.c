// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory without a header: one region behind the other, in the order of addresses.
 *
 * Theory of operation
 *
 * What lies between two regions takes no room in the file; pages of zeros are holes:
 *
 *     memory   [aaaa....aaaa]        [bbbb]     [....cc]     . zeros
 *     file     [aaaa    aaaa][bbbb][    cc]                  blank: a hole
 *
 * A difference has the same layout and length, and only pages that changed since the
 * parent are data, the zeros that some became among them: whoever lays it over the
 * parent's file takes its data (SEEK_DATA) and nothing else. So the parent must have
 * the same layout, which is checked.
 *
 * What is "changed": content that the image does not take from the parent, at the same
 * address. Zeros and pages of files are put into images without asking the parent, so
 * that of these it is asked here.
 *
 * The file has no place for "not known". Such pages are refused, unless zeros will do.
 */
#include "lib/store/export.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/store/image.h"

/**
 * struct piece - a part of a region that goes into the file.
 * @start, @end: addresses.
 * @offset: in the file.
 * @region: it is of.
 */
struct piece {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	const struct umem_image_region *region;
};

/**
 * struct layout - what goes where.
 * @v, @n, @room: pieces, ascending in both.
 * @length_bytes: of all.
 */
struct layout {
	struct piece *v;
	size_t n;
	size_t room;
	uint64_t length_bytes;
};

static void layout_deinit(struct layout *layout)
{
	free(layout->v);
}

static int add_piece(struct layout *layout, const struct umem_image_region *region,
	uint64_t start, uint64_t end)
{
	if (layout->n == layout->room) {
		size_t room = layout->room ? layout->room * 2 : 64;
		struct piece *more = reallocarray(layout->v, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		layout->v = more;
		layout->room = room;
	}
	if (end - start > INT64_MAX - layout->length_bytes)
		return -EFBIG;
	layout->v[layout->n++] = (struct piece){ start, end, layout->length_bytes, region };
	layout->length_bytes += end - start;
	return 0;
}

/* The parts of a region that were chosen. */
static int add_region(const struct umem_image_export_options *options,
	const struct umem_image_region *region, struct layout *layout)
{
	int r = 0;

	/* What the kernel maps for its own sake is left out, unless it is asked for. */
	if (options->n_regions == 0)
		return umem_export_is_kernel(region) ? 0 :
			add_piece(layout, region, region->start, region->end);
	for (size_t i = 0; i < options->n_regions && r == 0; i++) {
		uint64_t start = umem_max_u64(region->start, options->regions[i].start);
		uint64_t end = umem_min_u64(region->end, options->regions[i].end);

		if (start < end)
			r = add_piece(layout, region, start, end);
	}
	return r;
}

/* A range that was asked for and is nowhere would be missed in silence. */
static int check_asked(struct umem_export *job, const struct layout *layout)
{
	for (size_t i = 0; i < job->options.n_regions; i++) {
		const struct umem_range *range = &job->options.regions[i];
		size_t at = 0;

		if (range->start % UMEM_IMAGE_PAGE_BYTES || range->end % UMEM_IMAGE_PAGE_BYTES)
			return umem_note_set(job->note, -EINVAL, range->start,
				"the region 0x%" PRIx64 "-0x%" PRIx64 " does not begin and end at "
				"pages", range->start, range->end);
		while (at < layout->n && layout->v[at].end <= range->start)
			at++;
		if (at == layout->n || layout->v[at].start >= range->end)
			return umem_note_set(job->note, -ENOENT, range->start, "no region of the "
				"image is in 0x%" PRIx64 "-0x%" PRIx64, range->start, range->end);
	}
	return 0;
}

static int lay_out(struct umem_export *job, const struct umem_image_process *process,
	struct layout *layout)
{
	int r = 0;

	for (size_t i = 0; i < process->n_regions && r == 0; i++)
		r = add_region(&job->options, &process->regions[i], layout);
	if (r == -EFBIG)
		return umem_note_set(job->note, r, 0, "the regions together are longer than a "
			"file can be; choose some of them");
	return r != 0 ? r : check_asked(job, layout);
}

/* The next stretch of addresses without a gap, of pieces from *@at on. */
static bool stretch(const struct layout *layout, size_t *at, struct umem_range *ret_range)
{
	if (*at == layout->n)
		return false;
	*ret_range = (struct umem_range){ layout->v[*at].start, layout->v[*at].end };
	for ((*at)++; *at < layout->n && layout->v[*at].start == ret_range->end; (*at)++)
		ret_range->end = layout->v[*at].end;
	return true;
}

/* Does the parent's file have the same layout? How regions are cut does not matter. */
static int check_parent_layout(struct umem_export *job, const struct layout *layout,
	const struct umem_image_process *process)
{
	UMEM_CLEANUP(layout_deinit) struct layout before = { 0 };
	size_t at = 0, at_before = 0;
	int r = lay_out(job, process, &before);

	while (r == 0) {
		struct umem_range now = { 0 }, then = { 0 };
		bool more = stretch(layout, &at, &now);

		if (stretch(&before, &at_before, &then) != more || now.start != then.start ||
			now.end != then.end)
			return umem_note_set(job->note, -ESTALE,
				umem_min_u64(now.start, then.start), "the parent %s has other "
				"regions, so a difference to its file has no meaning; choose "
				"regions that both have",
				umem_image_path(umem_image_parent(job->image)));
		if (!more)
			break;
	}
	return r;
}

/**
 * struct work - a piece on its way.
 * @job: the export.
 * @space, @parent_space: of the process, in the image and in its parent.
 * @piece: which one.
 * @file: where it goes.
 * @backing: file of the piece's region; closed until it is needed.
 */
struct work {
	struct umem_export *job;
	uint32_t space;
	uint32_t parent_space;
	const struct piece *piece;
	struct umem_sparse *file;
	struct umem_backing *backing;
};

static uint64_t offset_of(const struct work *work, uint64_t addr)
{
	return work->piece->offset + (addr - work->piece->start);
}

/* Pages that are not known: zeros, which in a difference have to be said. */
static int put_unknown(struct work *work, const struct umem_image_run *run)
{
	int r = umem_export_unknown(work->job, run);

	if (r != 0 || !work->job->options.diff)
		return r;
	return umem_export_copy(work->job, work->space, run, work->file,
		offset_of(work, run->start));
}

/* Pages that are those of the region's file. */
static int put_file(struct work *work, const struct umem_image_run *run)
{
	const struct umem_image_region *region = work->piece->region;
	uint64_t end = umem_max_u64(run->start, umem_min_u64(run->end, umem_backing_end(region)));
	struct umem_image_run rest = { .start = end, .end = run->end,
		.what = UMEM_IMAGE_NONE };
	int r = 0;

	if (run->start < end)
		r = umem_export_copy_backing(work->job, region, work->backing, run->start, end,
			work->file, offset_of(work, run->start));
	return r == 0 && rest.start < rest.end ? put_unknown(work, &rest) : r;
}

/* One run of the whole content. */
static int put_run(void *user, const struct umem_image_run *run)
{
	struct work *work = user;

	switch (run->what) {
	case UMEM_IMAGE_ZERO:
		return 0;
	case UMEM_IMAGE_FILL:
	case UMEM_IMAGE_DATA:
		return umem_export_copy(work->job, work->space, run, work->file,
			offset_of(work, run->start));
	case UMEM_IMAGE_FILE:
		return put_file(work, run);
	default:
		return put_unknown(work, run);
	}
}

/**
 * struct compare - zeros, pages of a file, or unknown ones, against the parent.
 * @work: the piece.
 * @run: what the image says.
 * @from: up to here it was compared.
 */
struct compare {
	struct work *work;
	const struct umem_image_run *run;
	uint64_t from;
};

static int put_changed(struct compare *compare, uint64_t start, uint64_t end)
{
	struct umem_image_run part = *compare->run;
	struct work *work = compare->work;

	part.start = start;
	part.end = end;
	if (start >= end)
		return 0;
	if (part.what != UMEM_IMAGE_ZERO)
		return put_run(work, &part);
	return umem_export_copy(work->job, work->space, &part, work->file,
		offset_of(work, start));
}

/* The same page of the same file, as far as an image tells? */
static bool same_file(const struct umem_image_region *a, const struct umem_image_region *b)
{
	return a->offset - a->start == b->offset - b->start && a->inode == b->inode &&
		a->dev_major == b->dev_major && a->dev_minor == b->dev_minor &&
		a->file_size_bytes == b->file_size_bytes &&
		a->file_mtime_ns == b->file_mtime_ns && strcmp(a->path, b->path) == 0;
}

/* These pages are as they were: all up to them that was skipped is not. */
static int skip_same(struct compare *compare, uint64_t start, uint64_t end)
{
	int r = put_changed(compare, compare->from, start);

	compare->from = end;
	compare->work->job->out.parent_bytes += end - start;
	return r;
}

static int compare_run(void *user, const struct umem_image_run *before)
{
	struct compare *compare = user;
	const struct work *work = compare->work;
	uint64_t at = before->start, end;
	int r = 0;

	if (before->what != compare->run->what)
		return 0;
	if (before->what != UMEM_IMAGE_FILE)
		return skip_same(compare, before->start, before->end);
	/* A run may go over several regions of the parent. */
	for (; at < before->end && r == 0; at = end) {
		const struct umem_image_region *then = umem_image_region(
			umem_image_parent(work->job->image), work->parent_space, at);

		if (!then)
			break;
		end = umem_min_u64(before->end, then->end);
		if (then->start <= at && same_file(then, work->piece->region))
			r = skip_same(compare, at, end);
	}
	return r;
}

/* Content, where it is not that of the parent. */
static int put_content(struct work *work, const struct umem_image_run *run)
{
	struct umem_export *job = work->job;
	struct umem_image_run part = *run;
	int r = 0;

	for (; part.start < run->end && r == 0; part.start = part.end) {
		if (umem_export_inherited(job->image, work->space, part.start, run->end,
				work->parent_space, &part.end))
			job->out.parent_bytes += part.end - part.start;
		else
			r = put_run(work, &part);
	}
	return r;
}

/* One run of a difference. */
static int put_difference(void *user, const struct umem_image_run *run)
{
	struct work *work = user;
	struct compare compare = { .work = work, .run = run, .from = run->start };
	int r;

	if (umem_export_is_data(run))
		return put_content(work, run);
	r = umem_image_each(umem_image_parent(work->job->image), work->parent_space, run->start,
		run->end, compare_run, &compare);
	return r != 0 ? r : put_changed(&compare, compare.from, run->end);
}

/* Content that will be written, for progress. */
static int count_run(void *user, const struct umem_image_run *run)
{
	struct umem_export *job = user;
	bool whole = run->what == UMEM_IMAGE_FILE || umem_export_is_data(run);

	if (whole && (!job->options.diff || run->depth == 0))
		job->total_bytes += run->end - run->start;
	return 0;
}

static int write_pieces(struct umem_export *job, struct work *work, const struct layout *layout)
{
	int r = 0;

	for (size_t i = 0; i < layout->n && r == 0; i++)
		r = umem_image_each(job->image, work->space, layout->v[i].start,
			layout->v[i].end, count_run, job);
	for (size_t i = 0; i < layout->n && r == 0; i++) {
		work->piece = &layout->v[i];
		r = umem_image_each(job->image, work->space, work->piece->start,
			work->piece->end, job->options.diff ? put_difference : put_run, work);
	}
	return r;
}

static void tell_extents(struct umem_export *job, const struct umem_image_process *process,
	const struct layout *layout)
{
	for (size_t i = 0; i < layout->n && job->options.extent; i++) {
		const struct umem_image_extent extent = {
			.pid = process->pid,
			.start = layout->v[i].start,
			.end = layout->v[i].end,
			.file_offset = layout->v[i].offset,
		};

		job->options.extent(job->options.user, &extent);
	}
}

/* Find the same process in the parent, and check that a difference has a meaning. */
static int prepare_difference(struct umem_export *job, const struct layout *layout,
	const struct umem_image_process *process, uint32_t *ret_space)
{
	struct umem_image *parent = umem_image_parent(job->image);
	struct umem_export before = *job;
	const struct umem_image_process *then;
	int r;

	if (!parent)
		return umem_note_set(job->note, -ENOENT, 0,
			"%s has no parent to be the difference to", umem_image_path(job->image));
	before.image = parent;
	before.options.pid = process->pid;
	r = umem_export_process(&before, &then);
	if (r == 0)
		r = check_parent_layout(job, layout, then);
	if (r == 0)
		*ret_space = then->space;
	return r;
}

int umem_raw_export(struct umem_export *job)
{
	UMEM_CLEANUP(layout_deinit) struct layout layout = { 0 };
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;
	UMEM_BACKING struct umem_backing backing = UMEM_BACKING_NONE;
	struct work work = { .job = job, .file = &file, .backing = &backing };
	const struct umem_image_process *process;
	int r = umem_export_process(job, &process);

	if (r == 0)
		r = lay_out(job, process, &layout);
	if (r == 0 && job->options.diff)
		r = prepare_difference(job, &layout, process, &work.parent_space);
	if (r == 0)
		r = umem_sparse_open(job->path, &file, job->note);
	if (r != 0)
		return r;
	work.space = process->space;
	r = write_pieces(job, &work, &layout);
	if (r == 0)
		r = umem_sparse_set_length(&file, layout.length_bytes, job->note);
	if (r == 0)
		r = umem_sparse_commit(&file, job->note);
	if (r != 0)
		return r;
	job->out.length_bytes = layout.length_bytes;
	job->out.data_bytes = file.data_bytes;
	tell_extents(job, process, &layout);
	return 0;
}
