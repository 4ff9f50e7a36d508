// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages on their way from an image to a file of another format. */
#include "lib/store/export.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/store/image.h"

int umem_export_process(struct umem_export *job, const struct umem_image_process **ret_process)
{
	size_t n = 0;
	const struct umem_image_process *v = umem_image_processes(job->image, &n);

	for (size_t i = 0; i < n; i++) {
		if (job->options.pid == 0 || v[i].pid == job->options.pid) {
			*ret_process = &v[i];
			return 0;
		}
	}
	if (n == 0)
		return umem_note_set(job->note, -ESRCH, 0,
			"the image %s does not tell of a process", umem_image_path(job->image));
	return umem_note_set(job->note, -ESRCH, 0, "process %d is not in the image %s",
		job->options.pid, umem_image_path(job->image));
}

static void fill(uint8_t *to, uint64_t word, uint64_t len_bytes)
{
	for (uint64_t i = 0; i < len_bytes; i += sizeof(word))
		memcpy(to + i, &word, sizeof(word));
}

int umem_export_copy(struct umem_export *job, uint32_t space, const struct umem_image_run *run,
	struct umem_sparse *file, uint64_t offset)
{
	uint64_t len;

	if (!umem_export_is_data(run))
		memset(job->buf, 0, umem_min_u64(UMEM_EXPORT_CHUNK, run->end - run->start));
	else if (run->what == UMEM_IMAGE_FILL)
		fill(job->buf, run->fill, umem_min_u64(UMEM_EXPORT_CHUNK, run->end - run->start));
	for (uint64_t at = run->start; at < run->end; at += len, offset += len) {
		int r = 0;

		len = umem_min_u64(UMEM_EXPORT_CHUNK, run->end - at);
		if (run->what == UMEM_IMAGE_DATA)
			r = umem_image_get(job->image, space, at, job->buf,
				len / UMEM_IMAGE_PAGE_BYTES, job->note);
		if (r == 0)
			r = umem_sparse_write(file, offset, job->buf, len, job->note);
		if (r == 0)
			r = umem_export_advance(job, len);
		if (r != 0)
			return r;
	}
	return 0;
}

int umem_export_copy_backing(struct umem_export *job, const struct umem_image_region *region,
	struct umem_backing *backing, uint64_t start, uint64_t end, struct umem_sparse *file,
	uint64_t offset)
{
	uint64_t len;
	int r = 0;

	if (backing->fd < 0 || backing->region != region) {
		umem_backing_close(backing);
		r = umem_backing_open(region, backing, job->note);
	}
	for (; start < end && r == 0; start += len, offset += len) {
		len = umem_min_u64(UMEM_EXPORT_CHUNK, end - start);
		r = umem_backing_read(backing, start, job->buf, len / UMEM_IMAGE_PAGE_BYTES,
			job->note);
		if (r == 0)
			r = umem_sparse_write(file, offset, job->buf, len, job->note);
		if (r == 0)
			r = umem_export_advance(job, len);
	}
	return r;
}

bool umem_export_inherited(struct umem_image *image, uint32_t space, uint64_t addr, uint64_t end,
	uint32_t parent_space, uint64_t *ret_end)
{
	size_t i = umem_image_find(image, space, addr);
	bool answer = false;
	uint64_t at = addr;

	for (; at < end && i < umem_image_n_runs(image, space); i++) {
		struct umem_run run = umem_image_run_at(image, space, i);
		bool same = run.kind == UMEM_RUN_PARENT && run.ref == run.start &&
			run.space == parent_space;

		if (run.start > at)
			break;
		if (at > addr && same != answer)
			break;
		answer = same;
		at = umem_run_end(&run);
	}
	/* Nothing of its own there: no. */
	*ret_end = at > addr ? umem_min_u64(at, end) : end;
	return answer;
}

bool umem_export_is_kernel(const struct umem_image_region *region)
{
	return region->path && strncmp(region->path, "[v", 2) == 0;
}

int umem_export_unknown(struct umem_export *job, const struct umem_image_run *run)
{
	if (run->what == UMEM_IMAGE_PARENT)
		return umem_note_set(job->note, -ENOENT, run->start,
			"pages at 0x%" PRIx64 " are in the parent of %s, which is not open",
			run->start, umem_image_path(job->image));
	if (!job->options.unknown_as_zero)
		return umem_note_set(job->note, -ENODATA, run->start, "the image does not know the "
			"pages from 0x%" PRIx64 " to 0x%" PRIx64 ", which the format cannot say; "
			"ask for zeros instead", run->start, run->end);
	job->out.unknown_bytes += run->end - run->start;
	return 0;
}
