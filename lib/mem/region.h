/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One mapping of a target as the engine sees it: what backs it, how its
 * content can change, whether it is being watched. Plain data; no system call
 * but the one that asks a file for its file system.
 */
#ifndef UMEM_MEM_REGION_H
#define UMEM_MEM_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/kern/maps.h"

/** enum umem_kind - what backs a mapping. */
enum umem_kind {
	UMEM_KIND_ANON,           /* private anonymous, heap, stack */
	UMEM_KIND_SHMEM,          /* shared anonymous, memfd, tmpfs, System V */
	UMEM_KIND_FILE_PRIVATE,   /* a file's content, and copies of pages written */
	UMEM_KIND_FILE_SHARED,    /* a file of a disk or network file system */
	UMEM_KIND_HUGETLB,        /* huge pages from the reserved pool, private */
	UMEM_KIND_HUGETLB_SHARED, /* the same, shared */
	UMEM_KIND_KERNEL,         /* vdso and the like: not the program's memory */
	UMEM_KIND_KERNEL_SHARED,  /* rings and areas that the kernel itself writes */
	UMEM_KIND_DEVICE,         /* memory of a device */
	UMEM_N_KINDS,
};

/**
 * struct umem_region - a mapping.
 * @start, @end, @offset, @inode, @dev_major, @dev_minor, @vma_flags, @name: as
 *	in struct umem_vma; @name lives as long as the space is not refreshed twice.
 * @page_size_bytes: granule in which it is mapped and watched; never 0.
 * @kind: what backs it.
 * @registered: a userfaultfd of ours watches it.
 * @untrackable: why it cannot be watched (static text), or NULL.
 */
struct umem_region {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t inode;
	uint64_t page_size_bytes;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_flags;
	enum umem_kind kind;
	bool registered;
	const char *untrackable;
	const char *name;
};

/** umem_kind_name - "anonymous", "shmem", "file-private", ... */
const char *umem_kind_name(enum umem_kind kind);

/** umem_kind_shared - is the content that of an object which others may map, too? */
static inline bool umem_kind_shared(enum umem_kind kind)
{
	return kind == UMEM_KIND_SHMEM || kind == UMEM_KIND_FILE_SHARED ||
		kind == UMEM_KIND_HUGETLB_SHARED;
}

/**
 * enum umem_backing - what the file behind a mapping is.
 * @UMEM_BACKING_UNKNOWN: it could not be asked.
 */
enum umem_backing {
	UMEM_BACKING_UNKNOWN,
	UMEM_BACKING_SHMEM,
	UMEM_BACKING_HUGETLB,
	UMEM_BACKING_FILE,
	UMEM_BACKING_DEVICE,
};

/** umem_ask_backing - what the file behind a mapping is; @user is whoever knows. */
typedef enum umem_backing umem_ask_backing(const void *user, const struct umem_vma *vma);

/** umem_region_backing - ask for the file behind a mapping of process @pid. */
enum umem_backing umem_region_backing(int pid, const struct umem_vma *vma);

/**
 * umem_region_needs_backing - does the classification of @vma depend on its
 * file system, because its name does not tell?
 */
bool umem_region_needs_backing(const struct umem_vma *vma);

/** umem_region_init - the region of @vma; not registered. */
void umem_region_init(struct umem_region *region, const struct umem_vma *vma,
	enum umem_backing backing);

/**
 * umem_region_same_object - do both show the same bytes of the same object at
 * address @addr, which lies in both? Private anonymous memory is all one
 * object here: that it was replaced shows in its registration.
 */
bool umem_region_same_object(const struct umem_region *a, const struct umem_region *b,
	uint64_t addr);

#endif
