// SPDX-License-Identifier: LGPL-2.1-or-later
/* A directory of files that appears as a whole. */
#include "lib/store/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/store/relname.h"

#define NAME_ATTEMPTS 16

static int failed(const struct umem_outdir *dir, int err, const char *what,
	struct umem_note *note)
{
	return umem_note_set(note, err, 0, "%s: %s: %s", dir->path, what, strerror(-err));
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A hidden name that nothing has by now, most likely. */
static char *name_beside(const char *path)
{
	uint64_t number = 0;
	char *name = NULL;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0)
		number = (uint64_t)getpid();
	if (asprintf(&name, ".%.200s.%016llx.umem-tmp", base_of(path),
		(unsigned long long)number) < 0)
		return NULL;
	return name;
}

/* The directory that @path is in, as text. */
static char *place_of(const char *path)
{
	const char *base = base_of(path);

	if (base == path)
		return strdup(".");
	return base == path + 1 ? strdup("/") : strndup(path, (size_t)(base - path - 1));
}

static char *without_slashes(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	return strndup(path, len);
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Only a directory that has nothing in it may be there. */
static int check_free(const struct umem_outdir *dir, struct umem_note *note)
{
	int fd = openat(dir->place, base_of(dir->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool empty = true;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (!stream) {
		int err = -errno;

		umem_fd_close(fd);
		return failed(dir, err, "is there, and cannot be replaced", note);
	}
	while ((entry = readdir(stream)))
		empty = empty && is_dots(entry->d_name);
	closedir(stream);
	if (!empty)
		return umem_note_set(note, -ENOTEMPTY, 0,
			"%s is there and has files in it; choose another name", dir->path);
	return 0;
}

static int make(struct umem_outdir *dir)
{
	for (int i = 0; i < NAME_ATTEMPTS; i++) {
		UMEM_FREE char *name = name_beside(dir->path);

		if (!name)
			return -ENOMEM;
		if (mkdirat(dir->place, name, 0700) == 0) {
			dir->temp = UMEM_TAKE_PTR(name);
			dir->fd = openat(dir->place, dir->temp,
				O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
			return dir->fd < 0 ? -errno : 0;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int umem_outdir_create(const char *path, struct umem_outdir *ret_dir, struct umem_note *note)
{
	UMEM_OUTDIR struct umem_outdir dir = UMEM_OUTDIR_NONE;
	UMEM_FREE char *place = NULL;
	const char *base;
	int r;

	dir.path = without_slashes(path);
	place = dir.path ? place_of(dir.path) : NULL;
	if (!place)
		return -ENOMEM;
	base = base_of(dir.path);
	if (*base == '\0' || is_dots(base))
		return umem_note_set(note, -ENOTDIR, 0,
			"'%s' is no name for a new directory", path);
	dir.place = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir.place < 0)
		return failed(&dir, -errno, "the directory that it is in cannot be opened", note);
	r = check_free(&dir, note);
	if (r < 0)
		return r;
	r = make(&dir);
	if (r < 0)
		return failed(&dir, r, "cannot be created", note);
	*ret_dir = dir;
	dir = UMEM_OUTDIR_NONE;
	return 0;
}

int umem_outdir_link(struct umem_outdir *dir, const char *name, const char *target,
	struct umem_note *note)
{
	UMEM_FREE char *place = place_of(dir->path), *from = NULL, *way = NULL;
	int r;

	/* From the hidden name the way is the same as from the one that it gets. */
	if (!place || asprintf(&from, "%s/%s/%s", place, dir->temp, name) < 0)
		return -ENOMEM;
	r = umem_relname(from, target, &way);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", target, strerror(-r));
	r = symlinkat(way, dir->fd, name) < 0 ? -errno : 0;
	return r < 0 ? failed(dir, r, "cannot get a link to its parent", note) : 0;
}

int umem_outdir_commit(struct umem_outdir *dir, struct umem_note *note)
{
	if (fsync(dir->fd) < 0)
		return failed(dir, -errno, "cannot be brought to the disk", note);
	if (renameat(dir->place, dir->temp, dir->place, base_of(dir->path)) < 0)
		return failed(dir, -errno, "cannot be put in its place", note);
	free(dir->temp);
	dir->temp = NULL;
	if (fsync(dir->place) < 0)
		return failed(dir, -errno, "is in its place, maybe not on the disk", note);
	return 0;
}

static void remove_files(int fd)
{
	DIR *stream = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	struct dirent *entry;

	if (!stream)
		return;
	rewinddir(stream);
	while ((entry = readdir(stream))) {
		if (!is_dots(entry->d_name))
			unlinkat(fd, entry->d_name, 0);
	}
	closedir(stream);
}

void umem_outdir_deinit(struct umem_outdir *dir)
{
	if (dir->temp) {
		if (dir->fd >= 0)
			remove_files(dir->fd);
		unlinkat(dir->place, dir->temp, AT_REMOVEDIR);
	}
	umem_fd_close(dir->fd);
	umem_fd_close(dir->place);
	free(dir->temp);
	free(dir->path);
	*dir = UMEM_OUTDIR_NONE;
}
