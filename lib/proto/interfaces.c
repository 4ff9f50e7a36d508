// SPDX-License-Identifier: LGPL-2.1-or-later
/* The interfaces that umemd and its workers speak; the texts are built in (embed). */
#include "lib/proto/interfaces.h"

#include <errno.h>
#include <string.h>

int umem_interfaces_load(struct umem_interfaces *ret_interfaces, struct umem_note *note)
{
	UMEM_CLEANUP(umem_interfaces_deinit) struct umem_interfaces loaded = { 0 };

	for (size_t i = 0; i < UMEM_N_INTERFACES; i++) {
		int r = umem_idl_parse(umem_interface_texts[i], &loaded.v[i], note);

		if (r < 0)
			return r;
	}
	*ret_interfaces = loaded;
	loaded = (struct umem_interfaces){ 0 };
	return 0;
}

void umem_interfaces_deinit(struct umem_interfaces *interfaces)
{
	for (size_t i = 0; i < UMEM_N_INTERFACES; i++)
		interfaces->v[i] = umem_idl_free(interfaces->v[i]);
}

const struct umem_idl *umem_interfaces_find(const struct umem_interfaces *interfaces,
	const char *name)
{
	for (size_t i = 0; i < UMEM_N_INTERFACES; i++)
		if (interfaces->v[i] && strcmp(interfaces->v[i]->name, name) == 0)
			return interfaces->v[i];
	return NULL;
}
