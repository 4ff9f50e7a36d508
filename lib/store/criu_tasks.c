// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Processes into CRIU's images: their mappings and files, their threads' registers.
 *
 * As far as an image of memory tells: what a restore needs besides (open files,
 * credentials, signals, namespaces) is not here.
 */
#include "lib/store/criu.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/note.h"
#include "lib/store/core_notes.h"

/* struct elf_prstatus: blocked signals, and where registers begin. */
#define PRSTATUS_SIGMASK 24
#define PRSTATUS_GREGS   112
#define X86_GREGS_BYTES  (27 * 8)
#define X86_FPREGS_BYTES 512

static int compare_files(const void *a, const void *b)
{
	const struct umem_criu_file *p = a, *q = b;

	return strcmp(p->path, q->path);
}

/* The id of a mapped file, which gets its record when it is new; 0 for no path. */
static int file_id(struct umem_criu_dump *dump, const char *path, uint64_t size,
	uint32_t *ret_id)
{
	UMEM_FREE struct umem_criu_file *file = NULL;
	struct umem_criu_file **found;
	int r = 0;

	*ret_id = 0;
	if (!path || !path[0])
		return 0;
	file = malloc(sizeof(*file));
	if (!file)
		return -ENOMEM;
	*file = (struct umem_criu_file){ dump->n_files + 1, size, (char *)path };
	found = tsearch(file, &dump->files, compare_files);
	if (!found)
		return -ENOMEM;
	*ret_id = (*found)->id;
	if (*found != file)
		return 0;
	dump->n_files++;
	r = umem_criu_put_file(&dump->file_records, file);
	UMEM_TAKE_PTR(file);
	return r;
}

static uint32_t status_of(const struct umem_image_region *region)
{
	static const struct {
		const char *path;
		uint32_t status;
	} special[] = {
		{ "[heap]", UMEM_CRIU_VMA_HEAP | UMEM_CRIU_VMA_ANON_PRIVATE },
		{ "[stack]", UMEM_CRIU_VMA_STACK | UMEM_CRIU_VMA_ANON_PRIVATE },
		{ "[vdso]", UMEM_CRIU_VMA_VDSO | UMEM_CRIU_VMA_ANON_PRIVATE },
		{ "[vvar]", UMEM_CRIU_VMA_VVAR | UMEM_CRIU_VMA_ANON_PRIVATE },
		{ "[vvar_vclock]", UMEM_CRIU_VMA_VVAR | UMEM_CRIU_VMA_ANON_PRIVATE },
		{ "[vsyscall]", UMEM_CRIU_VMA_VSYSCALL | UMEM_CRIU_VMA_ANON_PRIVATE },
	};
	const char *path = region->path ? region->path : "";
	bool shared = region->vma_flags & 8;

	if (region->file_backed)
		return UMEM_CRIU_VMA_REGULAR |
			(shared ? UMEM_CRIU_VMA_FILE_SHARED : UMEM_CRIU_VMA_FILE_PRIVATE);
	if (shared)
		return UMEM_CRIU_VMA_REGULAR | UMEM_CRIU_VMA_ANON_SHARED;
	for (size_t i = 0; i < UMEM_ARRAY_LEN(special); i++) {
		if (strcmp(path, special[i].path) == 0)
			return UMEM_CRIU_VMA_REGULAR | special[i].status;
	}
	return UMEM_CRIU_VMA_REGULAR | UMEM_CRIU_VMA_ANON_PRIVATE;
}

static int fill_vma(struct umem_criu_dump *dump, const struct umem_image_region *region,
	struct umem_criu_vma *vma)
{
	uint32_t prot = region->vma_flags, id = 0;
	int r = region->file_backed ?
		file_id(dump, region->path, region->file_size_bytes, &id) : 0;

	vma->start = region->start;
	vma->end = region->end;
	vma->status = status_of(region);
	vma->prot = (prot & 1 ? PROT_READ : 0) | (prot & 2 ? PROT_WRITE : 0) |
		(prot & 4 ? PROT_EXEC : 0);
	vma->flags = (prot & 8 ? MAP_SHARED : MAP_PRIVATE) |
		(region->file_backed ? 0 : MAP_ANONYMOUS) |
		(vma->status & UMEM_CRIU_VMA_STACK ? MAP_GROWSDOWN : 0);
	if (region->file_backed) {
		vma->offset = region->offset;
		vma->shmid = id;
	} else if (umem_criu_is_segment(region)) {
		vma->offset = region->offset;
		vma->shmid = umem_criu_shmid(region);
	}
	return r;
}

int umem_criu_dump_mm(struct umem_criu_dump *dump, const struct umem_image_process *process)
{
	size_t n = process->n_regions;
	UMEM_FREE struct umem_criu_vma *vmas = calloc(n + 1, sizeof(*vmas));
	UMEM_FREE uint64_t *auxv = malloc(process->auxv_len_bytes + sizeof(*auxv));
	struct umem_criu_mm mm = { .auxv = auxv, .vmas = vmas, .n_vmas = n };
	UMEM_BYTES struct umem_bytes to = { 0 };
	char name[40];
	int r;

	if (!vmas || !auxv)
		return -ENOMEM;
	mm.n_auxv = process->auxv_len_bytes / sizeof(*auxv);
	if (mm.n_auxv > 0)
		memcpy(auxv, process->auxv, mm.n_auxv * sizeof(*auxv));
	r = file_id(dump, process->exe, 0, &mm.exe_id);
	for (size_t i = 0; i < n && r == 0; i++)
		r = fill_vma(dump, &process->regions[i], &vmas[i]);
	if (r == 0)
		r = umem_criu_put_magic(&to, UMEM_CRIU_COMMON);
	if (r == 0)
		r = umem_criu_put_magic(&to, UMEM_CRIU_MM);
	if (r == 0)
		r = umem_criu_put_mm(&to, &mm);
	snprintf(name, sizeof(name), "mm-%d.img", process->pid);
	return r == 0 ? umem_criu_dump_file(dump, name, &to) : r;
}

static const struct umem_image_blob *blob_of(const struct umem_image_thread *thread,
	uint32_t type, uint32_t least_bytes)
{
	for (size_t i = 0; i < thread->n_blobs; i++) {
		const struct umem_image_blob *blob = &thread->blobs[i];

		if (blob->type == type && blob->len_bytes >= least_bytes)
			return blob;
	}
	return NULL;
}

static int dump_thread(struct umem_criu_dump *dump, const struct umem_image_process *process,
	const struct umem_image_thread *thread, const struct umem_core_machine *machine)
{
	const struct umem_image_blob *status = blob_of(thread, NT_PRSTATUS,
		PRSTATUS_GREGS + X86_GREGS_BYTES);
	const struct umem_image_blob *fp = blob_of(thread, NT_PRFPREG, X86_FPREGS_BYTES);
	struct umem_criu_thread record = { .leader = thread->tid == process->pid,
		.x86 = machine->elf_machine == EM_X86_64 };
	UMEM_BYTES struct umem_bytes to = { 0 };
	uint64_t gregs[X86_GREGS_BYTES / 8];
	char name[40], comm[17] = "";
	int r;

	memcpy(comm, thread->name, sizeof(thread->name));
	record.comm = comm;
	if (status) {
		memcpy(gregs, (const char *)status->bytes + PRSTATUS_GREGS, sizeof(gregs));
		memcpy(&record.sigmask, (const char *)status->bytes + PRSTATUS_SIGMASK,
			sizeof(record.sigmask));
		record.gregs = gregs;
	}
	record.fpregs = fp ? fp->bytes : NULL;
	r = umem_criu_put_magic(&to, UMEM_CRIU_COMMON);
	if (r == 0)
		r = umem_criu_put_magic(&to, UMEM_CRIU_CORE);
	if (r == 0)
		r = umem_criu_put_thread(&to, &record);
	snprintf(name, sizeof(name), "core-%d.img", thread->tid);
	return r == 0 ? umem_criu_dump_file(dump, name, &to) : r;
}

int umem_criu_dump_threads(struct umem_criu_dump *dump,
	const struct umem_image_process *process)
{
	const struct umem_image_info *info = umem_image_info(dump->job->image);
	const struct umem_core_machine *machine = umem_core_machine(info ? info->machine : NULL);
	int r = 0;

	/* What a core of another machine looks like is not known; its pages are pages. */
	for (size_t i = 0; i < process->n_threads && machine && r == 0; i++)
		r = dump_thread(dump, process, &process->threads[i], machine);
	return r;
}
