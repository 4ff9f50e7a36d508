// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a peer sends: bytes in pieces, messages, calls and replies, their parameters
 * against the interfaces; and interface descriptions. What is taken for a call
 * reads the same when it is written again; nothing is larger or deeper than the caps.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/proto/frame.h"
#include "lib/proto/interfaces.h"
#include "lib/proto/message.h"

#define MAX_BYTES 4096u

static const struct umem_json_limits limits = { MAX_BYTES, 12, 512 };

static unsigned depth_of(const struct umem_json *value);

static int member_depth(void *user, const char *key, const struct umem_json *value)
{
	unsigned depth = depth_of(value);

	if (depth > *(unsigned *)user)
		*(unsigned *)user = depth;
	return 0;
}

static unsigned depth_of(const struct umem_json *value)
{
	unsigned deepest = 0;

	if (umem_json_type(value) != UMEM_JSON_ARRAY && umem_json_type(value) != UMEM_JSON_OBJECT)
		return 0;
	umem_json_each(value, member_depth, &deepest);
	for (size_t i = 0; umem_json_type(value) == UMEM_JSON_ARRAY && i < umem_json_count(value);
		i++)
		member_depth(&deepest, "", umem_json_item(value, i));
	return deepest + 1;
}

static void check_call(const struct umem_call *call, const struct umem_interfaces *interfaces)
{
	const struct umem_idl *idl = umem_interfaces_find(interfaces, call->interface);
	const struct umem_idl_entry *entry = idl ?
		umem_idl_find(idl, UMEM_IDL_METHOD, call->method) : NULL;
	char where[UMEM_IDL_WHERE] = "", name[2 * UMEM_METHOD_MAX];
	struct umem_note note = { 0 };
	UMEM_FREE char *text = NULL;
	struct umem_call again;
	size_t len;
	int r;

	if (entry) {
		r = umem_idl_check(entry->in, call->parameters, where, &note);
		FUZZ_CHECK(r == 0 || (r == -EINVAL && note.text[0]));
	}
	snprintf(name, sizeof(name), "%s.%s", call->interface, call->method);
	FUZZ_CHECK(umem_call_encode_consume(name,
			call->parameters ? umem_json_share(call->parameters) : NULL,
			call->more, &text, &len) == 0);
	r = umem_call_decode(text, len, &(struct umem_json_limits){ 8 * MAX_BYTES, 12, 512 },
		&again, NULL);
	FUZZ_CHECK(r == 0 && strcmp(again.method, call->method) == 0 &&
		strcmp(again.interface, call->interface) == 0);
	umem_call_deinit(&again);
}

static void check_frame(const struct umem_frame *frame, const struct umem_interfaces *interfaces)
{
	struct umem_note note = { 0 };
	struct umem_reply reply;
	struct umem_call call;
	int r;

	FUZZ_CHECK(frame->len_bytes <= MAX_BYTES && strlen(frame->text) == frame->len_bytes);
	r = umem_call_decode(frame->text, frame->len_bytes, &limits, &call, &note);
	FUZZ_CHECK(r == 0 || ((r == -EBADMSG || r == -E2BIG) && note.text[0]));
	if (r == 0) {
		FUZZ_CHECK(depth_of(call.parameters) < limits.max_depth);
		check_call(&call, interfaces);
		umem_call_deinit(&call);
	}
	r = umem_reply_decode(frame->text, frame->len_bytes, &limits, &reply, NULL);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -E2BIG);
	if (r == 0)
		umem_reply_deinit(&reply);
}

/* The bytes in pieces of @piece; the messages are the same however they are cut. */
static size_t feed(const uint8_t *data, size_t len, size_t piece,
	const struct umem_interfaces *interfaces)
{
	struct umem_inbox inbox = { .max_bytes = MAX_BYTES };
	struct umem_frame frame;
	size_t n = 0;
	int r = 0;

	for (size_t at = 0; at < len && r == 0; at += piece) {
		r = umem_inbox_push(&inbox, (const char *)data + at,
			len - at < piece ? len - at : piece, NULL, 0);
		while (r == 0) {
			r = umem_inbox_next(&inbox, &frame);
			if (r != 0)
				break;
			if (interfaces)
				check_frame(&frame, interfaces);
			umem_frame_deinit(&frame);
			n++;
		}
		if (r == UMEM_AGAIN)
			r = 0;
	}
	FUZZ_CHECK(r == 0 || r == -EMSGSIZE);
	umem_inbox_deinit(&inbox);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	static struct umem_interfaces interfaces;
	UMEM_CLEANUP(umem_idl_freep) struct umem_idl *idl = NULL;
	UMEM_FREE char *text = calloc(1, len_bytes + 1);
	size_t n;
	int r;

	if (!interfaces.v[0])
		FUZZ_CHECK(umem_interfaces_load(&interfaces, NULL) == 0);
	n = feed(data, len_bytes, 64, &interfaces);
	FUZZ_CHECK(len_bytes > 512 || feed(data, len_bytes, 1, NULL) >= n);
	if (len_bytes)
		memcpy(text, data, len_bytes);
	r = umem_idl_parse(text, &idl, NULL);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -E2BIG);
	FUZZ_CHECK((r == 0) == (idl != NULL));
	return 0;
}
