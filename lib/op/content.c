// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which pages of a target have content of their own.
 *
 * Theory of operation
 *
 *     anonymous, shared, huge    the residency map: in memory or swapped. Of a
 *                                shared object whatever it holds, mapped or not
 *     private file mappings      present and not the file's, or swapped: a scan
 *     shared files, writable     present: what was written is among it
 *     [vdso], rings              all
 *     files that are deleted     all, up to the end of the file
 *
 * A page of zeros that the kernel shares out, an entry that is only a mark, a page
 * that was never touched: these cost a snapshot nothing.
 */
#include "lib/op/content.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <umemd/residency.h>

#include "lib/base/attr.h"
#include "lib/base/note.h"
#include "lib/kern/uapi.h"
#include "lib/mem/residency.h"
#include "lib/mem/scan.h"

#define VEC 512

/* The file behind a mapping, by the mapping itself. Return: 0 or -errno. */
static int stat_mapped(const struct umem_target *target, const struct umem_region *region,
	struct stat *ret_stat)
{
	char path[64];

	snprintf(path, sizeof(path), "map_files/%llx-%llx", (unsigned long long)region->start,
		(unsigned long long)region->end);
	return fstatat(target->proc_fd, path, ret_stat, 0) < 0 ? -errno : 0;
}

/*
 * Will who reads the image find the file by its name? The kernel says of a file that has
 * no name any more, or whose name is another file's by now, that it is deleted.
 */
static bool is_reachable(const struct umem_target *target, const struct umem_region *region)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(region->name), tail = sizeof(deleted) - 1;
	struct stat named, mapped;

	if (len > tail && strcmp(region->name + len - tail, deleted) == 0)
		return false;
	if (target->same_mounts)
		return true;
	if (stat(region->name, &named) < 0)
		return false;
	if (stat_mapped(target, region, &mapped) == 0)
		return named.st_dev == mapped.st_dev && named.st_ino == mapped.st_ino;
	return named.st_ino == region->inode;
}

/* Where the pages of a mapping end that its file has. */
static uint64_t end_of_file(const struct umem_target *target, const struct umem_region *region)
{
	struct stat st;
	uint64_t size;

	if (stat_mapped(target, region, &st) < 0)
		return region->end;
	size = umem_align_up((uint64_t)st.st_size, UMEM_PAGE_BYTES);
	if (size <= region->offset)
		return region->start;
	return umem_min_u64(region->end, region->start + (size - region->offset));
}

static bool is_file(const struct umem_region *region)
{
	return region->kind == UMEM_KIND_FILE_PRIVATE || region->kind == UMEM_KIND_FILE_SHARED;
}

enum umem_holds umem_content_holds(const struct umem_target *target,
	const struct umem_region *region)
{
	if (umem_kind_zero_filled(region->kind))
		return UMEM_HOLDS_MEMORY;
	if (is_file(region) && !is_reachable(target, region))
		return UMEM_HOLDS_ALL;
	switch (region->kind) {
	case UMEM_KIND_FILE_PRIVATE:
		return UMEM_HOLDS_COPIES;
	case UMEM_KIND_FILE_SHARED:
		return region->vma_flags & UMEM_VMA_WRITE ? UMEM_HOLDS_MAPPED : UMEM_HOLDS_FILE;
	case UMEM_KIND_KERNEL:
		return strcmp(region->name, "[vdso]") == 0 ? UMEM_HOLDS_ALL : UMEM_HOLDS_NOTHING;
	case UMEM_KIND_KERNEL_SHARED:
		return UMEM_HOLDS_ALL;
	default:
		return UMEM_HOLDS_NOTHING;
	}
}

void umem_content_deinit(struct umem_content *content)
{
	umem_pageset_deinit(&content->data);
	umem_pageset_deinit(&content->swapped);
	umem_pageset_deinit(&content->blank);
}

/* Pages that are there; with @copies, only those that are not the file's. */
static int scan_present(struct umem_target *target, uint64_t start, uint64_t end, bool copies,
	struct umem_pageset *out)
{
	struct page_region vec[VEC];
	struct umem_scan scan = {
		.at = start,
		.end = end,
		.inverted = copies ? PAGE_IS_FILE : 0,
		.all = PAGE_IS_PRESENT | (copies ? PAGE_IS_FILE : 0),
	};

	return umem_scan_pages(target, &scan, vec, VEC, out);
}

static int find_copies(struct umem_target *target, uint64_t start, uint64_t end,
	struct umem_content *content)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset maybe = { 0 }, swapped = { 0 };
	struct page_region vec[VEC];
	struct umem_scan scan = { .at = start, .end = end, .all = PAGE_IS_SWAPPED };
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = scan_present(target, start, end, true, &content->data);

	if (r == 0)
		r = umem_scan_pages(target, &scan, vec, VEC, &maybe);
	if (r == 0)
		r = umem_pageset_walk(&maybe, &iter);
	if (r < 0)
		return r;
	/* Where the kernel does not tell marks from swapped pages, both are read. */
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_scan_swapped(target, run.start, run.end, &swapped, &swapped);
	umem_pageset_walk_end(&iter);
	if (r == 0)
		r = umem_pageset_union(&content->data, &swapped);
	return r == 0 ? umem_pageset_union(&content->swapped, &swapped) : r;
}

/* What is not memory, or not only. */
static int find_in(struct umem_target *target, const struct umem_region *region, uint64_t start,
	uint64_t end, struct umem_content *content, struct umem_reasons *why)
{
	switch (umem_content_holds(target, region)) {
	case UMEM_HOLDS_COPIES:
		return find_copies(target, start, end, content);
	case UMEM_HOLDS_MAPPED:
		return scan_present(target, start, end, false, &content->data);
	case UMEM_HOLDS_ALL:
		if (is_file(region))
			end = umem_min_u64(end, end_of_file(target, region));
		return start < end ? umem_pageset_add(&content->data, start, end) : 0;
	case UMEM_HOLDS_NOTHING:
		if (region->kind != UMEM_KIND_DEVICE)
			return 0;
		return umem_reasons_add(why, start, end,
			"not in the image: memory of a device (%s)", region->name);
	default:
		return 0;
	}
}

/* Memory: by a map of where its pages are. */
static int find_memory(struct umem_target *target, const struct umem_ranges *memory,
	struct umem_content *content, struct umem_note *note)
{
	struct umem_residency_options options = {
		.size = sizeof(options),
		.regions = memory->v,
		.n_regions = memory->n,
	};
	UMEM_CLEANUP(umem_residency_freep) struct umem_residency *map = NULL;
	struct umem_pageset *swapped;
	int r = umem_residency_new(target, &options, &map, note);

	/* All of it was unmapped since the regions were read. */
	if (r == -ENOENT) {
		umem_note_clear(note);
		return 0;
	}
	if (r != 0)
		return r;
	swapped = umem_residency_pages(map, UMEM_STATE_SWAPPED);
	r = umem_pageset_union(&content->data, umem_residency_pages(map, UMEM_STATE_RESIDENT));
	if (r == 0)
		r = umem_pageset_union(&content->data, swapped);
	if (r == 0)
		r = umem_pageset_union(&content->swapped, swapped);
	return r == 0 ? umem_pageset_union(&content->blank,
		umem_residency_pages(map, UMEM_STATE_GUARD)) : r;
}

int umem_content_find(struct umem_target *target, const struct umem_ranges *only,
	struct umem_content *content, struct umem_reasons *why, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges memory = { 0 };
	const struct umem_space *space = &target->space;
	int r = 0;

	for (size_t i = 0; i < only->n && r == 0; i++)
		for (size_t k = umem_space_first(space, only->v[i].start);
			k < space->n && space->v[k].start < only->v[i].end && r == 0; k++) {
			const struct umem_region *region = &space->v[k];
			uint64_t start = umem_max_u64(region->start, only->v[i].start);
			uint64_t end = umem_min_u64(region->end, only->v[i].end);

			if (umem_kind_zero_filled(region->kind))
				r = umem_ranges_add(&memory, start, end);
			else
				r = find_in(target, region, start, end, content, why);
		}
	if (r == 0 && memory.n)
		r = find_memory(target, &memory, content, note);
	return r == -ESRCH ? UMEM_GONE : r;
}

int umem_content_settle(struct umem_target *target, struct umem_pageset *set,
	struct umem_pageset *out)
{
	UMEM_CLEANUP(umem_content_deinit) struct umem_content now = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset files = { 0 };
	const struct umem_space *space = &target->space;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		for (size_t k = umem_space_first(space, run.start);
			k < space->n && space->v[k].start < run.end && r == 0; k++) {
			const struct umem_region *region = &space->v[k];
			uint64_t start = umem_max_u64(region->start, run.start);
			uint64_t end = umem_min_u64(region->end, run.end);
			enum umem_holds holds = umem_content_holds(target, region);

			if (holds != UMEM_HOLDS_COPIES && holds != UMEM_HOLDS_MAPPED)
				continue;
			r = umem_pageset_add(&files, start, end);
			if (r == 0)
				r = find_in(target, region, start, end, &now, NULL);
		}
	umem_pageset_walk_end(&iter);
	if (r == 0)
		r = umem_pageset_subtract(&files, &now.data);
	if (r == 0)
		r = umem_pageset_subtract(set, &files);
	if (r == 0)
		r = umem_pageset_union(out, &files);
	return r == -ESRCH ? UMEM_GONE : r;
}
