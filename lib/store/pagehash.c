// SPDX-License-Identifier: LGPL-2.1-or-later
/* A keyed hash of a page; see pagehash.h. */
#include "lib/store/pagehash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "lib/store/format.h"

__extension__ typedef unsigned __int128 u128;

#define P61 ((1ull << 61) - 1)

int umem_pagehash_draw(struct umem_pagehash *ret_key)
{
	unsigned char *at = (unsigned char *)ret_key;
	size_t left = sizeof(*ret_key);

	while (left > 0) {
		ssize_t n = getrandom(at, left, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		left -= (size_t)n;
	}
	for (int i = 0; i < 2; i++)
		ret_key->r[i] = (ret_key->r[i] & P61) % P61;
	return 0;
}

static inline uint64_t word(const unsigned char *page, unsigned i)
{
	return umem_get64(page + 8 * i);
}

/* value < 2^122 modulo p. */
static uint64_t reduce(u128 value)
{
	uint64_t sum = ((uint64_t)value & P61) + (uint64_t)(value >> 61);

	sum = (sum & P61) + (sum >> 61);
	return sum >= P61 ? sum - P61 : sum;
}

static uint64_t finish(u128 nh, uint64_t r)
{
	uint64_t h0 = (uint64_t)nh & P61, h1 = (uint64_t)(nh >> 61) & P61;
	uint64_t h2 = (uint64_t)(nh >> 122);
	uint64_t inner = reduce((u128)h2 * r + h1);

	return reduce((u128)inner * r + h0);
}

uint64_t umem_pagehash_one(const struct umem_pagehash *key, const void *page)
{
	const uint64_t *k = key->nh;
	u128 a = 0, b = 0;

	/* Two sums, so that the additions with carry do not wait for each other. */
	for (unsigned i = 0; i < 512; i += 4) {
		a += (u128)(word(page, i) + k[i]) * (word(page, i + 1) + k[i + 1]);
		b += (u128)(word(page, i + 2) + k[i + 2]) * (word(page, i + 3) + k[i + 3]);
	}
	return finish(a + b, key->r[0]);
}

struct umem_pagehash2 umem_pagehash_both(const struct umem_pagehash *key, const void *page)
{
	const uint64_t *k = key->nh;
	u128 a = 0, b = 0;

	for (unsigned i = 0; i < 512; i += 2) {
		uint64_t w0 = word(page, i), w1 = word(page, i + 1);

		a += (u128)(w0 + k[i]) * (w1 + k[i + 1]);
		b += (u128)(w0 + k[i + 2]) * (w1 + k[i + 3]);
	}
	return (struct umem_pagehash2){ { finish(a, key->r[0]), finish(b, key->r[1]) } };
}

void umem_pagehash_save(const struct umem_pagehash *key, void *to)
{
	unsigned char *at = to;

	for (unsigned i = 0; i < 512; i++)
		umem_put64(at + 8 * i, key->nh[i]);
	umem_put64(at + 8 * 512, key->r[0]);
}

void umem_pagehash_load(struct umem_pagehash *ret_key, const void *from)
{
	const unsigned char *at = from;

	memset(ret_key, 0, sizeof(*ret_key));
	for (unsigned i = 0; i < 512; i++)
		ret_key->nh[i] = umem_get64(at + 8 * i);
	ret_key->r[0] = umem_get64(at + 8 * 512) % P61;
}
