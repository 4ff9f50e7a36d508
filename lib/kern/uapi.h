/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel definitions that are newer than the distribution's headers (6.1).
 *
 * Numbers are the kernel's ABI (include/uapi/linux/{userfaultfd,fs,mman}.h of
 * Linux 6.18); each is checked below against its size or its ioctl number, so
 * that a wrong copy does not compile.
 */
#ifndef UMEM_KERN_UAPI_H
#define UMEM_KERN_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>

/* userfaultfd: features since 6.4, 6.6, 6.7, 6.8 */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* userfaultfd: ioctls since 6.6 (poison) and 6.8 (move) */
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};

#define UFFDIO_POISON _IOWR(0xaa, 0x08, struct uffdio_poison)
#endif
#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE _IOWR(0xaa, 0x05, struct uffdio_move)
#endif

/* PAGEMAP_SCAN, since 6.7 */
#ifndef PAGEMAP_SCAN
struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)

#define PAGE_IS_WPALLOWED  (1 << 0)
#define PAGE_IS_WRITTEN    (1 << 1)
#define PAGE_IS_FILE       (1 << 2)
#define PAGE_IS_PRESENT    (1 << 3)
#define PAGE_IS_SWAPPED    (1 << 4)
#define PAGE_IS_PFNZERO    (1 << 5)
#define PAGE_IS_HUGE       (1 << 6)
#define PAGE_IS_SOFT_DIRTY (1 << 7)

#define PM_SCAN_WP_MATCHING   (1 << 0)
#define PM_SCAN_CHECK_WPASYNC (1 << 1)
#endif
#ifndef PAGE_IS_GUARD /* since 6.15 */
#define PAGE_IS_GUARD (1 << 8)
#endif

_Static_assert(sizeof(struct page_region) == 24, "struct page_region");
_Static_assert(sizeof(struct pm_scan_arg) == 96, "struct pm_scan_arg");
_Static_assert(PAGEMAP_SCAN == 0xc0606610, "PAGEMAP_SCAN");

/* PROCMAP_QUERY on /proc/PID/maps, since 6.11 */
#ifndef PROCMAP_QUERY
#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)

enum procmap_query_flags {
	PROCMAP_QUERY_VMA_READABLE = 0x01,
	PROCMAP_QUERY_VMA_WRITABLE = 0x02,
	PROCMAP_QUERY_VMA_EXECUTABLE = 0x04,
	PROCMAP_QUERY_VMA_SHARED = 0x08,
	PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10,
	PROCMAP_QUERY_FILE_BACKED_VMA = 0x20,
};

struct procmap_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size;
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};
#endif

_Static_assert(sizeof(struct procmap_query) == 104, "struct procmap_query");
_Static_assert(PROCMAP_QUERY == 0xc0686611, "PROCMAP_QUERY");

/* cachestat(2), since 6.5 */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct umem_cachestat_range {
	__u64 off;
	__u64 len;
};

struct umem_cachestat {
	__u64 nr_cache;
	__u64 nr_dirty;
	__u64 nr_writeback;
	__u64 nr_evicted;
	__u64 nr_recently_evicted;
};

_Static_assert(sizeof(struct umem_cachestat) == 40, "struct cachestat");

/* madvise(2) advice */
#ifndef MADV_COLLAPSE /* since 6.1 */
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL /* since 6.13 */
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

/* pidfd_open(2) of a thread, since 6.9 */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

/* The ioctl numbers of userfaultfd, against a header that was copied wrongly. */
_Static_assert(UFFDIO_API == 0xc018aa3f, "UFFDIO_API");
_Static_assert(UFFDIO_REGISTER == 0xc020aa00, "UFFDIO_REGISTER");
_Static_assert(UFFDIO_UNREGISTER == 0x8010aa01, "UFFDIO_UNREGISTER");
_Static_assert(UFFDIO_WAKE == 0x8010aa02, "UFFDIO_WAKE");
_Static_assert(UFFDIO_COPY == 0xc028aa03, "UFFDIO_COPY");
_Static_assert(UFFDIO_WRITEPROTECT == 0xc018aa06, "UFFDIO_WRITEPROTECT");
_Static_assert(UFFDIO_POISON == 0xc020aa08, "UFFDIO_POISON");
_Static_assert(UFFDIO_MOVE == 0xc028aa05, "UFFDIO_MOVE");

#endif
