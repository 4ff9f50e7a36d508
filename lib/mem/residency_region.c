// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Page tables and objects, put together.
 *
 * Theory of operation
 *
 *     backing                    table says            what it means
 *     private anonymous          all                   that
 *     shmem, shared or private   present, zero, guard  that
 *                                swap entry            that (a private copy)
 *                                nothing or a mark     ask the object
 *     private file of a disk     nothing or a mark     untouched: the file has it
 *     shared file of a disk      the same              the same; but others may
 *                                                      have it in memory: not exact
 *     huge pages, shared         nothing or a mark     ask the object
 *
 * Asking the object costs a system call a run, so in a stretch with many short
 * runs the object is asked once for all of it, present pages included. Guards
 * are known to the table only; a stretch with one is asked run by run.
 *
 * Where the kernel hides swap types, "swapped" may be a mark. The sums of
 * smaps do not count marks: if all that could be swapped of a mapping is, or
 * nothing is, that settles it; otherwise the region is not exact.
 */
#include "lib/mem/residency_region.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/base/fd.h"
#include "lib/kern/filecache.h"
#include "lib/mem/pageset.h"

/* A stretch, and how many runs in it make asking for all of it at once cheaper. */
#define STRETCH_BYTES (2ull << 20)
#define STRETCH_RUNS  8

/* Runs of a stretch that are kept until it is complete. */
#define N_RUNS 512

#define WHY_HIDDEN                                                                         \
	"which of its entries are swapped and which are marks of a userfaultfd is told only " \
	"to CAP_SYS_ADMIN"
#define WHY_OBJECT_CLOSED                                                                  \
	"the memory behind it may not be opened (needs CAP_CHECKPOINT_RESTORE): of what this " \
	"process does not map it is not known whether it is swapped"
#define WHY_OBJECT_MUTE                                                                    \
	"the kernel tells what the memory behind it holds only to who may write to it"
#define WHY_SWAP_CACHE "pages in the swap cache count as resident"
#define WHY_FILE "a file of a disk: pages that only others have in memory are not counted"
#define WHY_ZERO "pages of zeros cannot be told from others without /proc/kpageflags"

static const char *const table_names[] = {
	[UMEM_TABLE_SCAN] = "scan",
	[UMEM_TABLE_WORDS] = "words",
	[UMEM_TABLE_SMAPS] = "smaps",
};

/* By table method, then object method. */
static const char *const both_names[][4] = {
	[UMEM_TABLE_SCAN] = { "scan+cachestat", "scan+halving", "scan+extents",
		"scan+continue" },
	[UMEM_TABLE_WORDS] = { "words+cachestat", "words+halving", "words+extents",
		"words+continue" },
	[UMEM_TABLE_SMAPS] = { "smaps+cachestat", "smaps+halving", "smaps+extents",
		"smaps+continue" },
};

/** struct run - entries that wait for their stretch to be complete. */
struct run {
	uint64_t start;
	uint64_t end;
	enum umem_entry entry;
};

/**
 * struct joint - one region being read.
 * @walk: where states go.
 * @view: its object, if @has_view.
 * @shift: from an offset of the object to an address.
 * @runs, @n_runs, @n_none, @guards: the stretch: its runs, those that the object has to
 *	tell, and whether there is a guard.
 * @hidden: what an entry counts as of which the kernel does not tell what it is.
 * @any_hidden: there was one.
 */
struct joint {
	struct umem_walk walk;
	struct umem_object_view view;
	bool has_view;
	uint64_t shift;
	struct run runs[N_RUNS];
	size_t n_runs;
	size_t n_none;
	bool guards;
	enum umem_entry hidden;
	bool any_hidden;
};

int umem_regions_reader_init(struct umem_regions_reader *reader,
	const struct umem_target *target, const char *method)
{
	static const char *const objects[] = { "cachestat", "halving", "extents", "continue" };

	*reader = (struct umem_regions_reader){ .target = target };
	for (size_t i = 0; method && i < UMEM_ARRAY_LEN(objects); i++)
		if (strcmp(method, objects[i]) == 0)
			reader->object_method = objects[i];
	if (method && !reader->object_method) {
		size_t i = 0;

		while (i < UMEM_ARRAY_LEN(table_names) && strcmp(method, table_names[i]) != 0)
			i++;
		if (i == UMEM_ARRAY_LEN(table_names))
			return -EINVAL;
		reader->table_method = (enum umem_table_method)i;
	}
	return umem_table_init(&reader->table, target->pagemap_fd);
}

void umem_regions_reader_deinit(struct umem_regions_reader *reader)
{
	umem_table_deinit(&reader->table);
	umem_smaps_deinit(&reader->smaps);
}

void umem_regions_reader_again(struct umem_regions_reader *reader)
{
	reader->smaps_read = false;
	reader->table.zero_blind = false;
}

/* The state of what only page tables tell of. */
static enum umem_state state_of(enum umem_entry entry)
{
	switch (entry) {
	case UMEM_ENTRY_PRESENT:
		return UMEM_STATE_RESIDENT;
	case UMEM_ENTRY_SWAPPED:
		return UMEM_STATE_SWAPPED;
	case UMEM_ENTRY_ZERO:
		return UMEM_STATE_ZERO;
	case UMEM_ENTRY_GUARD:
		return UMEM_STATE_GUARD;
	default:
		return UMEM_STATE_UNTOUCHED;
	}
}

static int ask(struct joint *joint, uint64_t start, uint64_t end)
{
	return umem_object_walk(&joint->view, start - joint->shift, end - joint->shift,
		joint->shift, &joint->walk);
}

static int flush(struct joint *joint)
{
	size_t n = joint->n_runs;
	int r = 0;

	joint->n_runs = 0;
	if (n > 0 && joint->n_none >= STRETCH_RUNS && !joint->guards) {
		joint->n_none = 0;
		return ask(joint, joint->runs[0].start, joint->runs[n - 1].end);
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct run *run = &joint->runs[i];

		r = run->entry == UMEM_ENTRY_NONE ?
			ask(joint, run->start, run->end) :
			umem_walk_add(&joint->walk, run->start, run->end, state_of(run->entry));
	}
	joint->n_none = 0;
	joint->guards = false;
	return r;
}

/* Keep a run until its stretch is complete. A swap entry is a private copy: not the object's. */
static int keep(struct joint *joint, uint64_t start, uint64_t end, enum umem_entry entry)
{
	struct run *last = joint->n_runs ? &joint->runs[joint->n_runs - 1] : NULL;
	int r = 0;

	if (last && last->entry == entry && last->end == start) {
		last->end = end;
	} else {
		joint->runs[joint->n_runs++] = (struct run){ start, end, entry };
		joint->n_none += entry == UMEM_ENTRY_NONE;
	}
	joint->guards |= entry == UMEM_ENTRY_GUARD || entry == UMEM_ENTRY_SWAPPED;
	if (joint->n_runs == N_RUNS || end - joint->runs[0].start >= STRETCH_BYTES)
		r = flush(joint);
	return r;
}

static int take(void *user, uint64_t start, uint64_t end, enum umem_entry entry)
{
	struct joint *joint = user;

	if (entry == UMEM_ENTRY_HIDDEN) {
		joint->any_hidden = true;
		entry = joint->hidden;
	}
	if (joint->has_view)
		return keep(joint, start, end, entry);
	return umem_walk_add(&joint->walk, start, end, state_of(entry));
}

static int read_table(struct umem_regions_reader *reader, uint64_t start, uint64_t end,
	umem_table_each each, void *user)
{
	int r = -ENOTTY;

	if (reader->table_method != UMEM_TABLE_WORDS)
		r = umem_table_scan(&reader->table, start, end, each, user);
	if (r == -ENOTTY) {
		/* Before 6.7; nothing was handed on yet. */
		reader->table_method = UMEM_TABLE_WORDS;
		r = umem_table_words(&reader->table, start, end, each, user);
	}
	return r;
}

static int add_hidden(void *user, uint64_t start, uint64_t end, enum umem_entry entry)
{
	uint64_t *bytes = user;

	if (entry == UMEM_ENTRY_HIDDEN)
		*bytes += end - start;
	return 0;
}

/* What hidden entries of a region are, by the sums of smaps. Sets joint->hidden and @ret_exact. */
static int settle_hidden(struct umem_regions_reader *reader, const struct umem_region *region,
	struct joint *joint, bool *ret_exact)
{
	const struct umem_smap *smap;
	uint64_t bytes = 0;
	int r = read_table(reader, region->start, region->end, add_hidden, &bytes);

	if (r < 0)
		return r;
	*ret_exact = true;
	if (bytes == 0)
		return 0;
	if (!reader->smaps_read) {
		r = umem_smaps_read(reader->target->proc_fd, &reader->smaps);
		if (r < 0)
			return r;
		reader->smaps_read = true;
	}
	smap = umem_smaps_find(&reader->smaps, region->start, region->end);
	joint->hidden = smap && smap->swapped_bytes == 0 ? UMEM_ENTRY_NONE : UMEM_ENTRY_SWAPPED;
	*ret_exact = smap && (smap->swapped_bytes == 0 || smap->swapped_bytes == bytes);
	return 0;
}

/* Open the object of a region if that has to be asked. Return: why it cannot be, or NULL. */
static const char *open_object(const struct umem_regions_reader *reader,
	const struct umem_region *region, struct joint *joint)
{
	bool huge = region->kind == UMEM_KIND_HUGETLB_SHARED;
	bool named = reader->object_method &&
		huge == (strcmp(reader->object_method, "continue") == 0);
	int fd, r;

	if (region->kind != UMEM_KIND_SHMEM && !huge && region->kind != UMEM_KIND_FILE_PRIVATE)
		return NULL;
	r = umem_filecache_open_mapping(reader->target->tid, region->start, region->end, O_RDWR,
		&fd);
	if (r < 0)
		r = umem_filecache_open_mapping(reader->target->tid, region->start, region->end,
			O_RDONLY, &fd);
	if (r < 0)
		return region->kind == UMEM_KIND_FILE_PRIVATE ? NULL : WHY_OBJECT_CLOSED;
	r = umem_object_open_consume(fd, named ? reader->object_method : NULL, &joint->view);
	if (r < 0)
		return region->kind == UMEM_KIND_FILE_PRIVATE ? NULL : WHY_OBJECT_MUTE;
	joint->has_view = true;
	joint->shift = region->start - region->offset;
	return NULL;
}

/* With mincore for memory, exact only as long as nothing is in the swap cache. */
static const char *check_extents(struct umem_regions_reader *reader,
	const struct umem_region *region, const struct joint *joint)
{
	const struct umem_smap *smap;

	if (!reader->smaps_read && umem_smaps_read(reader->target->proc_fd, &reader->smaps) == 0)
		reader->smaps_read = true;
	smap = umem_smaps_find(&reader->smaps, region->start, region->end);
	return smap && smap->swapped_bytes == joint->walk.bytes[UMEM_STATE_SWAPPED] ?
		NULL : WHY_SWAP_CACHE;
}

static const char *name_of(const struct umem_regions_reader *reader, const struct joint *joint,
	bool hidden)
{
	enum umem_table_method method = hidden && reader->table_method == UMEM_TABLE_SCAN ?
		UMEM_TABLE_SMAPS : reader->table_method;

	return joint->has_view ? both_names[method][joint->view.method] : table_names[method];
}

static int read_region(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, struct joint *joint, struct umem_residency_region *about)
{
	const char *reason = open_object(reader, region, joint);
	bool settled = true, hidden = !umem_feats_has(&reader->target->feats,
		UMEM_FEAT_SWAP_TYPE_VISIBLE) || reader->table_method == UMEM_TABLE_SMAPS;
	int r = 0;

	/* In tables of shared memory, and of huge pages, there are no swap entries, only marks. */
	if (umem_kind_shared(region->kind) || region->kind == UMEM_KIND_HUGETLB)
		joint->hidden = UMEM_ENTRY_NONE;
	else if (hidden)
		r = settle_hidden(reader, region, joint, &settled);
	if (r == 0)
		r = read_table(reader, start, end, take, joint);
	if (r == 0 && joint->has_view)
		r = flush(joint);
	if (r == 0)
		r = umem_walk_end(&joint->walk);
	if (r != 0)
		return r;
	if (!reason && joint->any_hidden && !settled)
		reason = WHY_HIDDEN;
	if (!reason && region->kind == UMEM_KIND_FILE_SHARED)
		reason = WHY_FILE;
	if (!reason && joint->has_view && joint->view.method == UMEM_OBJECT_EXTENTS)
		reason = check_extents(reader, region, joint);
	if (!reason && reader->table.zero_blind)
		reason = WHY_ZERO;
	about->method = name_of(reader, joint, hidden);
	about->reason = reason;
	about->exact = !reason;
	return 0;
}

/* What of the swapped pages takes I/O to come back, where that can be told. */
static void find_io(const struct umem_regions_reader *reader, const struct joint *joint,
	struct umem_residency_region *about)
{
	uint64_t swapped = about->bytes[UMEM_STATE_SWAPPED];

	(void)joint;
	about->io_known = swapped == 0 || reader->io_free;
	about->io_bytes = 0;
}

int umem_region_residency(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, umem_walk_each each, void *user,
	struct umem_residency_region *ret_about)
{
	struct joint joint = {
		.walk = { .each = each, .user = user },
		.view = { .fd = -1, .uffd = -1 },
		.hidden = UMEM_ENTRY_SWAPPED,
	};
	struct umem_residency_region about = {
		.start = start,
		.end = end,
		.page_size_bytes = region->page_size_bytes,
	};
	int r = read_region(reader, region, start, end, &joint, &about);

	memcpy(about.bytes, joint.walk.bytes, sizeof(about.bytes));
	if (r == 0)
		find_io(reader, &joint, &about);
	if (joint.has_view)
		umem_object_close(&joint.view);
	if (r == -ESRCH)
		return UMEM_GONE;
	if (r == 0)
		*ret_about = about;
	return r;
}
