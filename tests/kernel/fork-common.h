/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of children made by injection share.
 */
#ifndef TESTS_KERNEL_FORK_COMMON_H
#define TESTS_KERNEL_FORK_COMMON_H

#include "lib/kern/inject_fork.h"
#include "tests/kernel/freeze-common.h"

/* A child of one process, with what made it. */
struct forking {
	int pidfd;
	struct umem_freeze *freeze;
	struct umem_fork *fork;
	struct umem_fork_child child;
};

/* How many children a process has, dead or alive. */
static inline size_t count_children(pid_t pid)
{
	struct dirent *entry;
	char path[320], text[4096];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		ssize_t len;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? 0 : read(fd, text, sizeof(text));
		for (ssize_t i = 0; i < len; i++)
			n += text[i] == ' ';
		close(fd);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* Make a child that may fail. Return: as umem_fork_new() or umem_fork_stop(). */
static inline int fork_any(pid_t pid, uint64_t deadline_ns, struct forking *f,
	struct umem_note *note)
{
	int r = umem_pidfd_open(pid, &f->pidfd);

	if (r == -ESRCH)
		return UMEM_GONE;
	T_OK(r);
	f->fork = NULL;
	T_OK(umem_freeze_new(&f->freeze));
	r = umem_fork_new(pid, f->pidfd, &f->fork, note);
	if (r == 0)
		r = umem_fork_stop(&f->fork, 1, f->freeze, deadline_ns, note);
	if (r == 0)
		f->child = umem_fork_child(f->fork);
	if (r == 0)
		return 0;
	umem_fork_free(f->fork);
	umem_freeze_free(f->freeze);
	close(f->pidfd);
	return r;
}

/* Make a child in a target that is well; all of it stands. */
static inline void fork_ok(pid_t pid, const struct board *board, struct forking *f)
{
	struct umem_note note = { 0 };
	int r = fork_any(pid, 20 * SECOND, f, &note);

	if (r != 0)
		T_FAIL("fork: %d %s; target in state %c: %s", r, note.text, t_proc_state(pid),
			board->error);
}

static inline void forked_go(struct forking *f)
{
	T_OK(umem_fork_go(f->fork));
	T_OK(umem_freeze_go(f->freeze, NULL));
}

static inline void forked_end(struct forking *f)
{
	umem_fork_free(f->fork);
	umem_freeze_free(f->freeze);
	close(f->pidfd);
}

#endif
