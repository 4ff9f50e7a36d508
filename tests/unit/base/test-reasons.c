// SPDX-License-Identifier: LGPL-2.1-or-later
/* Things said about ranges: merged when they continue, said once. */
#include "lib/base/reasons.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void is(const struct umem_reasons *list, size_t i, uint64_t start, uint64_t end,
	const char *text)
{
	assert_true(i < list->n);
	assert_true(list->v[i].start == start && list->v[i].end == end);
	assert_string_equal(text, list->v[i].reason);
}

static void merging(void **state)
{
	struct umem_reasons list = { 0 };

	assert_int_equal(0, umem_reasons_add(&list, 0x1000, 0x2000, "pid %d", 7));
	assert_int_equal(0, umem_reasons_add(&list, 0x2000, 0x3000, "pid %d", 7));
	assert_int_equal(1, list.n);
	is(&list, 0, 0x1000, 0x3000, "pid 7");
	/* Another text, a gap: of their own. */
	assert_int_equal(0, umem_reasons_add(&list, 0x3000, 0x4000, "pid 8"));
	assert_int_equal(0, umem_reasons_add(&list, 0x5000, 0x6000, "pid 7"));
	assert_int_equal(3, list.n);
	/* What is said already is not said again. */
	assert_int_equal(0, umem_reasons_add(&list, 0x1800, 0x2800, "pid 7"));
	assert_int_equal(0, umem_reasons_add(&list, 0, UINT64_MAX, "all"));
	assert_int_equal(0, umem_reasons_add(&list, 0, UINT64_MAX, "all"));
	assert_int_equal(4, list.n);
	is(&list, 1, 0x3000, 0x4000, "pid 8");
	is(&list, 2, 0x5000, 0x6000, "pid 7");
	is(&list, 3, 0, UINT64_MAX, "all");
	umem_reasons_deinit(&list);
	assert_int_equal(0, list.n);
	assert_null(list.v);
}

static void copies(void **state)
{
	struct umem_reasons a = { 0 }, b = { 0 };
	char text[600];

	for (int i = 0; i < 100; i++)
		assert_int_equal(0, umem_reasons_add(&a, (uint64_t)i * 2, (uint64_t)i * 2 + 1,
				"reason %d", i));
	assert_int_equal(0, umem_reasons_append(&b, &a));
	umem_reasons_clear(&a);
	assert_int_equal(0, a.n);
	assert_int_equal(100, b.n);
	is(&b, 99, 198, 199, "reason 99");
	/* Appending the same again adds nothing. */
	assert_int_equal(0, umem_reasons_append(&a, &b));
	assert_int_equal(0, umem_reasons_append(&a, &b));
	assert_int_equal(100, a.n);
	/* Long texts are cut, not overrun. */
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(0, umem_reasons_add(&a, 0, 1, "%s", text));
	assert_true(strlen(a.v[100].reason) < sizeof(text));
	umem_reasons_deinit(&a);
	umem_reasons_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merging),
		cmocka_unit_test(copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
