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
 * The userfaultfd must be made by the target itself (it acts on the memory of
 * its maker). Attach runs userfaultfd(2) and close(2) in one stop: the
 * duplicate that we fetched is then the only reference, and a death of this
 * process, however sudden, makes the kernel lift every protection. It is made
 * UFFD_USER_MODE_ONLY first: an unprivileged target may do that, and in
 * asynchronous mode nothing is ever delivered, so it does not matter whose
 * faults they are.
 */
#include "lib/mem/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/inject.h"
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

#define DEFAULT_DEADLINE_NS 1000000000ull

/* What the asynchronous trackers ask of UFFDIO_API. */
#define ASYNC_FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
	UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP)

/* Processes that may be looked at, but never stopped. */
static int refuse_to_stop(int pid, struct umem_note *note)
{
	if (pid == 1)
		return umem_note_set(note, -EINVAL, 0,
			"pid 1 is the init process, which must never be stopped; "
			"name the process you mean");
	if (pid == getpid())
		return umem_note_set(note, -EINVAL, 0,
			"pid %d is this program itself; it cannot stop itself", pid);
	return 0;
}

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

int umem_target_live_thread(int pid, const struct umem_proc_stat *leader)
{
	struct umem_proc_stat stat;
	struct dirent *entry;
	char path[40];
	int found = -1;
	DIR *dir;

	if (leader->state != 'Z' && leader->state != 'X')
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && found < 0 && (entry = readdir(dir))) {
		int tid = atoi(entry->d_name);

		if (tid > 0 && umem_proc_stat_read(pid, tid, &stat) == 0 &&
			stat.state != 'Z' && stat.state != 'X')
			found = tid;
	}
	if (dir)
		closedir(dir);
	return found;
}

static int open_proc(struct umem_target *target, struct umem_note *note)
{
	struct umem_proc_stat stat;
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", target->pid);
	target->proc_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target->proc_fd < 0)
		return errno == ENOENT ? UMEM_GONE : -errno;
	r = umem_proc_stat_read(target->pid, 0, &stat);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
	if (stat.kernel_thread)
		return umem_note_set(note, -ENOTSUP, 0,
			"pid %d (%s) is a kernel thread; it has no memory of its own",
			target->pid, stat.comm);
	target->tid = target->pid;
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

int umem_target_open(int pid, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	int r;

	if (pid <= 0)
		return umem_note_set(note, -EINVAL, 0, "%d is not a process id", pid);
	target = calloc(1, sizeof(*target));
	if (!target)
		return -ENOMEM;
	target->pid = pid;
	target->pidfd = target->proc_fd = target->maps_fd = -1;
	target->pagemap_fd = target->uffd = -1;
	r = open_pidfd(pid, &target->pidfd, note);
	if (r == 0)
		r = open_proc(target, note);
	if (r != 0)
		return r;
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
	char path[64];
	int tid, fd, r;

	if (umem_proc_stat_read(target->pid, target->tid, &stat) == 0 && stat.state != 'Z' &&
		stat.state != 'X')
		return 0;
	r = umem_proc_stat_read(target->pid, 0, &stat);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
	tid = umem_target_live_thread(target->pid, &stat);
	if (tid < 0)
		return UMEM_GONE;
	snprintf(path, sizeof(path), "/proc/%d/task/%d", target->pid, tid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? UMEM_AGAIN : -errno;
	umem_fd_close(target->proc_fd);
	target->proc_fd = fd;
	target->tid = tid;
	return 0;
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
	int r = umem_space_refresh(&target->space, target->tid, target->maps_fd,
		query ? UMEM_MAPS_AUTO : UMEM_MAPS_TEXT, appeared, vanished);

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

/* What userfaultfd(2) said inside the target, explained. */
static int explain_uffd(const struct umem_target *target, long value, struct umem_note *note)
{
	switch (value) {
	case -ENOSYS:
		return umem_note_set(note, -ENOSYS, 0,
			"the kernel has no userfaultfd (CONFIG_USERFAULTFD)");
	case -EPERM:
		return umem_note_set(note, -EPERM, 0,
			"pid %d may not use userfaultfd: set vm.unprivileged_userfaultfd=1 "
			"or use a kernel since 5.11", target->pid);
	case -EMFILE:
	case -ENFILE:
		return umem_note_set(note, (int)value, 0,
			"pid %d has no free file descriptor for a moment; raise its limit "
			"(prlimit --nofile)", target->pid);
	default:
		return umem_note_set(note, (int)value, 0, "userfaultfd in pid %d: %s",
			target->pid, strerror((int)-value));
	}
}

static int fetch_uffd(struct umem_target *target, uint64_t deadline_ns, struct umem_note *note)
{
	const uint64_t flags = O_CLOEXEC | O_NONBLOCK;
	struct umem_inject_step steps[] = {
		{ .nr = SYS_userfaultfd, .args = { flags | UFFD_USER_MODE_ONLY },
		  .arg0_from = -1, .else_of = -1, .fetch_fd = true },
		{ .nr = SYS_close, .arg0_from = 0, .else_of = -1 },
		{ .nr = SYS_userfaultfd, .args = { flags },
		  .arg0_from = -1, .else_of = 0, .fetch_fd = true },
		{ .nr = SYS_close, .arg0_from = 2, .else_of = -1 },
	};
	struct umem_inject_report report;
	int r = umem_inject_run(target->pid, target->pidfd, steps, UMEM_ARRAY_LEN(steps),
		deadline_ns, &report, note);

	if (r != 0)
		return r;
	target->stop_ns = report.stop_ns;
	target->uffd = steps[0].ret_fd >= 0 ? steps[0].ret_fd : steps[2].ret_fd;
	if (target->uffd >= 0)
		return 0;
	return explain_uffd(target,
		steps[2].ret_value == -ECANCELED ? -EIO : steps[2].ret_value, note);
}

int umem_target_check_kernel(const struct umem_feats *feats, struct umem_note *note)
{
	static const enum umem_feat needed[] = { UMEM_FEAT_UFFD_WP_ASYNC, UMEM_FEAT_PAGEMAP_SCAN };

	if (umem_feats_has(feats, UMEM_FEAT_SOFT_DIRTY))
		return 0;
	for (size_t i = 0; i < UMEM_ARRAY_LEN(needed); i++) {
		const struct umem_feat_info *info = umem_feat_info(needed[i]);

		if (!umem_feats_has(feats, needed[i]))
			return umem_note_set(note, -ENOTTY, 0,
				"the kernel lacks %s (to get it: %s), and soft_dirty in its place",
				info->name, info->how_to_get);
	}
	return 0;
}

int umem_target_attach(int pid, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	uint64_t deadline_ns = options && options->deadline_ns ? options->deadline_ns :
								 DEFAULT_DEADLINE_NS;
	int r = refuse_to_stop(pid, note);

	if (r == 0)
		r = umem_target_open(pid, options, &target, note);
	if (r == 0)
		r = umem_target_check_kernel(&target->feats, note);
	if (r != 0)
		return r;
	if (umem_feats_has(&target->feats, UMEM_FEAT_UFFD_WP_ASYNC)) {
		r = fetch_uffd(target, deadline_ns, note);
		if (r != 0)
			return r;
		r = umem_uffd_api(target->uffd, ASYNC_FEATURES, NULL);
		if (r == -ESRCH) {
			umem_note_set(note, r, 0, "process %d executed another program", pid);
			return UMEM_GONE;
		}
		if (r < 0)
			return umem_note_set(note, -ENOTTY, 0,
				"the kernel does not let pid %d have asynchronous write protection "
				"(uffd_wp_async): %s", pid, strerror(-r));
	}
	*ret_target = UMEM_TAKE_PTR(target);
	return 0;
}

static int check_ranges(const struct umem_range *ranges, size_t n_ranges,
	struct umem_ranges *set, struct umem_note *note)
{
	const uint64_t mask = UMEM_PAGE_BYTES - 1;

	for (size_t i = 0; i < n_ranges; i++) {
		uint64_t start = ranges[i].start, end = ranges[i].end;
		int r;

		if (end <= start || (start & mask) || (end & mask) ||
			umem_ranges_overlaps(set, start, end))
			return umem_note_set(note, -EINVAL, start,
				"range %#llx-%#llx is empty, unaligned or overlaps another",
				(unsigned long long)start, (unsigned long long)end);
		r = umem_ranges_add(set, start, end);
		if (r < 0)
			return r;
	}
	return n_ranges ? 0 : umem_note_set(note, -EINVAL, 0, "no range was given");
}

/* Is all of @managed mapped? Registering asks for one mapping in a range only. */
static int check_mapped(const struct umem_target *target, struct umem_note *note)
{
	struct umem_maps maps = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges mapped = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	int r = umem_maps_read(target->maps_fd, UMEM_MAPS_AUTO, &maps);

	if (r == 0 && maps.n == 0) {
		umem_note_set(note, -ESRCH, 0, "process %d ended", target->pid);
		r = UMEM_GONE;
	}
	for (size_t i = 0; i < maps.n && r == 0; i++)
		r = umem_ranges_add(&mapped, maps.v[i].start, maps.v[i].end);
	umem_maps_deinit(&maps);
	if (r == 0)
		r = umem_ranges_subtract(&target->managed, &mapped, &holes);
	if (r == 0 && holes.n)
		return umem_note_set(note, -EINVAL, holes.v[0].start,
			"process %d has nothing mapped at %#llx-%#llx", target->pid,
			(unsigned long long)holes.v[0].start,
			(unsigned long long)holes.v[0].end);
	return r;
}

/* Is @uffd an asynchronous userfaultfd? Its fdinfo has "API:\taa:FEATURES:IOCTLS". */
static int check_mode(int uffd, struct umem_note *note)
{
	UMEM_FREE char *text = NULL;
	unsigned long long features = 0;
	char link[64], path[40];
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", uffd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return umem_note_set(note, -EBADF, 0, "descriptor %d is not open", uffd);
	link[n] = '\0';
	if (strcmp(link, "anon_inode:[userfaultfd]") != 0)
		return umem_note_set(note, -EBADF, 0, "descriptor %d is %s, not a userfaultfd",
			uffd, link);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	if (umem_read_file(AT_FDCWD, path, 1 << 12, &text, NULL) < 0)
		return 0; /* then the registration tells most of it */
	at = strstr(text, "\nAPI:");
	if (at && sscanf(at, "\nAPI: %*x:%llx", &features) == 1 &&
		(features & UFFD_FEATURE_WP_ASYNC))
		return 0;
	/* Protecting by a synchronous one would block every writer for ever. */
	return umem_note_set(note, -EINVAL, 0,
		"the userfaultfd is not in asynchronous mode: call UFFDIO_API with "
		"UFFD_FEATURE_WP_ASYNC on a new one");
}

/*
 * A userfaultfd does not say whose memory it acts on. Ask with a registration,
 * which does nothing by itself in asynchronous mode, and look for its effect
 * in the process that it is said to be of: a fork has the same addresses.
 */
static int check_range(const struct umem_target *target, int uffd,
	const struct umem_range *range, struct umem_note *note)
{
	struct umem_scan scan = {
		.at = range->start,
		.end = range->end,
		.inverted = PAGE_IS_WPALLOWED,
		.all = PAGE_IS_WPALLOWED,
		.wanted = PAGE_IS_WPALLOWED,
	};
	struct page_region other;
	size_t n = 0;
	int r = umem_uffd_register(uffd, range->start, range->end, UFFDIO_REGISTER_MODE_WP);

	if (r == -ESRCH) {
		umem_note_set(note, r, 0, "process %d ended", target->pid);
		return UMEM_GONE;
	}
	if (r < 0)
		return umem_note_set(note, -EINVAL, range->start,
			"the userfaultfd cannot watch %#llx-%#llx: %s; is this its memory?",
			(unsigned long long)range->start, (unsigned long long)range->end,
			strerror(-r));
	while (r == 0 && n == 0 && scan.at < scan.end)
		r = umem_pagemap_scan(target->pagemap_fd, &scan, &other, 1, &n);
	if (r == -ESRCH)
		return UMEM_GONE;
	if (r == -ENOTTY)
		return umem_note_set(note, r, 0, "the kernel lacks PAGEMAP_SCAN (Linux 6.7)");
	if (r < 0 || n)
		return umem_note_set(note, -EINVAL, range->start,
			"the userfaultfd is of another process than %d", target->pid);
	return 0;
}

int umem_target_adopt(int pid, int uffd, const struct umem_range *ranges, size_t n_ranges,
	const struct umem_attach_options *options, struct umem_target **ret_target,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	/* Our own memory is welcome here: nothing is stopped. */
	int r = umem_target_open(pid, options, &target, note);

	if (r != 0)
		return r;
	r = check_mode(uffd, note);
	if (r == 0)
		r = check_ranges(ranges, n_ranges, &target->managed, note);
	if (r == 0)
		r = check_mapped(target, note);
	for (size_t i = 0; i < target->managed.n && r == 0; i++)
		r = check_range(target, uffd, &target->managed.v[i], note);
	if (r != 0)
		return r;
	target->adopted = true;
	target->uffd = uffd;
	*ret_target = UMEM_TAKE_PTR(target);
	return 0;
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
	for (size_t i = 0; i < target->space.n; i++)
		if (target->space.v[i].registered)
			unregister(target, &target->space.v[i]);
}

struct umem_target *umem_target_free(struct umem_target *target)
{
	if (!target)
		return NULL;
	if (target->uffd >= 0) {
		lift(target);
		umem_thp_restore(target, &target->huge);
	}
	umem_fd_close(target->uffd);
	umem_fd_close(target->pagemap_fd);
	umem_fd_close(target->maps_fd);
	umem_fd_close(target->proc_fd);
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
