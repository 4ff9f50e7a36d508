// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Directories of CRIU images, a child and its parents, and the pages of one pagemap
 * looked up through them.
 *
 * Theory of operation
 *
 *     child     0x1000 +4 in parent | 0x9000 +1 present
 *     parent    0x1000 +2 in parent | 0x3000 +2 present | 0x9000 +1 present
 *     its own   0x1000 +2 present
 *
 * A page that is in the parent is looked for in the pagemap of the same name there,
 * and so on. One that is not there is damage: of a page that need not be stored there
 * is no entry at all, in the child neither.
 *
 * CRIU may free what a child has newer: it punches the pages out of the parent's file.
 * So a hole is never content. A page that comes from one would be taken for zeros, and
 * is refused: the parent alone is not an image any more, only under its child.
 */
#include "lib/store/criu_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"

/* More is no description of memory. */
#define FILE_MAX_BYTES (512u << 20)

static bool is_known(const struct umem_criu_chain *chain, int fd)
{
	struct stat one, other;

	for (size_t i = 0; i < chain->n; i++) {
		if (fstat(fd, &one) == 0 && fstat(chain->fds[i], &other) == 0 &&
			one.st_ino == other.st_ino && one.st_dev == other.st_dev)
			return true;
	}
	return false;
}

static int add_directory(struct umem_criu_chain *chain, int dirfd, const char *name,
	struct umem_note *note)
{
	UMEM_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT && chain->n > 0 &&
		fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (fd < 0)
		return umem_note_set(note, -errno, 0, "%s%s: cannot be opened: %s", chain->path,
			chain->n > 0 ? ": the directory of a parent" : "", strerror(errno));
	if (chain->n == UMEM_IMAGE_MAX_DEPTH || is_known(chain, fd))
		return umem_note_set(note, -ELOOP, 0, "%s: parents in a circle, or more than %d",
			chain->path, UMEM_IMAGE_MAX_DEPTH);
	chain->fds[chain->n++] = umem_fd_take(&fd);
	return 1;
}

int umem_criu_chain_open(const char *path, struct umem_criu_chain *ret_chain,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_criu_chain_close) struct umem_criu_chain chain = { .path = path };
	int r = add_directory(&chain, AT_FDCWD, path, note);

	while (r > 0)
		r = add_directory(&chain, chain.fds[chain.n - 1], "parent", note);
	if (r < 0)
		return r;
	*ret_chain = chain;
	chain.n = 0;
	return 0;
}

void umem_criu_chain_close(struct umem_criu_chain *chain)
{
	while (chain->n > 0)
		umem_fd_close(chain->fds[--chain->n]);
}

/* Open a file of one directory: a regular one of its own, wherever links may lead. */
static int open_file(const struct umem_criu_chain *chain, size_t level, const char *name,
	struct stat *ret_st, struct umem_note *note)
{
	UMEM_FD int fd = openat(chain->fds[level], name, O_RDONLY | O_CLOEXEC | O_NONBLOCK |
		O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 || fstat(fd, ret_st) < 0)
		return umem_note_set(note, -errno, 0, "%s: %s: cannot be opened: %s", chain->path,
			name, strerror(errno));
	if (!S_ISREG(ret_st->st_mode))
		return umem_note_set(note, -EBADMSG, 0, "%s: %s is not a regular file",
			chain->path, name);
	return umem_fd_take(&fd);
}

static int read_file(const struct umem_criu_chain *chain, size_t level, const char *name,
	char **ret_bytes, size_t *ret_len, struct umem_note *note)
{
	struct stat st;
	UMEM_FD int fd = open_file(chain, level, name, &st, note);
	int r;

	if (fd < 0)
		return fd;
	r = umem_read_all(fd, FILE_MAX_BYTES, ret_bytes, ret_len);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s: cannot be read: %s", chain->path, name,
			strerror(-r));
	return 0;
}

int umem_criu_chain_read(const struct umem_criu_chain *chain, const char *name,
	char **ret_bytes, size_t *ret_len, struct umem_note *note)
{
	return read_file(chain, 0, name, ret_bytes, ret_len, note);
}

/* Read the pagemap of one directory, and open its file of pages. */
static int open_level(struct umem_criu_pages *pages, size_t level, struct umem_note *note)
{
	UMEM_FREE char *bytes = NULL;
	char name[40];
	struct stat st = { 0 };
	size_t len;
	int r = read_file(pages->chain, level, pages->name, &bytes, &len, note);

	if (r < 0)
		return r;
	r = umem_criu_map_parse(bytes, len, pages->name, &pages->levels[level].map, note);
	if (r < 0)
		return r;
	pages->levels[level].open = true;
	snprintf(name, sizeof(name), "pages-%" PRIu32 ".img", pages->levels[level].map.pages_id);
	r = open_file(pages->chain, level, name, &st, note);
	if (r == -ENOENT)
		return umem_note_set(note, -EBADMSG, 0, "%s: %s, the pages of %s, is missing",
			pages->chain->path, name, pages->name);
	if (r < 0)
		return r;
	pages->levels[level].fd = r;
	if ((uint64_t)st.st_size < pages->levels[level].map.pages_bytes)
		return umem_note_set(note, -EBADMSG, 0, "%s: %s is shorter than the pages of %s",
			pages->chain->path, name, pages->name);
	return 0;
}

int umem_criu_pages_open(const struct umem_criu_chain *chain, const char *name,
	struct umem_criu_pages **ret_pages, struct umem_note *note)
{
	UMEM_CLEANUP(umem_criu_pages_freep) struct umem_criu_pages *pages =
		calloc(1, sizeof(*pages));
	int r;

	if (!pages)
		return -ENOMEM;
	pages->chain = chain;
	snprintf(pages->name, sizeof(pages->name), "%s", name);
	for (size_t i = 0; i < UMEM_IMAGE_MAX_DEPTH; i++)
		pages->levels[i].fd = -1;
	r = open_level(pages, 0, note);
	if (r < 0)
		return r;
	*ret_pages = UMEM_TAKE_PTR(pages);
	return 0;
}

struct umem_criu_pages *umem_criu_pages_free(struct umem_criu_pages *pages)
{
	for (size_t i = 0; pages && i < UMEM_IMAGE_MAX_DEPTH; i++) {
		umem_criu_map_deinit(&pages->levels[i].map);
		umem_fd_close(pages->levels[i].fd);
	}
	free(pages);
	return NULL;
}

/* A page of which the bytes were freed for a child is not zeros. */
static int check_holes(const struct umem_criu_pages *pages, int fd, uint64_t start,
	uint64_t end, uint64_t offset, struct umem_note *note)
{
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);

	/* A file system that cannot tell has no holes. */
	if (hole < 0 || (uint64_t)hole >= offset + (end - start))
		return 0;
	start += (uint64_t)hole - offset;
	return umem_note_set(note, -ENODATA, start, "%s: %s: the page at 0x%" PRIx64 " was punched "
		"out, since a child has a newer one: the images of the child are whole, these are "
		"not", pages->chain->path, pages->name, start);
}

static int missing(const struct umem_criu_pages *pages, uint64_t addr, struct umem_note *note)
{
	return umem_note_set(note, -EBADMSG, addr, "%s: %s: the page at 0x%" PRIx64 " is said to "
		"be in the parent, which does not have it", pages->chain->path, pages->name, addr);
}

/**
 * struct walk - a walk through the directories.
 * @pages, @each, @user, @note: as of umem_criu_pages_each().
 */
struct walk {
	struct umem_criu_pages *pages;
	int (*each)(void *user, uint64_t start, uint64_t end, int fd, uint64_t offset);
	void *user;
	struct umem_note *note;
};

/* Recursion is as deep as there are directories. */
static int walk_level(struct walk *walk, size_t level, uint64_t start, uint64_t end)
{
	struct umem_criu_pages *pages = walk->pages;
	const struct umem_criu_map *map;
	int r = 0;

	if (level >= pages->chain->n)
		return missing(pages, start, walk->note);
	map = &pages->levels[level].map;
	if (!pages->levels[level].open)
		r = open_level(pages, level, walk->note);
	if (r == -ENOENT)
		return missing(pages, start, walk->note);
	for (size_t i = umem_criu_map_find(map, start); r == 0 && start < end; i++) {
		uint64_t from = i < map->n ? umem_max_u64(map->v[i].start, start) : end, to;

		if (level > 0 && from > start)
			return missing(pages, start, walk->note);
		if (i == map->n || from >= end)
			break;
		to = umem_min_u64(map->v[i].end, end);
		if (map->v[i].offset == UMEM_CRIU_IN_PARENT) {
			r = walk_level(walk, level + 1, from, to);
		} else {
			int fd = pages->levels[level].fd;
			uint64_t offset = map->v[i].offset + (from - map->v[i].start);

			r = check_holes(pages, fd, from, to, offset, walk->note);
			if (r == 0)
				r = walk->each(walk->user, from, to, fd, offset);
		}
		start = to;
	}
	return r;
}

int umem_criu_pages_each(struct umem_criu_pages *pages, uint64_t start, uint64_t end,
	int (*each)(void *user, uint64_t start, uint64_t end, int fd, uint64_t offset),
	void *user, struct umem_note *note)
{
	struct walk walk = { .pages = pages, .each = each, .user = user, .note = note };

	return walk_level(&walk, 0, start, end);
}
