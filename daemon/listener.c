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

#include "daemon/door.h"
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
	struct door door;
	int spare_fd;
	struct loop_watch *watch;
};

static void refuse_one(struct listener *l)
{
	int sock;

	l->spare_fd = umem_fd_close(l->spare_fd);
	sock = accept4(l->door.sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	umem_fd_close(sock);
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_error("out of descriptors: a connection was refused; raise LimitNOFILE");
}

static void on_connect(void *user, unsigned what)
{
	struct listener *l = user;

	for (int i = 0; i < AT_ONCE; i++) {
		int sock = accept4(l->door.sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (sock < 0 && (errno == EMFILE || errno == ENFILE))
			refuse_one(l);
		if (sock < 0)
			return;
		peer_new(l->manager, sock);
	}
}

int listener_new(struct manager *manager, const char *path, struct listener **ret_listener,
	struct umem_note *note)
{
	struct listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	*l = (struct listener){ .manager = manager, .door = { .sock = -1 } };
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = door_open(path, 0777, DOOR_NO_GROUP, BACKLOG, &l->door);
	if (r == 0)
		r = loop_watch_new(manager->loop, l->door.sock, on_connect, l, &l->watch);
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
	*l = (struct listener){ .manager = manager, .door = { .sock = sock } };
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = fcntl(sock, F_SETFL, O_NONBLOCK) < 0 ? -errno :
		loop_watch_new(manager->loop, sock, on_connect, l, &l->watch);
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
	if (!l)
		return NULL;
	loop_watch_free(l->watch);
	door_close(&l->door);
	umem_fd_close(l->spare_fd);
	free(l);
	return NULL;
}
