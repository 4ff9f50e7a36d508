// SPDX-License-Identifier: LGPL-2.1-or-later
/* JSON lines: what is written, byte by byte, and what happens when it cannot be. */
#include "lib/base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

/* A stream into memory. */
struct out {
	char *text;
	size_t len;
	FILE *file;
};

static void out_open(struct out *out)
{
	out->file = open_memstream(&out->text, &out->len);
	assert_non_null(out->file);
}

static void out_is(struct out *out, const char *want)
{
	fclose(out->file);
	assert_string_equal(want, out->text);
	free(out->text);
}

static void one_object(void **state)
{
	struct umem_json *o = umem_json_object(), *list = umem_json_array();
	struct out out;

	umem_json_set_u64(o, "zero", 0);
	umem_json_set_u64(o, "big", INT64_MAX);
	umem_json_set_u64(o, "too_big", UINT64_MAX); /* the largest that JSON readers take */
	umem_json_set_bool(o, "yes", true);
	umem_json_set_null(o, "none");
	umem_json_set_addr(o, "at", 0x7fffdeadb000);
	umem_json_set_addr(o, "end", UINT64_MAX);
	umem_json_append_consume(list, umem_json_text("x"));
	umem_json_append_consume(list, umem_json_object());
	umem_json_set_consume(o, "list", list);
	out_open(&out);
	assert_int_equal(0, umem_json_write_consume(out.file, o));
	out_is(&out, "{\"zero\":0,\"big\":9223372036854775807,"
		"\"too_big\":9223372036854775807,\"yes\":true,\"none\":null,"
		"\"at\":\"0x7fffdeadb000\",\"end\":\"0xffffffffffffffff\",\"list\":[\"x\",{}]}\n");
}

static void text(void **state)
{
	static const struct {
		const char *in;
		const char *want;
	} t[] = {
		{ "", "{\"t\":\"\"}\n" },
		{ "a\"b\\c\n\t\x01", "{\"t\":\"a\\\"b\\\\c\\n\\t\\u0001\"}\n" },
		{ "gr\xc3\xbc\xc3\x9f", "{\"t\":\"gr\xc3\xbc\xc3\x9f\"}\n" },
		/* Not UTF-8: every high byte is escaped, the rest stays. */
		{ "/a\xff/b\xc3", "{\"t\":\"/a\\\\xff/b\\\\xc3\"}\n" },
		{ "\xed\xa0\x80", "{\"t\":\"\\\\xed\\\\xa0\\\\x80\"}\n" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct umem_json *o = umem_json_object();
		struct out out;

		umem_json_set_text(o, "t", t[i].in);
		out_open(&out);
		assert_int_equal(0, umem_json_write_consume(out.file, o));
		out_is(&out, t[i].want);
	}
}

static struct umem_json *item(uint64_t n)
{
	struct umem_json *o = umem_json_object();

	umem_json_set_u64(o, "n", n);
	return o;
}

static void streamed(void **state)
{
	struct out out;

	out_open(&out);
	assert_int_equal(0, umem_json_open_consume(out.file, item(1), "a"));
	assert_int_equal(0, umem_json_item_consume(out.file, item(2), true));
	assert_int_equal(0, umem_json_item_consume(out.file, item(3), false));
	assert_int_equal(0, umem_json_next(out.file, "b"));
	assert_int_equal(0, umem_json_close(out.file));
	out_is(&out, "{\"n\":1,\"a\":[{\"n\":2},{\"n\":3}],\"b\":[]}\n");
}

static void streamed_twice(void **state)
{
	struct out out;

	out_open(&out);
	assert_int_equal(0, umem_json_open_consume(out.file, item(1), "a"));
	assert_int_equal(0, umem_json_item_open_consume(out.file, item(2), true, "b"));
	assert_int_equal(0, umem_json_item_consume(out.file, item(3), true));
	assert_int_equal(0, umem_json_item_consume(out.file, item(4), false));
	assert_int_equal(0, umem_json_item_close(out.file));
	assert_int_equal(0, umem_json_item_open_consume(out.file, item(5), false, "b"));
	assert_int_equal(0, umem_json_item_close(out.file));
	assert_int_equal(0, umem_json_item_consume(out.file, item(6), false));
	assert_int_equal(0, umem_json_close_consume(out.file, "c", item(7)));
	out_is(&out, "{\"n\":1,\"a\":[{\"n\":2,\"b\":[{\"n\":3},{\"n\":4}]},{\"n\":5,\"b\":[]},"
		     "{\"n\":6}],\"c\":{\"n\":7}}\n");
	out_open(&out);
	assert_int_equal(0, umem_json_open_consume(out.file, item(1), "a"));
	assert_int_equal(0, umem_json_close_consume(out.file, "c", umem_json_text("x")));
	out_is(&out, "{\"n\":1,\"a\":[],\"c\":\"x\"}\n");
}

static void failures(void **state)
{
	FILE *full = fopen("/dev/full", "we");
	struct umem_json *o;

	assert_non_null(full);
	setvbuf(full, NULL, _IONBF, 0);
	assert_int_equal(-EIO, umem_json_write_consume(full, item(1)));
	assert_int_equal(-EIO, umem_json_open_consume(full, item(1), "a"));
	assert_int_equal(-EIO, umem_json_item_consume(full, item(1), false));
	assert_int_equal(-EIO, umem_json_next(full, "a"));
	assert_int_equal(-EIO, umem_json_close(full));
	assert_int_equal(-EIO, umem_json_item_open_consume(full, item(1), true, "a"));
	assert_int_equal(-EIO, umem_json_item_close(full));
	assert_int_equal(-EIO, umem_json_close_consume(full, "a", item(1)));
	/* What could not be built is out of memory, not half an object. */
	assert_int_equal(-ENOMEM, umem_json_write_consume(stderr, NULL));
	o = umem_json_object();
	umem_json_set_consume(o, "x", NULL);
	assert_int_equal(-ENOMEM, umem_json_write_consume(stderr, o));
	/* Every call takes NULL. */
	umem_json_set_u64(NULL, "x", 1);
	umem_json_append_consume(NULL, umem_json_object());
	assert_null(umem_json_free(NULL));
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_object),
		cmocka_unit_test(text),
		cmocka_unit_test(streamed),
		cmocka_unit_test(streamed_twice),
		cmocka_unit_test(failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
