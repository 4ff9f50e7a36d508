/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a session, and what leads from one to another: a table. */
#ifndef DAEMON_SESSION_STATE_H
#define DAEMON_SESSION_STATE_H

/**
 * enum session_state - what a session is at.
 * @SESSION_STARTING: its first worker comes up.
 * @SESSION_READY: a worker waits for work.
 * @SESSION_TRACKING: a worker watches.
 * @SESSION_REVIVING: the worker died while there was nothing to watch; another comes up.
 * @SESSION_RECOVERING: the worker died while it watched; another comes up and arms.
 * @SESSION_DETACHING: the worker lifts everything.
 * @SESSION_FAILED: workers died too often; nothing is held any more.
 * @SESSION_ENDED: the process is gone.
 * @SESSION_CLOSED: let go; the session is about to be forgotten.
 */
enum session_state {
	SESSION_STARTING,
	SESSION_READY,
	SESSION_TRACKING,
	SESSION_REVIVING,
	SESSION_RECOVERING,
	SESSION_DETACHING,
	SESSION_FAILED,
	SESSION_ENDED,
	SESSION_CLOSED,
	SESSION_N_STATES,
};

/**
 * enum session_event - what happens.
 * @SESSION_OPENED: a worker has the target.
 * @SESSION_ARMED: it watches.
 * @SESSION_STOPPED: it watches no more.
 * @SESSION_WORKER_DIED: and another one is to be tried.
 * @SESSION_GIVE_UP: and none is.
 * @SESSION_DETACH: somebody wants the target let go.
 * @SESSION_LIFTED: the worker has done so, or there was nothing to lift.
 * @SESSION_GONE: the process ended or executed another program.
 */
enum session_event {
	SESSION_OPENED,
	SESSION_ARMED,
	SESSION_STOPPED,
	SESSION_WORKER_DIED,
	SESSION_GIVE_UP,
	SESSION_DETACH,
	SESSION_LIFTED,
	SESSION_GONE,
	SESSION_N_EVENTS,
};

/** session_next - the state behind @event. Return: it; @state itself where @event means nothing. */
enum session_state session_next(enum session_state state, enum session_event event);

/** session_state_name - by a word of io.umemd.Targets. */
const char *session_state_name(enum session_state state);

#endif
