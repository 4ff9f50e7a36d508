// SPDX-License-Identifier: LGPL-2.1-or-later
/* The token bucket: what goes at once, what waits how long, and that the rate holds. */
#include "lib/base/bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define S 1000000000ull

static void lends(void **state)
{
	struct umem_bucket b = { 0 };

	assert_true(umem_bucket_is_full(&b, 1000, 5 * S));
	/* A second's worth, then as much as one likes, once. */
	assert_int_equal(0, umem_bucket_take(&b, 1000, 5 * S, 1000));
	assert_int_equal(0, umem_bucket_take(&b, 1000, 5 * S, 4000));
	assert_true(umem_bucket_take(&b, 1000, 5 * S, 1) == 4 * S);
	/* It comes back with time, and no more than a second's worth. */
	assert_true(umem_bucket_take(&b, 1000, 8 * S, 0) == S + S / 1000);
	assert_false(umem_bucket_is_full(&b, 1000, 10 * S));
	assert_true(umem_bucket_is_full(&b, 1000, 11 * S));
	assert_int_equal(0, umem_bucket_take(&b, 1000, 100 * S, 1000));
	assert_int_equal(0, umem_bucket_take(&b, 1000, 100 * S, 10));
	assert_true(umem_bucket_take(&b, 1000, 100 * S, 0) == S / 100);
}

static void extremes(void **state)
{
	struct umem_bucket b = { 0 };

	assert_int_equal(0, umem_bucket_take(&b, 1, S, UINT64_MAX));
	assert_true(umem_bucket_take(&b, 1, S, UINT64_MAX) == UINT64_MAX);
	assert_true(umem_bucket_take(&b, 1, UINT64_MAX, UINT64_MAX) > 0);
	assert_int_equal(0, umem_bucket_take(&b, UINT64_MAX, UINT64_MAX, UINT64_MAX));
	/* Another rate from now on. */
	b = (struct umem_bucket){ 0 };
	assert_int_equal(0, umem_bucket_take(&b, 1000000, S, 2000000));
	assert_true(umem_bucket_take(&b, 1000, S, 0) == 1999 * S);
}

/* Who waits as told never gets more than the rate and what may be lent. */
static void the_rate_holds(void **state)
{
	uint64_t rng = t_seed();

	for (int round = 0; round < 200; round++) {
		const uint64_t rate = 1 + t_below(&rng, 1000000);
		const uint64_t most = 1 + t_below(&rng, 3 * rate);
		const uint64_t begin_ns = t_below(&rng, 100 * S);
		struct umem_bucket b = { 0 };
		uint64_t now_ns = begin_ns, sum = 0, due_ns = begin_ns;

		for (int i = 0; i < 100; i++) {
			uint64_t n = t_below(&rng, most + 1);
			uint64_t wait_ns = umem_bucket_take(&b, rate, now_ns, n);

			/* In order: nobody goes before who came before. */
			assert_true(now_ns + wait_ns + 1 >= due_ns);
			due_ns = now_ns + wait_ns;
			/* What went before this one was within the rate. */
			assert_true(sum <= 100 + rate +
				(unsigned __int128)(due_ns - begin_ns) * rate / S);
			sum += n;
			now_ns = umem_max_u64(now_ns, due_ns - t_below(&rng, wait_ns + 1)) +
				t_below(&rng, 2) * t_below(&rng, 2 * S);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lends),
		cmocka_unit_test(extremes),
		cmocka_unit_test(the_rate_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
