/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The socket that clients connect to. */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include <umemd/types.h>

struct listener;
struct manager;

/**
 * listener_new - listen at @path; everybody may connect, what they may do is asked later.
 *
 * A socket that is there and that nobody listens at is replaced.
 *
 * Return: 0; -EADDRINUSE: somebody listens there; -errno, with @note.
 */
int listener_new(struct manager *manager, const char *path, struct listener **ret_listener,
	struct umem_note *note);

/**
 * listener_adopt - the same with a socket that listens already; @sock is consumed.
 * Return: 0 or -errno, with @note.
 */
int listener_adopt(struct manager *manager, int sock, struct listener **ret_listener,
	struct umem_note *note);

/** listener_free - and take the socket away. NULL is fine. Return: NULL. */
struct listener *listener_free(struct listener *listener);

#endif
