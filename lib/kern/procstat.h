/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small numbers about a process, from /proc/PID/stat and /proc/PID/status.
 * The two files are read one after the other while it runs on.
 */
#ifndef UMEM_KERN_PROCSTAT_H
#define UMEM_KERN_PROCSTAT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct umem_procstat - of all its threads, also of those that have ended.
 * @min_flt: page faults without I/O.
 * @maj_flt: page faults with I/O, which a page from zram counts as too.
 * @utime_ns, @stime_ns: processor time, in steps of a clock tick (10 ms).
 * @locked_bytes: VmLck, mapped under mlock(2).
 * @pinned_bytes: VmPin.
 * @swap_bytes: VmSwap: private pages that are out; shared memory is not in it.
 * @rss_anon_bytes, @rss_file_bytes, @rss_shmem_bytes: mapped and resident.
 * @uid: effective user.
 */
struct umem_procstat {
	uint64_t min_flt;
	uint64_t maj_flt;
	uint64_t utime_ns;
	uint64_t stime_ns;
	uint64_t locked_bytes;
	uint64_t pinned_bytes;
	uint64_t swap_bytes;
	uint64_t rss_anon_bytes;
	uint64_t rss_file_bytes;
	uint64_t rss_shmem_bytes;
	uid_t uid;
};

/**
 * umem_procstat_read - read the numbers.
 * @proc_fd: descriptor of /proc/PID, which stays with that process. Of a thread
 *           (/proc/PID/task/TID) faults and times are that thread's alone.
 *
 * A zombie and a kernel thread have no memory: their sizes are 0.
 *
 * Return: 0, -ESRCH or -ENOENT when it is gone, -EBADMSG, -ENOMEM.
 */
int umem_procstat_read(int proc_fd, struct umem_procstat *ret_stat);

#endif
