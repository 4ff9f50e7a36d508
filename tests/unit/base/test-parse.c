// SPDX-License-Identifier: LGPL-2.1-or-later
/* What people type: sizes, times, ranges; what is refused and how. */
#include "lib/base/parse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void numbers(void **state)
{
	uint64_t v = 7;

	assert_int_equal(0, umem_parse_u64("18446744073709551615", &v));
	assert_true(v == UINT64_MAX);
	assert_int_equal(-ERANGE, umem_parse_u64("18446744073709551616", &v));
	assert_int_equal(-EINVAL, umem_parse_u64("", &v));
	assert_int_equal(-EINVAL, umem_parse_u64("-1", &v));
	assert_int_equal(-EINVAL, umem_parse_u64("+1", &v));
	assert_int_equal(-EINVAL, umem_parse_u64(" 1", &v));
	assert_int_equal(-EINVAL, umem_parse_u64("1 ", &v));
	assert_true(v == UINT64_MAX); /* untouched on failure */
}

static void sizes(void **state)
{
	uint64_t v = 0;

	assert_int_equal(0, umem_parse_size("0", &v));
	assert_int_equal(0, v);
	assert_int_equal(0, umem_parse_size("4K", &v));
	assert_int_equal(4096, v);
	assert_int_equal(0, umem_parse_size("3M", &v));
	assert_int_equal(3u << 20, v);
	assert_int_equal(0, umem_parse_size("2G", &v));
	assert_true(v == 2ull << 30);
	assert_int_equal(0, umem_parse_size("16777215T", &v));
	assert_int_equal(-ERANGE, umem_parse_size("16777216T", &v));
	assert_int_equal(-EINVAL, umem_parse_size("4k", &v));
	assert_int_equal(-EINVAL, umem_parse_size("4KB", &v));
	assert_int_equal(-EINVAL, umem_parse_size("K", &v));
	assert_int_equal(-EINVAL, umem_parse_size("1.5G", &v));
}

static void times(void **state)
{
	uint64_t v = 0;

	assert_int_equal(0, umem_parse_time("5ns", &v));
	assert_int_equal(5, v);
	assert_int_equal(0, umem_parse_time("1.5s", &v));
	assert_int_equal(1500000000, v);
	assert_int_equal(0, umem_parse_time("0.25ms", &v));
	assert_int_equal(250000, v);
	assert_int_equal(0, umem_parse_time("2m", &v));
	assert_true(v == 120000000000);
	assert_int_equal(0, umem_parse_time("0.000000001s", &v));
	assert_int_equal(1, v);
	assert_int_equal(-EINVAL, umem_parse_time("1", &v));
	assert_int_equal(-EINVAL, umem_parse_time("1h", &v));
	assert_int_equal(-EINVAL, umem_parse_time("1.s", &v));
	assert_int_equal(-EINVAL, umem_parse_time(".5s", &v));
	assert_int_equal(-EINVAL, umem_parse_time("1.0000000001s", &v));
	assert_int_equal(-ERANGE, umem_parse_time("18446744074s", &v));
}

static void ranges(void **state)
{
	struct umem_range r = { 0 };

	assert_int_equal(0, umem_parse_range("1000-2000", &r));
	assert_int_equal(0x1000, r.start);
	assert_int_equal(0x2000, r.end);
	assert_int_equal(0, umem_parse_range("0x7f00-0X8000", &r));
	assert_int_equal(-EINVAL, umem_parse_range("2000-1000", &r));
	assert_int_equal(-EINVAL, umem_parse_range("1000-1000", &r));
	assert_int_equal(-EINVAL, umem_parse_range("1000", &r));
	assert_int_equal(-EINVAL, umem_parse_range("-1000", &r));
	assert_int_equal(-EINVAL, umem_parse_range("1000-2000 ", &r));
	assert_int_equal(-ERANGE, umem_parse_range("1-10000000000000000", &r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
