// SPDX-License-Identifier: LGPL-2.1-or-later
/* Varlink's messages: calls and replies as JSON objects. */
#include "lib/proto/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"

/* A field of a message, and what it must be. */
struct known {
	const char *key;
	enum umem_json_type type;
};

/* What a message is compared with. */
struct shape {
	const struct known *known;
	size_t n_known;
	struct umem_note *note;
};

static int check_field(void *user, const char *key, const struct umem_json *value)
{
	const struct shape *shape = user;

	for (size_t i = 0; i < shape->n_known; i++) {
		if (strcmp(shape->known[i].key, key) != 0)
			continue;
		return umem_json_type(value) == shape->known[i].type ?
			0 : umem_note_set(shape->note, -EBADMSG, 0, "%s: of the wrong type", key);
	}
	return umem_note_set(shape->note, -EBADMSG, 0, "%s: unknown field", key);
}

static int decode(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	const struct known *known, size_t n_known, struct umem_json **ret_message,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *message = NULL;
	struct shape shape = { known, n_known, note };
	int r = umem_json_parse(text, len_bytes, limits, &message, note);

	if (r == 0)
		r = umem_json_each(message, check_field, &shape);
	if (r == 0)
		*ret_message = UMEM_TAKE_PTR(message);
	return r;
}

/* Split a name at its last dot. */
static bool split(const char *name, struct umem_call *call)
{
	const char *dot = strrchr(name, '.');

	if (!dot || dot == name || !dot[1] || strlen(name) >= UMEM_METHOD_MAX)
		return false;
	memcpy(call->interface, name, (size_t)(dot - name));
	memcpy(call->method, dot + 1, strlen(dot + 1) + 1);
	return true;
}

int umem_call_decode(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	struct umem_call *ret_call, struct umem_note *note)
{
	static const struct known known[] = {
		{ "method", UMEM_JSON_TEXT },  { "parameters", UMEM_JSON_OBJECT },
		{ "more", UMEM_JSON_BOOL },    { "oneway", UMEM_JSON_BOOL },
		{ "upgrade", UMEM_JSON_BOOL },
	};
	UMEM_CLEANUP(umem_json_freep) struct umem_json *message = NULL;
	struct umem_call call = { 0 };
	const struct umem_json *parameters;
	int r = decode(text, len_bytes, limits, known, UMEM_ARRAY_LEN(known), &message, note);

	if (r < 0)
		return r;
	if (!split(umem_json_get_text(message, "method", ""), &call))
		return umem_note_set(note, -EBADMSG, 0, "method: no name of a method");
	call.more = umem_json_get_bool(message, "more", false);
	call.oneway = umem_json_get_bool(message, "oneway", false);
	if (umem_json_get_bool(message, "upgrade", false) || (call.more && call.oneway))
		return umem_note_set(note, -EBADMSG, 0,
			"upgrade, and more together with oneway, are not served");
	parameters = umem_json_get(message, "parameters");
	call.parameters = parameters ? umem_json_share(parameters) : NULL;
	*ret_call = call;
	return 0;
}

void umem_call_deinit(struct umem_call *call)
{
	umem_json_free(call->parameters);
	*call = (struct umem_call){ 0 };
}

static int encode_consume(struct umem_json *message, char **ret_text, size_t *ret_len_bytes)
{
	int r = umem_json_dump(message, ret_text, ret_len_bytes);

	umem_json_free(message);
	return r;
}

int umem_call_encode_consume(const char *method, struct umem_json *parameters, bool more,
	char **ret_text, size_t *ret_len_bytes)
{
	struct umem_json *message = umem_json_object();

	umem_json_set_text(message, "method", method);
	if (parameters)
		umem_json_set_consume(message, "parameters", parameters);
	if (more)
		umem_json_set_bool(message, "more", true);
	return encode_consume(message, ret_text, ret_len_bytes);
}

int umem_outbox_add_call_consume(struct umem_outbox *outbox, const char *method,
	struct umem_json *parameters, bool more, const int *fds, size_t n_fds)
{
	int own[UMEM_FRAME_FDS];
	size_t len, n = 0;
	char *text;
	int r = umem_call_encode_consume(method, parameters, more, &text, &len);

	if (r < 0)
		return r;
	for (; n < n_fds; n++) {
		own[n] = fcntl(fds[n], F_DUPFD_CLOEXEC, 0);
		if (own[n] >= 0)
			continue;
		r = -errno;
		while (n-- > 0)
			umem_fd_close(own[n]);
		free(text);
		return r;
	}
	return umem_outbox_add_consume(outbox, text, len, own, n);
}

int umem_reply_decode(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	struct umem_reply *ret_reply, struct umem_note *note)
{
	static const struct known known[] = {
		{ "parameters", UMEM_JSON_OBJECT },
		{ "continues", UMEM_JSON_BOOL },
		{ "error", UMEM_JSON_TEXT },
	};
	struct umem_json *message = NULL;
	int r = decode(text, len_bytes, limits, known, UMEM_ARRAY_LEN(known), &message, note);

	if (r < 0)
		return r;
	*ret_reply = (struct umem_reply){
		.error = umem_json_get_text(message, "error", NULL),
		.parameters = umem_json_get(message, "parameters"),
		.continues = umem_json_get_bool(message, "continues", false),
		.message = message,
	};
	return 0;
}

void umem_reply_deinit(struct umem_reply *reply)
{
	umem_json_free(reply->message);
	*reply = (struct umem_reply){ 0 };
}

int umem_reply_encode_consume(const char *error, struct umem_json *parameters, bool continues,
	char **ret_text, size_t *ret_len_bytes)
{
	struct umem_json *message = umem_json_object();

	if (error)
		umem_json_set_text(message, "error", error);
	umem_json_set_consume(message, "parameters", parameters);
	if (continues)
		umem_json_set_bool(message, "continues", true);
	return encode_consume(message, ret_text, ret_len_bytes);
}
