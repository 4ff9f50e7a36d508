// SPDX-License-Identifier: LGPL-2.1-or-later
/* org.varlink.service: who answers, and what can be asked. */
#include <string.h>

#include "daemon/manager.h"
#include "daemon/methods.h"

/* The interfaces of the table, each once; those of workers are not among them. */
static struct umem_json *interfaces(void)
{
	struct umem_json *list = umem_json_array();
	size_t n;
	const struct method *table = methods_table(&n);

	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(table[i].interface, table[i - 1].interface) != 0)
			umem_json_append_consume(list, umem_json_text(table[i].interface));
	return list;
}

void service_get_info(struct call *call)
{
	struct umem_json *info = umem_json_object();

	umem_json_set_text(info, "vendor", "umemd");
	umem_json_set_text(info, "product", "umemd");
	umem_json_set_text(info, "version", UMEMD_VERSION);
	umem_json_set_text(info, "url", "");
	umem_json_set_consume(info, "interfaces", interfaces());
	call_reply(call, info);
}

void service_get_description(struct call *call)
{
	const char *name = umem_json_get_text(call->message.parameters, "interface", "");
	const struct umem_idl *idl = umem_interfaces_find(&call->manager->interfaces, name);
	struct umem_json *reply;
	size_t n;
	const struct method *table = methods_table(&n);

	for (size_t i = 0; i < n && idl; i++) {
		if (strcmp(table[i].interface, name) != 0)
			continue;
		reply = umem_json_object();
		umem_json_set_text(reply, "description", idl->text);
		call_reply(call, reply);
		return;
	}
	call_service_error(call, "InterfaceNotFound", "interface", name);
}
