// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Messages on a stream socket, with descriptors.
 *
 * Theory of operation
 *
 * The kernel hands out descriptors with the first byte that is read of the
 * sendmsg(2) they were sent by, and ends the read behind these bytes (or
 * earlier, where the buffer ends). What the read returned before may be of older
 * messages:
 *
 *     sent     [ A \0 ] [ B . . . \0 +fd ]        read     [ A \0 B . . . \0 ] +fd
 *                                                                         ^ at
 *
 * So descriptors belong to the message that holds the last byte of the read
 * they came by. That byte lies in the right message as long as nothing else
 * follows it in the same sendmsg(2), which is what senders are asked for, and what
 * the outbox does.
 *
 * A message that has no end within @max_bytes ends the connection: there is
 * no way to find the next one.
 */
#include "lib/proto/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <umemd/types.h>

#include "lib/base/fd.h"

#define READ_BYTES 16384u

void umem_frame_deinit(struct umem_frame *frame)
{
	free(frame->text);
	for (size_t i = 0; i < frame->n_fds; i++)
		umem_fd_close(frame->fds[i]);
	*frame = (struct umem_frame){ 0 };
}

int umem_frame_take_fd(struct umem_frame *frame, int64_t index)
{
	return index >= 0 && (uint64_t)index < frame->n_fds ? umem_fd_take(&frame->fds[index]) : -1;
}

void umem_inbox_deinit(struct umem_inbox *inbox)
{
	free(inbox->buf);
	for (size_t i = 0; i < inbox->n_fds; i++)
		umem_fd_close(inbox->fds[i].fd);
	*inbox = (struct umem_inbox){ .max_bytes = inbox->max_bytes };
}

static int close_all(const int *fds, size_t n_fds, int r)
{
	for (size_t i = 0; i < n_fds; i++)
		umem_fd_close(fds[i]);
	return r;
}

/* Room for @more bytes behind what is there. */
static int make_room(struct umem_inbox *inbox, size_t more)
{
	size_t room = inbox->room ? inbox->room : READ_BYTES;
	char *buf;

	while (room - inbox->len < more)
		room *= 2;
	if (room == inbox->room)
		return 0;
	buf = realloc(inbox->buf, room);
	if (!buf)
		return -ENOMEM;
	inbox->buf = buf;
	inbox->room = room;
	return 0;
}

/* @len_bytes more bytes are in the buffer, and these descriptors came with them. */
static int arrived(struct umem_inbox *inbox, size_t len_bytes, const int *fds, size_t n_fds)
{
	const char *end;

	inbox->len += len_bytes;
	/* There is room for those of one read, so that none has to be closed here. */
	for (size_t i = 0; i < n_fds; i++)
		inbox->fds[inbox->n_fds++] = (struct umem_inbox_fd){
			.at = inbox->position + inbox->len - 1,
			.fd = fds[i],
		};
	if (inbox->n_fds > UMEM_INBOX_FDS)
		return -EPROTO;
	end = memchr(inbox->buf + inbox->scanned, '\0', inbox->len - inbox->scanned);
	inbox->scanned = end ? (size_t)(end - inbox->buf) : inbox->len;
	return inbox->scanned > inbox->max_bytes ? -EMSGSIZE : 0;
}

int umem_inbox_push(struct umem_inbox *inbox, const char *bytes, size_t len_bytes,
	const int *fds, size_t n_fds)
{
	int r = len_bytes ? make_room(inbox, len_bytes) : 0;

	if (r < 0 || len_bytes == 0)
		return close_all(fds, n_fds, r);
	memcpy(inbox->buf + inbox->len, bytes, len_bytes);
	return arrived(inbox, len_bytes, fds, n_fds);
}

/* The descriptors of a message that was received. Return: how many. */
static size_t collect_fds(struct msghdr *msg, int *fds, size_t max)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < max)
				fds[n++] = fd;
			else
				umem_fd_close(fd);
		}
	}
	return n;
}

int umem_inbox_receive(struct umem_inbox *inbox, int sock)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * UMEM_FRAME_FDS)];
	} control;
	int fds[UMEM_FRAME_FDS], r = make_room(inbox, READ_BYTES);
	struct iovec iov = { inbox->buf + inbox->len, READ_BYTES };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	size_t n_fds;
	ssize_t n;

	if (r < 0)
		return r;
	iov.iov_base = inbox->buf + inbox->len;
	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	n_fds = collect_fds(&msg, fds, UMEM_ARRAY_LEN(fds));
	if (n == 0)
		return close_all(fds, n_fds, -EPIPE);
	r = arrived(inbox, (size_t)n, fds, n_fds);
	/* Some did not fit, and the kernel closed them: whose is not known. */
	return msg.msg_flags & MSG_CTRUNC ? -EPROTO : r;
}

int umem_inbox_take_fd(struct umem_inbox *inbox)
{
	return inbox->n_fds ? inbox->fds[--inbox->n_fds].fd : -1;
}

int umem_inbox_next(struct umem_inbox *inbox, struct umem_frame *ret_frame)
{
	struct umem_frame frame = { .len_bytes = inbox->scanned };
	size_t whole = inbox->scanned + 1, kept = 0, claimed = 0;
	const char *end;

	if (inbox->scanned > inbox->max_bytes)
		return -EMSGSIZE;
	if (inbox->scanned == inbox->len)
		return UMEM_AGAIN;
	for (size_t i = 0; i < inbox->n_fds; i++)
		claimed += inbox->fds[i].at < inbox->position + whole;
	if (claimed > UMEM_FRAME_FDS)
		return -EPROTO;
	frame.text = malloc(whole);
	if (!frame.text)
		return -ENOMEM;
	memcpy(frame.text, inbox->buf, whole);
	for (size_t i = 0; i < inbox->n_fds; i++) {
		if (inbox->fds[i].at < inbox->position + whole)
			frame.fds[frame.n_fds++] = inbox->fds[i].fd;
		else
			inbox->fds[kept++] = inbox->fds[i];
	}
	inbox->n_fds = kept;
	inbox->len -= whole;
	inbox->position += whole;
	memmove(inbox->buf, inbox->buf + whole, inbox->len);
	end = memchr(inbox->buf, '\0', inbox->len);
	inbox->scanned = end ? (size_t)(end - inbox->buf) : inbox->len;
	*ret_frame = frame;
	return 0;
}

static void drop_first(struct umem_outbox *outbox)
{
	struct umem_outbox_item *item = outbox->first;

	outbox->first = item->next;
	if (!outbox->first)
		outbox->last = NULL;
	outbox->bytes -= item->len_bytes + 1 - outbox->sent;
	outbox->sent = 0;
	outbox->n--;
	close_all(item->fds, item->n_fds, 0);
	free(item->text);
	free(item);
}

void umem_outbox_deinit(struct umem_outbox *outbox)
{
	while (outbox->first)
		drop_first(outbox);
}

int umem_outbox_add_consume(struct umem_outbox *outbox, char *text, size_t len_bytes,
	const int *fds, size_t n_fds)
{
	struct umem_outbox_item *item = calloc(1, sizeof(*item));

	if (!item) {
		free(text);
		return close_all(fds, n_fds, -ENOMEM);
	}
	item->text = text;
	item->len_bytes = len_bytes;
	item->n_fds = n_fds;
	for (size_t i = 0; i < n_fds; i++)
		item->fds[i] = fds[i];
	if (outbox->last)
		outbox->last->next = item;
	else
		outbox->first = item;
	outbox->last = item;
	outbox->bytes += len_bytes + 1;
	outbox->n++;
	return 0;
}

/* Send of the first message what the socket takes. */
static int send_first(struct umem_outbox *outbox, int sock)
{
	struct umem_outbox_item *item = outbox->first;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * UMEM_FRAME_FDS)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { item->text + outbox->sent, item->len_bytes + 1 - outbox->sent };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (item->n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * item->n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * item->n_fds);
		memcpy(CMSG_DATA(c), item->fds, sizeof(int) * item->n_fds);
	}
	do
		n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	close_all(item->fds, item->n_fds, 0);
	item->n_fds = 0;
	outbox->sent += (size_t)n;
	outbox->bytes -= (size_t)n;
	return 0;
}

int umem_outbox_send(struct umem_outbox *outbox, int sock)
{
	while (outbox->first) {
		int r = send_first(outbox, sock);

		if (r < 0)
			return r;
		if (outbox->sent == outbox->first->len_bytes + 1)
			drop_first(outbox);
	}
	return 0;
}
