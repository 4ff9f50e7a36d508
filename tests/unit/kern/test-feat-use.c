// SPDX-License-Identifier: LGPL-2.1-or-later
/* The probe of idle page tracking, on bitmaps that keep their word and such that do not. */
#include "lib/kern/feat_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/harness.h"
#include "tests/lib/idle.h"
#include "tests/lib/tree.h"

static char detail[UMEM_FEAT_DETAIL_SIZE];

static int probe(const char *sys)
{
	int r;

	memset(detail, 0, sizeof(detail));
	r = umem_probe_page_idle_at(sys, detail);
	print_message("%d \"%s\"\n", r, detail);
	return r;
}

static void no_file(void **state)
{
	assert_int_equal(0, probe(t_tree_path("nowhere")));
	assert_string_equal("No such file or directory", detail);
}

/* A plain file keeps every bit that it is given, whatever the memory goes through. */
static void never_cleared(void **state)
{
	t_tree_put("plain/kernel/mm/page_idle/bitmap", "");
	assert_int_equal(0, probe(t_tree_path("plain")));
	assert_non_null(strstr(detail, "pages in use read as idle"));
	t_tree_drop("plain");
}

static void keeps_its_word(void **state)
{
	t_idle_forget();
	assert_int_equal(1, probe(t_tree()));
	assert_string_equal("", detail);
	assert_int_equal(64, t_idle_calls().bits);
	assert_int_equal(0, t_idle_calls().bad);
}

static void nothing_sticks(void **state)
{
	t_idle_forget();
	t_idle_limit(0);
	assert_int_equal(0, probe(t_tree()));
	assert_string_equal("0 of 32 idle pages read as idle", detail);
	t_idle_limit(UINT64_MAX);
}

/* The kernel knows what this program has names for, as far as it goes. */
static void categories(void **state)
{
	struct umem_feats feats;
	const uint64_t bit = UMEM_FEAT_BIT(UMEM_FEAT_SCAN_ACCESSED);

	assert_int_equal(0, umem_feats_probe_some(bit, &feats));
	print_message("%s\n", feats.detail[UMEM_FEAT_SCAN_ACCESSED]);
	assert_true(feats.found == 0 && feats.unknown == 0);
	assert_true(strlen(feats.detail[UMEM_FEAT_SCAN_ACCESSED]) > 0);
	assert_int_equal(0, umem_feats_override(&feats, "+scan_accessed"));
	assert_true(umem_feats_has(&feats, UMEM_FEAT_SCAN_ACCESSED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_file),
		cmocka_unit_test(never_cleared),
		cmocka_unit_test(keeps_its_word),
		cmocka_unit_test(nothing_sticks),
		cmocka_unit_test(categories),
	};

	t_idle_start(T_IDLE_FRAMES);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
