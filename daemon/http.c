// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One page over HTTP, on libevent's evhttp.
 *
 * Theory of operation
 *
 * A client gets one reply, then its connection ends. evhttp has no limit of connections,
 * and a client that sends or reads a byte now and then is never late for it. So servers
 * follow one another on the same socket, and each lives for two turns of TURN_NS:
 *
 *     now      accepts; AT_MOST connections, then no more before its turn is over
 *     before   does not accept; what is still open when its turn is over is closed
 *
 * Whoever behaves is served within a turn; others have AT_MOST connections a turn, twice
 * that altogether, and can have no more than that, whatever they do. The timer
 * runs only while there are any.
 */
#include "daemon/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/door.h"
#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/base/parse.h"

#define TURN_NS     10000000000ull
#define AT_MOST     64
#define QUIET_S     5
#define HEADERS_MAX 8192
#define BODY_MAX    1024

/* One of the two servers. */
struct turn {
	struct evhttp *server;
	struct evhttp_bound_socket *bound;
	struct evconnlistener *listener;
	unsigned n_connections;
};

struct http {
	struct loop *loop;
	struct http_page page;
	struct door door; /* its socket, also where there is no path */
	struct turn now;
	struct turn before;
	struct loop_timer *timer;
};

int http_parse_address(const char *word, struct http_address *ret_address)
{
	struct http_address address = { .path = word };
	const char *colon = strrchr(word, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t len = colon ? (size_t)(colon - word) : 0;
	uint64_t port;

	if (word[0] == '/') {
		*ret_address = address;
		return 0;
	}
	if (len == 0 || len >= sizeof(host) || umem_parse_u64(colon + 1, &port) < 0 ||
		port == 0 || port > UINT16_MAX)
		return -EINVAL;
	memcpy(host, word, len);
	host[len] = '\0';
	address.path = NULL;
	if (strcmp(host, "[::1]") == 0) {
		address.in.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
			.sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback };
		address.len_bytes = sizeof(address.in.v6);
	} else {
		address.in.v4 = (struct sockaddr_in){ .sin_family = AF_INET,
			.sin_port = htons((uint16_t)port) };
		address.len_bytes = sizeof(address.in.v4);
		/* All of 127.0.0.0/8 is this machine. */
		if (inet_pton(AF_INET, host, &address.in.v4.sin_addr) != 1 ||
			ntohl(address.in.v4.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
			return -EINVAL;
	}
	*ret_address = address;
	return 0;
}

static void free_text(const void *data, size_t len, void *text)
{
	free(text);
}

/* Without the text, where only its head was asked for: evhttp does not see to that. */
static int add_body(struct evhttp_request *request, struct evbuffer *body, char *text, size_t len)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	char length[24];

	if (evhttp_request_get_command(request) == EVHTTP_REQ_HEAD) {
		free(text);
		snprintf(length, sizeof(length), "%zu", len);
		return evhttp_add_header(headers, "Content-Length", length);
	}
	if (evbuffer_add_reference(body, text, len, free_text, text) == 0)
		return 0;
	free(text);
	return -1;
}

static void on_request(struct evhttp_request *request, void *user)
{
	struct http *http = user;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request),
		"Accept");
	struct evbuffer *body = evbuffer_new();
	const struct http_page *page = &http->page;
	const char *type;
	char *text;
	size_t len;

	if (!body || page->make(page->user, accept ? accept : "", &type, &text, &len) < 0 ||
		add_body(request, body, text, len) < 0) {
		evhttp_send_error(request, HTTP_INTERNAL, "out of memory");
	} else {
		evhttp_add_header(headers, "Content-Type", type);
		evhttp_add_header(headers, "Cache-Control", "no-store");
		evhttp_add_header(headers, "Connection", "close");
		evhttp_send_reply(request, HTTP_OK, "OK", body);
	}
	if (body)
		evbuffer_free(body);
}

static void on_other(struct evhttp_request *request, void *user)
{
	/* An error closes the connection, too. */
	evhttp_send_error(request, HTTP_NOTFOUND, "no such page");
}

/* A connection came: the server makes what it needs for it itself. */
static struct bufferevent *on_connect(struct event_base *base, void *user)
{
	struct http *http = user;

	if (++http->now.n_connections == AT_MOST)
		evconnlistener_disable(http->now.listener);
	if (!loop_timer_is_set(http->timer))
		loop_timer_set(http->timer, TURN_NS);
	return NULL;
}

/* Out of descriptors, most likely: what is there has to end first. */
static void on_accept_failed(struct evconnlistener *listener, void *user)
{
	struct http *http = user;

	evconnlistener_disable(listener);
	if (!loop_timer_is_set(http->timer))
		loop_timer_set(http->timer, TURN_NS);
}

static void end_turn(struct turn *turn)
{
	if (turn->server)
		evhttp_free(turn->server);
	*turn = (struct turn){ 0 };
}

static int begin_turn(struct http *http, struct turn *turn)
{
	struct event_base *base = loop_base(http->loop);

	turn->server = evhttp_new(base);
	turn->listener = evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0,
		http->door.sock);
	if (!turn->server || !turn->listener) {
		if (turn->listener)
			evconnlistener_free(turn->listener);
		end_turn(turn);
		return -ENOMEM;
	}
	evhttp_set_timeout(turn->server, QUIET_S);
	evhttp_set_max_headers_size(turn->server, HEADERS_MAX);
	evhttp_set_max_body_size(turn->server, BODY_MAX);
	evhttp_set_allowed_methods(turn->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_bevcb(turn->server, on_connect, http);
	evhttp_set_gencb(turn->server, on_other, http);
	/* The listener is the server's from here on, and ends with it; the socket does not. */
	turn->bound = evhttp_bind_listener(turn->server, turn->listener);
	if (!turn->bound) {
		evconnlistener_free(turn->listener);
		end_turn(turn);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(turn->listener, on_accept_failed);
	if (evhttp_set_cb(turn->server, http->page.path, on_request, http) < 0) {
		end_turn(turn);
		return -ENOMEM;
	}
	return 0;
}

static void on_turn(void *user)
{
	struct http *http = user;
	struct turn next = { 0 };

	if (http->now.n_connections == 0 || begin_turn(http, &next) < 0) {
		/* Nobody came, or no memory for another server: the one that is there goes on. */
		end_turn(&http->before);
		http->now.n_connections = 0;
		evconnlistener_enable(http->now.listener);
		return;
	}
	end_turn(&http->before);
	evhttp_del_accept_socket(http->now.server, http->now.bound);
	http->before = http->now;
	http->now = next;
	loop_timer_set(http->timer, TURN_NS);
}

static int listen_in(const struct http_address *address, int *ret_sock)
{
	UMEM_FD int sock = socket(address->in.any.sa_family,
		SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;

	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		bind(sock, &address->in.any, address->len_bytes) < 0 ||
		listen(sock, AT_MOST) < 0)
		return -errno;
	*ret_sock = umem_fd_take(&sock);
	return 0;
}

static int start(struct http *http, const char *word, gid_t group)
{
	struct http_address address;
	int r = http_parse_address(word, &address);

	if (r == 0)
		r = address.path ? door_open(address.path, 0660, group, AT_MOST, &http->door) :
				   listen_in(&address, &http->door.sock);
	if (r == 0)
		r = begin_turn(http, &http->now);
	return r;
}

int http_new(struct loop *loop, const char *word, gid_t group, const struct http_page *page,
	struct http **ret_http, struct umem_note *note)
{
	struct http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return umem_note_set(note, -ENOMEM, 0, "out of memory");
	*http = (struct http){ .loop = loop, .page = *page, .door = { .sock = -1 } };
	r = loop_timer_new(loop, on_turn, http, &http->timer);
	if (r == 0)
		r = start(http, word, group);
	if (r < 0) {
		http_free(http);
		return umem_note_set(note, r, 0, "listening at %s: %s", word, strerror(-r));
	}
	*ret_http = http;
	return 0;
}

struct http *http_free(struct http *http)
{
	if (!http)
		return NULL;
	end_turn(&http->before);
	end_turn(&http->now);
	door_close(&http->door);
	loop_timer_free(http->timer);
	free(http);
	return NULL;
}
