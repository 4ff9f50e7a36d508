// SPDX-License-Identifier: LGPL-2.1-or-later
/* Messages on a socket: where they end, whose the descriptors are, what is refused. */
#include "lib/proto/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <umemd/types.h>

#include "lib/base/fd.h"

static int sock[2];

static int setup(void **state)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock);
}

static int teardown(void **state)
{
	umem_fd_close(sock[0]);
	umem_fd_close(sock[1]);
	return 0;
}

static unsigned n_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A descriptor that can be told from others: an empty file of @size bytes. */
static int marked(off_t size)
{
	int fd = memfd_create("frame", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(0, ftruncate(fd, size));
	return fd;
}

static off_t mark_of(int fd)
{
	struct stat st;

	assert_int_equal(0, fstat(fd, &st));
	return st.st_size;
}

static void add(struct umem_outbox *out, const char *text, const int *fds, size_t n)
{
	assert_int_equal(0, umem_outbox_add_consume(out, strdup(text), strlen(text), fds, n));
}

/* Everything that is there to read; the last answer. */
static int receive_all(struct umem_inbox *in)
{
	int r;

	do
		r = umem_inbox_receive(in, sock[1]);
	while (r == 0);
	return r;
}

static void next_is(struct umem_inbox *in, const char *text, off_t mark)
{
	struct umem_frame frame = { 0 };

	assert_int_equal(0, umem_inbox_next(in, &frame));
	assert_string_equal(text, frame.text);
	assert_int_equal(strlen(text), frame.len_bytes);
	assert_int_equal(mark ? 1 : 0, frame.n_fds);
	if (mark) {
		UMEM_FD int fd = umem_frame_take_fd(&frame, 0);

		assert_int_equal(mark, mark_of(fd));
		assert_int_equal(-1, umem_frame_take_fd(&frame, 0));
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	}
	assert_int_equal(-1, umem_frame_take_fd(&frame, 1));
	assert_int_equal(-1, umem_frame_take_fd(&frame, -1));
	umem_frame_deinit(&frame);
}

static void in_order(void **state)
{
	struct umem_outbox out = { 0 };
	struct umem_inbox in = { .max_bytes = 100 };
	struct umem_frame frame;
	unsigned before = n_open();

	/* Descriptors with the 2nd and 4th of five messages, read in one go. */
	add(&out, "one", NULL, 0);
	add(&out, "two", &(int){ marked(2) }, 1);
	add(&out, "", NULL, 0);
	add(&out, "four", &(int){ marked(4) }, 1);
	add(&out, "five", NULL, 0);
	assert_int_equal(5, out.n);
	assert_int_equal(4 + 4 + 1 + 5 + 5, out.bytes);
	assert_int_equal(0, umem_outbox_send(&out, sock[0]));
	assert_true(umem_outbox_empty(&out));
	assert_int_equal(0, out.bytes);
	assert_int_equal(-EAGAIN, receive_all(&in));
	next_is(&in, "one", 0);
	next_is(&in, "two", 2);
	next_is(&in, "", 0);
	next_is(&in, "four", 4);
	next_is(&in, "five", 0);
	assert_int_equal(UMEM_AGAIN, umem_inbox_next(&in, &frame));
	umem_inbox_deinit(&in);
	assert_int_equal(before, n_open());
}

/* A message that is larger than what the socket takes at once, with descriptors. */
static void large(void **state)
{
	const size_t len = 3u << 20;
	struct umem_outbox out = { 0 };
	struct umem_inbox in = { .max_bytes = len };
	struct umem_frame frame;
	char *text = malloc(len + 1);
	int r;

	memset(text, 'x', len);
	text[len] = '\0';
	assert_int_equal(0,
		umem_outbox_add_consume(&out, text, len, &(int){ marked(7) }, 1));
	add(&out, "behind", &(int){ marked(8) }, 1);
	do {
		r = umem_outbox_send(&out, sock[0]);
		assert_true(r == 0 || r == -EAGAIN);
		assert_int_equal(-EAGAIN, receive_all(&in));
	} while (r == -EAGAIN);
	assert_int_equal(0, umem_inbox_next(&in, &frame));
	assert_int_equal(len, frame.len_bytes);
	assert_int_equal(1, frame.n_fds);
	assert_int_equal(7, mark_of(frame.fds[0]));
	umem_frame_deinit(&frame);
	next_is(&in, "behind", 8);
	umem_inbox_deinit(&in);
}

static void too_long(void **state)
{
	struct umem_inbox in = { .max_bytes = 5 };
	struct umem_frame frame;

	assert_int_equal(0, umem_inbox_push(&in, "12345", 5, NULL, 0));
	assert_int_equal(0, umem_inbox_push(&in, "\0", 1, NULL, 0));
	next_is(&in, "12345", 0);
	assert_int_equal(-EMSGSIZE, umem_inbox_push(&in, "123456", 6, NULL, 0));
	umem_inbox_deinit(&in);
	assert_int_equal(-EMSGSIZE, umem_inbox_push(&in, "123456\0", 7, NULL, 0));
	umem_inbox_deinit(&in);
	/* The second of two that came together. */
	assert_int_equal(0, umem_inbox_push(&in, "1\000123456\0", 9, NULL, 0));
	next_is(&in, "1", 0);
	assert_int_equal(-EMSGSIZE, umem_inbox_next(&in, &frame));
	umem_inbox_deinit(&in);
}

static void too_many_fds(void **state)
{
	struct umem_inbox in = { .max_bytes = 100 };
	struct umem_frame frame;
	unsigned before = n_open();
	int fds[UMEM_FRAME_FDS];

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < UMEM_FRAME_FDS; i++)
			fds[i] = marked(1);
		/* Unread, so that they gather. */
		assert_int_equal(round < 2 ? 0 : -EPROTO,
			umem_inbox_push(&in, "x", 1, fds, UMEM_FRAME_FDS));
	}
	umem_inbox_deinit(&in);
	for (int round = 0; round < 2; round++) {
		fds[0] = marked(1);
		for (size_t i = 1; i < UMEM_FRAME_FDS; i++)
			fds[i] = marked(1);
		assert_int_equal(0, umem_inbox_push(&in, "y\0" + round, 1, fds, UMEM_FRAME_FDS));
	}
	assert_int_equal(-EPROTO, umem_inbox_next(&in, &frame));
	umem_inbox_deinit(&in);
	assert_int_equal(before, n_open());
}

/* More than the control buffer holds: the kernel closes some, so all are refused. */
static void cut_off(void **state)
{
	struct umem_inbox in = { .max_bytes = 100 };
	unsigned before = n_open();
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 40)];
	} control = { .bytes = { 0 } };
	char bytes[] = "{}";
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fds[40];

	for (size_t i = 0; i < 40; i++)
		fds[i] = 0;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	assert_int_equal(3, sendmsg(sock[0], &msg, 0));
	assert_int_equal(-EPROTO, umem_inbox_receive(&in, sock[1]));
	umem_inbox_deinit(&in);
	assert_int_equal(before, n_open());
}

static void the_end(void **state)
{
	struct umem_outbox out = { 0 };
	struct umem_inbox in = { .max_bytes = 100 };
	struct umem_frame frame;

	add(&out, "last", &(int){ marked(3) }, 1);
	assert_int_equal(0, umem_outbox_send(&out, sock[0]));
	sock[0] = umem_fd_close(sock[0]);
	assert_int_equal(-EPIPE, receive_all(&in));
	next_is(&in, "last", 3);
	assert_int_equal(UMEM_AGAIN, umem_inbox_next(&in, &frame));
	add(&out, "nobody", &(int){ marked(3) }, 1);
	sock[1] = umem_fd_close(sock[1]);
	assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	sock[1] = umem_fd_close(sock[1]);
	assert_int_equal(-EPIPE, umem_outbox_send(&out, sock[0]));
	umem_outbox_deinit(&out);
	umem_inbox_deinit(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(large, setup, teardown),
		cmocka_unit_test(too_long),
		cmocka_unit_test(too_many_fds),
		cmocka_unit_test_setup_teardown(cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
