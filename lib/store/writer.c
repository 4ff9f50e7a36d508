// SPDX-License-Identifier: LGPL-2.1-or-later
/* The writer of an image: to create, describe and free it; see writer.h. */
#include "lib/store/writer.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <umemd/store.h>

#include "lib/base/note.h"
#include "lib/store/describe.h"
#include "lib/store/image.h"
#include "lib/store/relname.h"

#define BUFFER_BYTES     (16ull << 20)
#define MAX_BUFFER_BYTES (1ull << 30)
#define DEDUP_BYTES      (128ull << 20)
#define MAX_THREADS      4
#define MIN_SUPERSEDED   (64ull << 20 >> UMEM_IMAGE_PAGE_SHIFT)

UMEM_DEFINE_CLEANUP(struct umem_image_writer, umem_image_writer_free)

int umem_writer_fail(struct umem_image_writer *w, int err, const char *what)
{
	if (w->err == 0) {
		w->err = err;
		umem_note_set(&w->note, err, 0, "%s: %s: %s", w->path, what, strerror(-err));
	}
	return w->err;
}

int umem_writer_fail_writing(struct umem_image_writer *w, int err)
{
	if (w->err == 0) {
		w->err = err;
		umem_note_set(&w->note, err, 0, "%s: writing, at byte %llu: %s%s", w->path,
			(unsigned long long)umem_sink_failed_at(w->sink), strerror(-err),
			err == -ENOSPC ? "; make room, or write elsewhere" : "");
	}
	return w->err;
}

int umem_writer_check(struct umem_image_writer *w)
{
	return w->committed ? -EINVAL : w->err;
}

/* How many processors this process may use. */
static unsigned n_processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* The options of a sink; -EINVAL for what cannot be. */
static int sink_options(const struct umem_image_create_options *options,
	struct umem_sink_options *ret_sink)
{
	uint32_t frame_bytes = options->frame_bytes ?
		options->frame_bytes : UMEM_FRAME_PAGES * UMEM_IMAGE_PAGE_BYTES;

	if (options->codec > UMEM_IMAGE_CODEC_ZSTD || frame_bytes < UMEM_IMAGE_PAGE_BYTES ||
		frame_bytes > UMEM_MAX_FRAME_PAGES * UMEM_IMAGE_PAGE_BYTES ||
		(frame_bytes & (frame_bytes - 1)))
		return -EINVAL;
	*ret_sink = (struct umem_sink_options){
		.zstd = options->codec != UMEM_IMAGE_CODEC_NONE,
		.level = options->level,
		.frame_pages = frame_bytes / UMEM_IMAGE_PAGE_BYTES,
		.buffer_bytes = options->buffer_bytes ?
			umem_min_u64(options->buffer_bytes, MAX_BUFFER_BYTES) : BUFFER_BYTES,
	};
	if (options->n_threads > 0)
		ret_sink->n_threads = (unsigned)options->n_threads;
	else if (options->n_threads == 0)
		ret_sink->n_threads = umem_min_u64(n_processors(), MAX_THREADS);
	return 0;
}

static int name_parent(struct umem_image_writer *w, const char *given)
{
	if (!w->parent)
		return 0;
	if (given) {
		w->parent_name = strdup(given);
		return w->parent_name ? 0 : -ENOMEM;
	}
	return umem_relname(w->path, umem_image_path(w->parent), &w->parent_name);
}

/*
 * Is the file that is to be written an image that this one refers to? Committing would
 * take away what it needs.
 */
static bool is_ancestor(const struct umem_image *parent, const char *path, const int *fd)
{
	struct stat out, st;

	if (!parent || (fd ? fstat(*fd, &out) : stat(path, &out)) < 0)
		return false;
	for (; parent; parent = umem_image_parent(parent))
		if (fstat(parent->fd, &st) == 0 && st.st_dev == out.st_dev &&
			st.st_ino == out.st_ino)
			return true;
	return false;
}

/* A parent takes a third of the memory: its table has smaller entries. */
static int init_dedup(struct umem_image_writer *w, uint64_t max_bytes)
{
	if (max_bytes == UINT64_MAX)
		return 0;
	if (!w->parent) {
		umem_dedup_init(&w->dedup, max_bytes);
		return 0;
	}
	umem_dedup_init(&w->dedup, max_bytes / 3 * 2);
	return umem_kin_new(w->parent, max_bytes / 3, &w->kin);
}

static int open_sink(struct umem_image_writer *w, const struct umem_image_create_options *options,
	struct umem_note *note)
{
	struct umem_sink_options sink;
	int r = sink_options(options, &sink);

	if (r < 0)
		return umem_note_set(note, r, 0, "%s: no such codec or length of frames",
			w->path);
	r = options->fd ? umem_outfile_adopt(*options->fd, w->path, &w->file, note) :
		umem_outfile_open(w->path, options->mode ? options->mode : 0600,
			options->anonymous, options->exclusive, &w->file, note);
	if (r < 0)
		return r;
	w->adopted = options->fd != NULL;
	sink.fd = w->file.fd;
	sink.direct = w->file.direct;
	w->frame_pages = sink.frame_pages;
	r = umem_sink_new(&sink, &w->sink);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", w->path,
			r == -EINVAL ? "no such level of compression" : strerror(-r));
	return 0;
}

int umem_image_create(const char *path, const struct umem_image_create_options *options,
	struct umem_image_writer **ret_writer, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_writer_freep) struct umem_image_writer *w = NULL;
	static const struct umem_image_create_options defaults = { .size = sizeof(defaults) };
	int r;

	if (!options)
		options = &defaults;
	if (options->size != sizeof(*options))
		return umem_note_set(note, -EINVAL, 0, "options of another version");
	if (!options->anonymous && is_ancestor(options->parent, path, options->fd))
		return umem_note_set(note, -ELOOP, 0,
			"%s is the parent, or an ancestor, of the image that would replace it",
			path);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->file = (struct umem_outfile)UMEM_OUTFILE_NONE;
	w->parent = options->parent;
	w->min_superseded = MIN_SUPERSEDED;
	w->path = strdup(path);
	if (!w->path)
		return -ENOMEM;
	r = name_parent(w, options->parent_name);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: its parent has no name that can be found",
			path);
	r = umem_pagehash_draw(&w->key);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: no random numbers", path);
	r = init_dedup(w, options->dedup_bytes ? options->dedup_bytes : DEDUP_BYTES);
	if (r < 0)
		return r;
	r = umem_describe(NULL, 0, NULL, &w->description);
	if (r < 0)
		return r;
	r = open_sink(w, options, note);
	if (r < 0)
		return r;
	*ret_writer = UMEM_TAKE_PTR(w);
	return 0;
}

struct umem_image_writer *umem_image_writer_free(struct umem_image_writer *w)
{
	if (!w)
		return NULL;
	umem_sink_free(w->sink);
	umem_outfile_deinit(&w->file);
	for (uint32_t i = 0; i < w->n_spaces; i++)
		umem_runs_deinit(&w->spaces[i].runs);
	free(w->spaces);
	umem_parts_deinit(&w->description);
	umem_kin_free(w->kin);
	umem_dedup_deinit(&w->dedup);
	free(w->hashes);
	free(w->parent_name);
	free(w->path);
	/* The key is a secret as long as images are made with it. */
	explicit_bzero(&w->key, sizeof(w->key));
	free(w);
	return NULL;
}

int umem_writer_space(struct umem_image_writer *w, uint32_t number,
	struct umem_writer_space **ret_space)
{
	if (number >= UMEM_MAX_SPACES)
		return -EINVAL;
	if (number >= w->n_spaces) {
		struct umem_writer_space *more =
			realloc(w->spaces, (number + 1) * sizeof(*more));

		if (!more)
			return umem_writer_fail(w, -ENOMEM, "spaces");
		w->spaces = more;
		for (; w->n_spaces <= number; w->n_spaces++)
			w->spaces[w->n_spaces] = (struct umem_writer_space){
				.parent = w->n_spaces };
	}
	*ret_space = &w->spaces[number];
	return 0;
}

int umem_image_link_space(struct umem_image_writer *w, uint32_t space, uint32_t parent_space)
{
	struct umem_writer_space *s;
	int r = umem_writer_check(w);

	if (r < 0)
		return r;
	if (!w->parent)
		return -EINVAL;
	r = umem_writer_space(w, space, &s);
	if (r == 0)
		s->parent = parent_space;
	return r;
}

int umem_image_describe(struct umem_image_writer *w, const struct umem_image_process *processes,
	size_t n, const struct umem_image_info *info)
{
	UMEM_CLEANUP(umem_parts_deinit) struct umem_parts parts = { 0 };
	int r = umem_writer_check(w);

	if (r < 0)
		return r;
	r = umem_describe(processes, n, info, &parts);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct umem_writer_space *space;

		r = umem_writer_space(w, processes[i].space, &space);
	}
	if (r < 0)
		return r;
	umem_parts_deinit(&w->description);
	w->description = parts;
	parts = (struct umem_parts){ 0 };
	return 0;
}
