// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A directory of CRIU images on its way into an image: processes and their mappings.
 *
 * pstree.img names the processes, mm-PID.img of each its mappings, files.img the files
 * by number, core-PID.img the name. What makes no sense is damage; what is only not
 * there and not needed is left empty.
 */
#include "lib/store/criu_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/note.h"

#define PAGE UMEM_IMAGE_PAGE_BYTES

void umem_criu_source_deinit(struct umem_criu_source *from)
{
	for (size_t i = 0; i < from->n_tasks; i++) {
		umem_criu_task_deinit(&from->tasks[i].tree);
		umem_criu_mm_deinit(&from->tasks[i].mm);
		free(from->tasks[i].regions);
		free(from->tasks[i].threads);
	}
	for (size_t i = 0; i < from->n_files; i++)
		umem_criu_file_deinit(&from->files[i]);
	free(from->tasks);
	free(from->files);
	umem_criu_pages_free(from->segment);
	umem_criu_chain_close(&from->chain);
}

static int damaged(const struct umem_criu_source *from, const char *name)
{
	return umem_note_set(from->job->note, -EBADMSG, 0, "%s: %s is damaged", from->job->path,
		name);
}

/**
 * read_records - call @each for each record of a file.
 * Return: 0; -ENOENT: no such file (not noted); -EILSEQ, -EBADMSG; what @each returned.
 */
static int read_records(struct umem_criu_source *from, const char *name, uint32_t magic,
	int (*each)(struct umem_criu_source *from, const char *name, const void *bytes, size_t len))
{
	UMEM_FREE char *bytes = NULL;
	struct umem_cursor file, record;
	size_t len;
	int more, r = umem_criu_chain_read(&from->chain, name, &bytes, &len, from->job->note);

	if (r < 0)
		return r;
	file = umem_cursor_init(bytes, len);
	if (!umem_criu_begin(&file, UMEM_CRIU_COMMON, magic))
		return umem_note_set(from->job->note, -EILSEQ, 0,
			"%s: %s is not the image of CRIU that it is named for", from->job->path,
			name);
	while ((more = umem_criu_record(&file, &record)) > 0) {
		r = each(from, name, record.at, umem_cursor_left(&record));
		if (r != 0)
			return r;
	}
	return more < 0 ? damaged(from, name) : 0;
}

static int take_task(struct umem_criu_source *from, const char *name, const void *bytes, size_t len)
{
	struct umem_criu_process *more = reallocarray(from->tasks, from->n_tasks + 1,
		sizeof(*more));
	struct umem_criu_process task = { 0 };
	int r;

	if (!more)
		return -ENOMEM;
	from->tasks = more;
	r = umem_criu_get_task(bytes, len, &task.tree);
	if (r == -EBADMSG)
		return damaged(from, name);
	if (r < 0)
		return r;
	from->tasks[from->n_tasks++] = task;
	if (task.tree.pid == 0 || task.tree.pid > INT32_MAX)
		return damaged(from, name);
	return 0;
}

static int take_file(struct umem_criu_source *from, const char *name, const void *bytes, size_t len)
{
	struct umem_criu_file file = { 0 };
	struct umem_criu_file *more;
	int r = umem_criu_get_file(bytes, len, &file);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r == -EBADMSG ? damaged(from, name) : r;
	more = reallocarray(from->files, from->n_files + 1, sizeof(*more));
	if (!more) {
		umem_criu_file_deinit(&file);
		return -ENOMEM;
	}
	from->files = more;
	more[from->n_files++] = file;
	return 0;
}

static int take_mm(struct umem_criu_source *from, const char *name, const void *bytes, size_t len)
{
	struct umem_criu_mm *mm = &from->tasks[from->space].mm;
	int r;

	/* One record is all that there is. */
	if (mm->vmas)
		return damaged(from, name);
	r = umem_criu_get_mm(bytes, len, mm);
	return r == -EBADMSG ? damaged(from, name) : r;
}

static int take_comm(struct umem_criu_source *from, const char *name, const void *bytes, size_t len)
{
	int r = umem_criu_get_comm(bytes, len, from->tasks[from->space].comm);

	return r == -EBADMSG ? damaged(from, name) : r;
}

static int compare_files(const void *a, const void *b)
{
	const struct umem_criu_file *p = a, *q = b;

	return p->id < q->id ? -1 : p->id > q->id;
}

static const struct umem_criu_file *file_of(const struct umem_criu_source *from, uint64_t id)
{
	const struct umem_criu_file key = { .id = (uint32_t)id };

	return id > UINT32_MAX || from->n_files == 0 ? NULL :
		bsearch(&key, from->files, from->n_files, sizeof(key), compare_files);
}

static const char *path_of(const struct umem_criu_source *from, const struct umem_criu_vma *vma)
{
	const struct umem_criu_file *file;

	if (vma->status & UMEM_CRIU_OF_FILES) {
		file = file_of(from, vma->shmid);
		return file ? file->path : "";
	}
	return vma->status & UMEM_CRIU_VMA_HEAP ? "[heap]" :
		vma->status & UMEM_CRIU_VMA_STACK ? "[stack]" :
		vma->status & UMEM_CRIU_VMA_VDSO ? "[vdso]" :
		vma->status & UMEM_CRIU_VMA_VVAR ? "[vvar]" :
		vma->status & UMEM_CRIU_VMA_VSYSCALL ? "[vsyscall]" : "";
}

static void fill_region(const struct umem_criu_source *from, const struct umem_criu_vma *vma,
	struct umem_image_region *region)
{
	region->start = vma->start;
	region->end = vma->end;
	region->offset = vma->offset;
	region->page_size_bytes = PAGE;
	region->vma_flags = (vma->prot & PROT_READ ? 1 : 0) | (vma->prot & PROT_WRITE ? 2 : 0) |
		(vma->prot & PROT_EXEC ? 4 : 0) | ((vma->flags & MAP_TYPE) == MAP_SHARED ? 8 : 0);
	region->path = path_of(from, vma);
	/* Segments are told apart by number: an inode to whoever exports this again. */
	region->inode = vma->status & (UMEM_CRIU_OF_SEGMENTS | UMEM_CRIU_OF_FILES) ? vma->shmid : 0;
	/* Of a memfd, CRIU keeps the content apart, in images that are not read. */
	region->file_backed = (vma->status & UMEM_CRIU_OF_FILES) &&
		!(vma->status & UMEM_CRIU_VMA_MEMFD);
	region->kind_name = vma->status & UMEM_CRIU_VMA_FILE_PRIVATE ? "file-private" :
		vma->status & UMEM_CRIU_VMA_FILE_SHARED ? "file-shared" :
		vma->status & UMEM_CRIU_OF_SEGMENTS ? "shmem" :
		vma->status & UMEM_CRIU_OF_KERNEL ? "special" : "anonymous";
}

static int make_regions(struct umem_criu_source *from, struct umem_criu_process *task)
{
	uint64_t before = 0;

	task->regions = calloc(task->mm.n_vmas + 1, sizeof(*task->regions));
	if (!task->regions)
		return -ENOMEM;
	for (size_t i = 0; i < task->mm.n_vmas; i++) {
		const struct umem_criu_vma *vma = &task->mm.vmas[i];

		if (vma->start >= vma->end || vma->start < before ||
			(vma->start | vma->end | vma->offset) % PAGE ||
			vma->offset > INT64_MAX || vma->end - vma->start > INT64_MAX)
			return umem_note_set(from->job->note, -EBADMSG, vma->start, "%s: "
				"mm-%u.img: the mapping 0x%" PRIx64 "-0x%" PRIx64 " cannot be, or "
				"is not behind the one before", from->job->path, task->tree.pid,
				vma->start, vma->end);
		before = vma->end;
		fill_region(from, vma, &task->regions[i]);
	}
	return 0;
}

static int make_threads(struct umem_criu_process *task)
{
	task->threads = calloc(task->tree.n_threads + 1, sizeof(*task->threads));
	if (!task->threads)
		return -ENOMEM;
	for (size_t i = 0; i < task->tree.n_threads; i++) {
		task->threads[i].tid = (int32_t)task->tree.threads[i];
		if (task->tree.threads[i] == task->tree.pid)
			memcpy(task->threads[i].name, task->comm, sizeof(task->comm));
	}
	return 0;
}

int umem_criu_source_read(struct umem_criu_source *from)
{
	int r = read_records(from, "pstree.img", UMEM_CRIU_PSTREE, take_task);

	if (r == -ENOENT || (r == 0 && from->n_tasks == 0))
		return umem_note_set(from->job->note, -ENOENT, 0,
			"%s: there is no pstree.img, so these are not the images of a dump",
			from->job->path);
	if (r == 0)
		r = read_records(from, "files.img", UMEM_CRIU_FILES, take_file);
	if (r < 0 && r != -ENOENT)
		return r;
	if (from->n_files > 0)
		qsort(from->files, from->n_files, sizeof(*from->files), compare_files);
	for (from->space = 0; from->space < from->n_tasks; from->space++) {
		struct umem_criu_process *task = &from->tasks[from->space];
		char name[40];

		snprintf(name, sizeof(name), "mm-%u.img", task->tree.pid);
		r = read_records(from, name, UMEM_CRIU_MM, take_mm);
		if (r == -ENOENT || (r == 0 && !task->mm.vmas))
			return umem_note_set(from->job->note, -ENOENT, 0, "%s: %s is missing",
				from->job->path, name);
		snprintf(name, sizeof(name), "core-%u.img", task->tree.pid);
		if (r == 0)
			r = read_records(from, name, UMEM_CRIU_CORE, take_comm);
		if (r == 0 || r == -ENOENT)
			r = make_regions(from, task);
		if (r == 0)
			r = make_threads(task);
		if (r < 0)
			return r;
	}
	return 0;
}

static const char *exe_of(const struct umem_criu_source *from,
	const struct umem_criu_process *task)
{
	const struct umem_criu_file *file = file_of(from, task->mm.exe_id);

	return file ? file->path : "";
}

/* Memory whose content is in images of CRIU's that are not read. */
static int find_incomplete(const struct umem_criu_source *from,
	struct umem_image_incomplete **ret_v, size_t *ret_n)
{
	struct umem_image_incomplete *v;
	size_t n = 0;

	for (size_t i = 0; i < from->n_tasks; i++)
		n += from->tasks[i].mm.n_vmas;
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < from->n_tasks; i++) {
		for (size_t k = 0; k < from->tasks[i].mm.n_vmas; k++) {
			const struct umem_criu_vma *vma = &from->tasks[i].mm.vmas[k];

			if (!(vma->status & UMEM_CRIU_OF_FILES) ||
				!(vma->status & UMEM_CRIU_VMA_MEMFD))
				continue;
			v[n++] = (struct umem_image_incomplete){ (uint32_t)i, vma->start, vma->end,
				"a memfd, of which CRIU keeps the content in images that are not "
				"read" };
		}
	}
	*ret_v = v;
	*ret_n = n;
	return 0;
}

int umem_criu_source_describe(const struct umem_criu_source *from)
{
	UMEM_FREE struct umem_image_process *v = calloc(from->n_tasks, sizeof(*v));
	UMEM_FREE struct umem_image_incomplete *incomplete = NULL;
	struct umem_image_info info = { .method = "import" };
	int r = find_incomplete(from, &incomplete, &info.n_incomplete);

	if (r < 0 || !v)
		return -ENOMEM;
	info.incomplete = incomplete;
	info.complete = info.n_incomplete == 0;
	for (size_t i = 0; i < from->n_tasks; i++) {
		const struct umem_criu_process *task = &from->tasks[i];

		v[i].space = (uint32_t)i;
		v[i].pid = (int32_t)task->tree.pid;
		v[i].ppid = (int32_t)task->tree.ppid;
		v[i].pgid = (int32_t)task->tree.pgid;
		v[i].sid = (int32_t)task->tree.sid;
		/* In the order of the file, which has parents first. */
		v[i].start_ticks = i + 1;
		memcpy(v[i].comm, task->comm, sizeof(v[i].comm));
		v[i].exe = exe_of(from, task);
		v[i].auxv = task->mm.auxv;
		v[i].auxv_len_bytes = task->mm.n_auxv * sizeof(*task->mm.auxv);
		v[i].threads = task->threads;
		v[i].n_threads = task->tree.n_threads;
		v[i].regions = task->regions;
		v[i].n_regions = task->mm.n_vmas;
	}
	return umem_image_describe(from->job->writer, v, from->n_tasks, &info);
}

