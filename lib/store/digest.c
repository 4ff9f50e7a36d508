// SPDX-License-Identifier: LGPL-2.1-or-later
/* Checksums of an image. */
#include "lib/store/digest.h"

#include <errno.h>

/* Inline, so that the compiler can use what it knows of the processor. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/base/attr.h"

uint64_t umem_digest64(const void *bytes, size_t len_bytes)
{
	return XXH3_64bits(bytes, len_bytes);
}

void umem_digest128(const void *bytes, size_t len_bytes, struct umem_image_id *ret_id)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, len_bytes));
	_Static_assert(sizeof(canonical.digest) == sizeof(ret_id->bytes), "128 bits");
	memcpy(ret_id->bytes, canonical.digest, sizeof(ret_id->bytes));
}

/** struct umem_digest - the state, which wants 64 bytes of alignment. */
struct umem_digest {
	XXH3_state_t state;
};

int umem_digest_new(struct umem_digest **ret_digest)
{
	struct umem_digest *digest = aligned_alloc(64, sizeof(*digest));

	if (!digest)
		return -ENOMEM;
	umem_digest_reset(digest);
	*ret_digest = digest;
	return 0;
}

struct umem_digest *umem_digest_free(struct umem_digest *digest)
{
	free(digest);
	return NULL;
}

void umem_digest_reset(struct umem_digest *digest)
{
	XXH3_64bits_reset(&digest->state);
}

void umem_digest_add(struct umem_digest *digest, const void *bytes, size_t len_bytes)
{
	XXH3_64bits_update(&digest->state, bytes, len_bytes);
}

uint64_t umem_digest_value(const struct umem_digest *digest)
{
	return XXH3_64bits_digest(&digest->state);
}
