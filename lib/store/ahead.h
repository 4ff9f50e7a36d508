/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file read from front to back, ahead of who wants its bytes.
 *
 * Blocks are read in order, several in flight, past the page cache where the file
 * system allows that. What is asked for must be ascending. One owner.
 */
#ifndef UMEM_STORE_AHEAD_H
#define UMEM_STORE_AHEAD_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/attr.h"

struct umem_ahead;

/** UMEM_AHEAD_MAX - bytes that can be asked for at once. */
#define UMEM_AHEAD_MAX (1u << 20)

/**
 * umem_ahead_new - begin to read.
 * @fd: a regular file; it is opened anew.
 * @end: up to where.
 *
 * Fault point: "ahead.direct", the errno that opening past the page cache is to fail
 * with. Return: 0, -ENOMEM, -errno.
 */
int umem_ahead_new(int fd, uint64_t end, struct umem_ahead **ret_ahead);

/** umem_ahead_free - NULL is fine. Return: NULL. */
struct umem_ahead *umem_ahead_free(struct umem_ahead *ahead);

/**
 * umem_ahead_get - bytes of the file.
 * @offset: not below the one before plus its length.
 * @len_bytes: at most UMEM_AHEAD_MAX.
 * @ret_at: valid until the next call.
 *
 * Return: 0, -EBADMSG: the file ends before, -errno of reading.
 */
int umem_ahead_get(struct umem_ahead *ahead, uint64_t offset, size_t len_bytes,
	const unsigned char **ret_at);

UMEM_DEFINE_CLEANUP(struct umem_ahead, umem_ahead_free)

#endif
