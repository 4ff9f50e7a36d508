// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Swapped parts of an object by smaps of mappings of our own.
 *
 * Theory of operation
 *
 * cachestat(2) looks up for each swapped page when it was put out, which costs
 * 100 to 200 ns, also where all of a range is swapped. For "Swap:" of a shared
 * mapping of shmem, smaps counts the swap entries of the object in its range, at
 * 8 to 15 ns, whether or not anybody maps them (shmem_partial_swap_usage(),
 * mm/shmem.c). So ranges of the object are mapped, each by a mapping of its own,
 * smaps is read, and they are unmapped. Nobody can access these mappings, so that
 * nothing is brought in even under mlockall(MCL_FUTURE).
 *
 *     BASE   [range 0] . [range 1] . [range 2] ...  [ ].[ ].[ ]   (others)
 *                                                   pads
 *
 * smaps is read from the lowest address on, and the kernel walks the page tables
 * of each mapping that it shows. So ours lie below where programs, heaps and
 * libraries do, and pads are behind them, since a read shows a few mappings more
 * than are wanted. Where others lie below that are not small, it is not done.
 *
 * A mapping from offset 0 to past the end of the file is a case of its own to
 * the kernel: the number that it keeps, which also counts what lies past that
 * end. It tells whether there is anything to look for; otherwise offset 0 is
 * avoided. A swap entry of a large page counts in whole where it begins, but
 * none is larger than the alignment that is asked for.
 */
#include "lib/mem/residency_sums.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

#define BASE ((uint64_t)1 << 40)

/* More of others below it would cost more than it saves. */
#define BELOW_MAX (256ull << 20)

#define N_PADS 8

/* Of a read: a handful of mappings. */
#define READ_BYTES 4096

#define MAP_FLAGS (MAP_NORESERVE | MAP_FIXED_NOREPLACE)

/**
 * struct frame - what is mapped: ranges of @len bytes, and pads, a page between them.
 * @n, @n_pads: mapped so far.
 */
struct frame {
	uint64_t len;
	size_t n;
	size_t n_pads;
};

static uint64_t range_at(const struct frame *frame, size_t i)
{
	return BASE + i * (frame->len + UMEM_PAGE_BYTES);
}

static uint64_t pad_at(const struct frame *frame, size_t i)
{
	return range_at(frame, frame->n) + i * 2 * UMEM_PAGE_BYTES;
}

static bool put(uint64_t at, uint64_t len, int flags, int fd, uint64_t offset)
{
	void *got = mmap((void *)at, len, PROT_NONE, flags | MAP_FLAGS, fd, (off_t)offset);

	if (got == MAP_FAILED || (uint64_t)(uintptr_t)got == at)
		return got != MAP_FAILED;
	munmap(got, len);
	return false;
}

static bool put_all(const struct umem_object_view *view, uint64_t start, size_t n,
	struct frame *frame)
{
	for (; frame->n < n; frame->n++)
		if (!put(range_at(frame, frame->n), frame->len, MAP_SHARED, view->fd,
			    start + frame->n * frame->len))
			return false;
	for (; frame->n_pads < N_PADS; frame->n_pads++)
		if (!put(pad_at(frame, frame->n_pads), UMEM_PAGE_BYTES,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
			return false;
	return true;
}

/* One by one: somebody else may have mapped something in between. */
static void take_away(const struct frame *frame)
{
	for (size_t i = 0; i < frame->n; i++)
		munmap((void *)range_at(frame, i), frame->len);
	for (size_t i = 0; i < frame->n_pads; i++)
		munmap((void *)pad_at(frame, i), UMEM_PAGE_BYTES);
}

/* Open /proc/self/@name, to be read in small pieces. */
static FILE *open_small(const char *name, char buffer[READ_BYTES])
{
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	file = fopen(path, "re");
	if (file)
		setvbuf(file, buffer, _IOFBF, READ_BYTES);
	return file;
}

/* Is little of others below our place? */
static bool is_clear(void)
{
	char buffer[READ_BYTES], line[256];
	FILE *file = open_small("maps", buffer);
	uint64_t start, end, below = 0;

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) != 2)
			continue; /* the rest of a long name */
		if (start >= BASE)
			break;
		below += end - start;
	}
	fclose(file);
	return below <= BELOW_MAX;
}

/* Read the sums of our ranges. Return: how many were found. */
static size_t read_sums(const struct frame *frame, uint64_t *bytes)
{
	char buffer[READ_BYTES], line[256];
	FILE *file = open_small("smaps", buffer);
	uint64_t start, end;
	size_t found = 0;
	bool ours = false;

	while (file && found < frame->n && fgets(line, sizeof(line), file)) {
		if (line[0] >= 'A' && line[0] <= 'Z') {
			if (!ours || strncmp(line, "Swap:", 5) != 0)
				continue;
			bytes[found++] = strtoull(line + 5, NULL, 10) << 10;
			ours = false;
		} else if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
			ours = start == range_at(frame, found) && end == start + frame->len;
			if (start > range_at(frame, found))
				break;
		}
	}
	if (file)
		fclose(file);
	return found;
}

static int read_ranges(struct umem_object_view *view, uint64_t start, uint64_t len, size_t n,
	uint64_t *ret_bytes)
{
	struct frame frame = { .len = len };
	bool done;

	if (view->sums == UMEM_SUMS_UNKNOWN)
		view->sums = is_clear() ? UMEM_SUMS_CAN : UMEM_SUMS_CANNOT;
	if (view->sums == UMEM_SUMS_CANNOT)
		return -EOPNOTSUPP;
	done = put_all(view, start, n, &frame) && read_sums(&frame, ret_bytes) == n;
	take_away(&frame);
	if (!done)
		view->sums = UMEM_SUMS_CANNOT;
	return done ? 0 : -EOPNOTSUPP;
}

int umem_sums_read(struct umem_object_view *view, uint64_t start, uint64_t len, size_t n,
	uint64_t *ret_bytes)
{
	/* From offset 0 on the kernel may count something else, which would rarely show. */
	assert(start > 0);
	return read_ranges(view, start, len, n, ret_bytes);
}

bool umem_sums_any(struct umem_object_view *view)
{
	uint64_t size, bytes = 1;

	if (view->any_read)
		return view->any;
	view->any_read = true;
	view->any = umem_object_size(view, &size) < 0 || size == 0 ||
		read_ranges(view, 0, umem_page_up(size), 1, &bytes) < 0 || bytes > 0;
	return view->any;
}
