// SPDX-License-Identifier: LGPL-2.1-or-later
/* A file that is there whole, or not at all; see outfile.h. */
#include "lib/store/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fault.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

#define TEMP_TRIES 16
#define ROOM_BYTES 4096

/* Open @name in the folder, past the page cache where that is possible. */
static int open_some(int dirfd, const char *name, int flags, uint32_t mode, bool *ret_direct)
{
	int fd = -1;

	errno = (int)UMEM_FAULT_POINT("outfile.direct");
	if (errno == 0)
		fd = openat(dirfd, name, flags | O_DIRECT | O_CLOEXEC, mode);
	*ret_direct = fd >= 0;
	if (fd < 0 && errno == EINVAL)
		fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

/* A name in the folder that nobody has; freed by the caller. */
static char *temp_name(const char *name)
{
	char text[NAME_MAX + 1];
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0)
		number = (uint64_t)getpid();
	/* Long names are cut: what counts is the number. */
	snprintf(text, sizeof(text), ".%.200s.%016llx.umem-tmp", name ? name : "",
		(unsigned long long)number);
	return strdup(text);
}

/* A file with a name for now, where there is no O_TMPFILE. */
static int open_named(struct umem_outfile *file, uint32_t mode)
{
	for (int i = 0; i < TEMP_TRIES; i++) {
		UMEM_FREE char *temp = temp_name(file->name);
		int fd;

		if (!temp)
			return -ENOMEM;
		fd = open_some(file->dirfd, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode,
			&file->direct);
		if (fd == -EEXIST)
			continue;
		if (fd < 0)
			return fd;
		file->fd = fd;
		file->temp = UMEM_TAKE_PTR(temp);
		return 0;
	}
	return -EEXIST;
}

/* What is at the name now may be replaced, or is not there. */
static int check_old(const struct umem_outfile *file, const char *path, struct umem_note *note)
{
	struct stat st;

	if (fstatat(file->dirfd, file->name, &st, 0) < 0) {
		if (errno == ENOENT)
			return 0;
		return umem_note_set(note, -errno, 0, "%s: %s", path, strerror(errno));
	}
	if (file->exclusive)
		return umem_note_set(note, -EEXIST, 0, "%s: there is a file already", path);
	if (!S_ISREG(st.st_mode))
		return umem_note_set(note, -EINVAL, 0,
			"%s: is not a regular file, and will not be replaced", path);
	return 0;
}

/* The folder of @path, and its last part. */
static int open_folder(struct umem_outfile *file, const char *path, bool anonymous)
{
	UMEM_FREE char *folder = strdup(path);
	char *slash;

	if (!folder)
		return -ENOMEM;
	if (anonymous) {
		file->dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (file->dirfd >= 0)
			return 0;
	}
	slash = strrchr(folder, '/');
	if (!anonymous) {
		file->name = strdup(slash ? slash + 1 : folder);
		if (!file->name)
			return -ENOMEM;
		if (file->name[0] == '\0')
			return -EISDIR;
	}
	if (slash)
		slash[slash == folder ? 1 : 0] = '\0';
	file->dirfd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return file->dirfd < 0 ? -errno : 0;
}

/* The file itself: without a name where that is possible. */
static int open_file(struct umem_outfile *file, uint32_t mode)
{
	int fault = (int)UMEM_FAULT_POINT("outfile.tmpfile");
	int r = fault ? -fault :
			open_some(file->dirfd, ".", O_RDWR | O_TMPFILE, mode, &file->direct);

	if (r >= 0) {
		file->fd = r;
		return 0;
	}
	/* EISDIR is what a kernel says that does not know of O_TMPFILE here. */
	if (r != -EOPNOTSUPP && r != -EISDIR && r != -EINVAL)
		return r;
	r = open_named(file, mode);
	if (r == 0 && !file->name) {
		unlinkat(file->dirfd, file->temp, 0);
		free(UMEM_TAKE_PTR(file->temp));
	}
	return r;
}

int umem_outfile_open(const char *path, uint32_t mode, bool anonymous, bool exclusive,
	struct umem_outfile *ret_file, struct umem_note *note)
{
	UMEM_CLEANUP(umem_outfile_deinit) struct umem_outfile file = UMEM_OUTFILE_NONE;
	int r = open_folder(&file, path, anonymous);

	file.exclusive = exclusive;
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", path, strerror(-r));
	if (file.name) {
		r = check_old(&file, path, note);
		if (r < 0)
			return r;
	}
	r = open_file(&file, mode);
	if (r == 0 && fchmod(file.fd, mode) < 0)
		r = -errno;
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: cannot write there: %s", path,
			strerror(-r));
	*ret_file = file;
	file = (struct umem_outfile)UMEM_OUTFILE_NONE;
	return 0;
}

/* Does a file hold what is written to it? Those of the kernel look alike, and do not grow. */
static int try_room(int fd, struct stat *st)
{
	if (ftruncate(fd, ROOM_BYTES) < 0 || fstat(fd, st) < 0)
		return -errno;
	if (st->st_size != ROOM_BYTES)
		return -EINVAL;
	return ftruncate(fd, 0) < 0 ? -errno : 0;
}

int umem_outfile_adopt(int fd, const char *name, struct umem_outfile *ret_file,
	struct umem_note *note)
{
	int flags = fcntl(fd, F_GETFL), r = -EINVAL, own;
	struct stat st;

	/* A descriptor of O_PATH is not open for anything. */
	if (flags >= 0 && (flags & O_ACCMODE) == O_RDWR && !(flags & (O_APPEND | O_PATH)) &&
		fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
		r = try_room(fd, &st);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: is no empty regular file that is open for "
			"reading and writing%s%s", name, r == -EINVAL ? "" : ": ",
			r == -EINVAL ? "" : strerror(-r));
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return umem_note_set(note, -errno, 0, "%s: %s", name, strerror(errno));
	*ret_file = (struct umem_outfile)UMEM_OUTFILE_NONE;
	ret_file->fd = own;
	ret_file->direct = flags & O_DIRECT;
	return 0;
}

/* Give the nameless file the name @to; as linkat(2). */
static int link_as(const struct umem_outfile *file, const char *to)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	if (linkat(AT_FDCWD, self, file->dirfd, to, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	/* Without /proc; needs CAP_DAC_READ_SEARCH. */
	if (errno == ENOENT && linkat(file->fd, "", file->dirfd, to, AT_EMPTY_PATH) == 0)
		return 0;
	return -errno;
}

/* Make @file->temp a name of the file, to be renamed. */
static int link_temp(struct umem_outfile *file)
{
	for (int i = 0; i < TEMP_TRIES; i++) {
		UMEM_FREE char *temp = temp_name(file->name);
		int r = temp ? link_as(file, temp) : -ENOMEM;

		if (r == -EEXIST)
			continue;
		if (r == 0)
			file->temp = UMEM_TAKE_PTR(temp);
		return r;
	}
	return -EEXIST;
}

static int give_name(struct umem_outfile *file)
{
	int r;

	if (!file->temp) {
		r = link_as(file, file->name);
		if (r != -EEXIST || file->exclusive)
			return r;
		r = link_temp(file);
		if (r < 0)
			return r;
	}
	if (renameat2(file->dirfd, file->temp, file->dirfd, file->name,
		    file->exclusive ? RENAME_NOREPLACE : 0) < 0)
		return -errno;
	free(UMEM_TAKE_PTR(file->temp));
	return 0;
}

int umem_outfile_commit(struct umem_outfile *file, struct umem_note *note)
{
	int r;

	if (fsync(file->fd) < 0)
		return umem_note_set(note, -errno, 0, "%s: fsync: %s",
			file->name ? file->name : "(file without a name)", strerror(errno));
	if (!file->name)
		return 0;
	r = give_name(file);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: cannot give the file its name: %s",
			file->name, strerror(-r));
	/* EINVAL: a file system that has no such thing for folders. */
	if (fsync(file->dirfd) < 0 && errno != EINVAL)
		return umem_note_set(note, -errno, 0,
			"%s: is written, but may be gone after a power failure: fsync of its "
			"folder: %s", file->name, strerror(errno));
	return 0;
}

void umem_outfile_deinit(struct umem_outfile *file)
{
	if (file->temp)
		unlinkat(file->dirfd, file->temp, 0);
	free(UMEM_TAKE_PTR(file->temp));
	free(UMEM_TAKE_PTR(file->name));
	file->fd = umem_fd_close(file->fd);
	file->dirfd = umem_fd_close(file->dirfd);
}
