// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A directory of CRIU images, made from an image.
 *
 * Theory of operation
 *
 *     inventory.img                      which version of the format
 *     pstree.img                         processes and their threads
 *     mm-PID.img                         mappings
 *     pagemap-PID.img, pages-N.img       private memory
 *     pagemap-shmem-ID.img, pages-N.img  shared memory
 *     core-TID.img                       registers
 *     files.img                          mapped files, by number
 *     stats-dump                         what a dump says of itself
 *     parent                             link to the directory of the parent
 *     umemd-image-id                     ours: the id of the image
 *
 * Of an increment, pages that come from the image's parent refer to the directory
 * that the parent was exported to. That it is this directory is told by the id in it:
 * another one would be read as right, and be wrong.
 *
 * It serves CRIU's tools that read memory; to restore a process CRIU needs more than
 * an image of memory knows.
 */
#include "lib/store/criu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"

#define ID_TEXT_BYTES (2 * sizeof(struct umem_image_id) + 1)

int umem_criu_dump_file(struct umem_criu_dump *dump, const char *name,
	const struct umem_bytes *records)
{
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;
	struct umem_export *job = dump->job;
	int r = umem_sparse_open_in(dump->dir.fd, name, &file, job->note);

	if (r == 0)
		r = umem_sparse_write(&file, 0, records->v, records->n, job->note);
	if (r == 0)
		r = umem_sparse_commit(&file, job->note);
	job->out.length_bytes += records->n;
	job->out.data_bytes += records->n;
	return r;
}

static void dump_deinit(struct umem_criu_dump *dump)
{
	umem_outdir_deinit(&dump->dir);
	free(dump->processes);
	free(dump->pids);
	tdestroy(dump->files, free);
	umem_bytes_deinit(&dump->file_records);
}

/* The id of an image as a line of text. */
static void id_text(const struct umem_image *image, char ret_text[ID_TEXT_BYTES + 1])
{
	const struct umem_image_id *id = umem_image_id(image);

	for (size_t i = 0; i < sizeof(id->bytes); i++)
		sprintf(ret_text + 2 * i, "%02x", id->bytes[i]);
	memcpy(ret_text + 2 * sizeof(id->bytes), "\n", 2);
}

static int dump_id(struct umem_criu_dump *dump)
{
	char text[ID_TEXT_BYTES + 1];
	struct umem_bytes bytes = { .v = (uint8_t *)text, .n = ID_TEXT_BYTES };

	id_text(dump->job->image, text);
	return umem_criu_dump_file(dump, UMEM_CRIU_ID_NAME, &bytes);
}

static int link_parent(struct umem_criu_dump *dump)
{
	struct umem_export *job = dump->job;
	const char *path = job->options.parent_path;
	struct umem_image *parent = umem_image_parent(job->image);
	UMEM_FD int fd = -1;
	UMEM_FREE char *found = NULL;
	char want[ID_TEXT_BYTES + 1];
	int r;

	if (!path)
		return 0;
	if (!parent)
		return umem_note_set(job->note, -ENOENT, 0,
			"%s has no parent that %s could be of", umem_image_path(job->image), path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return umem_note_set(job->note, -errno, 0, "%s: cannot be opened: %s", path,
			strerror(errno));
	id_text(parent, want);
	r = umem_read_file(fd, UMEM_CRIU_ID_NAME, ID_TEXT_BYTES, &found, NULL);
	if (r < 0 || strcmp(found, want) != 0)
		return umem_note_set(job->note, -ESTALE, 0, "%s was not made from %s, the parent "
			"of %s; export that first", path, umem_image_path(parent),
			umem_image_path(job->image));
	return umem_outdir_link(&dump->dir, "parent", path, job->note);
}

static int dump_inventory(struct umem_criu_dump *dump)
{
	UMEM_BYTES struct umem_bytes to = { 0 };
	int r = umem_criu_put_magic(&to, UMEM_CRIU_INVENTORY);

	if (r == 0)
		r = umem_criu_put_inventory(&to, 0);
	return r == 0 ? umem_criu_dump_file(dump, "inventory.img", &to) : r;
}

static int compare_pids(const void *a, const void *b)
{
	int32_t p = *(const int32_t *)a, q = *(const int32_t *)b;

	return p < q ? -1 : p > q;
}

static int compare_starts(const void *a, const void *b)
{
	const struct umem_image_process *const *p = a, *const *q = b;

	if ((*p)->start_ticks != (*q)->start_ticks)
		return (*p)->start_ticks < (*q)->start_ticks ? -1 : 1;
	return *p < *q ? -1 : *p > *q;
}

/* Processes by start, so that a parent comes before its children, and their ids. */
static int find_processes(struct umem_criu_dump *dump)
{
	struct umem_export *job = dump->job;
	size_t n;
	const struct umem_image_process *v = umem_image_processes(job->image, &n);

	if (n == 0)
		return umem_note_set(job->note, -ESRCH, 0,
			"the image %s does not tell of a process", umem_image_path(job->image));
	dump->processes = calloc(n, sizeof(void *));
	dump->pids = calloc(n, sizeof(*dump->pids));
	if (!dump->processes || !dump->pids)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		dump->processes[i] = &v[i];
		dump->pids[i] = v[i].pid;
	}
	dump->n_processes = n;
	qsort(dump->processes, n, sizeof(void *), compare_starts);
	qsort(dump->pids, n, sizeof(*dump->pids), compare_pids);
	for (size_t i = 0; i < n; i++) {
		/* Two of one id would have one file. */
		if (dump->pids[i] <= 0 || (i > 0 && dump->pids[i] == dump->pids[i - 1]))
			return umem_note_set(job->note, -EBADMSG, 0, "the image has the process "
				"id %d twice, or it is none", dump->pids[i]);
	}
	return 0;
}

static int put_task(struct umem_criu_dump *dump, struct umem_bytes *to,
	const struct umem_image_process *process)
{
	UMEM_FREE uint32_t *threads = calloc(process->n_threads + 1, sizeof(*threads));
	struct umem_criu_task task = { .threads = threads, .n_threads = process->n_threads };

	if (!threads)
		return -ENOMEM;
	for (size_t i = 0; i < process->n_threads; i++)
		threads[i] = (uint32_t)process->threads[i].tid;
	if (task.n_threads == 0) {
		threads[0] = (uint32_t)process->pid;
		task.n_threads = 1;
	}
	task.pid = (uint32_t)process->pid;
	/* The parent of the first one is outside, which is told by 0. */
	if (bsearch(&process->ppid, dump->pids, dump->n_processes, sizeof(*dump->pids),
			compare_pids))
		task.ppid = (uint32_t)process->ppid;
	task.pgid = (uint32_t)process->pgid;
	task.sid = (uint32_t)process->sid;
	return umem_criu_put_task(to, &task);
}

static int dump_tree(struct umem_criu_dump *dump)
{
	UMEM_BYTES struct umem_bytes to = { 0 };
	int r = umem_criu_put_magic(&to, UMEM_CRIU_COMMON);

	if (r == 0)
		r = umem_criu_put_magic(&to, UMEM_CRIU_PSTREE);
	for (size_t i = 0; i < dump->n_processes && r == 0; i++)
		r = put_task(dump, &to, dump->processes[i]);
	return r == 0 ? umem_criu_dump_file(dump, "pstree.img", &to) : r;
}

static int dump_files(struct umem_criu_dump *dump)
{
	UMEM_BYTES struct umem_bytes to = { 0 };
	int r = umem_criu_put_magic(&to, UMEM_CRIU_COMMON);

	if (r == 0)
		r = umem_criu_put_magic(&to, UMEM_CRIU_FILES);
	if (r == 0)
		r = umem_bytes_put(&to, dump->file_records.v, dump->file_records.n);
	return r == 0 ? umem_criu_dump_file(dump, "files.img", &to) : r;
}

static int dump_stats(struct umem_criu_dump *dump)
{
	const struct umem_image_info *info = umem_image_info(dump->job->image);
	UMEM_BYTES struct umem_bytes to = { 0 };
	int r = umem_criu_put_magic(&to, UMEM_CRIU_SERVICE);

	if (info)
		dump->stats.frozen_us = (uint32_t)umem_min_u64(info->pause_ns / 1000, UINT32_MAX);
	if (r == 0)
		r = umem_criu_put_magic(&to, UMEM_CRIU_STATS);
	if (r == 0)
		r = umem_criu_put_stats(&to, &dump->stats);
	return r == 0 ? umem_criu_dump_file(dump, "stats-dump", &to) : r;
}

static int count_run(void *user, const struct umem_image_run *run)
{
	struct umem_export *job = user;

	if (umem_export_is_data(run) && (run->depth == 0 || !job->options.parent_path))
		job->total_bytes += run->end - run->start;
	return 0;
}

static int dump_processes(struct umem_criu_dump *dump)
{
	struct umem_export *job = dump->job;
	int r = 0;

	for (uint32_t i = 0; i < umem_image_n_spaces(job->image) && r == 0; i++)
		r = umem_image_each(job->image, i, 0, UINT64_MAX, count_run, job);
	for (size_t i = 0; i < dump->n_processes && r == 0; i++) {
		const struct umem_image_process *process = dump->processes[i];

		r = umem_criu_dump_mm(dump, process);
		if (r == 0)
			r = umem_criu_dump_threads(dump, process);
		if (r == 0)
			r = umem_criu_dump_pages(dump, process);
	}
	return r == 0 ? umem_criu_dump_segments(dump) : r;
}

int umem_criu_export(struct umem_export *job)
{
	static int (*const steps[])(struct umem_criu_dump *dump) = {
		link_parent, dump_id, dump_inventory, dump_tree, dump_processes, dump_files,
		dump_stats,
	};
	UMEM_CLEANUP(dump_deinit) struct umem_criu_dump dump = { .job = job,
		.dir = UMEM_OUTDIR_NONE };
	int r = find_processes(&dump);

	if (r == 0)
		r = umem_outdir_create(job->path, &dump.dir, job->note);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(steps) && r == 0; i++)
		r = steps[i](&dump);
	return r == 0 ? umem_outdir_commit(&dump.dir, job->note) : r;
}
