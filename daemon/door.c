// SPDX-License-Identifier: LGPL-2.1-or-later
/* A socket that listens at a path. */
#include "daemon/door.h"

#include <errno.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"

/* A socket file that nobody listens at is left from before. */
static int take_stale_away(const struct sockaddr_un *addr)
{
	UMEM_FD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (sock < 0)
		return -errno;
	if (connect(sock, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED || lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0; /* bind(2) tells what is wrong */
	return unlink(addr->sun_path) < 0 ? -errno : 0;
}

/*
 * The file has its mode and its group from its first moment on. Giving it another group
 * behind that would take CAP_CHOWN, which there is no other use for.
 */
static int bind_at(int sock, const struct sockaddr_un *addr, mode_t mode, gid_t group)
{
	mode_t mask = umask(0777 & ~mode);
	int own = group != DOOR_NO_GROUP ? setfsgid(group) : 0;
	int r = bind(sock, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

	if (group != DOOR_NO_GROUP)
		setfsgid((gid_t)own);
	umask(mask);
	return r;
}

int door_open(const char *path, mode_t mode, gid_t group, int backlog, struct door *ret_door)
{
	UMEM_FD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st = { 0 };
	int r;

	if (sock < 0)
		return -errno;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	r = take_stale_away(&addr);
	if (r == 0)
		r = bind_at(sock, &addr, mode, group);
	if (r < 0)
		return r;
	if (stat(path, &st) < 0 || listen(sock, backlog) < 0)
		r = -errno;
	else if (group != DOOR_NO_GROUP && st.st_gid != group)
		r = -EPERM; /* we may not give it that group */
	if (r < 0) {
		unlink(path);
		return r;
	}
	*ret_door = (struct door){ .addr = addr, .dev = st.st_dev, .inode = st.st_ino };
	ret_door->sock = umem_fd_take(&sock);
	return 0;
}

void door_close(struct door *door)
{
	struct stat st;

	/* Unless another one has taken the place. */
	if (door->inode && stat(door->addr.sun_path, &st) == 0 && st.st_ino == door->inode &&
		st.st_dev == door->dev)
		unlink(door->addr.sun_path);
	door->inode = 0;
	door->sock = umem_fd_close(door->sock);
}
