/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owned file descriptors and whole-file reads. Nothing here blocks beyond the
 * read itself.
 */
#ifndef UMEM_BASE_FD_H
#define UMEM_BASE_FD_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/attr.h"

/** umem_fd_close - close @fd unless it is negative, errno kept. Return: -1. */
int umem_fd_close(int fd);

static inline void umem_fd_closep(int *fd)
{
	umem_fd_close(*fd);
}

/** UMEM_FD - a descriptor that is closed when it leaves its scope. */
#define UMEM_FD UMEM_CLEANUP(umem_fd_closep)

/** umem_fd_take - hand a descriptor over: its value, and -1 left behind. */
static inline int umem_fd_take(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

/**
 * umem_read_all - read from @fd up to its end into a new string.
 * @fd: readable descriptor, from its current position on.
 * @max_bytes: refuse more than this many bytes.
 * @ret_text: the bytes and a NUL behind them; the caller frees.
 * @ret_len_bytes: length without the NUL; may be NULL.
 *
 * Return: 0, -EFBIG past @max_bytes, -ENOMEM, or -errno of read(2).
 */
int umem_read_all(int fd, size_t max_bytes, char **ret_text, size_t *ret_len_bytes);

/**
 * umem_read_file - umem_read_all() of @name below the directory @dirfd.
 *
 * Return: as umem_read_all(), or -errno of openat(2).
 */
int umem_read_file(int dirfd, const char *name, size_t max_bytes, char **ret_text,
	size_t *ret_len_bytes);

/** umem_write_all - write all of @len_bytes bytes. Return: 0 or -errno. */
int umem_write_all(int fd, const void *data, size_t len_bytes);

#endif
