// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a worker stands on: descriptors of a process's memory work for whoever
 * holds them, without the right to trace; a userfaultfd protects as long as one
 * duplicate is open; and a detached mount of /proc/PID shows that process to
 * whoever has CAP_SYS_PTRACE, and no way out of it.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/kern/maps.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/procmem.h"
#include "tests/kernel/scratch.h"

#define N 16
#define NOBODY 65534

struct shared {
	volatile int uffd;
	volatile int step;
	char *volatile at;
};

static void target(struct shared *shared)
{
	char *at = k_anon(N * K_PAGE);

	k_touch(at, N * K_PAGE, 1);
	shared->at = at;
	shared->uffd = k_uffd(K_TRACK);
	T_UNTIL(30, shared->step == 1);
	at[3 * K_PAGE] = 2;
	shared->step = 2;
	T_UNTIL(30, shared->step == 3);
	at[5 * K_PAGE] = 2;
	shared->step = 4;
	for (;;)
		pause();
}

/* Become nobody, with the capabilities of @mask and no others. */
static void become_nobody(uint64_t mask)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)mask, (uint32_t)mask, 0 },
		{ (uint32_t)(mask >> 32), (uint32_t)(mask >> 32), 0 },
	};

	T_SYS(prctl(PR_SET_KEEPCAPS, 1));
	T_SYS(syscall(SYS_setgroups, 0, NULL));
	T_SYS(syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY));
	T_SYS(syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
	T_SYS(syscall(SYS_capset, &head, data));
	T_SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/* -errno of opening @name below @dir. */
static int opens(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* What is held of the target. */
struct held {
	pid_t pid;
	int uffd, pm, maps, mem, dir;
	char *at;
};

/* Without any right: the descriptors do. */
static void without_rights(const struct held *held, struct shared *shared)
{
	struct umem_maps maps = { 0 };
	struct umem_ranges holes = { 0 };
	struct umem_range run = { (uintptr_t)held->at, (uintptr_t)held->at + K_PAGE };
	char page[K_PAGE];
	char path[64];
	int r;

	become_nobody(0);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", held->pid);
	T_CHECK(opens(AT_FDCWD, path, O_RDONLY) == -EACCES);
	T_CHECK(umem_procmem_read(held->pid, -1, UMEM_PROCMEM_READV, &run, 1, page, &holes) ==
		-EPERM);
	T_CHECK(opens(held->dir, "status", O_RDONLY) == 0);
	T_CHECK(opens(held->dir, "fd", O_RDONLY | O_DIRECTORY) == -EACCES);

	T_OK(k_register(held->uffd, held->at, N * K_PAGE));
	k_collect(held->pm, held->at, N * K_PAGE);
	T_CHECK(k_written(held->pm, held->at, N * K_PAGE) == 0);
	r = umem_maps_read(held->maps, UMEM_MAPS_QUERY, &maps);
	T_CHECK(r == -ENOTTY || (r == 0 && maps.n > 3), "%d", r);
	T_OK(umem_maps_read(held->maps, UMEM_MAPS_TEXT, &maps));
	T_CHECK(maps.n > 3);
	T_OK(umem_procmem_read(held->pid, held->mem, UMEM_PROCMEM_MEM, &run, 1, page, &holes));
	T_CHECK(page[0] == 1 && holes.n == 0);
	shared->step = 1;
	T_UNTIL(30, shared->step == 2);
	T_CHECK(k_collect(held->pm, held->at, N * K_PAGE) == 1);
	for (;;)
		pause(); /* until we are killed */
}

/* With CAP_SYS_PTRACE: the files of this process, and nothing else. */
static void within_bounds(const struct held *held)
{
	char link[64];
	ssize_t n;

	become_nobody(1u << CAP_SYS_PTRACE | 1u << CAP_DAC_READ_SEARCH);
	T_OK(opens(held->dir, "fd", O_RDONLY | O_DIRECTORY));
	n = readlinkat(held->dir, "fd/1", link, sizeof(link));
	T_CHECK(n > 0);
	T_OK(opens(held->dir, "fdinfo/1", O_RDONLY));
	T_OK(opens(held->dir, "task", O_RDONLY | O_DIRECTORY));
	/* Magic links are not followed, wherever they stand. */
	T_CHECK(opens(held->dir, "fd/1", O_WRONLY) == -ELOOP);
	T_CHECK(opens(held->dir, "root/etc/passwd", O_RDONLY) == -ELOOP);
	T_CHECK(opens(held->dir, "cwd", O_RDONLY) == -ELOOP);
	T_CHECK(opens(held->dir, "exe", O_RDONLY) == -ELOOP);
	/* Above its root there is nothing: ".." stays. */
	snprintf(link, sizeof(link), "../%d/status", (int)getppid());
	T_CHECK(opens(held->dir, link, O_RDONLY) == -ENOENT);
	T_OK(opens(held->dir, "../status", O_RDONLY));
	/* Nor can anything be written. */
	T_CHECK(opens(held->dir, "mem", O_RDWR) == -EACCES);
	_exit(0);
}

static int detached(pid_t pid)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
			MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		T_SKIP("open_tree: %s", strerror(errno));
	T_CHECK(fd >= 0, "%s", strerror(errno));
	T_SYS(mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
	return fd;
}

int main(void)
{
	struct shared *shared = (void *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	struct held held = { .uffd = -1 };
	pid_t pid, worker;
	int pidfd;

	if (geteuid() != 0)
		T_SKIP("changing the user needs root");
	close(k_uffd(K_TRACK));
	shared->uffd = -1;
	pid = t_fork();
	if (pid == 0)
		target(shared);
	T_UNTIL(10, shared->uffd >= 0);
	held.pid = pid;
	held.at = shared->at;
	held.dir = detached(pid);
	pidfd = (int)T_SYS(syscall(SYS_pidfd_open, pid, 0));
	T_OK(umem_pidfd_getfd(pidfd, shared->uffd, &held.uffd));
	T_OK(umem_pagemap_open(pid, &held.pm));
	T_OK(umem_maps_open(pid, &held.maps));
	T_OK(umem_procmem_open(pid, &held.mem));

	/* The mount forbids to write to everybody. */
	T_CHECK(opens(held.dir, "mem", O_RDWR) == -EROFS);
	T_CHECK(opens(held.dir, "clear_refs", O_WRONLY) == -EROFS);
	worker = t_fork();
	if (worker == 0)
		within_bounds(&held);
	T_CHECK(t_wait(worker) == 0);
	worker = t_fork();
	if (worker == 0)
		without_rights(&held, shared);
	T_UNTIL(30, shared->step == 2 && k_written(held.pm, held.at, N * K_PAGE) == 0);
	/* It is gone at once; what it had protected stays so. */
	t_end(worker);
	shared->step = 3;
	T_UNTIL(30, shared->step == 4);
	T_CHECK(k_written(held.pm, held.at, N * K_PAGE) == 1);
	T_CHECK(k_written(held.pm, held.at + 5 * K_PAGE, K_PAGE) == 1);
	k_fact("a detached /proc/PID shows one process; descriptors need no right");
	return 0;
}
