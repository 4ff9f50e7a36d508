// SPDX-License-Identifier: LGPL-2.1-or-later
/* Swap areas: real and hostile text, and zram devices in a tree of our own. */
#include "lib/kern/swapdev.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/tree.h"

#define TITLE "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

/* An exact heap copy, so that a read past the end is seen by sanitizers and valgrind. */
static int parse(const char *text, size_t len, struct umem_swap_areas *areas)
{
	char *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, len);
	r = umem_swap_areas_parse(copy, len, areas);
	free(copy);
	return r;
}

#define REAL TITLE                                                                       \
	"/dev/zram1                              partition\t65532\t\t256\t\t-2\n"        \
	"/var/lib/a\\040b\\134\\011\\012\\040(deleted)    file\t\t1048572\t\t0\t\t32767\n" \
	"/dev/dm-1 partition\t12345678\t12345677\t5"

static void real_text(void **state)
{
	struct umem_swap_areas areas = { 0 };

	assert_int_equal(0, parse(REAL, strlen(REAL), &areas));
	assert_int_equal(3, areas.n);
	assert_string_equal("/dev/zram1", areas.v[0].path);
	assert_int_equal(UMEM_SWAP_PARTITION, areas.v[0].kind);
	assert_int_equal(65532 * 1024, areas.v[0].size_bytes);
	assert_int_equal(256 * 1024, areas.v[0].used_bytes);
	assert_int_equal(-2, areas.v[0].priority);
	assert_false(areas.v[0].is_zram);
	assert_string_equal("/var/lib/a b\\\t\n (deleted)", areas.v[1].path);
	assert_int_equal(UMEM_SWAP_FILE, areas.v[1].kind);
	assert_int_equal(32767, areas.v[1].priority);
	assert_string_equal("/dev/dm-1", areas.v[2].path);
	assert_true(areas.total_bytes == (65532ull + 1048572 + 12345678) * 1024);
	assert_true(areas.used_bytes == (256ull + 12345677) * 1024);
	assert_true(umem_swap_free_bytes(&areas) == areas.total_bytes - areas.used_bytes);
	assert_int_equal(3, umem_swap_count(REAL, strlen(REAL)));
	/* Used again, it holds the new text alone. */
	assert_int_equal(0, parse(TITLE, strlen(TITLE), &areas));
	assert_int_equal(0, areas.n);
	assert_int_equal(0, areas.total_bytes + areas.used_bytes);
	assert_true(umem_swap_in_memory(&areas));
	umem_swap_areas_deinit(&areas);
}

static void hostile(void **state)
{
	static const char *const bad[] = {
		"", "\n", "/dev/a partition 1 1 1\n", TITLE "\n", TITLE " /dev/a partition 1 1 1\n",
		TITLE "/dev/a\n", TITLE "/dev/a partition\n", TITLE "/dev/a partition 1\n",
		TITLE "/dev/a partition 1 1\n", TITLE "/dev/a partition 1 1 \n",
		TITLE "/dev/a partition 1 1 -\n", TITLE "/dev/a partition 1 1 x\n",
		TITLE "/dev/a partition 1 1 1 1\n", TITLE "/dev/a partition 1 1 1x\n",
		TITLE "/dev/a partition -1 1 1\n", TITLE "/dev/a partition 1 1 2147483648\n",
		TITLE "/dev/a partitions 1 1 1\n", TITLE "/dev/a fil 1 1 1\n",
		TITLE "/dev/a file1 1 1\n", TITLE "/dev/a\\04 file 1 1 1\n",
		TITLE "/dev/a\\ file 1 1 1\n", TITLE "/dev/a\\000 file 1 1 1\n",
		TITLE "/dev/a file 18014398509481984 1 1\n",
		TITLE "/dev/a file 18014398509481983 1 1\n/dev/b file 2 1 1\n",
		TITLE "/dev/a file 1 18014398509481983 1\n/dev/b file 2 2 1\n",
		TITLE "/dev/a file 1 1 1\n/dev/b pipe 2 2 1\n",
	};
	const char *overfull = TITLE "/a file 1 2 1\n";
	struct umem_swap_areas areas = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(0, parse(REAL, strlen(REAL), &areas));
		assert_int_equal(-EBADMSG, parse(bad[i], strlen(bad[i]), &areas));
		assert_int_equal(0, areas.n);
		assert_int_equal(0, areas.total_bytes + areas.used_bytes);
	}
	for (size_t len = 0; len < strlen(REAL); len++) {
		int r = parse(REAL, len, &areas);

		assert_true(r == -EBADMSG || (r == 0 && areas.n <= 2));
	}
	/* More used than there is: no room, not a huge one. */
	assert_int_equal(0, parse(overfull, strlen(overfull), &areas));
	assert_int_equal(0, umem_swap_free_bytes(&areas));
	umem_swap_areas_deinit(&areas);
}

static int read_tree(struct umem_swap_areas *areas)
{
	return umem_swap_areas_read(t_tree_path("swaps"), t_tree_path("sys"), areas);
}

#define ZRAM3 TITLE "/dev/zram3 partition\t100\t\t40\t\t-2\n"

static void zram(void **state)
{
	struct umem_swap_areas areas = { 0 };

	/* No file of the kernel: no swap. */
	assert_int_equal(0, read_tree(&areas));
	assert_int_equal(0, areas.n);

	t_tree_put("swaps", ZRAM3);
	assert_int_equal(0, read_tree(&areas));
	assert_true(areas.v[0].is_zram);
	assert_int_equal(3, areas.v[0].zram_id);
	assert_false(areas.v[0].has_zram); /* its folder has no numbers */
	assert_false(umem_swap_in_memory(&areas));

	t_tree_put("sys/block/zram3/mm_stat", "   10   20   30    0   50   60   70   80   90\n");
	assert_int_equal(0, read_tree(&areas));
	assert_true(areas.v[0].has_zram);
	assert_int_equal(10, areas.v[0].zram.orig_bytes);
	assert_int_equal(20, areas.v[0].zram.compr_bytes);
	assert_int_equal(30, areas.v[0].zram.mem_used_bytes);
	assert_int_equal(60, areas.v[0].zram.same_pages);
	assert_int_equal(80, areas.v[0].zram.huge_pages);
	assert_false(areas.v[0].zram.backed);
	assert_true(umem_swap_in_memory(&areas));

	/* A device behind it matters once something lies there. */
	t_tree_put("sys/block/zram3/backing_dev", "none\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].zram.backed);
	t_tree_put("sys/block/zram3/backing_dev", "/dev/vda3\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].has_zram); /* no bd_stat: cannot be told */
	assert_false(umem_swap_in_memory(&areas));
	t_tree_put("sys/block/zram3/bd_stat", "       0        0        0\n");
	assert_int_equal(0, read_tree(&areas));
	assert_true(areas.v[0].zram.backed);
	assert_true(umem_swap_in_memory(&areas));
	t_tree_put("sys/block/zram3/bd_stat", "       7        1        9\n");
	assert_int_equal(0, read_tree(&areas));
	assert_int_equal(7 * 4096, areas.v[0].zram.written_back_bytes);
	assert_false(umem_swap_in_memory(&areas));
	t_tree_put("sys/block/zram3/bd_stat", "18446744073709551615 1 1\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].has_zram);

	/* Hostile numbers. */
	t_tree_put("sys/block/zram3/backing_dev", "none\n");
	t_tree_put("sys/block/zram3/mm_stat", "10 20 30 0 50 60 70\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].has_zram);
	t_tree_put("sys/block/zram3/mm_stat", "10 20 30 0 50 60 70 99999999999999999999\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].has_zram);
	t_tree_put("sys/block/zram3/mm_stat", "10 20 30 0 50 60 70 80\n");

	t_tree_put("swaps", TITLE "/dev/zram3 partition 9");
	assert_int_equal(-EBADMSG, read_tree(&areas));
	assert_int_equal(0, areas.n);
	umem_swap_areas_deinit(&areas);
}

static void mixed(void **state)
{
	struct umem_swap_areas areas = { 0 };

	/* A file of that name is none; neither are these names. */
	t_tree_put("swaps", TITLE "/srv/zram3 file\t10\t1\t-2\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].is_zram);
	assert_false(umem_swap_in_memory(&areas));
	t_tree_put("swaps", TITLE "/dev/zram partition 10 1 1\n/dev/zram3p1 partition 10 1 1\n"
		"/dev/xzram3 partition 10 1 1\n/dev/zram9999999999 partition 10 1 1\n");
	assert_int_equal(0, read_tree(&areas));
	for (size_t i = 0; i < areas.n; i++)
		assert_false(areas.v[i].is_zram);

	/* A disk beside zram counts as soon as it is used. */
	t_tree_put("swaps", ZRAM3 "/dev/sda2 partition 10 0 -3\n");
	assert_int_equal(0, read_tree(&areas));
	assert_true(umem_swap_in_memory(&areas));
	t_tree_put("swaps", ZRAM3 "/dev/sda2 partition 10 4 -3\n");
	assert_int_equal(0, read_tree(&areas));
	assert_false(umem_swap_in_memory(&areas));
	umem_swap_areas_deinit(&areas);
}

/* The device's number counts, not its name; the kernel has no such device. */
static void by_number(void **state)
{
	const char *node = t_tree_path("zram5"), *link = t_tree_path("sys/dev/block/253:1048000");
	const dev_t dev = makedev(253, 1048000);
	struct umem_swap_areas areas = { 0 };
	char text[PATH_MAX];

	t_tree_folder("sys/dev/block");
	if (mknod(node, S_IFBLK | 0600, dev) < 0) {
		print_message("no block nodes can be made here\n");
		skip();
	}
	snprintf(text, sizeof(text), TITLE "%s partition 10 4 -3\n", node);
	t_tree_put("swaps", text);
	assert_int_equal(0, read_tree(&areas));
	assert_int_equal(5, areas.v[0].zram_id); /* /sys does not know it: by name */
	assert_int_equal(0, symlink("../../devices/virtual/block/zram3", link));
	assert_int_equal(0, read_tree(&areas));
	assert_true(areas.v[0].is_zram && areas.v[0].has_zram);
	assert_int_equal(3, areas.v[0].zram_id);
	assert_int_equal(0, unlink(link));
	assert_int_equal(0, symlink("../../devices/pci0000:00/block/sda", link));
	assert_int_equal(0, read_tree(&areas));
	assert_false(areas.v[0].is_zram);
	umem_swap_areas_deinit(&areas);
}

static void this_machine(void **state)
{
	struct umem_swap_areas areas = { 0 };

	assert_int_equal(0, umem_swap_areas_read(NULL, NULL, &areas));
	for (size_t i = 0; i < areas.n; i++)
		assert_true(areas.v[i].path[0] == '/' && areas.v[i].size_bytes > 0);
	umem_swap_areas_deinit(&areas);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_text),
		cmocka_unit_test(hostile),
		cmocka_unit_test(zram),
		cmocka_unit_test(mixed),
		cmocka_unit_test(by_number),
		cmocka_unit_test(this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
