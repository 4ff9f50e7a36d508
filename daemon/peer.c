// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A connection.
 *
 * Theory of operation
 *
 *     socket -> inbox -> one message -> call -> handler ... -> reply -> outbox -> socket
 *
 * One call at a time: the next message is taken when the last reply to the one
 * before was read. What a client sends ahead stays in the inbox, up to a message's
 * size, then in the socket, which is how it is told to wait.
 *
 * A client that reads nothing of what it asked for within SlowReader is dropped; so is
 * one that sends what is no message. Whether it reads does not show in the socket's being
 * writable: it is when three quarters of it are free (unix_writable(), net/unix/af_unix.c),
 * which may take one that reads slowly much longer. Its queue tells.
 *
 * Replies never gather: a method that sends many waits for drained() before the next.
 *
 * Descriptors do not wait for long: one of them may be the other end of a connection, this
 * one's even, which could then never end. A message that has some is to be whole within
 * SlowReader, and a method that takes none does not keep any.
 *
 * Of a user who is sent more than UserRate replies are held back (@held), and with them what
 * that client asks for next, as if it read slowly; only that it is not dropped for it.
 *
 * Everything that happens to a peer starts in on_ready(), so that no handler is
 * called from within another one.
 */
#include "daemon/peer.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/methods.h"
#include "daemon/quota.h"
#include "daemon/session.h"
#include "lib/base/fd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A call is small: the regions of a target at most. */
#define MAX_BYTES (256u << 10)

static const struct umem_json_limits limits = { MAX_BYTES, 12, 20000 };

/* Descriptors of a message that nobody took. */
static void close_frame(struct peer *peer, struct umem_frame *frame)
{
	for (size_t i = 0; i < frame->n_fds; i++)
		pool_close_fd(peer->manager->pool, umem_fd_take(&frame->fds[i]));
	umem_frame_deinit(frame);
}

void call_close_fds(struct call *call)
{
	for (size_t i = 0; i < call->frame.n_fds; i++)
		pool_close_fd(call->manager->pool, umem_fd_take(&call->frame.fds[i]));
}

static void free_call(struct call *call)
{
	call_close_fds(call);
	umem_frame_deinit(&call->frame);
	umem_call_deinit(&call->message);
	free(call);
}

bool peer_hung_up(const struct peer *peer)
{
	struct pollfd pfd = { .fd = peer->sock, .events = POLLRDHUP };

	return poll(&pfd, 1, 0) == 1;
}

void peer_drop(struct peer *peer, const char *why)
{
	struct call *call = peer->call;
	int fd;

	if (why)
		log_notice("connection of process %d (user %u) dropped: %s",
			(int)peer->who.pid, (unsigned)peer->who.uid, why);
	LIST_REMOVE(peer, entry);
	peer->manager->n_peers--;
	peer->call = NULL;
	if (call) {
		call->peer = NULL;
		if (call->cancelled)
			call->cancelled(call);
	}
	sessions_owner_left(peer->manager, peer);
	while ((fd = umem_inbox_take_fd(&peer->inbox)) >= 0)
		pool_close_fd(peer->manager->pool, fd);
	umem_inbox_deinit(&peer->inbox);
	umem_outbox_deinit(&peer->outbox);
	loop_watch_free(peer->watch);
	loop_timer_free(peer->stalled);
	loop_timer_free(peer->unended);
	loop_timer_free(peer->turn);
	umem_fd_close(peer->sock);
	umem_fd_close(peer->pidfd);
	peer->user->n_peers--;
	manager_user_left(peer->manager);
	free(peer);
}

/* Send what may be sent. Return: as umem_outbox_send(). */
static int send_out(struct peer *peer)
{
	size_t before = peer->outbox.bytes;
	int r = peer->held ? -EAGAIN : umem_outbox_send(&peer->outbox, peer->sock);

	if (peer->outbox.bytes != before)
		loop_timer_clear(peer->stalled); /* it reads */
	return r;
}

/* What is last in the outbox counts for its user, and may have to wait. */
static void pay(struct peer *peer, uint64_t bytes)
{
	uint64_t wait_ns = quota_pay(peer->manager, peer->user, (int)peer->who.pid, bytes);

	if (wait_ns == 0)
		return;
	peer->held = true;
	loop_timer_set(peer->turn, wait_ns);
}

static void on_turn(void *user)
{
	struct peer *peer = user;

	peer->held = false;
	loop_watch_for(peer->watch, LOOP_READ | LOOP_WRITE);
}

/* What the client has not read of what it was sent; it shrinks by whole messages. */
static int unread(const struct peer *peer)
{
	int bytes;

	return ioctl(peer->sock, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

/* From now on it has SlowReader to read something. */
static void wait_for_reader(struct peer *peer)
{
	peer->unread = unread(peer);
	loop_timer_set(peer->stalled, peer->manager->config.slow_reader_ns);
}

/* Put a reply into the outbox; the frame's descriptors are consumed. */
static void send_reply(struct call *call, const char *error, struct umem_json *parameters,
	bool continues, struct umem_frame *frame)
{
	struct peer *peer = call->peer;
	uint64_t bytes = 0;
	char *text;
	size_t len;
	int r;

	if (!peer || call->message.oneway) {
		umem_json_free(parameters);
		if (frame)
			umem_frame_deinit(frame);
		return;
	}
	r = umem_reply_encode_consume(error, parameters ? parameters : umem_json_object(),
		continues, &text, &len);
	if (r == 0) {
		bytes = len + 1 + (frame ? quota_fd_bytes(frame->fds, frame->n_fds) : 0);
		r = umem_outbox_add_consume(&peer->outbox, text, len, frame ? frame->fds : NULL,
			frame ? frame->n_fds : 0);
		if (frame)
			frame->n_fds = 0;
	}
	if (frame)
		umem_frame_deinit(frame);
	if (r < 0)
		log_error("out of memory: a reply to process %d is lost", (int)peer->who.pid);
	else
		pay(peer, bytes);
	/* From now on: the socket may be full, and then nothing happens any more. */
	if (!loop_timer_is_set(peer->stalled) && !peer->held)
		wait_for_reader(peer);
	loop_watch_for(peer->watch, LOOP_READ | LOOP_WRITE);
}

static void end(struct call *call)
{
	struct peer *peer = call->peer;

	if (peer) {
		peer->call = NULL;
		/* Also without a reply: then the next call is looked for. */
		loop_watch_for(peer->watch, LOOP_READ | LOOP_WRITE);
	}
	free_call(call);
}

void call_reply(struct call *call, struct umem_json *parameters)
{
	call_reply_fds(call, parameters, NULL);
}

void call_reply_fds(struct call *call, struct umem_json *parameters, struct umem_frame *frame)
{
	send_reply(call, NULL, parameters, false, frame);
	end(call);
}

void call_continue(struct call *call, struct umem_json *parameters, struct umem_frame *frame)
{
	send_reply(call, NULL, parameters, true, frame);
}

static void count_error(struct call *call, const char *name)
{
	stats_error(&call->manager->stats, methods_row(call->method), name);
}

void call_error(struct call *call, const char *name, struct umem_json *parameters)
{
	char full[2 * UMEM_METHOD_MAX];

	count_error(call, name);
	snprintf(full, sizeof(full), "%s.%s", call->message.interface, name);
	send_reply(call, full, parameters, false, NULL);
	end(call);
}

void call_service_error(struct call *call, const char *name, const char *key, const char *value)
{
	struct umem_json *parameters = umem_json_object();
	char full[2 * UMEM_METHOD_MAX];

	count_error(call, name);
	snprintf(full, sizeof(full), "org.varlink.service.%s", name);
	umem_json_set_text(parameters, key, value);
	send_reply(call, full, parameters, false, NULL);
	end(call);
}

void call_fail(struct call *call, int result, const struct umem_note *note)
{
	struct umem_json *parameters = umem_json_object();
	const char *text = note && note->text[0] ? note->text :
		result > 0 ? "the target ended" : strerror(-result);

	umem_json_set_text(parameters, "text", text);
	if (result > 0) {
		call_error(call, "Gone", parameters);
	} else if (result == -EPERM || result == -EACCES) {
		call->manager->stats.denials++;
		call_error(call, "NotPermitted", parameters);
	} else {
		umem_json_set_int(parameters, "errno", -result);
		call_error(call, "Failed", parameters);
	}
}

/* One message. Return: false when the connection is of no more use, with *@ret_why. */
static bool serve(struct peer *peer, struct umem_frame *frame, const char **ret_why)
{
	struct call *call = calloc(1, sizeof(*call));
	struct umem_note note = { 0 };
	int r;

	if (!call) {
		close_frame(peer, frame);
		*ret_why = "out of memory";
		return false;
	}
	call->manager = peer->manager;
	call->frame = *frame;
	r = umem_call_decode(frame->text, frame->len_bytes, &limits, &call->message, &note);
	if (r < 0) {
		log_debug("process %d sent no call: %s", (int)peer->who.pid, note.text);
		free_call(call);
		*ret_why = "what it sent is no call";
		return false;
	}
	call->peer = peer;
	peer->call = call;
	methods_dispatch(call);
	return true;
}

/* Serve what is there, as long as calls are answered at once. */
static bool serve_all(struct peer *peer, const char **ret_why)
{
	while (!peer->call && umem_outbox_empty(&peer->outbox)) {
		struct umem_frame frame;
		int r = umem_inbox_next(&peer->inbox, &frame);

		if (r == UMEM_AGAIN)
			return true;
		if (r < 0) {
			*ret_why = "what it sent is no message";
			return false;
		}
		if (!serve(peer, &frame, ret_why))
			return false;
		if (send_out(peer) == -EPIPE)
			return false;
	}
	return true;
}

/* More descriptors came: are they too many for its user? */
static bool too_many_fds(struct peer *peer)
{
	struct manager *m = peer->manager;
	const struct quota_ask ask = { STATS_USER_DESCRIPTORS, quota_count(m, peer->user).fds, 0,
		m->config.user_descriptors };
	char text[QUOTA_TEXT];

	return quota_refuses(m, peer->user, (int)peer->who.pid, &ask, text);
}

static bool receive(struct peer *peer, const char **ret_why)
{
	size_t before = peer->inbox.n_fds;
	int r;

	/* Enough was sent ahead. */
	if (peer->inbox.len > MAX_BYTES)
		return true;
	r = umem_inbox_receive(&peer->inbox, peer->sock);
	if (r == 0 && peer->inbox.n_fds > before && too_many_fds(peer))
		*ret_why = "too many descriptors of this user (Quota UserDescriptors)";
	else if (r == 0 || r == -EAGAIN)
		return true;
	if (r == -EMSGSIZE)
		*ret_why = "a message is too long";
	else if (r == -EPROTO)
		*ret_why = "too many descriptors";
	return false;
}

static void watch_on(struct peer *peer)
{
	bool waits = !umem_outbox_empty(&peer->outbox);

	loop_watch_for(peer->watch, (peer->inbox.len > MAX_BYTES ? 0 : LOOP_READ) |
			(waits && !peer->held ? LOOP_WRITE : 0));
	if (!waits || peer->held)
		loop_timer_clear(peer->stalled);
	else if (!loop_timer_is_set(peer->stalled))
		wait_for_reader(peer);
	if (peer->call || waits || peer->inbox.n_fds == 0)
		loop_timer_clear(peer->unended);
	else if (!loop_timer_is_set(peer->unended))
		loop_timer_set(peer->unended, peer->manager->config.slow_reader_ns);
}

static void on_ready(void *user, unsigned what)
{
	struct peer *peer = user;
	const char *why = NULL;
	bool fine = true;
	int r = send_out(peer);

	if (r < 0 && r != -EAGAIN) {
		peer_drop(peer, NULL);
		return;
	}
	if (r == 0 && peer->call && peer->call->drained)
		peer->call->drained(peer->call);
	if (what & LOOP_READ)
		fine = receive(peer, &why);
	if (fine)
		fine = serve_all(peer, &why);
	if (fine) {
		watch_on(peer);
		return;
	}
	peer->manager->stats.drops[STATS_NO_MESSAGE] += why != NULL;
	peer_drop(peer, why);
}

static void on_stalled(void *user)
{
	struct peer *peer = user;

	if (unread(peer) < peer->unread) {
		wait_for_reader(peer);
		return;
	}
	peer->manager->stats.drops[STATS_SLOW_READER]++;
	peer_drop(peer, "it does not read what it asked for");
}

static void on_unended(void *user)
{
	struct peer *peer = user;

	peer->manager->stats.drops[STATS_NO_MESSAGE]++;
	peer_drop(peer, "it sent descriptors, and not the rest of their message");
}

/* How many there may be. Return: NULL, or what there are too many of. */
static const char *too_many(struct manager *m, struct user *user, pid_t pid)
{
	const struct quota_held held = quota_count(m, user);
	const struct quota_ask asks[] = {
		{ STATS_USER_DESCRIPTORS, held.fds, QUOTA_PEER_FDS, m->config.user_descriptors },
		{ STATS_USER_MEMORY, held.memory_bytes, 1, m->config.user_memory_bytes },
	};
	char text[QUOTA_TEXT];

	if (m->ending)
		return "umemd is ending";
	if (m->n_peers >= m->config.connections) {
		stats_quota(&m->stats, "Connections");
		return "too many connections (Quota Connections)";
	}
	if (user->n_peers >= m->config.user_connections) {
		stats_quota(&m->stats, "UserConnections");
		return "too many connections of this user (Quota UserConnections)";
	}
	if (quota_refuses(m, user, (int)pid, &asks[0], text))
		return "too many descriptors of this user (Quota UserDescriptors)";
	if (quota_refuses(m, user, (int)pid, &asks[1], text))
		return "too much memory of this user (Quota UserMemory)";
	return NULL;
}

static int start(struct peer *peer)
{
	struct manager *m = peer->manager;
	socklen_t len = sizeof(peer->pidfd);
	int r = loop_watch_new(m->loop, peer->sock, on_ready, peer, &peer->watch);

	if (r == 0)
		r = loop_timer_new(m->loop, on_stalled, peer, &peer->stalled);
	if (r == 0)
		r = loop_timer_new(m->loop, on_unended, peer, &peer->unended);
	if (r == 0)
		r = loop_timer_new(m->loop, on_turn, peer, &peer->turn);
	if (r < 0)
		return r;
	if (getsockopt(peer->sock, SOL_SOCKET, SO_PEERPIDFD, &peer->pidfd, &len) < 0)
		peer->pidfd = -1;
	loop_watch_for(peer->watch, LOOP_READ);
	return 0;
}

void peer_new(struct manager *m, int sock)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	const char *why;

	if (!peer) {
		umem_fd_close(sock);
		return;
	}
	*peer = (struct peer){
		.manager = m,
		.pidfd = -1,
		.sock = sock,
		.inbox = { .max_bytes = MAX_BYTES },
	};
	if (auth_peer(sock, (gid_t)m->config.admin_gid, &peer->who) < 0 ||
		!(peer->user = manager_user(m, peer->who.uid))) {
		umem_fd_close(sock);
		free(peer);
		return;
	}
	why = too_many(m, peer->user, peer->who.pid);
	m->stats.connections++;
	m->stats.drops[STATS_TOO_MANY] += why != NULL;
	m->n_peers++;
	peer->user->n_peers++;
	LIST_INSERT_HEAD(&m->peers, peer, entry);
	if (why || start(peer) < 0)
		peer_drop(peer, why ? why : "out of memory");
}
