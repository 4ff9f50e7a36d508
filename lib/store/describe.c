// SPDX-License-Identifier: LGPL-2.1-or-later
/* The description of an image made into parts; described.c reads them. */
#include "lib/store/describe.h"

#include <errno.h>

/* What a reader must know to make sense of the rest is marked so. */
static void add_info(const struct umem_image_info *info, struct umem_parts *parts)
{
	size_t all = umem_parts_begin(parts, UMEM_TAG_INFO, UMEM_PART_REQUIRED), begun;

	umem_parts_whole_text(parts, UMEM_TAG_METHOD, info->method);
	umem_parts_whole_text(parts, UMEM_TAG_CREATOR, info->creator);
	umem_parts_whole_text(parts, UMEM_TAG_KERNEL, info->kernel);
	umem_parts_whole_text(parts, UMEM_TAG_MACHINE, info->machine);
	begun = umem_parts_begin(parts, UMEM_TAG_TIMES, UMEM_PART_REQUIRED);
	umem_parts_u64(parts, info->time_ns);
	umem_parts_u64(parts, info->pause_ns);
	umem_parts_u64(parts, info->total_ns);
	umem_parts_u64(parts, info->rounds);
	umem_parts_u64(parts, info->complete);
	umem_parts_end(parts, begun);
	for (size_t i = 0; i < info->n_incomplete; i++) {
		const struct umem_image_incomplete *v = &info->incomplete[i];

		begun = umem_parts_begin(parts, UMEM_TAG_INCOMPLETE, UMEM_PART_REQUIRED);
		umem_parts_u32(parts, v->space);
		umem_parts_u32(parts, 0);
		umem_parts_u64(parts, v->start);
		umem_parts_u64(parts, v->end);
		umem_parts_text(parts, v->reason);
		umem_parts_end(parts, begun);
	}
	umem_parts_end(parts, all);
}

/* What lies behind the NUL of a name is nobody's business. */
static void add_name(struct umem_parts *parts, const char *name)
{
	char clean[16] = { 0 };

	memcpy(clean, name, strnlen(name, sizeof(clean) - 1));
	umem_parts_add(parts, clean, sizeof(clean));
}

static void add_thread(const struct umem_image_thread *thread, struct umem_parts *parts)
{
	size_t all = umem_parts_begin(parts, UMEM_TAG_THREAD, UMEM_PART_REQUIRED);

	umem_parts_u32(parts, (uint32_t)thread->tid);
	umem_parts_u32(parts, 0);
	add_name(parts, thread->name);
	for (size_t i = 0; i < thread->n_blobs; i++) {
		size_t begun = umem_parts_begin(parts, UMEM_TAG_BLOB, UMEM_PART_REQUIRED);

		umem_parts_u32(parts, thread->blobs[i].type);
		umem_parts_u32(parts, 0);
		umem_parts_add(parts, thread->blobs[i].bytes, thread->blobs[i].len_bytes);
		umem_parts_end(parts, begun);
	}
	umem_parts_end(parts, all);
}

static void add_region(const struct umem_image_region *region, struct umem_parts *parts)
{
	size_t all = umem_parts_begin(parts, UMEM_TAG_REGION, UMEM_PART_REQUIRED);

	umem_parts_u64(parts, region->start);
	umem_parts_u64(parts, region->end);
	umem_parts_u64(parts, region->offset);
	umem_parts_u64(parts, region->inode);
	umem_parts_u64(parts, region->page_size_bytes);
	umem_parts_u64(parts, region->file_size_bytes);
	umem_parts_u64(parts, region->file_mtime_ns);
	umem_parts_u32(parts, region->dev_major);
	umem_parts_u32(parts, region->dev_minor);
	umem_parts_u32(parts, region->vma_flags);
	umem_parts_u32(parts, region->kind);
	umem_parts_u32(parts, region->file_backed ? UMEM_REGION_FILE_BACKED : 0);
	umem_parts_u32(parts, 0);
	umem_parts_text(parts, region->kind_name);
	umem_parts_text(parts, region->path);
	umem_parts_end(parts, all);
}

static void add_bytes(struct umem_parts *parts, uint32_t tag, const void *bytes,
	size_t len_bytes)
{
	size_t begun = umem_parts_begin(parts, tag, 0);

	umem_parts_add(parts, bytes, len_bytes);
	umem_parts_end(parts, begun);
}

static void add_process(const struct umem_image_process *process, struct umem_parts *parts)
{
	size_t all = umem_parts_begin(parts, UMEM_TAG_PROCESS, UMEM_PART_REQUIRED);
	size_t begun = umem_parts_begin(parts, UMEM_TAG_BASE, UMEM_PART_REQUIRED);

	umem_parts_u32(parts, process->space);
	umem_parts_u32(parts, (uint32_t)process->pid);
	umem_parts_u32(parts, (uint32_t)process->ppid);
	umem_parts_u32(parts, (uint32_t)process->pgid);
	umem_parts_u32(parts, (uint32_t)process->sid);
	umem_parts_u32(parts, process->uid);
	umem_parts_u32(parts, process->gid);
	umem_parts_u32(parts, 0);
	umem_parts_u64(parts, process->start_ticks);
	add_name(parts, process->comm);
	umem_parts_end(parts, begun);
	umem_parts_whole_text(parts, UMEM_TAG_EXE, process->exe);
	add_bytes(parts, UMEM_TAG_CMDLINE, process->cmdline, process->cmdline_len_bytes);
	add_bytes(parts, UMEM_TAG_AUXV, process->auxv, process->auxv_len_bytes);
	for (size_t i = 0; i < process->n_threads; i++)
		add_thread(&process->threads[i], parts);
	for (size_t i = 0; i < process->n_regions; i++)
		add_region(&process->regions[i], parts);
	umem_parts_end(parts, all);
}

static bool is_named(const char *name, size_t room)
{
	return memchr(name, '\0', room) != NULL;
}

static int check(const struct umem_image_process *process)
{
	uint64_t end = 0;

	if (process->space >= UMEM_MAX_SPACES || !is_named(process->comm, sizeof(process->comm)))
		return -EINVAL;
	for (size_t i = 0; i < process->n_threads; i++) {
		if (!is_named(process->threads[i].name, sizeof(process->threads[i].name)))
			return -EINVAL;
	}
	for (size_t i = 0; i < process->n_regions; i++) {
		const struct umem_image_region *region = &process->regions[i];

		if (region->start < end || region->end <= region->start ||
			(region->start | region->end) % UMEM_IMAGE_PAGE_BYTES)
			return -EINVAL;
		end = region->end;
	}
	return 0;
}

int umem_describe(const struct umem_image_process *processes, size_t n,
	const struct umem_image_info *info, struct umem_parts *parts)
{
	static const struct umem_image_info nothing;

	if (n > UMEM_MAX_PROCESSES)
		return -E2BIG;
	for (size_t i = 0; i < n; i++) {
		int r = check(&processes[i]);

		if (r < 0)
			return r;
	}
	add_info(info ? info : &nothing, parts);
	for (size_t i = 0; i < n; i++)
		add_process(&processes[i], parts);
	return parts->failed ? -ENOMEM : 0;
}
