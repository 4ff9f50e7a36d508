/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serving a worker's questions about its target: io.umemd.Broker. One after the
 * other, in a thread, since opening a file of others may take long.
 */
#ifndef DAEMON_BROKER_H
#define DAEMON_BROKER_H

#include "daemon/link.h"

struct broker;

/**
 * broker_new - serve on @sock, about @subject, which is copied.
 * @sock: owned from now on, also on failure.
 *
 * Return: 0 or -errno.
 */
int broker_new(const struct link_env *env, int sock, const struct link_subject *subject,
	struct broker **ret_broker);

/** broker_free - an answer that is being made is dropped. NULL is fine. Return: NULL. */
struct broker *broker_free(struct broker *broker);

#endif
