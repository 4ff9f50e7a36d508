// SPDX-License-Identifier: LGPL-2.1-or-later
/* The states of a session, and what leads from one to another. */
#include "daemon/session_state.h"

/* A cell that is not filled means nothing: one more than a state, so that 0 is free. */
#define TO(state) ((state) + 1)

static const unsigned char table[SESSION_N_STATES][SESSION_N_EVENTS] = {
	[SESSION_STARTING] = {
		[SESSION_OPENED] = TO(SESSION_READY),
		[SESSION_WORKER_DIED] = TO(SESSION_STARTING),
		[SESSION_GIVE_UP] = TO(SESSION_FAILED),
		[SESSION_DETACH] = TO(SESSION_DETACHING),
		[SESSION_GONE] = TO(SESSION_ENDED),
	},
	[SESSION_READY] = {
		[SESSION_ARMED] = TO(SESSION_TRACKING),
		[SESSION_WORKER_DIED] = TO(SESSION_REVIVING),
		[SESSION_GIVE_UP] = TO(SESSION_FAILED),
		[SESSION_DETACH] = TO(SESSION_DETACHING),
		[SESSION_GONE] = TO(SESSION_ENDED),
	},
	[SESSION_TRACKING] = {
		[SESSION_STOPPED] = TO(SESSION_READY),
		[SESSION_WORKER_DIED] = TO(SESSION_RECOVERING),
		[SESSION_GIVE_UP] = TO(SESSION_FAILED),
		[SESSION_DETACH] = TO(SESSION_DETACHING),
		[SESSION_GONE] = TO(SESSION_ENDED),
	},
	[SESSION_REVIVING] = {
		[SESSION_OPENED] = TO(SESSION_READY),
		[SESSION_WORKER_DIED] = TO(SESSION_REVIVING),
		[SESSION_GIVE_UP] = TO(SESSION_FAILED),
		[SESSION_DETACH] = TO(SESSION_DETACHING),
		[SESSION_GONE] = TO(SESSION_ENDED),
	},
	[SESSION_RECOVERING] = {
		/* Opened is half of it: it has to be armed, too. */
		[SESSION_ARMED] = TO(SESSION_TRACKING),
		[SESSION_WORKER_DIED] = TO(SESSION_RECOVERING),
		[SESSION_GIVE_UP] = TO(SESSION_FAILED),
		[SESSION_DETACH] = TO(SESSION_DETACHING),
		[SESSION_GONE] = TO(SESSION_ENDED),
	},
	[SESSION_DETACHING] = {
		/* What is left is lifted by the last close. */
		[SESSION_WORKER_DIED] = TO(SESSION_DETACHING),
		[SESSION_GIVE_UP] = TO(SESSION_CLOSED),
		[SESSION_LIFTED] = TO(SESSION_CLOSED),
		[SESSION_GONE] = TO(SESSION_CLOSED),
	},
	[SESSION_FAILED] = {
		[SESSION_DETACH] = TO(SESSION_CLOSED),
		[SESSION_GONE] = TO(SESSION_ENDED),
	},
	[SESSION_ENDED] = {
		[SESSION_DETACH] = TO(SESSION_CLOSED),
	},
};

enum session_state session_next(enum session_state state, enum session_event event)
{
	unsigned next = table[state][event];

	return next ? (enum session_state)(next - 1) : state;
}

const char *session_state_name(enum session_state state)
{
	static const char *const names[SESSION_N_STATES] = {
		[SESSION_STARTING] = "starting",
		[SESSION_READY] = "ready",
		[SESSION_TRACKING] = "tracking",
		[SESSION_REVIVING] = "recovering",
		[SESSION_RECOVERING] = "recovering",
		[SESSION_DETACHING] = "detaching",
		[SESSION_FAILED] = "failed",
		[SESSION_ENDED] = "ended",
		[SESSION_CLOSED] = "detaching",
	};

	return names[state];
}
