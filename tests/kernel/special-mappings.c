// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which mappings cannot be watched: the kernel's own ([vdso], [vvar]), those
 * of a ring or a device, secret memory; and which can: heap, stack, .data.
 */
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static char data[2 * K_PAGE] = { 1 };

/* The mapping called @name. Return: false when there is none. */
static bool find(const char *name, uint64_t *ret_start, uint64_t *ret_end)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned long long start, end;
	char line[512];
	bool found = false;

	T_CHECK(file != NULL);
	while (!found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (strlen(line) > strlen(name) &&
			!strcmp(line + strlen(line) - strlen(name), name) &&
			sscanf(line, "%llx-%llx", &start, &end) == 2) {
			*ret_start = start;
			*ret_end = end;
			found = true;
		}
	}
	fclose(file);
	return found;
}

static int try_register(int uffd, uint64_t start, uint64_t end, const char *what)
{
	int err = umem_uffd_register(uffd, start, end, UFFDIO_REGISTER_MODE_WP);

	k_fact("%s: %s", what, err ? strerror(-err) : "registered");
	if (!err)
		T_OK(umem_uffd_unregister(uffd, start, end));
	return err;
}

static void named(int uffd, const char *name, bool want)
{
	uint64_t start, end;
	int err;

	if (!find(name, &start, &end)) {
		printf("no %s here\n", name);
		return;
	}
	err = try_register(uffd, start, end, name);
	T_CHECK(want ? err == 0 : err != 0, "(%s)", name);
}

static void ring(int uffd)
{
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	char *at;

	if (fd < 0) {
		printf("no io_uring here: %s\n", strerror(errno));
		return;
	}
	at = mmap(NULL, K_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		IORING_OFF_SQ_RING);
	T_CHECK(at != MAP_FAILED);
	T_CHECK(try_register(uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, "io_uring ring") != 0);
	munmap(at, K_PAGE);
	close(fd);
}

static void aio(int uffd)
{
	unsigned long context = 0;

	if (syscall(SYS_io_setup, 1, &context) < 0) {
		printf("no aio here: %s\n", strerror(errno));
		return;
	}
	T_CHECK(try_register(uffd, context, context + K_PAGE, "aio ring") != 0);
	syscall(SYS_io_destroy, context);
}

static void perf(int uffd)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_PAGE_FAULTS,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	char *at;

	if (fd < 0) {
		printf("no perf events here: %s\n", strerror(errno));
		return;
	}
	at = k_map(3 * K_PAGE, MAP_SHARED, fd);
	T_CHECK(try_register(uffd, (uintptr_t)at, (uintptr_t)at + 3 * K_PAGE, "perf ring") != 0);
	close(fd);
}

static void packet(int uffd)
{
	struct tpacket_req req = {
		.tp_block_size = K_PAGE,
		.tp_block_nr = 1,
		.tp_frame_size = 2048,
		.tp_frame_nr = 2,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	char *at;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) < 0) {
		printf("no packet ring here: %s\n", strerror(errno));
		return;
	}
	at = k_map(K_PAGE, MAP_SHARED, fd);
	T_CHECK(try_register(uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, "packet ring") != 0);
	close(fd);
}

static void secret(int uffd)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);
	char *at;

	if (fd < 0 || ftruncate(fd, K_PAGE) < 0) {
		printf("no memfd_secret here: %s\n", strerror(errno));
		return;
	}
	at = k_map(K_PAGE, MAP_SHARED, fd);
	try_register(uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, "memfd_secret");
	close(fd);
}

static void device(int uffd, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char *at;

	if (fd < 0)
		return;
	at = mmap(NULL, K_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (at != MAP_FAILED) {
		T_CHECK(try_register(uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, path) != 0);
		munmap(at, K_PAGE);
	}
	close(fd);
}

/* The scan passes such a mapping over, or fails when asked to make sure. */
static void scanned(int pm)
{
	struct page_region vec[8];
	uint64_t start, end;
	long n;

	if (!find("[vvar]", &start, &end))
		return;
	n = k_scan(pm, 0, (void *)start, end - start, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 8,
		NULL);
	k_fact("a scan of [vvar] for WRITTEN: %ld ranges", n);
	n = k_scan(pm, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, (void *)start, end - start,
		PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 8, NULL);
	T_CHECK(n == -EPERM, "%ld", n);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	uint64_t at = ((uintptr_t)data + K_PAGE - 1) & ~(K_PAGE - 1);

	free(malloc(100)); /* so that there is a heap */
	named(uffd, "[vdso]", false);
	named(uffd, "[vvar]", false);
	named(uffd, "[vvar_vclock]", false);
	ring(uffd);
	aio(uffd);
	perf(uffd);
	packet(uffd);
	secret(uffd);
	device(uffd, "/dev/mem");
	device(uffd, "/dev/hpet");
	/* Controls. */
	named(uffd, "[heap]", true);
	named(uffd, "[stack]", true);
	T_CHECK(try_register(uffd, at, at + K_PAGE, ".data") == 0);
	scanned(pm);
	return 0;
}
