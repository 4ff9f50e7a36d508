// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory cgroups in a tree of files that stands in for both versions: finding the
 * folder of a process or of a name.
 */
#include "lib/kern/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

#define CGROUP UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup

/* A mountinfo of lines "ROOT PLACE-IN-TREE TYPE OPTIONS". */
static void mounted(const char *const (*lines)[4], size_t n)
{
	char text[4096] = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /proc rw\n";

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len,
			"%zu 21 0:%zu %s %s/%s rw,nosuid shared:%zu master:1 - %s cgroup %s\n",
			30 + i, 30 + i, lines[i][0], t_tree(), lines[i][1], i, lines[i][2],
			lines[i][3]);
	}
	t_tree_put("proc/self/mountinfo", text);
}

static void unified(void)
{
	static const char *const lines[][4] = { { "/", "sys/cg", "cgroup2", "rw,nsdelegate" } };

	mounted(lines, 1);
	t_tree_put("sys/cg/cgroup.controllers", "cpuset cpu io memory pids\n");
	t_tree_put("sys/cg/cgroup.procs", "1\n");
	t_tree_put("sys/cg/memory.reclaim", "");
	t_tree_put("sys/cg/a/cgroup.controllers", "memory pids\n");
	t_tree_put("sys/cg/a/cgroup.procs", "");
	t_tree_put("sys/cg/a/memory.current", "8192\n");
	t_tree_put("sys/cg/a/b/cgroup.controllers", "\n");
	t_tree_put("sys/cg/a/b/cgroup.procs", "70\n");
	t_tree_put("proc/70/cgroup", "0::/a/b\n");
}

static void hybrid(void)
{
	static const char *const lines[][4] = {
		{ "/", "sys/cg/cpu", "cgroup", "rw,cpu,cpuacct" },
		{ "/", "sys/cg/memory", "cgroup", "rw,memory" },
		{ "/", "sys/cg/unified", "cgroup2", "rw" },
	};

	mounted(lines, 3);
	t_tree_put("sys/cg/unified/cgroup.controllers", "hugetlb\n");
	t_tree_put("sys/cg/unified/cgroup.procs", "1\n");
	t_tree_put("sys/cg/memory/cgroup.procs", "1\n");
	t_tree_put("sys/cg/memory/memory.usage_in_bytes", "1\n");
	t_tree_put("sys/cg/memory/g/cgroup.procs", "80\n");
	t_tree_put("sys/cg/memory/g/memory.usage_in_bytes", "40960\n");
	t_tree_put("sys/cg/unified/u/cgroup.controllers", "\n");
	t_tree_put("sys/cg/unified/u/cgroup.procs", "80\n");
	t_tree_put("proc/80/cgroup", "4:memory:/g\n3:cpu,cpuacct:/elsewhere\n0::/u\n");
}

static int fresh(void **state)
{
	t_tree_folder("sys/cg");
	t_tree_folder("proc/self");
	t_tree_drop("sys");
	t_tree_drop("proc");
	return 0;
}

static int of(int pid, struct umem_cgroup *cgroup, struct umem_note *note)
{
	return umem_cgroup_of(t_tree_path("proc"), pid, cgroup, note);
}

static int open_by(const char *path, struct umem_cgroup *cgroup, struct umem_note *note)
{
	umem_note_clear(note);
	return umem_cgroup_open(t_tree_path("proc"), path, cgroup, note);
}

static void process_v2(void **state)
{
	CGROUP cgroup = UMEM_CGROUP_NONE;
	struct umem_note note = { 0 };

	unified();
	/* Its own folder has no controller: what is above is charged. */
	assert_int_equal(0, of(70, &cgroup, &note));
	assert_int_equal(2, cgroup.version);
	assert_true(cgroup.has_memory);
	assert_string_equal(t_tree_path("sys/cg/a"), cgroup.path);
	assert_true(cgroup.psi_fd >= 0);
	assert_true(fcntl(cgroup.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(cgroup.psi_fd, F_GETFD) & FD_CLOEXEC);
	umem_cgroup_deinit(&cgroup);

	/* None has up to the root, which has no counters but can reclaim. */
	t_tree_drop("sys/cg/a/memory.current");
	assert_int_equal(0, of(70, &cgroup, &note));
	assert_string_equal(t_tree_path("sys/cg"), cgroup.path);
	assert_true(cgroup.has_memory);
	umem_cgroup_deinit(&cgroup);
	assert_int_equal(0, note.err);
}

static void process_v1(void **state)
{
	CGROUP cgroup = UMEM_CGROUP_NONE;
	struct umem_psi psi;

	hybrid();
	assert_int_equal(0, of(80, &cgroup, NULL));
	assert_int_equal(1, cgroup.version);
	assert_true(cgroup.has_memory);
	assert_string_equal(t_tree_path("sys/cg/memory/g"), cgroup.path);
	/* Its pressure is where it is in version 2. */
	assert_int_equal(-ENOENT, umem_cgroup_psi(&cgroup, &psi));
	t_tree_put("sys/cg/unified/u/memory.pressure",
		"some avg10=1.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.50 total=4\n");
	assert_int_equal(0, umem_cgroup_psi(&cgroup, &psi));
	assert_int_equal(9, psi.some.total_us);
	assert_int_equal(50, psi.full.avg10);
	umem_cgroup_deinit(&cgroup);

	/* In the root of version 2 it has none of its own. */
	t_tree_put("proc/80/cgroup", "0::/\n4:cpu,memory,x:/g\n");
	t_tree_put("sys/cg/unified/memory.pressure",
		"some avg10=1.00 total=9\nfull avg10=0.50 total=4\n");
	assert_int_equal(0, of(80, &cgroup, NULL));
	assert_int_equal(-1, cgroup.psi_fd);
	assert_int_equal(-ENOENT, umem_cgroup_psi(&cgroup, &psi));
	t_tree_drop("sys/cg/memory/g/cgroup.procs");
	assert_int_equal(-ENODEV, umem_cgroup_psi(&cgroup, &psi));
}

static void process_refused(void **state)
{
	static const struct {
		const char *text;
		int err;
	} cases[] = {
		{ "", -EBADMSG }, { "0::/a\n", -EBADMSG }, { "4:memory:g\n", -EBADMSG },
		{ "4:memory\n", -EBADMSG }, { "memory:/g\n", -EBADMSG },
		{ "4:xmemory:/g\n", -EBADMSG }, { "4:memory:/gone\n", -EXDEV },
		{ "4:memory:/g (deleted)\n", -EXDEV }, { "4:memory:/../g\n", -EXDEV },
		{ "4:memory:/g/..\n", -EXDEV }, { "4:memory:/g/../g\n", -EXDEV },
	};
	CGROUP cgroup = UMEM_CGROUP_NONE;
	struct umem_note note;

	hybrid();
	t_tree_folder("sys/cg/memory/no-cgroup");
	for (size_t i = 0; i < UMEM_ARRAY_LEN(cases); i++) {
		umem_note_clear(&note);
		t_tree_put("proc/80/cgroup", cases[i].text);
		assert_int_equal(cases[i].err, of(80, &cgroup, &note));
		assert_int_equal(-1, cgroup.fd);
		assert_int_equal(cases[i].err, note.err);
	}
	/* Dots in a name are a name. */
	t_tree_put("sys/cg/memory/..g/a..b/cgroup.procs", "");
	t_tree_put("proc/80/cgroup", "4:memory:/..g/a..b\n");
	assert_int_equal(0, of(80, &cgroup, NULL));
	assert_false(cgroup.has_memory);
	umem_cgroup_deinit(&cgroup);
	umem_note_clear(&note);
	assert_int_equal(-ESRCH, of(81, &cgroup, &note));
	assert_non_null(strstr(note.text, "81"));

	umem_note_clear(&note);
	mounted(NULL, 0);
	assert_int_equal(-EOPNOTSUPP, of(80, &cgroup, &note));
	assert_non_null(strstr(note.text, "no cgroup hierarchy"));
	t_tree_drop("proc/self/mountinfo");
	assert_int_equal(-ENOENT, of(80, &cgroup, NULL));
}

/* A container: its mount shows a part, or its namespace gives paths outside of it. */
static void part_of_the_tree(void **state)
{
	static const char *const lines[][4] = {
		{ "/other", "sys/other", "cgroup", "rw,memory" },
		{ "/pod/x\\040y", "sys/my\\040cg", "cgroup", "rw,memory" },
	};
	CGROUP cgroup = UMEM_CGROUP_NONE;

	mounted(lines, 2);
	t_tree_put("sys/my cg/in/cgroup.procs", "");
	t_tree_put("sys/my cg/cgroup.procs", "");
	t_tree_put("proc/80/cgroup", "4:memory:/pod/x y/in\n");
	assert_int_equal(0, of(80, &cgroup, NULL));
	assert_string_equal(t_tree_path("sys/my cg/in"), cgroup.path);
	umem_cgroup_deinit(&cgroup);
	t_tree_put("proc/80/cgroup", "4:memory:/pod/x y\n");
	assert_int_equal(0, of(80, &cgroup, NULL));
	assert_string_equal(t_tree_path("sys/my cg"), cgroup.path);
	umem_cgroup_deinit(&cgroup);
	t_tree_put("proc/80/cgroup", "4:memory:/pod/x yz/in\n");
	assert_int_equal(-EXDEV, of(80, &cgroup, NULL));
	t_tree_put("proc/80/cgroup", "4:memory:/\n");
	assert_int_equal(-EXDEV, of(80, &cgroup, NULL));

	/* By name, from the root of all or from what is to be seen. */
	assert_int_equal(0, open_by("/pod/x y/in", &cgroup, NULL));
	assert_string_equal(t_tree_path("sys/my cg/in"), cgroup.path);
	umem_cgroup_deinit(&cgroup);
	assert_int_equal(0, open_by("in/", &cgroup, NULL));
	assert_string_equal(t_tree_path("sys/my cg/in"), cgroup.path);
}

static void hostile_mountinfo(void **state)
{
	static const char *const bad[] = {
		"", "\n", "1 2 3\n", "1 2 3 / \\1 rw - cgroup2 a rw\n", "1 2 3 / /x rw\n",
		"1 2 3 / /x rw - \n", "1 2 3 / /x rw - cgroup2\n", "1 2 3 / /x rw - cgroup2 a\n",
		"1 2 3 / /x rw - cgroup a rw,memor\n", "1 2 3 / /x rw - cgroup a rw,memoryy\n",
		"1 2 3 / /x rw - tmpfs memory memory\n", "- - - - - - - -\n",
	};
	CGROUP cgroup = UMEM_CGROUP_NONE;

	t_tree_put("proc/80/cgroup", "4:memory:/g\n0::/g\n");
	for (size_t i = 0; i < UMEM_ARRAY_LEN(bad); i++) {
		t_tree_put("proc/self/mountinfo", bad[i]);
		assert_int_equal(-EOPNOTSUPP, of(80, &cgroup, NULL));
	}
}

static void by_name(void **state)
{
	CGROUP cgroup = UMEM_CGROUP_NONE;
	struct umem_note note = { 0 };

	hybrid();
	assert_int_equal(0, open_by(t_tree_path("sys/cg/memory/g"), &cgroup, &note));
	assert_int_equal(1, cgroup.version);
	assert_true(cgroup.has_memory);
	assert_int_equal(-1, cgroup.psi_fd);
	umem_cgroup_deinit(&cgroup);
	assert_int_equal(0, open_by("/g", &cgroup, &note));
	assert_string_equal(t_tree_path("sys/cg/memory/g"), cgroup.path);
	umem_cgroup_deinit(&cgroup);
	assert_int_equal(0, open_by("g///", &cgroup, &note));
	assert_string_equal(t_tree_path("sys/cg/memory/g"), cgroup.path);
	umem_cgroup_deinit(&cgroup);
	/* Only in version 2: processes and pressure, no memory. */
	assert_int_equal(0, open_by("u", &cgroup, &note));
	assert_int_equal(2, cgroup.version);
	assert_false(cgroup.has_memory);
	assert_true(cgroup.psi_fd >= 0);
	umem_cgroup_deinit(&cgroup);

	assert_int_equal(-ENOENT, open_by("no", &cgroup, &note));
	assert_non_null(strstr(note.text, "sys/cg/memory"));
	assert_int_equal(-ENOENT, open_by("/no/such", &cgroup, &note));
	assert_int_equal(-ENOENT, open_by("", &cgroup, &note));
	assert_int_equal(-ENOENT, open_by("../memory/g", &cgroup, &note));
	t_tree_folder("sys/plain");
	assert_int_equal(-EINVAL, open_by(t_tree_path("sys/plain"), &cgroup, &note));
	assert_non_null(strstr(note.text, "no cgroup.procs"));
	t_tree_folder("sys/cg/memory/plain");
	assert_int_equal(-EINVAL, open_by("plain", &cgroup, &note));
	assert_int_equal(-ENOTDIR, open_by(t_tree_path("sys/cg/memory/cgroup.procs"), &cgroup,
		&note));
	assert_int_equal(-1, cgroup.fd);
	t_tree_put("proc/self/mountinfo", "");
	assert_int_equal(-ENOENT, open_by("g", &cgroup, &note));
	assert_non_null(strstr(note.text, "no cgroup hierarchy"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(process_v2, fresh),
		cmocka_unit_test_setup(process_v1, fresh),
		cmocka_unit_test_setup(process_refused, fresh),
		cmocka_unit_test_setup(part_of_the_tree, fresh),
		cmocka_unit_test_setup(hostile_mountinfo, fresh),
		cmocka_unit_test_setup(by_name, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
