// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A sparse file that another program will read, there whole or not at all.
 *
 * Behind the writes, windows of WINDOW_BYTES are sent to the disk, and the one before,
 * by then there, is dropped from the page cache (sync_file_range(2),
 * POSIX_FADV_DONTNEED). Both are hints: their errors are none of the export's, and
 * fsync tells of those that are.
 */
#include "lib/store/sparse.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/note.h"

#define WINDOW_BYTES (8ull << 20)

static int failed(const struct umem_sparse *file, int err, const char *what,
	struct umem_note *note)
{
	return umem_note_set(note, err, 0, "%s: %s: %s", file->path, what, strerror(-err));
}

int umem_sparse_open(const char *path, struct umem_sparse *ret_file, struct umem_note *note)
{
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;
	int r, flags;

	file.path = strdup(path);
	if (!file.path)
		return -ENOMEM;
	r = umem_outfile_open(path, 0600, false, false, &file.file, note);
	if (r < 0)
		return r;
	flags = fcntl(file.file.fd, F_GETFL);
	if (flags < 0 || fcntl(file.file.fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return failed(&file, -errno, "cannot be written through the page cache", note);
	*ret_file = file;
	file = (struct umem_sparse)UMEM_SPARSE_NONE;
	return 0;
}

int umem_sparse_open_in(int dirfd, const char *name, struct umem_sparse *ret_file,
	struct umem_note *note)
{
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;

	file.path = strdup(name);
	if (!file.path)
		return -ENOMEM;
	file.file.fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		0600);
	if (file.file.fd < 0)
		return failed(&file, -errno, "cannot be created", note);
	*ret_file = file;
	file = (struct umem_sparse)UMEM_SPARSE_NONE;
	return 0;
}

/* Send full windows to the disk, and drop the one before, which is there by now. */
static void write_behind(struct umem_sparse *file)
{
	int fd = file->file.fd;

	while (file->written - file->started >= WINDOW_BYTES) {
		off_t at = (off_t)file->started;

		sync_file_range(fd, at, WINDOW_BYTES, SYNC_FILE_RANGE_WRITE);
		if (file->started >= WINDOW_BYTES) {
			at -= (off_t)WINDOW_BYTES;
			sync_file_range(fd, at, WINDOW_BYTES, SYNC_FILE_RANGE_WAIT_BEFORE |
				SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
			posix_fadvise(fd, at, WINDOW_BYTES, POSIX_FADV_DONTNEED);
		}
		file->started += WINDOW_BYTES;
	}
}

int umem_sparse_write(struct umem_sparse *file, uint64_t offset, const void *bytes,
	uint64_t len_bytes, struct umem_note *note)
{
	const char *from = bytes;

	if (len_bytes > INT64_MAX || offset > INT64_MAX - len_bytes)
		return failed(file, -EFBIG, "cannot be written", note);
	/* A jump over a hole: there is nothing in it to be sent. */
	if (offset > file->written && offset - file->written >= WINDOW_BYTES)
		file->started = umem_align_down(offset, WINDOW_BYTES);
	while (len_bytes > 0) {
		ssize_t n = pwrite(file->file.fd, from, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(file, -errno, "cannot be written", note);
		from += n;
		offset += (uint64_t)n;
		len_bytes -= (uint64_t)n;
		file->data_bytes += (uint64_t)n;
	}
	file->written = umem_max_u64(file->written, offset);
	write_behind(file);
	return 0;
}

int umem_sparse_set_length(struct umem_sparse *file, uint64_t length_bytes,
	struct umem_note *note)
{
	int err = length_bytes > INT64_MAX ? -EFBIG : 0;

	if (err == 0 && ftruncate(file->file.fd, (off_t)length_bytes) < 0)
		err = -errno;
	return err < 0 ? failed(file, err, "cannot be made as long as it has to be", note) : 0;
}

int umem_sparse_commit(struct umem_sparse *file, struct umem_note *note)
{
	int r = 0;

	if (file->file.name)
		r = umem_outfile_commit(&file->file, note);
	else if (fsync(file->file.fd) < 0)
		r = failed(file, -errno, "cannot be brought to the disk", note);
	if (r == 0)
		posix_fadvise(file->file.fd, 0, 0, POSIX_FADV_DONTNEED);
	return r;
}

void umem_sparse_deinit(struct umem_sparse *file)
{
	umem_outfile_deinit(&file->file);
	free(file->path);
	*file = (struct umem_sparse)UMEM_SPARSE_NONE;
}
