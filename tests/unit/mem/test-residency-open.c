// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opening the memory behind mappings of our own, by each way there is. */
#include "lib/mem/residency_open.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/mem/space.h"
#include "tests/lib/harness.h"

#define LEN 8192u

static struct umem_target target;

static enum umem_backing own_backing(const void *user, const struct umem_vma *vma)
{
	return umem_region_backing(getpid(), vma);
}

/* Our own mapping at @at. */
static struct umem_region region_at(struct umem_space *space, const void *at)
{
	struct umem_ranges appeared = { 0 }, vanished = { 0 };
	struct umem_region *region;
	int fd = -1;

	T_OK(umem_maps_open(getpid(), &fd));
	T_OK(umem_space_refresh(space, own_backing, NULL, fd, UMEM_MAPS_TEXT, &appeared,
		&vanished));
	close(fd);
	umem_ranges_deinit(&appeared);
	umem_ranges_deinit(&vanished);
	region = umem_space_find(space, (uintptr_t)at);
	T_CHECK(region != NULL);
	return *region;
}

static void *map(int fd)
{
	void *at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	T_CHECK(at != MAP_FAILED);
	return at;
}

/* Open it with and without map_files. @others: what the latter must give. */
static void check(const void *at, int with, int without, uint64_t inode)
{
	struct umem_opener opener = { .target = &target };
	struct umem_space space = { 0 };
	struct umem_region region = region_at(&space, at);

	for (int i = 0; i < 2; i++) {
		int fd = -1, r;
		struct stat st;

		opener.no_map_files = i == 1;
		r = umem_opener_open(&opener, &region, &fd);
		/* Without privilege it is the other way. */
		T_CHECK(r == (i || geteuid() ? without : with), "way %d: %d", i, r);
		if (r != 0)
			continue;
		T_SYS(fstat(fd, &st));
		T_CHECK(st.st_ino == inode && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
		T_CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
	umem_opener_deinit(&opener);
	umem_space_deinit(&space);
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	T_SYS(fstat(fd, &st));
	return st.st_ino;
}

/* As long as a descriptor is there, that is a way. */
static void memfds(void)
{
	int fd = (int)T_SYS(memfd_create("open", MFD_CLOEXEC));
	uint64_t inode = inode_of(fd);
	void *at;

	T_SYS(ftruncate(fd, LEN));
	at = map(fd);
	check(at, 0, 0, inode);
	close(fd);
	check(at, 0, -EACCES, inode);
	munmap(at, LEN);
}

/* A file with a name, until another one has it. */
static void named(void)
{
	char path[64], other[80];
	uint64_t inode;
	void *at;
	int fd;

	snprintf(path, sizeof(path), "/dev/shm/umem-test-open-%d", (int)getpid());
	snprintf(other, sizeof(other), "%s-other", path);
	fd = (int)T_SYS(open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
	T_SYS(ftruncate(fd, LEN));
	inode = inode_of(fd);
	at = map(fd);
	close(fd);
	check(at, 0, 0, inode);
	fd = (int)T_SYS(open(other, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
	close(fd);
	T_SYS(rename(other, path));
	check(at, 0, -EACCES, inode);
	T_SYS(unlink(path));
	munmap(at, LEN);
}

static void others(void)
{
	int fd = (int)T_SYS(open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	struct umem_opener opener = { .target = &target };
	struct umem_space space = { 0 };
	struct umem_region region;
	void *at;

	/* A file of a disk is not opened, nor is what has no file. */
	T_SYS(ftruncate(fd, LEN));
	at = map(fd);
	check(at, -ENOTSUP, -ENOTSUP, 0);
	munmap(at, LEN);
	close(fd);
	at = mmap(NULL, LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(at, -ENOTSUP, -ENOTSUP, 0);
	munmap(at, LEN);
	/* What is not mapped any more. */
	fd = (int)T_SYS(memfd_create("open", MFD_CLOEXEC));
	T_SYS(ftruncate(fd, LEN));
	at = map(fd);
	region = region_at(&space, at);
	munmap(at, LEN);
	close(fd);
	T_CHECK(umem_opener_open(&opener, &region, &fd) == -ESTALE);
	umem_opener_deinit(&opener);
	umem_space_deinit(&space);
}

int main(void)
{
	target.pid = target.tid = getpid();
	target.proc_fd = (int)T_SYS(open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
	memfds();
	named();
	others();
	return 0;
}
