// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * io.umemd.Residency: where pages are, and moving them.
 *
 * Moving may take long. Who called it with "more" hears how far it is, as often as it
 * reads that; when the caller is gone, or somebody calls Cancel, it ends, and what it
 * has done by then stays done.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/manager.h"
#include "daemon/methods.h"
#include "daemon/pass_on.h"
#include "daemon/quota.h"
#include "daemon/session.h"

static void fail(struct call *call, const struct session_result *result)
{
	struct umem_json *parameters;

	if (result->result != -E2BIG || !result->answer) {
		call_fail(call, result->result, result->note);
		return;
	}
	parameters = umem_json_object();
	umem_json_set_int(parameters, "ranges",
		umem_json_get_int(result->answer->parameters, "ranges", 0));
	call_error(call, "TooManyRanges", parameters);
}

static const struct umem_note misbehaves = { .text = "a worker does not behave" };

static void on_mapped(void *user, const struct session_result *result)
{
	struct call *call = user;

	if (result->result != 0)
		fail(call, result);
	else if (!pass_on(call, result->answer, true))
		call_fail(call, -EPROTO, &misbehaves);
}

void residency_map(struct call *call)
{
	if (quota_refuses_result(call))
		return;
	session_do(call->session, "Map", pass_on_parameters(call), on_mapped, call);
}

/* A call of PageOut or PageIn. */
struct moving {
	struct call *call;
	char target[SESSION_ID];
	uint64_t restarts; /* workers that had died when it began */
	bool unread;       /* the last progress has not been read yet */
};

static void on_progress(void *user, const struct umem_json *progress)
{
	struct moving *m = user;
	struct umem_json *parameters;

	if (m->unread || !m->call->peer || !m->call->message.more)
		return;
	m->unread = true;
	parameters = umem_json_object();
	umem_json_set_consume(parameters, "progress", umem_json_share(progress));
	call_continue(m->call, parameters, NULL);
}

static void on_drained(struct call *call)
{
	struct moving *m = call->user;

	m->unread = false;
}

static void on_cancelled(struct call *call)
{
	struct moving *m = call->user;
	struct session *s = session_find(call->manager, m->target);

	/* Its end is told as that of any other, to nobody. */
	if (s)
		session_cancel(s, m);
}

static void on_moved(void *user, const struct session_result *result)
{
	struct moving *m = user;
	struct call *call = m->call;
	struct session *s = session_find(call->manager, m->target);
	const bool recovered = s && s->restarts != m->restarts;
	const struct umem_json *moved;
	struct umem_json *parameters;

	call->user = NULL;
	call->cancelled = NULL;
	call->drained = NULL;
	free(m);
	if (result->result != 0) {
		fail(call, result);
		return;
	}
	moved = umem_json_get(result->answer->parameters, "moved");
	if (umem_json_type(moved) != UMEM_JSON_OBJECT) {
		call_fail(call, -EPROTO, &misbehaves);
		return;
	}
	parameters = umem_json_object();
	umem_json_set_consume(parameters, "moved", umem_json_share(moved));
	umem_json_set_bool(parameters, "recovered", recovered);
	call_reply(call, parameters);
}

static void move(struct call *call, const char *method)
{
	struct moving *m = calloc(1, sizeof(*m));

	if (!m) {
		call_fail(call, -ENOMEM, NULL);
		return;
	}
	m->call = call;
	m->restarts = call->session->restarts;
	snprintf(m->target, sizeof(m->target), "%s", call->session->id);
	call->user = m;
	call->cancelled = on_cancelled;
	call->drained = on_drained;
	session_do_long(call->session, method, pass_on_parameters(call), on_progress, on_moved, m);
}

void residency_page_out(struct call *call)
{
	move(call, "PageOut");
}

void residency_page_in(struct call *call)
{
	move(call, "PageIn");
}

void residency_cancel(struct call *call)
{
	session_cancel(call->session, NULL);
	call_reply(call, NULL);
}
