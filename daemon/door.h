/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A socket that listens at a path: made where only what nobody uses any more is in the
 * way, and taken away again unless another one has taken its place.
 */
#ifndef DAEMON_DOOR_H
#define DAEMON_DOOR_H

#include <sys/types.h>
#include <sys/un.h>

/** DOOR_NO_GROUP - leave the group as it is. */
#define DOOR_NO_GROUP ((gid_t)-1)

/**
 * struct door - a socket.
 * @sock: it does not block; -1 for none.
 * @addr: where it is.
 * @dev, @inode: of the file there; no inode: it is none of ours.
 */
struct door {
	int sock;
	struct sockaddr_un addr;
	dev_t dev;
	ino_t inode;
};

/**
 * door_open - listen at @path.
 * @mode, @group: who may connect.
 * @backlog: connections that wait.
 *
 * A socket that is there and that nobody listens at is replaced.
 *
 * Return: 0; -EADDRINUSE: somebody listens there; -ENAMETOOLONG; -EPERM: it cannot have
 * that group; -errno.
 */
int door_open(const char *path, mode_t mode, gid_t group, int backlog, struct door *ret_door);

/** door_close - close it, and take its file away. */
void door_close(struct door *door);

#endif
