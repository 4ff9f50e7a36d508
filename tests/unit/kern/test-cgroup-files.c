// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The files of a cgroup, in a tree that stands in for both versions: processes,
 * usage, limits, commands to reclaim and what they answer.
 */
#include "lib/kern/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

#define CGROUP UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup
#define GB     (1ull << 30)

/* Version 2: the group a with the memory controller, and b below it without. */
static void unified(void)
{
	t_tree_put("sys/cg/a/cgroup.controllers", "memory pids\n");
	t_tree_put("sys/cg/a/cgroup.procs", "");
	t_tree_put("sys/cg/a/memory.current", "8192\n");
	t_tree_put("sys/cg/a/memory.max", "max\n");
	t_tree_put("sys/cg/a/memory.swap.max", "20480\n");
	t_tree_put("sys/cg/a/memory.swap.current", "4096\n");
	t_tree_put("sys/cg/a/b/cgroup.controllers", "\n");
	t_tree_put("sys/cg/a/b/cgroup.procs", "70\n");
}

static int fresh(void **state)
{
	t_tree_folder("sys/cg");
	t_tree_drop("sys");
	return 0;
}

static int open_group(const char *name, struct umem_cgroup *cgroup)
{
	char path[64];

	snprintf(path, sizeof(path), "sys/cg/%s", name);
	return umem_cgroup_open(t_tree_path("proc"), t_tree_path(path), cgroup, NULL);
}

static void processes(void **state)
{
	struct umem_cgroup_pids pids = { 0 };
	CGROUP cgroup = UMEM_CGROUP_NONE;

	unified();
	assert_int_equal(0, open_group("a", &cgroup));
	t_tree_put("sys/cg/a/cgroup.procs", "30\n10\n0\n");
	t_tree_put("sys/cg/a/b/cgroup.procs", "10\n70\n0\n");
	t_tree_put("sys/cg/a/c/d/cgroup.procs", "2147483647\n20\n10\n");
	t_tree_put("sys/cg/a/c/cgroup.procs", "");
	t_tree_folder("sys/cg/a/half-made");
	assert_int_equal(0, symlink(t_tree_path("sys"), t_tree_path("sys/cg/a/link")));
	assert_int_equal(0, umem_cgroup_pids(&cgroup, 100, &pids));
	assert_int_equal(5, pids.n);
	assert_memory_equal(((int[]){ 10, 20, 30, 70, 2147483647 }), pids.v, 5 * sizeof(int));
	assert_int_equal(2, pids.n_unseen);

	assert_int_equal(0, umem_cgroup_pids(&cgroup, 5, &pids));
	assert_int_equal(5, pids.n);
	for (size_t max = 0; max < 5; max++) {
		assert_int_equal(UMEM_CGROUP_MORE, umem_cgroup_pids(&cgroup, max, &pids));
		assert_int_equal(max, pids.n);
		for (size_t i = 1; i < max; i++)
			assert_true(pids.v[i - 1] < pids.v[i]);
	}

	for (const char *const *bad = (const char *const[]){ "x\n", "-1\n", "1 2\n", "\n",
		     "2147483648\n", "99999999999999999999\n", NULL }; *bad; bad++) {
		t_tree_put("sys/cg/a/b/cgroup.procs", *bad);
		assert_int_equal(-EBADMSG, umem_cgroup_pids(&cgroup, 100, &pids));
		assert_int_equal(0, pids.n);
	}
	t_tree_drop("sys/cg/a");
	assert_int_equal(-ENODEV, umem_cgroup_pids(&cgroup, 100, &pids));
	umem_cgroup_pids_deinit(&pids);
}

static void too_deep(void **state)
{
	struct umem_cgroup_pids pids = { 0 };
	CGROUP cgroup = UMEM_CGROUP_NONE;
	char name[600] = "sys/cg/a", file[640];

	unified();
	for (int i = 0; i < 66; i++) {
		strcat(name, "/l");
		snprintf(file, sizeof(file), "%s/cgroup.procs", name);
		t_tree_put(file, i == 65 ? "500\n" : "");
	}
	assert_int_equal(0, open_group("a", &cgroup));
	assert_int_equal(UMEM_CGROUP_MORE, umem_cgroup_pids(&cgroup, 100, &pids));
	assert_int_equal(1, pids.n);
	assert_int_equal(70, pids.v[0]);
	umem_cgroup_pids_deinit(&pids);
}

static void usage_v2(void **state)
{
	struct umem_cgroup_usage usage = { .memory_bytes = 4711 };
	CGROUP cgroup = UMEM_CGROUP_NONE;

	unified();
	assert_int_equal(0, open_group("a/b", &cgroup));
	assert_false(cgroup.has_memory);
	assert_int_equal(-EOPNOTSUPP, umem_cgroup_usage(&cgroup, &usage));
	assert_int_equal(4711, usage.memory_bytes);
	t_tree_put("sys/cg/a/b/memory.current", "123\n");
	t_tree_put("sys/cg/a/b/memory.max", "4096\n");
	assert_int_equal(0, umem_cgroup_usage(&cgroup, &usage));
	assert_int_equal(123, usage.memory_bytes);
	assert_int_equal(4096, usage.memory_max_bytes);
	assert_false(usage.has_swap);
	assert_true(usage.swap_room_bytes == UINT64_MAX && usage.memsw_max_bytes == UINT64_MAX);

	/* No limit of its own, but one above. */
	t_tree_put("sys/cg/a/b/memory.swap.current", "8\n");
	t_tree_put("sys/cg/a/b/memory.swap.max", "max\n");
	assert_int_equal(0, umem_cgroup_usage(&cgroup, &usage));
	assert_true(usage.has_swap);
	assert_int_equal(8, usage.swap_bytes);
	assert_int_equal(20480 - 4096, usage.swap_room_bytes);
	t_tree_put("sys/cg/a/b/memory.swap.max", "4096\n");
	assert_int_equal(0, umem_cgroup_usage(&cgroup, &usage));
	assert_int_equal(4096 - 8, usage.swap_room_bytes);
	t_tree_put("sys/cg/a/memory.swap.current", "20481\n");
	assert_int_equal(0, umem_cgroup_usage(&cgroup, &usage));
	assert_int_equal(0, usage.swap_room_bytes);

	for (const char *const *bad = (const char *const[]){ "", "max", "1", "x\n", "-1\n", "1 \n",
		     "maxx\n", "18446744073709551616\n", NULL }; *bad; bad++) {
		t_tree_put("sys/cg/a/b/memory.max", *bad);
		assert_int_equal(-EBADMSG, umem_cgroup_usage(&cgroup, &usage));
	}
	t_tree_drop("sys/cg/a");
	assert_int_equal(-ENODEV, umem_cgroup_usage(&cgroup, &usage));
}

static void usage_v1(void **state)
{
	struct umem_cgroup_usage usage;
	CGROUP cgroup = UMEM_CGROUP_NONE;

	t_tree_put("sys/cg/memory/g/cgroup.procs", "80\n");
	t_tree_put("sys/cg/memory/g/memory.usage_in_bytes", "40960\n");
	t_tree_put("sys/cg/memory/g/memory.limit_in_bytes", "9223372036854771712\n");
	t_tree_put("sys/cg/memory/g/memory.stat", "cache 1\nswap 5\ntotal_cache 2\n");
	assert_int_equal(0, open_group("memory/g", &cgroup));
	assert_int_equal(0, umem_cgroup_usage(&cgroup, &usage));
	assert_int_equal(40960, usage.memory_bytes);
	assert_true(usage.memory_max_bytes == UINT64_MAX);
	assert_false(usage.has_swap);
	t_tree_put("sys/cg/memory/g/memory.stat", "cache 1\nswap 5\ntotal_cache 2\ntotal_swap 7\n");
	t_tree_put("sys/cg/memory/g/memory.limit_in_bytes", "1073741824\n");
	t_tree_put("sys/cg/memory/g/memory.memsw.limit_in_bytes", "2147483648\n");
	assert_int_equal(0, umem_cgroup_usage(&cgroup, &usage));
	assert_true(usage.has_swap);
	assert_int_equal(7, usage.swap_bytes);
	assert_true(usage.memory_max_bytes == GB && usage.memsw_max_bytes == 2 * GB);
	assert_true(usage.swap_room_bytes == UINT64_MAX);
	t_tree_drop("sys/cg/memory/g/memory.stat");
	assert_int_equal(-EOPNOTSUPP, umem_cgroup_usage(&cgroup, &usage));
}

static void commands(void **state)
{
	CGROUP cgroup = UMEM_CGROUP_NONE;
	UMEM_FREE char *text = NULL;

	unified();
	assert_int_equal(0, open_group("a", &cgroup));
	assert_int_equal(-EOPNOTSUPP, umem_cgroup_reclaim(&cgroup, 1));
	assert_int_equal(-EOPNOTSUPP, umem_cgroup_force_empty(&cgroup));
	t_tree_put("sys/cg/a/memory.reclaim", "");
	assert_int_equal(0, umem_cgroup_reclaim(&cgroup, 0));
	assert_int_equal(0, umem_cgroup_reclaim(&cgroup, (64 << 20) + 5));
	assert_int_equal(0, umem_read_file(cgroup.fd, "memory.reclaim", 100, &text, NULL));
	assert_string_equal("33554432\n33554432\n5\n", text);
	t_tree_put("sys/cg/a/memory.force_empty", "");
	assert_int_equal(0, umem_cgroup_force_empty(&cgroup));
	t_tree_drop("sys/cg/a");
	assert_int_equal(-ENODEV, umem_cgroup_reclaim(&cgroup, 1));
	assert_int_equal(-ENODEV, umem_cgroup_force_empty(&cgroup));
}

/* From here on, a write(2) of 5 bytes answers EAGAIN, one of 6 EACCES. */
static void filter_writes(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { UMEM_ARRAY_LEN(filter), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(9);
}

static void answers(void **state)
{
	CGROUP cgroup = UMEM_CGROUP_NONE;
	int status;
	pid_t pid;

	unified();
	t_tree_put("sys/cg/a/memory.reclaim", "");
	assert_int_equal(0, open_group("a", &cgroup));
	pid = fork();
	if (pid == 0) {
		int bad = 0;

		filter_writes();
		bad |= umem_cgroup_reclaim(&cgroup, (32 << 20) + 4096) != UMEM_CGROUP_PARTIAL;
		bad |= (umem_cgroup_reclaim(&cgroup, 10000) != -EACCES) << 1;
		bad |= (umem_cgroup_reclaim(&cgroup, 100) != 0) << 2;
		_exit(bad);
	}
	assert_int_equal(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 9)
		skip();
	assert_int_equal(0, status);
}

static int full_pipe = -1;
static unsigned n_signals, drain_at;

static void on_alarm(int signo)
{
	char buf[4096];

	if (++n_signals == drain_at) {
		while (read(full_pipe, buf, sizeof(buf)) > 0)
			;
	}
}

/* A pipe that is full stands in for a file whose write takes long. */
static void signals(void **state)
{
	struct sigaction act = { .sa_handler = on_alarm }, old;
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } }, none = { 0 };
	const char *fifo = t_tree_path("sys/cg/a/memory.reclaim");
	CGROUP cgroup = UMEM_CGROUP_NONE;
	char buf[4096] = "";
	int writer;

	unified();
	assert_int_equal(0, open_group("a", &cgroup));
	assert_int_equal(0, mkfifo(fifo, 0600));
	full_pipe = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	writer = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(full_pipe >= 0 && writer >= 0);
	assert_int_equal(0, sigaction(SIGALRM, &act, &old));

	while (write(writer, buf, sizeof(buf)) > 0)
		;
	drain_at = 5;
	assert_int_equal(0, setitimer(ITIMER_REAL, &timer, NULL));
	assert_int_equal(0, umem_cgroup_reclaim(&cgroup, 4096));
	assert_true(n_signals >= drain_at);
	assert_int_equal(5, read(full_pipe, buf, sizeof(buf)));
	assert_memory_equal("4096\n", buf, 5);

	while (write(writer, buf, sizeof(buf)) > 0 || errno == EINTR)
		;
	n_signals = 0;
	drain_at = 0;
	assert_int_equal(-EINTR, umem_cgroup_reclaim(&cgroup, 4096));
	assert_true(n_signals >= 64);
	assert_int_equal(0, setitimer(ITIMER_REAL, &none, NULL));
	assert_int_equal(0, sigaction(SIGALRM, &old, NULL));
	close(full_pipe);
	close(writer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(processes, fresh),
		cmocka_unit_test_setup(too_deep, fresh),
		cmocka_unit_test_setup(usage_v2, fresh),
		cmocka_unit_test_setup(usage_v1, fresh),
		cmocka_unit_test_setup(commands, fresh),
		cmocka_unit_test_setup(answers, fresh),
		cmocka_unit_test_setup(signals, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
