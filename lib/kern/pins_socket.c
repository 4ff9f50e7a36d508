// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which sockets of a process are of AF_XDP. */
#include "lib/kern/pins_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/base/fd.h"
#include "lib/kern/pidfd.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif

static int compare(const void *a, const void *b)
{
	const struct umem_pins_socket *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* Return: 0, 1 when the descriptor is something else by now, or -errno. */
static int ask(int pidfd, int fd, uint64_t inode, bool *ret_xdp)
{
	UMEM_FD int copy = -1;
	socklen_t len = sizeof(int);
	struct stat st;
	int domain = 0;
	int r = umem_pidfd_getfd(pidfd, fd, &copy);

	if (r == -EBADF || r == -ESRCH)
		return 1;
	if (r < 0)
		return r;
	if (fstat(copy, &st) < 0 || st.st_ino != inode || !S_ISSOCK(st.st_mode))
		return 1;
	if (getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -errno;
	*ret_xdp = domain == AF_XDP;
	return 0;
}

static int keep(struct umem_pins *pins, const struct umem_pins_socket *new)
{
	if (pins->n_sockets == pins->sockets_room) {
		size_t room = pins->sockets_room ? pins->sockets_room * 2 : 32;
		struct umem_pins_socket *more = reallocarray(pins->sockets, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		pins->sockets = more;
		pins->sockets_room = room;
	}
	pins->sockets[pins->n_sockets++] = *new;
	return 0;
}

int umem_pins_ask_socket(struct umem_pins *pins, size_t n_known, int pidfd, int fd,
	uint64_t inode, bool *ret_xdp)
{
	struct umem_pins_socket new = { .inode = inode, .seen = true }, *known = NULL;
	int r;

	if (n_known > 0)
		known = bsearch(&new, pins->sockets, n_known, sizeof(new), compare);
	if (known) {
		known->seen = true;
		*ret_xdp = known->xdp;
		return 0;
	}
	*ret_xdp = false;
	r = ask(pidfd, fd, inode, &new.xdp);
	if (r != 0)
		return r < 0 ? r : 0;
	r = keep(pins, &new);
	if (r < 0)
		return r;
	*ret_xdp = new.xdp;
	return 0;
}

void umem_pins_tidy_sockets(struct umem_pins *pins)
{
	size_t n = 0;

	for (size_t i = 0; i < pins->n_sockets; i++) {
		if (!pins->sockets[i].seen)
			continue;
		pins->sockets[n] = pins->sockets[i];
		pins->sockets[n++].seen = false;
	}
	pins->n_sockets = n;
	if (n > 0)
		qsort(pins->sockets, n, sizeof(*pins->sockets), compare);
}
