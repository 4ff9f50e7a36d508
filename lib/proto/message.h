/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Varlink's messages: calls and replies as JSON objects.
 *
 *     {"method":"io.umemd.Targets.Attach","parameters":{...},"more":true}
 *     {"parameters":{...},"continues":true}      {"error":"...","parameters":{...}}
 *
 * Decoding takes nothing for granted; a field that is not known is named. Encoding
 * consumes the parameters.
 */
#ifndef UMEM_PROTO_MESSAGE_H
#define UMEM_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include <umemd/types.h>

#include "lib/base/json.h"
#include "lib/proto/frame.h"
#include "lib/proto/idl.h"

/** UMEM_METHOD_MAX - bytes of a method's name, interface and all, with a NUL. */
#define UMEM_METHOD_MAX 128

/**
 * struct umem_call - a call.
 * @interface, @method: the two parts of its name.
 * @parameters: an object, owned; NULL when there are none.
 * @more: several replies are welcome.
 * @oneway: no reply is.
 */
struct umem_call {
	char interface[UMEM_METHOD_MAX];
	char method[UMEM_METHOD_MAX];
	struct umem_json *parameters;
	bool more;
	bool oneway;
};

/**
 * struct umem_reply - a reply.
 * @error: full name of an error; NULL for none. Lives in @message.
 * @parameters: an object, or NULL; lives in @message.
 * @continues: more follow.
 * @message: all of it, owned.
 */
struct umem_reply {
	const char *error;
	const struct umem_json *parameters;
	bool continues;
	struct umem_json *message;
};

/**
 * umem_call_decode - a call from the bytes of a message.
 * @limits: of its JSON.
 *
 * Return: 0; -EBADMSG: not a call, @note says why; -E2BIG; -ENOMEM.
 */
int umem_call_decode(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	struct umem_call *ret_call, struct umem_note *note);

/** umem_call_deinit - free what a call owns and make it empty. */
void umem_call_deinit(struct umem_call *call);

/**
 * umem_call_encode_consume - the bytes of a call.
 * @method: full name. @parameters: consumed; NULL means none.
 * @ret_text: the caller frees. Return: 0 or -ENOMEM.
 */
int umem_call_encode_consume(const char *method, struct umem_json *parameters, bool more,
	char **ret_text, size_t *ret_len_bytes);

/**
 * umem_outbox_add_call_consume - encode a call and put it behind the others.
 * @method, @parameters, @more: as umem_call_encode_consume().
 * @fds, @n_fds: stay the caller's; duplicates are sent. At most UMEM_FRAME_FDS.
 * Return: 0, -ENOMEM, -EMFILE.
 */
int umem_outbox_add_call_consume(struct umem_outbox *outbox, const char *method,
	struct umem_json *parameters, bool more, const int *fds, size_t n_fds);

/** umem_reply_decode - a reply from the bytes of a message. Return: as umem_call_decode(). */
int umem_reply_decode(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	struct umem_reply *ret_reply, struct umem_note *note);

/** umem_reply_deinit - free what a reply owns and make it empty. */
void umem_reply_deinit(struct umem_reply *reply);

/**
 * umem_reply_encode_consume - the bytes of a reply.
 * @error: full name, or NULL. @parameters: consumed.
 * @ret_text: the caller frees. Return: 0 or -ENOMEM.
 */
int umem_reply_encode_consume(const char *error, struct umem_json *parameters, bool continues,
	char **ret_text, size_t *ret_len_bytes);

#endif
