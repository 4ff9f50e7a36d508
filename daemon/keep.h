/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions over a restart of umemd: what they hold is kept by the service manager, with
 * a record of what they are.
 */
#ifndef DAEMON_KEEP_H
#define DAEMON_KEEP_H

#include "daemon/session.h"

struct kept;

/** keep_session - have a new session kept. Does nothing without a service manager. */
void keep_session(struct session *session);

/** keep_update - what it is changed: it tracks, or does not any more; workers died. */
void keep_update(struct session *session);

/** keep_worker - it has another worker; @pidfd of it, -1 for none. */
void keep_worker(struct session *session, int pidfd);

/** keep_drop - it is over. */
void keep_drop(struct session *session);

/** keep_new - a place for what was kept. Return: NULL without memory. */
struct kept *keep_new(void);

/** keep_take - one descriptor; owned, and closed if it is none of ours. */
void keep_take(struct kept *kept, const char *name, int fd);

/** keep_restore - make sessions of what is whole, forget the rest; frees @kept. */
void keep_restore(struct kept *kept, struct manager *manager);

#endif
