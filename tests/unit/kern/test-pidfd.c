// SPDX-License-Identifier: LGPL-2.1-or-later
/* Processes by pidfd: the stat parser's cases, and the calls on real processes. */
#include "lib/kern/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define TAIL " 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10 11 12 13 14 15 16" \
	     " 17 18 19 20 0 0 0 17 3 0 0 0 0 0\n"

static int parse(const char *text, struct umem_proc_stat *stat)
{
	return umem_proc_stat_parse(text, strlen(text), stat);
}

static void names(void **state)
{
	struct umem_proc_stat stat;

	assert_int_equal(0, parse("42 (cat) S" TAIL, &stat));
	assert_string_equal("cat", stat.comm);
	assert_int_equal('S', stat.state);
	assert_int_equal(777, stat.start_ticks);
	assert_int_equal(3, stat.last_cpu);
	assert_int_equal(1, stat.min_flt);
	assert_int_equal(3, stat.maj_flt);
	assert_int_equal(5, stat.utime_ticks);
	assert_int_equal(6, stat.stime_ticks);
	assert_int_equal(7, stat.cutime_ticks);
	assert_int_equal(8, stat.cstime_ticks);
	assert_int_equal(1, stat.ppid);
	assert_int_equal(2, stat.pgrp);
	assert_int_equal(3, stat.sid);
	assert_false(stat.kernel_thread || stat.io_worker || stat.user_worker);

	assert_int_equal(0, parse("42 () R" TAIL, &stat));
	assert_string_equal("", stat.comm);
	assert_int_equal(0, parse("42 (a) R 1 (b) c\n) Z" TAIL, &stat));
	assert_string_equal("a) R 1 (b) c\n", stat.comm);
	assert_int_equal('Z', stat.state);
	assert_int_equal(0, parse("2 (kworker/0:1H-some+name that is longer than what is kept here"
				  " of it) I 1 2 3 0 -1 69238880 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10"
				  " 11 12 13 14 15 16 17 18 19 20 0 0 0 17 0 0\n", &stat));
	assert_int_equal(63, strlen(stat.comm));
	assert_true(stat.kernel_thread);
	assert_int_equal(0, stat.last_cpu);
}

/* A worker of an io_uring, one of another kind, a process that is being reaped. */
static void workers(void **state)
{
	struct umem_proc_stat stat;

	assert_int_equal(0, parse("42 (iou-wrk-7) S 1 2 3 0 -1 4210768 1 2 3 4 5 6 7 8 20 0 1 0"
				  " 777 9 10 11 12 13 14 15 16 17 18 19 20 0 0 0 17 3 0", &stat));
	assert_true(stat.io_worker && stat.user_worker && !stat.kernel_thread);
	assert_int_equal(0, parse("42 (vhost-7) S 1 2 3 0 -1 4210752 1 2 3 4 5 6 7 8 20 0 1 0"
				  " 777 9 10 11 12 13 14 15 16 17 18 19 20 0 0 0 17 3 0", &stat));
	assert_true(stat.user_worker && !stat.io_worker);
	assert_int_equal(0, parse("42 (cat) Z 0 -1 -1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10 11"
				  " 12 13 14 15 16 17 18 19 20 0 0 0 17 3 0", &stat));
	assert_int_equal(0, stat.pgrp);
	assert_int_equal(0, stat.sid);
}

static void refused(void **state)
{
	static const char *const bad[] = {
		"", "42", "42 (cat", "42 cat) S" TAIL, ")42 (cat S" TAIL, "42 (cat)", "42 (cat) ",
		"42 (cat) S", "42 (cat) S 1 2 3", "42 (cat)S" TAIL, "42 (cat)  S" TAIL,
		"42 (cat) SS" TAIL,
		"42 (cat) S 1 2 3 0 -1 x 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10 11 12 13 14 15 16"
		" 17 18 19 20 0 0 0 17 3 0",
		"42 (cat) S 1 2 3 0 -1 0 1 2 x 4 5 6 7 8 20 0 1 0 777 9 10 11 12 13 14 15 16"
		" 17 18 19 20 0 0 0 17 3 0",
		"42 (cat) S 1 2 3 0 -1 0 1 2 3 4 5 -6 7 8 20 0 1 0 777 9 10 11 12 13 14 15 16"
		" 17 18 19 20 0 0 0 17 3 0",
		"42 (cat) S 1 2 3 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 -777 9 10 11 12 13 14 15 16"
		" 17 18 19 20 0 0 0 17 3 0",
		"42 (cat) S 1 2 3 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10 11 12 13 14 15 16"
		" 17 18 19 20 0 0 0 17 99999999999 0",
	};
	struct umem_proc_stat stat = { .start_ticks = 5 };
	const char *good = "42 (cat) S" TAIL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(-EBADMSG, parse(bad[i], &stat));
	/* Cut anywhere before the processor it is refused, and nothing is read past the cut. */
	for (size_t len = 0; len < strlen(good) - strlen("3 0 0 0 0 0\n"); len++)
		assert_int_equal(-EBADMSG, umem_proc_stat_parse(good, len, &stat));
	assert_int_equal(5, stat.start_ticks);
}

static void real(void **state)
{
	struct umem_proc_stat stat;

	assert_int_equal(0, umem_proc_stat_read(getpid(), 0, &stat));
	assert_int_equal('R', stat.state);
	assert_false(stat.kernel_thread);
	assert_true(stat.start_ticks > 0);
	assert_int_equal(0, umem_proc_stat_read(getpid(), getpid(), &stat));
	assert_int_equal(-ENOENT, umem_proc_stat_read(0x7fffffff, 0, &stat));
	if (umem_proc_stat_read(2, 0, &stat) == 0)
		assert_true(stat.kernel_thread);
}

static void life(void **state)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = { page, 4096 };
	int pidfd = -1, fd = -1, pipe_fds[2];
	uint64_t bytes = 0;
	pid_t pid;

	assert_int_equal(0, pipe2(pipe_fds, O_CLOEXEC));
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(0, umem_pidfd_open(pid, &pidfd));
	assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	assert_false(umem_pidfd_exited(pidfd));
	assert_int_equal(-EBADF, umem_pidfd_getfd(pidfd, 9999, &fd));
	assert_int_equal(-1, fd);
	assert_int_equal(0, umem_pidfd_getfd(pidfd, pipe_fds[1], &fd));
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(1, write(fd, "x", 1));
	close(fd);
	assert_int_equal(0, umem_pidfd_madvise(pidfd, &iov, 1, MADV_COLD, &bytes));
	assert_int_equal(4096, bytes);
	assert_int_equal(-EINVAL, umem_pidfd_madvise(pidfd, &iov, 1, 12345, &bytes));

	assert_int_equal(0, kill(pid, SIGKILL));
	assert_int_equal(0, waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
	assert_true(umem_pidfd_exited(pidfd)); /* a zombie */
	assert_int_equal(pid, waitpid(pid, NULL, 0));
	assert_true(umem_pidfd_exited(pidfd)); /* reaped */
	assert_int_equal(-ESRCH, umem_pidfd_getfd(pidfd, 0, &fd));
	close(pidfd);
	assert_int_equal(-ESRCH, umem_pidfd_open(0x3fffff, &pidfd));
	assert_int_equal(-EINVAL, umem_pidfd_open(-1, &pidfd));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(workers),
		cmocka_unit_test(refused),
		cmocka_unit_test(real),
		cmocka_unit_test(life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
