// SPDX-License-Identifier: LGPL-2.1-or-later
/* Interface descriptions: what is one, and what fits it. */
#include "lib/proto/idl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char example[] =
	"# A comment.\n"
	"interface org.example.all\n"
	"type Pair (a: int, b: ?string) # behind it\n"
	"type Word (red, green)\n"
	"type Empty ()\n"
	"method Do(p: Pair, w: ?Word, list: []Pair, deep: ?[][]int, map: [string]bool,\n"
	"  any: ?object, f: ?float, in: ?(x: int, y: (up, down))) -> (n: int)\n"
	"method Nothing() -> ()\n"
	"error Bad(why: string)\n";

static void good(void **state)
{
	UMEM_CLEANUP(umem_idl_freep) struct umem_idl *idl = NULL;
	struct umem_note note = { 0 };

	assert_int_equal(0, umem_idl_parse(example, &idl, &note));
	assert_string_equal("org.example.all", idl->name);
	assert_string_equal(example, idl->text);
	assert_int_equal(6, idl->n);
	assert_non_null(umem_idl_find(idl, UMEM_IDL_METHOD, "Do")->out);
	assert_null(umem_idl_find(idl, UMEM_IDL_ERROR, "Bad")->out);
	assert_null(umem_idl_find(idl, UMEM_IDL_METHOD, "Bad"));
	assert_null(umem_idl_free(NULL));
}

static void bad(void **state)
{
	static const char *const texts[] = {
		"", "interface", "interface x", "interface a.b x", "interface a.b\ntype t ()",
		"interface a.b\ntype T", "interface a.b\ntype T (", "interface a.b\ntype T (a)b",
		"interface a.b\ntype T (a: int", "interface a.b\ntype T (a: int,)",
		"interface a.b\ntype T (a: int, b)", "interface a.b\ntype T (a, b: int)",
		"interface a.b\ntype T (a: int, a: int)", "interface a.b\ntype T (a: nothing)",
		"interface a.b\ntype T (a: Other)", "interface a.b\ntype T (a: T)",
		"interface a.b\ntype T (a: ?[]U)\ntype U (t: T)",
		"interface a.b\ntype T ()\ntype T ()", "interface a.b\nmethod M()",
		"interface a.b\nmethod M() -> int", "interface a.b\nmethod M(int) -> ()",
		"interface a.b\nerror E(a, b)", "interface a.b\nerror E (a: [int]int)",
		"interface a.b\ntype T (a: ?" "[][][][][][][][][][][][][][][][][]int)",
	};
	struct umem_idl *idl = NULL;
	struct umem_note note = { 0 };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(texts); i++) {
		assert_int_equal(-EBADMSG, umem_idl_parse(texts[i], &idl, NULL));
		assert_null(idl);
	}
	assert_int_equal(-EBADMSG, umem_idl_parse("interface a.b\n\ntype T (a: x)", &idl, &note));
	assert_string_equal("line 3: a type is missing", note.text);
}

/* A type that names others twice each, level by level, takes no time to read. */
static void wide(void **state)
{
	char text[4096] = "interface a.b\ntype T0 ()\n";
	struct umem_idl *idl = NULL;

	for (int i = 1; i < 15; i++)
		sprintf(text + strlen(text), "type T%d (a: T%d, b: T%d, c: []T%d)\n", i, i - 1,
			i - 1, i - 1);
	assert_int_equal(-EBADMSG, umem_idl_parse(text, &idl, NULL));
	*strstr(text, "type T8 ") = '\0';
	assert_int_equal(0, umem_idl_parse(text, &idl, NULL));
	umem_idl_free(idl);
}

static void check(const char *json, const char *where, const char *what)
{
	UMEM_CLEANUP(umem_idl_freep) struct umem_idl *idl = NULL;
	UMEM_CLEANUP(umem_json_freep) struct umem_json *value = NULL;
	const struct umem_json_limits limits = { 10000, 20, 1000 };
	struct umem_note note = { 0 };
	char path[UMEM_IDL_WHERE] = "";

	assert_int_equal(0, umem_idl_parse(example, &idl, NULL));
	assert_int_equal(0, umem_json_parse(json, strlen(json), &limits, &value, NULL));
	assert_int_equal(where ? -EINVAL : 0,
		umem_idl_check(umem_idl_find(idl, UMEM_IDL_METHOD, "Do")->in, value, path, &note));
	if (!where)
		return;
	assert_string_equal(where, path);
	assert_string_equal(what, note.text + strlen(where) + 2);
}

static void checks(void **state)
{
#define BASE "\"p\":{\"a\":1},\"list\":[],\"map\":{}"
	check("{" BASE "}", NULL, NULL);
	check("{" BASE ",\"w\":null,\"f\":1,\"any\":{\"x\":[{}]}}", NULL, NULL);
	check("{" BASE ",\"w\":\"red\",\"f\":1.5,\"deep\":[[1],[]]}", NULL, NULL);
	check("{" BASE ",\"in\":{\"x\":1,\"y\":\"up\"}}", NULL, NULL);
	check("{}", "p", "missing");
	check("{\"p\":null}", "p", "not an object");
	check("{\"p\":{}}", "p.a", "missing");
	check("{\"p\":{\"a\":1.0}}", "p.a", "not an integer");
	check("{\"p\":{\"a\":1,\"b\":2}}", "p.b", "not a string");
	check("{\"p\":{\"a\":1,\"c\":2}}", "p.c", "unknown field");
	check("{" BASE ",\"x\":1}", "x", "unknown field");
	check("{" BASE ",\"w\":\"blue\"}", "w", "not a word that is known there");
	check("{" BASE ",\"w\":7}", "w", "not a string");
	check("{" BASE ",\"deep\":[[],[1,\"2\"]]}", "deep[1][1]", "not an integer");
	check("{" BASE ",\"deep\":{}}", "deep", "not an array");
	check("{" BASE ",\"any\":[]}", "any", "not an object");
	check("{" BASE ",\"in\":{\"x\":1,\"y\":\"left\"}}", "in.y",
		"not a word that is known there");
	check("{\"p\":{\"a\":1},\"list\":[{\"a\":1},{\"a\":true}],\"map\":{}}", "list[1].a",
		"not an integer");
	check("{\"p\":{\"a\":1},\"list\":[],\"map\":{\"k\":true,\"l\":0}}", "map.l",
		"not true or false");
#undef BASE
}

static void no_parameters(void **state)
{
	UMEM_CLEANUP(umem_idl_freep) struct umem_idl *idl = NULL;
	char path[UMEM_IDL_WHERE];

	assert_int_equal(0, umem_idl_parse(example, &idl, NULL));
	assert_int_equal(0, umem_idl_check(umem_idl_find(idl, UMEM_IDL_METHOD, "Nothing")->in,
		NULL, path, NULL));
	assert_int_equal(-EINVAL,
		umem_idl_check(umem_idl_find(idl, UMEM_IDL_METHOD, "Do")->in, NULL, path, NULL));
	assert_string_equal("p", path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(wide),
		cmocka_unit_test(checks),
		cmocka_unit_test(no_parameters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
