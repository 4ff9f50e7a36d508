/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that goes to a client as it was written: nobody copies it, and it is sealed, so
 * that who maps it need not fear that it shrinks or changes.
 */
#ifndef WORKER_MEMFD_H
#define WORKER_MEMFD_H

#include <stddef.h>

#include "daemon/worker/answer.h"

/** memfd_new - @len_bytes bytes, mapped at *@ret_at; an empty one is not. Return: 0, -errno. */
int memfd_new(const char *name, size_t len_bytes, int *ret_fd, void **ret_at);

/**
 * memfd_answer - unmap and seal @fd, which is written, and have it sent along.
 * @fd: consumed, also on failure. @key: parameter that gets its index.
 * Return: 0 or -errno.
 */
int memfd_answer(int fd, void *at, size_t len_bytes, const char *key, struct answer *answer);

#endif
