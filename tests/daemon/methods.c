// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The table of methods against the descriptions that clients read: each described method
 * is served, each served one is described, and what the daemon takes for granted of
 * their parameters is there.
 */
#include "daemon/methods.h"

#include "lib/base/attr.h"
#include "lib/proto/idl_type.h"
#include "lib/proto/interfaces.h"
#include "tests/lib/harness.h"

static bool has_field(const struct umem_idl_type *type, const char *name)
{
	for (size_t i = 0; i < type->n_fields; i++)
		if (strcmp(type->fields[i].name, name) == 0)
			return true;
	return false;
}

static const struct method *find(const char *interface, const char *name)
{
	size_t n;
	const struct method *table = methods_table(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].interface, interface) == 0 && strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

int main(void)
{
	static const char *const errors[] = { "NoSuchTarget", "Gone", "NotPermitted",
		"QuotaExceeded", "Failed" };
	struct umem_interfaces all = { 0 };
	size_t n, n_described = 0;
	const struct method *table = methods_table(&n);

	T_OK(umem_interfaces_load(&all, NULL));
	for (size_t i = 0; i < n; i++) {
		const struct umem_idl *idl = umem_interfaces_find(&all, table[i].interface);
		const struct umem_idl_entry *entry;

		T_CHECK(idl, "%s", table[i].interface);
		entry = umem_idl_find(idl, UMEM_IDL_METHOD, table[i].name);
		T_CHECK(entry, "%s.%s is not described", table[i].interface, table[i].name);
		if (table[i].permission == METHOD_OWN_TARGET)
			T_CHECK(has_field(entry->in, "target"), "%s", table[i].name);
	}
	for (size_t i = 0; i < UMEM_N_INTERFACES; i++) {
		const struct umem_idl *idl = all.v[i];

		if (strcmp(idl->name, "io.umemd.Worker") == 0 ||
			strcmp(idl->name, "io.umemd.Broker") == 0 ||
			strcmp(idl->name, "io.umemd.Snapshotter") == 0)
			continue;
		for (size_t k = 0; k < idl->n; k++) {
			if (idl->v[k].kind != UMEM_IDL_METHOD)
				continue;
			T_CHECK(find(idl->name, idl->v[k].name), "%s.%s is not served", idl->name,
				idl->v[k].name);
			n_described++;
		}
		for (size_t k = 0; strncmp(idl->name, "io.umemd.", 9) == 0 &&
			k < UMEM_ARRAY_LEN(errors); k++)
			T_CHECK(umem_idl_find(idl, UMEM_IDL_ERROR, errors[k]), "%s: %s", idl->name,
				errors[k]);
	}
	T_CHECK(n_described == n);
	umem_interfaces_deinit(&all);
	return 0;
}
