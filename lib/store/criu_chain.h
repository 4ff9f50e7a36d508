/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories of CRIU images, a child and its parents, and the pages of one pagemap
 * looked up through them.
 */
#ifndef UMEM_STORE_CRIU_CHAIN_H
#define UMEM_STORE_CRIU_CHAIN_H

#include <umemd/store.h>

#include "lib/base/attr.h"
#include "lib/store/criu_read.h"

/**
 * struct umem_criu_chain - the directories; all zero is none.
 * @path: of the first.
 * @fds, @n: of all.
 */
struct umem_criu_chain {
	const char *path;
	int fds[UMEM_IMAGE_MAX_DEPTH];
	size_t n;
};

/**
 * umem_criu_chain_open - open a directory, and its parents by their links.
 * Return: 0; -ELOOP: a circle, or too many; -ENOENT: no such directory, or a link to
 * none; -errno. Noted.
 */
int umem_criu_chain_open(const char *path, struct umem_criu_chain *ret_chain,
	struct umem_note *note);

/** umem_criu_chain_close - close all. */
void umem_criu_chain_close(struct umem_criu_chain *chain);

/**
 * umem_criu_chain_read - a file of the first directory, whole.
 * Return: 0; -ENOENT: not noted; -EFBIG, -errno: noted.
 */
int umem_criu_chain_read(const struct umem_criu_chain *chain, const char *name,
	char **ret_bytes, size_t *ret_len, struct umem_note *note);

/**
 * struct umem_criu_pages - a pagemap, in the directories that have it.
 * @chain: these.
 * @name: "pagemap-PID.img" and the like.
 * @levels: of each directory its pagemap, and the file of pages; opened when needed.
 */
struct umem_criu_pages {
	const struct umem_criu_chain *chain;
	char name[64];
	struct {
		struct umem_criu_map map;
		int fd;
		bool open;
	} levels[UMEM_IMAGE_MAX_DEPTH];
};

/**
 * umem_criu_pages_open - open one of the first directory.
 * Return: 0; -ENOENT: there is none (not noted); as umem_criu_map_parse(); -EBADMSG:
 * its file of pages is missing or too short. Noted.
 */
int umem_criu_pages_open(const struct umem_criu_chain *chain, const char *name,
	struct umem_criu_pages **ret_pages, struct umem_note *note);

/** umem_criu_pages_free - close it; NULL is fine. Return: NULL. */
struct umem_criu_pages *umem_criu_pages_free(struct umem_criu_pages *pages);

UMEM_DEFINE_CLEANUP(struct umem_criu_pages, umem_criu_pages_free)

/**
 * umem_criu_pages_each - what is known of [@start, @end), ascending.
 * @each: called for each run of pages with the file that has them and the offset in
 *	it; what it returns other than 0 ends the walk. What is left out is not in the
 *	pagemap.
 *
 * Return: 0; what @each returned; -EBADMSG: a parent does not have what its child
 * refers to; -ENODATA: it was punched out, since a child has newer; noted; as
 * umem_criu_pages_open().
 */
int umem_criu_pages_each(struct umem_criu_pages *pages, uint64_t start, uint64_t end,
	int (*each)(void *user, uint64_t start, uint64_t end, int fd, uint64_t offset),
	void *user, struct umem_note *note);

#endif
