/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One page over HTTP, for whoever is on this machine: at a Unix socket or a loopback
 * address, and at no other. The only user of libevent's HTTP.
 */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <umemd/types.h>

#include "daemon/loop.h"

struct http;

/**
 * struct http_address - where to listen.
 * @path: of a Unix socket, borrowed; NULL for a loopback address.
 * @in, @len_bytes: that address: IPv4 or IPv6.
 */
struct http_address {
	const char *path;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} in;
	socklen_t len_bytes;
};

/**
 * http_parse_address - "/path", "127.0.0.1:9753" or "[::1]:9753".
 * Return: 0; -EINVAL: none of these, or not of this machine alone.
 */
int http_parse_address(const char *word, struct http_address *ret_address);

/**
 * struct http_page - what is served.
 * @path: of it, as "/metrics"; everything else is not found.
 * @make: makes its text, which is freed behind it. @accept: what the client takes, or "".
 *	@ret_type: of the content, static. Return: 0 or -ENOMEM.
 * @user: of @make.
 */
struct http_page {
	const char *path;
	int (*make)(void *user, const char *accept, const char **ret_type, char **ret_text,
		size_t *ret_len_bytes);
	void *user;
};

/**
 * http_new - serve @page, which is copied.
 * @word: an address.
 * @group: whose members may connect to a Unix socket, besides the user who runs us;
 *	(gid_t)-1 for none. Everybody on this machine may connect to a loopback address.
 *
 * Return: 0, or -errno with @note.
 */
int http_new(struct loop *loop, const char *word, gid_t group, const struct http_page *page,
	struct http **ret_http, struct umem_note *note);

/** http_free - close everything. NULL is fine. Return: NULL. */
struct http *http_free(struct http *http);

#endif
