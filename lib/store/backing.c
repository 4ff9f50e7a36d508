// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages of a region that are not in an image, since they are those of a file. */
#include "lib/store/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"

static uint64_t mtime_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

int umem_backing_open(const struct umem_image_region *region, struct umem_backing *ret_backing,
	struct umem_note *note)
{
	const char *path = region->path ? region->path : "";
	UMEM_FD int fd = -1;
	struct stat st;

	if (path[0] != '/' || region->file_size_bytes == 0 || region->file_mtime_ns == 0)
		return umem_note_set(note, -ENODATA, region->start,
			"the image does not tell which file has the pages at 0x%" PRIx64 " ('%s')",
			region->start, path);
	/* A path of a hostile image may lead to a device or a pipe: never wait for one. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return umem_note_set(note, -ENODATA, region->start,
			"pages at 0x%" PRIx64 " are those of %s, which cannot be opened: %s",
			region->start, path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != region->file_size_bytes ||
		mtime_ns(&st) != region->file_mtime_ns)
		return umem_note_set(note, -ESTALE, region->start,
			"pages at 0x%" PRIx64 " are those of %s, which was changed since",
			region->start, path);
	ret_backing->fd = umem_fd_take(&fd);
	ret_backing->region = region;
	return 0;
}

int umem_backing_read(const struct umem_backing *backing, uint64_t addr, void *bytes,
	uint64_t n_pages, struct umem_note *note)
{
	const struct umem_image_region *region = backing->region;
	uint64_t at = region->offset + (addr - region->start);
	uint64_t len = n_pages * UMEM_IMAGE_PAGE_BYTES, got = 0;

	if (at > INT64_MAX - len)
		return umem_note_set(note, -ENODATA, addr, "%s has no such offset", region->path);
	while (got < len) {
		ssize_t n = pread(backing->fd, (char *)bytes + got, len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return umem_note_set(note, -errno, addr, "%s: cannot be read: %s",
				region->path, strerror(errno));
		if (n == 0)
			break;
		got += (uint64_t)n;
	}
	/* Whole pages behind the end are not there: an access would be a SIGBUS. */
	if (len - got >= UMEM_IMAGE_PAGE_BYTES)
		return umem_note_set(note, -ENODATA, addr, "%s ends before the page at 0x%" PRIx64,
			region->path, addr + umem_align_up(got, UMEM_IMAGE_PAGE_BYTES));
	memset((char *)bytes + got, 0, len - got);
	return 0;
}

uint64_t umem_backing_end(const struct umem_image_region *region)
{
	uint64_t left = 0;

	if (region->file_size_bytes > region->offset)
		left = umem_align_up(region->file_size_bytes - region->offset,
			UMEM_IMAGE_PAGE_BYTES);
	/* A size that is next to the last number is none of a file's. */
	return region->start + umem_min_u64(left, region->end - region->start);
}

void umem_backing_close(struct umem_backing *backing)
{
	umem_fd_close(backing->fd);
	*backing = UMEM_BACKING_NONE;
}
