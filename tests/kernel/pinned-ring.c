// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An io_uring whose rings lie in the program's own memory
 * (IORING_SETUP_NO_MMAP, Linux 6.5): the kernel completes into it without a
 * fault: not seen, and listed nowhere.
 */
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1u << 14)
#endif

#define N 8

static void submit_nop(int fd, char *ring, char *sqes, const struct io_uring_params *p)
{
	volatile uint32_t *tail = (void *)(ring + p->sq_off.tail);
	uint32_t *array = (void *)(ring + p->sq_off.array);
	struct io_uring_sqe *sqe = (void *)sqes;
	uint32_t mask = *(uint32_t *)(void *)(ring + p->sq_off.ring_mask);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	array[*tail & mask] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	(void)fd;
}

static void print_bufs(int fd)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "UserBufs", 8))
			printf("| %s", line);
	}
	fclose(file);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap(), fd;
	char *at = k_anon(N * K_PAGE), *ring = at + 2 * K_PAGE, *sqes = at + 4 * K_PAGE;
	struct io_uring_params params = { .flags = IORING_SETUP_NO_MMAP };
	uint64_t pinned = k_status_kb("VmPin");
	uint32_t before;

	k_touch(at, N * K_PAGE, 0);
	/* Where the kernel of 6.5 looks for the addresses of rings and entries. */
	memcpy((char *)&params.cq_off + sizeof(params.cq_off) - 8, &ring, 8);
	memcpy((char *)&params.sq_off + sizeof(params.sq_off) - 8, &sqes, 8);
	fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0)
		T_SKIP("no io_uring with rings in own memory: %s", strerror(errno));
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);

	submit_nop(fd, ring, sqes, &params);
	T_CHECK(k_bits(pm, ring) & PAGE_IS_WRITTEN); /* control: our own stores are */
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	before = *(volatile uint32_t *)(void *)(ring + params.cq_off.tail);
	T_CHECK(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	T_CHECK(*(volatile uint32_t *)(void *)(ring + params.cq_off.tail) == before + 1);
	k_fact("a completion into own memory: %zu WRITTEN; VmPin +%llu kB",
		k_written(pm, at, N * K_PAGE),
		(unsigned long long)(k_status_kb("VmPin") - pinned));
	print_bufs(fd);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	return 0;
}
