// SPDX-License-Identifier: LGPL-2.1-or-later
/* Calls that go to a worker as they are, and what it answers. */
#include "daemon/pass_on.h"

#include <fcntl.h>
#include <string.h>

#include "daemon/log.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* Are all descriptors memory that nobody can change any more? */
static bool are_sealed(const struct umem_frame *frame)
{
	for (size_t i = 0; i < frame->n_fds; i++) {
		int seals = fcntl(frame->fds[i], F_GET_SEALS);

		if (seals < 0 || (seals & SEALS) != SEALS)
			return false;
	}
	return true;
}

bool pass_on(struct call *call, const struct link_answer *answer, bool last)
{
	struct umem_json *parameters;

	if (!are_sealed(answer->frame)) {
		log_error("a worker sent a descriptor that is not sealed memory");
		return false;
	}
	parameters = umem_json_share(answer->parameters);
	if (last)
		call_reply_fds(call, parameters, answer->frame);
	else
		call_continue(call, parameters, answer->frame);
	return true;
}

static int copy_parameter(void *user, const char *key, const struct umem_json *value)
{
	if (strcmp(key, "target") != 0 && umem_json_type(value) != UMEM_JSON_NULL)
		umem_json_set_consume(user, key, umem_json_share(value));
	return 0;
}

struct umem_json *pass_on_parameters(const struct call *call)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_each(call->message.parameters, copy_parameter, parameters);
	return parameters;
}
