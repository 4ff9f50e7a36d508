/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in the formats of other programs: made from an image, and read into one.
 *
 *     core    an ELF core file, for debuggers
 *     criu    a directory of CRIU's pagemap, pages, mm and related images
 *     raw     memory without a header, one region behind the other: what virtual
 *             machine monitors load
 *
 * An export takes its place whole or not at all, and replaces a file that was there
 * (of a directory: only an empty one). Nothing here looks at a process.
 */
#ifndef UMEMD_EXPORT_H
#define UMEMD_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/store.h>
#include <umemd/types.h>

/**
 * struct umem_image_format - a format of another program.
 * @name: by which it is asked for.
 * @title: what it is, for people.
 * @imports: umem_image_import() reads it, too.
 */
struct umem_image_format {
	const char *name;
	const char *title;
	bool imports;
};

/** umem_image_format - the @index-th format, static; NULL past the last. */
UMEM_API const struct umem_image_format *umem_image_format(size_t index);

/**
 * struct umem_image_extent - where a part of a raw file is from.
 * @pid: of the process.
 * @start, @end: addresses.
 * @file_offset: of the first byte in the file.
 */
struct umem_image_extent {
	int32_t pid;
	uint64_t start;
	uint64_t end;
	uint64_t file_offset;
};

/**
 * struct umem_image_export_options - what to export; all zero but @size is fine.
 * @size: sizeof(struct umem_image_export_options), for later growth.
 * @pid: (core, raw) the process; 0: the first of the image.
 * @tid: (core) the thread that a debugger shows first; 0: one that has a signal, else
 *	the first.
 * @regions, @n_regions: (raw) only these: a region of the image is taken, cut to it,
 *	where it overlaps one of them. Ascending and disjoint; 0 of them means all but
 *	those of the kernel ([vdso], [vvar]).
 * @diff: (raw) only what differs from the parent: changed pages are data, also those
 *	that became zeros, and all else is a hole.
 * @parent_path: (criu) the directory that the image's parent was exported to; pages
 *	that are as there refer to it. NULL: the export stands alone.
 * @embed_files: (core) pages that are those of a mapped file are copied from it. Else
 *	only the page with the ELF header is, and the debugger reads the file.
 * @unknown_as_zero: (raw, criu) pages that the image does not know are written as
 *	zeros; otherwise they are an error. A core leaves them out.
 * @extent: (raw) told, in order, what is where, when all is in its place. May be NULL.
 * @progress: called now and then; what it returns other than 0 ends the work, and is
 *	returned. May be NULL.
 * @user: passed to both.
 */
struct umem_image_export_options {
	size_t size;
	int32_t pid;
	int32_t tid;
	const struct umem_range *regions;
	size_t n_regions;
	bool diff;
	const char *parent_path;
	bool embed_files;
	bool unknown_as_zero;
	void (*extent)(void *user, const struct umem_image_extent *extent);
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
};

/**
 * struct umem_image_exported - what was made.
 * @length_bytes: of the file, or of all files of the directory.
 * @data_bytes: of these that were written; the rest are holes.
 * @file_bytes: memory that is left to the files it maps: whoever reads the export
 *	needs them as they were.
 * @unknown_bytes: memory that the image does not know: left out, or zeros.
 * @parent_bytes: memory that the export refers to its parent for.
 */
struct umem_image_exported {
	uint64_t length_bytes;
	uint64_t data_bytes;
	uint64_t file_bytes;
	uint64_t unknown_bytes;
	uint64_t parent_bytes;
};

/**
 * umem_image_export - write an image in another format.
 * @format: a name of umem_image_format().
 * @path: of the file; of the directory, which must not be there or be empty.
 * @options: NULL for defaults.
 * @ret_exported: may be NULL.
 *
 * Return: 0; -EINVAL: no such format, an option that it does not have, or @path is
 * there and is no regular file; -ENOTEMPTY, -ENOTDIR: likewise of a directory; -ESRCH:
 * no such process in the image; -ENODATA: a page is not known, or is that of a file
 * which cannot be read; -ESTALE: a mapped file is not as it was, or @parent_path is not
 * of the parent; -ENOENT: regions that are not there, or no parent; -EFBIG: longer than
 * a file can be; -EBADMSG: the image is damaged; -ENOTSUP: it is of a machine whose
 * cores are not known; -ENOSPC, -ENOMEM and other -errno; what @progress returned.
 */
UMEM_API int umem_image_export(struct umem_image *image, const char *format,
	const char *path, const struct umem_image_export_options *options,
	struct umem_image_exported *ret_exported, struct umem_note *note);

/**
 * struct umem_image_import_options - what to read; all zero but @size is fine.
 * @size: sizeof(struct umem_image_import_options), for later growth.
 * @extents, @n_extents: (raw) which part of the file is which memory. Ascending and
 *	disjoint in their addresses, which with the offsets are multiples of 4096. One
 *	process; its pid is that of the first.
 * @progress, @user: as of struct umem_image_export_options.
 */
struct umem_image_import_options {
	size_t size;
	const struct umem_image_extent *extents;
	size_t n_extents;
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
};

/**
 * umem_image_import - read another program's format into an image that is being
 * written: its pages and the description of its processes. The caller commits.
 * @writer: new, without pages.
 * @format: of which umem_image_format() says that it is read.
 * @path: the file; the directory, whose parents are found by its link "parent".
 *
 * No byte of it is trusted. Return: 0; -EINVAL: no such format, options; -EILSEQ: not
 * of this format; -ENOTSUP: of a kind that is not read (the note says which);
 * -EBADMSG: damaged; -ENODATA: pages are not there: they were superseded (punched out
 * for a child), or are still with another machine; -ENOENT: a file of it, or a
 * parent, is missing; -ELOOP: parents in a circle, or too many; -ENOMEM, -errno of
 * reading, or of the writer; what @progress returned.
 */
UMEM_API int umem_image_import(struct umem_image_writer *writer, const char *format,
	const char *path, const struct umem_image_import_options *options,
	struct umem_note *note);

#endif
