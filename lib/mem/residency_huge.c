// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Huge pages of an object.
 *
 * Theory of operation
 *
 * No call tells which huge pages an object of hugetlbfs holds: cachestat(2) is
 * not supported, mincore(2) looks at page tables only, to SEEK_DATA all is data.
 * Reading the object through a mapping would allocate what it does not hold.
 *
 * UFFDIO_CONTINUE does tell. In a mapping of our own, registered for minor
 * faults, it maps the page that the object holds at that place, and where it
 * holds none it answers EFAULT and allocates nothing.
 *
 * The mapping is private, without a reservation, and nobody can access it; it is
 * taken away at the end. Private: a shared one takes the right to write, and
 * there are seals that forbid it. Without access: mapping a file of hugetlbfs
 * for writing makes the file as long as the mapping, and after
 * mlockall(MCL_FUTURE) a mapping is filled at once if it can be read. A userfaultfd
 * for faults of programs only will do: there is no fault at all.
 *
 * Pages past the end of the file are not told; where there are some (fallocate(2)
 * with KEEP_SIZE), they count as untouched.
 */
#include "lib/mem/residency_huge.h"

#include <errno.h>
#include <sys/mman.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/uffd.h"

/* Mapped at a time. */
#define WINDOW_BYTES (4ull << 30)

int umem_huge_open(struct umem_object_view *view)
{
	UMEM_FD int uffd = -1;
	int r = umem_uffd_open(0, &uffd);

	if (r == -EPERM)
		r = umem_uffd_open(UFFD_USER_MODE_ONLY, &uffd);
	if (r < 0)
		return r;
	r = umem_uffd_api(uffd, UFFD_FEATURE_MINOR_HUGETLBFS, NULL);
	if (r < 0)
		return r;
	view->uffd = umem_fd_take(&uffd);
	return 0;
}

/* One page: does the object hold it? */
static int probe(const struct umem_object_view *view, uint64_t at, enum umem_state *ret_state)
{
	int r;

	do
		r = umem_uffd_continue(view->uffd, at, at + view->huge_bytes);
	while (r == -EAGAIN);
	if (r < 0 && r != -EFAULT && r != -EEXIST)
		return r;
	*ret_state = r == -EFAULT ? UMEM_STATE_UNTOUCHED : UMEM_STATE_RESIDENT;
	return 0;
}

/**
 * struct span - what is asked for: @start, @end in the file, moved by @shift.
 */
struct span {
	uint64_t start;
	uint64_t end;
	uint64_t shift;
};

static int window(struct umem_object_view *view, uint64_t start, uint64_t end,
	const struct span *span, struct umem_walk *walk)
{
	char *map = mmap(NULL, end - start, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, view->fd,
		(off_t)start);
	uint64_t base = (uintptr_t)map;
	int r;

	if (map == MAP_FAILED)
		return -errno;
	r = umem_uffd_register(view->uffd, base, base + (end - start), UFFDIO_REGISTER_MODE_MINOR);
	for (uint64_t at = start; at < end && r == 0; at += view->huge_bytes) {
		enum umem_state state;

		r = probe(view, base + (at - start), &state);
		if (r == 0)
			r = umem_walk_add(walk, umem_max_u64(at, span->start) + span->shift,
				umem_min_u64(at + view->huge_bytes, span->end) + span->shift,
				state);
	}
	munmap(map, end - start);
	return r;
}

int umem_huge_walk(struct umem_object_view *view, uint64_t start, uint64_t end,
	uint64_t shift, struct umem_walk *walk)
{
	const struct span span = { start, end, shift };
	uint64_t stop = umem_align_up(end, view->huge_bytes);
	int r = 0;

	for (uint64_t at = umem_align_down(start, view->huge_bytes), to; at < stop && r == 0;
		at = to) {
		to = umem_min_u64(stop, at + WINDOW_BYTES);
		r = window(view, at, to, &span, walk);
	}
	return r;
}
