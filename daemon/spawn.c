// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starting a worker. */
#include "daemon/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"

/* Numbers that a worker expects: daemon/worker/isolate.h. */
#define FD_CALLS  3
#define FD_BROKER 4
#define FD_ROOT   5

/* Descriptors are moved up here before they are put in their places. */
#define FD_ABOVE 16

/* Of our environment, what a worker may see: for tests. */
static const char *const passed_on[] = { "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS",
	"UMEM_FAULTS" };

int spawn_empty_root(void)
{
	UMEM_FD int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int root;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "4096", 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = fsmount(fs, FSMOUNT_CLOEXEC,
		MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return root < 0 ? -errno : root;
}

/* A pair of sockets: ours does not block, the other lies where it can be moved from. */
static int socket_pair(int *ret_ours, int *ret_other)
{
	UMEM_FD int ours = -1;
	UMEM_FD int other = -1;
	int pair[2], above;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	other = pair[1];
	above = fcntl(other, F_DUPFD_CLOEXEC, FD_ABOVE);
	if (above < 0)
		return -errno;
	*ret_ours = umem_fd_take(&ours);
	*ret_other = above;
	return 0;
}

/* fork and exec, with descriptors in their places and signals as they are at first. */
static int start(const struct spawn_options *options, int calls, int broker, int root,
	pid_t *ret_pid)
{
	char uid[16], gid[16], manager[16], role[16] = "", name[] = "umemd-worker";
	char *argv[] = { name, uid, gid, manager, options->role ? role : NULL, NULL };
	char *env[UMEM_ARRAY_LEN(passed_on) + 1] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	size_t n = 0;
	int r;

	snprintf(uid, sizeof(uid), "%u", (unsigned)options->uid);
	snprintf(gid, sizeof(gid), "%u", (unsigned)options->gid);
	snprintf(manager, sizeof(manager), "%d", (int)getpid());
	snprintf(role, sizeof(role), "%s", options->role ? options->role : "");
	for (size_t i = 0; i < UMEM_ARRAY_LEN(passed_on); i++) {
		const char *value = getenv(passed_on[i]);

		if (value && asprintf(&env[n], "%s=%s", passed_on[i], value) >= 0)
			n++;
	}
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, calls, FD_CALLS);
	posix_spawn_file_actions_adddup2(&actions, broker, FD_BROKER);
	if (root >= 0)
		posix_spawn_file_actions_adddup2(&actions, root, FD_ROOT);
	r = posix_spawn(ret_pid, options->path, &actions, &attr, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	for (size_t i = 0; i < n; i++)
		free(env[i]);
	return -r;
}

int spawn_worker(const struct spawn_options *options, struct spawned *ret_spawned)
{
	UMEM_FD int calls = -1;
	UMEM_FD int calls_other = -1;
	UMEM_FD int broker = -1;
	UMEM_FD int broker_other = -1;
	UMEM_FD int root = -1;
	UMEM_FD int pidfd = -1;
	pid_t pid = -1;
	int r = socket_pair(&calls, &calls_other);

	if (r == 0)
		r = socket_pair(&broker, &broker_other);
	if (r == 0 && options->root_fd >= 0) {
		root = fcntl(options->root_fd, F_DUPFD_CLOEXEC, FD_ABOVE);
		r = root < 0 ? -errno : 0;
	}
	if (r == 0)
		r = start(options, calls_other, broker_other, root, &pid);
	if (r < 0)
		return r;
	/* It is ours to wait for, so that the number cannot have been given anew. */
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		r = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	*ret_spawned = (struct spawned){
		.pid = pid,
		.pidfd = umem_fd_take(&pidfd),
		.calls_fd = umem_fd_take(&calls),
		.broker_fd = umem_fd_take(&broker),
	};
	return 0;
}
