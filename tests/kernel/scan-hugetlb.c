// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * hugetlb: armed and reported by whole huge pages; no progress when there is
 * no room for one; what unpopulated and discarded pages look like.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N     4
#define SMALL (K_HUGE / K_PAGE)
#define LEN   (N * K_HUGE)

static long arm_with(int pm, char *at, size_t len, uint64_t max_pages, uint64_t *ret_walk_end)
{
	struct page_region vec[2];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)at,
		.end = (uintptr_t)at + len,
		.vec = (uintptr_t)vec,
		.vec_len = 2,
		.max_pages = max_pages,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int n = ioctl(pm, PAGEMAP_SCAN, &arg);

	*ret_walk_end = arg.walk_end;
	return n < 0 ? -errno : n;
}

/* A full vector stops before the huge page that does not fit, and loses nothing. */
static void full_vector(int pm, char *at)
{
	struct page_region vec[1];
	uint64_t walk_end = 0;
	size_t before;
	long n;

	k_collect(pm, at, LEN);
	at[0] = 1;
	at[2 * K_HUGE] = 1;
	before = k_written(pm, at, LEN);
	n = k_scan(pm, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, at, LEN, PAGE_IS_WRITTEN,
		PAGE_IS_WRITTEN, vec, 1, &walk_end);
	T_CHECK(before == 2 * SMALL && n == 1);
	k_fact("a vector of one: walk_end moved %llu pages",
		(unsigned long long)(walk_end - (uintptr_t)at) / K_PAGE);
	T_CHECK(walk_end <= (uintptr_t)at + 2 * K_HUGE);
	T_CHECK(k_bits(pm, at + 2 * K_HUGE) & PAGE_IS_WRITTEN);
	T_CHECK(k_collect(pm, at, LEN) == SMALL);
	k_touch(at, LEN, 1);
	T_CHECK(k_collect(pm, at, K_HUGE) == SMALL);
}

static void arm_and_write(int uffd, int pm, char *at)
{
	uint64_t walk_end = 0;
	long n;

	k_touch(at, LEN, 1);
	T_OK(k_register(uffd, at, LEN));
	T_CHECK(k_written(pm, at, LEN) == N * SMALL);

	/*
	 * max_pages without room for a huge page: it is backed out, neither
	 * reported nor armed, and the walk goes on over the others in silence.
	 */
	n = arm_with(pm, at, LEN, SMALL - 1, &walk_end);
	k_fact("max_pages of one less than a huge page: %ld ranges, "
	       "walk_end moved %llu of %lu pages", n,
		(unsigned long long)(walk_end - (uintptr_t)at) / K_PAGE, N * SMALL);
	T_CHECK(n == 0 && walk_end < (uintptr_t)at + LEN);
	T_CHECK(k_written(pm, at, LEN) == N * SMALL);
	n = arm_with(pm, at, K_HUGE, SMALL - 1, &walk_end);
	T_CHECK(n == 0 && walk_end == (uintptr_t)at); /* no progress on a single one */
	n = arm_with(pm, at, LEN, SMALL + 1, &walk_end);
	k_fact("max_pages of one more: %ld ranges, walk_end moved %llu pages, %zu huge pages armed",
		n, (unsigned long long)(walk_end - (uintptr_t)at) / K_PAGE,
		N - k_written(pm, at, LEN) / SMALL);
	T_CHECK(k_written(pm, at, LEN) == (N - 1) * SMALL);
	n = arm_with(pm, at + K_HUGE, K_HUGE, SMALL, &walk_end);
	T_CHECK(n == 1 && walk_end == (uintptr_t)at + 2 * K_HUGE);
	at[K_HUGE] = 1;

	/* A range that begins or ends inside a huge page arms nothing of it. */
	n = arm_with(pm, at + K_HUGE, K_PAGE, 0, &walk_end);
	k_fact("a range that ends inside a huge page: %ld ranges, walk_end moved %llu pages", n,
		(unsigned long long)(walk_end - (uintptr_t)at - K_HUGE) / K_PAGE);
	T_CHECK(k_bits(pm, at + K_HUGE) & PAGE_IS_WRITTEN);
	n = arm_with(pm, at + K_HUGE + K_PAGE, K_HUGE - K_PAGE, 0, &walk_end);
	k_fact("a range that begins inside a huge page: %ld ranges, walk_end moved %lld pages", n,
		(long long)(walk_end - (uintptr_t)at - K_HUGE - K_PAGE) / (long long)K_PAGE);
	T_CHECK(k_bits(pm, at + K_HUGE) & PAGE_IS_WRITTEN);

	full_vector(pm, at);
	T_CHECK(k_collect(pm, at, LEN) == (N - 1) * SMALL);
	T_CHECK(k_written(pm, at, LEN) == 0);
	at[K_HUGE + 77] = 2;
	T_CHECK(k_collect(pm, at, LEN) == SMALL);
	T_CHECK(k_collect(pm, at, LEN) == 0);
}

static void unpopulated(int uffd, int pm, int flags, int fd, const char *what)
{
	char *at = k_map(LEN, flags, fd);
	size_t seen, again;

	T_OK(k_register(uffd, at, LEN));
	seen = k_written(pm, at, LEN) / SMALL;
	k_fact("%s, unpopulated: %zu of %d huge pages WRITTEN", what, seen, N);
	k_collect(pm, at, LEN);
	again = k_written(pm, at, LEN) / SMALL;
	k_fact("%s, unpopulated, after a protecting scan: %zu WRITTEN, bits %#llx", what, again,
		(unsigned long long)k_bits(pm, at));
	at[K_HUGE] = 1;
	T_CHECK(k_bits(pm, at + K_HUGE) & PAGE_IS_WRITTEN);
	T_CHECK(k_bits(pm, at + K_HUGE) & PAGE_IS_PRESENT);
	T_CHECK(at[2 * K_HUGE] == 0);
	k_fact("%s, unpopulated, read: bits %#llx", what,
		(unsigned long long)k_bits(pm, at + 2 * K_HUGE));
	munmap(at, LEN);
}

static void discard_private(int uffd, int pm)
{
	char *at = k_map(LEN, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	size_t seen;

	k_touch(at, LEN, 1);
	T_OK(k_register(uffd, at, LEN));
	T_CHECK(k_collect(pm, at, LEN) == N * SMALL);
	T_SYS(madvise(at + K_HUGE, K_HUGE, MADV_DONTNEED));
	seen = k_written(pm, at, LEN) / SMALL;
	k_fact("private, armed, MADV_DONTNEED of one: %zu WRITTEN, bits %#llx, word %#llx", seen,
		(unsigned long long)k_bits(pm, at + K_HUGE),
		(unsigned long long)k_word(pm, at + K_HUGE));
	/* Until it is touched again the mark shows: a huge page is never swapped. */
	T_CHECK(seen == 1 || k_bits(pm, at + K_HUGE) & PAGE_IS_SWAPPED);
	T_CHECK(!(k_bits(pm, at) & PAGE_IS_SWAPPED));
	T_CHECK(at[K_HUGE] == 0); /* the content did change */
	k_fact("... and read afterwards: bits %#llx", (unsigned long long)k_bits(pm, at + K_HUGE));
	T_CHECK(seen == 0 || seen == 1);
	/* Control: a neighbour is still clean, a write is still seen. */
	T_CHECK(!(k_bits(pm, at) & PAGE_IS_WRITTEN));
	at[2 * K_HUGE] = 7;
	T_CHECK(k_bits(pm, at + 2 * K_HUGE) & PAGE_IS_WRITTEN);
	munmap(at, LEN);
}

static void punch_shared(int uffd, int pm, int fd)
{
	char *at = k_map(LEN, MAP_SHARED, fd);
	struct stat before, after;
	size_t seen;

	k_touch(at, LEN, 1);
	T_OK(k_register(uffd, at, LEN));
	k_collect(pm, at, LEN);
	T_CHECK(k_written(pm, at, LEN) == 0);
	t_msleep(12);
	T_SYS(fstat(fd, &before));
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, K_HUGE, K_HUGE));
	T_SYS(fstat(fd, &after));
	seen = k_written(pm, at, LEN) / SMALL;
	k_fact("shared, armed, punched: %zu WRITTEN, bits %#llx; mtime %s, ctime %s, "
	       "blocks %ld -> %ld, first hole at %ld", seen,
		(unsigned long long)k_bits(pm, at + K_HUGE),
		before.st_mtim.tv_nsec != after.st_mtim.tv_nsec ? "changed" : "same",
		before.st_ctim.tv_nsec != after.st_ctim.tv_nsec ? "changed" : "same",
		(long)before.st_blocks, (long)after.st_blocks, (long)lseek(fd, 0, SEEK_HOLE));
	T_SYS(madvise(at + 2 * K_HUGE, K_HUGE, MADV_DONTNEED));
	k_fact("shared, armed, MADV_DONTNEED (content stays): bits %#llx",
		(unsigned long long)k_bits(pm, at + 2 * K_HUGE));
	T_CHECK(at[2 * K_HUGE] == 1);
	T_CHECK(at[K_HUGE] == 0);
	k_fact("... the punched one read afterwards: bits %#llx",
		(unsigned long long)k_bits(pm, at + K_HUGE));
	munmap(at, LEN);
}

int main(void)
{
	int uffd, pm, fd;
	char *at;

	k_hugepages(2 * N);
	uffd = k_uffd(K_TRACK);
	pm = k_pagemap();
	at = k_map(LEN, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	arm_and_write(uffd, pm, at);
	munmap(at, LEN);

	unpopulated(uffd, pm, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, "private");
	discard_private(uffd, pm);
	fd = (int)T_SYS(memfd_create("scratch-huge", MFD_CLOEXEC | MFD_HUGETLB));
	T_SYS(ftruncate(fd, LEN));
	unpopulated(uffd, pm, MAP_SHARED, fd, "shared");
	punch_shared(uffd, pm, fd);
	return 0;
}
