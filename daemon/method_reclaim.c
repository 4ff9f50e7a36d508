// SPDX-License-Identifier: LGPL-2.1-or-later
/* io.umemd.Reclaim: setting a policy, and hearing what it does. */
#include <errno.h>

#include "daemon/keep.h"
#include "daemon/methods.h"
#include "daemon/peer.h"
#include "daemon/reclaim.h"
#include "daemon/rules.h"
#include "daemon/session.h"
#include "lib/base/fd.h"

static void not_set(struct call *call)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_text(parameters, "target",
		umem_json_get_text(call->message.parameters, "target", ""));
	call_error(call, "NotSet", parameters);
}

static void on_set(void *user, const struct session_result *result)
{
	struct call *call = user;
	const char *id = umem_json_get_text(call->message.parameters, "target", "");
	struct session *s = session_find(call->manager, id);

	if (s && !s->reclaim)
		s->claim_fd = umem_fd_close(s->claim_fd);
	if (s)
		keep_update(s);
	if (result->result == 0)
		call_reply(call, NULL);
	else
		call_fail(call, result->result, result->note);
}

/* Return: false when the call was answered. */
static bool may_claim(struct call *call)
{
	static const struct umem_note claimed = {
		.text = "somebody else reclaims from that process already; end that first",
	};
	struct session *s = call->session;
	int r = s->claim_fd >= 0 ? 0 : acquire_claim(&s->acquired, &s->claim_fd);

	if (r < 0)
		call_fail(call, r, r == -EADDRINUSE ? &claimed : NULL);
	return r == 0;
}

void reclaim_set(struct call *call)
{
	const struct umem_json *policy = umem_json_get(call->message.parameters, "policy");
	struct session *s = call->session;
	int r;

	if (umem_json_type(policy) == UMEM_JSON_OBJECT) {
		if (!may_claim(call))
			return;
		r = reclaim_new(s, policy, on_set, call);
		if (r < 0)
			call_fail(call, r, NULL);
		return;
	}
	if (!s->reclaim) {
		not_set(call);
		return;
	}
	reclaim_end(s);
	s->claim_fd = umem_fd_close(s->claim_fd);
	session_do(s, "Unreclaim", NULL, on_set, call);
}

void reclaim_get(struct call *call)
{
	struct umem_json *parameters = umem_json_object();

	if (call->session->reclaim)
		umem_json_set_consume(parameters, "policy",
			umem_json_share(reclaim_policy(call->session->reclaim)));
	call_reply(call, parameters);
}

void reclaim_status(struct call *call)
{
	struct reclaim *reclaim = call->session->reclaim;
	struct umem_json *parameters;

	if (!reclaim) {
		not_set(call);
		return;
	}
	if (call->message.more) {
		reclaim_listen(reclaim, call);
		return;
	}
	parameters = umem_json_object();
	if (reclaim_last(reclaim))
		umem_json_set_consume(parameters, "interval",
			umem_json_share(reclaim_last(reclaim)));
	call_reply(call, parameters);
}

void reclaim_rules(struct call *call)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_consume(parameters, "rules", call->peer->who.admin ?
		rules_describe(call->manager->rules) : umem_json_array());
	call_reply(call, parameters);
}
