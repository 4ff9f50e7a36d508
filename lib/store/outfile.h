/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that is there whole, or not at all.
 *
 * Theory of operation
 *
 * It is written without a name (O_TMPFILE). When all of it is on the disk, it gets its
 * name: by linkat(2) where there is none yet; where a file is to be replaced, which
 * linkat cannot, by a link to a name for the moment and rename(2) over the old one.
 * Then the folder is synced. So at any moment the name is that of the old file, or of
 * the whole new one, or of nothing.
 *
 * What else can be left: a process that is killed between linkat and rename leaves the
 * name for the moment, of a file that is whole; it begins with a dot and ends in
 * ".umem-tmp". Where the file system has no O_TMPFILE (NFS, FUSE, vfat) the file has
 * such a name from the beginning, and a killed process leaves it, partial.
 */
#ifndef UMEM_STORE_OUTFILE_H
#define UMEM_STORE_OUTFILE_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/types.h>

/**
 * struct umem_outfile - a file that is being written.
 * @fd: for reading and writing; -1: none.
 * @direct: writes go past the page cache: offset, length and memory must be multiples
 *	of 4096.
 * @dirfd: of the folder.
 * @name: in it; NULL: it will not get one.
 * @temp: the name that it has until then; NULL: none.
 * @exclusive: no file may be replaced.
 */
struct umem_outfile {
	int fd;
	bool direct;
	int dirfd;
	char *name;
	char *temp;
	bool exclusive;
};

/** UMEM_OUTFILE_NONE - a file that is not there; umem_outfile_deinit() takes it. */
#define UMEM_OUTFILE_NONE { .fd = -1, .dirfd = -1 }

/**
 * umem_outfile_open - begin to write @path.
 * @mode: its permissions.
 * @anonymous: it never gets a name; @path is a folder or something in it.
 *
 * Fault points: "outfile.tmpfile" and "outfile.direct" give the errno that these are
 * to fail with. Return: 0; -EEXIST: @exclusive, and it is there; -EINVAL: it is there,
 * and no regular file; -errno.
 */
int umem_outfile_open(const char *path, uint32_t mode, bool anonymous, bool exclusive,
	struct umem_outfile *ret_file, struct umem_note *note);

/**
 * umem_outfile_adopt - write into a file that somebody else opened, and will name.
 * @fd: duplicated. Regular, empty, open for reading and writing.
 * @name: for @note.
 *
 * Return: 0; -EINVAL: it is none of that; -errno.
 */
int umem_outfile_adopt(int fd, const char *name, struct umem_outfile *ret_file,
	struct umem_note *note);

/**
 * umem_outfile_commit - put all on the disk, and give it its name.
 *
 * Return: 0, or -errno, and the name is as before; but when the folder cannot be
 * synced it may be the new one, which the note says.
 */
int umem_outfile_commit(struct umem_outfile *file, struct umem_note *note);

/** umem_outfile_deinit - close it; without a commit nothing is left of it. */
void umem_outfile_deinit(struct umem_outfile *file);

#endif
