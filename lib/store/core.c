// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An ELF core file, for debuggers.
 *
 * Theory of operation
 *
 *     ELF header | program headers | section header, if need be | notes | pages
 *
 * Segments are made from runs of pages, not from regions, since a core can say of a
 * segment only "here are its first bytes":
 *
 *     in the image     p_filesz = p_memsz; zeros are holes of the file
 *     as in a file     p_filesz = 0; a debugger finds the file by NT_FILE
 *     not known        no segment: a debugger says that it cannot read there, which
 *                      it would not if it could take zeros for it
 *
 * Of the first page of a file that is an ELF object the bytes are put in all the
 * same, as the kernel does: debuggers find the build-id there, and by it know whether
 * the file is still the right one.
 *
 * Anonymous memory of which nothing was ever written has p_filesz = 0 too, as in the
 * kernel's cores. So have very long runs of zeros: reserved address space would make
 * the file longer than file systems allow. Readers take both for zeros.
 *
 * With 65,535 or more segments the number is in the sh_info of a section header, the
 * only one, and e_phnum is PN_XNUM.
 */
#include "lib/store/export.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/store/bytes.h"
#include "lib/store/core_notes.h"

#define PAGE UMEM_IMAGE_PAGE_BYTES

/* Zeros in a row that are a segment of their own, without bytes in the file. */
#define ZEROS_APART_BYTES (4ull << 30)

/** enum part - how a segment is told. */
enum part {
	PART_STORED,  /* data and zeros, in the file */
	PART_ZEROS,   /* zeros, not in the file */
	PART_FILE,    /* of a mapped file, not in the core */
	PART_COPIED,  /* of a mapped file, copied from it */
};

/**
 * struct segment - a PT_LOAD.
 * @start, @end: addresses.
 * @part: how it is told.
 * @offset: in the core.
 * @region: it is of.
 */
struct segment {
	uint64_t start;
	uint64_t end;
	enum part part;
	uint64_t offset;
	const struct umem_image_region *region;
};

/**
 * struct core - a core in the making.
 * @job, @process: of what.
 * @region: whose runs are being looked at.
 * @written: some page of it has content.
 * @v, @n, @room: segments, ascending.
 */
struct core {
	struct umem_export *job;
	const struct umem_image_process *process;
	const struct umem_image_region *region;
	bool written;
	struct segment *v;
	size_t n;
	size_t room;
};

static void core_deinit(struct core *core)
{
	free(core->v);
}

/* A debugger looks for what has no bytes in the core in a file of NT_FILE. */
static bool has_file(const struct umem_image_region *region)
{
	return region->file_backed || (region->path && region->path[0] == '/');
}

static int add_segment(struct core *core, uint64_t start, uint64_t end, enum part part)
{
	struct segment *last = core->n > 0 ? &core->v[core->n - 1] : NULL;

	if (last && last->region == core->region && last->end == start && last->part == part) {
		last->end = end;
		return 0;
	}
	if (core->n == core->room) {
		size_t room = core->room ? core->room * 2 : 64;
		struct segment *more = reallocarray(core->v, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		core->v = more;
		core->room = room;
	}
	core->v[core->n++] = (struct segment){ start, end, part, 0, core->region };
	return 0;
}

/* Does the file of a region begin like an ELF object? Then its first page goes in. */
static bool begins_with_elf(const struct umem_image_region *region)
{
	UMEM_BACKING struct umem_backing backing = UMEM_BACKING_NONE;
	uint8_t page[PAGE];

	/* What cannot be read is not an error: the debugger will miss the file, and say so. */
	return region->offset == 0 && umem_backing_open(region, &backing, NULL) == 0 &&
		umem_backing_read(&backing, region->start, page, 1, NULL) == 0 &&
		memcmp(page, ELFMAG, SELFMAG) == 0;
}

/* Pages of a mapped file. */
static int add_file(struct core *core, uint64_t start, uint64_t end)
{
	const struct umem_image_region *region = core->region;
	uint64_t copied = start;
	int r = 0;

	if (core->job->options.embed_files)
		copied = umem_max_u64(start, umem_min_u64(end, umem_backing_end(region)));
	else if (start == region->start && begins_with_elf(region))
		copied = start + PAGE;
	if (copied > start)
		r = add_segment(core, start, copied, PART_COPIED);
	core->job->total_bytes += copied - start;
	core->job->out.file_bytes += end - copied;
	return r != 0 || copied == end ? r : add_segment(core, copied, end, PART_FILE);
}

static int plan_run(void *user, const struct umem_image_run *run)
{
	struct core *core = user;
	uint64_t len = run->end - run->start;

	switch (run->what) {
	case UMEM_IMAGE_FILL:
	case UMEM_IMAGE_DATA:
		core->written = true;
		core->job->total_bytes += len;
		return add_segment(core, run->start, run->end, PART_STORED);
	case UMEM_IMAGE_ZERO:
		return add_segment(core, run->start, run->end,
			len >= ZEROS_APART_BYTES && !has_file(core->region) ? PART_ZEROS :
									      PART_STORED);
	case UMEM_IMAGE_FILE:
		return add_file(core, run->start, run->end);
	case UMEM_IMAGE_PARENT:
		return umem_export_unknown(core->job, run);
	default:
		core->job->out.unknown_bytes += len;
		return 0;
	}
}

/* The segments of all regions, without offsets yet. */
static int plan(struct core *core)
{
	int r = 0;

	for (size_t i = 0; i < core->process->n_regions && r == 0; i++) {
		const struct umem_image_region *region = &core->process->regions[i];
		size_t first = core->n;

		core->region = region;
		core->written = has_file(region);
		r = umem_image_each(core->job->image, core->process->space, region->start,
			region->end, plan_run, core);
		for (size_t k = first; k < core->n && !core->written; k++)
			core->v[k].part = PART_ZEROS;
	}
	return r;
}

static uint64_t file_bytes_of(const struct segment *segment)
{
	bool in_core = segment->part == PART_STORED || segment->part == PART_COPIED;

	return in_core ? segment->end - segment->start : 0;
}

/* Offsets of the segments. Return: 0; -EFBIG. */
static int place(struct core *core, uint64_t offset, uint64_t *ret_end)
{
	for (size_t i = 0; i < core->n; i++) {
		core->v[i].offset = offset;
		if (file_bytes_of(&core->v[i]) > INT64_MAX - offset)
			return umem_note_set(core->job->note, -EFBIG, core->v[i].start,
				"the memory is more than a file can hold");
		offset += file_bytes_of(&core->v[i]);
	}
	*ret_end = offset;
	return 0;
}

static Elf64_Word permissions(const struct umem_image_region *region)
{
	return (region->vma_flags & 1 ? PF_R : 0) | (region->vma_flags & 2 ? PF_W : 0) |
		(region->vma_flags & 4 ? PF_X : 0);
}

static int put_elf_header(const struct core *core, const struct umem_core_machine *machine,
	struct umem_bytes *to)
{
	uint64_t n = core->n + 1;
	Elf64_Ehdr head = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			EV_CURRENT, ELFOSABI_NONE },
		.e_type = ET_CORE,
		.e_machine = machine->elf_machine,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(head),
		.e_ehsize = sizeof(head),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = n < PN_XNUM ? (Elf64_Half)n : PN_XNUM,
	};

	if (n >= PN_XNUM) {
		head.e_shoff = sizeof(head) + n * sizeof(Elf64_Phdr);
		head.e_shentsize = sizeof(Elf64_Shdr);
		head.e_shnum = 1;
		head.e_shstrndx = SHN_UNDEF;
	}
	return umem_bytes_put(to, &head, sizeof(head));
}

static int put_program_headers(const struct core *core, const Elf64_Phdr *notes,
	struct umem_bytes *to)
{
	int r = umem_bytes_put(to, notes, sizeof(*notes));

	for (size_t i = 0; i < core->n && r == 0; i++) {
		const struct segment *segment = &core->v[i];
		const Elf64_Phdr head = {
			.p_type = PT_LOAD,
			.p_flags = permissions(segment->region),
			.p_offset = segment->offset,
			.p_vaddr = segment->start,
			.p_filesz = file_bytes_of(segment),
			.p_memsz = segment->end - segment->start,
			.p_align = PAGE,
		};

		r = umem_bytes_put(to, &head, sizeof(head));
	}
	return r;
}

/* All before the pages. Sets the offsets of the segments. */
static int put_headers(struct core *core, const struct umem_core_machine *machine,
	const struct umem_bytes *notes, struct umem_bytes *to, uint64_t *ret_length)
{
	const Elf64_Shdr number = { .sh_type = SHT_NULL, .sh_info = (Elf64_Word)(core->n + 1) };
	bool many = core->n + 1 >= PN_XNUM;
	uint64_t at = sizeof(Elf64_Ehdr) + (core->n + 1) * sizeof(Elf64_Phdr) +
		(many ? sizeof(number) : 0);
	const Elf64_Phdr note_head = { .p_type = PT_NOTE, .p_offset = at,
		.p_filesz = notes->n, .p_align = 4 };
	int r;

	if (core->n >= UINT32_MAX)
		return umem_note_set(core->job->note, -EFBIG, 0,
			"more segments than a core can have");
	r = place(core, umem_align_up(at + notes->n, PAGE), ret_length);
	if (r == 0)
		r = put_elf_header(core, machine, to);
	if (r == 0)
		r = put_program_headers(core, &note_head, to);
	if (r == 0 && many)
		r = umem_bytes_put(to, &number, sizeof(number));
	return r == 0 ? umem_bytes_put(to, notes->v, notes->n) : r;
}

/**
 * struct work - a segment on its way.
 * @core, @segment, @file: from where to where.
 */
struct work {
	struct core *core;
	const struct segment *segment;
	struct umem_sparse *file;
};

static int put_run(void *user, const struct umem_image_run *run)
{
	struct work *work = user;

	if (!umem_export_is_data(run))
		return 0;
	return umem_export_copy(work->core->job, work->core->process->space, run, work->file,
		work->segment->offset + (run->start - work->segment->start));
}

static int put_pages(struct core *core, struct umem_sparse *file)
{
	UMEM_BACKING struct umem_backing backing = UMEM_BACKING_NONE;
	struct umem_export *job = core->job;
	int r = 0;

	for (size_t i = 0; i < core->n && r == 0; i++) {
		const struct segment *segment = &core->v[i];
		struct work work = { core, segment, file };

		if (segment->part == PART_STORED)
			r = umem_image_each(job->image, core->process->space, segment->start,
				segment->end, put_run, &work);
		else if (segment->part == PART_COPIED)
			r = umem_export_copy_backing(job, segment->region, &backing,
				segment->start, segment->end, file, segment->offset);
	}
	return r;
}

static int write_core(struct core *core, const struct umem_bytes *headers, uint64_t length)
{
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;
	struct umem_export *job = core->job;
	int r = umem_sparse_open(job->path, &file, job->note);

	if (r == 0)
		r = umem_sparse_write(&file, 0, headers->v, headers->n, job->note);
	if (r == 0)
		r = put_pages(core, &file);
	if (r == 0)
		r = umem_sparse_set_length(&file, length, job->note);
	if (r == 0)
		r = umem_sparse_commit(&file, job->note);
	if (r != 0)
		return r;
	job->out.length_bytes = length;
	job->out.data_bytes = file.data_bytes;
	return 0;
}

int umem_core_export(struct umem_export *job)
{
	const struct umem_image_info *info = umem_image_info(job->image);
	const char *name = info ? info->machine : NULL;
	const struct umem_core_machine *machine = umem_core_machine(name);
	UMEM_CLEANUP(core_deinit) struct core core = { .job = job };
	UMEM_BYTES struct umem_bytes notes = { 0 }, headers = { 0 };
	uint64_t length = 0;
	int r = umem_export_process(job, &core.process);

	if (r == 0 && !machine)
		return umem_note_set(job->note, -ENOTSUP, 0,
			"cores of the image's machine '%s' are not known", name ? name : "");
	if (r == 0)
		r = umem_core_notes(core.process, machine, job->options.tid, &notes, job->note);
	if (r == 0)
		r = plan(&core);
	if (r == 0)
		r = put_headers(&core, machine, &notes, &headers, &length);
	return r == 0 ? write_core(&core, &headers, length) : r;
}
