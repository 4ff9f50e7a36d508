/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory cgroups: whose a process is, who is in it, what it uses, what it can be
 * made to give back. Version 2 where that hierarchy has the memory controller,
 * else version 1.
 *
 * A cgroup is held by a descriptor of its folder, so that it stays the same one
 * when another is put in its place. One that was removed answers -ENODEV. Nothing
 * blocks but the two calls that reclaim.
 */
#ifndef UMEM_KERN_CGROUP_H
#define UMEM_KERN_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/kern/psi.h"

/** UMEM_CGROUP_PARTIAL - less was reclaimed than asked; outcome of umem_cgroup_reclaim(). */
#define UMEM_CGROUP_PARTIAL 1

/** UMEM_CGROUP_MORE - there were more processes than asked for; umem_cgroup_pids(). */
#define UMEM_CGROUP_MORE 1

/**
 * struct umem_cgroup - an open cgroup; UMEM_CGROUP_NONE is none.
 * @version: 1 or 2.
 * @has_memory: the folder has the memory controller's files. Without them there
 *              are processes to list, and no usage and no reclaim.
 * @fd: its folder.
 * @psi_fd: folder whose memory.pressure is the pressure of its processes, or -1.
 *          Version 2: the same folder as @fd.
 * @path: its folder in the file system, for people.
 */
struct umem_cgroup {
	int version;
	bool has_memory;
	int fd;
	int psi_fd;
	char *path;
};

#define UMEM_CGROUP_NONE ((struct umem_cgroup){ .fd = -1, .psi_fd = -1 })

/** umem_cgroup_deinit - close and free what it holds, and make it none. */
void umem_cgroup_deinit(struct umem_cgroup *cgroup);

/**
 * umem_cgroup_of - the memory cgroup that a process is charged to.
 * @proc: "/proc", or what stands in for it.
 * @pid: the process.
 * @ret_cgroup: on success, deinit it. In version 2 the nearest folder upwards
 *              that has the controller: that is where the memory is charged.
 * @note: says which hierarchy, which path; may be NULL.
 *
 * In version 1, @psi_fd is the process's folder in the cgroup2 hierarchy, if that
 * is mounted and the folder is not its root.
 *
 * Return: 0, -ESRCH when there is no such process, -EOPNOTSUPP when no hierarchy
 * with the memory controller is mounted, -EXDEV when its folder cannot be seen from
 * here (another mount, another cgroup namespace) or was removed, -EACCES, -EBADMSG,
 * -ENOMEM.
 */
int umem_cgroup_of(const char *proc, int pid, struct umem_cgroup *ret_cgroup,
	struct umem_note *note);

/**
 * umem_cgroup_open - the cgroup that somebody names.
 * @proc: "/proc", or what stands in for it.
 * @path: a folder by its absolute path in the file system, or by its path in the
 *        hierarchy, with or without the slash before it as /proc/PID/cgroup has
 *        it. An absolute path is looked for in the file system first.
 * @note: says where was looked, and what is wrong there; may be NULL.
 *
 * Return: 0, -ENOENT when nothing of that name is there, -EINVAL when it is no
 * cgroup (no cgroup.procs in it), -ENOTDIR, -EACCES, -ENOMEM.
 */
int umem_cgroup_open(const char *proc, const char *path, struct umem_cgroup *ret_cgroup,
	struct umem_note *note);

/**
 * struct umem_cgroup_pids - processes; all zero is empty.
 * @v: @n ids, ascending, each once.
 * @n_unseen: entries of another PID namespace, which have no id here.
 */
struct umem_cgroup_pids {
	int *v;
	size_t n;
	size_t room;
	size_t n_unseen;
};

/** umem_cgroup_pids_deinit - free what the list owns and make it empty. */
void umem_cgroup_pids_deinit(struct umem_cgroup_pids *pids);

/**
 * umem_cgroup_pids - the processes of a cgroup and of those below it.
 * @max: keep at most so many.
 * @pids: initialized, maybe used before; replaced.
 *
 * A process may come, go or move while this reads. Cgroups that vanish meanwhile are
 * passed over, and those with single threads of a process (version 2, "threaded"),
 * which is listed where its domain is.
 *
 * Return: 0, UMEM_CGROUP_MORE when some were left out (for @max, or in more than
 * 65,536 cgroups or 64 levels below), -EOPNOTSUPP for a threaded cgroup itself,
 * -ENODEV, -EACCES, -EBADMSG, -ENOMEM; on failure @pids is empty.
 */
int umem_cgroup_pids(const struct umem_cgroup *cgroup, size_t max,
	struct umem_cgroup_pids *pids);

/**
 * struct umem_cgroup_usage - what it and those below it use; UINT64_MAX is no limit.
 * @memory_bytes: memory charged, page cache included.
 * @memory_max_bytes: its own limit of that.
 * @swap_bytes: swap charged. Version 2 counts slots, with those whose page is in
 *              the swap cache still; version 1 pages that left memory.
 * @swap_room_bytes: how much more may go to swap by its limits and those above.
 *                   Version 1 limits memory and swap together, which keeps no page
 *                   from going out: always UINT64_MAX.
 * @memsw_max_bytes: version 1: limit of memory and swap together; else UINT64_MAX.
 * @has_swap: the kernel accounts swap; else the three above are 0 and no limit.
 */
struct umem_cgroup_usage {
	uint64_t memory_bytes;
	uint64_t memory_max_bytes;
	uint64_t swap_bytes;
	uint64_t swap_room_bytes;
	uint64_t memsw_max_bytes;
	bool has_swap;
};

/**
 * umem_cgroup_usage - read usage and limits.
 *
 * Return: 0, -EOPNOTSUPP without the memory controller's files (also the root of
 * version 2, which has no counters), -ENODEV, -EBADMSG.
 */
int umem_cgroup_usage(const struct umem_cgroup *cgroup, struct umem_cgroup_usage *ret_usage);

/**
 * umem_cgroup_psi - the pressure of its processes.
 * Return: as umem_psi_read(); -ENOENT also where version 1 has none (a cgroup by
 * path, a process in the root of cgroup2): take the machine's then.
 */
int umem_cgroup_psi(const struct umem_cgroup *cgroup, struct umem_psi *ret_psi);

/**
 * umem_cgroup_reclaim - have the kernel take @bytes from the cgroup and those
 * below it (memory.reclaim: version 2, Linux 5.19).
 *
 * It takes what is oldest by the kernel's own lists, file cache too. It blocks for
 * as long as that takes; in steps of 32 MiB, so that a signal in between makes it
 * reclaim at most one step too much. More than asked may go.
 *
 * Return: 0, UMEM_CGROUP_PARTIAL (the kernel's EAGAIN: it could not find as much),
 * -EOPNOTSUPP where there is no such file, -EACCES, -EINTR after 64 signals, -ENODEV.
 */
int umem_cgroup_reclaim(const struct umem_cgroup *cgroup, uint64_t bytes);

/**
 * umem_cgroup_force_empty - have the kernel take all it can from the cgroup and
 * those below it (memory.force_empty: version 1).
 *
 * There is no amount: EVERYTHING of the group may go, the working set and the file
 * cache too, and comes back by faults. For a group of a target's own at most, and
 * only where that was asked for. Pages that are out and in the swap cache still go
 * first, all of them, without a write; of those in use nearly none or all went
 * (Linux 6.18: it gives up after a few rounds that freed nothing). Blocks for as long
 * as it takes.
 *
 * Return: 0 (also when some could not be taken), -EOPNOTSUPP where there is no such
 * file, -EINVAL for the root, -EACCES, -EINTR after 64 signals, -ENODEV.
 */
int umem_cgroup_force_empty(const struct umem_cgroup *cgroup);

#endif
