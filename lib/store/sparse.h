/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sparse file that another program will read, there whole or not at all.
 *
 * What is written is put out of the page cache behind the writes, so that a big export
 * does not push out the memory of others. It is written through the cache all the
 * same: pages lie scattered between holes, and the kernel makes large writes of them.
 * Blocks for the disk. One thread at a time.
 */
#ifndef UMEM_STORE_SPARSE_H
#define UMEM_STORE_SPARSE_H

#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/store/outfile.h"

/**
 * struct umem_sparse - a file on its way; UMEM_SPARSE_NONE is none.
 * @file: it; without a name where it is one of a directory that is committed as one.
 * @path: as it was given, for notes.
 * @started, @written: write-behind was started up to, bytes were written up to.
 * @data_bytes: bytes that were written, holes not counted.
 */
struct umem_sparse {
	struct umem_outfile file;
	char *path;
	uint64_t started;
	uint64_t written;
	uint64_t data_bytes;
};

#define UMEM_SPARSE_NONE { .file = UMEM_OUTFILE_NONE }

/**
 * umem_sparse_open - begin a file, which takes its place at @path on commit.
 * Return: as umem_outfile_open().
 */
int umem_sparse_open(const char *path, struct umem_sparse *ret_file, struct umem_note *note);

/**
 * umem_sparse_open_in - begin the new file @name of the directory @dirfd, which the
 * caller commits as one. Return: 0 or -errno of openat(2), noted.
 */
int umem_sparse_open_in(int dirfd, const char *name, struct umem_sparse *ret_file,
	struct umem_note *note);

/**
 * umem_sparse_write - write at an offset; what is never written is a hole.
 * Return: 0 or -errno of pwrite(2), noted.
 */
int umem_sparse_write(struct umem_sparse *file, uint64_t offset, const void *bytes,
	uint64_t len_bytes, struct umem_note *note);

/** umem_sparse_set_length - for a hole at the end. Return: 0 or -errno, noted. */
int umem_sparse_set_length(struct umem_sparse *file, uint64_t length_bytes,
	struct umem_note *note);

/**
 * umem_sparse_commit - bring it to the disk and to its place; one of a directory to the
 * disk only. Return: 0, or -errno noted; then the place is as it was.
 */
int umem_sparse_commit(struct umem_sparse *file, struct umem_note *note);

/** umem_sparse_deinit - close; without a commit nothing of it stays. */
void umem_sparse_deinit(struct umem_sparse *file);

/** UMEM_SPARSE - one that is closed when it leaves its scope. */
#define UMEM_SPARSE UMEM_CLEANUP(umem_sparse_deinit)

#endif
