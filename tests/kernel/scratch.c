// SPDX-License-Identifier: LGPL-2.1-or-later
/* Scratch memory, userfaultfds and scans for the kernel tests. */
#include "tests/kernel/scratch.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/fd.h"

int k_uffd(uint64_t features)
{
	int fd = -1, err;

	err = umem_uffd_open(0, &fd);
	if (err == -EPERM) /* enough for WP_ASYNC, which serves no fault */
		err = umem_uffd_open(UFFD_USER_MODE_ONLY, &fd);
	if (err)
		T_SKIP("no userfaultfd: %s", strerror(-err));
	err = umem_uffd_api(fd, features, NULL);
	if (err)
		T_SKIP("userfaultfd lacks a feature of %#llx: %s", (unsigned long long)features,
			strerror(-err));
	return fd;
}

int k_pagemap(void)
{
	struct page_region vec[1];
	long here = 0;
	long n;
	int fd = -1;

	T_OK(umem_pagemap_open(getpid(), &fd));
	n = k_scan(fd, 0, (void *)((uintptr_t)&here & ~(K_PAGE - 1)), K_PAGE, 0, 0, vec, 1, NULL);
	if (n == -ENOTTY)
		T_SKIP("no PAGEMAP_SCAN");
	T_CHECK(n >= 0);
	return fd;
}

char *k_map(size_t len, int flags, int fd)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	T_CHECK(at != MAP_FAILED, "errno %d", errno);
	return at;
}

char *k_anon(size_t len)
{
	char *at = k_map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(at, len, MADV_NOHUGEPAGE);
	return at;
}

char *k_anon_huge(size_t len)
{
	char *at = k_map(len + K_HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	at = (char *)umem_align_up((uintptr_t)at, K_HUGE);
	if (madvise(at, len, MADV_HUGEPAGE) < 0)
		T_SKIP("no transparent huge pages");
	return at;
}

char *k_map_huge(size_t len, int fd)
{
	char *at = k_map(len + K_HUGE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	at = (char *)umem_align_up((uintptr_t)at, K_HUGE);
	at = mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	T_CHECK(at != MAP_FAILED, "errno %d", errno);
	return at;
}

int k_memfd(size_t len)
{
	int fd = (int)T_SYS(memfd_create("scratch", MFD_CLOEXEC));

	T_SYS(ftruncate(fd, (off_t)len));
	return fd;
}

int k_file(size_t n_pages)
{
	char page[K_PAGE];
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		T_SKIP("no O_TMPFILE in /var/tmp: %s", strerror(errno));
	for (size_t i = 0; i < n_pages; i++) {
		t_fill_page(page, i, 0);
		T_OK(umem_write_all(fd, page, sizeof(page)));
	}
	return fd;
}

void k_touch(char *at, size_t len, char value)
{
	for (size_t i = 0; i < len; i += K_PAGE)
		*(volatile char *)(at + i) = value;
}

int k_register(int uffd, const void *at, size_t len)
{
	return umem_uffd_register(uffd, (uintptr_t)at, (uintptr_t)at + len,
		UFFDIO_REGISTER_MODE_WP);
}

long k_scan(int pm, uint64_t flags, const void *at, size_t len, uint64_t all, uint64_t wanted,
	struct page_region *vec, size_t n_vec, uint64_t *ret_walk_end)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.start = (uintptr_t)at,
		.end = (uintptr_t)at + len,
		.vec = (uintptr_t)vec,
		.vec_len = n_vec,
		.category_mask = all,
		.return_mask = wanted,
	};
	int n = ioctl(pm, PAGEMAP_SCAN, &arg);

	if (n < 0)
		return -errno;
	if (ret_walk_end)
		*ret_walk_end = arg.walk_end;
	return n;
}

static size_t scan_pages(int pm, uint64_t flags, const void *at, size_t len, uint64_t all,
	uint64_t wanted)
{
	uint64_t pos = (uintptr_t)at, end = pos + len, next = 0;
	struct page_region vec[32];
	size_t n_pages = 0;

	while (pos < end) {
		long n = k_scan(pm, flags, (void *)pos, end - pos, all, wanted, vec, 32, &next);

		T_CHECK(n >= 0, "scan: %ld", n);
		T_CHECK(next > pos, "scan stands still at %llx", (unsigned long long)pos);
		for (long i = 0; i < n; i++)
			n_pages += (vec[i].end - vec[i].start) / K_PAGE;
		pos = next;
	}
	return n_pages;
}

size_t k_collect(int pm, const void *at, size_t len)
{
	return scan_pages(pm, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, at, len,
		PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
}

size_t k_written(int pm, const void *at, size_t len)
{
	return scan_pages(pm, 0, at, len, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
}

size_t k_count(int pm, const void *at, size_t len, uint64_t all)
{
	return scan_pages(pm, 0, at, len, all, all);
}

uint64_t k_bits(int pm, const void *at)
{
	struct page_region vec[1];
	uint64_t page = (uintptr_t)at & ~(K_PAGE - 1);
	long n = k_scan(pm, 0, (void *)page, K_PAGE, 0, 0x1ff, vec, 1, NULL);

	if (n == -EINVAL) /* a kernel that does not know PAGE_IS_GUARD */
		n = k_scan(pm, 0, (void *)page, K_PAGE, 0, 0xff, vec, 1, NULL);
	T_CHECK(n >= 0, "scan: %ld", n);
	return n ? vec[0].categories : 0;
}

uint64_t k_word(int pm, const void *at)
{
	uint64_t word = 0;
	size_t n = 0;

	T_OK(umem_pagemap_words(pm, (uintptr_t)at & ~(K_PAGE - 1), &word, 1, &n));
	T_CHECK(n == 1);
	return word;
}

void k_fact(const char *fmt, ...)
{
	va_list args;

	fputs("fact: ", stdout);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	puts("");
}
