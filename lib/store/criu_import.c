// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A directory of CRIU images, read into an image.
 *
 * Theory of operation
 *
 * What is in no entry of a pagemap follows from the mapping:
 *
 *     anonymous, a shared segment   zeros
 *     private or shared, of a file  that of the file: left out here too
 *     the kernel's, and others      not known
 *
 * A page in an entry that no mapping has is damage: it would be lost in silence.
 * Registers are not read; a process of CRIU's is more than these, and CRIU restores it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/note.h"
#include "lib/store/criu_source.h"

#define PAGE UMEM_IMAGE_PAGE_BYTES

static int put_zeros(struct umem_criu_source *from, uint64_t end)
{
	uint64_t start = from->from;

	from->from = end;
	if (!from->zeros || start >= end)
		return 0;
	return umem_image_put_zero(from->job->writer, from->space, start + from->shift,
		end + from->shift);
}

static int put_pages(void *user, uint64_t start, uint64_t end, int fd, uint64_t offset)
{
	struct umem_criu_source *from = user;
	struct umem_import *job = from->job;
	uint64_t len;
	int r = put_zeros(from, start);

	from->from = end;
	from->found_bytes += end - start;
	for (; start < end && r == 0; start += len, offset += len) {
		ssize_t n;

		len = umem_min_u64(UMEM_EXPORT_CHUNK, end - start);
		n = pread(fd, job->buf, len, (off_t)offset);
		if (n < 0 && errno == EINTR) {
			len = 0;
			continue;
		}
		/* A short read ends at the end: its file was long enough a moment ago. */
		if (n < PAGE)
			return umem_note_set(job->note, n < 0 ? -errno : -EBADMSG, start,
				"%s: the page at 0x%" PRIx64 " cannot be read: %s", job->path,
				start, n < 0 ? strerror(errno) : "the file became shorter");
		len = umem_align_down((uint64_t)n, PAGE);
		r = umem_image_put(job->writer, from->space, start + from->shift, job->buf,
			len / PAGE);
		if (r == 0)
			r = umem_import_advance(job, len);
	}
	return r;
}

/* Put [@start, @end) of a pagemap at these plus from->shift. */
static int put_range(struct umem_criu_source *from, struct umem_criu_pages *pages, uint64_t start,
	uint64_t end)
{
	int r;

	from->from = start;
	r = umem_criu_pages_each(pages, start, end, put_pages, from, from->job->note);
	return r != 0 ? r : put_zeros(from, end);
}

/* The pages of the segment that a mapping shows. */
static int put_segment(struct umem_criu_source *from, const struct umem_criu_vma *vma)
{
	char name[60];
	int r = 0;

	if (!from->segment || from->shmid != vma->shmid) {
		from->segment = umem_criu_pages_free(from->segment);
		snprintf(name, sizeof(name), "pagemap-shmem-%" PRIu64 ".img", vma->shmid);
		from->shmid = vma->shmid;
		r = umem_criu_pages_open(&from->chain, name, &from->segment, from->job->note);
		if (r == -ENOENT)
			return umem_note_set(from->job->note, r, vma->start, "%s: %s is missing, "
				"the content of the shared memory at 0x%" PRIx64, from->job->path,
				name, vma->start);
	}
	from->zeros = true;
	from->shift = vma->start - vma->offset;
	return r != 0 ? r : put_range(from, from->segment, vma->offset,
		vma->offset + (vma->end - vma->start));
}

static uint64_t bytes_of(const struct umem_criu_map *map)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < map->n; i++)
		bytes += map->v[i].end - map->v[i].start;
	return bytes;
}

/* The memory of one process. */
static int put_task(struct umem_criu_source *from, const struct umem_criu_process *task)
{
	UMEM_CLEANUP(umem_criu_pages_freep) struct umem_criu_pages *pages = NULL;
	uint64_t found = 0;
	char name[40];
	int r;

	snprintf(name, sizeof(name), "pagemap-%u.img", task->tree.pid);
	r = umem_criu_pages_open(&from->chain, name, &pages, from->job->note);
	if (r == -ENOENT)
		return umem_note_set(from->job->note, r, 0, "%s: %s is missing", from->job->path,
			name);
	if (r == 0)
		from->job->total_bytes += bytes_of(&pages->levels[0].map);
	for (size_t i = 0; i < task->mm.n_vmas && r == 0; i++) {
		const struct umem_criu_vma *vma = &task->mm.vmas[i];

		if (vma->status & UMEM_CRIU_OF_SEGMENTS) {
			r = put_segment(from, vma);
			continue;
		}
		from->found_bytes = 0;
		from->shift = 0;
		from->zeros = !(vma->status & (UMEM_CRIU_OF_FILES | UMEM_CRIU_OF_KERNEL)) &&
			(vma->status & UMEM_CRIU_VMA_ANON_PRIVATE);
		r = put_range(from, pages, vma->start, vma->end);
		found += from->found_bytes;
	}
	if (r == 0 && found != bytes_of(&pages->levels[0].map))
		return umem_note_set(from->job->note, -EBADMSG, 0, "%s: %s has pages that no "
			"mapping of mm-%u.img has", from->job->path, name, task->tree.pid);
	return r;
}

int umem_criu_import(struct umem_import *job)
{
	UMEM_CLEANUP(umem_criu_source_deinit) struct umem_criu_source from = { .job = job };
	int r = umem_criu_chain_open(job->path, &from.chain, job->note);

	if (r == 0)
		r = umem_criu_source_read(&from);
	for (from.space = 0; from.space < from.n_tasks && r == 0; from.space++)
		r = put_task(&from, &from.tasks[from.space]);
	return r == 0 ? umem_criu_source_describe(&from) : r;
}
