/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be called: a table of names, permissions and handlers. */
#ifndef DAEMON_METHODS_H
#define DAEMON_METHODS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/call.h"

/**
 * enum method_permission - who may call.
 * @METHOD_ANYBODY: everybody; a handler may look closer.
 * @METHOD_OWN_TARGET: who has the target that parameter "target" names; to others
 *	it does not exist.
 */
enum method_permission {
	METHOD_ANYBODY,
	METHOD_OWN_TARGET,
};

/**
 * struct method - a row.
 * @interface, @name: which method.
 * @permission: who may call it.
 * @more: it has to be called with "more".
 * @run: the handler; owns the call.
 */
struct method {
	const char *interface;
	const char *name;
	enum method_permission permission;
	bool more;
	void (*run)(struct call *call);
};

/** methods_dispatch - have a call served. */
void methods_dispatch(struct call *call);

/** methods_table - the rows, for the test that compares them with the descriptions. */
const struct method *methods_table(size_t *ret_n);

/** methods_row - where a method is in it; STATS_METHODS for NULL. */
uint64_t methods_row(const struct method *method);

/*
 * Handlers, by interface.
 */
void service_get_info(struct call *call);
void service_get_description(struct call *call);
void targets_attach(struct call *call);
void targets_session_left(struct manager *manager); /* whoever waited for that may go on */
void targets_hand_off(struct call *call);
void targets_open(struct call *call);
void targets_list(struct call *call);
void targets_describe(struct call *call);
void targets_detach(struct call *call);
void dirty_start(struct call *call);
void dirty_collect(struct call *call);
void dirty_monitor(struct call *call);
void dirty_stop(struct call *call);
void residency_map(struct call *call);
void residency_page_out(struct call *call);
void residency_page_in(struct call *call);
void residency_cancel(struct call *call);
void reclaim_set(struct call *call);
void reclaim_get(struct call *call);
void reclaim_status(struct call *call);
void reclaim_rules(struct call *call);
void snapshot_take(struct call *call);
void snapshot_cancel(struct call *call);

#endif
