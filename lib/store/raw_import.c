// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory without a header, read into an image: the caller says what is where.
 *
 * Holes of the file are zeros, and are found without reading them (SEEK_DATA); where
 * the file system cannot tell, all is read, and the image finds the zeros itself.
 */
#include "lib/store/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"

static int check_extents(const struct umem_import *job, uint64_t size)
{
	const struct umem_image_extent *v = job->options.extents;

	if (job->options.n_extents == 0)
		return umem_note_set(job->note, -EINVAL, 0,
			"a raw file does not tell which memory it is: no regions were given");
	for (size_t i = 0; i < job->options.n_extents; i++) {
		uint64_t len = v[i].end - v[i].start;

		if (v[i].start >= v[i].end || (i > 0 && v[i].start < v[i - 1].end) ||
			(v[i].start | v[i].end | v[i].file_offset) % UMEM_IMAGE_PAGE_BYTES)
			return umem_note_set(job->note, -EINVAL, v[i].start, "the region 0x%" PRIx64
				"-0x%" PRIx64 " is odd, or not behind the one before",
				v[i].start, v[i].end);
		if (v[i].file_offset > size || len > size - v[i].file_offset)
			return umem_note_set(job->note, -EBADMSG, v[i].start, "%s ends before the "
				"region 0x%" PRIx64 "-0x%" PRIx64 " does", job->path, v[i].start,
				v[i].end);
	}
	return 0;
}

static int read_full(const struct umem_import *job, int fd, uint64_t at, uint64_t len)
{
	for (uint64_t got = 0; got < len;) {
		ssize_t n = pread(fd, job->buf + got, len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return umem_note_set(job->note, n < 0 ? -errno : -EBADMSG, 0,
				"%s: cannot be read at %" PRIu64 ": %s", job->path, at + got,
				n < 0 ? strerror(errno) : "it became shorter");
		got += (uint64_t)n;
	}
	return 0;
}

/* Pages that are data in the file. */
static int put_data(struct umem_import *job, int fd, uint64_t addr, uint64_t at, uint64_t len)
{
	uint64_t part;

	for (; len > 0; addr += part, at += part, len -= part) {
		int r;

		part = umem_min_u64(UMEM_EXPORT_CHUNK, len);
		r = read_full(job, fd, at, part);
		if (r == 0)
			r = umem_image_put(job->writer, 0, addr, job->buf,
				part / UMEM_IMAGE_PAGE_BYTES);
		if (r == 0)
			r = umem_import_advance(job, part);
		if (r != 0)
			return r;
	}
	return 0;
}

/* The next data at or behind @at, in whole pages; [@end, @end) for none. */
static struct umem_range next_data(int fd, uint64_t at, uint64_t end)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);
	off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);

	if (data < 0 && errno == ENXIO)
		return (struct umem_range){ end, end };
	if (data < 0 || hole < 0)
		return (struct umem_range){ at, end };
	return (struct umem_range){
		umem_min_u64(end, umem_align_down((uint64_t)data, UMEM_IMAGE_PAGE_BYTES)),
		umem_min_u64(end, umem_align_up((uint64_t)hole, UMEM_IMAGE_PAGE_BYTES)),
	};
}

static int put_extent(struct umem_import *job, int fd, const struct umem_image_extent *extent)
{
	uint64_t at = extent->file_offset, end = at + (extent->end - extent->start);

	while (at < end) {
		struct umem_range data = next_data(fd, at, end);
		uint64_t shift = extent->start - extent->file_offset;
		uint64_t len = data.end - data.start;
		int r = 0;

		if (data.start > at)
			r = umem_image_put_zero(job->writer, 0, at + shift, data.start + shift);
		if (r == 0)
			r = umem_import_advance(job, data.start - at);
		if (r == 0)
			r = put_data(job, fd, data.start + shift, data.start, len);
		if (r != 0)
			return r;
		at = data.end;
	}
	return 0;
}

static int describe(struct umem_import *job)
{
	size_t n = job->options.n_extents;
	UMEM_FREE struct umem_image_region *regions = calloc(n + 1, sizeof(*regions));
	const struct umem_image_info info = { .method = "import", .complete = true };
	struct umem_image_process process = { .pid = job->options.extents[0].pid,
		.regions = regions, .n_regions = n };

	if (!regions)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		regions[i].start = job->options.extents[i].start;
		regions[i].end = job->options.extents[i].end;
		regions[i].page_size_bytes = UMEM_IMAGE_PAGE_BYTES;
		regions[i].vma_flags = 3;
		regions[i].kind_name = "anonymous";
	}
	return umem_image_describe(job->writer, &process, 1, &info);
}

int umem_raw_import(struct umem_import *job)
{
	UMEM_FD int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return umem_note_set(job->note, -errno, 0, "%s: cannot be opened: %s", job->path,
			strerror(errno));
	if (!S_ISREG(st.st_mode))
		return umem_note_set(job->note, -EINVAL, 0, "%s is not a regular file", job->path);
	r = check_extents(job, (uint64_t)st.st_size);
	for (size_t i = 0; i < job->options.n_extents && r == 0; i++)
		job->total_bytes += job->options.extents[i].end - job->options.extents[i].start;
	for (size_t i = 0; i < job->options.n_extents && r == 0; i++)
		r = put_extent(job, fd, &job->options.extents[i]);
	return r != 0 ? r : describe(job);
}
