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
 *     huge pages of a file       nothing or a mark     ask the object
 *
 * Where the kernel hides swap types, "swapped" may be a mark. The sums of
 * smaps do not count marks: if all that could be swapped of a mapping is, or
 * nothing is, that settles it; otherwise the region is not exact. (Of private
 * shmem smaps also counts swapped pages of the object: then only nothing does.)
 * The entries are counted before smaps is read and once more while the states
 * are taken; more than before means that some came that nobody has settled.
 *
 * Likewise with extents: pages in the swap cache pass for resident ones, unless
 * there are as many swapped pages as smaps has, before and after. After is when
 * all regions are done (umem_region_confirm()), since smaps is read whole.
 */
#include "lib/mem/residency_region.h"

#include <errno.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/mem/residency_joint.h"

#define WHY_HIDDEN                                                                         \
	"which of its entries are swapped and which are marks of a userfaultfd is told only " \
	"to CAP_SYS_ADMIN"
#define WHY_ODD                                                                            \
	"of some entries the kernel does not tell whether they are pages that it is moving, "   \
	"poisoned pages, or (before 6.15) guards"
#define WHY_CLOSED                                                                         \
	"the memory behind it may not be opened (needs CAP_CHECKPOINT_RESTORE): of what this " \
	"process does not map it is not known whether it is swapped"
#define WHY_CHANGED "it was mapped anew while it was looked at"
#define WHY_MUTE "the kernel tells what the memory behind it holds only to who may write to it"
#define WHY_NO_CACHESTAT "the kernel does not tell what the memory behind it holds (cachestat, 6.5)"
#define WHY_NO_MINOR                                                                       \
	"which huge pages the memory behind it holds takes a userfaultfd with minor faults (5.13)"
#define WHY_FAILED "the kernel failed to tell what the memory behind it holds"
#define WHY_SWAP_CACHE "pages in the swap cache count as resident"
#define WHY_UNWRITTEN "pages that were allocated but never written count as untouched"
#define WHY_FILE "a file of a disk: pages that only others have in memory are not counted"
#define WHY_SECRET "secret memory (memfd_secret): pages that only others map are not counted"
#define WHY_ROUGH "it was looked at roughly: marks of a userfaultfd count as swapped"
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

/** struct hidden - bytes of entries that the kernel does not tell, of all of a region. */
struct hidden {
	uint64_t hidden;
	uint64_t unmarked;
};

static int count_hidden(void *user, uint64_t start, uint64_t end, enum umem_entry entry)
{
	struct hidden *sums = user;

	if (entry == UMEM_ENTRY_HIDDEN)
		sums->hidden += end - start;
	else if (entry == UMEM_ENTRY_UNMARKED)
		sums->unmarked += end - start;
	return 0;
}

/*
 * Settle by the sums of smaps what hidden entries of a region of private memory are:
 * sets @joint->hidden and the like. @ret_settled: how much of that there may be,
 * so that it is settled. Return: 0 or -errno.
 */
static int settle_hidden(struct umem_regions_reader *reader, const struct umem_region *region,
	struct umem_joint *joint, struct hidden *ret_settled)
{
	struct hidden sums = { 0 };
	const struct umem_smap *smap;
	int r = umem_reader_table(reader, region, region->start, region->end, count_hidden, &sums);

	if (r < 0)
		return r;
	*ret_settled = (struct hidden){ 0 };
	if (sums.hidden + sums.unmarked == 0)
		return 0;
	smap = umem_reader_smap(reader, region);
	if (smap && smap->swapped_bytes == 0) {
		/* What is no mark is no swap entry either. */
		joint->hidden = UMEM_ENTRY_NONE;
		joint->unmarked = UMEM_ENTRY_PRESENT;
		ret_settled->hidden = sums.hidden;
	} else if (smap && smap->swapped_bytes == sums.hidden + sums.unmarked && !joint->view) {
		*ret_settled = sums;
	}
	return 0;
}

/* Memory of memfd_secret(2), which looks like a deleted file of a disk. */
static bool is_secret(const struct umem_region *region)
{
	return strcmp(region->name, "/secretmem (deleted)") == 0;
}

/* The object of a region, if it has to be asked. Return: why it cannot be, or NULL. */
static const char *find_object(struct umem_regions_reader *reader,
	const struct umem_region *region, struct umem_joint *joint)
{
	bool pool = region->kind == UMEM_KIND_HUGETLB || region->kind == UMEM_KIND_HUGETLB_SHARED;
	int r;

	if (region->inode == 0 || region->kind == UMEM_KIND_ANON)
		return NULL;
	/* Private huge pages without a file: nothing is in the file that the kernel made up. */
	if (region->kind == UMEM_KIND_HUGETLB && strncmp(region->name, "/anon_hugepage", 14) == 0)
		return NULL;
	r = umem_reader_object(reader, region, &joint->view);
	joint->shift = region->start - region->offset;
	/* Its sums are wanted of before, see umem_region_confirm(). */
	if (r == 0 && joint->view->method == UMEM_OBJECT_EXTENTS)
		umem_reader_smap(reader, region);
	switch (r) {
	case 0:
		return NULL;
	case -ENOTSUP:
		if (region->kind != UMEM_KIND_FILE_SHARED)
			return NULL;
		return is_secret(region) ? WHY_SECRET : WHY_FILE;
	case -ESTALE:
		return WHY_CHANGED;
	case -EPERM:
		return pool ? WHY_NO_MINOR : WHY_MUTE;
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return WHY_FAILED;
	case -ENOSYS:
	case -EINVAL:
		return pool ? WHY_NO_MINOR : WHY_NO_CACHESTAT;
	default:
		return WHY_CLOSED;
	}
}

/* With mincore for memory, exact only if nothing is in the swap cache, and all was written. */
static const char *check_extents(struct umem_regions_reader *reader,
	const struct umem_region *region, const struct umem_joint *joint)
{
	const struct umem_smap *smap;
	bool cached = umem_reader_place(reader) != UMEM_SWAP_NOWHERE;

	/* Of shared memory smaps counts just this; of private memory other things, too. */
	if (cached && umem_kind_shared(region->kind)) {
		smap = umem_reader_smap(reader, region);
		cached = !smap || smap->swapped_bytes != joint->out.bytes[UMEM_STATE_SWAPPED];
		reader->unconfirmed = true;
	}
	if (cached)
		return WHY_SWAP_CACHE;
	return umem_object_all_written(joint->view) ? NULL : WHY_UNWRITTEN;
}

/* Why a region that was read is not exact, or NULL. */
static const char *doubt(struct umem_regions_reader *reader, const struct umem_region *region,
	const struct umem_joint *joint, const struct hidden *settled)
{
	if (joint->failed)
		return WHY_FAILED;
	if (joint->hidden_bytes > settled->hidden)
		return WHY_HIDDEN;
	if (joint->unmarked_bytes > settled->unmarked)
		return joint->unmarked == UMEM_ENTRY_PRESENT ? WHY_ODD : WHY_HIDDEN;
	if (((joint->hidden_bytes && joint->hidden == UMEM_ENTRY_NONE) ||
		    (joint->unmarked_bytes && joint->unmarked == UMEM_ENTRY_NONE)) &&
		umem_reader_guards_unseen(reader))
		return WHY_ODD;
	if (joint->view && joint->view->method == UMEM_OBJECT_EXTENTS)
		return check_extents(reader, region, joint);
	if (reader->table.rough && region->kind == UMEM_KIND_ANON)
		return WHY_ROUGH;
	return reader->table.zero_blind ? WHY_ZERO : NULL;
}

static const char *name_of(const struct umem_regions_reader *reader, const struct umem_joint *joint)
{
	/* Whoever does not see swap types has smaps settle it. */
	enum umem_table_method method = reader->table_method == UMEM_TABLE_SCAN &&
		reader->table.blind ? UMEM_TABLE_SMAPS : reader->table_method;

	return joint->view ? both_names[method][joint->view->method] : table_names[method];
}

static int read_region(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, struct umem_joint *joint, struct umem_residency_region *about)
{
	const char *reason = find_object(reader, region, joint);
	struct hidden settled = { 0 };
	int r = 0;

	reader->table.zero_blind = false;
	if (umem_kind_shared(region->kind)) {
		/* In tables of shared memory there are no swap entries. */
		joint->hidden = joint->unmarked = UMEM_ENTRY_NONE;
		settled = (struct hidden){ UINT64_MAX, UINT64_MAX };
	} else if (region->kind == UMEM_KIND_HUGETLB) {
		joint->hidden = UMEM_ENTRY_NONE;
		joint->unmarked = UMEM_ENTRY_PRESENT;
		settled.hidden = UINT64_MAX;
	} else if (reader->table.blind || !umem_feats_has(&reader->target->feats,
			UMEM_FEAT_SWAP_TYPE_VISIBLE)) {
		r = settle_hidden(reader, region, joint, &settled);
	}
	if (r == 0)
		r = umem_reader_table(reader, region, start, end, umem_joint_take, joint);
	if (r == 0)
		r = umem_joint_end(joint);
	if (r != 0)
		return r;
	if (!reason)
		reason = doubt(reader, region, joint, &settled);
	about->method = name_of(reader, joint);
	about->reason = reason;
	about->exact = !reason;
	return 0;
}

/* What of the swapped pages takes I/O to come back, where that can be told. */
static void find_io(struct umem_regions_reader *reader, const struct umem_region *region,
	const struct umem_joint *joint, struct umem_residency_region *about)
{
	uint64_t swapped = about->bytes[UMEM_STATE_SWAPPED];
	enum umem_swap_place place = swapped ? umem_reader_place(reader) : UMEM_SWAP_MEMORY;

	if (place == UMEM_SWAP_MEMORY || place == UMEM_SWAP_DEVICE_ONLY) {
		about->io_known = true;
		about->io_bytes = place == UMEM_SWAP_MEMORY ? 0 : swapped;
	} else if (place == UMEM_SWAP_DEVICE && region->kind == UMEM_KIND_SHMEM &&
		joint->cached == UMEM_CACHED_COUNTED && about->exact) {
		about->io_known = true;
		about->io_bytes = swapped - joint->cached_bytes;
	}
}

int umem_region_residency(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, umem_walk_each each, void *user,
	struct umem_residency_region *ret_about)
{
	struct umem_joint joint = {
		.reader = reader,
		.out = { .each = each, .user = user },
		.hidden = UMEM_ENTRY_SWAPPED,
		.unmarked = UMEM_ENTRY_SWAPPED,
	};
	struct umem_residency_region about = {
		.start = start,
		.end = end,
		.page_size_bytes = region->page_size_bytes,
	};
	int r = read_region(reader, region, start, end, &joint, &about);

	memcpy(about.bytes, joint.out.bytes, sizeof(about.bytes));
	if (r == -ESRCH)
		return UMEM_GONE;
	if (r != 0)
		return r;
	find_io(reader, region, &joint, &about);
	*ret_about = about;
	return 0;
}

void umem_region_confirm(struct umem_regions_reader *reader, const struct umem_region *region,
	struct umem_residency_region *about)
{
	const struct umem_smap *smap;

	if (!about->exact || !strstr(about->method, "extents"))
		return;
	smap = umem_reader_smap(reader, region);
	if (umem_reader_place(reader) == UMEM_SWAP_NOWHERE ||
		(smap && smap->swapped_bytes == about->bytes[UMEM_STATE_SWAPPED]))
		return;
	about->exact = false;
	about->reason = WHY_SWAP_CACHE;
}
