// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What stands in the way of attaching to a process.
 *
 * The right to trace is tested by opening /proc/PID/mem, which asks the kernel
 * the same question as PTRACE_SEIZE (PTRACE_MODE_ATTACH), security modules
 * such as Yama included, and does nothing to the process.
 */
#include "lib/op/obstacles.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/pidfd.h"

#define STATUS_MAX_BYTES (64u << 10)

static void add(struct umem_obstacles *list, int err, const char *what, const char *fmt, ...)
	UMEM_PRINTF(4, 5);

static void add(struct umem_obstacles *list, int err, const char *what, const char *fmt, ...)
{
	struct umem_obstacle *o;
	size_t at = list->n;
	va_list args;

	if (list->n == UMEM_OBSTACLES_MAX)
		return;
	/* Those that block come first. */
	while (err && at > 0 && list->v[at - 1].err == 0)
		at--;
	memmove(&list->v[at + 1], &list->v[at], (list->n - at) * sizeof(list->v[0]));
	list->n++;
	o = &list->v[at];
	o->err = err;
	o->what = what;
	va_start(args, fmt);
	vsnprintf(o->text, sizeof(o->text), fmt, args);
	va_end(args);
}

/* A number of /proc/PID/status, or -1. */
static long status_number(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static void check_permission(const struct umem_target *t, struct umem_obstacles *list)
{
	UMEM_FD int fd = openat(t->proc_fd, "mem", O_RDONLY | O_CLOEXEC);

	if (fd < 0 && (errno == EACCES || errno == EPERM))
		add(list, -EPERM, "permission",
			"pid %d may not be traced: needs CAP_SYS_PTRACE, or the same user and a "
			"kernel.yama.ptrace_scope that allows it", t->pid);
}

static int check_status(const struct umem_target *t, const struct umem_feats *feats,
	struct umem_obstacles *list)
{
	UMEM_FREE char *text = NULL;
	struct umem_proc_stat stat;
	long tracer;
	int r = umem_read_file(t->proc_fd, "status", STATUS_MAX_BYTES, &text, NULL);

	if (r == -ENOENT || r == -ESRCH)
		return UMEM_GONE;
	if (r < 0)
		return r;
	tracer = status_number(text, "\nTracerPid:");
	if (tracer > 0 && umem_proc_stat_read((int)tracer, 0, &stat) < 0)
		strcpy(stat.comm, "?");
	if (tracer > 0)
		add(list, -EBUSY, "tracer", "pid %d is traced by pid %ld (%s); end that first",
			t->pid, tracer, stat.comm);
	if (status_number(text, "\nSeccomp:") > 0) {
		if (umem_feats_has(feats, UMEM_FEAT_SUSPEND_SECCOMP))
			add(list, 0, "seccomp",
				"it has a seccomp filter, which is suspended for our calls only");
		else
			add(list, -EPERM, "seccomp",
				"pid %d has a seccomp filter; suspending it needs CAP_SYS_ADMIN "
				"and no filter of our own", t->pid);
	}
	return 0;
}

/* All threads in a sleep that no signal ends? */
static void check_threads(const struct umem_target *t, struct umem_obstacles *list)
{
	size_t n = 0, stuck = 0, stopped = 0;
	struct umem_proc_stat stat;
	struct dirent *entry;
	char path[40];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", t->pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		int tid = atoi(entry->d_name);

		if (tid <= 0 || umem_proc_stat_read(t->pid, tid, &stat) < 0 ||
			stat.state == 'Z' || stat.state == 'X')
			continue;
		n++;
		stuck += stat.state == 'D';
		stopped += stat.state == 'T';
	}
	closedir(dir);
	if (n > 0 && stuck == n)
		add(list, -ETIMEDOUT, "sleep",
			"each thread of pid %d is in an uninterruptible sleep (state D) just now; "
			"try again", t->pid);
	if (n > 0 && stopped == n)
		add(list, 0, "stopped", "it is stopped (state T); attaching leaves it so");
}

static void check_class(const struct umem_target *t, struct umem_obstacles *list)
{
	unsigned char ident[EI_NIDENT];
	UMEM_FD int fd = openat(t->proc_fd, "exe", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, ident, sizeof(ident)) == (ssize_t)sizeof(ident) &&
		memcmp(ident, ELFMAG, SELFMAG) == 0 && ident[EI_CLASS] == ELFCLASS32)
		add(list, -ENOTSUP, "32-bit", "pid %d runs 32-bit code, which is not supported",
			t->pid);
}

int umem_obstacles_find(const struct umem_target *target, const struct umem_feats *feats,
	struct umem_obstacles *ret_obstacles)
{
	struct umem_obstacles list = { .n = 0 };
	struct umem_note note = { 0 };
	int r = check_status(target, feats, &list);

	if (r != 0)
		return r;
	if (target->pid == 1)
		add(&list, -EINVAL, "init",
			"pid 1 is the init process, which must never be stopped");
	if (target->pid == getpid())
		add(&list, -EINVAL, "self", "it is this program itself, which cannot stop itself");
	check_permission(target, &list);
	check_threads(target, &list);
	check_class(target, &list);
	r = umem_target_check_kernel(feats, &note);
	if (r < 0)
		add(&list, r, "kernel", "%s", note.text);
	*ret_obstacles = list;
	return 0;
}
