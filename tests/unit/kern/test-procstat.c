// SPDX-License-Identifier: LGPL-2.1-or-later
/* Numbers of a process: texts in a folder of our own, and real processes. */
#include "lib/kern/procstat.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"

#define STAT "42 (a) R) S 1 2 3 0 -1 4194560 101 2 103 4 105 106 7 8 20 0 1 0 777 9 10 11 12 13" \
	     " 14 15 16 17 18 19 20 0 0 0 17 3 0 0 0 0 0\n"
#define SIZES "VmLck:\t       1 kB\nVmPin:\t       2 kB\nVmRSS:\t       9 kB\n" \
	      "RssAnon:\t       3 kB\nRssFile:\t       4 kB\nRssShmem:\t       5 kB\n" \
	      "VmSwap:\t       6 kB\n"
#define HEAD "Name:\tUid:\\n7\nUmask:\t0022\nUid:\t1000\t1001\t1002\t1003\n"

static void put(int dirfd, const char *name, const char *text)
{
	UMEM_FD int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(0, umem_write_all(fd, text, strlen(text)));
}

static void texts(void **state)
{
	char dir[] = "/tmp/umem-procstat-XXXXXX";
	struct umem_procstat stat = { .uid = 4711 };
	UMEM_FD int dirfd = -1;

	assert_non_null(mkdtemp(dir));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(-ENOENT, umem_procstat_read(dirfd, &stat));
	put(dirfd, "stat", "42 (cut");
	assert_int_equal(-EBADMSG, umem_procstat_read(dirfd, &stat));
	put(dirfd, "stat", STAT);
	assert_int_equal(-ENOENT, umem_procstat_read(dirfd, &stat));
	put(dirfd, "status", "Name:\ta\n" SIZES);
	assert_int_equal(-EBADMSG, umem_procstat_read(dirfd, &stat));
	put(dirfd, "status", "Uid:\t0\t4294967296\t0\t0\n");
	assert_int_equal(-EBADMSG, umem_procstat_read(dirfd, &stat));
	assert_int_equal(4711, stat.uid);

	put(dirfd, "status", HEAD SIZES);
	assert_int_equal(0, umem_procstat_read(dirfd, &stat));
	assert_int_equal(1001, stat.uid);
	assert_int_equal(101, stat.min_flt);
	assert_int_equal(103, stat.maj_flt);
	assert_true(stat.utime_ns == 105 * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK)));
	assert_true(stat.stime_ns == 106 * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK)));
	assert_int_equal(1024, stat.locked_bytes);
	assert_int_equal(2048, stat.pinned_bytes);
	assert_int_equal(3 * 1024, stat.rss_anon_bytes);
	assert_int_equal(4 * 1024, stat.rss_file_bytes);
	assert_int_equal(5 * 1024, stat.rss_shmem_bytes);
	assert_int_equal(6 * 1024, stat.swap_bytes);

	put(dirfd, "status", HEAD); /* a zombie */
	assert_int_equal(0, umem_procstat_read(dirfd, &stat));
	assert_int_equal(0, stat.rss_anon_bytes + stat.swap_bytes + stat.locked_bytes);
	assert_int_equal(0, unlinkat(dirfd, "stat", 0));
	assert_int_equal(0, unlinkat(dirfd, "status", 0));
	assert_int_equal(0, rmdir(dir));
}

static void real(void **state)
{
	const size_t len = 8u << 20;
	struct umem_procstat before, now;
	UMEM_FD int proc_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	assert_int_equal(0, madvise(at, len, MADV_NOHUGEPAGE));
	assert_int_equal(0, umem_procstat_read(proc_fd, &before));
	for (size_t i = 0; i < len; i += 4096)
		*(volatile char *)(at + i) = 1;
	assert_int_equal(0, umem_procstat_read(proc_fd, &now));
	assert_true(now.uid == geteuid());
	assert_true(now.min_flt >= before.min_flt + len / 4096);
	/* Older kernels show sizes that lag behind by some pages of each processor. */
	assert_true(now.rss_anon_bytes >= before.rss_anon_bytes + len / 2);
	assert_true(now.utime_ns + now.stime_ns >= before.utime_ns + before.stime_ns);
	munmap(at, len);
}

static void gone(void **state)
{
	struct umem_procstat stat;
	UMEM_FD int proc_fd = -1;
	char path[40];
	int r;
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	proc_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(proc_fd >= 0);
	assert_int_equal(0, umem_procstat_read(proc_fd, &stat));
	assert_true(stat.rss_anon_bytes + stat.rss_file_bytes > 0);
	assert_int_equal(0, kill(pid, SIGKILL));
	assert_int_equal(0, waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
	assert_int_equal(0, umem_procstat_read(proc_fd, &stat)); /* a zombie */
	assert_int_equal(0, stat.rss_anon_bytes + stat.rss_file_bytes);
	assert_int_equal(pid, waitpid(pid, NULL, 0));
	r = umem_procstat_read(proc_fd, &stat);
	assert_true(r == -ESRCH || r == -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),
		cmocka_unit_test(real),
		cmocka_unit_test(gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
