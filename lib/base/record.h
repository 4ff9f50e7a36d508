/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record in a file that somebody else holds, too: written by a process that may be
 * killed at any moment, and read by the one that follows it.
 *
 * Whatever the moment, a reader finds the last record that was written whole. This
 * survives the death of the writer, not of the machine: it is meant for memfds. One
 * writer at a time; no locks.
 */
#ifndef UMEM_BASE_RECORD_H
#define UMEM_BASE_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/** UMEM_RECORD_MAX - bytes of a record. */
#define UMEM_RECORD_MAX (1ull << 30)

/**
 * umem_record_write - replace the record.
 * @parts, @n_parts: it, in pieces.
 *
 * Return: 0; -EFBIG; -EBADMSG: the file holds something else; -errno of pwrite(2).
 */
int umem_record_write(int fd, const struct iovec *parts, size_t n_parts);

/**
 * umem_record_read - the record that was written last.
 * @max_bytes: refuse a longer one.
 * @ret_bytes: it, and a NUL behind; the caller frees.
 *
 * Return: 0; -ENODATA: none was; -EBADMSG: it is none; -EFBIG; -ENOMEM; -errno of pread(2).
 */
int umem_record_read(int fd, uint64_t max_bytes, void **ret_bytes, size_t *ret_len_bytes);

#endif
