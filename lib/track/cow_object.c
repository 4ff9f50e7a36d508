// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Shared memory of a snapshot, by object.
 *
 * Theory of operation
 *
 * A page of shared memory is one page, however many addresses of however many
 * members show it: it has one state, is copied once, and given for each address.
 * It is protected at all of them. A write faults where it is made, and only
 * there the protection is lifted; the page is copied by then.
 *
 *     object       [ data |     hole     | data ]      page numbers of the file
 *     member 1        [   view    )  [ view )
 *     member 2     [              view           )
 *
 * What is populated the file tells (SEEK_DATA), not the page tables: a page may
 * hold data and be mapped by nobody. All that is data is protected, by marks
 * where it is not mapped; these survive everything but an unmapping.
 *
 * Within the moment only holes are asked, so that it costs by what changed: data
 * that appeared in a hole is protected. Holes that cannot contain a whole block
 * are marked, so that a first touch there was noted, and are asked only while
 * they are few. When the file has not just as much more memory as data was
 * found, something was punched, and all of it is looked at.
 *
 * Bytes are read from the file, by both threads: they depend on no address, so
 * moves and unmappings do not matter here. A hole in the place of data was
 * punched. What is punched and touched again before it is copied is seen by
 * nobody: there are zeros then, under the old mark. Nor is what comes by
 * write(2), or through a mapping that is not a member's; who may do so is for
 * the caller to say.
 *
 * Huge pages of the reserved pool: the file system does not tell holes, so all of
 * it counts as data.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/filecache.h"
#include "lib/mem/residency_open.h"

/* Holes of any size are asked while they are no more than this. */
#define HOLES_MANY 4096

/* How much is protected in one call while the target runs, and the pause behind it. */
#define STEP_BYTES (4ull << 20)
#define PAUSE_NS   20000

int umem_cow_object_part(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_region *region, struct umem_cow_part **ret_part)
{
	uint64_t n_pages = (region->offset + (region->end - region->start)) >> UMEM_PAGE_SHIFT;
	uint64_t device = umem_opener_device(region);
	struct umem_opener opener = { .target = process->target };
	struct umem_cow_part *part;
	UMEM_FD int fd = -1;
	int r;

	for (size_t i = 0; i < cow->n_parts; i++) {
		part = cow->parts[i];
		if (part->fd < 0 || part->device != device || part->inode != region->inode)
			continue;
		*ret_part = part;
		return umem_cow_part_grow(part, n_pages);
	}
	r = umem_opener_open(&opener, region, &fd);
	umem_opener_deinit(&opener);
	if (r == 0)
		r = umem_cow_part_new(cow, n_pages, region->page_size_bytes >> UMEM_PAGE_SHIFT,
			&part);
	if (r < 0)
		return r;
	part->fd = umem_fd_take(&fd);
	part->device = device;
	part->inode = region->inode;
	*ret_part = part;
	return 0;
}

/* Pages of [first, first + n) of the file that hold data, as page numbers. */
static int extents(const struct umem_cow_part *part, uint64_t first, uint64_t n,
	struct umem_ranges *out)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges bytes = { 0 };
	int r = umem_filecache_extents(part->fd, first << UMEM_PAGE_SHIFT,
		(first + n) << UMEM_PAGE_SHIFT, &bytes);

	for (size_t i = 0; i < bytes.n && r == 0; i++)
		r = umem_ranges_add(out, bytes.v[i].start >> UMEM_PAGE_SHIFT,
			umem_align_up(bytes.v[i].end, UMEM_PAGE_BYTES) >> UMEM_PAGE_SHIFT);
	return r;
}

static int n_blocks(const struct umem_cow_part *part, uint64_t *ret_n)
{
	struct stat st;

	if (fstat(part->fd, &st) < 0)
		return -errno;
	*ret_n = (uint64_t)st.st_blocks;
	return 0;
}

/* Protect the blocks of addresses of [start, end) around @data, in steps. */
static int guard(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end, const struct umem_ranges *data, uint64_t page)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges blocks = { 0 };
	uint64_t n = (end - start) >> UMEM_PAGE_SHIFT;
	int r = 0;

	for (size_t i = umem_ranges_find(data, page);
		i < data->n && data->v[i].start < page + n && r == 0; i++) {
		uint64_t from = umem_max_u64(data->v[i].start, page) - page;
		uint64_t to = umem_min_u64(data->v[i].end - page, n);

		from = umem_align_down(start + (from << UMEM_PAGE_SHIFT), UMEM_COW_BLOCK_BYTES);
		to = umem_align_up(start + (to << UMEM_PAGE_SHIFT), UMEM_COW_BLOCK_BYTES);
		r = umem_ranges_add(&blocks, umem_max_u64(from, start), umem_min_u64(to, end));
	}
	for (size_t i = 0; i < blocks.n && r == 0; i++)
		for (uint64_t at = blocks.v[i].start, to; at < blocks.v[i].end && r == 0; at = to) {
			to = umem_min_u64(blocks.v[i].end,
				umem_align_down(at, STEP_BYTES) + STEP_BYTES);
			r = umem_cow_protect(cow, process, at, to);
			/* Unmapped meanwhile: a note of that is under way. */
			if (r == -ENOENT && !cow->stopped)
				r = 0;
			if (r == 0 && !cow->stopped)
				nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
		}
	return r;
}

/* Mark and remember data. */
static int know(struct umem_cow_part *part, const struct umem_ranges *data)
{
	int r = 0;

	for (size_t i = 0; i < data->n && r == 0; i++) {
		struct umem_cow_run run = {
			.part = part,
			.page = data->v[i].start,
			.n_pages = data->v[i].end - data->v[i].start,
		};

		r = umem_cow_part_grow(part, data->v[i].end);
		if (r == 0)
			r = umem_cow_mark_pages(&run, UMEM_COW_WANTED);
		if (r == 0)
			r = umem_ranges_add(&part->data, data->v[i].start, data->v[i].end);
	}
	return r;
}

int umem_cow_object_show(struct umem_cow *cow, struct umem_cow_process *process,
	struct umem_cow_part *part, uint64_t start, uint64_t end, uint64_t page)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges data = { 0 };
	uint64_t n = (end - start) >> UMEM_PAGE_SHIFT;
	int r = umem_cow_part_show(part, process, start, end, page);

	/* Twice: what became data before the marks were put there. */
	for (int i = 0; i < (cow->stopped ? 1 : 2) && r == 0; i++) {
		if (part->n_seen == 1)
			r = n_blocks(part, &part->n_data_blocks);
		umem_ranges_clear(&data);
		if (r == 0)
			r = extents(part, page, n, &data);
		if (r == 0)
			r = know(part, &data);
		if (r == 0 && i == 0)
			r = guard(cow, process, start, end, &data, page);
	}
	return r;
}

/* Are any of its pages shown by a member? */
static bool is_seen(const struct umem_cow_part *part)
{
	for (size_t i = 0; i < part->n_seen; i++) {
		const struct umem_cow_map *image = &part->seen[i].process->image;

		for (size_t k = 0; k < image->n; k++)
			if (image->v[k].part == part)
				return true;
	}
	return false;
}

/* Protect @fresh, which appeared. In wholly empty blocks nothing was noted. */
static int protect_fresh(struct umem_cow *cow, struct umem_cow_part *part,
	const struct umem_ranges *fresh)
{
	int r = know(part, fresh);

	for (size_t i = 0; i < fresh->n && r == 0; i++) {
		struct umem_cow_run run = {
			.part = part,
			.page = fresh->v[i].start,
			.n_pages = fresh->v[i].end - fresh->v[i].start,
		};

		r = umem_cow_protect_run(cow, &run);
	}
	return r;
}

/* Data in what were holes. */
static int ask_holes(const struct umem_cow_part *part, struct umem_ranges *ret_fresh)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	struct umem_range whole = { 0, part->n_pages };
	struct umem_ranges all = { .v = &whole, .n = 1 };
	int r = umem_ranges_subtract(&all, &part->data, &holes);

	umem_ranges_clear(ret_fresh);
	for (size_t i = 0; i < holes.n && r == 0; i++) {
		uint64_t n = holes.v[i].end - holes.v[i].start;

		if (holes.n <= HOLES_MANY || n >= UMEM_COW_BLOCK_PAGES)
			r = extents(part, holes.v[i].start, n, ret_fresh);
	}
	return r;
}

/* Something was punched: all of the object is looked at. */
static int ask_all(struct umem_cow *cow, struct umem_cow_part *part)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges now = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges fresh = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges punched = { 0 };
	int r = extents(part, 0, part->n_pages, &now);

	if (r == 0)
		r = umem_ranges_subtract(&now, &part->data, &fresh);
	if (r == 0)
		r = umem_ranges_subtract(&part->data, &now, &punched);
	for (size_t i = 0; i < punched.n && r == 0; i++) {
		struct umem_cow_run run = {
			.part = part,
			.page = punched.v[i].start,
			.n_pages = punched.v[i].end - punched.v[i].start,
		};

		r = umem_cow_mark_pages(&run, UMEM_COW_EMPTY);
		if (r == 0)
			r = umem_ranges_sub(&part->data, punched.v[i].start, punched.v[i].end);
	}
	return r < 0 ? r : protect_fresh(cow, part, &fresh);
}

static int sync_part(struct umem_cow *cow, struct umem_cow_part *part)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges fresh = { 0 };
	uint64_t before = part->n_data_blocks, n = 0;
	int r;

	/* Nobody shows it any more, so it is not of the image. */
	if (!is_seen(part)) {
		umem_ranges_clear(&part->blocks);
		return 0;
	}
	r = n_blocks(part, &part->n_data_blocks);
	if (r == 0)
		r = ask_holes(part, &fresh);
	for (size_t i = 0; i < fresh.n; i++)
		n += fresh.v[i].end - fresh.v[i].start;
	if (r == 0)
		r = protect_fresh(cow, part, &fresh);
	if (r == 0 && part->n_data_blocks != before + n * (UMEM_PAGE_BYTES / 512))
		r = ask_all(cow, part);
	return r;
}

int umem_cow_objects_sync(struct umem_cow *cow)
{
	int r = 0;

	for (size_t i = 0; i < cow->n_parts && r == 0; i++)
		if (cow->parts[i]->fd >= 0 && cow->parts[i]->unit_pages == 1)
			r = sync_part(cow, cow->parts[i]);
	return r;
}

int umem_cow_object_read(const struct umem_cow_run *run, uint8_t *bytes, uint8_t *lost)
{
	uint64_t start = run->page << UMEM_PAGE_SHIFT, len = run->n_pages << UMEM_PAGE_SHIFT;
	uint64_t end = start + len;
	size_t done = 0;

	memset(lost, 0, run->n_pages);
	while (done < len) {
		ssize_t n = pread(run->part->fd, bytes + done, len - done, (off_t)(start + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break; /* truncated since */
		done += (size_t)n;
	}
	memset(bytes + done, 0, len - done);
	if (run->part->unit_pages > 1)
		return 0;
	/* A hole behind the reading may have been one at it. */
	while (start < end) {
		off_t hole = lseek(run->part->fd, (off_t)start, SEEK_HOLE);
		off_t data;

		if (hole < 0 && errno != ENXIO)
			return -errno;
		if (hole >= (off_t)end)
			break;
		start = hole < 0 ? start : (uint64_t)hole;
		data = lseek(run->part->fd, (off_t)start, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return -errno;
		for (hole = (off_t)start; (uint64_t)hole < end && (data < 0 || hole < data);
			hole += UMEM_PAGE_BYTES)
			lost[run->n_pages - ((end - (uint64_t)hole) >> UMEM_PAGE_SHIFT)] =
				UMEM_COW_LOST_PUNCHED;
		start = data < 0 ? end : (uint64_t)data;
	}
	return 0;
}
