// SPDX-License-Identifier: LGPL-2.1-or-later
/* The hash of a page against its definition, computed the slow way; and the table of it. */
#include "lib/store/pagehash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/store/dedup.h"
#include "tests/lib/harness.h"

#define P61 ((1ull << 61) - 1)

/* (a * b + c) modulo 2^61 - 1, by doubling. */
static uint64_t mul_add(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t sum = c % P61;

	a %= P61;
	for (; b > 0; b >>= 1) {
		if (b & 1)
			sum = (sum + a) % P61;
		a = (a * 2) % P61;
	}
	return sum;
}

/** struct sum - 128 bits in four digits of 32. */
struct sum {
	uint64_t digit[4];
};

static void add_product(struct sum *sum, uint64_t a, uint64_t b)
{
	uint64_t part[4] = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < 2; k++) {
			uint64_t x = (a >> 32 * i & UINT32_MAX) * (b >> 32 * k & UINT32_MAX);

			part[i + k] += x & UINT32_MAX;
			part[i + k + 1] += x >> 32;
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		sum->digit[i] += part[i];
		if (i < 3)
			sum->digit[i + 1] += sum->digit[i] >> 32;
		sum->digit[i] &= UINT32_MAX;
	}
}

static uint64_t naive(const uint64_t *words, const uint64_t *key, uint64_t r)
{
	struct sum sum = { 0 };
	uint64_t low, high, h0, h1, h2;

	for (unsigned i = 0; i < 256; i++)
		add_product(&sum, words[2 * i] + key[2 * i], words[2 * i + 1] + key[2 * i + 1]);
	low = sum.digit[0] | sum.digit[1] << 32;
	high = sum.digit[2] | sum.digit[3] << 32;
	h0 = low & P61;
	h1 = (low >> 61 | high << 3) & P61;
	h2 = high >> 58;
	return mul_add(mul_add(h2, r, h1), r, h0);
}

static void as_defined(void **state)
{
	uint64_t rng = t_seed();

	for (int round = 0; round < 200; round++) {
		struct umem_pagehash key, loaded;
		struct umem_pagehash2 both;
		unsigned char saved[UMEM_PAGEHASH_WORDS * 8];
		uint64_t page[513];

		T_OK(umem_pagehash_draw(&key));
		assert_true(key.r[0] < P61 && key.r[1] < P61);
		for (unsigned i = 0; i < 512; i++)
			page[i] = round == 0 ? 0 : round == 1 ? UINT64_MAX : t_rand(&rng);
		if (round == 2)
			memset(&key, 0xff, sizeof(key.nh));
		both = umem_pagehash_both(&key, page);
		assert_int_equal(both.lane[0], naive(page, key.nh, key.r[0]));
		assert_int_equal(both.lane[1], naive(page, key.nh + 2, key.r[1]));
		assert_int_equal(both.lane[0], umem_pagehash_one(&key, page));
		umem_pagehash_save(&key, saved);
		umem_pagehash_load(&loaded, saved);
		assert_int_equal(both.lane[0], umem_pagehash_one(&loaded, page));
		/* Also where a page is not aligned. */
		memmove((char *)page + 3, page, 4096);
		assert_int_equal(both.lane[0], umem_pagehash_one(&key, (char *)page + 3));
	}
}

/* Each bit of a page counts, in both lanes. */
static void every_bit(void **state)
{
	static uint64_t page[512];
	struct umem_pagehash key;
	struct umem_pagehash2 before, after;

	T_OK(umem_pagehash_draw(&key));
	before = umem_pagehash_both(&key, page);
	for (unsigned i = 0; i < 512 * 64; i++) {
		page[i / 64] ^= 1ull << i % 64;
		after = umem_pagehash_both(&key, page);
		assert_int_not_equal(before.lane[0], after.lane[0]);
		assert_int_not_equal(before.lane[1], after.lane[1]);
		page[i / 64] ^= 1ull << i % 64;
	}
}

static struct umem_pagehash2 hash_of(uint64_t i)
{
	uint64_t rng = i;

	return (struct umem_pagehash2){ { t_rand(&rng), t_rand(&rng) } };
}

static bool is_even(void *user, uint64_t number)
{
	return number % 2 == 0;
}

/* A table with room for all finds all; a small one finds nothing that is wrong. */
static void table(void **state)
{
	for (int small = 0; small < 2; small++) {
		uint64_t n = 50000, number, found = 0;
		struct umem_dedup dedup;

		umem_dedup_init(&dedup, small ? 100000 : 64 << 20);
		for (uint64_t i = 0; i < n; i++) {
			struct umem_pagehash2 hash = hash_of(i);

			assert_false(umem_dedup_find(&dedup, &hash, &number));
			umem_dedup_add(&dedup, &hash, i);
		}
		for (uint64_t i = 0; i < n; i++) {
			struct umem_pagehash2 hash = hash_of(i);

			if (!umem_dedup_find(&dedup, &hash, &number))
				continue;
			assert_int_equal(number, i);
			found++;
			/* One lane alone is not enough. */
			hash.lane[0] ^= 1;
			assert_false(umem_dedup_find(&dedup, &hash, &number));
		}
		printf("%llu of %llu found\n", (unsigned long long)found, (unsigned long long)n);
		if (!small)
			assert_true(found > n - n / 500);
		assert_true(found > 1000);
		T_OK(umem_dedup_keep(&dedup, is_even, NULL));
		for (uint64_t i = 0; i < n; i++) {
			struct umem_pagehash2 hash = hash_of(i);

			if (umem_dedup_find(&dedup, &hash, &number))
				assert_true(number == i && i % 2 == 0);
		}
		umem_dedup_deinit(&dedup);
	}
}

/* Without memory it holds nothing. */
static void no_table(void **state)
{
	struct umem_pagehash2 hash = hash_of(1);
	struct umem_dedup dedup;
	uint64_t number;

	umem_dedup_init(&dedup, 100);
	umem_dedup_add(&dedup, &hash, 1);
	assert_false(umem_dedup_find(&dedup, &hash, &number));
	T_OK(umem_dedup_keep(&dedup, is_even, NULL));
	umem_dedup_deinit(&dedup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_defined),
		cmocka_unit_test(every_bit),
		cmocka_unit_test(table),
		cmocka_unit_test(no_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
