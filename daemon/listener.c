// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The socket that clients connect to.
 *
 * Out of descriptors, accept(2) fails and the connection stays where it is, which
 * would wake us for ever: a spare descriptor is given up to accept it, and to close
 * it at once.
 */
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/peer.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

#define BACKLOG 1024
/* Connections that are taken before others have their turn. */
#define AT_ONCE 16

struct listener {
	struct manager *manager;
	int sock;
	int spare_fd;
	struct loop_watch *watch;
	struct sockaddr_un addr;
	dev_t dev;
	ino_t inode;
};

static void refuse_one(struct listener *l)
{
	int sock;

	l->spare_fd = umem_fd_close(l->spare_fd);
	sock = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	umem_fd_close(sock);
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_error("out of descriptors: a connection was refused; raise LimitNOFILE");
}

static void on_connect(void *user, unsigned what)
{
	struct listener *l = user;

	for (int i = 0; i < AT_ONCE; i++) {
		int sock = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (sock < 0 && (errno == EMFILE || errno == ENFILE))
			refuse_one(l);
		if (sock < 0)
			return;
		peer_new(l->manager, sock);
	}
}

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

static int bind_at(struct listener *l)
{
	mode_t before = umask(0);
	int r = bind(l->sock, (const struct sockaddr *)&l->addr, sizeof(l->addr)) < 0 ?
		-errno : 0;
	struct stat st;

	umask(before);
	if (r < 0)
		return r;
	if (stat(l->addr.sun_path, &st) < 0 || listen(l->sock, BACKLOG) < 0)
		return -errno;
	l->dev = st.st_dev;
	l->inode = st.st_ino;
	return 0;
}

int listener_new(struct manager *manager, const char *path, struct listener **ret_listener,
	struct umem_note *note)
{
	struct listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	*l = (struct listener){ .manager = manager, .addr = { .sun_family = AF_UNIX } };
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	l->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = l->sock < 0 ? -errno : strlen(path) >= sizeof(l->addr.sun_path) ? -ENAMETOOLONG : 0;
	if (r == 0) {
		memcpy(l->addr.sun_path, path, strlen(path) + 1);
		r = take_stale_away(&l->addr);
	}
	if (r == 0)
		r = bind_at(l);
	if (r == 0)
		r = loop_watch_new(manager->loop, l->sock, on_connect, l, &l->watch);
	if (r < 0) {
		listener_free(l);
		return umem_note_set(note, r, 0, "listening at %s: %s", path, strerror(-r));
	}
	loop_watch_for(l->watch, LOOP_READ);
	*ret_listener = l;
	return 0;
}

int listener_adopt(struct manager *manager, int sock, struct listener **ret_listener,
	struct umem_note *note)
{
	struct listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		umem_fd_close(sock);
		return -ENOMEM;
	}
	*l = (struct listener){ .manager = manager, .sock = sock };
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = fcntl(sock, F_SETFL, O_NONBLOCK) < 0 ? -errno :
		loop_watch_new(manager->loop, l->sock, on_connect, l, &l->watch);
	if (r < 0) {
		listener_free(l);
		return umem_note_set(note, r, 0, "the socket that was given: %s", strerror(-r));
	}
	loop_watch_for(l->watch, LOOP_READ);
	*ret_listener = l;
	return 0;
}

struct listener *listener_free(struct listener *l)
{
	struct stat st;

	if (!l)
		return NULL;
	loop_watch_free(l->watch);
	/* Unless another one has taken the place. */
	if (l->inode && stat(l->addr.sun_path, &st) == 0 && st.st_ino == l->inode &&
		st.st_dev == l->dev)
		unlink(l->addr.sun_path);
	umem_fd_close(l->sock);
	umem_fd_close(l->spare_fd);
	free(l);
	return NULL;
}
