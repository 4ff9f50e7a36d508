/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes that are appended to, in memory: headers and records before they are written.
 */
#ifndef UMEM_STORE_BYTES_H
#define UMEM_STORE_BYTES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/attr.h"

/** struct umem_bytes - the bytes; all zero is empty. */
struct umem_bytes {
	uint8_t *v;
	size_t n;
	size_t room;
};

/** umem_bytes_add - room for @len more, zeroed. Return: 0 or -ENOMEM; then nothing changed. */
static inline int umem_bytes_add(struct umem_bytes *bytes, size_t len, uint8_t **ret_at)
{
	if (bytes->room - bytes->n < len) {
		size_t room;
		uint8_t *more;

		if (__builtin_add_overflow(bytes->room, len, &room) ||
			__builtin_mul_overflow(room, (size_t)2, &room))
			return -ENOMEM;
		more = realloc(bytes->v, room);
		if (!more)
			return -ENOMEM;
		bytes->v = more;
		bytes->room = room;
	}
	*ret_at = bytes->v + bytes->n;
	/* A length of 0 of nothing is no pointer to write to. */
	if (len > 0)
		memset(*ret_at, 0, len);
	bytes->n += len;
	return 0;
}

/** umem_bytes_put - append @len bytes. Return: as umem_bytes_add(). */
static inline int umem_bytes_put(struct umem_bytes *bytes, const void *from, size_t len)
{
	uint8_t *at;
	int r = umem_bytes_add(bytes, len, &at);

	if (r == 0 && len > 0)
		memcpy(at, from, len);
	return r;
}

/** umem_bytes_deinit - free, and make empty. */
static inline void umem_bytes_deinit(struct umem_bytes *bytes)
{
	free(bytes->v);
	*bytes = (struct umem_bytes){ 0 };
}

/** UMEM_BYTES - some that are freed when they leave their scope. */
#define UMEM_BYTES UMEM_CLEANUP(umem_bytes_deinit)

#endif
