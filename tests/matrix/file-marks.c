// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tracking leaves no marks in a private mapping of a file: only its written
 * pages are armed. (A fault at a mark in locked memory starts over for ever
 * when the file's page is not in the page cache, Linux 6.18.)
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <umemd/track.h>

#include "lib/kern/pagemap.h"
#include "tests/lib/harness.h"

#define PAGE  4096u
#define PAGES 64

int main(void)
{
	char path[] = "/var/tmp/umem-test-marks-XXXXXX", c = 0, *area;
	int cmd[2], reply[2], fd = (int)T_SYS(mkstemp(path)), pagemap_fd;
	struct umem_target *target;
	struct umem_watch *watch;
	const struct umem_round *round;
	uint64_t words[PAGES];
	size_t n, written = 0;
	pid_t pid;

	unlink(path);
	T_SYS(ftruncate(fd, PAGES * PAGE));
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	T_CHECK(area != MAP_FAILED);
	T_SYS(madvise(area, PAGES * PAGE, MADV_RANDOM)); /* no pages around a fault */
	T_SYS(pipe(cmd));
	T_SYS(pipe(reply));
	pid = t_fork();
	if (pid == 0) {
		for (int page = 3; page < 6; page++) {
			area[page * PAGE] = 1;
			if (write(reply[1], "", 1) != 1 || read(cmd[0], &c, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	T_CHECK(read(reply[0], &c, 1) == 1);
	T_OK(umem_target_attach(pid, NULL, &target, NULL));
	T_OK(umem_watch_new(target, NULL, &watch, NULL));
	for (int step = 1; step < 3; step++) {
		T_CHECK(write(cmd[1], "", 1) == 1 && read(reply[0], &c, 1) == 1);
		T_OK(umem_watch_collect(watch, &round, NULL));
	}
	T_OK(umem_pagemap_open(pid, &pagemap_fd));
	T_OK(umem_pagemap_words(pagemap_fd, (uintptr_t)area, words, PAGES, &n));
	T_CHECK(n == PAGES);
	for (int page = 0; page < PAGES; page++) {
		bool armed = words[page] & UMEM_PM_UFFD_WP;

		T_CHECK(armed == (page >= 3 && page < 6), "(page %d: %#llx)", page,
			(unsigned long long)words[page]);
		written += armed;
	}
	T_CHECK(written == 3);
	umem_watch_free(watch);
	umem_target_free(target);
	t_end(pid);
	return 0;
}
