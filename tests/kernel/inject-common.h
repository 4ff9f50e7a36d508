/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the injection tests share: the board on which a target reports about
 * itself, and one injection with a look at the target before and after.
 */
#ifndef TESTS_KERNEL_INJECT_COMMON_H
#define TESTS_KERNEL_INJECT_COMMON_H

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/kern/inject.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/uffd.h"
#include "tests/lib/harness.h"

#define SECOND 1000000000ull

/*
 * Shared by test and target. @ready: the target is in its loop. @laps: how
 * often it went round. @mark: written by calls that are injected. @gap_ns:
 * longest pause that a thread beside the chosen one saw. @error: what the
 * target found wrong with itself.
 */
struct board {
	atomic_bool ready;
	atomic_bool stop;
	atomic_ulong laps;
	atomic_ulong signals;
	atomic_ulong aborts;
	atomic_ulong gap_ns;
	atomic_int tid;
	uint64_t mark[2];
	int pipe_fds[2];
	char error[256];
};

static inline struct board *board_new(void)
{
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	T_CHECK(board != MAP_FAILED);
	T_SYS(pipe2(board->pipe_fds, O_CLOEXEC));
	return board;
}

static inline void board_free(struct board *board)
{
	close(board->pipe_fds[0]);
	close(board->pipe_fds[1]);
	munmap(board, sizeof(*board));
}

/* In the target: report and end. */
static inline void __attribute__((noreturn, format(printf, 2, 3))) broken(struct board *board,
	const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(board->error, sizeof(board->error), fmt, args);
	va_end(args);
	_exit(1);
}

/* What must be the same after an injection: threads' masks, dispositions, filters, tracer. */
struct look {
	size_t n_fds;
	char status[8192];
};

static inline size_t count_fds(pid_t pid, int tid)
{
	char path[64];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", (int)pid, tid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static inline void look_at(pid_t pid, struct look *look)
{
	static const char *const keys[] = { "Tgid:", "TracerPid:", "SigBlk:", "SigIgn:", "SigCgt:",
		"Seccomp:", "Seccomp_filters:" };
	char path[320], line[512];
	struct dirent *entry;
	size_t len = 0;
	DIR *dir;

	memset(look, 0, sizeof(*look));
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (file && fgets(line, sizeof(line), file)) {
			for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
				if (strncmp(line, keys[i], strlen(keys[i])) == 0 &&
					len + strlen(line) < sizeof(look->status))
					len += (size_t)sprintf(look->status + len, "%s", line);
			}
		}
		if (file)
			fclose(file);
		if (look->n_fds < count_fds(pid, atoi(entry->d_name)))
			look->n_fds = count_fds(pid, atoi(entry->d_name));
	}
	if (dir)
		closedir(dir);
}

static inline bool looks_like(pid_t pid, const struct look *before)
{
	struct look now;

	look_at(pid, &now);
	return now.n_fds == before->n_fds && strcmp(now.status, before->status) == 0;
}

static inline long tracer_of(pid_t pid)
{
	struct look now;
	const char *at;

	look_at(pid, &now);
	at = strstr(now.status, "TracerPid:");
	return at ? atol(at + strlen("TracerPid:")) : -1;
}

/* The two steps of an attach: make a userfaultfd, fetch it, close it over there. */
static inline void uffd_steps(struct umem_inject_step steps[2])
{
	steps[0] = (struct umem_inject_step){ .nr = SYS_userfaultfd,
		.args = { O_CLOEXEC | O_NONBLOCK }, .arg0_from = -1, .else_of = -1,
		.fetch_fd = true, .ret_fd = -1 };
	steps[1] = (struct umem_inject_step){ .nr = SYS_close, .arg0_from = 0, .else_of = -1,
		.ret_fd = -1 };
}

/* One injection that may find the target gone. Return: as umem_inject_run(). */
static inline int inject_any(pid_t pid, uint64_t deadline_ns, struct umem_inject_report *report,
	struct umem_note *note)
{
	struct umem_inject_step steps[2];
	int pidfd, r;

	r = umem_pidfd_open(pid, &pidfd);
	if (r == -ESRCH)
		return UMEM_GONE;
	T_OK(r);
	uffd_steps(steps);
	r = umem_inject_run(pid, pidfd, steps, 2, deadline_ns, report, note);
	close(pidfd);
	if (r == 0) {
		T_CHECK(steps[0].ret_value >= 0, "userfaultfd %ld", steps[0].ret_value);
		T_CHECK(steps[1].ret_value == 0, "close %ld", steps[1].ret_value);
		T_CHECK(fcntl(steps[0].ret_fd, F_GETFD) & FD_CLOEXEC);
		T_OK(umem_uffd_api(steps[0].ret_fd, 0, NULL));
		close(steps[0].ret_fd);
	} else {
		T_CHECK(steps[0].ret_fd == -1 && steps[0].ret_value == 0);
	}
	return r;
}

/* One injection that must succeed, into a target that is well. */
static inline void inject_ok(pid_t pid, const struct board *board,
	struct umem_inject_report *report)
{
	struct umem_note note = { 0 };
	int r = inject_any(pid, 5 * SECOND, report, &note);

	if (r != 0)
		T_FAIL("inject: %d %s; target in state %c: %s", r, note.text, t_proc_state(pid),
			board->error);
}

#endif
