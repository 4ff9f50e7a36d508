// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A registered io_uring buffer is written without a fault: not seen. VmPin
 * counts it and the ring's fdinfo lists it (a sample of the text is kept in
 * tests/golden/fdinfo-io_uring.txt), unless the ring is busy just then.
 */
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

static void print_fdinfo(int ring_fd, char *at, size_t len)
{
	char path[64], line[256], want[64];
	bool listed = false, in_bufs = false;
	FILE *file;

	snprintf(want, sizeof(want), "%#llx/%lu", (unsigned long long)(uintptr_t)at, len);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", ring_fd);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		printf("| %s", line);
		in_bufs |= strncmp(line, "UserBufs:", 9) == 0;
		listed |= in_bufs && strstr(line, want) != NULL;
	}
	fclose(file);
	T_CHECK(in_bufs, "no UserBufs line");
	T_CHECK(listed, "no line with %s", want);
}

static void read_fixed(struct io_uring *ring, int fd, char *to)
{
	struct io_uring_cqe *cqe = NULL;

	io_uring_prep_read_fixed(io_uring_get_sqe(ring), fd, to, K_PAGE, 0, 0);
	T_CHECK(io_uring_submit(ring) == 1);
	T_OK(io_uring_wait_cqe(ring, &cqe));
	T_CHECK(cqe->res == (int)K_PAGE, "%d", cqe->res);
	io_uring_cqe_seen(ring, cqe);
}

static void run(int uffd, int pm, char *at, int fd, const char *what)
{
	struct iovec iov[2] = { { at + 4 * K_PAGE, 4 * K_PAGE }, { at + 10 * K_PAGE + 100, 200 } };
	uint64_t pinned = k_status_kb("VmPin");
	struct io_uring ring;
	int err = io_uring_queue_init(4, &ring, 0);

	if (err)
		T_SKIP("no io_uring: %s", strerror(-err));
	k_touch(at, N * K_PAGE, 1);
	T_OK(io_uring_register_buffers(&ring, iov, 2));
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);

	read_fixed(&ring, fd, at + 5 * K_PAGE);
	T_CHECK((uint8_t)at[5 * K_PAGE] == t_pattern(3, 0, 3)); /* it did arrive */
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);	    /* unseen */
	/* Control: the program's own store to a pinned page is seen. */
	at[6 * K_PAGE] = 2;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	k_fact("%s: VmPin +%llu kB for buffers in 5 pages", what,
		(unsigned long long)(k_status_kb("VmPin") - pinned));
	T_CHECK(k_status_kb("VmPin") - pinned == 5 * 4);
	print_fdinfo(ring.ring_fd, at + 4 * K_PAGE, 4 * K_PAGE);

	T_OK(io_uring_unregister_buffers(&ring));
	/* Registered after arming: pinning for writing faults, all of it is written once. */
	k_collect(pm, at, N * K_PAGE);
	T_OK(io_uring_register_buffers(&ring, iov, 1));
	k_fact("%s: registering a buffer over 4 armed pages: %zu WRITTEN", what,
		k_collect(pm, at, N * K_PAGE));
	read_fixed(&ring, fd, at + 4 * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	io_uring_queue_exit(&ring);
	/* The pins are dropped when the ring is really gone, a little later. */
	T_UNTIL(5, k_status_kb("VmPin") == pinned);
}

/* VmPin in kB that registering @n buffers adds. */
static uint64_t cost_kb(const struct iovec *iov, unsigned n)
{
	uint64_t before = k_status_kb("VmPin"), with;
	struct io_uring ring;

	T_OK(io_uring_queue_init(4, &ring, 0));
	T_OK(io_uring_register_buffers(&ring, iov, n));
	with = k_status_kb("VmPin") - before;
	io_uring_queue_exit(&ring);
	T_UNTIL(5, k_status_kb("VmPin") == before);
	return with;
}

/*
 * What VmPin counts is not what the list explains: a page of a huge page
 * counts as the whole of it, once a ring; a small page counts for each buffer.
 */
static void accounting(char *small, char *huge)
{
	const struct iovec one = { small, K_PAGE };
	const struct iovec twice[2] = { { small, 100 }, { small + 200, 100 } };
	const struct iovec part = { huge + 7 * K_PAGE, K_PAGE };
	const struct iovec parts[2] = { { huge, K_PAGE }, { huge + 9 * K_PAGE, K_PAGE } };
	int pm = k_pagemap();

	k_touch(small, K_PAGE, 1);
	k_touch(huge, K_HUGE, 1);
	T_CHECK(cost_kb(&one, 1) == 4);
	k_fact("VmPin: two buffers in one 4 KiB page: %llu kB",
		(unsigned long long)cost_kb(twice, 2));
	if (!(k_bits(pm, huge) & PAGE_IS_HUGE)) {
		printf("no huge page was given: that part is left out\n");
		return;
	}
	k_fact("VmPin: 4 KiB of a huge page: %llu kB; two times 4 KiB of it: %llu kB",
		(unsigned long long)cost_kb(&part, 1), (unsigned long long)cost_kb(parts, 2));
	T_CHECK(cost_kb(&part, 1) >= 4);
	T_CHECK(k_bits(pm, huge) & PAGE_IS_HUGE);
	close(pm);
}

static atomic_bool stop;

static void *keep_busy(void *arg)
{
	struct io_uring *ring = arg;

	while (!stop) {
		struct io_uring_cqe *cqe = NULL;

		for (int i = 0; i < 256; i++)
			io_uring_prep_nop(io_uring_get_sqe(ring));
		io_uring_submit_and_wait(ring, 256);
		while (io_uring_peek_cqe(ring, &cqe) == 0)
			io_uring_cqe_seen(ring, cqe);
	}
	return NULL;
}

static bool lists_buffers(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256];
	bool yes = false;

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		yes |= strncmp(line, "UserBufs:", 9) == 0;
	fclose(file);
	return yes;
}

/*
 * The kernel only tries the ring's lock: a ring in use shows no list at all.
 * An empty table and an empty slot are told by their own words.
 */
static void busy_ring(char *at)
{
	struct iovec iov = { at, K_PAGE };
	struct io_uring ring;
	pthread_t thread;
	char path[64];
	int missing = 0;

	T_OK(io_uring_queue_init(256, &ring, 0));
	T_CHECK(io_uring_register_buffers_sparse(&ring, 2) == 0);
	T_CHECK(io_uring_register_buffers_update_tag(&ring, 1, &iov, NULL, 1) == 1);
	print_fdinfo(ring.ring_fd, at, K_PAGE);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", ring.ring_fd);
	T_OK(pthread_create(&thread, NULL, keep_busy, &ring));
	for (int i = 0; i < 2000; i++)
		missing += !lists_buffers(path);
	stop = true;
	pthread_join(thread, NULL);
	k_fact("a busy ring: %d of 2000 reads of its fdinfo had no UserBufs line", missing);
	T_CHECK(lists_buffers(path)); /* idle again */
	io_uring_queue_exit(&ring);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap(), fd = k_memfd(K_PAGE);
	char page[K_PAGE];

	t_fill_page(page, 3, 3);
	T_CHECK(pwrite(fd, page, K_PAGE, 0) == (ssize_t)K_PAGE);
	run(uffd, pm, k_anon(N * K_PAGE), fd, "anonymous");
	run(uffd, pm, k_map(N * K_PAGE, MAP_SHARED, k_memfd(N * K_PAGE)), fd, "memfd");
	accounting(k_anon(K_PAGE), k_anon_huge(K_HUGE));
	busy_ring(k_anon(K_PAGE));
	return 0;
}
