// SPDX-License-Identifier: LGPL-2.1-or-later
/* One mapping of a target: what backs it. */
#include "lib/mem/region.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define BASE_PAGE_BYTES 4096u

static const char *const kind_names[UMEM_N_KINDS] = {
	[UMEM_KIND_ANON] = "anonymous",
	[UMEM_KIND_SHMEM] = "shmem",
	[UMEM_KIND_FILE_PRIVATE] = "file-private",
	[UMEM_KIND_FILE_SHARED] = "file-shared",
	[UMEM_KIND_HUGETLB] = "hugetlb",
	[UMEM_KIND_HUGETLB_SHARED] = "hugetlb-shared",
	[UMEM_KIND_KERNEL] = "kernel",
	[UMEM_KIND_KERNEL_SHARED] = "kernel-shared",
	[UMEM_KIND_DEVICE] = "device",
};

const char *umem_kind_name(enum umem_kind kind)
{
	return kind_names[kind];
}

static bool starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Names that the kernel gives to shmem objects without a path of their own. */
static bool is_shmem_name(const char *name)
{
	return starts(name, "/memfd:") || strcmp(name, "/dev/zero (deleted)") == 0 ||
		starts(name, "/SYSV") || starts(name, "[anon_shmem:");
}

static bool is_kernel_shared_name(const char *name)
{
	return starts(name, "anon_inode:") || starts(name, "socket:") ||
		starts(name, "/[aio]") || starts(name, "[perf");
}

bool umem_region_needs_backing(const struct umem_vma *vma)
{
	return vma->inode != 0 && !is_kernel_shared_name(vma->name) &&
		!is_shmem_name(vma->name);
}

enum umem_backing umem_region_backing(int pid, const struct umem_vma *vma)
{
	char path[80];
	struct statfs fs;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid,
		(unsigned long long)vma->start, (unsigned long long)vma->end);
	if (stat(path, &st) < 0 || statfs(path, &fs) < 0)
		return UMEM_BACKING_UNKNOWN;
	if (S_ISCHR(st.st_mode))
		return UMEM_BACKING_DEVICE;
	if (fs.f_type == HUGETLBFS_MAGIC)
		return UMEM_BACKING_HUGETLB;
	return fs.f_type == TMPFS_MAGIC ? UMEM_BACKING_SHMEM : UMEM_BACKING_FILE;
}

static enum umem_kind anonymous_kind(const char *name)
{
	if (name[0] != '[' || starts(name, "[anon:") || strcmp(name, "[heap]") == 0 ||
		starts(name, "[stack"))
		return UMEM_KIND_ANON;
	return UMEM_KIND_KERNEL;
}

static enum umem_kind file_kind(const struct umem_vma *vma, enum umem_backing backing)
{
	bool shared = vma->flags & UMEM_VMA_SHARED;

	if (vma->page_size_bytes > BASE_PAGE_BYTES || backing == UMEM_BACKING_HUGETLB)
		return shared ? UMEM_KIND_HUGETLB_SHARED : UMEM_KIND_HUGETLB;
	if (is_kernel_shared_name(vma->name))
		return UMEM_KIND_KERNEL_SHARED;
	if (backing == UMEM_BACKING_DEVICE) {
		/* A private mapping of /dev/zero is anonymous memory by another name. */
		bool zero = !shared && strcmp(vma->name, "/dev/zero") == 0;

		return zero ? UMEM_KIND_ANON : UMEM_KIND_DEVICE;
	}
	if (!shared)
		return UMEM_KIND_FILE_PRIVATE;
	if (is_shmem_name(vma->name) || backing == UMEM_BACKING_SHMEM)
		return UMEM_KIND_SHMEM;
	return UMEM_KIND_FILE_SHARED;
}

void umem_region_init(struct umem_region *region, const struct umem_vma *vma,
	enum umem_backing backing)
{
	*region = (struct umem_region){
		.start = vma->start,
		.end = vma->end,
		.offset = vma->offset,
		.inode = vma->inode,
		.page_size_bytes = vma->page_size_bytes ? vma->page_size_bytes : BASE_PAGE_BYTES,
		.dev_major = vma->dev_major,
		.dev_minor = vma->dev_minor,
		.vma_flags = vma->flags,
		.kind = vma->inode ? file_kind(vma, backing) : anonymous_kind(vma->name),
		.name = vma->name,
	};
}

bool umem_region_same_object(const struct umem_region *a, const struct umem_region *b,
	uint64_t addr)
{
	const uint32_t shared = UMEM_VMA_SHARED;

	if (a->kind != b->kind || a->inode != b->inode || a->dev_major != b->dev_major ||
		a->dev_minor != b->dev_minor || a->page_size_bytes != b->page_size_bytes ||
		(a->vma_flags & shared) != (b->vma_flags & shared))
		return false;
	if (a->kind == UMEM_KIND_ANON || a->kind == UMEM_KIND_KERNEL)
		return true;
	return a->offset + (addr - a->start) == b->offset + (addr - b->start);
}
