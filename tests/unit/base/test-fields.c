// SPDX-License-Identifier: LGPL-2.1-or-later
/* Lines of a key and a number: what is taken, and what is passed over. */
#include "lib/base/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct some {
	uint64_t a;
	uint64_t b;
	uint64_t c;
};

static const struct umem_field table[] = {
	{ "a", offsetof(struct some, a) },
	{ "B:", offsetof(struct some, b) },
	{ "c", offsetof(struct some, c) },
};

/* An exact heap copy, so that a read past the end is seen by sanitizers and valgrind. */
static uint32_t parse(const char *text, size_t len, struct some *some)
{
	char *copy = malloc(len ? len : 1);
	uint32_t found;

	assert_non_null(copy);
	memcpy(copy, text, len);
	found = umem_fields_parse(copy, len, table, 3, some);
	free(copy);
	return found;
}

static void taken(void **state)
{
	const char *text = "x 1\nc 3\na 1\nB:\t   2 kB\nz 9\n";
	struct some some = { 77, 77, 77 };

	assert_int_equal(7, parse(text, strlen(text), &some));
	assert_int_equal(1, some.a);
	assert_int_equal(2048, some.b);
	assert_int_equal(3, some.c);

	/* Without the last newline; the first of two counts; the greatest number. */
	some = (struct some){ 77, 77, 77 };
	assert_int_equal(1, parse("a 18446744073709551615\na 5", 26, &some));
	assert_true(some.a == UINT64_MAX);
	assert_int_equal(77, some.b);
}

static void passed_over(void **state)
{
	static const char *const bad[] = {
		"", "\n", "a", "a\n", "a \n", "a x\n", "a -1\n", "a 1x\n", "a 1 2\n", "a 1 MB\n",
		"a 18446744073709551616\n", "B: 18014398509481984 kB\n", "B 1\n", "A 1\n", " a 1\n",
		"aa 1\n", "a: 1\n", "a\n1\n", "a 1 kB \n", "b:1\n",
	};
	struct some some = { 77, 77, 77 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(0, parse(bad[i], strlen(bad[i]), &some));
	assert_int_equal(0, parse("a\0 1", 4, &some));
	assert_int_equal(77, some.a + some.b - some.c);
	/* A line that is no such line does not hide the one that is. */
	assert_int_equal(1, parse("a x\na 4\n", 8, &some));
	assert_int_equal(4, some.a);
}

static void cut(void **state)
{
	static const char text[] = "a 1\nB: 2 kB\nc 3\n";

	for (size_t len = 0; len < sizeof(text); len++) {
		struct some some = { 0 };
		uint32_t found = parse(text, len, &some);

		assert_int_equal(len >= 3, found & 1);
		assert_int_equal(len >= 15, found >> 2 & 1);
		assert_true(some.b == 0 || some.b == 2 || some.b == 2048);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),
		cmocka_unit_test(passed_over),
		cmocka_unit_test(cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
