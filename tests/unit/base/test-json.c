// SPDX-License-Identifier: LGPL-2.1-or-later
/* JSON lines: what is written, byte by byte, and what happens when it cannot be. */
#include "lib/base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
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

static const struct umem_json_limits limits = { 1 << 16, 8, 1000 };

static int parse(const char *in, struct umem_json **ret)
{
	return umem_json_parse(in, strlen(in), &limits, ret, NULL);
}

static int count_key(void *user, const char *key, const struct umem_json *value)
{
	*(int *)user += strcmp(key, "n") == 0;
	return strcmp(key, "stop") == 0 ? 7 : 0;
}

static void look(void **state)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *o = NULL;
	const struct umem_json *a;
	int n = 0;

	assert_int_equal(0, parse("{\"n\":-9223372036854775808,\"t\":\"x\",\"b\":true,"
				  "\"f\":1.5,\"z\":null,\"a\":[1,\"2\"],\"stop\":{}}", &o));
	assert_true(umem_json_get_int(o, "n", 1) == INT64_MIN);
	assert_string_equal("x", umem_json_get_text(o, "t", "y"));
	assert_true(umem_json_get_bool(o, "b", false));
	a = umem_json_get(o, "a");
	assert_int_equal(2, umem_json_count(a));
	assert_int_equal(1, umem_json_as_int(umem_json_item(a, 0), 9));
	assert_int_equal(UMEM_JSON_TEXT, umem_json_type(umem_json_item(a, 1)));
	assert_int_equal(UMEM_JSON_NONE, umem_json_type(umem_json_item(a, 2)));
	assert_int_equal(UMEM_JSON_FLOAT, umem_json_type(umem_json_get(o, "f")));
	assert_int_equal(UMEM_JSON_NULL, umem_json_type(umem_json_get(o, "z")));
	assert_int_equal(7, umem_json_count(o));
	assert_int_equal(7, umem_json_each(o, count_key, &n));
	assert_int_equal(1, n);
	/* Of another type, or not there. */
	assert_int_equal(5, umem_json_get_int(o, "t", 5));
	assert_int_equal(5, umem_json_get_int(o, "f", 5));
	assert_string_equal("y", umem_json_get_text(o, "n", "y"));
	assert_false(umem_json_get_bool(o, "n", false));
	assert_null(umem_json_get(o, "nothing"));
	assert_null(umem_json_get(a, "n"));
	assert_null(umem_json_get(NULL, "n"));
	assert_int_equal(0, umem_json_count(NULL));
}

static void bad_text(void **state)
{
	static const char *const bad[] = {
		"", " ", "[]", "1", "null", "{", "{}}", "{}{}", "{\"a\":1,}", "{'a':1}",
		"{\"a\":1,\"a\":2}", "{\"a\":9223372036854775808}", "{\"a\":\"\\u0000\"}",
		"{\"a\":\"\xff\"}", "{\"a\":nan}", "{\"a\":01}", "{\"a\":\"\n\"}", "{\"a\" 1}",
	};
	struct umem_json *o = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(-EBADMSG, parse(bad[i], &o));
		assert_null(o);
	}
	/* A NUL is no blank. */
	assert_int_equal(-EBADMSG, umem_json_parse("{}\0", 3, &limits, &o, NULL));
}

/* @n times @open, then as often @close, as the member of an object. */
static int nested(unsigned n, const char *open, const char *close, struct umem_note *note)
{
	char text[4096] = "{\"a\":";
	struct umem_json *o = NULL;
	int r;

	for (unsigned i = 0; i < n; i++)
		strcat(text, open);
	for (unsigned i = 0; i < n; i++)
		strcat(text, close);
	strcat(text, "}");
	r = umem_json_parse(text, strlen(text), &limits, &o, note);
	umem_json_free(o);
	return r;
}

static void caps(void **state)
{
	struct umem_note note = { 0 };
	char many[4096] = "{\"a\":[0";
	struct umem_json *o = NULL;

	assert_int_equal(0, nested(7, "[", "]", NULL));
	assert_int_equal(-E2BIG, nested(8, "[", "]", &note));
	assert_string_equal("deeper than 8 levels", note.text);
	assert_int_equal(-E2BIG, nested(1000, "[", "]", NULL));
	for (int i = 0; i < 996; i++)
		strcat(many, ",0");
	strcat(many, "]}");
	assert_int_equal(0, parse(many, &o));
	o = umem_json_free(o);
	many[strlen(many) - 2] = '\0';
	strcat(many, ",1,1]}");
	assert_int_equal(-E2BIG, parse(many, &o));
	/* Brackets in a string are no depth. */
	assert_int_equal(0, parse("{\"a\":\"[[[[[[[[[[[[\\\"[[[[\"}", &o));
	o = umem_json_free(o);
	assert_int_equal(-E2BIG,
		umem_json_parse("{}        ", 10, &(struct umem_json_limits){ 9, 1, 1 }, &o, NULL));
}

static void there_and_back(void **state)
{
	static const char in[] = "{\"b\":1,\"a\":[null,false,\"\\\"\"],\"c\":{\"d\":-5}}";
	UMEM_CLEANUP(umem_json_freep) struct umem_json *o = NULL;
	UMEM_FREE char *out = NULL;
	size_t len;

	assert_int_equal(0, parse(in, &o));
	assert_int_equal(0, umem_json_dump(o, &out, &len));
	assert_string_equal(in, out);
	assert_int_equal(sizeof(in) - 1, len);
	umem_json_set_consume(o, "x", NULL);
	assert_int_equal(-ENOMEM, umem_json_dump(o, &out, &len));
	assert_int_equal(-ENOMEM, umem_json_dump(NULL, &out, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_object),
		cmocka_unit_test(text),
		cmocka_unit_test(streamed),
		cmocka_unit_test(streamed_twice),
		cmocka_unit_test(failures),
		cmocka_unit_test(look),
		cmocka_unit_test(bad_text),
		cmocka_unit_test(caps),
		cmocka_unit_test(there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
