// SPDX-License-Identifier: LGPL-2.1-or-later
/* Calls and replies: what is one, and there and back. */
#include "lib/proto/message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct umem_json_limits limits = { 1000, 8, 100 };

static void calls(void **state)
{
	struct umem_json *parameters = umem_json_object();
	UMEM_FREE char *text = NULL;
	struct umem_call call;
	size_t len;

	umem_json_set_int(parameters, "n", -1);
	assert_int_equal(0,
		umem_call_encode_consume("a.b.C", parameters, true, &text, &len));
	assert_string_equal("{\"method\":\"a.b.C\",\"parameters\":{\"n\":-1},\"more\":true}", text);
	assert_int_equal(0, umem_call_decode(text, len, &limits, &call, NULL));
	assert_string_equal("a.b", call.interface);
	assert_string_equal("C", call.method);
	assert_true(call.more && !call.oneway);
	assert_int_equal(-1, umem_json_get_int(call.parameters, "n", 0));
	umem_call_deinit(&call);
	assert_int_equal(0, umem_call_decode("{\"method\":\"a.B\",\"oneway\":true}", 30, &limits,
		&call, NULL));
	assert_true(call.oneway && !call.parameters);
	umem_call_deinit(&call);
}

static void bad_calls(void **state)
{
	static const struct {
		const char *text;
		int want;
		const char *what;
	} t[] = {
		{ "{}", -EBADMSG, "method: no name of a method" },
		{ "{\"method\":\"\"}", -EBADMSG, "method: no name of a method" },
		{ "{\"method\":\"abc\"}", -EBADMSG, "method: no name of a method" },
		{ "{\"method\":\".c\"}", -EBADMSG, "method: no name of a method" },
		{ "{\"method\":\"a.\"}", -EBADMSG, "method: no name of a method" },
		{ "{\"method\":1}", -EBADMSG, "method: of the wrong type" },
		{ "{\"method\":\"a.b\",\"parameters\":[]}", -EBADMSG,
			"parameters: of the wrong type" },
		{ "{\"method\":\"a.b\",\"mor\":true}", -EBADMSG, "mor: unknown field" },
		{ "{\"method\":\"a.b\",\"more\":true,\"oneway\":true}", -EBADMSG,
			"upgrade, and more together with oneway, are not served" },
		{ "{\"method\":\"a.b\",\"upgrade\":true}", -EBADMSG,
			"upgrade, and more together with oneway, are not served" },
		{ "{\"method\":\"a.b\",\"parameters\":{\"a\":[[[[[[[[]]]]]]]]}}", -E2BIG,
			"deeper than 8 levels" },
		{ "garbage", -EBADMSG, NULL },
	};
	char name[400];
	struct umem_call call;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(t); i++) {
		struct umem_note note = { 0 };

		assert_int_equal(t[i].want,
			umem_call_decode(t[i].text, strlen(t[i].text), &limits, &call, &note));
		if (t[i].what)
			assert_string_equal(t[i].what, note.text);
	}
	/* A name as long as it may be, and one byte more. */
	snprintf(name, sizeof(name), "{\"method\":\"a.%0125d\"}", 1);
	assert_int_equal(0, umem_call_decode(name, strlen(name), &limits, &call, NULL));
	umem_call_deinit(&call);
	snprintf(name, sizeof(name), "{\"method\":\"a.%0126d\"}", 1);
	assert_int_equal(-EBADMSG, umem_call_decode(name, strlen(name), &limits, &call, NULL));
}

static void replies(void **state)
{
	UMEM_FREE char *text = NULL;
	UMEM_FREE char *error = NULL;
	struct umem_reply reply;
	size_t len;

	assert_int_equal(0,
		umem_reply_encode_consume(NULL, umem_json_object(), true, &text, &len));
	assert_string_equal("{\"parameters\":{},\"continues\":true}", text);
	assert_int_equal(0, umem_reply_decode(text, len, &limits, &reply, NULL));
	assert_true(reply.continues && !reply.error && reply.parameters);
	umem_reply_deinit(&reply);
	assert_int_equal(0,
		umem_reply_encode_consume("a.b.E", umem_json_object(), false, &error, &len));
	assert_int_equal(0, umem_reply_decode(error, len, &limits, &reply, NULL));
	assert_string_equal("a.b.E", reply.error);
	assert_false(reply.continues);
	umem_reply_deinit(&reply);
	assert_int_equal(-EBADMSG,
		umem_reply_decode("{\"continues\":1}", 15, &limits, &reply, NULL));
	assert_int_equal(-EBADMSG,
		umem_reply_decode("{\"method\":\"\"}", 13, &limits, &reply, NULL));
	/* What could not be built is not sent. */
	assert_int_equal(-ENOMEM, umem_reply_encode_consume(NULL, NULL, false, &text, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls),
		cmocka_unit_test(bad_calls),
		cmocka_unit_test(replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
