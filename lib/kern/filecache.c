// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a file holds, without reading it: extents, page cache, stamp.
 *
 * Theory of operation
 *
 * A stamp answers "was this file punched, truncated or written by write(2)
 * since?", which no page table tells (an armed page of a punched memfd still
 * reads as clean). It stands on the times of the inode. Seen on Linux 6.18 for
 * memfd, tmpfs and the inode behind MAP_SHARED|MAP_ANONYMOUS alike:
 *
 *     write(2), fallocate, PUNCH_HOLE (also of a hole), MADV_REMOVE,
 *     ftruncate (also to the same size)             mtime and ctime move
 *     a store that faults: first store to a page,
 *     or first after it was write-protected          both move too
 *                         (fault_dirty_shared_page(), mm/memory.c)
 *     stores and loads through mapped pages, loads
 *     from holes, MADV_DONTNEED, MADV_PAGEOUT        nothing moves
 *
 * st_blocks also counts pages that a load put into a hole, so it is not
 * compared.
 *
 * Three things could hide a change, and what is done about each:
 *
 * 1. The clock of inode times is coarse: a change right after the stamp may get
 *    the time that is already there. Only kernels with multigrain timestamps
 *    (6.13, and not every file system) give a new time to each change after it
 *    was looked at. So a stamp counts as settled only when the times lie two
 *    ticks of that clock (clock_getres(CLOCK_REALTIME_COARSE)) in the past.
 *
 * 2. write(2) sets the times first and copies then, for as long as it takes; a
 *    stamp in the middle would be settled before the last byte is there. All
 *    writers of shmem hold the inode's lock, and so does its lseek(SEEK_DATA):
 *    one past every end (it fails with ENXIO and moves nothing) waits for them.
 *    The order is: clock, lseek, fstat. What changed before the clock was read
 *    is then complete; what changed after is not settled.
 *
 *        writer:   lock  times=C ....... copy ....... unlock
 *        stamp:                   clock   lseek |waits|     fstat sees C
 *
 * 3. Other file systems write under a shared lock (direct I/O), or leave times
 *    to a server, or (hugetlbfs) punch without a new time: never settled.
 *
 * Setting the wall clock back between a stamp and a change could bring the same
 * nanosecond again; a ctime cannot be forged otherwise (utimensat(2) sets mtime
 * and thereby moves ctime).
 */
#include "lib/kern/filecache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"

#define SEC_NS 1000000000u

int umem_filecache_open_mapping(int pid, uint64_t start, uint64_t end, int flags,
	int *ret_fd)
{
	char path[80];
	struct stat st;
	int fd;

	if ((flags & ~O_NONBLOCK) != O_RDONLY && (flags & ~O_NONBLOCK) != O_RDWR)
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid,
		(unsigned long long)start, (unsigned long long)end);
	UMEM_FD int handle = open(path, O_PATH | O_CLOEXEC);

	if (handle < 0)
		return -errno;
	if (fstat(handle, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", handle);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int umem_filecache_extents(int fd, uint64_t start, uint64_t end, struct umem_ranges *out)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t at = start;

	end = umem_min_u64(end, INT64_MAX);
	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		int r;

		/* Nothing but holes up to the end of the file. */
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0)
			return -errno;
		if ((uint64_t)data >= end)
			return 0;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0 && errno == ENXIO)
			return 0; /* truncated in between */
		if (hole < 0)
			return -errno;
		if (hole == data) {
			/* Punched in between: go on behind it. */
			at = umem_align_down((uint64_t)data, page) + page;
			continue;
		}
		r = umem_ranges_add(out, (uint64_t)data, umem_min_u64((uint64_t)hole, end));
		if (r < 0)
			return r;
		at = (uint64_t)hole;
	}
	return 0;
}

static uint64_t ns_of(const struct timespec *ts)
{
	/* Times before 1970 become 0: long settled, which is what they are. */
	return ts->tv_sec < 0 ? 0 : (uint64_t)ts->tv_sec * SEC_NS + (uint64_t)ts->tv_nsec;
}

int umem_filecache_stamp(int fd, struct umem_file_stamp *ret_stamp)
{
	struct timespec now, tick;
	struct statfs fs;
	struct stat st;
	uint64_t latest_ns;
	bool shmem;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	shmem = fs.f_type == TMPFS_MAGIC;
	/* The order of these three matters, see the top. */
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (shmem && (lseek(fd, INT64_MAX, SEEK_DATA) >= 0 || errno != ENXIO))
		shmem = false;
	if (fstat(fd, &st) < 0)
		return -errno;
	clock_getres(CLOCK_REALTIME_COARSE, &tick);

	*ret_stamp = (struct umem_file_stamp){
		.size_bytes = (uint64_t)st.st_size,
		.blocks = (uint64_t)st.st_blocks,
		.mtime_ns = ns_of(&st.st_mtim),
		.ctime_ns = ns_of(&st.st_ctim),
	};
	latest_ns = umem_max_u64(ret_stamp->mtime_ns, ret_stamp->ctime_ns);
	ret_stamp->settled = shmem && latest_ns + 2 * ns_of(&tick) < ns_of(&now);
	return 0;
}

bool umem_filecache_same(const struct umem_file_stamp *before,
	const struct umem_file_stamp *now)
{
	return before->settled && before->size_bytes == now->size_bytes &&
		before->mtime_ns == now->mtime_ns && before->ctime_ns == now->ctime_ns;
}

int umem_filecache_stat(int fd, uint64_t start, uint64_t end, struct umem_cachestat *ret_stat)
{
	struct umem_cachestat_range range = { .off = start, .len = end - start };
	struct umem_cachestat stat = { 0 };

	/* A length of 0 would mean: up to the end of the file. */
	if (start < end && syscall(SYS_cachestat, fd, &range, &stat, 0) < 0)
		return -errno;
	*ret_stat = stat;
	return 0;
}
