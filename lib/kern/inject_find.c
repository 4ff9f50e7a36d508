// SPDX-License-Identifier: LGPL-2.1-or-later
/* Injection, before the stop: which thread, and where it enters the kernel. */
#include "lib/kern/inject_job.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/base/fault.h"
#include "lib/base/fd.h"
#include "lib/base/parse.h"
#include "lib/kern/inject_arch.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/uapi.h"

/* A process has a few thousand mappings, rarely more than 65530 (vm.max_map_count). */
#define MAPS_MAX_BYTES (64u << 20)

/* How much of one mapping is searched: every libc has a call near its start. */
#define SEARCH_MAX_BYTES (4u << 20)
#define CHUNK_BYTES 16384u

/* A status file is about 1.5 KiB; its group list may make it longer. */
#define STATUS_MAX_BYTES 16384

/* An auxiliary vector has some twenty entries. */
#define AUXV_MAX 256

/* Looking at more threads than this costs more than a better one saves. */
#define MAX_LOOKED_AT 256

/* Ranks of threads; see rank_thread(). */
enum {
	RANK_SLEEPER,
	RANK_SLEEPING_LEADER,
	RANK_STOPPED,
	RANK_RUNNING,
	RANK_RUNNING_LEADER,
	RANK_LATE,
	RANK_LATE_LEADER,
	RANK_NEVER,
};

/* Is a sleeping thread in a wait whose timeout would start anew? */
static bool restarts_late(int pid, int tid)
{
	char path[64], text[256];
	uint64_t nr, args[6];
	struct umem_cursor c;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	UMEM_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	/* "running" or "-1 ..." when it is in no call; absent in some kernels. */
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n <= 0)
		return false;
	c = umem_cursor_init(text, (size_t)n);
	if (!umem_cursor_dec(&c, &nr))
		return false;
	for (int i = 0; i < 6; i++) {
		if (!umem_cursor_str(&c, " 0x") || !umem_cursor_hex(&c, &args[i]))
			return false;
	}
	return umem_inject_call_restarts_late((long)nr, args);
}

/*
 * A sleeper loses nothing but the time of the stop if it has work just then,
 * and a thread that is not the leader is rarely the one that accepts or
 * schedules work. A stopped one loses nothing, but all others are stopped as
 * well. A running thread pauses, but exactly. Last come the waits whose
 * timeout the kernel can only start anew.
 */
static int rank_thread(int pid, int tid, char state)
{
	bool leader = pid == tid;

	switch (state) {
	case 'S':
		if (restarts_late(pid, tid))
			return leader ? RANK_LATE_LEADER : RANK_LATE;
		return leader ? RANK_SLEEPING_LEADER : RANK_SLEEPER;
	case 'T':
		return RANK_STOPPED;
	case 'R':
		return leader ? RANK_RUNNING_LEADER : RANK_RUNNING;
	/* In a stop of another tracer: taking it is refused, with the right error. */
	case 't':
		return RANK_LATE_LEADER;
	}
	return RANK_NEVER;
}

/* Keep the best UMEM_INJECT_MAX_THREADS, in order. */
static void insert_thread(struct umem_inject_census *census, struct umem_inject_thread thread)
{
	size_t at = census->n;

	while (at > 0 && census->v[at - 1].rank > thread.rank)
		at--;
	if (at == UMEM_INJECT_MAX_THREADS)
		return;
	if (census->n < UMEM_INJECT_MAX_THREADS)
		census->n++;
	memmove(&census->v[at + 1], &census->v[at],
		(census->n - at - 1) * sizeof(census->v[0]));
	census->v[at] = thread;
}

static int look_at_thread(int pid, int tid, struct umem_inject_census *census)
{
	struct umem_inject_thread thread = { .tid = tid };
	struct umem_proc_stat stat;
	int r = umem_proc_stat_read(pid, tid, &stat);

	if (r == -ENOENT || r == -ESRCH)
		return 0;
	if (r < 0)
		return r;
	if (stat.kernel_thread)
		return -ENOTSUP;
	/* A worker of an io_uring never comes to user mode: no call can be run in it. */
	if (stat.state == 'Z' || stat.state == 'X' || stat.user_worker)
		return 0;
	census->n_alive++;
	thread.cpu = stat.state == 'R' ? -1 : stat.last_cpu;
	thread.rank = rank_thread(pid, tid, stat.state);
	if (thread.rank == RANK_NEVER) {
		census->stuck_tid = tid;
		census->stuck_state = stat.state;
		return 0;
	}
	census->n_usable++;
	insert_thread(census, thread);
	return 0;
}

/* A part of a directory of threads. */
static int look_at_part(int pid, char *names, long len, struct umem_inject_census *census,
	size_t *n_seen)
{
	for (long at = 0; at < len && *n_seen < MAX_LOOKED_AT;) {
		const struct dirent64 *entry = (const struct dirent64 *)(names + at);
		uint64_t tid;
		int r;

		at += entry->d_reclen;
		if (umem_parse_u64(entry->d_name, &tid) < 0)
			continue;
		r = look_at_thread(pid, (int)tid, census);
		if (r < 0)
			return r;
		(*n_seen)++;
	}
	return 0;
}

int umem_inject_census(int pid, struct umem_inject_census *ret_census)
{
	struct umem_inject_census census = { .n = 0 };
	size_t n_seen = 0;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	UMEM_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? UMEM_GONE : -errno;
	while (n_seen < MAX_LOOKED_AT) {
		_Alignas(8) char names[4096];
		long len = syscall(SYS_getdents64, fd, names, sizeof(names));
		int r;

		if (len <= 0)
			break;
		r = look_at_part(pid, names, len, &census, &n_seen);
		if (r < 0)
			return r;
	}
	*ret_census = census;
	return 0;
}

long umem_inject_status_word(int pid, int tid, const char *key)
{
	char path[64], text[STATUS_MAX_BYTES];
	struct umem_cursor c, line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	UMEM_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n < 0)
		return -1;
	c = umem_cursor_init(text, (size_t)n);
	while (umem_cursor_line(&c, &line)) {
		uint64_t value;

		if (!umem_cursor_str(&line, key) || !umem_cursor_char(&line, ':'))
			continue;
		umem_cursor_spaces(&line);
		return umem_cursor_dec(&line, &value) ? (long)value : -1;
	}
	return -1;
}

/* Search [@start, @end) of the target for the instruction. */
static int search(int mem_fd, uint64_t start, uint64_t end, uint64_t *ret_addr)
{
	unsigned char chunk[CHUNK_BYTES];
	size_t len = umem_inject_insn_bytes;

	if (end - start > SEARCH_MAX_BYTES)
		end = start + SEARCH_MAX_BYTES;
	while (end - start >= len) {
		uint64_t want = end - start < sizeof(chunk) ? end - start : sizeof(chunk);
		ssize_t n = pread(mem_fd, chunk, want, (off_t)start);

		if (n == 0)
			return UMEM_GONE;
		if (n < (ssize_t)len)
			return -ENOEXEC;
		for (size_t i = 0; i + len <= (size_t)n; i += umem_inject_insn_align) {
			if (memcmp(chunk + i, umem_inject_insn, len) == 0) {
				*ret_addr = start + i;
				return 0;
			}
		}
		/* An instruction may lie across two chunks. */
		start += (size_t)n - len + umem_inject_insn_align;
	}
	return -ENOEXEC;
}

/* Where the kernel says that it mapped the vdso, or 0; it may have been moved since. */
static uint64_t vdso_hint(int pid, int tid)
{
	Elf64_auxv_t v[AUXV_MAX];
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/auxv", pid, tid);
	UMEM_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, v, sizeof(v));
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(v[0]); i++) {
		if (v[i].a_type == AT_SYSINFO_EHDR)
			return v[i].a_un.a_val;
	}
	return 0;
}

/* The vdso by one question to the kernel (6.11), where it is still where it was mapped. */
static int find_by_query(int maps_fd, int mem_fd, uint64_t hint, uint64_t *ret_addr)
{
	char name[16] = "";
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_VMA_EXECUTABLE,
		.query_addr = hint,
		.vma_name_size = sizeof(name),
		.vma_name_addr = (uintptr_t)name,
	};

	if (hint == 0 || UMEM_FAULT_POINT("inject.no-maps-query") ||
		ioctl(maps_fd, PROCMAP_QUERY, &query) < 0 || strcmp(name, "[vdso]") != 0)
		return -ENOEXEC;
	return search(mem_fd, query.vma_start, query.vma_end, ret_addr);
}

/* One line of the maps: search it if it is the kind that is wanted now. */
static int search_line(struct umem_cursor line, bool want_vdso, int mem_fd, uint64_t *ret_addr)
{
	struct umem_cursor flags, word;
	uint64_t start, end;
	bool vdso;

	if (!umem_cursor_hex(&line, &start) || !umem_cursor_char(&line, '-') ||
		!umem_cursor_hex(&line, &end) || !umem_cursor_char(&line, ' ') ||
		!umem_cursor_word(&line, &flags) || umem_cursor_left(&flags) != 4)
		return -EBADMSG;
	/* The page at the top of the address space is emulated and not entered. */
	if (flags.at[2] != 'x' || end <= start || end > INT64_MAX)
		return -ENOEXEC;
	for (int i = 0; i < 3; i++) {
		umem_cursor_spaces(&line);
		if (!umem_cursor_word(&line, &word))
			return -EBADMSG;
	}
	umem_cursor_spaces(&line);
	vdso = umem_cursor_str(&line, "[vdso]");
	/* Code without a file is made at run time and may be rewritten any moment. */
	if (vdso != want_vdso || (!vdso && !umem_cursor_char(&line, '/')))
		return -ENOEXEC;
	return search(mem_fd, start, end, ret_addr);
}

int umem_inject_find_insn_again(int pid, int tid, int mem_fd, uint64_t *ret_addr)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/maps", pid, tid);
	UMEM_FD int maps_fd = open(path, O_RDONLY | O_CLOEXEC);

	return maps_fd < 0 ? -errno :
		find_by_query(maps_fd, mem_fd, vdso_hint(pid, tid), ret_addr);
}

int umem_inject_find_insn(int pid, int tid, int mem_fd, uint64_t *ret_addr)
{
	UMEM_FREE char *text = NULL;
	struct umem_cursor c, line;
	char path[64];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/maps", pid, tid);
	UMEM_FD int maps_fd = open(path, O_RDONLY | O_CLOEXEC);

	if (maps_fd < 0)
		return errno == ENOENT || errno == ESRCH ? UMEM_GONE : -errno;
	r = find_by_query(maps_fd, mem_fd, vdso_hint(pid, tid), ret_addr);
	if (r != -ENOEXEC)
		return r;
	r = umem_read_all(maps_fd, MAPS_MAX_BYTES, &text, &len);
	if (r < 0)
		return r == -ESRCH ? UMEM_GONE : r;
	for (int want_vdso = 1; want_vdso >= 0; want_vdso--) {
		c = umem_cursor_init(text, len);
		while (umem_cursor_line(&c, &line)) {
			r = search_line(line, want_vdso, mem_fd, ret_addr);
			if (r != -ENOEXEC && r != -EBADMSG)
				return r;
		}
	}
	return len == 0 ? UMEM_GONE : -ENOEXEC;
}
