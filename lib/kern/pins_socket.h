/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which sockets of a process are of AF_XDP; private to pins*.c. Each socket is
 * asked once, known by its inode, and forgotten when a pass did not meet it.
 */
#ifndef UMEM_KERN_PINS_SOCKET_H
#define UMEM_KERN_PINS_SOCKET_H

#include "lib/kern/pins.h"

/**
 * umem_pins_ask_socket - is descriptor @fd of a process an AF_XDP socket?
 * @n_known: how many of @pins->sockets were there when the pass began; those
 *           are in order.
 * @inode: of the descriptor's link.
 *
 * Return: 0, also when the descriptor is gone (then no); -EPERM, -EMFILE, -ENOMEM.
 */
int umem_pins_ask_socket(struct umem_pins *pins, size_t n_known, int pidfd, int fd,
	uint64_t inode, bool *ret_xdp);

/** umem_pins_tidy_sockets - after a pass: forget closed sockets, sort the rest. */
void umem_pins_tidy_sockets(struct umem_pins *pins);

#endif
