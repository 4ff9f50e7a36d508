// SPDX-License-Identifier: LGPL-2.1-or-later
/* The cursor: it never leaves its input, and a failed step moves nothing. */
#include "lib/base/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct umem_cursor over(const char *text)
{
	return umem_cursor_init(text, strlen(text));
}

static void is(const struct umem_cursor *c, const char *want)
{
	assert_int_equal(strlen(want), umem_cursor_left(c));
	assert_memory_equal(want, c->at, strlen(want));
}

static void lines(void **state)
{
	struct umem_cursor c = over("a\n\nlast"), line;

	assert_true(umem_cursor_line(&c, &line));
	is(&line, "a");
	assert_true(umem_cursor_line(&c, &line));
	is(&line, "");
	assert_true(umem_cursor_line(&c, &line));
	is(&line, "last");
	assert_false(umem_cursor_line(&c, &line));
	c = over("\n");
	assert_true(umem_cursor_line(&c, &line));
	is(&line, "");
	assert_false(umem_cursor_line(&c, &line));
	c = over("");
	assert_false(umem_cursor_line(&c, &line));
}

static void steps(void **state)
{
	struct umem_cursor c = over("key: \t  word rest"), word;

	assert_false(umem_cursor_char(&c, 'x'));
	assert_false(umem_cursor_str(&c, "keys"));
	assert_false(umem_cursor_str(&c, "key: \t  word rest and more"));
	is(&c, "key: \t  word rest");
	assert_true(umem_cursor_char(&c, 'k'));
	assert_true(umem_cursor_str(&c, "ey:"));
	assert_false(umem_cursor_word(&c, &word)); /* a blank is next */
	umem_cursor_spaces(&c);
	assert_true(umem_cursor_word(&c, &word));
	is(&word, "word");
	umem_cursor_spaces(&c);
	assert_true(umem_cursor_word(&c, &word));
	is(&word, "rest");
	assert_false(umem_cursor_char(&c, 'x'));
	assert_false(umem_cursor_str(&c, "x"));
	assert_true(umem_cursor_str(&c, ""));
	umem_cursor_spaces(&c);
	assert_false(umem_cursor_word(&c, &word));
}

static void numbers(void **state)
{
	struct umem_cursor c = over("7f00DEADbeefg");
	uint64_t v = 1;

	assert_true(umem_cursor_hex(&c, &v));
	assert_true(v == 0x7f00deadbeef);
	is(&c, "g");
	assert_false(umem_cursor_hex(&c, &v));
	assert_true(v == 0x7f00deadbeef); /* untouched on failure */
	c = over("ffffffffffffffff");
	assert_true(umem_cursor_hex(&c, &v));
	assert_true(v == UINT64_MAX);
	c = over("10000000000000000");
	assert_false(umem_cursor_hex(&c, &v));
	is(&c, "10000000000000000");
	c = over("18446744073709551615 18446744073709551616");
	assert_true(umem_cursor_dec(&c, &v));
	assert_true(v == UINT64_MAX);
	umem_cursor_spaces(&c);
	assert_false(umem_cursor_dec(&c, &v));
	c = over("01778");
	assert_true(umem_cursor_oct(&c, &v));
	assert_true(v == 0177);
	is(&c, "8");
	c = over("-1");
	assert_false(umem_cursor_dec(&c, &v));
	c = over("");
	assert_false(umem_cursor_dec(&c, &v));
}

/* The input ends where it says, not at a NUL, and no byte beyond is read. */
static void bounds(void **state)
{
	char *heap = malloc(4); /* what leaves it is found by sanitizers */
	struct umem_cursor c, line;
	uint64_t v;

	assert_non_null(heap);
	memcpy(heap, "1234", 4);
	c = umem_cursor_init(heap, 4);
	assert_true(umem_cursor_dec(&c, &v));
	assert_int_equal(1234, v);
	c = umem_cursor_init(heap, 2);
	assert_true(umem_cursor_dec(&c, &v));
	assert_int_equal(12, v);
	c = umem_cursor_init(heap, 4);
	assert_false(umem_cursor_str(&c, "12345"));
	assert_true(umem_cursor_line(&c, &line));
	assert_int_equal(4, umem_cursor_left(&line));
	memcpy(heap, "a\0b\n", 4);
	c = umem_cursor_init(heap, 4);
	assert_true(umem_cursor_line(&c, &line));
	assert_int_equal(3, umem_cursor_left(&line));
	free(heap);
}

static void unescape(void **state)
{
	static const char *const bad[] = {
		"\\", "a\\", "\\0", "\\04", "\\ 40", "\\048", "\\x40", "\\000", "\\400", "\\777",
	};
	char to[64];

	assert_true(umem_cursor_unescape(over("/a\\040b\\011\\012\\134040\\377"), to));
	assert_string_equal("/a b\t\n\\040\377", to);
	assert_true(umem_cursor_unescape(over(""), to));
	assert_string_equal("", to);
	assert_true(umem_cursor_unescape(over("plain"), to));
	assert_string_equal("plain", to);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(umem_cursor_unescape(over(bad[i]), to));
	assert_false(umem_cursor_unescape(umem_cursor_init("a\0b", 3), to));
	/* Nothing is read past the end. */
	assert_false(umem_cursor_unescape(umem_cursor_init("\\040", 3), to));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(steps),
		cmocka_unit_test(numbers),
		cmocka_unit_test(bounds),
		cmocka_unit_test(unescape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
