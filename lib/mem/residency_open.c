// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Opening the memory behind a mapping.
 *
 * Theory of operation
 *
 *     /proc/PID/map_files    the file itself, whatever became of its name; takes
 *                            CAP_CHECKPOINT_RESTORE
 *     /proc/PID/fd           one of its descriptors may be of the same file; takes
 *                            what looking at the page tables takes, too
 *     its name               if there is such a file still, and it is the same
 *
 * The same: device and inode are what the mapping has. What cannot be found by
 * any is told apart from files of disks by its name (those that the kernel gives
 * to memory) and its device (memory has none, so its major number is 0). A process
 * that has no /proc asks whoever opens things for it, who does so by the first way.
 *
 * A look must not show. Only memory is opened, for reading, and without waiting:
 * a lease (fcntl(2)) would have its holder asked first. It is looked at by a
 * descriptor that opens nothing (O_PATH) before.
 */
#include "lib/mem/residency_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/mem/residency_object.h"

#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

void umem_opener_deinit(struct umem_opener *opener)
{
	free(opener->fds);
	opener->fds = NULL;
	opener->n_fds = opener->room = 0;
	opener->listed = false;
}

void umem_opener_forget(struct umem_opener *opener)
{
	opener->n_fds = 0;
	opener->listed = false;
}

uint64_t umem_opener_device(const struct umem_region *region)
{
	return makedev(region->dev_major, region->dev_minor);
}

static bool same(const struct umem_region *region, const struct stat *st)
{
	return st->st_ino == region->inode && st->st_dev == umem_opener_device(region);
}

/*
 * What a handle of O_PATH is of. Return: 0: the memory behind the region; -ENOTSUP:
 * a file that is none; -ESTALE: memory, but another.
 */
static int look(int handle, const struct umem_region *region)
{
	struct statfs fs;
	struct stat st;

	if (fstat(handle, &st) < 0 || fstatfs(handle, &fs) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !umem_object_is_memory((uint64_t)fs.f_type))
		return st.st_ino == region->inode ? -ENOTSUP : -ESTALE;
	return same(region, &st) ? 0 : -ESTALE;
}

/* Open what lies at a path, if it is the memory behind the region. */
static int open_path(const char *path, const struct umem_region *region, int *ret_fd)
{
	UMEM_FD int handle = open(path, O_PATH | O_CLOEXEC);
	char again[40];
	int fd, r;

	if (handle < 0)
		return -errno;
	r = look(handle, region);
	if (r < 0)
		return r;
	snprintf(again, sizeof(again), "/proc/self/fd/%d", handle);
	fd = open(again, OPEN_FLAGS);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int add_fd(struct umem_opener *opener, const struct stat *st, int number)
{
	if (opener->n_fds == opener->room) {
		size_t room = opener->room ? opener->room * 2 : 64;
		struct umem_opener_fd *fds = reallocarray(opener->fds, room, sizeof(*fds));

		if (!fds)
			return -ENOMEM;
		opener->fds = fds;
		opener->room = room;
	}
	opener->fds[opener->n_fds++] = (struct umem_opener_fd){
		.device = st->st_dev,
		.inode = st->st_ino,
		.number = number,
	};
	return 0;
}

static int open_fds(const struct umem_opener *opener)
{
	int fd = openat(opener->target->proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int list_fds(struct umem_opener *opener)
{
	int fd = open_fds(opener), r = 0;
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	opener->listed = true;
	if (fd < 0)
		return 0; /* it is not shown */
	dir = fdopendir(fd);
	if (!dir) {
		umem_fd_close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && fstatat(fd, entry->d_name, &st, 0) == 0 &&
			S_ISREG(st.st_mode) && major(st.st_dev) == 0)
			r = add_fd(opener, &st, atoi(entry->d_name));
	closedir(dir);
	return r;
}

/* By one of the target's descriptors. Return: -EACCES when there is none. */
static int open_by_fds(struct umem_opener *opener, const struct umem_region *region,
	int *ret_fd)
{
	uint64_t device = umem_opener_device(region);
	int r = opener->listed ? 0 : list_fds(opener);

	if (r < 0)
		return r;
	for (size_t i = 0; i < opener->n_fds; i++) {
		UMEM_FD int dir = -1;
		char path[64];

		if (opener->fds[i].inode != region->inode || opener->fds[i].device != device)
			continue;
		dir = open_fds(opener);
		if (dir < 0)
			return -EACCES;
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%d", dir, opener->fds[i].number);
		r = open_path(path, region, ret_fd);
		if (r == 0 || r == -EMFILE)
			return r;
	}
	return -EACCES;
}

/* Names that the kernel gives to memory: there is no such file. */
static bool is_made_up(const char *name)
{
	return strncmp(name, "/memfd:", 7) == 0 || strncmp(name, "/SYSV", 5) == 0 ||
		strncmp(name, "/dev/zero", 9) == 0 || strncmp(name, "/anon_hugepage", 14) == 0;
}

static int open_by_name(const struct umem_region *region, int *ret_fd)
{
	if (region->name[0] != '/' || is_made_up(region->name))
		return -EACCES;
	return open_path(region->name, region, ret_fd);
}

/* By whoever may open it; who asks what it is before, so that no other file is opened. */
static int open_by_reach(const struct umem_target *target, const struct umem_region *region,
	int *ret_fd)
{
	const struct umem_vma vma = {
		.start = region->start,
		.end = region->end,
		.inode = region->inode,
		.dev_major = region->dev_major,
		.dev_minor = region->dev_minor,
		.name = region->name,
	};
	enum umem_backing backing = umem_region_needs_backing(&vma) ?
		umem_target_backing(target, &vma) : UMEM_BACKING_SHMEM;
	UMEM_FD int fd = -1;
	int r;

	if (backing == UMEM_BACKING_FILE || backing == UMEM_BACKING_DEVICE)
		return -ENOTSUP;
	r = umem_target_open_mapped(target, region->start, region->end, O_RDONLY | O_NONBLOCK,
		&fd);
	if (r == 0)
		r = look(fd, region);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r == -ENODEV ? -ENOTSUP : r;
	*ret_fd = umem_fd_take(&fd);
	return 0;
}

int umem_opener_open(struct umem_opener *opener, const struct umem_region *region,
	int *ret_fd)
{
	char path[80];
	int r = -EACCES;

	if (region->inode == 0 || region->dev_major != 0)
		return -ENOTSUP;
	if (opener->target->reach)
		return open_by_reach(opener->target, region, ret_fd);
	if (!opener->no_map_files) {
		snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", opener->target->tid,
			(unsigned long long)region->start, (unsigned long long)region->end);
		r = open_path(path, region, ret_fd);
		if (r == -ENOENT)
			return -ESTALE;
	}
	if (r == 0 || r == -ENOTSUP || r == -ESTALE || r == -EMFILE)
		return r;
	r = open_by_name(region, ret_fd);
	/* A name may be of another file by now, or in another mount namespace. */
	if (r == 0 || r == -ENOTSUP || r == -EMFILE)
		return r;
	return open_by_fds(opener, region, ret_fd);
}
