// SPDX-License-Identifier: LGPL-2.1-or-later
/* Processes by pidfd: identity, exit, descriptors of others, what they are. */
#include "lib/kern/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/base/fd.h"

/* include/linux/sched.h: the flags word of /proc/PID/stat shows them. */
#define IO_WORKER_FLAG     0x00000010u
#define USER_WORKER_FLAG   0x00004000u
#define KERNEL_THREAD_FLAG 0x00200000u

/* A stat file is one line of 52 numbers and a name of at most 64 bytes. */
#define STAT_MAX_BYTES 4096

int umem_pidfd_open(int pid, int *ret_fd)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

bool umem_pidfd_exited(int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	int n;

	do
		n = poll(&pfd, 1, 0);
	while (n < 0 && errno == EINTR);
	/* POLLHUP alone means reaped, POLLIN a zombie or reaped. */
	return n > 0 && (pfd.revents & (POLLIN | POLLHUP));
}

int umem_pidfd_getfd(int pidfd, int fd, int *ret_fd)
{
	int ours = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	if (ours < 0)
		return -errno;
	*ret_fd = ours;
	return 0;
}

int umem_pidfd_madvise(int pidfd, const struct iovec *iov, size_t n_iov, int advice,
	uint64_t *ret_bytes)
{
	ssize_t n = syscall(SYS_process_madvise, pidfd, iov, n_iov, advice, 0);

	if (n < 0)
		return -errno;
	*ret_bytes = (uint64_t)n;
	return 0;
}

/* The fields of a stat line behind the name, by the numbers of proc(5). */
enum {
	FIELD_STATE = 3,
	FIELD_PPID = 4,
	FIELD_PGRP = 5,
	FIELD_SID = 6,
	FIELD_FLAGS = 9,
	FIELD_MIN_FLT = 10,
	FIELD_MAJ_FLT = 12,
	FIELD_UTIME = 14,
	FIELD_STIME = 15,
	FIELD_CUTIME = 16,
	FIELD_CSTIME = 17,
	FIELD_START_TIME = 22,
	FIELD_PROCESSOR = 39,
};

static bool whole_number(struct umem_cursor word, uint64_t *ret_value)
{
	return umem_cursor_dec(&word, ret_value) && umem_cursor_left(&word) == 0;
}

/* An id; -1 of a process that is being reaped counts as none. */
static bool id_number(struct umem_cursor word, int *ret_id)
{
	uint64_t value = 0;

	if (*word.at != '-' && (!whole_number(word, &value) || value > INT32_MAX))
		return false;
	*ret_id = (int)value;
	return true;
}

/* One field behind the name; false when it is not of the right kind. */
static bool take_field(int number, struct umem_cursor word, struct umem_proc_stat *stat)
{
	uint64_t value;

	switch (number) {
	case FIELD_STATE:
		stat->state = *word.at;
		return umem_cursor_left(&word) == 1;
	case FIELD_PPID:
		return id_number(word, &stat->ppid);
	case FIELD_PGRP:
		return id_number(word, &stat->pgrp);
	case FIELD_SID:
		return id_number(word, &stat->sid);
	case FIELD_FLAGS:
		if (!whole_number(word, &value))
			return false;
		stat->kernel_thread = value & KERNEL_THREAD_FLAG;
		stat->io_worker = value & IO_WORKER_FLAG;
		stat->user_worker = value & (IO_WORKER_FLAG | USER_WORKER_FLAG);
		return true;
	case FIELD_MIN_FLT:
		return whole_number(word, &stat->min_flt);
	case FIELD_MAJ_FLT:
		return whole_number(word, &stat->maj_flt);
	case FIELD_UTIME:
		return whole_number(word, &stat->utime_ticks);
	case FIELD_STIME:
		return whole_number(word, &stat->stime_ticks);
	case FIELD_CUTIME:
		return whole_number(word, &stat->cutime_ticks);
	case FIELD_CSTIME:
		return whole_number(word, &stat->cstime_ticks);
	case FIELD_START_TIME:
		return whole_number(word, &stat->start_ticks);
	case FIELD_PROCESSOR:
		if (!whole_number(word, &value) || value > INT32_MAX)
			return false;
		stat->last_cpu = (int)value;
		return true;
	}
	return true;
}

int umem_proc_stat_parse(const char *text, size_t len_bytes, struct umem_proc_stat *ret_stat)
{
	const char *open = memchr(text, '(', len_bytes);
	const char *close = memrchr(text, ')', len_bytes);
	struct umem_proc_stat stat = { .last_cpu = -1 };
	struct umem_cursor rest, word;
	size_t len;

	/* The name may hold brackets, blanks and newlines: the last ')' ends it. */
	if (!open || !close || close < open)
		return -EBADMSG;
	len = (size_t)(close - open - 1);
	if (len >= sizeof(stat.comm))
		len = sizeof(stat.comm) - 1;
	memcpy(stat.comm, open + 1, len);

	rest = umem_cursor_init(close + 1, (size_t)(text + len_bytes - close - 1));
	for (int number = FIELD_STATE; number <= FIELD_PROCESSOR; number++) {
		if (!umem_cursor_char(&rest, ' ') || !umem_cursor_word(&rest, &word) ||
			!take_field(number, word, &stat))
			return -EBADMSG;
	}
	*ret_stat = stat;
	return 0;
}

static int read_stat(int dirfd, const char *path, struct umem_proc_stat *ret_stat)
{
	UMEM_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	char text[STAT_MAX_BYTES];
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = read(fd, text, sizeof(text));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return umem_proc_stat_parse(text, (size_t)n, ret_stat);
}

int umem_proc_stat_read_at(int proc_fd, int tid, struct umem_proc_stat *ret_stat)
{
	char path[32];

	snprintf(path, sizeof(path), "task/%d/stat", tid);
	return read_stat(proc_fd, tid > 0 ? path : "stat", ret_stat);
}

int umem_proc_stat_read(int pid, int tid, struct umem_proc_stat *ret_stat)
{
	char path[64];

	if (tid > 0)
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	else
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return read_stat(AT_FDCWD, path, ret_stat);
}
