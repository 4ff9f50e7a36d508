// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writes that the kernel does on a program's behalf fault like its own and are
 * seen: read(2), O_DIRECT reads, process_vm_writev, /proc/PID/mem, io_uring
 * reads without registered buffers. Also with a user-mode-only userfaultfd:
 * WP_ASYNC needs no handler, so nothing fails.
 */
#include <fcntl.h>
#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

static void expect(int pm, char *at, int page, const char *what)
{
	size_t n = k_written(pm, at, N * K_PAGE);
	bool there = k_bits(pm, at + page * K_PAGE) & PAGE_IS_WRITTEN;

	T_CHECK(n == 1 && there, "(%s: %zu pages, the right one: %d)", what, n, there);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	k_fact("%s: seen", what);
}

static void direct(int pm, char *at)
{
	char path[64];
	int file = k_file(N), fd;

	T_SYS(fsync(file));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0) {
		k_fact("no O_DIRECT here: %s", strerror(errno));
		close(file);
		return;
	}
	T_CHECK(pread(fd, at + 2 * K_PAGE, K_PAGE, 0) == (ssize_t)K_PAGE);
	expect(pm, at, 2, "O_DIRECT pread");
	close(fd);
	close(file);
}

static void ring_read(int pm, char *at, int fd)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe = NULL;
	int err = io_uring_queue_init(4, &ring, 0);

	if (err) {
		k_fact("no io_uring here: %s", strerror(-err));
		return;
	}
	io_uring_prep_read(io_uring_get_sqe(&ring), fd, at + 5 * K_PAGE, K_PAGE, 0);
	T_CHECK(io_uring_submit(&ring) == 1);
	T_OK(io_uring_wait_cqe(&ring, &cqe));
	T_CHECK(cqe->res == (int)K_PAGE);
	io_uring_queue_exit(&ring);
	expect(pm, at, 5, "io_uring READ");
}

static void writes(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE), page[K_PAGE];
	struct iovec from = { page, K_PAGE }, to = { at + 3 * K_PAGE, K_PAGE };
	int mem, fd = k_memfd(K_PAGE);

	t_fill_page(page, 1, 1);
	T_CHECK(pwrite(fd, page, K_PAGE, 0) == (ssize_t)K_PAGE);
	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);

	T_CHECK(pread(fd, at + K_PAGE, K_PAGE, 0) == (ssize_t)K_PAGE);
	expect(pm, at, 1, "read(2)");
	direct(pm, at);
	T_CHECK(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == (ssize_t)K_PAGE);
	expect(pm, at, 3, "process_vm_writev");
	mem = (int)T_SYS(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
	T_CHECK(pwrite(mem, page, K_PAGE, (off_t)(uintptr_t)(at + 4 * K_PAGE)) == (ssize_t)K_PAGE);
	expect(pm, at, 4, "/proc/PID/mem");
	ring_read(pm, at, fd);

	/* Control: the other direction reads and is not seen. */
	T_CHECK(pwrite(fd, at, K_PAGE, 0) == (ssize_t)K_PAGE);
	T_CHECK(process_vm_readv(getpid(), &from, 1, &to, 1, 0) == (ssize_t)K_PAGE);
	T_CHECK(pread(mem, page, K_PAGE, (off_t)(uintptr_t)at) == (ssize_t)K_PAGE);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	close(mem);
	close(fd);
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int pm = k_pagemap(), fd = -1;

	writes(k_uffd(K_TRACK), pm);
	T_OK(umem_uffd_open(UFFD_USER_MODE_ONLY, &fd));
	T_OK(umem_uffd_api(fd, K_TRACK, NULL));
	printf("user mode only:\n");
	writes(fd, pm);
	return 0;
}
