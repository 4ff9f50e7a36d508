// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What an image says of a process besides the bytes of its memory.
 *
 * Everything that a description points to is in its arena, so that it outlives the
 * space and the stop that it was read from.
 */
#include "lib/op/describe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/mem/region.h"
#include "lib/op/content.h"

#define STATUS_MAX_BYTES  (64u << 10)
#define CMDLINE_MAX_BYTES (4u << 20)
#define AUXV_MAX_BYTES    (64u << 10)

void umem_description_deinit(struct umem_description *d)
{
	for (size_t i = 0; i < d->n_arena; i++)
		free(d->arena[i]);
	free(d->arena);
	free(d->threads);
	*d = (struct umem_description){ 0 };
}

/* Own @p. Return: 0, or -ENOMEM with @p freed. */
static int own(struct umem_description *d, void *p)
{
	if (d->n_arena == d->arena_room) {
		size_t room = d->arena_room ? 2 * d->arena_room : 64;
		void **grown = realloc(d->arena, room * sizeof(*grown));

		if (!grown) {
			free(p);
			return -ENOMEM;
		}
		d->arena = grown;
		d->arena_room = room;
	}
	d->arena[d->n_arena++] = p;
	return 0;
}

static int own_copy(struct umem_description *d, const void *from, size_t len, void **ret)
{
	char *p = malloc(len + 1);
	int r;

	if (!p)
		return -ENOMEM;
	memcpy(p, from, len);
	p[len] = 0;
	r = own(d, p);
	if (r == 0)
		*ret = p;
	return r;
}

/* A file of /proc/PID whole; one that may not be read is empty. */
static int read_part(struct umem_description *d, int proc_fd, const char *name, size_t max_bytes,
	const char **ret_text, size_t *ret_len)
{
	char *text = NULL;
	size_t len = 0;
	int r = umem_read_file(proc_fd, name, max_bytes, &text, &len);

	if (r == -ENOENT || r == -ESRCH)
		return UMEM_GONE;
	if (r == -ENOMEM)
		return r;
	*ret_text = "";
	*ret_len = 0;
	if (r < 0)
		return 0;
	r = own(d, text);
	if (r == 0) {
		*ret_text = text;
		*ret_len = len;
	}
	return r;
}

static int read_exe(struct umem_description *d, int proc_fd)
{
	char path[PATH_MAX];
	void *copy = NULL;
	ssize_t n = readlinkat(proc_fd, "exe", path, sizeof(path));
	int r;

	d->process.exe = "";
	if (n < 0)
		return errno == ENOENT || errno == ESRCH ? UMEM_GONE : 0;
	r = own_copy(d, path, (size_t)n, &copy);
	if (r == 0)
		d->process.exe = copy;
	return r;
}

/* The @field'th number (from 0) of the line of /proc/PID/status that begins with @key. */
static long status_number(const char *status, const char *key, int field)
{
	const char *at = strstr(status, key);
	char *end;

	if (!at)
		return 0;
	at += strlen(key);
	for (int i = 0; i < field; i++) {
		strtol(at, &end, 10);
		at = end;
	}
	return strtol(at, NULL, 10);
}

static int read_ids(struct umem_description *d, const struct umem_target *target)
{
	struct umem_image_process *p = &d->process;
	struct umem_proc_stat stat;
	const char *status;
	size_t len;
	int r = umem_proc_stat_read(target->pid, 0, &stat);

	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
	p->pid = target->pid;
	p->start_ticks = stat.start_ticks;
	snprintf(p->comm, sizeof(p->comm), "%.15s", stat.comm);
	r = read_part(d, target->proc_fd, "status", STATUS_MAX_BYTES, &status, &len);
	if (r != 0)
		return r;
	p->ppid = (int32_t)status_number(status, "\nPPid:", 0);
	p->uid = (uint32_t)status_number(status, "\nUid:", 1);
	p->gid = (uint32_t)status_number(status, "\nGid:", 1);
	p->pgid = getpgid(target->pid);
	p->sid = getsid(target->pid);
	return 0;
}

int umem_describe_process(struct umem_description *d, const struct umem_target *target)
{
	const char *text;
	size_t len;
	int r;

	r = read_ids(d, target);
	if (r == 0)
		r = read_exe(d, target->proc_fd);
	if (r == 0)
		r = read_part(d, target->proc_fd, "cmdline", CMDLINE_MAX_BYTES,
			&d->process.cmdline, &d->process.cmdline_len_bytes);
	if (r == 0)
		r = read_part(d, target->proc_fd, "auxv", AUXV_MAX_BYTES, &text, &len);
	if (r == 0) {
		d->process.auxv = text;
		d->process.auxv_len_bytes = len;
	}
	return r;
}

/* Which file it is, so that its pages can be found in it again later. */
static void identify_file(const struct umem_target *target, struct umem_image_region *region)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "map_files/%llx-%llx", (unsigned long long)region->start,
		(unsigned long long)region->end);
	if (fstatat(target->proc_fd, path, &st, 0) < 0 && stat(region->path, &st) < 0)
		return;
	if (st.st_ino != region->inode)
		return;
	region->file_size_bytes = (uint64_t)st.st_size;
	region->file_mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
		(uint64_t)st.st_mtim.tv_nsec;
}

static int add_region(struct umem_description *d, const struct umem_target *target,
	const struct umem_region *g, struct umem_image_region *to)
{
	enum umem_holds holds = umem_content_holds(target, g);
	void *path = NULL;
	int r = own_copy(d, g->name, strlen(g->name), &path);

	if (r < 0)
		return r;
	*to = (struct umem_image_region){
		.start = g->start,
		.end = g->end,
		.offset = g->offset,
		.inode = g->inode,
		.page_size_bytes = g->page_size_bytes,
		.dev_major = g->dev_major,
		.dev_minor = g->dev_minor,
		.vma_flags = g->vma_flags,
		.kind = g->kind,
		.kind_name = umem_kind_name(g->kind),
		.path = path,
		.file_backed = holds == UMEM_HOLDS_COPIES || holds == UMEM_HOLDS_MAPPED ||
			holds == UMEM_HOLDS_FILE,
	};
	if (to->file_backed)
		identify_file(target, to);
	return 0;
}

int umem_describe_regions(struct umem_description *d, const struct umem_target *target,
	const struct umem_ranges *selected)
{
	const struct umem_space *space = &target->space;
	struct umem_image_region *v = calloc(umem_max_u64(space->n, 1), sizeof(*v));
	size_t n = 0;
	int r;

	if (!v)
		return -ENOMEM;
	r = own(d, v);
	for (size_t i = 0; i < space->n && r == 0; i++)
		if (umem_ranges_overlaps(selected, space->v[i].start, space->v[i].end))
			r = add_region(d, target, &space->v[i], &v[n++]);
	d->process.regions = v;
	d->process.n_regions = r == 0 ? n : 0;
	return r;
}

int umem_describe_thread(struct umem_description *d, const struct umem_frozen_thread *from)
{
	struct umem_image_blob *blobs;
	struct umem_image_thread *to;
	int r;

	if (d->process.n_threads == d->threads_room) {
		size_t room = d->threads_room ? 2 * d->threads_room : 16;
		struct umem_image_thread *grown = realloc(d->threads, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		d->threads = grown;
		d->threads_room = room;
		d->process.threads = grown;
	}
	blobs = calloc(umem_max_u64(from->n_notes, 1), sizeof(*blobs));
	if (!blobs)
		return -ENOMEM;
	r = own(d, blobs);
	for (size_t i = 0; i < from->n_notes && r == 0; i++) {
		void *bytes = NULL;

		r = own_copy(d, from->notes[i].bytes, from->notes[i].len_bytes, &bytes);
		blobs[i] = (struct umem_image_blob){ from->notes[i].type,
			from->notes[i].len_bytes, r == 0 ? bytes : NULL };
	}
	if (r < 0)
		return r;
	to = &d->threads[d->process.n_threads++];
	*to = (struct umem_image_thread){ .tid = from->tid, .blobs = blobs,
		.n_blobs = from->n_notes };
	memcpy(to->name, from->name, sizeof(to->name));
	return 0;
}

static int add_thread(void *user, const struct umem_frozen_thread *thread)
{
	return umem_describe_thread(user, thread);
}

int umem_describe_threads(struct umem_description *d, struct umem_freeze *freeze, size_t index)
{
	return umem_freeze_threads(freeze, index, add_thread, d);
}
