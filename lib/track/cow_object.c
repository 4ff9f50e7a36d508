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
 * that appeared in a hole is protected. When the file has not just as much more
 * memory as data was found, something was punched, and all of it is looked at.
 * So whatever is known to be data is protected at all addresses, or open and noted.
 *
 * Bytes are read from the file, by both threads: they depend on no address, so
 * moves and unmappings do not matter here. A hole in the place of data was
 * punched. What is punched and touched again before it is copied is seen by
 * nobody: there are zeros then, under the old mark. Nor is what comes by
 * write(2), or through a mapping that is not a member's; who may do so is for
 * the caller to say.
 *
 * A mapping that a member makes behind the moment is not protected, and no event
 * tells of it. The serving thread looks at the lists of mappings now and then,
 * and once behind the last page of the object; where it finds one that may be
 * written, the object is said to be exposed.
 *
 * Huge pages of the reserved pool: the file system does not tell holes, so all of
 * it counts as data.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/filecache.h"
#include "lib/mem/residency_open.h"

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

/*
 * Protect the blocks of addresses of [start, end) around @data, in steps. Return: also
 * -ENOENT: a part is not registered any more, and who knows what is protected.
 */
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

/* Pages that are no data any more: there is nothing to copy. */
static int unknow(struct umem_cow_part *part, const struct umem_ranges *punched)
{
	int r = 0;

	for (size_t i = 0; i < punched->n && r == 0; i++) {
		struct umem_cow_run run = {
			.part = part,
			.page = punched->v[i].start,
			.n_pages = punched->v[i].end - punched->v[i].start,
		};

		r = umem_cow_mark_pages(&run, UMEM_COW_EMPTY);
		if (r == 0)
			r = umem_ranges_sub(&part->data, punched->v[i].start, punched->v[i].end);
	}
	return r;
}

/* Know @fresh, and protect it wherever it is seen. In wholly empty blocks nothing was noted. */
static int protect_fresh(struct umem_cow *cow, struct umem_cow_part *part,
	const struct umem_ranges *fresh)
{
	int r = know(part, fresh);

	for (size_t i = 0; i < fresh->n && r == 0; i++) {
		/* What is protected already costs little, but not nothing: in steps. */
		for (uint64_t at = fresh->v[i].start, to; at < fresh->v[i].end && r == 0; at = to) {
			struct umem_cow_run run = { .part = part, .page = at };

			to = umem_min_u64(fresh->v[i].end, at + (STEP_BYTES >> UMEM_PAGE_SHIFT));
			run.n_pages = to - at;
			r = umem_cow_protect_run(cow, &run);
			if (to < fresh->v[i].end && !cow->stopped)
				nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
		}
	}
	return r;
}

/*
 * Look at [first, first + n) of the file: what is new there is protected, what is gone
 * forgotten. @ret_now: overwritten with what is data.
 */
static int look(struct umem_cow *cow, struct umem_cow_part *part, uint64_t first, uint64_t n,
	struct umem_ranges *ret_now)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges fresh = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges known = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges punched = { 0 };
	struct umem_range range = { first, first + n };
	struct umem_ranges here = { .v = &range, .n = 1 };
	int r;

	umem_ranges_clear(ret_now);
	r = extents(part, first, n, ret_now);
	if (r == 0)
		r = umem_ranges_intersect(&part->data, &here, &known);
	if (r == 0)
		r = umem_ranges_subtract(ret_now, &known, &fresh);
	if (r == 0)
		r = umem_ranges_subtract(&known, ret_now, &punched);
	if (r == 0)
		r = unknow(part, &punched);
	return r < 0 ? r : protect_fresh(cow, part, &fresh);
}

/* What was known as data before, and was none when the marks were put there, may be again. */
static int guard_known(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end, const struct umem_ranges *data, uint64_t page)
{
	int r = guard(cow, process, start, end, data, page);

	return r == -ENOENT && !cow->stopped ? umem_cow_forget(process, start, end) : r;
}

int umem_cow_object_show(struct umem_cow *cow, struct umem_cow_process *process,
	struct umem_cow_part *part, uint64_t start, uint64_t end, uint64_t page)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges data = { 0 };
	uint64_t n = (end - start) >> UMEM_PAGE_SHIFT;
	int r = extents(part, page, n, &data);

	/* All in steps here; what of it the other addresses do not know yet, below. */
	if (r == 0)
		r = guard(cow, process, start, end, &data, page);
	/* Changed meanwhile, of which a note comes: not now. */
	if (r == -ENOENT && !cow->stopped)
		return 0;
	if (r == 0)
		r = umem_cow_part_show(part, process, start, end, page);
	if (r == 0)
		r = umem_ranges_add(&process->shared, start, end);
	/* Also what became data before the marks were put there, at each address. */
	if (r == 0)
		r = look(cow, part, page, n, &data);
	return r < 0 ? r : guard_known(cow, process, start, end, &data, page);
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

/* Data in what were holes. */
static int ask_holes(const struct umem_cow_part *part, struct umem_ranges *ret_fresh)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	struct umem_range whole = { 0, part->n_pages };
	struct umem_ranges all = { .v = &whole, .n = 1 };
	int r = umem_ranges_subtract(&all, &part->data, &holes);

	umem_ranges_clear(ret_fresh);
	for (size_t i = 0; i < holes.n && r == 0; i++)
		r = extents(part, holes.v[i].start, holes.v[i].end - holes.v[i].start, ret_fresh);
	return r;
}

/* How many blocks of 512 bytes the file has that are not in what is known to be data. */
static int count_others(const struct umem_cow_part *part, int64_t *ret_n)
{
	struct stat st;

	if (fstat(part->fd, &st) < 0)
		return -errno;
	*ret_n = (int64_t)st.st_blocks -
		(int64_t)umem_ranges_bytes(&part->data) * (int64_t)(UMEM_PAGE_BYTES / 512);
	return 0;
}

static int sync_part(struct umem_cow *cow, struct umem_cow_part *part)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges fresh = { 0 };
	int64_t n_others = 0;
	int r;

	if (!cow->stopped) {
		r = look(cow, part, 0, part->n_pages, &fresh);
		return r < 0 ? r : count_others(part, &part->n_others);
	}
	/* Nobody shows it any more, so it is not of the image. */
	if (!is_seen(part)) {
		umem_ranges_clear(&part->blocks);
		return 0;
	}
	r = ask_holes(part, &fresh);
	if (r == 0)
		r = protect_fresh(cow, part, &fresh);
	if (r == 0)
		r = count_others(part, &n_others);
	/* Something was punched, or allocated in another way. */
	if (r == 0 && n_others != part->n_others)
		r = look(cow, part, 0, part->n_pages, &fresh);
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

/* The part that @vma shows, if it may be written through it. */
static struct umem_cow_part *written_part(const struct umem_cow *cow, const struct umem_vma *vma)
{
	const uint32_t writes = UMEM_VMA_SHARED | UMEM_VMA_WRITE;
	uint64_t device = makedev(vma->dev_major, vma->dev_minor);

	for (size_t i = 0; i < cow->n_parts && (vma->flags & writes) == writes; i++) {
		struct umem_cow_part *part = cow->parts[i];

		if (part->fd >= 0 && part->inode == vma->inode && part->device == device)
			return part;
	}
	return NULL;
}

/* Does @now know that all of [at, end) shows @part? */
static bool is_known(const struct umem_cow_map *now, const struct umem_cow_part *part,
	uint64_t at, uint64_t end)
{
	while (at < end) {
		const struct umem_cow_view *view = umem_cow_map_find(now, at);

		if (!view || view->part != part)
			return false;
		at = view->end;
	}
	return true;
}

bool umem_cow_objects_check(struct umem_cow *cow)
{
	struct umem_maps *maps = &cow->server.maps;

	for (size_t k = 0; k < cow->n; k++) {
		struct umem_cow_process *p = &cow->v[k];

		if (atomic_load(&p->gone) ||
			umem_maps_read(p->target->maps_fd, UMEM_MAPS_AUTO, maps) < 0)
			continue;
		/* A move whose event is not read yet would look like a new mapping. */
		if (umem_uffd_changing(p->uffd) != 0)
			return false;
		for (size_t i = 0; i < maps->n; i++) {
			struct umem_cow_part *part = written_part(cow, &maps->v[i]);

			if (part && !is_known(&p->now, part, maps->v[i].start, maps->v[i].end) &&
				!atomic_load(&part->swept))
				atomic_store(&part->exposed, true);
		}
	}
	return true;
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
