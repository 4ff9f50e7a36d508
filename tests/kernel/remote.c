// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A userfaultfd that another process made, fetched by pidfd_getfd, works from
 * here and acts on that process; so does a scan. After exec or exit of that
 * process both say that its memory is gone.
 */
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

struct shared {
	volatile int uffd;
	volatile int step;
	volatile int done;
	char *volatile at;
};

static void target(struct shared *shared)
{
	char *at = k_anon(N * K_PAGE);

	k_touch(at, N * K_PAGE, 1);
	shared->at = at;
	shared->uffd = k_uffd(K_TRACK);
	T_UNTIL(30, shared->step == 1);
	at[3 * K_PAGE] = 2;
	at[4 * K_PAGE] = 2;
	shared->done = 1;
	T_UNTIL(30, shared->step == 2);
	execl("/bin/sleep", "sleep", "60", (char *)NULL);
	_exit(1);
}

static bool replaced(pid_t pid)
{
	char path[40], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (file) {
		if (!fgets(name, sizeof(name), file))
			name[0] = 0;
		fclose(file);
	}
	return strcmp(name, "sleep\n") == 0;
}

static void gone(int uffd, int pm, char *at, const char *what)
{
	struct page_region vec[4];
	uint64_t word = 0, walk_end = 0;
	size_t n = 0;
	int reg = k_register(uffd, at, N * K_PAGE);
	int unreg = umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE);
	int wp = umem_uffd_protect(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE, 1);
	long scan = k_scan(pm, 0, at, N * K_PAGE, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 4,
		&walk_end);
	int words = umem_pagemap_words(pm, (uintptr_t)at, &word, 1, &n);

	k_fact("after %s: register %s, unregister %s, writeprotect %s, scan %s, "
	       "pagemap read %d with %zu words", what, strerror(-reg), strerror(-unreg),
		strerror(-wp), scan < 0 ? strerror((int)-scan) : "ok", words, n);
	/* userfaultfd_register() says ENOMEM when the memory is gone, not ESRCH. */
	T_CHECK(reg == -ENOMEM || reg == -ESRCH, "%d", reg);
	T_CHECK(unreg == -ENOMEM || unreg == -ESRCH, "%d", unreg);
	T_CHECK(wp == -ESRCH, "%d", wp);
	T_CHECK(scan == -ESRCH, "%ld", scan);
	T_CHECK(words == 0 && n == 0);
}

int main(void)
{
	struct shared *shared = (void *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	int uffd, pm = -1, pidfd;
	pid_t pid;
	char *at;

	close(k_uffd(K_TRACK));
	close(k_pagemap());
	shared->uffd = -1;
	pid = t_fork();
	if (pid == 0)
		target(shared);
	T_UNTIL(10, shared->uffd >= 0);
	at = shared->at;
	pidfd = (int)T_SYS(syscall(SYS_pidfd_open, pid, 0));
	uffd = (int)syscall(SYS_pidfd_getfd, pidfd, shared->uffd, 0);
	if (uffd < 0)
		T_SKIP("no pidfd_getfd: %s", strerror(errno));
	T_OK(umem_pagemap_open(pid, &pm));

	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0); /* control */
	shared->step = 1;
	T_UNTIL(10, shared->done == 1);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	T_OK(umem_uffd_protect(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE, 0));
	T_CHECK(k_written(pm, at, N * K_PAGE) == N);

	shared->step = 2;
	T_UNTIL(10, replaced(pid));
	gone(uffd, pm, at, "exec");
	close(pm);
	T_OK(umem_pagemap_open(pid, &pm));
	t_end(pid);
	gone(uffd, pm, at, "exit");
	return 0;
}
