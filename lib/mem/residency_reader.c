// SPDX-License-Identifier: LGPL-2.1-or-later
/* What looking at the regions of one target shares. */
#include "lib/mem/residency_reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/attr.h"
#include "lib/mem/machine.h"
#include "lib/mem/pageset.h"

/* Is it known, by a probe or an override, that there is no such thing? */
static bool lacks(const struct umem_feats *feats, enum umem_feat feat)
{
	uint64_t bit = UMEM_FEAT_BIT(feat);

	return (feats->overridden | feats->probed) & ~feats->unknown & ~feats->found & bit;
}

/* Return: 0, -EINVAL: an unknown method. */
static int choose(struct umem_regions_reader *reader, const char *method)
{
	static const char *const tables[] = {
		[UMEM_TABLE_SCAN] = "scan",
		[UMEM_TABLE_WORDS] = "words",
		[UMEM_TABLE_SMAPS] = "smaps",
	};
	static const char *const objects[] = { "cachestat", "halving", "extents", "continue" };

	for (size_t i = 0; method && i < UMEM_ARRAY_LEN(objects); i++) {
		if (strcmp(method, objects[i]) == 0) {
			reader->object_method = objects[i];
			return 0;
		}
	}
	for (size_t i = 0; method && i < UMEM_ARRAY_LEN(tables); i++) {
		if (strcmp(method, tables[i]) == 0) {
			reader->table_method = (enum umem_table_method)i;
			return 0;
		}
	}
	return method ? -EINVAL : 0;
}

int umem_regions_reader_init(struct umem_regions_reader *reader,
	const struct umem_target *target, const char *method)
{
	const struct umem_feats *feats = &target->feats;
	bool blind = lacks(feats, UMEM_FEAT_SWAP_TYPE_VISIBLE);
	int r;

	*reader = (struct umem_regions_reader){
		.target = target,
		.opener = { .target = target,
			.no_map_files = lacks(feats, UMEM_FEAT_MAP_FILES) },
		.view = UMEM_OBJECT_NONE,
	};
	if (lacks(feats, UMEM_FEAT_CACHESTAT))
		reader->without |= UMEM_OBJECT_NO_CACHESTAT;
	if (lacks(feats, UMEM_FEAT_UFFD_MINOR))
		reader->without |= UMEM_OBJECT_NO_MINOR;
	r = choose(reader, method);
	if (r < 0)
		return r;
	if (reader->table_method == UMEM_TABLE_SCAN && lacks(feats, UMEM_FEAT_PAGEMAP_SCAN))
		reader->table_method = UMEM_TABLE_WORDS;
	r = umem_table_init(&reader->table, target->pagemap_fd,
		blind || reader->table_method == UMEM_TABLE_SMAPS);
	if (r < 0)
		return r;
	if (lacks(feats, UMEM_FEAT_GUARD_REGIONS))
		reader->table.guard = 0;
	/* For root only; without it the words alone do not tell pages of zeros. */
	if (!reader->table.blind)
		umem_machine_open_frames(target, &reader->table.kpageflags_fd);
	return 0;
}

void umem_regions_reader_deinit(struct umem_regions_reader *reader)
{
	umem_table_deinit(&reader->table);
	umem_opener_deinit(&reader->opener);
	umem_object_close(&reader->view);
	umem_smaps_deinit(&reader->smaps);
}

void umem_regions_reader_again(struct umem_regions_reader *reader)
{
	umem_opener_forget(&reader->opener);
	umem_object_close(&reader->view);
	reader->smaps_read = false;
	reader->place_read = false;
	reader->unconfirmed = false;
}

void umem_reader_smaps_again(struct umem_regions_reader *reader)
{
	reader->smaps_read = false;
}

int umem_reader_table(struct umem_regions_reader *reader, const struct umem_region *region,
	uint64_t start, uint64_t end, umem_table_each each, void *user)
{
	int r = -ENOTTY;

	reader->table.anonymous = region->kind == UMEM_KIND_ANON;
	reader->table.pool = region->kind == UMEM_KIND_HUGETLB ||
		region->kind == UMEM_KIND_HUGETLB_SHARED;
	if (reader->table_method != UMEM_TABLE_WORDS)
		r = umem_table_scan(&reader->table, start, end, each, user);
	if (r == -ENOTTY) {
		/* Before 6.7; nothing was handed on yet. */
		reader->table_method = UMEM_TABLE_WORDS;
		r = umem_table_words(&reader->table, start, end, each, user);
	}
	return r;
}

int umem_reader_object(struct umem_regions_reader *reader, const struct umem_region *region,
	struct umem_object_view **ret_view)
{
	bool pool = region->kind == UMEM_KIND_HUGETLB || region->kind == UMEM_KIND_HUGETLB_SHARED;
	const char *method = reader->object_method;
	int fd, r;

	*ret_view = NULL;
	/* As long as it is open, its inode is no other's. */
	if (reader->view.fd >= 0 && region->inode == reader->view.inode &&
		umem_opener_device(region) == reader->view.device) {
		*ret_view = &reader->view;
		return 0;
	}
	r = umem_opener_open(&reader->opener, region, &fd);
	if (r < 0)
		return r;
	if (method && pool != (strcmp(method, "continue") == 0))
		method = NULL;
	umem_object_close(&reader->view);
	r = umem_object_open_consume(fd, method, reader->without, &reader->view);
	if (r < 0)
		return r;
	*ret_view = &reader->view;
	return 0;
}

const struct umem_smap *umem_reader_smap(struct umem_regions_reader *reader,
	const struct umem_region *region)
{
	if (!reader->smaps_read && umem_smaps_read(reader->target->proc_fd, &reader->smaps) < 0)
		return NULL;
	reader->smaps_read = true;
	return umem_smaps_find(&reader->smaps, region->start, region->end);
}

bool umem_reader_guards_unseen(const struct umem_regions_reader *reader)
{
	bool unseen;
	void *page;

	if (reader->table.guard)
		return false;
	page = mmap(NULL, UMEM_PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return true;
	unseen = madvise(page, UMEM_PAGE_BYTES, MADV_GUARD_INSTALL) == 0;
	munmap(page, UMEM_PAGE_BYTES);
	return unseen;
}

enum umem_swap_place umem_swap_place(const struct umem_swap_areas *areas,
	const struct umem_meminfo *info)
{
	bool memory = false;

	for (size_t i = 0; i < areas->n; i++)
		memory |= areas->v[i].is_zram && areas->v[i].used_bytes > 0;
	if (areas->used_bytes == 0)
		return UMEM_SWAP_NOWHERE;
	if (umem_swap_in_memory(areas))
		return UMEM_SWAP_MEMORY;
	if (memory || !info || info->present == 0 || info->zswapped_bytes > 0)
		return UMEM_SWAP_UNKNOWN;
	return info->present >> UMEM_MEMINFO_SWAP_CACHED & 1 && info->swap_cached_bytes == 0 ?
		UMEM_SWAP_DEVICE_ONLY : UMEM_SWAP_DEVICE;
}

enum umem_swap_place umem_reader_place(struct umem_regions_reader *reader)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };

	if (!reader->place_read)
		reader->place = umem_machine_read(reader->target, &machine) < 0 ?
			UMEM_SWAP_UNKNOWN : umem_swap_place(&machine.areas, &machine.info);
	reader->place_read = true;
	return reader->place;
}
