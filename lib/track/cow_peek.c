// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Looking at a discard before it happens.
 *
 * Theory of operation
 *
 * A thread that calls madvise(2) to discard watched memory waits until its event
 * was read, and goes on as soon as it was. So before an event is read, it is
 * looked up who waits: /proc/PID/task/TID/syscall shows the call that a thread
 * is blocked in, with its arguments, and the content is still there. It is
 * copied, then the event is read.
 *
 * A thread that queued its event may not have gone to sleep yet: then it shows
 * as running, as does one that computes. If nobody was found whose call makes
 * an event, the look is repeated for a while; it is the matter of microseconds.
 *
 * Threads that are being moved or unmapped from cannot be helped here: their
 * calls are through when the event comes (cow_copy.c). What overlaps with them
 * is not copied, because whose bytes these are is not known.
 *
 * Not seen: discards through io_uring, and by a process that shares the memory
 * without being a thread (vfork).
 */
#include "lib/track/cow_own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/kern/procmem.h"

#define MAX_TRIES 20
#define TRY_NS    10000

/* Ranges of one vectored call that are looked at. */
#define MAX_VECTOR 1024

#ifndef MADV_DONTNEED_LOCKED /* since 5.18 */
#define MADV_DONTNEED_LOCKED 24
#endif

/* A blocked call: its number and six arguments. */
struct call {
	uint64_t nr;
	uint64_t args[6];
};

/* What a look found. */
struct peek {
	struct umem_cow *cow;
	struct umem_cow_process *process;
	struct umem_ranges discards;
	struct umem_ranges changes;
	bool explained;
};

/* "NR 0xARG ... 0xSP 0xPC", "running", or "-1 0xSP 0xPC". */
static bool parse(const char *text, size_t len, struct call *ret_call)
{
	struct umem_cursor c = umem_cursor_init(text, len);

	if (!umem_cursor_dec(&c, &ret_call->nr))
		return false;
	for (int i = 0; i < 6; i++) {
		umem_cursor_spaces(&c);
		if (!umem_cursor_str(&c, "0x") || !umem_cursor_hex(&c, &ret_call->args[i]))
			return false;
	}
	return true;
}

static bool discards(uint64_t advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE ||
		advice == MADV_DONTNEED_LOCKED;
}

static int add(struct umem_ranges *set, uint64_t start, uint64_t len)
{
	uint64_t end;

	start = umem_align_down(start, UMEM_PAGE_BYTES);
	if (__builtin_add_overflow(start, len, &end) || end > INT64_MAX)
		return 0;
	return umem_ranges_add(set, start, umem_align_up(end, UMEM_PAGE_BYTES));
}

/* process_madvise(pidfd, vector, n, advice, flags) on itself. */
static int add_vector(struct peek *p, const struct call *call)
{
	struct iovec vector[MAX_VECTOR];
	struct umem_ranges holes = { 0 };
	struct umem_range run = { call->args[1], call->args[1] +
		umem_min_u64(call->args[2], MAX_VECTOR) * sizeof(vector[0]) };
	int r = umem_procmem_read(p->process->target->tid, p->process->mem_fd,
		UMEM_PROCMEM_AUTO, &run, 1, vector, &holes);

	for (size_t i = 0; i < (run.end - run.start) / sizeof(vector[0]) && r == 0; i++)
		r = add(&p->discards, (uintptr_t)vector[i].iov_base, vector[i].iov_len);
	umem_ranges_deinit(&holes);
	return r;
}

static int look_at_call(struct peek *p, const struct call *call)
{
	const uint64_t *a = call->args;
	int r = 0;

	switch (call->nr) {
	case SYS_madvise:
		p->explained |= discards(a[2]);
		return discards(a[2]) ? add(&p->discards, a[0], a[1]) : 0;
	case SYS_process_madvise:
		p->explained |= discards(a[3]);
		return discards(a[3]) ? add_vector(p, call) : 0;
	case SYS_munmap:
		p->explained = true;
		return add(&p->changes, a[0], a[1]);
	case SYS_mmap:
		p->explained |= (a[3] & MAP_FIXED) != 0;
		return a[3] & MAP_FIXED ? add(&p->changes, a[0], a[1]) : 0;
	case SYS_mremap:
		p->explained = true;
		r = add(&p->changes, a[0], umem_max_u64(a[1], a[2]));
		if (r == 0 && (a[3] & MREMAP_FIXED))
			r = add(&p->changes, a[4], a[2]);
		return r;
	case SYS_brk:
	case SYS_shmdt:
	case SYS_shmat:
		p->explained = true;
		return 0;
	default:
		return 0;
	}
}

static int look_at_threads(struct peek *p)
{
	char path[64], text[256];
	struct dirent *entry;
	int r = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", p->process->target->pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		UMEM_FD int fd = -1;
		struct call call;
		ssize_t n;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%.20s/syscall", entry->d_name);
		fd = openat(dirfd(dir), path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, text, sizeof(text));
		if (n > 0 && parse(text, (size_t)n, &call))
			r = look_at_call(p, &call);
	}
	closedir(dir);
	return r;
}

bool umem_cow_peek(struct umem_cow *cow, struct umem_cow_process *process)
{
	struct peek p = { .cow = cow, .process = process };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges known = { 0 };
	int r = 0;

	for (int i = 0; i < MAX_TRIES && !p.explained && r == 0; i++) {
		if (i)
			nanosleep(&(struct timespec){ .tv_nsec = TRY_NS }, NULL);
		r = look_at_threads(&p);
	}
	if (r == 0)
		r = umem_ranges_subtract(&p.discards, &p.changes, &known);
	for (size_t i = 0; i < known.n && r == 0; i++)
		umem_cow_copy_range(cow, process, known.v[i].start, known.v[i].end);
	umem_ranges_deinit(&p.discards);
	umem_ranges_deinit(&p.changes);
	if (r == -ENOMEM)
		umem_cow_fail(cow, r);
	return p.explained;
}
