/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file holds, without reading it: extents (SEEK_DATA), the page cache
 * (cachestat), and a stamp that tells whether it was changed. No state.
 */
#ifndef UMEM_KERN_FILECACHE_H
#define UMEM_KERN_FILECACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/base/ranges.h"
#include "lib/kern/uapi.h"

/**
 * umem_filecache_open_mapping - open the file behind a mapping of a process.
 * @pid, @start, @end: exactly one mapping (/proc/PID/map_files).
 * @flags: O_RDONLY or O_RDWR; O_CLOEXEC is added.
 *
 * The descriptor has a position of its own. A device is never opened, because
 * opening one may do something to it.
 *
 * Return: 0, -ENOENT (no such mapping, or one without a file), -EPERM (needs
 * CAP_CHECKPOINT_RESTORE), -EACCES, -ENODEV (not a regular file), -EINVAL
 * (other flags), -ETXTBSY, -EROFS, -EMFILE.
 */
int umem_filecache_open_mapping(int pid, uint64_t start, uint64_t end, int flags,
	int *ret_fd);

/**
 * umem_filecache_extents - which bytes of [@start, @end) hold data, as offsets.
 * @fd: shmem, memfd or a file of a file system with SEEK_DATA.
 * @out: data ranges are added, in file offsets, not past the end of the file.
 *
 * Swapped shmem is data. A file system that does not look (hugetlbfs) says
 * that all of the file is. What changes meanwhile may be reported either way.
 * Moves the position of @fd's open file description; waits for a writer.
 *
 * Return: 0, -EINVAL where the file system has no SEEK_DATA, -ENOMEM.
 */
int umem_filecache_extents(int fd, uint64_t start, uint64_t end, struct umem_ranges *out);

/**
 * struct umem_file_stamp - when a file was changed last.
 * @size_bytes, @blocks, @mtime_ns, @ctime_ns: of fstat(2).
 * @settled: no change to come can carry the same times: shmem (memfd, tmpfs,
 *           shared anonymous memory) that was not changed for two ticks of
 *           the coarse clock. Never set for other file systems.
 */
struct umem_file_stamp {
	uint64_t size_bytes;
	uint64_t blocks;
	uint64_t mtime_ns;
	uint64_t ctime_ns;
	bool settled;
};

/**
 * umem_filecache_stamp - the stamp of @fd now.
 *
 * Waits until a write, punch or truncate that is under way has ended, so that
 * the stamp covers all or nothing of it. The position of @fd stays.
 *
 * Return: 0 or -errno of fstat(2) or fstatfs(2).
 */
int umem_filecache_stamp(int fd, struct umem_file_stamp *ret_stamp);

/**
 * umem_filecache_same - was the file certainly not punched, truncated or
 * written by write(2) between two stamps?
 *
 * @before must be settled for a yes. A no proves nothing: stores through a
 * shared mapping change the times as well whenever they fault (the first store
 * to a page, and the first after each write-protection), so that memory which
 * is being written and tracked hardly ever gets a yes.
 */
bool umem_filecache_same(const struct umem_file_stamp *before,
	const struct umem_file_stamp *now);

/**
 * umem_filecache_stat - cachestat(2) of [@start, @end) of a file.
 * Brings nothing in. An empty range gives zeros.
 * Return: 0, -ENOSYS before 6.5, -EPERM, -EOPNOTSUPP (hugetlb).
 */
int umem_filecache_stat(int fd, uint64_t start, uint64_t end, struct umem_cachestat *ret_stat);

#endif
