// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bytes of a target's memory.
 *
 * Theory of operation
 *
 *     private    process_vm_readv, else /proc/PID/mem   (kern/procmem)
 *     shared     pread of the object, found once and kept open
 *
 * The object is read by pread(2) and not through a mapping: one that is cut
 * short meanwhile ends a mapping's reader with SIGBUS. What lies behind its end
 * is a hole, as it is for the target. An object that may not be opened (another
 * user's, without CAP_CHECKPOINT_RESTORE) is read as private memory is.
 */
#include "lib/mem/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/procmem.h"

int umem_reader_init(struct umem_reader *reader, const struct umem_target *target)
{
	int r;

	*reader = (struct umem_reader){
		.target = target,
		.mem_fd = -1,
		.opener = { .target = target },
	};
	r = umem_procmem_open(target->tid, &reader->mem_fd);
	return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
}

void umem_reader_deinit(struct umem_reader *reader)
{
	for (size_t i = 0; i < reader->n_objects; i++)
		umem_fd_close(reader->objects[i].fd);
	free(reader->objects);
	umem_opener_deinit(&reader->opener);
	umem_fd_close(reader->mem_fd);
	*reader = UMEM_READER_NONE;
}

static bool has_object(const struct umem_region *region)
{
	return region->kind == UMEM_KIND_SHMEM || region->kind == UMEM_KIND_HUGETLB_SHARED;
}

static int find_object(struct umem_reader *reader, const struct umem_region *region,
	int *ret_fd)
{
	uint64_t device = umem_opener_device(region);
	struct umem_reader_object *grown;
	int r, fd = -1;

	for (size_t i = 0; i < reader->n_objects; i++) {
		const struct umem_reader_object *o = &reader->objects[i];

		if (o->device == device && o->inode == region->inode) {
			*ret_fd = o->fd;
			return 0;
		}
	}
	if (reader->n_objects == reader->room) {
		size_t room = reader->room ? 2 * reader->room : 8;

		grown = realloc(reader->objects, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		reader->objects = grown;
		reader->room = room;
	}
	r = umem_opener_open(&reader->opener, region, &fd);
	if (r == -ENOMEM)
		return r;
	/* Not found at this address any more: it may be, the next time. */
	if (r != -ESTALE)
		reader->objects[reader->n_objects++] = (struct umem_reader_object){
			.device = device, .inode = region->inode, .fd = r < 0 ? -1 : fd };
	*ret_fd = r < 0 ? -1 : fd;
	return 0;
}

int umem_reader_prepare(struct umem_reader *reader, const struct umem_region *region)
{
	int fd;

	return has_object(region) ? find_object(reader, region, &fd) : 0;
}

/* One run of an object. Return: 0, -ENOMEM; or -EIO when it could not be read. */
static int read_run(int fd, const struct umem_region *region, const struct umem_range *run,
	uint8_t *to, struct umem_ranges *holes)
{
	uint64_t len = run->end - run->start, done = 0, hole;

	while (done < len) {
		ssize_t n = pread(fd, to + done, len - done,
			(off_t)(region->offset + (run->start - region->start) + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -EIO;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	if (done == len)
		return 0;
	memset(to + done, 0, len - done);
	/* The page in which the object ends is whole for those who map it. */
	hole = umem_align_up(run->start + done, region->page_size_bytes);
	return umem_ranges_add(holes, umem_min_u64(hole, run->end), run->end);
}

bool umem_reader_put_out(struct umem_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end)
{
	uint64_t len = end - start;
	int fd = -1;
	void *at;

	if (region->kind != UMEM_KIND_SHMEM || find_object(reader, region, &fd) < 0 || fd < 0)
		return false;
	at = mmap(NULL, len, PROT_READ, MAP_SHARED, fd,
		(off_t)(region->offset + (start - region->start)));
	if (at == MAP_FAILED)
		return false;
	/* What is not in a page table of ours is not looked at; and no access, no SIGBUS. */
	if (madvise(at, len, MADV_POPULATE_READ) == 0)
		madvise(at, len, MADV_PAGEOUT);
	munmap(at, len);
	return true;
}

int umem_reader_read(struct umem_reader *reader, const struct umem_region *region,
	const struct umem_range *runs, size_t n_runs, void *buf, struct umem_ranges *holes)
{
	uint8_t *to = buf;
	int r = 0, fd = -1;

	if (has_object(region))
		r = find_object(reader, region, &fd);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_runs && fd >= 0 && r == 0; i++) {
		r = read_run(fd, region, &runs[i], to, holes);
		to += runs[i].end - runs[i].start;
	}
	if (fd < 0 || r == -EIO)
		r = umem_procmem_read(reader->target->tid, reader->mem_fd, UMEM_PROCMEM_AUTO, runs,
			n_runs, buf, holes);
	return r == -ESRCH ? UMEM_GONE : r;
}
