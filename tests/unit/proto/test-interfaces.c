// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The descriptions that are built in: they can be read, they are the files that
 * are installed, and what a worker says has the same shape as what a client gets.
 */
#include "lib/proto/interfaces.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/base/fd.h"

static void load(void **state)
{
	struct umem_interfaces all = { 0 };
	struct umem_note note = { 0 };

	assert_int_equal(0, umem_interfaces_load(&all, &note));
	assert_non_null(umem_interfaces_find(&all, "org.varlink.service"));
	assert_non_null(umem_interfaces_find(&all, "io.umemd.Targets"));
	assert_null(umem_interfaces_find(&all, "io.umemd"));
	umem_interfaces_deinit(&all);
}

static void as_installed(void **state)
{
	const char *tree = getenv("UMEM_SOURCE");
	struct umem_interfaces all = { 0 };

	if (!tree)
		skip();
	assert_int_equal(0, umem_interfaces_load(&all, NULL));
	for (size_t i = 0; i < UMEM_N_INTERFACES; i++) {
		UMEM_FREE char *text = NULL;
		char path[4096];

		snprintf(path, sizeof(path), "%s/lib/proto/%s.varlink", tree, all.v[i]->name);
		assert_int_equal(0, umem_read_file(AT_FDCWD, path, 1 << 16, &text, NULL));
		assert_string_equal(text, all.v[i]->text);
	}
	umem_interfaces_deinit(&all);
}

/* What stands behind "type @name", up to the closing parenthesis at the start of a line. */
static const char *type_text(const struct umem_idl *idl, const char *name, size_t *ret_len)
{
	char head[64];
	const char *at;

	snprintf(head, sizeof(head), "\ntype %s (", name);
	at = strstr(idl->text, head);
	assert_non_null(at);
	*ret_len = (size_t)(strstr(at, ")\n") - at);
	return at;
}

static void same_types(void **state)
{
	static const struct {
		const char *inside;
		const char *interface;
		const char *type;
	} types[] = {
		{ "io.umemd.Worker", "io.umemd.Dirty", "Range" },
		{ "io.umemd.Worker", "io.umemd.Dirty", "Reason" },
		{ "io.umemd.Worker", "io.umemd.Dirty", "Change" },
		{ "io.umemd.Worker", "io.umemd.Dirty", "Area" },
		{ "io.umemd.Worker", "io.umemd.Dirty", "Round" },
		{ "io.umemd.Worker", "io.umemd.Residency", "Region" },
		{ "io.umemd.Worker", "io.umemd.Residency", "Run" },
		{ "io.umemd.Worker", "io.umemd.Residency", "Sharer" },
		{ "io.umemd.Worker", "io.umemd.Residency", "Refused" },
		{ "io.umemd.Worker", "io.umemd.Residency", "Progress" },
		{ "io.umemd.Worker", "io.umemd.Residency", "Moved" },
		{ "io.umemd.Worker", "io.umemd.Reclaim", "Policy" },
		{ "io.umemd.Worker", "io.umemd.Reclaim", "Seen" },
		{ "io.umemd.Worker", "io.umemd.Reclaim", "Interval" },
		{ "io.umemd.Snapshotter", "io.umemd.Snapshot", "Range" },
		{ "io.umemd.Snapshotter", "io.umemd.Snapshot", "Reason" },
		{ "io.umemd.Snapshotter", "io.umemd.Snapshot", "Progress" },
		{ "io.umemd.Snapshotter", "io.umemd.Snapshot", "Snapshot" },
	};
	struct umem_interfaces all = { 0 };

	assert_int_equal(0, umem_interfaces_load(&all, NULL));
	for (size_t i = 0; i < UMEM_ARRAY_LEN(types); i++) {
		size_t n, m;
		const char *a = type_text(umem_interfaces_find(&all, types[i].inside),
			types[i].type, &n);
		const char *b = type_text(umem_interfaces_find(&all, types[i].interface),
			types[i].type, &m);

		assert_int_equal(n, m);
		assert_memory_equal(a, b, n);
	}
	umem_interfaces_deinit(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load),
		cmocka_unit_test(as_installed),
		cmocka_unit_test(same_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
