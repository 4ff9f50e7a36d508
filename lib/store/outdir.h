/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory of files that appears as a whole: filled under a hidden name beside its
 * place, and renamed. Blocks for the disk.
 */
#ifndef UMEM_STORE_OUTDIR_H
#define UMEM_STORE_OUTDIR_H

#include <umemd/types.h>

#include "lib/base/attr.h"

/**
 * struct umem_outdir - a directory on its way; UMEM_OUTDIR_NONE is none.
 * @fd: of it, to create files in.
 * @place: the directory that it is in.
 * @path: as it was given, without slashes at the end.
 * @temp: its hidden name; NULL when it has its own.
 */
struct umem_outdir {
	int fd;
	int place;
	char *path;
	char *temp;
};

#define UMEM_OUTDIR_NONE ((struct umem_outdir){ .fd = -1, .place = -1 })

/**
 * umem_outdir_create - begin a directory that takes its place at @path on commit.
 * Return: 0; -ENOTEMPTY: a directory that has files is there; -ENOTDIR: something
 * else is; -errno. Noted.
 */
int umem_outdir_create(const char *path, struct umem_outdir *ret_dir, struct umem_note *note);

/**
 * umem_outdir_link - a symbolic link in it, relative, to the directory @target.
 * Return: 0; -ENOENT: no such directory; -errno. Noted.
 */
int umem_outdir_link(struct umem_outdir *dir, const char *name, const char *target,
	struct umem_note *note);

/** umem_outdir_commit - its files are on the disk: give it its name. Return: 0, -errno noted. */
int umem_outdir_commit(struct umem_outdir *dir, struct umem_note *note);

/** umem_outdir_deinit - close; without a commit its files are removed. */
void umem_outdir_deinit(struct umem_outdir *dir);

/** UMEM_OUTDIR - one that is closed when it leaves its scope. */
#define UMEM_OUTDIR UMEM_CLEANUP(umem_outdir_deinit)

#endif
