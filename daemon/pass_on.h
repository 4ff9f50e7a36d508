/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that go to a worker as they are, and what it answers, which has the shape of what
 * a client gets. Tables and bitmaps go by as descriptors, after a look that they are what
 * they should be.
 */
#ifndef DAEMON_PASS_ON_H
#define DAEMON_PASS_ON_H

#include <stdbool.h>

#include "daemon/call.h"
#include "daemon/link.h"

/** pass_on_parameters - those of a call but for the target's name; owned by the caller. */
struct umem_json *pass_on_parameters(const struct call *call);

/**
 * pass_on - what a worker answered, to a client.
 * @last: it is the last reply, and @call is consumed.
 * Return: false when it is not fit for one; then nothing was done, but for the log.
 */
bool pass_on(struct call *call, const struct link_answer *answer, bool last);

#endif
