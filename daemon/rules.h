/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules of the configuration: policies of reclaim for processes as they appear. Those that a
 * rule is about become targets of umemd's own.
 */
#ifndef DAEMON_RULES_H
#define DAEMON_RULES_H

#include "daemon/manager.h"

struct rules;

/** rules_new - look for processes from now on. Return: 0 or -ENOMEM. */
int rules_new(struct manager *manager, struct rules **ret_rules);

/** rules_reload - the configuration changed: let go of what no rule is about any more. */
void rules_reload(struct rules *rules);

/** rules_describe - how each is doing: an array of Rule of io.umemd.Reclaim. */
struct umem_json *rules_describe(const struct rules *rules);

/** rules_free - when the program ends. NULL is fine. Return: NULL. */
struct rules *rules_free(struct rules *rules);

#endif
