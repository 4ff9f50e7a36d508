// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What can be called.
 *
 * A call passes in this order: its method is there, its parameters fit the description, it
 * was called with "more" where that is needed, and who calls may do so. No handler
 * sees one that does not.
 */
#include "daemon/methods.h"

#include <string.h>

#include "daemon/manager.h"
#include "daemon/peer.h"
#include "daemon/session.h"

static const struct method table[] = {
	{ "org.varlink.service", "GetInfo", METHOD_ANYBODY, false, service_get_info },
	{ "org.varlink.service", "GetInterfaceDescription", METHOD_ANYBODY, false,
		service_get_description },
	{ "io.umemd.Targets", "Attach", METHOD_ANYBODY, false, targets_attach },
	{ "io.umemd.Targets", "Open", METHOD_ANYBODY, false, targets_open },
	{ "io.umemd.Targets", "HandOff", METHOD_ANYBODY, false, targets_hand_off },
	{ "io.umemd.Targets", "List", METHOD_ANYBODY, false, targets_list },
	{ "io.umemd.Targets", "Describe", METHOD_OWN_TARGET, false, targets_describe },
	{ "io.umemd.Targets", "Detach", METHOD_OWN_TARGET, false, targets_detach },
	{ "io.umemd.Dirty", "Start", METHOD_OWN_TARGET, false, dirty_start },
	{ "io.umemd.Dirty", "Collect", METHOD_OWN_TARGET, false, dirty_collect },
	{ "io.umemd.Dirty", "Monitor", METHOD_OWN_TARGET, true, dirty_monitor },
	{ "io.umemd.Dirty", "Stop", METHOD_OWN_TARGET, false, dirty_stop },
	{ "io.umemd.Residency", "Map", METHOD_OWN_TARGET, false, residency_map },
	{ "io.umemd.Residency", "PageOut", METHOD_OWN_TARGET, false, residency_page_out },
	{ "io.umemd.Residency", "PageIn", METHOD_OWN_TARGET, false, residency_page_in },
	{ "io.umemd.Residency", "Cancel", METHOD_OWN_TARGET, false, residency_cancel },
	{ "io.umemd.Reclaim", "Set", METHOD_OWN_TARGET, false, reclaim_set },
	{ "io.umemd.Reclaim", "Get", METHOD_OWN_TARGET, false, reclaim_get },
	{ "io.umemd.Reclaim", "Status", METHOD_OWN_TARGET, false, reclaim_status },
	{ "io.umemd.Reclaim", "Rules", METHOD_ANYBODY, false, reclaim_rules },
	{ "io.umemd.Snapshot", "Take", METHOD_OWN_TARGET, true, snapshot_take },
	{ "io.umemd.Snapshot", "Cancel", METHOD_OWN_TARGET, false, snapshot_cancel },
};

const struct method *methods_table(size_t *ret_n)
{
	*ret_n = UMEM_ARRAY_LEN(table);
	return table;
}

_Static_assert(UMEM_ARRAY_LEN(table) <= STATS_METHODS, "each method is counted");

uint64_t methods_row(const struct method *method)
{
	return method ? (uint64_t)(method - table) : STATS_METHODS;
}

static const struct method *find(const char *interface, const char *name)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(table); i++)
		if (strcmp(table[i].interface, interface) == 0 && strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

/* Is there an interface of that name for clients? */
static bool is_served(const char *interface)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(table); i++)
		if (strcmp(table[i].interface, interface) == 0)
			return true;
	return false;
}

/* The target that a call names. Return: false when the call was answered. */
static bool find_session(struct call *call)
{
	const char *id = umem_json_get_text(call->message.parameters, "target", "");
	struct session *session = session_find(call->manager, id);
	struct umem_json *parameters;

	if (session && session_is_visible(session, &call->peer->who)) {
		call->session = session;
		session_touched(session, call->peer);
		return true;
	}
	parameters = umem_json_object();
	umem_json_set_text(parameters, "target", id);
	call_error(call, "NoSuchTarget", parameters);
	return false;
}

/* Is it of use to it that descriptors come along? */
static bool takes_fds(const struct method *method)
{
	return method->run == targets_hand_off || method->run == snapshot_take;
}

void methods_dispatch(struct call *call)
{
	const struct umem_call *message = &call->message;
	const struct umem_idl *idl = umem_interfaces_find(&call->manager->interfaces,
		message->interface);
	const struct umem_idl_entry *entry;
	char where[UMEM_IDL_WHERE];

	call->method = find(message->interface, message->method);
	stats_called(&call->manager->stats, methods_row(call->method));
	if (!idl || !is_served(message->interface)) {
		call_service_error(call, "InterfaceNotFound", "interface", message->interface);
		return;
	}
	entry = umem_idl_find(idl, UMEM_IDL_METHOD, message->method);
	if (!entry || !call->method) {
		call_service_error(call, entry ? "MethodNotImplemented" : "MethodNotFound",
			"method", message->method);
		return;
	}
	if (umem_idl_check(entry->in, message->parameters, where, NULL) < 0) {
		call_service_error(call, "InvalidParameter", "parameter", where);
		return;
	}
	if (call->method->more && !message->more) {
		call_service_error(call, "InvalidParameter", "parameter", "more");
		return;
	}
	if (call->method->permission == METHOD_OWN_TARGET && !find_session(call))
		return;
	/* A call may last; what it does not need is not kept open meanwhile. */
	if (!takes_fds(call->method))
		call_close_fds(call);
	call->method->run(call);
}
