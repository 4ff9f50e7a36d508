/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checksums of an image: they find damage, and are not meant to stop a forger.
 * The only user of the hash library.
 */
#ifndef UMEM_STORE_DIGEST_H
#define UMEM_STORE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include <umemd/store.h>

/** umem_digest64 - XXH3, 64 bits, seed 0. */
uint64_t umem_digest64(const void *bytes, size_t len_bytes);

/** umem_digest128 - XXH3, 128 bits, seed 0, in its canonical (big-endian) form. */
void umem_digest128(const void *bytes, size_t len_bytes, struct umem_image_id *ret_id);

struct umem_digest;

/** umem_digest_new, _free - umem_digest64() in pieces. Return: 0, -ENOMEM; NULL. */
int umem_digest_new(struct umem_digest **ret_digest);
struct umem_digest *umem_digest_free(struct umem_digest *digest);

/** umem_digest_reset - begin anew. */
void umem_digest_reset(struct umem_digest *digest);

/** umem_digest_add - the next bytes. */
void umem_digest_add(struct umem_digest *digest, const void *bytes, size_t len_bytes);

/** umem_digest_value - of all bytes since the beginning. */
uint64_t umem_digest_value(const struct umem_digest *digest);

#endif
