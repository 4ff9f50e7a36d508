/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages on a stream socket: bytes that end in a NUL, with descriptors.
 *
 * struct umem_inbox takes what comes from a socket apart, struct umem_outbox
 * keeps what a socket does not take yet. Neither blocks. What is past a limit
 * is refused before memory is taken for it, and the connection is of no more
 * use then. One owner, no locks.
 *
 * Descriptors belong to the message in whose bytes they were sent; a message
 * with descriptors is sent in a sendmsg(2) of its own.
 */
#ifndef UMEM_PROTO_FRAME_H
#define UMEM_PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/attr.h"

/** UMEM_FRAME_FDS - descriptors of one message, at most. */
#define UMEM_FRAME_FDS 16

/**
 * struct umem_frame - a message.
 * @text: its bytes, with a NUL behind.
 * @len_bytes: without the NUL.
 * @fds, @n_fds: its descriptors; -1 where one was taken.
 */
struct umem_frame {
	char *text;
	size_t len_bytes;
	int fds[UMEM_FRAME_FDS];
	size_t n_fds;
};

/** umem_frame_deinit - free the text, close the descriptors, make it empty. */
void umem_frame_deinit(struct umem_frame *frame);

/** umem_frame_take_fd - hand descriptor @index over. Return: it, or -1 when there is none. */
int umem_frame_take_fd(struct umem_frame *frame, int64_t index);

/** UMEM_INBOX_FDS - descriptors that may wait for the ends of their messages. */
#define UMEM_INBOX_FDS (2 * UMEM_FRAME_FDS)

/** struct umem_inbox_fd - a descriptor, and the position in the stream of the byte it came by. */
struct umem_inbox_fd {
	uint64_t at;
	int fd;
};

/**
 * struct umem_inbox - what came in; all zero but @max_bytes is empty.
 * @max_bytes: of one message.
 * @buf, @len, @room: bytes that were not taken yet.
 * @scanned: of these, the ones that hold no NUL.
 * @position: of the first of them in the stream.
 * @fds, @n_fds: descriptors that were not taken yet; of one read more than may wait.
 */
struct umem_inbox {
	size_t max_bytes;
	char *buf;
	size_t len;
	size_t room;
	size_t scanned;
	uint64_t position;
	struct umem_inbox_fd fds[UMEM_INBOX_FDS + UMEM_FRAME_FDS];
	size_t n_fds;
};

/** umem_inbox_deinit - free and close everything. */
void umem_inbox_deinit(struct umem_inbox *inbox);

/**
 * umem_inbox_receive - read once from a socket.
 *
 * Return: 0; -EAGAIN: there is nothing; -EPIPE: the end of the stream;
 * -EMSGSIZE: a message past the limit; -EPROTO: too many descriptors; -ENOMEM; -errno of
 * recvmsg(2).
 */
int umem_inbox_receive(struct umem_inbox *inbox, int sock);

/**
 * umem_inbox_push - the same with bytes that are here already.
 * @fds, @n_fds: came with them, at most UMEM_FRAME_FDS; owned by the inbox, also on failure.
 * Return: 0, -EMSGSIZE, -EPROTO, -ENOMEM.
 */
int umem_inbox_push(struct umem_inbox *inbox, const char *bytes, size_t len_bytes,
	const int *fds, size_t n_fds);

/**
 * umem_inbox_take_fd - take a descriptor that waits, of an inbox that is given up: closing
 * what others sent may take long. Return: it, or -1.
 */
int umem_inbox_take_fd(struct umem_inbox *inbox);

/**
 * umem_inbox_next - take the next whole message.
 * @ret_frame: owned by the caller.
 *
 * Return: 0; UMEM_AGAIN: none is whole yet; -EMSGSIZE, -EPROTO, -ENOMEM.
 */
int umem_inbox_next(struct umem_inbox *inbox, struct umem_frame *ret_frame);

/** struct umem_outbox_item - a message on its way: its bytes, and descriptors until they went. */
struct umem_outbox_item {
	char *text;
	size_t len_bytes;
	int fds[UMEM_FRAME_FDS];
	size_t n_fds;
	struct umem_outbox_item *next;
};

/**
 * struct umem_outbox - what is to go out, in order; all zero is empty.
 * @first, @last: the messages.
 * @sent: bytes of @first that went.
 * @bytes: that wait, altogether.
 * @n: messages that wait.
 */
struct umem_outbox {
	struct umem_outbox_item *first;
	struct umem_outbox_item *last;
	size_t sent;
	size_t bytes;
	size_t n;
};

/** umem_outbox_deinit - free and close everything. */
void umem_outbox_deinit(struct umem_outbox *outbox);

/**
 * umem_outbox_add_consume - put a message behind the others.
 * @text: of malloc(3), without a NUL in it, and one behind its @len_bytes bytes; consumed.
 * @fds, @n_fds: sent with its first byte and closed then; consumed. At most UMEM_FRAME_FDS.
 * Return: 0 or -ENOMEM.
 */
int umem_outbox_add_consume(struct umem_outbox *outbox, char *text, size_t len_bytes,
	const int *fds, size_t n_fds);

/**
 * umem_outbox_send - send as much as the socket takes.
 * Return: 0: all went; -EAGAIN: some is left; -EPIPE and other -errno of sendmsg(2).
 */
int umem_outbox_send(struct umem_outbox *outbox, int sock);

static inline bool umem_outbox_empty(const struct umem_outbox *outbox)
{
	return !outbox->first;
}

#endif
