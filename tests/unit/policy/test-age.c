// SPDX-License-Identifier: LGPL-2.1-or-later
/* Age: old enough, in use, held, and every state with every count. */
#include "lib/policy/age.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

#define SECOND 1000000000ull

static const struct umem_age_conf conf = UMEM_AGE_CONF_DEFAULT;

static void see(struct umem_slice *a, uint64_t used, enum umem_use_source source, uint64_t dt)
{
	umem_slice_note(a, &(struct umem_slice_seen){ .resident = 512, .used = used,
		.source = source }, dt);
}

static void goes_when_old(void **state)
{
	struct umem_slice a = { .n_pages = 512 };
	struct umem_age_answer answer;

	see(&a, 0, UMEM_USE_ACCESSES, conf.threshold_ns - 1);
	umem_age_judge(&conf, &a, 0, 1000000, &answer);
	assert_int_equal(answer.want, 0);
	see(&a, 0, UMEM_USE_ACCESSES, 1);
	umem_age_judge(&conf, &a, 0, 1000000, &answer);
	assert_int_equal(answer.want, 512);
	assert_int_equal(a.state, UMEM_SLICE_COLD);
	/* ages are longer while too much comes back */
	umem_age_judge(&conf, &a, 0, 1000001, &answer);
	assert_int_equal(answer.want, 0);
	umem_age_judge(&conf, &a, 0, UINT64_MAX, &answer);
	assert_int_equal(answer.want, 0);
	umem_age_judge(&conf, &a, 0, 0, &answer);
	assert_int_equal(answer.want, 512);
	/* used again */
	see(&a, 512, UMEM_USE_ACCESSES, 1);
	umem_age_judge(&conf, &a, 0, 0, &answer);
	assert_int_equal(answer.want, 0);
	assert_false(answer.split);
}

static void needs_a_source(void **state)
{
	struct umem_slice a = { .n_pages = 512 };
	struct umem_age_answer answer;

	see(&a, 0, UMEM_USE_UNKNOWN, 1000 * SECOND);
	a.quiet_ns = UINT64_MAX;
	umem_age_judge(&conf, &a, 0, 1000000, &answer);
	assert_int_equal(answer.want, 0);
	assert_false(umem_age_old_enough(&conf, &a, 0));
}

/* Any number of used pages: up to a half is worth a split, a whole or a small slice is not. */
static void splits_when_few_are_used(void **state)
{
	for (uint32_t n_pages = 8; n_pages <= 512; n_pages *= 8) {
		for (uint64_t used = 1; used <= n_pages; used++) {
			struct umem_slice a = { .n_pages = n_pages };
			struct umem_age_answer answer;

			see(&a, used, UMEM_USE_WRITES, 1);
			umem_age_judge(&conf, &a, 5, 1000000, &answer);
			assert_int_equal(answer.split, n_pages > 8 && used <= n_pages / 2);
			assert_int_equal(answer.want, 0);
			a.whole_until_ns = 6;
			umem_age_judge(&conf, &a, 5, 1000000, &answer);
			assert_false(answer.split);
		}
	}
}

static void holds_what_came_back(void **state)
{
	struct umem_slice a = { .n_pages = 512 };
	struct umem_age_answer answer;
	uint64_t now = 0, length = conf.hold_ns;

	for (int i = 0; i < 6; i++) {
		umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 100, .out = 412,
			.at_risk = 413, .returned = 1, .source = UMEM_USE_WRITES }, SECOND);
		umem_age_judge(&conf, &a, now, 0, &answer);
		assert_int_equal(answer.want, 0);
		umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 100, .out = 412,
			.source = UMEM_USE_WRITES }, length);
		umem_age_judge(&conf, &a, now + length - 1, 0, &answer);
		assert_int_equal(answer.want, 0);
		umem_age_judge(&conf, &a, now + length, 0, &answer);
		assert_int_equal(answer.want, 100);
		now += length;
		length = length * 2 < conf.hold_max_ns ? length * 2 : conf.hold_max_ns;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_when_old),
		cmocka_unit_test(needs_a_source),
		cmocka_unit_test(splits_when_few_are_used),
		cmocka_unit_test(holds_what_came_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
