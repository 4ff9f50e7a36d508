// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The table of a session's states, cell by cell against what must hold of it: a word of the
 * model for each rule, not a copy of the table.
 */
#include "daemon/session_state.h"

#include "tests/lib/harness.h"

static bool is_over(enum session_state s)
{
	return s == SESSION_FAILED || s == SESSION_ENDED || s == SESSION_CLOSED;
}

static bool comes_up(enum session_state s)
{
	return s == SESSION_STARTING || s == SESSION_REVIVING || s == SESSION_RECOVERING;
}

/* Where @event leads from @s. */
static enum session_state expected(enum session_state s, enum session_event event)
{
	switch (event) {
	case SESSION_OPENED:
		return s == SESSION_STARTING || s == SESSION_REVIVING ? SESSION_READY : s;
	case SESSION_ARMED:
		return s == SESSION_READY || s == SESSION_RECOVERING ? SESSION_TRACKING : s;
	case SESSION_STOPPED:
		return s == SESSION_TRACKING ? SESSION_READY : s;
	case SESSION_WORKER_DIED:
		return s == SESSION_READY ? SESSION_REVIVING :
			s == SESSION_TRACKING ? SESSION_RECOVERING : s;
	case SESSION_GIVE_UP:
		return is_over(s) ? s : s == SESSION_DETACHING ? SESSION_CLOSED : SESSION_FAILED;
	case SESSION_DETACH:
		return is_over(s) ? SESSION_CLOSED : SESSION_DETACHING;
	case SESSION_LIFTED:
		return s == SESSION_DETACHING ? SESSION_CLOSED : s;
	case SESSION_GONE:
		return s == SESSION_DETACHING || s == SESSION_CLOSED ? SESSION_CLOSED :
								       SESSION_ENDED;
	default:
		T_FAIL("no event");
	}
}

int main(void)
{
	for (int s = 0; s < SESSION_N_STATES; s++) {
		T_CHECK(session_state_name((enum session_state)s) != NULL);
		for (int e = 0; e < SESSION_N_EVENTS; e++) {
			enum session_state next = session_next((enum session_state)s,
				(enum session_event)e);

			T_CHECK(next == expected((enum session_state)s, (enum session_event)e),
				"state %d, event %d: %d", s, e, (int)next);
			/* What was armed is never called ready without being armed again. */
			T_CHECK(!(s == SESSION_RECOVERING && next == SESSION_READY));
			/* Nothing comes back from the end. */
			T_CHECK(!is_over((enum session_state)s) || is_over(next));
			/* A worker that dies is replaced, or it is over. */
			T_CHECK(e != SESSION_WORKER_DIED || comes_up(next) || is_over(next) ||
				next == SESSION_DETACHING);
		}
	}
	return 0;
}
