// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One process whose memory is being managed.
 *
 * Theory of operation
 *
 * Order matters when a process is picked up by its number: the pidfd comes
 * first, then everything under /proc/PID, then one look whether the pidfd's
 * process still lives. If it does, the number meant the same process all the
 * time. maps and pagemap stay bound to the memory they were opened on, so
 * after an exec they are empty instead of showing the new program.
 *
 * How a userfaultfd of its memory is come by is in attach.c and adopt.c.
 */
#include "lib/mem/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/filecache.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/uffd.h"
#include "lib/mem/pageset.h"
#include "lib/mem/thp.h"

/* Threads that end while they are looked at, one after the other. */
#define MAX_FOLLOWS 64

/* How much is unregistered in one step, and how long one should take. */
#define LIFT_BYTES_MIN (4ull << 20)
#define LIFT_BYTES_MAX (1ull << 30)
#define LIFT_NS        200000u
#define LIFT_PAUSE_NS  20000

/* The process group leader of a thread, or -1. */
static int leader_of(int tid)
{
	UMEM_FREE char *text = NULL;
	char path[40];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (umem_read_file(AT_FDCWD, path, 1 << 16, &text, NULL) < 0)
		return -1;
	at = strstr(text, "\nTgid:");
	return at ? atoi(at + 6) : -1;
}

static int open_pidfd(int pid, int *ret_pidfd, struct umem_note *note)
{
	int r = umem_pidfd_open(pid, ret_pidfd);
	int leader;

	if (r == -ESRCH) {
		umem_note_set(note, r, 0, "there is no process %d", pid);
		return UMEM_GONE;
	}
	if (r >= 0)
		return 0;
	/* Linux says EINVAL (ENOENT since 6.16) for a thread that leads no process. */
	leader = leader_of(pid);
	if (leader > 0 && leader != pid)
		return umem_note_set(note, -EINVAL, 0,
			"%d is a thread of process %d; give the process id", pid, leader);
	return umem_note_set(note, r, 0, "pidfd_open of %d: %s", pid, strerror(-r));
}

/* The next thread of a process that has not ended, or -1. */
static int live_thread(DIR *dir, int dir_fd)
{
	struct umem_proc_stat stat;
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		int tid = atoi(entry->d_name);

		if (tid > 0 && umem_proc_stat_read_at(dir_fd, tid, &stat) == 0 &&
			stat.state != 'Z' && stat.state != 'X')
			return tid;
	}
	return -1;
}

int umem_target_live_thread(int pid, int dir_fd, const struct umem_proc_stat *leader)
{
	int fd, found;
	DIR *dir;

	if (leader->state != 'Z' && leader->state != 'X')
		return pid;
	fd = openat(dir_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		umem_fd_close(fd);
		return -1;
	}
	found = live_thread(dir, dir_fd);
	closedir(dir);
	return found;
}

static int open_proc(struct umem_target *target, struct umem_note *note)
{
	struct umem_proc_stat stat;
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", target->pid);
	target->dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target->dir_fd >= 0)
		target->proc_fd = fcntl(target->dir_fd, F_DUPFD_CLOEXEC, 0);
	if (target->proc_fd < 0)
		return errno == ENOENT ? UMEM_GONE : -errno;
	r = umem_proc_stat_read_at(target->dir_fd, 0, &stat);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
	if (stat.kernel_thread)
		return umem_note_set(note, -ENOTSUP, 0,
			"pid %d (%s) is a kernel thread; it has no memory of its own",
			target->pid, stat.comm);
	do
		r = umem_target_follow(target);
	while (r == UMEM_AGAIN);
	if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "process %d has ended already", target->pid);
	if (r != 0)
		return r;
	r = umem_maps_open(target->tid, &target->maps_fd);
	if (r == 0)
		r = umem_pagemap_open(target->tid, &target->pagemap_fd);
	if (r == -ENOENT || r == -ESRCH)
		return UMEM_GONE;
	if (r < 0)
		return umem_note_set(note, r, 0,
			"the memory of pid %d (%s) may not be looked at: %s; "
			"be its user or have CAP_SYS_PTRACE",
			target->pid, stat.comm, strerror(-r));
	return 0;
}

/* Does a path mean the same to it and to us? */
static bool has_same_mounts(const struct umem_target *target)
{
	struct stat theirs, ours;

	return fstatat(target->proc_fd, "ns/mnt", &theirs, 0) == 0 &&
		stat("/proc/self/ns/mnt", &ours) == 0 && theirs.st_ino == ours.st_ino &&
		fstatat(target->proc_fd, "root", &theirs, 0) == 0 && stat("/", &ours) == 0 &&
		theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev;
}

static int probe_features(struct umem_target *target, const char *override,
	struct umem_note *note)
{
	int r = umem_feats_probe_some(UMEM_FEATS_TRACKING, &target->feats);

	if (r == 0 && override)
		r = umem_feats_override(&target->feats, override);
	if (r == -EINVAL)
		return umem_note_set(note, r, 0,
			"UMEM_FEATURES=\"%s\" is no list of +name and -name; umemctl doctor "
			"lists the names", override);
	return r < 0 ? umem_note_set(note, r, 0, "probing the kernel: %s", strerror(-r)) : 0;
}

struct umem_target *umem_target_new(int pid)
{
	struct umem_target *target = calloc(1, sizeof(*target));

	if (!target)
		return NULL;
	target->pid = target->tid = pid;
	target->pidfd = target->dir_fd = target->proc_fd = target->maps_fd = -1;
	target->pagemap_fd = target->mem_fd = target->uffd = -1;
	return target;
}

int umem_target_open(int pid, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	int r;

	if (pid <= 0)
		return umem_note_set(note, -EINVAL, 0, "%d is not a process id", pid);
	target = umem_target_new(pid);
	if (!target)
		return -ENOMEM;
	r = open_pidfd(pid, &target->pidfd, note);
	if (r == 0)
		r = open_proc(target, note);
	if (r != 0)
		return r;
	target->same_mounts = has_same_mounts(target);
	if (umem_target_gone(target)) {
		umem_note_set(note, -ESRCH, 0, "process %d ended", pid);
		return UMEM_GONE;
	}
	r = probe_features(target, options ? options->feature_override : NULL, note);
	if (r < 0)
		return r;
	*ret_target = UMEM_TAKE_PTR(target);
	return 0;
}

int umem_target_follow(struct umem_target *target)
{
	struct umem_proc_stat stat;
	char path[32];
	int tid, fd, r;

	if (umem_proc_stat_read_at(target->dir_fd, target->tid, &stat) == 0 && stat.state != 'Z' &&
		stat.state != 'X')
		return 0;
	r = umem_proc_stat_read_at(target->dir_fd, 0, &stat);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
	tid = umem_target_live_thread(target->pid, target->dir_fd, &stat);
	if (tid < 0)
		return UMEM_GONE;
	snprintf(path, sizeof(path), "task/%d", tid);
	fd = openat(target->dir_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? UMEM_AGAIN : -errno;
	/* By the same number, which the filter of a confined process knows. */
	r = dup3(fd, target->proc_fd, O_CLOEXEC) < 0 ? -errno : 0;
	umem_fd_close(fd);
	if (r == 0)
		target->tid = tid;
	return r;
}

int umem_target_read_pins(struct umem_target *target, struct umem_pins *pins)
{
	for (int i = 0; i < MAX_FOLLOWS; i++) {
		int tid, r = umem_target_follow(target);

		if (r == UMEM_AGAIN)
			continue;
		if (r != 0)
			return r;
		tid = target->tid;
		r = umem_pins_read(target->proc_fd, target->pidfd, pins);
		/* Only if it still is alive did it show what there is. */
		if (umem_target_follow(target) == 0 && target->tid == tid)
			return r == -ESRCH || r == -ENOENT ? UMEM_GONE : r;
	}
	return umem_target_gone(target) ? UMEM_GONE : -EAGAIN;
}

bool umem_target_gone(const struct umem_target *target)
{
	return umem_pidfd_exited(target->pidfd);
}

int umem_target_refresh(struct umem_target *target, struct umem_ranges *appeared,
	struct umem_ranges *vanished, struct umem_note *note)
{
	bool query = umem_feats_has(&target->feats, UMEM_FEAT_PROCMAP_QUERY);
	int r = umem_space_refresh(&target->space, umem_target_backing, target,
		target->maps_fd, query ? UMEM_MAPS_AUTO : UMEM_MAPS_TEXT, appeared, vanished);

	if (r == -ESRCH || r == UMEM_GONE) {
		umem_note_set(note, -ESRCH, 0, "process %d %s", target->pid,
			umem_target_gone(target) ? "ended" : "executed another program");
		return UMEM_GONE;
	}
	if (r < 0)
		return umem_note_set(note, r, 0, "reading the mappings of pid %d: %s",
			target->pid, strerror(-r));
	return 0;
}

enum umem_backing umem_target_backing(const void *user, const struct umem_vma *vma)
{
	const struct umem_target *target = user;

	return target->reach ? target->reach->backing(target->reach->user, vma) :
			       umem_region_backing(target->tid, vma);
}

int umem_target_open_mapped(const struct umem_target *target, uint64_t start, uint64_t end,
	int flags, int *ret_fd)
{
	if (!target->reach)
		return umem_filecache_open_mapping(target->tid, start, end, flags, ret_fd);
	return target->reach->open_mapped(target->reach->user, start, end, flags, ret_fd);
}

/*
 * Unregister a region from its start on, in steps of about a fifth of a
 * millisecond: the kernel lifts protection (40 ns a page) under the lock that
 * the target needs to map and unmap. A step splits the mapping, but what is
 * done merges again with what was done before, so there is one more at most.
 * The pause lets those in who wait: the lock is not fair for 4 ms.
 * Steps end at whole huge pages, so that none is split.
 */
static void unregister(struct umem_target *target, const struct umem_region *region)
{
	uint64_t least = umem_max_u64(LIFT_BYTES_MIN, region->page_size_bytes), step = least;

	for (uint64_t at = region->start; at < region->end;) {
		uint64_t end = region->end - at > step ? umem_align_down(at + step, least) :
							 region->end;
		uint64_t start_ns = umem_now_ns(), took_ns;

		if (umem_uffd_unregister(target->uffd, at, end) < 0) {
			/* Too many mappings, or mapped no longer: all that is left at once. */
			umem_uffd_unregister(target->uffd, at, region->end);
			return;
		}
		took_ns = umem_now_ns() - start_ns;
		if (took_ns > LIFT_NS / 4)
			nanosleep(&(struct timespec){ .tv_nsec = LIFT_PAUSE_NS }, NULL);
		if (took_ns < LIFT_NS / 2 && step < LIFT_BYTES_MAX)
			step *= 2; /* little is populated here */
		else if (took_ns > LIFT_NS)
			step = umem_max_u64(step / 2, least);
		at = end;
	}
}

/* Explicitly, although the last close would do it: an adopted one has other holders. */
static void lift(struct umem_target *target)
{
	for (size_t i = 0; i < target->space.n; i++) {
		if (target->space.v[i].registered)
			unregister(target, &target->space.v[i]);
		target->space.v[i].registered = false;
	}
	/* What was registered before it came to us, and never looked at here. */
	if (!target->adopted || target->space.n)
		return;
	for (size_t i = 0; i < target->managed.n; i++) {
		const struct umem_region all = {
			.start = target->managed.v[i].start,
			.end = target->managed.v[i].end,
			.page_size_bytes = UMEM_PAGE_BYTES,
		};

		unregister(target, &all);
	}
}

void umem_target_lift(struct umem_target *target)
{
	if (target->uffd < 0)
		return;
	lift(target);
	umem_thp_restore(target, &target->huge);
	umem_ranges_clear(&target->huge);
}

struct umem_target *umem_target_free(struct umem_target *target)
{
	if (!target)
		return NULL;
	umem_target_lift(target);
	umem_fd_close(target->uffd);
	umem_fd_close(target->pagemap_fd);
	umem_fd_close(target->maps_fd);
	umem_fd_close(target->mem_fd);
	umem_fd_close(target->proc_fd);
	umem_fd_close(target->dir_fd);
	umem_fd_close(target->pidfd);
	umem_ranges_deinit(&target->managed);
	umem_ranges_deinit(&target->huge);
	umem_space_deinit(&target->space);
	free(target);
	return NULL;
}

int umem_target_pid(const struct umem_target *target)
{
	return target->pid;
}

int umem_target_pidfd(const struct umem_target *target)
{
	return target->pidfd;
}

uint64_t umem_target_stop_ns(const struct umem_target *target)
{
	return target->stop_ns;
}
