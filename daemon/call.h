/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call of a client on its way: from its message to its last reply. A handler owns it
 * until it gives that reply, now or later; the client may be gone by then.
 */
#ifndef DAEMON_CALL_H
#define DAEMON_CALL_H

#include <stdbool.h>

#include <umemd/types.h>

#include "lib/proto/message.h"
#include "lib/proto/frame.h"

struct manager;
struct method;
struct peer;
struct session;

/**
 * struct call - a call.
 * @manager: whose.
 * @peer: NULL once it is gone; replies then go nowhere.
 * @message: what was said; its parameters fit the description.
 * @frame: descriptors that came along.
 * @method: its row.
 * @session: the target that it names, where it names one; for the handler's first run only.
 * @cancelled: told when the peer is gone; may be NULL, and may give the last reply.
 * @drained: told when all that was sent was read; may be NULL.
 * @user: the handler's.
 */
struct call {
	struct manager *manager;
	struct peer *peer;
	struct umem_call message;
	struct umem_frame frame;
	const struct method *method;
	struct session *session;
	void (*cancelled)(struct call *call);
	void (*drained)(struct call *call);
	void *user;
};

/** call_close_fds - close what came along and was not taken. */
void call_close_fds(struct call *call);

/** call_reply - the last reply; @parameters (NULL: none) and @call are consumed. */
void call_reply(struct call *call, struct umem_json *parameters);

/** call_reply_fds - the same; the descriptors of @frame go along, and are consumed. */
void call_reply_fds(struct call *call, struct umem_json *parameters, struct umem_frame *frame);

/** call_continue - a reply of which there are more; consumes all but the call. */
void call_continue(struct call *call, struct umem_json *parameters, struct umem_frame *frame);

/** call_error - end with error @name of the method's interface; consumes. */
void call_error(struct call *call, const char *name, struct umem_json *parameters);

/** call_service_error - end with an error of org.varlink.service; consumes. */
void call_service_error(struct call *call, const char *name, const char *key,
	const char *value);

/**
 * call_fail - end with what @result is: UMEM_GONE is Gone, -EPERM and -EACCES are NotPermitted,
 * the rest is Failed with a number; consumes @call.
 */
void call_fail(struct call *call, int result, const struct umem_note *note);

#endif
