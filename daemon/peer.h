/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection: who is at its other end, what it sent, what it has not read yet. It
 * has one call served at a time.
 */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

#include <sys/queue.h>

#include "daemon/auth.h"
#include "daemon/call.h"
#include "daemon/loop.h"
#include "lib/proto/frame.h"

/**
 * struct peer - a connection.
 * @manager: whose.
 * @user: of it.
 * @who: credentials of when it connected.
 * @pidfd: of its process, or -1 where the kernel does not tell.
 * @call: that is being served, or NULL.
 * @sock, @watch, @stalled, @inbox, @outbox: its socket, and when it counts as slow.
 * @unended: when a message with descriptors has to be whole.
 * @held: replies wait for their turn by the quota of its user. @turn: when that is.
 * @unread: what it had not read when @stalled was set.
 */
struct peer {
	struct manager *manager;
	struct user *user;
	struct auth_who who;
	int pidfd;
	struct call *call;
	int sock;
	struct loop_watch *watch;
	struct loop_timer *stalled;
	struct loop_timer *unended;
	struct loop_timer *turn;
	bool held;
	int unread;
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	LIST_ENTRY(peer) entry;
};

/** peer_new - serve a new connection; @sock is consumed. One too many is closed. */
void peer_new(struct manager *manager, int sock);

/** peer_hung_up - has the other side ended it, whether that was noticed or not? */
bool peer_hung_up(const struct peer *peer);

/** peer_drop - end a connection; @why goes to the log, NULL for nothing. */
void peer_drop(struct peer *peer, const char *why);

#endif
