// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A target that goes from one process to another.
 *
 * Theory of operation
 *
 * Everything that is bound to the memory of a process when it is opened (maps,
 * pagemap, mem, the userfaultfd) works for whoever holds the descriptor; the
 * kernel looks at rights when they are opened (tests/kernel/confined.c). What is
 * looked up in /proc/PID later, such as open files, takes the right to trace at
 * each look. For that the directory is passed, as a mount of its own:
 *
 *     detached from every namespace     ".." ends at /proc/PID
 *     symbolic links are not followed   root, cwd, exe, fd/N, map_files lead nowhere
 *     read-only, no devices             mem, clear_refs cannot be written
 *
 * so that a process which keeps CAP_SYS_PTRACE, and has nothing else to open files
 * by, can look at this process and no other.
 */
#include "lib/mem/pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/procmem.h"

void umem_passing_deinit(struct umem_passing *passing)
{
	for (size_t i = 0; i < UMEM_N_PASSED; i++)
		passing->fds[i] = umem_fd_close(passing->fds[i]);
	passing->facts = umem_json_free(passing->facts);
}

/* The directory @dir_fd as a mount that leads nowhere, or -errno. */
static int confined_dir(int dir_fd)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW,
	};
	UMEM_FD int fd = open_tree(dir_fd, "",
		AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return umem_fd_take(&fd);
}

static struct umem_json *facts_of(const struct umem_target *target)
{
	struct umem_json *facts = umem_json_object(), *managed = umem_json_array();

	for (size_t i = 0; i < target->managed.n; i++) {
		struct umem_json *range = umem_json_object();

		umem_json_set_u64(range, "start", target->managed.v[i].start);
		umem_json_set_u64(range, "end", target->managed.v[i].end);
		umem_json_append_consume(managed, range);
	}
	umem_json_set_int(facts, "pid", target->pid);
	umem_json_set_u64(facts, "stop_ns", target->stop_ns);
	umem_json_set_bool(facts, "adopted", target->adopted);
	umem_json_set_consume(facts, "managed", managed);
	umem_json_set_u64(facts, "probed", target->feats.probed);
	umem_json_set_u64(facts, "found", target->feats.found);
	umem_json_set_u64(facts, "unknown", target->feats.unknown);
	umem_json_set_u64(facts, "overridden", target->feats.overridden);
	return facts;
}

/* Duplicate @fd to @ret_fd, unless there is none. Return: 0 or -errno. */
static int duplicate(int fd, int *ret_fd)
{
	if (fd < 0)
		return 0;
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? -errno : 0;
}

int umem_target_pass(const struct umem_target *target, bool confine,
	struct umem_passing *ret_passing)
{
	UMEM_CLEANUP(umem_passing_deinit) struct umem_passing passing = {
		.fds = { -1, -1, -1, -1, -1, -1 },
	};
	int r = duplicate(target->pidfd, &passing.fds[UMEM_PASSED_PIDFD]);

	if (r == 0 && confine)
		passing.fds[UMEM_PASSED_DIR] = confined_dir(target->dir_fd);
	if (r == 0 && passing.fds[UMEM_PASSED_DIR] < 0)
		r = duplicate(target->dir_fd, &passing.fds[UMEM_PASSED_DIR]);
	if (r == 0)
		r = duplicate(target->maps_fd, &passing.fds[UMEM_PASSED_MAPS]);
	if (r == 0)
		r = duplicate(target->pagemap_fd, &passing.fds[UMEM_PASSED_PAGEMAP]);
	if (r == 0)
		r = duplicate(target->uffd, &passing.fds[UMEM_PASSED_UFFD]);
	if (r < 0)
		return r;
	/* Only some of the work reads memory; without the right it is done by less. */
	if (umem_procmem_open(target->tid, &passing.fds[UMEM_PASSED_MEM]) == -EMFILE)
		return -EMFILE;
	/* It was opened by its number: the same process only if that still lives. */
	if (umem_target_gone(target))
		return UMEM_GONE;
	passing.facts = facts_of(target);
	*ret_passing = passing;
	passing = (struct umem_passing){ .fds = { -1, -1, -1, -1, -1, -1 } };
	return 0;
}

static int read_managed(const struct umem_json *list, struct umem_ranges *managed)
{
	size_t n = umem_json_count(list);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct umem_json *item = umem_json_item(list, i);
		int64_t start = umem_json_get_int(item, "start", -1);
		int64_t end = umem_json_get_int(item, "end", -1);

		if (start < 0 || end <= start)
			return -EINVAL;
		r = umem_ranges_add(managed, (uint64_t)start, (uint64_t)end);
	}
	return r;
}

static int read_facts(const struct umem_json *facts, struct umem_target *target)
{
	int64_t stop_ns = umem_json_get_int(facts, "stop_ns", -1);
	int64_t probed = umem_json_get_int(facts, "probed", -1);
	int64_t found = umem_json_get_int(facts, "found", -1);
	int64_t unknown = umem_json_get_int(facts, "unknown", -1);
	int64_t overridden = umem_json_get_int(facts, "overridden", -1);

	if ((stop_ns | probed | found | unknown | overridden) < 0)
		return -EINVAL;
	target->stop_ns = (uint64_t)stop_ns;
	target->adopted = umem_json_get_bool(facts, "adopted", false);
	target->feats.probed = (uint64_t)probed & UMEM_FEATS_ALL;
	target->feats.found = (uint64_t)found & UMEM_FEATS_ALL;
	target->feats.unknown = (uint64_t)unknown & UMEM_FEATS_ALL;
	target->feats.overridden = (uint64_t)overridden & UMEM_FEATS_ALL;
	return read_managed(umem_json_get(facts, "managed"), &target->managed);
}

int umem_target_from_fds(const struct umem_json *facts, const int fds[UMEM_N_PASSED],
	const struct umem_reach *reach, struct umem_target **ret_target, struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	int64_t pid = umem_json_get_int(facts, "pid", 0);
	int r;

	if (pid <= 0 || pid > INT32_MAX)
		return umem_note_set(note, -EINVAL, 0, "a target without a process");
	for (int i = UMEM_PASSED_PIDFD; i <= UMEM_PASSED_PAGEMAP; i++)
		if (fds[i] < 0)
			return umem_note_set(note, -EINVAL, 0,
				"a target without its descriptor %d", i);
	target = umem_target_new((int)pid);
	if (!target)
		return -ENOMEM;
	r = read_facts(facts, target);
	if (r < 0)
		return umem_note_set(note, r, 0, "a target whose facts cannot be read");
	target->proc_fd = fcntl(fds[UMEM_PASSED_DIR], F_DUPFD_CLOEXEC, 0);
	if (target->proc_fd < 0)
		return -errno;
	target->reach = reach;
	target->pidfd = fds[UMEM_PASSED_PIDFD];
	target->dir_fd = fds[UMEM_PASSED_DIR];
	target->maps_fd = fds[UMEM_PASSED_MAPS];
	target->pagemap_fd = fds[UMEM_PASSED_PAGEMAP];
	target->mem_fd = fds[UMEM_PASSED_MEM];
	target->uffd = fds[UMEM_PASSED_UFFD];
	*ret_target = UMEM_TAKE_PTR(target);
	return 0;
}
