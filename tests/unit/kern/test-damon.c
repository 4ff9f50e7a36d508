// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who runs DAMON: control files in all states, modules, nonsense; this machine's own. */
#include "lib/kern/damon.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/kern/feat_probe.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

#define KDAMONDS "kernel/mm/damon/admin/kdamonds/"

static struct umem_damon read_tree(void)
{
	struct umem_damon damon;

	memset(&damon, 0x55, sizeof(damon));
	assert_int_equal(0, umem_damon_read(t_tree(), &damon));
	return damon;
}

static const char *detail(int expected)
{
	static char text[UMEM_FEAT_DETAIL_SIZE];

	memset(text, 0, sizeof(text));
	assert_int_equal(expected, umem_probe_damon_at(t_tree(), text));
	return text;
}

static int clean(void **state)
{
	t_tree_folder("kernel");
	t_tree_folder("module");
	t_tree_drop("kernel");
	t_tree_drop("module");
	return 0;
}

static void none(void **state)
{
	struct umem_damon damon = read_tree();

	assert_false(damon.has_control);
	assert_int_equal(0, damon.n_kdamonds);
	assert_string_equal("", damon.user);
	assert_string_equal("", damon.offered);
	assert_string_equal("No such file or directory", detail(0));
	assert_int_equal(-ENOENT, umem_damon_read(t_tree_path("nowhere"), &damon));
}

static void states(void **state)
{
	struct umem_damon damon;

	t_tree_put(KDAMONDS "nr_kdamonds", "0\n");
	damon = read_tree();
	assert_true(damon.has_control);
	assert_string_equal("", damon.user);
	assert_string_equal("not set up", detail(1));

	/* Two that do not run; the first has no context yet. */
	t_tree_put(KDAMONDS "nr_kdamonds", "2\n");
	t_tree_put(KDAMONDS "0/state", "off\n");
	t_tree_put(KDAMONDS "1/state", "off\n");
	t_tree_put(KDAMONDS "1/contexts/0/operations", "vaddr\n");
	t_tree_put(KDAMONDS "1/contexts/0/avail_operations", "vaddr\nfvaddr\npaddr\n");
	damon = read_tree();
	assert_int_equal(2, damon.n_kdamonds);
	assert_string_equal("", damon.user);
	assert_string_equal("vaddr fvaddr paddr", damon.offered);
	assert_string_equal("set up by another, not running", detail(1));

	t_tree_put(KDAMONDS "1/state", "on\n");
	damon = read_tree();
	assert_string_equal("kdamond 1 (vaddr)", damon.user);
	assert_string_equal("in use by another: kdamond 1 (vaddr)", detail(1));
	t_tree_put(KDAMONDS "0/state", "on\n");
	assert_string_equal("kdamond 0 (?)", read_tree().user);
}

static void in_modules(void **state)
{
	t_tree_put("module/damon_reclaim/parameters/enabled", "N\n");
	t_tree_put("module/damon_lru_sort/parameters/enabled", "Y\n");
	assert_string_equal("damon_lru_sort", read_tree().user);
	assert_false(read_tree().has_control);
	assert_string_equal("in use by another: damon_lru_sort", detail(0));
	t_tree_put(KDAMONDS "nr_kdamonds", "1\n");
	assert_string_equal("damon_lru_sort", read_tree().user);
	assert_string_equal("in use by another: damon_lru_sort", detail(1));
	t_tree_put("module/damon_lru_sort/parameters/enabled", "N\n");
	assert_string_equal("", read_tree().user);
}

static void nonsense(void **state)
{
	static const char *const numbers[] = { "", "\n", "abc", "-1", "99999999999999999999",
		"18446744073709551615" };
	char operations[200];

	memset(operations, 'x', sizeof(operations));
	operations[199] = '\0';
	t_tree_put(KDAMONDS "0/state", "on");
	t_tree_put(KDAMONDS "0/contexts/0/operations", operations);
	t_tree_put(KDAMONDS "0/contexts/0/avail_operations", operations);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(numbers); i++) {
		struct umem_damon damon;

		t_tree_put(KDAMONDS "nr_kdamonds", numbers[i]);
		damon = read_tree();
		assert_true(damon.has_control);
		assert_string_equal(damon.n_kdamonds ? "kdamond 0 (xxxxxxxxxxxxxxxx)" : "",
			damon.user);
		assert_true(strlen(damon.offered) < sizeof(damon.offered));
	}
	t_tree_put(KDAMONDS "nr_kdamonds", "1");
	t_tree_put(KDAMONDS "0/state", "");
	assert_string_equal("", read_tree().user);
}

/* This machine: what is said agrees with the file of the state. */
static void here(void **state)
{
	static const char path[] = "/sys/kernel/mm/damon/admin/kdamonds/0/state";
	struct umem_damon damon;
	char text[16] = "";
	FILE *file = fopen(path, "re");

	assert_int_equal(0, umem_damon_read(NULL, &damon));
	print_message("kdamonds %llu, user \"%s\", offered \"%s\"\n",
		(unsigned long long)damon.n_kdamonds, damon.user, damon.offered);
	if (!file) {
		print_message("no kdamond is set up here\n");
		skip();
	}
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_true(damon.has_control && damon.n_kdamonds > 0);
	if (!strcmp(text, "on\n"))
		assert_memory_equal("kdamond 0 (", damon.user, strlen("kdamond 0 ("));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(none, clean),
		cmocka_unit_test_setup(states, clean),
		cmocka_unit_test_setup(in_modules, clean),
		cmocka_unit_test_setup(nonsense, clean),
		cmocka_unit_test(here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
