/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the formats share: the table, and pages on their way from an image to a file.
 *
 * A format is one file and one row of the table in export.c.
 */
#ifndef UMEM_STORE_EXPORT_H
#define UMEM_STORE_EXPORT_H

#include <umemd/export.h>

#include "lib/store/backing.h"
#include "lib/store/sparse.h"

/** UMEM_EXPORT_CHUNK - pages are moved in pieces of this many bytes. */
#define UMEM_EXPORT_CHUNK (1u << 20)

/**
 * struct umem_export - an export at work.
 * @image, @path, @options, @note: of umem_image_export(); options are never NULL.
 * @out: what was made so far.
 * @buf: UMEM_EXPORT_CHUNK bytes.
 * @done_bytes, @total_bytes: of content that is to be written.
 * @told_bytes: @done_bytes when progress was told last.
 */
struct umem_export {
	struct umem_image *image;
	const char *path;
	struct umem_image_export_options options;
	struct umem_image_exported out;
	struct umem_note *note;
	uint8_t *buf;
	uint64_t done_bytes;
	uint64_t total_bytes;
	uint64_t told_bytes;
};

/**
 * struct umem_import - an import at work; members as of umem_image_import().
 * @buf: UMEM_EXPORT_CHUNK bytes.
 */
struct umem_import {
	struct umem_image_writer *writer;
	const char *path;
	struct umem_image_import_options options;
	struct umem_note *note;
	uint8_t *buf;
	uint64_t done_bytes;
	uint64_t total_bytes;
	uint64_t told_bytes;
};

/**
 * struct umem_export_format - a format.
 * @public: its name and title.
 * @takes: options that it has, UMEM_EXPORT_TAKES_*; others are refused.
 * @export: write it; sets all of @out.
 * @import: read it, or NULL.
 */
struct umem_export_format {
	struct umem_image_format public;
	unsigned takes;
	int (*export)(struct umem_export *job);
	int (*import)(struct umem_import *job);
};

#define UMEM_EXPORT_TAKES_PID     (1u << 0)
#define UMEM_EXPORT_TAKES_TID     (1u << 1)
#define UMEM_EXPORT_TAKES_REGIONS (1u << 2)
#define UMEM_EXPORT_TAKES_DIFF    (1u << 3)
#define UMEM_EXPORT_TAKES_PARENT  (1u << 4)
#define UMEM_EXPORT_TAKES_EMBED   (1u << 5)
#define UMEM_EXPORT_TAKES_UNKNOWN (1u << 6)

/* The formats. */
int umem_core_export(struct umem_export *job);
int umem_criu_export(struct umem_export *job);
int umem_criu_import(struct umem_import *job);
int umem_raw_export(struct umem_export *job);
int umem_raw_import(struct umem_import *job);

/** umem_export_process - the process that was asked for. Return: 0, -ESRCH noted. */
int umem_export_process(struct umem_export *job, const struct umem_image_process **ret_process);

/** umem_export_is_data - its content is in the image, and may be other than zeros. */
static inline bool umem_export_is_data(const struct umem_image_run *run)
{
	return run->what == UMEM_IMAGE_DATA || run->what == UMEM_IMAGE_FILL;
}

/**
 * umem_export_copy - write the content of pages to @file.
 * @run: all of one sort: data, fill or zeros (which are written, too).
 * @offset: of the first page in @file.
 * Return: 0, -errno noted, or what progress returned.
 */
int umem_export_copy(struct umem_export *job, uint32_t space, const struct umem_image_run *run,
	struct umem_sparse *file, uint64_t offset);

/**
 * umem_export_copy_backing - write pages that are those of a mapped file.
 * @backing: of the region that [@start, @end) is in; opened if it is not.
 */
int umem_export_copy_backing(struct umem_export *job, const struct umem_image_region *region,
	struct umem_backing *backing, uint64_t start, uint64_t end, struct umem_sparse *file,
	uint64_t offset);

/**
 * umem_export_inherited - does the image itself say that pages are those of the parent,
 * at the same address? They may also be content of another place there, moved or put
 * twice, which to other formats is content like any.
 * @parent_space: the space of the parent that is asked about.
 * @ret_end: up to here, at most @end, the answer is the same.
 */
bool umem_export_inherited(struct umem_image *image, uint32_t space, uint64_t addr, uint64_t end,
	uint32_t parent_space, uint64_t *ret_end);

/**
 * umem_export_is_kernel - is it a mapping of the kernel ([vvar], [vdso]), without content of
 * the program?
 */
bool umem_export_is_kernel(const struct umem_image_region *region);

/** umem_export_unknown - pages that the image does not know. Return: 0, -ENODATA noted. */
int umem_export_unknown(struct umem_export *job, const struct umem_image_run *run);

/** umem_export_advance, umem_import_advance - progress. Return: what it returned. */
int umem_export_advance(struct umem_export *job, uint64_t bytes);
int umem_import_advance(struct umem_import *job, uint64_t bytes);

#endif
