// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages into CRIU's images: a pagemap, and the pages that it has, one behind the other.
 *
 *     pagemap-PID.img   head: pages id | 0x1000 +2 present | 0x8000 +1 in parent | ...
 *     pages-ID.img      those of 0x1000 and 0x2000
 *
 * What is in no entry is zeros, or that of the mapped file. So zeros in a mapping of
 * a file must be present, as bytes: a hole in pages-ID.img would mean that the pages
 * were superseded by those of a child.
 *
 * An entry "in parent" is looked up there under the same process or segment, at the same
 * address or offset. So it takes more than content that an image has from its parent:
 * the mapping must have been there, and of the same sort.
 *
 * Private memory is one pagemap a process. Shared memory is one a segment, by offset,
 * whoever maps it. Processes map different parts of one, so the parts are collected
 * first; what two have in common is of the same moment, and is taken from the first.
 */
#include "lib/store/criu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/store/image.h"

#define PAGE UMEM_IMAGE_PAGE_BYTES

/* Entries are written out when there are this many bytes. */
#define RECORDS_BYTES (1u << 20)

/**
 * struct pagemap - one in the making.
 * @dump: of which directory.
 * @map, @pages: its two files.
 * @map_at, @pages_at: their lengths so far.
 * @records: entries that are not written yet.
 * @last: the one that may still grow; no pages: none.
 * @space: whose pages.
 * @region: of which they are.
 * @shift: to be added to an address, for what stands in the entry.
 * @before: the process in the parent; NULL: it had none, or none is referred to.
 */
struct pagemap {
	struct umem_criu_dump *dump;
	struct umem_sparse map;
	struct umem_sparse pages;
	uint64_t map_at;
	uint64_t pages_at;
	struct umem_bytes records;
	struct umem_criu_run last;
	uint32_t space;
	const struct umem_image_region *region;
	uint64_t shift;
	const struct umem_image_process *before;
};

static void pagemap_deinit(struct pagemap *to)
{
	umem_sparse_deinit(&to->map);
	umem_sparse_deinit(&to->pages);
	umem_bytes_deinit(&to->records);
}

#define PAGEMAP UMEM_CLEANUP(pagemap_deinit)
#define PAGEMAP_NONE { .map = UMEM_SPARSE_NONE, .pages = UMEM_SPARSE_NONE }

static int pagemap_begin(struct umem_criu_dump *dump, const char *name, struct pagemap *to)
{
	struct umem_note *note = dump->job->note;
	uint32_t id = ++dump->n_pages_files;
	char pages[40];
	int r;

	snprintf(pages, sizeof(pages), "pages-%" PRIu32 ".img", id);
	to->dump = dump;
	r = umem_sparse_open_in(dump->dir.fd, name, &to->map, note);
	if (r == 0)
		r = umem_sparse_open_in(dump->dir.fd, pages, &to->pages, note);
	if (r == 0)
		r = umem_criu_put_magic(&to->records, UMEM_CRIU_COMMON);
	if (r == 0)
		r = umem_criu_put_magic(&to->records, UMEM_CRIU_PAGEMAP);
	return r == 0 ? umem_criu_put_head(&to->records, id) : r;
}

static int flush_records(struct pagemap *to)
{
	int r = umem_sparse_write(&to->map, to->map_at, to->records.v, to->records.n,
		to->dump->job->note);

	to->map_at += to->records.n;
	to->records.n = 0;
	return r;
}

static int flush_last(struct pagemap *to)
{
	int r = to->last.n_pages > 0 ? umem_criu_put_run(&to->records, &to->last) : 0;

	to->last.n_pages = 0;
	if (r == 0 && to->records.n >= RECORDS_BYTES)
		r = flush_records(to);
	return r;
}

/* Say what pages are; the bytes of those that are present are written by the caller. */
static int add_entry(struct pagemap *to, uint64_t addr, uint64_t len, uint32_t flags)
{
	struct umem_criu_run *last = &to->last;
	uint64_t vaddr = addr + to->shift;
	int r;

	/* A count past 32 bits would not be read by versions before 4.2. */
	if (last->n_pages > 0 && last->flags == flags &&
		last->vaddr + last->n_pages * PAGE == vaddr &&
		last->n_pages + len / PAGE <= UINT32_MAX) {
		last->n_pages += len / PAGE;
		return 0;
	}
	r = flush_last(to);
	*last = (struct umem_criu_run){ vaddr, len / PAGE, flags };
	return r;
}

static int pagemap_end(struct pagemap *to)
{
	struct umem_export *job = to->dump->job;
	int r = flush_last(to);

	if (r == 0)
		r = flush_records(to);
	if (r == 0)
		r = umem_sparse_commit(&to->map, job->note);
	if (r == 0)
		r = umem_sparse_commit(&to->pages, job->note);
	job->out.length_bytes += to->map_at + to->pages_at;
	job->out.data_bytes += to->map_at + to->pages_at;
	return r;
}

static bool is_segment(const struct pagemap *to)
{
	return umem_criu_is_segment(to->region);
}

static int put_present(struct pagemap *to, const struct umem_image_run *run)
{
	uint64_t len = run->end - run->start;
	int r = add_entry(to, run->start, len, UMEM_CRIU_PE_PRESENT);

	if (r == 0)
		r = umem_export_copy(to->dump->job, to->space, run, &to->pages, to->pages_at);
	to->pages_at += len;
	if (is_segment(to))
		to->dump->stats.shpages_written += len / PAGE;
	else
		to->dump->stats.pages_written += len / PAGE;
	return r;
}

static int put_parent(struct pagemap *to, const struct umem_image_run *run)
{
	uint64_t len = run->end - run->start;

	to->dump->job->out.parent_bytes += len;
	if (is_segment(to))
		to->dump->stats.shpages_skipped_parent += len / PAGE;
	else
		to->dump->stats.pages_skipped_parent += len / PAGE;
	return add_entry(to, run->start, len, UMEM_CRIU_PE_PARENT);
}

/* Would an entry at @addr of the parent's pagemap be of the same mapping? Up to *@ret_end. */
static bool same_mapping(const struct pagemap *to, uint64_t addr, uint64_t end, uint64_t *ret_end)
{
	const struct umem_image *parent = umem_image_parent(to->dump->job->image);
	const struct umem_image_region *now = to->region;
	const struct umem_image_region *then = umem_image_region(parent, to->before->space, addr);

	*ret_end = then ? umem_min_u64(end, then->start > addr ? then->start : then->end) : end;
	if (!then || then->start > addr)
		return false;
	if (!is_segment(to))
		return !umem_criu_is_segment(then);
	return umem_criu_is_segment(then) && umem_criu_shmid(then) == umem_criu_shmid(now) &&
		then->offset - then->start == now->offset - now->start;
}

/* Content: that of the parent where the parent's images have it, too. */
static int put_content(struct pagemap *to, const struct umem_image_run *run)
{
	struct umem_image_run part = *run;
	int r = 0;

	if (!to->before)
		return put_present(to, run);
	for (; part.start < run->end && r == 0; part.start = part.end) {
		bool inherited = umem_export_inherited(to->dump->job->image, to->space, part.start,
			run->end, to->before->space, &part.end);

		if (inherited && same_mapping(to, part.start, part.end, &part.end))
			r = put_parent(to, &part);
		else
			r = put_present(to, &part);
	}
	return r;
}

static int put_run(void *user, const struct umem_image_run *run)
{
	struct pagemap *to = user;
	struct umem_export *job = to->dump->job;
	uint64_t len = run->end - run->start;
	bool zeros = run->what == UMEM_IMAGE_ZERO;

	if (is_segment(to))
		to->dump->stats.shpages_scanned += len / PAGE;
	else
		to->dump->stats.pages_scanned += len / PAGE;
	if (run->what == UMEM_IMAGE_FILE) {
		job->out.file_bytes += len;
		return 0;
	}
	if (zeros && !to->region->file_backed)
		return 0;
	if (zeros)
		return put_present(to, run);
	if (umem_export_is_data(run))
		return put_content(to, run);
	if (run->what == UMEM_IMAGE_NONE && umem_export_is_kernel(to->region)) {
		job->out.unknown_bytes += len;
		return 0;
	}
	return umem_export_unknown(job, run);
}

/* The process in the parent that entries may refer to. */
static const struct umem_image_process *before_of(const struct umem_criu_dump *dump, int32_t pid)
{
	struct umem_image *parent = umem_image_parent(dump->job->image);
	const struct umem_image_process *v;
	size_t n;

	if (!parent || !dump->job->options.parent_path)
		return NULL;
	v = umem_image_processes(parent, &n);
	for (size_t i = 0; i < n; i++) {
		if (v[i].pid == pid)
			return &v[i];
	}
	return NULL;
}

int umem_criu_dump_pages(struct umem_criu_dump *dump, const struct umem_image_process *process)
{
	PAGEMAP struct pagemap to = PAGEMAP_NONE;
	char name[40];
	int r;

	snprintf(name, sizeof(name), "pagemap-%d.img", process->pid);
	r = pagemap_begin(dump, name, &to);
	to.space = process->space;
	to.before = before_of(dump, process->pid);
	for (size_t i = 0; i < process->n_regions && r == 0; i++) {
		to.region = &process->regions[i];
		if (!is_segment(&to))
			r = umem_image_each(dump->job->image, to.space, to.region->start,
				to.region->end, put_run, &to);
	}
	return r == 0 ? pagemap_end(&to) : r;
}

/**
 * struct part - some of a segment, as a process maps it.
 * @shmid: of the segment.
 * @start, @end: offsets in it.
 * @region, @process: where its pages are.
 */
struct part {
	uint64_t shmid;
	uint64_t start;
	uint64_t end;
	const struct umem_image_region *region;
	const struct umem_image_process *process;
};

static int compare_parts(const void *a, const void *b)
{
	const struct part *p = a, *q = b;

	if (p->shmid != q->shmid)
		return p->shmid < q->shmid ? -1 : 1;
	return p->start < q->start ? -1 : p->start > q->start;
}

/* All parts of all segments, sorted. */
static int find_parts(struct umem_image *image, struct part **ret_v, size_t *ret_n)
{
	size_t n_processes, n = 0;
	const struct umem_image_process *v = umem_image_processes(image, &n_processes);
	UMEM_FREE struct part *parts = NULL;

	for (size_t i = 0; i < n_processes; i++)
		n += v[i].n_regions;
	parts = calloc(n + 1, sizeof(*parts));
	if (!parts)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < n_processes; i++) {
		for (size_t k = 0; k < v[i].n_regions; k++) {
			const struct umem_image_region *region = &v[i].regions[k];
			uint64_t len = region->end - region->start;

			if (umem_criu_is_segment(region) && region->offset <= UINT64_MAX - len)
				parts[n++] = (struct part){ umem_criu_shmid(region),
					region->offset, region->offset + len, region, &v[i] };
		}
	}
	qsort(parts, n, sizeof(*parts), compare_parts);
	*ret_v = UMEM_TAKE_PTR(parts);
	*ret_n = n;
	return 0;
}

/* The parts of one segment, up to the first of another. */
static int dump_segment(struct umem_criu_dump *dump, const struct part **at,
	const struct part *end)
{
	PAGEMAP struct pagemap to = PAGEMAP_NONE;
	const struct part *part = *at;
	uint64_t shmid = part->shmid, done = 0;
	char name[60];
	int r;

	snprintf(name, sizeof(name), "pagemap-shmem-%" PRIu64 ".img", shmid);
	r = pagemap_begin(dump, name, &to);
	for (; part < end && part->shmid == shmid && r == 0; part++) {
		uint64_t from = umem_max_u64(part->start, done);

		to.region = part->region;
		to.space = part->process->space;
		to.before = before_of(dump, part->process->pid);
		to.shift = part->start - part->region->start;
		if (from < part->end)
			r = umem_image_each(dump->job->image, to.space, from - to.shift,
				part->end - to.shift, put_run, &to);
		done = umem_max_u64(done, part->end);
	}
	*at = part;
	return r == 0 ? pagemap_end(&to) : r;
}

int umem_criu_dump_segments(struct umem_criu_dump *dump)
{
	UMEM_FREE struct part *parts = NULL;
	const struct part *at;
	size_t n;
	int r = find_parts(dump->job->image, &parts, &n);

	if (r < 0)
		return r;
	for (at = parts; at < parts + n && r == 0;)
		r = dump_segment(dump, &at, parts + n);
	return r;
}
