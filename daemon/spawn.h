/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting a worker: a process that gets two sockets, an empty directory, and nothing else. */
#ifndef DAEMON_SPAWN_H
#define DAEMON_SPAWN_H

#include <sys/types.h>

/**
 * struct spawn_options - how workers are started; lives as long as the manager.
 * @path: the program.
 * @uid, @gid: what it becomes when we are root.
 * @root_fd: an empty directory, or -1.
 * @role: NULL; or "snapshot": it takes one, as daemon/worker/snapshotter.h has it, and
 *	is to ask nothing.
 */
struct spawn_options {
	const char *path;
	uid_t uid;
	gid_t gid;
	int root_fd;
	const char *role;
};

/**
 * struct spawned - a worker; all descriptors are owned.
 * @pid, @pidfd: it.
 * @calls_fd, @broker_fd: our ends of its sockets.
 */
struct spawned {
	pid_t pid;
	int pidfd;
	int calls_fd;
	int broker_fd;
};

/** spawn_empty_root - a directory with nothing in it, of no name. Return: it, or -errno. */
int spawn_empty_root(void);

/** spawn_worker - start one. Return: 0 or -errno. */
int spawn_worker(const struct spawn_options *options, struct spawned *ret_spawned);

#endif
