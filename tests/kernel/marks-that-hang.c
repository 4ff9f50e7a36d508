// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Two things that a program may do with a protected file mapping and that do
 * not end as long as it is protected: a fault at a mark in a locked mapping
 * when the page is not in the page cache, and MADV_GUARD_INSTALL over marks.
 * Both go on at once when the mapping is unregistered.
 *
 * Sources: filemap_fault_recheck_pte_none() (mm/filemap.c) takes any entry that
 * is not empty for a page, and returns VM_FAULT_NOPAGE; madvise_guard_install()
 * (mm/madvise.c) zaps until all entries are empty, and the zap of a file
 * mapping keeps marks.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define N 16

static atomic_int done;

static void *touch_locked(void *at)
{
	(void)*(volatile char *)at;
	done = 1;
	return NULL;
}

static void *install_guard(void *at)
{
	done = madvise(at, K_PAGE, MADV_GUARD_INSTALL) == 0 ? 1 : -errno;
	return NULL;
}

/* Runs @act in a thread on armed memory: does it end, and does it when unregistered? */
static void run(const char *what, char *at, void *(*act)(void *at))
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	pthread_t id;
	bool before;

	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	done = 0;
	T_CHECK(pthread_create(&id, NULL, act, at) == 0);
	for (int i = 0; i < 300 && !done; i++)
		t_msleep(1);
	before = done;
	T_OK(umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE));
	T_UNTIL(5, done);
	pthread_join(id, NULL);
	k_fact("%s: %s (%d)", what, before ? "ends" : "ends only when unregistered", done);
	close(uffd);
	close(pm);
}

int main(void)
{
	int fd = k_file(N);
	char *at;

	/* Locked without being populated, and out of the page cache. */
	T_SYS(fsync(fd));
	at = k_map(N * K_PAGE, MAP_PRIVATE, fd);
	T_SYS(mlock2(at, N * K_PAGE, MLOCK_ONFAULT));
	T_SYS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	run("a fault at a mark in a locked file mapping", at, touch_locked);

	at = k_map(N * K_PAGE, MAP_PRIVATE, fd);
	run("MADV_GUARD_INSTALL over marks of a file mapping", at, install_guard);
	at = k_map(N * K_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	run("MADV_GUARD_INSTALL over marks of anonymous memory", at, install_guard);
	return 0;
}
