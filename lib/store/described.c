// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The description of an image, read from its parts; see describe.h.
 *
 * The parts are walked twice: once to count, once to fill arrays of just that length.
 * Both walks are the same code, so that they cannot disagree.
 */
#include "lib/store/describe.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"

/** struct counts - how many of each there are; of the second walk: were filled in. */
struct counts {
	size_t processes;
	size_t incomplete;
	size_t threads;
	size_t blobs;
	size_t regions;
};

/**
 * struct walk - a walk over the parts.
 * @to: NULL on the first one.
 * @why: what is wrong.
 */
struct walk {
	struct counts n;
	struct umem_described *to;
	const char *why;
};

static int wrong(struct walk *w, const char *why)
{
	w->why = why;
	return -EBADMSG;
}

static int unknown(struct walk *w, const struct umem_part *part)
{
	if (!part->required)
		return 0;
	w->why = "it has a part that this version does not know and must";
	return -ENOTSUP;
}

static int read_text(struct walk *w, const struct umem_part *part, const char **ret_text)
{
	const char *text = umem_part_text(part, 0);

	if (!text)
		return wrong(w, "a text of the description has no end");
	if (w->to)
		*ret_text = text;
	return 0;
}

static int read_times(struct walk *w, const struct umem_part *part, struct umem_image_info *info)
{
	if (part->len_bytes < UMEM_TIMES_BYTES)
		return wrong(w, "the times are cut off");
	info->time_ns = umem_get64(part->at);
	info->pause_ns = umem_get64(part->at + 8);
	info->total_ns = umem_get64(part->at + 16);
	info->rounds = umem_get64(part->at + 24);
	info->complete = umem_get64(part->at + 32) == 1;
	return 0;
}

static int read_incomplete(struct walk *w, const struct umem_part *part)
{
	const char *reason = umem_part_text(part, UMEM_INCOMPLETE_BYTES);

	if (!reason)
		return wrong(w, "a range that is not complete is cut off");
	if (w->to)
		w->to->incomplete[w->n.incomplete] = (struct umem_image_incomplete){
			.space = umem_get32(part->at),
			.start = umem_get64(part->at + 8),
			.end = umem_get64(part->at + 16),
			.reason = reason,
		};
	w->n.incomplete++;
	return 0;
}

static int read_info_part(struct walk *w, const struct umem_part *part,
	struct umem_image_info *info)
{
	switch (part->tag) {
	case UMEM_TAG_METHOD:
		return read_text(w, part, &info->method);
	case UMEM_TAG_CREATOR:
		return read_text(w, part, &info->creator);
	case UMEM_TAG_KERNEL:
		return read_text(w, part, &info->kernel);
	case UMEM_TAG_MACHINE:
		return read_text(w, part, &info->machine);
	case UMEM_TAG_TIMES:
		return read_times(w, part, info);
	case UMEM_TAG_INCOMPLETE:
		return read_incomplete(w, part);
	default:
		return unknown(w, part);
	}
}

/* All parts of one, each given to @read. */
static int each_part(struct walk *w, struct umem_cursor c, void *user,
	int (*read)(struct walk *w, const struct umem_part *part, void *user))
{
	struct umem_part part;
	int r;

	while ((r = umem_part_next(&c, &part)) > 0) {
		r = read(w, &part, user);
		if (r < 0)
			return r;
	}
	return r < 0 ? wrong(w, "a part of the description is cut off") : 0;
}

static int info_part(struct walk *w, const struct umem_part *part, void *user)
{
	return read_info_part(w, part, user);
}

static int blob_part(struct walk *w, const struct umem_part *part, void *user)
{
	struct umem_image_thread *thread = user;

	if (part->tag != UMEM_TAG_BLOB)
		return unknown(w, part);
	if (part->len_bytes < 8 || part->len_bytes - 8 > UINT32_MAX)
		return wrong(w, "what is known of a thread is cut off");
	if (w->to) {
		w->to->blobs[w->n.blobs] = (struct umem_image_blob){
			.type = umem_get32(part->at),
			.len_bytes = (uint32_t)(part->len_bytes - 8),
			.bytes = part->at + 8,
		};
		thread->n_blobs++;
	}
	w->n.blobs++;
	return 0;
}

static int read_thread(struct walk *w, const struct umem_part *part,
	struct umem_image_process *process)
{
	struct umem_image_thread scratch, *thread = &scratch;

	if (part->len_bytes < UMEM_THREAD_BYTES || part->at[UMEM_THREAD_BYTES - 1] != '\0')
		return wrong(w, "a thread is cut off");
	if (w->to)
		thread = &w->to->threads[w->n.threads];
	*thread = (struct umem_image_thread){ .tid = (int32_t)umem_get32(part->at) };
	memcpy(thread->name, part->at + 8, sizeof(thread->name));
	if (w->to) {
		thread->blobs = w->to->blobs + w->n.blobs;
		process->n_threads++;
	}
	w->n.threads++;
	return each_part(w, umem_part_cursor(part, UMEM_THREAD_BYTES), thread, blob_part);
}

/* Two texts, one behind the other, up to the end of the part. */
static bool two_texts(const struct umem_part *part, size_t offset, const char **ret_first,
	const char **ret_second)
{
	const char *first = (const char *)part->at + offset, *nul;

	if (part->len_bytes <= offset)
		return false;
	nul = memchr(first, '\0', part->len_bytes - offset);
	if (!nul)
		return false;
	*ret_first = first;
	*ret_second = umem_part_text(part, offset + (size_t)(nul - first) + 1);
	return *ret_second != NULL;
}

static int read_region(struct walk *w, const struct umem_part *part,
	struct umem_image_process *process, uint64_t *last_end)
{
	const unsigned char *at = part->at;
	struct umem_image_region region;

	if (!two_texts(part, UMEM_REGION_BYTES, &region.kind_name, &region.path))
		return wrong(w, "a region is cut off");
	region.start = umem_get64(at);
	region.end = umem_get64(at + 8);
	region.offset = umem_get64(at + 16);
	region.inode = umem_get64(at + 24);
	region.page_size_bytes = umem_get64(at + 32);
	region.file_size_bytes = umem_get64(at + 40);
	region.file_mtime_ns = umem_get64(at + 48);
	region.dev_major = umem_get32(at + 56);
	region.dev_minor = umem_get32(at + 60);
	region.vma_flags = umem_get32(at + 64);
	region.kind = umem_get32(at + 68);
	region.file_backed = umem_get32(at + 72) & UMEM_REGION_FILE_BACKED;
	if (region.start < *last_end || region.end <= region.start ||
		(region.start | region.end) % UMEM_IMAGE_PAGE_BYTES)
		return wrong(w, "regions are not in ascending order");
	*last_end = region.end;
	if (w->to) {
		w->to->regions[w->n.regions] = region;
		process->n_regions++;
	}
	w->n.regions++;
	return 0;
}

/** struct at_process - a process that is being read. */
struct at_process {
	struct umem_image_process *process;
	uint64_t last_end;
	bool has_base;
};

static int read_base(struct walk *w, const struct umem_part *part, struct at_process *at)
{
	struct umem_image_process *process = at->process;

	if (part->len_bytes < UMEM_BASE_BYTES || part->at[UMEM_BASE_BYTES - 1] != '\0' ||
		at->has_base)
		return wrong(w, "a process is cut off");
	at->has_base = true;
	process->space = umem_get32(part->at);
	process->pid = (int32_t)umem_get32(part->at + 4);
	process->ppid = (int32_t)umem_get32(part->at + 8);
	process->pgid = (int32_t)umem_get32(part->at + 12);
	process->sid = (int32_t)umem_get32(part->at + 16);
	process->uid = umem_get32(part->at + 20);
	process->gid = umem_get32(part->at + 24);
	process->start_ticks = umem_get64(part->at + 32);
	memcpy(process->comm, part->at + 40, sizeof(process->comm));
	return process->space < UMEM_MAX_SPACES ? 0 : wrong(w, "a process has no possible space");
}

static int process_part(struct walk *w, const struct umem_part *part, void *user)
{
	struct at_process *at = user;

	switch (part->tag) {
	case UMEM_TAG_BASE:
		return read_base(w, part, at);
	case UMEM_TAG_EXE:
		return read_text(w, part, &at->process->exe);
	case UMEM_TAG_CMDLINE:
		at->process->cmdline = (const char *)part->at;
		at->process->cmdline_len_bytes = part->len_bytes;
		return 0;
	case UMEM_TAG_AUXV:
		at->process->auxv = part->at;
		at->process->auxv_len_bytes = part->len_bytes;
		return 0;
	case UMEM_TAG_THREAD:
		return read_thread(w, part, at->process);
	case UMEM_TAG_REGION:
		return read_region(w, part, at->process, &at->last_end);
	default:
		return unknown(w, part);
	}
}

static int read_process(struct walk *w, const struct umem_part *part)
{
	struct umem_image_process scratch;
	struct at_process at = { .process = &scratch };
	int r;

	if (w->n.processes == UMEM_MAX_PROCESSES)
		return wrong(w, "it has too many processes");
	if (w->to)
		at.process = &w->to->processes[w->n.processes];
	*at.process = (struct umem_image_process){ .exe = "", .cmdline = "" };
	if (w->to) {
		at.process->threads = w->to->threads + w->n.threads;
		at.process->regions = w->to->regions + w->n.regions;
	}
	w->n.processes++;
	r = each_part(w, umem_part_cursor(part, 0), &at, process_part);
	if (r == 0 && !at.has_base)
		return wrong(w, "a process has no base");
	return r;
}

static int index_part(struct walk *w, const struct umem_part *part, void *user)
{
	struct umem_image_info *info = user;

	if (part->tag == UMEM_TAG_INFO)
		return each_part(w, umem_part_cursor(part, 0), info, info_part);
	if (part->tag == UMEM_TAG_PROCESS)
		return read_process(w, part);
	return 0;
}

static int make_room(const struct counts *n, struct umem_described *to)
{
	to->processes = calloc(n->processes + 1, sizeof(*to->processes));
	to->incomplete = calloc(n->incomplete + 1, sizeof(*to->incomplete));
	to->threads = calloc(n->threads + 1, sizeof(*to->threads));
	to->blobs = calloc(n->blobs + 1, sizeof(*to->blobs));
	to->regions = calloc(n->regions + 1, sizeof(*to->regions));
	if (!to->processes || !to->incomplete || !to->threads || !to->blobs || !to->regions)
		return -ENOMEM;
	return 0;
}

int umem_described_read(struct umem_cursor index, struct umem_described *ret_described,
	const char **ret_why)
{
	UMEM_CLEANUP(umem_described_deinit) struct umem_described to = { 0 };
	struct walk count = { 0 }, fill = { .to = &to };
	struct umem_image_info info = { .method = "", .creator = "", .kernel = "", .machine = "" };
	int r = each_part(&count, index, &info, index_part);

	if (r < 0) {
		*ret_why = count.why;
		return r;
	}
	r = make_room(&count.n, &to);
	if (r < 0)
		return r;
	to.info = info;
	r = each_part(&fill, index, &to.info, index_part);
	if (r < 0) {
		*ret_why = fill.why;
		return r;
	}
	to.info.incomplete = to.incomplete;
	to.info.n_incomplete = fill.n.incomplete;
	to.n_processes = fill.n.processes;
	*ret_described = to;
	to = (struct umem_described){ 0 };
	return 0;
}

void umem_described_deinit(struct umem_described *described)
{
	free(described->processes);
	free(described->incomplete);
	free(described->threads);
	free(described->blobs);
	free(described->regions);
	*described = (struct umem_described){ 0 };
}
