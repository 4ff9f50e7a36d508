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
 *     look      who is blocked, and in what
 *     copy      what is new in that
 *     again     until a look finds nothing new
 *     read      as many events as threads were blocked
 *
 * Events come out in any order, the last one first. One that was made between
 * the last look and the reading comes unseen; the last look copies nothing, so
 * that the time for it is short: some microseconds. All events are read in one go,
 * because nobody can lift anything until all their makers are through.
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

/* Looks for the maker of an event, and the pause between them. */
#define MAX_TRIES 10
#define TRY_NS    10000

/* Looks that find something new, one after the other. */
#define MAX_LOOKS 16

/* Files of threads that are kept open. */
#define MAX_OPEN 256

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

/* A thread whose file is open. */
struct umem_cow_peek_thread {
	int tid;
	int fd;
};

/* What a look found. */
struct peek {
	struct umem_cow *cow;
	struct umem_cow_process *process;
	struct umem_ranges discards;
	struct umem_ranges changes;
	size_t n_blocked;
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
		p->n_blocked += discards(a[2]);
		return discards(a[2]) ? add(&p->discards, a[0], a[1]) : 0;
	case SYS_process_madvise:
		p->n_blocked += discards(a[3]);
		return discards(a[3]) ? add_vector(p, call) : 0;
	case SYS_munmap:
		p->n_blocked++;
		return add(&p->changes, a[0], a[1]);
	case SYS_mmap:
		p->n_blocked += (a[3] & MAP_FIXED) != 0;
		return a[3] & MAP_FIXED ? add(&p->changes, a[0], a[1]) : 0;
	case SYS_mremap:
		p->n_blocked++;
		r = add(&p->changes, a[0], umem_max_u64(a[1], a[2]));
		if (r == 0 && (a[3] & MREMAP_FIXED))
			r = add(&p->changes, a[4], a[2]);
		return r;
	case SYS_brk:
	case SYS_shmdt:
	case SYS_shmat:
		p->n_blocked++;
		return 0;
	default:
		return 0;
	}
}

static void forget_threads(struct umem_cow_peeks *peeks)
{
	for (size_t i = 0; i < peeks->n; i++)
		umem_fd_close(peeks->v[i].fd);
	peeks->n = 0;
}

void umem_cow_peeks_deinit(struct umem_cow_peeks *peeks)
{
	forget_threads(peeks);
	free(peeks->v);
	if (peeks->dir)
		closedir(peeks->dir);
	*peeks = (struct umem_cow_peeks){ 0 };
}

/* The file of a thread, which is kept open: @at is where it was in the last look. */
static int file_of(struct umem_cow_peeks *peeks, int tid, size_t at)
{
	char path[64];
	int fd;

	if (at < peeks->n && peeks->v[at].tid == tid)
		return peeks->v[at].fd;
	/* Threads came or went: from here on all are opened anew. */
	while (peeks->n > at)
		umem_fd_close(peeks->v[--peeks->n].fd);
	snprintf(path, sizeof(path), "%d/syscall", tid);
	fd = openat(dirfd(peeks->dir), path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	peeks->v[peeks->n++] = (struct umem_cow_peek_thread){ tid, fd };
	return fd;
}

static int open_peeks(struct umem_cow_peeks *peeks, const struct umem_cow_process *process)
{
	char path[64];

	if (!peeks->v)
		peeks->v = reallocarray(NULL, MAX_OPEN, sizeof(*peeks->v));
	if (!peeks->v)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/%d/task", process->target->pid);
	if (!peeks->dir)
		peeks->dir = opendir(path);
	return peeks->dir ? 0 : -errno;
}

/* What @fd shows of a thread. */
static int look_at_file(struct peek *p, int fd)
{
	char text[256];
	struct call call;
	ssize_t n = pread(fd, text, sizeof(text), 0);

	return n > 0 && parse(text, (size_t)n, &call) ? look_at_call(p, &call) : 0;
}

static int look_at_threads(struct peek *p)
{
	struct umem_cow_peeks *peeks = &p->process->peeks;
	int r = open_peeks(peeks, p->process);
	struct dirent *entry;
	size_t i = 0;

	umem_ranges_clear(&p->discards);
	umem_ranges_clear(&p->changes);
	p->n_blocked = 0;
	if (r < 0)
		return r;
	rewinddir(peeks->dir);
	while (r == 0 && (entry = readdir(peeks->dir))) {
		UMEM_FD int passing = -1;
		char path[64];
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		if (i < MAX_OPEN) {
			fd = file_of(peeks, atoi(entry->d_name), i);
			i += fd >= 0;
		} else {
			snprintf(path, sizeof(path), "%.20s/syscall", entry->d_name);
			fd = passing = openat(dirfd(peeks->dir), path, O_RDONLY | O_CLOEXEC);
		}
		if (fd >= 0)
			r = look_at_file(p, fd);
	}
	return r;
}

/* Copy what @p found and @known does not have. Return: 1 if there was any, 0, -ENOMEM. */
static int copy_new(struct peek *p, struct umem_ranges *known)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges sure = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges fresh = { 0 };
	int r = umem_ranges_subtract(&p->discards, &p->changes, &sure);

	if (r == 0)
		r = umem_ranges_subtract(&sure, known, &fresh);
	for (size_t i = 0; i < fresh.n && r == 0; i++) {
		umem_cow_copy_range(p->cow, p->process, fresh.v[i].start, fresh.v[i].end);
		r = umem_ranges_add(known, fresh.v[i].start, fresh.v[i].end);
	}
	return r < 0 ? r : fresh.n > 0;
}

size_t umem_cow_peek(struct umem_cow *cow, struct umem_cow_process *process)
{
	struct peek p = { .cow = cow, .process = process };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges known = { 0 };
	int r = look_at_threads(&p);

	for (int i = 0; i < MAX_TRIES && p.n_blocked == 0 && r == 0; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = TRY_NS }, NULL);
		r = look_at_threads(&p);
	}
	for (int i = 0; i < MAX_LOOKS && r == 0; i++) {
		r = copy_new(&p, &known);
		if (r <= 0)
			break;
		r = look_at_threads(&p);
	}
	umem_ranges_deinit(&p.discards);
	umem_ranges_deinit(&p.changes);
	if (r == -ENOMEM)
		umem_cow_fail(cow, r);
	return p.n_blocked;
}
