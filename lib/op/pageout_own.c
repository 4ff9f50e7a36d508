// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mappings of this process that have to do with putting out a target's shared memory.
 *
 * Theory of operation
 *
 * MADV_PAGEOUT moves a page only through a page table that has it, and only if no other
 * one has it. So of a page of shared memory
 *
 *     the target and we have it    ours is dropped first (a VMM that pages out its
 *                                  guest's memory maps it itself)
 *     nobody has it                we map it, put it out, and unmap it: written by
 *                                  write(2), or by a process that ended
 *     somebody else has it         it stays
 *
 * Dropping is MADV_DONTNEED, which would lose the content of private memory: so what is
 * mapped where is read right before, and who calls this may not replace mappings of the
 * target's memory at the same time. A mapping of ours that a userfaultfd watches is not
 * touched: dropping its pages would be an event, for a reader that may be this thread.
 */
#include "lib/op/pageout_own.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"

void umem_own_init(struct umem_own *own, const struct umem_target *target)
{
	const struct umem_reach *reach = target->reach;

	*own = (struct umem_own){ .pagemap_fd = -1, .is_target = target->pid == getpid() };
	/* A process that has descriptors only maps nothing but what it looks at the object by. */
	own->is_alone = reach != NULL;
	if (reach && reach->own_pagemap_fd >= 0)
		own->pagemap_fd = fcntl(reach->own_pagemap_fd, F_DUPFD_CLOEXEC, 0);
}

void umem_own_deinit(struct umem_own *own)
{
	umem_fd_close(own->pagemap_fd);
	umem_maps_deinit(&own->maps);
	umem_smaps_deinit(&own->smaps);
	*own = (struct umem_own){ .pagemap_fd = -1 };
}

/* Does @vma show the object behind @view? Not counted is what the view has mapped, untouched. */
static bool same_object(const struct umem_vma *vma, const struct umem_page_view *view)
{
	const struct umem_region *region = view->region;

	return vma->inode == region->inode && vma->dev_major == region->dev_major &&
		vma->dev_minor == region->dev_minor && (vma->flags & UMEM_VMA_SHARED) &&
		vma->start != (uintptr_t)view->object.map;
}

static bool read_maps(struct umem_own *own)
{
	UMEM_FD int fd = -1;

	return umem_maps_open(getpid(), &fd) == 0 &&
		umem_maps_read(fd, UMEM_MAPS_AUTO, &own->maps) == 0;
}

/* Do we map the object? Looked at once a mapping of the target. */
static bool have_any(struct umem_own *own, const struct umem_page_view *view)
{
	UMEM_FD int proc_fd = -1;

	if (own->region == view->region)
		return own->smaps.n > 0;
	own->region = view->region;
	own->smaps.n = 0;
	if (own->is_target || own->is_alone || !view->region->inode || !read_maps(own))
		return false;
	for (size_t i = 0; i < own->maps.n; i++) {
		if (!same_object(&own->maps.v[i], view))
			continue;
		proc_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
		return proc_fd >= 0 && umem_smaps_read(proc_fd, &own->smaps) == 0;
	}
	return false;
}

bool umem_own_drop(struct umem_own *own, const struct umem_page_view *view, uint64_t start,
	uint64_t end)
{
	uint64_t first = start - view->shift, last = end - view->shift;
	bool dropped = false;

	/* What is mapped is read again right before: what was replaced must not be dropped. */
	if (!have_any(own, view) || !read_maps(own))
		return false;
	for (size_t i = 0; i < own->maps.n; i++) {
		const struct umem_vma *vma = &own->maps.v[i];
		const struct umem_smap *smap = umem_smaps_find(&own->smaps, vma->start, vma->end);
		uint64_t from = umem_max_u64(first, vma->offset);
		uint64_t to = umem_min_u64(last, vma->offset + (vma->end - vma->start));
		uint64_t shift = vma->start - vma->offset;

		if (!same_object(vma, view) || from >= to || !smap ||
			smap->flags & (UMEM_SMAP_UFFD | UMEM_SMAP_LOCKED))
			continue;
		dropped |= madvise((void *)(uintptr_t)(from + shift), to - from,
				   MADV_DONTNEED) == 0;
	}
	return dropped;
}

/* The run that begins at @addrs[@at]. Return: the index behind it. */
static size_t run_end(const uint64_t *addrs, size_t n, size_t at)
{
	size_t end = at + 1;

	while (end < n && addrs[end] == addrs[end - 1] + UMEM_PAGE_BYTES)
		end++;
	return end;
}

int umem_own_put_out(struct umem_own *own, const struct umem_page_view *view,
	const uint64_t *addrs, size_t n, uint64_t *ret_words)
{
	uint64_t len = addrs[n - 1] + UMEM_PAGE_BYTES - addrs[0];
	char *map;

	if (own->pagemap_fd < 0 && !own->is_alone &&
		umem_pagemap_open(getpid(), &own->pagemap_fd) < 0)
		own->pagemap_fd = -1;
	map = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, view->object.fd,
		(off_t)(addrs[0] - view->shift));
	if (map == MAP_FAILED)
		return -errno;
	for (size_t i = 0, end; i < n; i = end) {
		char *at = map + (addrs[i] - addrs[0]);
		size_t got = 0;

		end = run_end(addrs, n, i);
		for (size_t k = i; k < end; k++)
			ret_words[k] = 0;
		/* Not a touch: if the file was cut meanwhile, that would be a SIGBUS. */
		if (madvise(at, (end - i) * UMEM_PAGE_BYTES, MADV_POPULATE_READ) < 0)
			continue;
		if (own->pagemap_fd >= 0)
			umem_pagemap_words(own->pagemap_fd, (uintptr_t)at, ret_words + i, end - i,
				&got);
		madvise(at, (end - i) * UMEM_PAGE_BYTES, MADV_PAGEOUT);
	}
	munmap(map, len);
	return 0;
}
