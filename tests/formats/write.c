// SPDX-License-Identifier: LGPL-2.1-or-later
/* The model of memory as an image, as JSON, and against an image. */
#include <elf.h>
#include <limits.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/formats/model.h"
#include "tests/lib/harness.h"

static const char *const kinds[] = { "anonymous", "file-private", "file-shared", "shmem",
	"special" };
static char mapped_file[PATH_MAX];

static const char *path_of(const struct m_region *region)
{
	if (!mapped_file[0])
		T_CHECK(realpath("mapped-file", mapped_file));
	switch (region->kind) {
	case M_FILE_PRIVATE:
	case M_FILE_SHARED:
		return mapped_file;
	case M_SEGMENT:
		return "/memfd:segment (deleted)";
	case M_KERNEL:
		return "[vvar]";
	default:
		return "";
	}
}

static bool of_file(const struct m_region *region)
{
	return region->kind == M_FILE_PRIVATE || region->kind == M_FILE_SHARED;
}

/**
 * struct told - what an image is told of a process; too large for a stack.
 */
struct told {
	struct umem_image_region regions[M_MAX_REGIONS];
	struct umem_image_thread threads[M_MAX_THREADS];
	struct umem_image_blob blobs[M_MAX_THREADS][2];
	struct elf_prstatus status[M_MAX_THREADS];
	uint8_t fpregs[M_MAX_THREADS][512];
};

static void tell_region(const struct m_region *region, struct umem_image_region *to)
{
	struct stat st;

	*to = (struct umem_image_region){
		.start = region->start,
		.end = region->start + region->n_pages * M_PAGE,
		.page_size_bytes = M_PAGE,
		.vma_flags = region->flags,
		.kind = region->kind,
		.kind_name = kinds[region->kind],
		.path = path_of(region),
		.file_backed = of_file(region),
	};
	if (region->kind == M_SEGMENT) {
		to->inode = 500 + region->segment;
		to->dev_minor = 1;
		to->offset = region->at * M_PAGE;
	} else if (of_file(region)) {
		T_SYS(stat(path_of(region), &st));
		to->inode = st.st_ino;
		to->dev_major = 8;
		to->offset = region->at * M_PAGE;
		to->file_size_bytes = (uint64_t)st.st_size;
		to->file_mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
			(uint64_t)st.st_mtim.tv_nsec;
	}
}

static void tell_threads(const struct m_process *process, struct told *told)
{
	for (unsigned i = 0; i < process->n_threads; i++) {
		struct umem_image_thread *thread = &told->threads[i];

		memset(&told->status[i], 0, sizeof(told->status[i]));
		for (size_t k = 0; k < sizeof(elf_gregset_t) / sizeof(elf_greg_t); k++)
			told->status[i].pr_reg[k] = (elf_greg_t)(1000 * (i + 1) + k);
		memset(told->fpregs[i], 1 + (int)i, sizeof(told->fpregs[i]));
		told->blobs[i][0] = (struct umem_image_blob){ NT_PRSTATUS,
			sizeof(struct elf_prstatus), &told->status[i] };
		told->blobs[i][1] = (struct umem_image_blob){ NT_PRFPREG,
			sizeof(told->fpregs[i]), told->fpregs[i] };
		*thread = (struct umem_image_thread){ .tid = process->pid + (int)i,
			.name = "a thread", .blobs = told->blobs[i], .n_blobs = 2 };
	}
}

static void describe(const struct m_memory *memory, struct umem_image_writer *writer)
{
	static const uint64_t auxv[] = { 3, 0x400040, 6, 4096, 0, 0 };
	static struct told told[M_MAX_PROCESSES];
	struct umem_image_process v[M_MAX_PROCESSES] = { 0 };
	const struct umem_image_info info = { .method = "model", .complete = true,
		.pause_ns = 1234567 };

	for (unsigned i = 0; i < memory->n_processes; i++) {
		const struct m_process *process = &memory->processes[i];

		for (unsigned k = 0; k < process->n_regions; k++)
			tell_region(&process->regions[k], &told[i].regions[k]);
		tell_threads(process, &told[i]);
		v[i] = (struct umem_image_process){
			.space = i, .pid = process->pid, .ppid = process->ppid,
			.pgid = 1000, .sid = 1000, .start_ticks = 50 + i, .comm = "a model",
			.exe = mapped_file, .cmdline = "model\0-m\0", .cmdline_len_bytes = 9,
			.auxv = auxv, .auxv_len_bytes = sizeof(auxv),
			.threads = told[i].threads, .n_threads = process->n_threads,
			.regions = told[i].regions, .n_regions = process->n_regions,
		};
	}
	T_OK(umem_image_describe(writer, v, memory->n_processes, &info));
}

static void put_page(const struct m_memory *memory, const struct m_memory *before,
	struct umem_image_writer *writer, unsigned space, const struct m_region *region,
	uint64_t page, uint64_t *rng)
{
	const struct m_process *process = &memory->processes[space];
	uint64_t addr = region->start + page * M_PAGE;
	uint8_t bytes[M_PAGE];

	switch (m_page_of(memory, region, page)->state) {
	case M_FILE:
	case M_UNKNOWN:
		return;
	case M_ZERO:
		if (t_below(rng, 3) != 0) {
			T_OK(umem_image_put_zero(writer, space, addr, addr + M_PAGE));
			return;
		}
		break;
	default:
		break;
	}
	m_content(memory, process, region, page, bytes);
	if (before && m_same_page(memory, before, process, region, page) && t_below(rng, 2) == 0)
		T_OK(umem_image_put_parent(writer, space, addr, addr + M_PAGE));
	else if (before && t_below(rng, 2) == 0)
		T_OK(umem_image_put_if_changed(writer, space, addr, bytes, 1));
	else
		T_OK(umem_image_put(writer, space, addr, bytes, 1));
}

void m_write(const struct m_memory *memory, const struct m_memory *before, const char *path,
	struct umem_image *parent, uint64_t *rng)
{
	const struct umem_image_create_options options = { .size = sizeof(options),
		.parent = parent, .n_threads = -1 };
	struct umem_image_writer *writer = NULL;
	struct umem_note note = { 0 };

	T_CHECK(umem_image_create(path, &options, &writer, &note) == 0, "%s", note.text);
	for (unsigned i = 0; i < memory->n_processes; i++) {
		for (unsigned k = 0; k < memory->processes[i].n_regions; k++) {
			const struct m_region *region = &memory->processes[i].regions[k];

			for (uint64_t page = 0; page < region->n_pages; page++)
				put_page(memory, before, writer, i, region, page, rng);
		}
	}
	path_of(&(struct m_region){ .kind = M_FILE_PRIVATE });
	describe(memory, writer);
	T_CHECK(umem_image_commit(writer, NULL, &note) == 0, "%s", note.text);
	umem_image_writer_free(writer);
}

static void tell_process(FILE *json, const struct m_memory *memory,
	const struct m_process *process, const char *prefix)
{
	char name[200];
	uint8_t bytes[M_PAGE];
	FILE *all;

	snprintf(name, sizeof(name), "%s-%d.bin", prefix, process->pid);
	all = fopen(name, "we");
	T_CHECK(all);
	fprintf(json, "{\"pid\":%d,\"ppid\":%d,\"threads\":%u,\"regions\":[", process->pid,
		process->ppid, process->n_threads);
	for (unsigned k = 0; k < process->n_regions; k++) {
		const struct m_region *region = &process->regions[k];

		fprintf(json, "%s{\"start\":%llu,\"pages\":%llu,\"flags\":%u,\"kind\":\"%s\","
			"\"path\":\"%s\",\"offset\":%llu,\"segment\":%d,\"states\":\"",
			k ? "," : "", (unsigned long long)region->start,
			(unsigned long long)region->n_pages, region->flags, kinds[region->kind],
			path_of(region), (unsigned long long)(of_file(region) ||
				region->kind == M_SEGMENT ? region->at * M_PAGE : 0),
			region->kind == M_SEGMENT ? (int)region->segment : -1);
		for (uint64_t page = 0; page < region->n_pages; page++) {
			fputc("ZWDFU"[m_page_of(memory, region, page)->state], json);
			m_content(memory, process, region, page, bytes);
			T_CHECK(fwrite(bytes, M_PAGE, 1, all) == 1);
		}
		fprintf(json, "\"}");
	}
	fprintf(json, "]}");
	T_CHECK(fclose(all) == 0);
}

void m_tell(const struct m_memory *memory, const char *prefix)
{
	char name[200];
	FILE *json;

	snprintf(name, sizeof(name), "%s.json", prefix);
	json = fopen(name, "we");
	T_CHECK(json);
	fprintf(json, "{\"processes\":[");
	for (unsigned i = 0; i < memory->n_processes; i++) {
		fputs(i ? "," : "", json);
		tell_process(json, memory, &memory->processes[i], prefix);
	}
	fprintf(json, "]}\n");
	T_CHECK(fclose(json) == 0);
}

static int keep_what(void *user, const struct umem_image_run *run)
{
	*(enum umem_image_page *)user = run->what;
	return 0;
}

/* What the image says of a page has to be what it is, as far as the view goes. */
static void compare_page(const struct m_memory *memory, struct umem_image *image,
	unsigned space, const struct m_region *region, uint64_t page, enum m_view view)
{
	const struct m_process *process = &memory->processes[space];
	uint64_t addr = region->start + page * M_PAGE;
	enum m_state state = m_page_of(memory, region, page)->state;
	enum umem_image_page what = UMEM_N_IMAGE_PAGES;
	uint8_t want[M_PAGE], have[M_PAGE];
	struct umem_note note = { 0 };

	T_OK(umem_image_each(image, space, addr, addr + M_PAGE, keep_what, &what));
	if (view != M_VIEW_RAW && state == M_FILE) {
		T_CHECK(what == UMEM_IMAGE_FILE, "page %#llx is %s", (unsigned long long)addr,
			umem_image_page_name(what));
		return;
	}
	if (state == M_UNKNOWN && (view == M_VIEW_IMAGE || region->kind == M_KERNEL)) {
		T_CHECK(what == UMEM_IMAGE_NONE, "page %#llx is %s", (unsigned long long)addr,
			umem_image_page_name(what));
		return;
	}
	m_content(memory, process, region, page, want);
	T_CHECK(umem_image_get(image, space, addr, have, 1, &note) == 0, "%s", note.text);
	T_CHECK(memcmp(want, have, M_PAGE) == 0, "process %d, page %#llx (%s) differs",
		process->pid, (unsigned long long)addr, umem_image_page_name(what));
	T_CHECK(state != M_ZERO || what == UMEM_IMAGE_ZERO, "zeros at %#llx are %s",
		(unsigned long long)addr, umem_image_page_name(what));
}

static void compare_region(const struct m_region *region, const struct umem_image_region *have)
{
	T_CHECK(have->start == region->start &&
		have->end == region->start + region->n_pages * M_PAGE &&
		have->vma_flags == region->flags && have->file_backed == of_file(region));
}

void m_compare(const struct m_memory *memory, struct umem_image *image, enum m_view view)
{
	size_t n;
	const struct umem_image_process *v = umem_image_processes(image, &n);

	for (unsigned i = 0; i < memory->n_processes; i++) {
		const struct m_process *process = &memory->processes[i];

		T_CHECK(n == memory->n_processes && v[i].pid == process->pid);
		T_CHECK(view == M_VIEW_RAW || v[i].n_regions == process->n_regions);
		for (unsigned k = 0; k < process->n_regions; k++) {
			const struct m_region *region = &process->regions[k];

			if (view == M_VIEW_RAW && region->kind == M_KERNEL)
				continue;
			if (view != M_VIEW_RAW)
				compare_region(region, &v[i].regions[k]);
			for (uint64_t page = 0; page < region->n_pages; page++)
				compare_page(memory, image, i, region, page, view);
		}
	}
}
