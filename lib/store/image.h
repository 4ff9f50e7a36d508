/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image that is open for reading, as the files of the store see it.
 *
 * Theory of operation
 *
 * open reads the header and the whole index into one piece of memory, checks it, and
 * leaves it as it is: records of frames and runs are read where they lie, so an open
 * image takes what its index takes. Frames are found by binary search of their first
 * number, runs by that of their end.
 *
 * Every look-up goes through umem_image_resolve(), which follows runs that refer to the
 * parent down the chain, and gives the longest range for which the answer is the same.
 *
 * Reading is pread(2), never mmap(2): a file that is cut off while it is read gives an
 * error, not a signal. Frames that were decoded for a part of them are kept in a small
 * cache, direct-mapped by their place; what is read in one go passes by it.
 *
 * index.c parses and checks, image.c opens and frees, resolve.c looks up, fetch.c reads
 * and decodes frames, image_get.c, verify.c, diff.c, flatten.c do the rest.
 */
#ifndef UMEM_STORE_IMAGE_H
#define UMEM_STORE_IMAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/attr.h"
#include "lib/store/codec.h"
#include "lib/store/describe.h"
#include "lib/store/format.h"
#include "lib/store/pagehash.h"

/** struct umem_index_space - the runs of a space: @n records at @at. */
struct umem_index_space {
	const unsigned char *at;
	size_t n;
};

/**
 * struct umem_index - the index of an image; all zero is empty.
 * @bytes, @len_bytes: as it is in the file.
 * @frames, @n_frames: records of frames.
 * @n_stored: pages in them.
 * @max_frame_pages: pages in the largest one.
 * @spaces, @n_spaces: records of runs.
 * @has_parent, @parent_id, @parent_name: of the parent.
 * @hashes_offset, @n_hashes, @hashes_checksum, @hashes_key: of the hashes of pages; @n_hashes
 *	0: there are none.
 * @described: the description.
 * @processes_of: for each space the number of its first process, or UINT32_MAX.
 */
struct umem_index {
	unsigned char *bytes;
	size_t len_bytes;
	const unsigned char *frames;
	size_t n_frames;
	uint64_t n_stored;
	uint32_t max_frame_pages;
	struct umem_index_space *spaces;
	uint32_t n_spaces;
	bool has_parent;
	struct umem_image_id parent_id;
	const char *parent_name;
	uint64_t hashes_offset;
	uint64_t n_hashes;
	uint64_t hashes_checksum;
	const unsigned char *hashes_key;
	struct umem_described described;
	uint32_t *processes_of;
};

/**
 * umem_index_parse - understand an index.
 * @index: @bytes and @len_bytes are set; owned by it. No byte is trusted.
 * @data_end: where frames and hashes must end.
 * @ret_why: static text of what is wrong.
 *
 * Return: 0, -EBADMSG, -ENOTSUP, -ENOMEM.
 */
int umem_index_parse(struct umem_index *index, uint64_t data_end, const char **ret_why);

/** umem_index_deinit - free what it owns and make it empty. */
void umem_index_deinit(struct umem_index *index);

/** umem_index_frame - frame @i. */
static inline struct umem_frame umem_index_frame(const struct umem_index *index, size_t i)
{
	return umem_frame_load(index->frames + i * UMEM_FRAME_RECORD_BYTES);
}

/** umem_index_frame_of - the frame that has page @number. Return: false: none has. */
bool umem_index_frame_of(const struct umem_index *index, uint64_t number, size_t *ret_i);

struct umem_fetch;

/**
 * struct umem_image - an open image.
 * @fd: for reading.
 * @path: as it was opened, "" for none.
 * @dev, @ino: the file.
 * @file_bytes, @index_offset: from its header. @disk_bytes: what it takes.
 * @id: what its index hashes to.
 * @index: what it holds.
 * @parent: open, or NULL.
 * @fetch: what reads frames.
 * @key, @hashes, @ordinals: hashes of pages, and how many pages lie before each frame;
 *	NULL until they are needed.
 * @hint_space, @hint_run: where the last look-up ended.
 */
struct umem_image {
	int fd;
	char *path;
	dev_t dev;
	ino_t ino;
	uint64_t file_bytes;
	uint64_t index_offset;
	uint64_t disk_bytes;
	struct umem_image_id id;
	struct umem_index index;
	struct umem_image *parent;
	struct umem_fetch *fetch;
	struct umem_pagehash *key;
	uint64_t *hashes;
	uint64_t *ordinals;
	uint32_t hint_space;
	size_t hint_run;
};

/** umem_image_n_runs - runs of a space, 0 where there is none. */
size_t umem_image_n_runs(const struct umem_image *image, uint32_t space);

/** umem_image_run_at - run @i of a space. */
struct umem_run umem_image_run_at(const struct umem_image *image, uint32_t space, size_t i);

/** umem_image_find - the first run whose end is past @addr; n_runs if none. */
size_t umem_image_find(struct umem_image *image, uint32_t space, uint64_t addr);

/** UMEM_RESOLVED_ABSENT - beside enum umem_image_page: no image of the chain knows it. */
#define UMEM_RESOLVED_ABSENT UMEM_N_IMAGE_PAGES

/**
 * struct umem_resolved - what is known of the pages from an address on.
 * @end: up to where.
 * @what: enum umem_image_page, or UMEM_RESOLVED_ABSENT.
 * @depth, @image: who knows it.
 * @ref: the word of a fill; the number of the first page of data.
 */
struct umem_resolved {
	uint64_t end;
	unsigned what;
	uint32_t depth;
	struct umem_image *image;
	uint64_t ref;
};

/** umem_image_resolve - look up the page at @addr, and those behind it up to @end. */
void umem_image_resolve(struct umem_image *image, uint32_t space, uint64_t addr, uint64_t end,
	struct umem_resolved *ret_resolved);

/**
 * umem_image_region - the region that has @addr, or the next one behind it.
 * Return: NULL: there is none.
 */
const struct umem_image_region *umem_image_region(const struct umem_image *image,
	uint32_t space, uint64_t addr);

/** umem_fetch_new - what reads the frames of @image. Return: 0, -ENOMEM. */
int umem_fetch_new(struct umem_image *image, uint64_t cache_bytes, struct umem_fetch **ret_fetch);

/** umem_fetch_free - NULL is fine. Return: NULL. */
struct umem_fetch *umem_fetch_free(struct umem_fetch *fetch);

/**
 * umem_fetch_pages - content of stored pages.
 * @number: of the first; they follow each other, as in a run.
 *
 * Return: 0, -EBADMSG: damaged, or no frame has them; -EIO, -ENOMEM, ...; @ret_why
 * is static text of what is wrong, @ret_offset where in the file.
 */
int umem_fetch_pages(struct umem_fetch *fetch, uint64_t number, void *bytes, uint64_t n_pages,
	const char **ret_why, uint64_t *ret_offset);

/** umem_image_pread - exactly @len_bytes bytes. Return: 0, -EBADMSG: it ends before, -errno. */
int umem_image_pread(int fd, void *bytes, size_t len_bytes, uint64_t offset);

/** umem_image_load_hashes - read the hashes of pages. Return: 0, -ENODATA: none; -EBADMSG, ... */
int umem_image_load_hashes(struct umem_image *image);

/** umem_image_ordinals - pages before each frame. Return: 0, -ENOMEM. */
int umem_image_ordinals(struct umem_image *image);

/** enum umem_peek - is a page in an image? */
enum umem_peek {
	UMEM_PEEK_OTHER = 0,
	UMEM_PEEK_SAME = 1,
};

/**
 * struct umem_image_peek - looks at ascending addresses of an image, by hashes.
 * All fields are private.
 */
struct umem_image_peek {
	struct umem_image *image;
	uint32_t space;
	uint64_t start;
	struct umem_resolved found;
	size_t frame;
};

/** umem_image_peek_init - begin to look at @image. */
void umem_image_peek_init(struct umem_image_peek *peek, struct umem_image *image);

/** umem_image_peek - is it this page? Return: enum umem_peek, -errno. */
int umem_image_peek(struct umem_image_peek *peek, uint32_t space, uint64_t addr,
	const void *page);

UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)

#endif
