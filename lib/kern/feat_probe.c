// SPDX-License-Identifier: LGPL-2.1-or-later
/* Scratch memory for probes, and the probes that dirty tracking stands on. */
#include "lib/kern/feat_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

int umem_probe_say(char *detail, int result, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, UMEM_FEAT_DETAIL_SIZE, fmt, args);
	va_end(args);
	return result;
}

void umem_scratch_deinit(struct umem_scratch *s)
{
	/* Descriptors first: what they watch is let go while it is still there. */
	s->uffd = umem_fd_close(s->uffd);
	s->pm = umem_fd_close(s->pm);
	if (s->base)
		munmap(s->base, s->base_len);
	s->base = NULL;
	s->at = NULL;
	s->fd = umem_fd_close(s->fd);
}

void umem_scratch_touch(struct umem_scratch *s)
{
	for (size_t i = 0; i < s->len; i += PAGE)
		*(volatile char *)(s->at + i) = 1;
}

int umem_scratch_map(struct umem_scratch *s, size_t len, size_t align, int flags, int fd)
{
	size_t extra = align > PAGE ? align : 0;
	void *at = mmap(NULL, len + extra, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	s->base = at;
	s->base_len = len + extra;
	s->at = (char *)umem_align_up((uintptr_t)at, extra ? align : 1);
	s->len = len;
	if (!extra && !(flags & MAP_HUGETLB))
		madvise(at, len, MADV_NOHUGEPAGE);
	return 0;
}

int umem_scratch_memfd(struct umem_scratch *s, size_t len, int flags)
{
	int err;

	s->fd = memfd_create("umem-probe", MFD_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	if (ftruncate(s->fd, (off_t)len) < 0)
		return -errno;
	err = umem_scratch_map(s, len, PAGE, flags, s->fd);
	if (err)
		return err;
	umem_scratch_touch(s);
	return 0;
}

int umem_scratch_watch(struct umem_scratch *s, int open_flags, uint64_t features)
{
	int err = umem_uffd_open(open_flags, &s->uffd);

	if (err == -EPERM)
		err = umem_uffd_open(UFFD_USER_MODE_ONLY, &s->uffd);
	if (!err)
		err = umem_uffd_api(s->uffd, features, NULL);
	if (!err)
		err = umem_pagemap_open(getpid(), &s->pm);
	if (!err)
		err = umem_uffd_register(s->uffd, (uintptr_t)s->at, (uintptr_t)s->at + s->len,
			UFFDIO_REGISTER_MODE_WP);
	return err;
}

int umem_scratch_scan(struct umem_scratch *s, size_t from, size_t len, bool protect,
	uint64_t all, size_t *ret_pages)
{
	struct umem_scan scan = {
		.at = (uintptr_t)s->at + from,
		.end = (uintptr_t)s->at + from + len,
		.protect = protect,
		.all = all,
		.wanted = all,
	};
	struct page_region vec[16];
	size_t n = 0, n_pages = 0;
	int err;

	while (scan.at < scan.end) {
		err = umem_pagemap_scan(s->pm, &scan, vec, UMEM_ARRAY_LEN(vec), &n);
		if (err)
			return err;
		for (size_t i = 0; i < n; i++)
			n_pages += (vec[i].end - vec[i].start) / PAGE;
	}
	*ret_pages = n_pages;
	return 0;
}

int umem_scratch_arm(struct umem_scratch *s, size_t *ret_pages)
{
	size_t n = 0;
	int err = umem_scratch_scan(s, 0, s->len, true, PAGE_IS_WRITTEN, &n);

	if (!err && ret_pages)
		*ret_pages = n;
	return err;
}

static int anon_watched(struct umem_scratch *s, size_t n_pages, int open_flags, bool touch)
{
	int err = umem_scratch_map(s, n_pages * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	if (touch)
		umem_scratch_touch(s);
	return umem_scratch_watch(s, open_flags, UMEM_PROBE_TRACK);
}

int umem_probe_userfaultfd(char *detail)
{
	UMEM_FD int fd = -1;
	int err = umem_uffd_open(0, &fd);

	return err ? missing(err, detail) : 1;
}

/* Armed, one page is written, exactly that one is reported, and only once. */
static int tracks(struct umem_scratch *s, char *detail)
{
	size_t n = 0, again = 0;
	int err = umem_scratch_arm(s, NULL);

	if (err)
		return missing(err, detail);
	*(volatile char *)(s->at + PAGE) = 2;
	err = umem_scratch_arm(s, &n);
	if (!err)
		err = umem_scratch_arm(s, &again);
	if (err)
		return missing(err, detail);
	if (n != 1 || again != 0)
		return umem_probe_say(detail, 0, "one store: %zu pages, then %zu", n, again);
	return 1;
}

int umem_probe_wp_async(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = anon_watched(&s, 4, 0, true);

	return err ? missing(err, detail) : tracks(&s, detail);
}

int umem_probe_user_mode_only(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	UMEM_FD int fd = -1;
	size_t n = 0;
	int err = anon_watched(&s, 4, UFFD_USER_MODE_ONLY, true);

	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (err)
		return missing(err, detail);
	fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (read(fd, s.at + PAGE, 4) <= 0)
		return umem_probe_say(detail, 0, "the kernel's write: %s", strerrordesc_np(errno));
	err = umem_scratch_arm(&s, &n);
	if (err || n != 1)
		return umem_probe_say(detail, err, "the kernel's write: %zu pages", n);
	return 1;
}

int umem_probe_hugetlbfs_shmem(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = umem_scratch_memfd(&s, 4 * PAGE, MAP_SHARED);

	if (err)
		return err;
	err = umem_scratch_watch(&s, 0, UMEM_PROBE_TRACK);
	return err ? missing(err, detail) : tracks(&s, detail);
}

int umem_probe_pagemap_scan(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	size_t n = 0;
	int err = umem_scratch_map(&s, 4 * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_pagemap_open(getpid(), &s.pm);
	if (err)
		return err;
	*(volatile char *)s.at = 1;
	*(volatile char *)(s.at + 2 * PAGE) = 1;
	err = umem_scratch_scan(&s, 0, s.len, false, PAGE_IS_PRESENT, &n);
	if (err)
		return missing(err, detail);
	return n == 2 ? 1 : umem_probe_say(detail, 0, "2 pages present: %zu reported", n);
}

/*
 * Two kinds of holes: pages of a table (one page of which is there), and
 * tables that are not there at all. The scratch spans the border of a table.
 */
static int holes(uint64_t all, bool protect, char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	size_t table = PAGE * (PAGE / 8), n = 0, discarded = 0, again = 0;
	int err = umem_scratch_map(&s, 2 * table, table, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	madvise(s.at, s.len, MADV_NOHUGEPAGE);
	*(volatile char *)s.at = 1;
	err = umem_scratch_watch(&s, 0, UMEM_PROBE_TRACK);
	if (!err)
		err = umem_scratch_scan(&s, 0, 2 * table, protect, all, &n);
	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (!err && madvise(s.at, PAGE, MADV_DONTNEED) < 0)
		err = -errno;
	if (!err)
		err = umem_scratch_scan(&s, 0, 2 * table, protect, all, &discarded);
	if (!err && protect)
		err = umem_scratch_scan(&s, 0, 2 * table, false, all, &again);
	if (err)
		return missing(err, detail);
	return umem_probe_say(detail, n == 2 * table / PAGE && discarded == 1 && again == 0,
		"%zu of %zu holes, discarded page %s%s", n, 2 * table / PAGE,
		discarded == 1 ? "seen" : "not seen", again ? ", not armed" : "");
}

int umem_probe_holes(char *detail)
{
	return holes(PAGE_IS_WRITTEN, true, detail);
}

int umem_probe_holes_any_mask(char *detail)
{
	return holes(PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED, true, detail);
}

int umem_probe_check_wpasync(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = anon_watched(&s, 4, 0, true);

	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (err)
		return missing(err, detail);
	if (mmap(s.at + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	err = umem_scratch_arm(&s, NULL);
	if (err == -EPERM)
		return 1;
	return umem_probe_say(detail, 0, "a foreign mapping answers %d", err);
}

int umem_probe_procmap_query(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	struct procmap_query query = { .size = sizeof(query) };
	UMEM_FD int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = umem_scratch_memfd(&s, 4 * PAGE, MAP_SHARED);
	if (err)
		return err;
	query.query_addr = (uintptr_t)s.at + PAGE;
	if (ioctl(fd, PROCMAP_QUERY, &query) < 0)
		return missing(-errno, detail);
	return query.vma_start <= (uintptr_t)s.at && query.vma_end >= (uintptr_t)s.at + s.len &&
	       query.inode != 0;
}

int umem_probe_map_files(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	UMEM_FD int fd = -1;
	char path[80];
	int err = umem_scratch_map(&s, 2 * PAGE, PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)s.at,
		(unsigned long)s.at + s.len);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return missing(-errno, detail);
	if (pwrite(fd, "x", 1, (off_t)PAGE) != 1)
		return -errno;
	return s.at[PAGE] == 'x';
}

int umem_probe_swap_type(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	uint64_t word = 0;
	size_t n = 0;
	int err = anon_watched(&s, 1, 0, false);

	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (!err)
		err = umem_pagemap_words(s.pm, (uintptr_t)s.at, &word, 1, &n);
	if (err)
		return missing(err, detail);
	if (!(word & UMEM_PM_SWAPPED))
		return umem_probe_say(detail, 0, "a mark does not read as swapped");
	return umem_probe_say(detail, UMEM_PM_SWAP_TYPE(word) == 31, "a mark has swap type %u",
		UMEM_PM_SWAP_TYPE(word));
}

/* A page of a new mapping is soft-dirty; nothing is reset to find out. */
int umem_probe_soft_dirty(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	uint64_t word = 0;
	size_t n = 0;
	int err = umem_scratch_map(&s, PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_pagemap_open(getpid(), &s.pm);
	if (err)
		return err;
	umem_scratch_touch(&s);
	err = umem_pagemap_words(s.pm, (uintptr_t)s.at, &word, 1, &n);
	if (err)
		return err;
	return (word & UMEM_PM_SOFT_DIRTY) != 0;
}

static bool same_times(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* The times are set to the past first, so that no tick needs to be waited for. */
int umem_probe_mtime_on_punch(char *detail)
{
	const struct timespec past[2] = { { 1, 0 }, { 1, 0 } };
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	struct stat before, stored, punched;
	int err = umem_scratch_memfd(&s, 4 * PAGE, MAP_SHARED);

	if (err)
		return err;
	if (futimens(s.fd, past) < 0 || fstat(s.fd, &before) < 0)
		return -errno;
	umem_scratch_touch(&s);
	if (fstat(s.fd, &stored) < 0)
		return -errno;
	if (fallocate(s.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PAGE) < 0)
		return missing(-errno, detail);
	if (fstat(s.fd, &punched) < 0)
		return -errno;
	if (before.st_mtim.tv_sec != stored.st_mtim.tv_sec)
		return umem_probe_say(detail, 0, "stores change the times, too");
	return punched.st_mtim.tv_sec != before.st_mtim.tv_sec;
}

int umem_probe_fine_times(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	struct stat a, b;
	int equal = 0;
	int err = umem_scratch_memfd(&s, PAGE, MAP_SHARED);

	if (err)
		return err;
	for (int i = 0; i < 16; i++) {
		if (pwrite(s.fd, "a", 1, 0) != 1 || fstat(s.fd, &a) < 0 ||
			pwrite(s.fd, "b", 1, 0) != 1 || fstat(s.fd, &b) < 0)
			return -errno;
		equal += same_times(&a, &b);
	}
	return umem_probe_say(detail, equal == 0, "equal times %d of 16", equal);
}
