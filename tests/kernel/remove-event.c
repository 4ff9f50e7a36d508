// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * EVENT_REMOVE together with WP_ASYNC: it tells of the discards that leave a
 * mark and are not WRITTEN (huge pages, private copies of file pages, shared
 * memory by MADV_REMOVE), at the price of a program that waits for the reader.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

struct discard {
	char *at;
	size_t len;
	int advice;
};

static void *discard(void *arg)
{
	struct discard *d = arg;

	T_SYS(madvise(d->at, d->len, d->advice));
	return NULL;
}

/* Discard in a thread; the message must name the range while the content is there. */
static void expect(int uffd, char *at, size_t len, int advice, const char *what)
{
	struct discard d = { at, len, advice };
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg = { 0 };
	char before = at[0];
	pthread_t thread;

	T_CHECK(poll(&poll_fd, 1, 0) == 0); /* control: nothing is waiting */
	T_OK(pthread_create(&thread, NULL, discard, &d));
	T_CHECK(poll(&poll_fd, 1, 5000) == 1, "(%s: no message)", what);
	T_CHECK(at[0] == before && before != 0);
	T_CHECK(read(uffd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg));
	pthread_join(thread, NULL);
	T_CHECK(msg.event == UFFD_EVENT_REMOVE, "%u", msg.event);
	T_CHECK(msg.arg.remove.start == (uintptr_t)at);
	T_CHECK(msg.arg.remove.end == (uintptr_t)at + len);
	k_fact("%s: told", what);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK | UFFD_FEATURE_EVENT_REMOVE), pm = k_pagemap();
	int fd = k_memfd(8 * K_PAGE);
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	char *at = k_map(8 * K_PAGE, MAP_PRIVATE, fd);

	/* Stores need no reader: the mode is still asynchronous. */
	k_touch(at, 8 * K_PAGE, 1);
	T_OK(k_register(uffd, at, 8 * K_PAGE));
	T_CHECK(k_collect(pm, at, 8 * K_PAGE) == 8);
	at[K_PAGE] = 2;
	T_CHECK(k_collect(pm, at, 8 * K_PAGE) == 1);
	expect(uffd, at + 2 * K_PAGE, 2 * K_PAGE, MADV_DONTNEED, "private copy, MADV_DONTNEED");
	T_CHECK(k_written(pm, at, 8 * K_PAGE) == 0);
	T_CHECK(at[2 * K_PAGE] == 0);

	at = k_map(8 * K_PAGE, MAP_SHARED, fd);
	k_touch(at, 8 * K_PAGE, 1);
	T_OK(k_register(uffd, at, 8 * K_PAGE));
	k_collect(pm, at, 8 * K_PAGE);
	expect(uffd, at + 2 * K_PAGE, 2 * K_PAGE, MADV_REMOVE, "memfd, MADV_REMOVE");
	T_CHECK(k_written(pm, at, 8 * K_PAGE) == 0);
	/* A punch through the descriptor tells nobody, and does not wait. */
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * K_PAGE, K_PAGE));
	T_CHECK(poll(&poll_fd, 1, 0) == 0);
	T_CHECK(at[4 * K_PAGE] == 0);

	k_hugepages(2);
	at = k_map(2 * K_HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	k_touch(at, 2 * K_HUGE, 1);
	T_OK(k_register(uffd, at, 2 * K_HUGE));
	k_collect(pm, at, 2 * K_HUGE);
	expect(uffd, at + K_HUGE, K_HUGE, MADV_DONTNEED, "huge page, MADV_DONTNEED");
	T_CHECK(k_written(pm, at, 2 * K_HUGE) == 0);
	T_CHECK(at[K_HUGE] == 0);
	return 0;
}
