// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mappings of ordinary files are watched by WP_ASYNC only; a shared mapping
 * that may never be written is refused; write-back does not disturb the bits.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 8

static int try(int uffd, const char *at, uint64_t mode)
{
	int err = umem_uffd_register(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE, mode);

	if (!err)
		T_OK(umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE));
	return err;
}

static void shared(int uffd, int pm, int fd)
{
	char *at = k_map(N * K_PAGE, MAP_SHARED, fd);

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	at[2 * K_PAGE] = 2;
	T_SYS(msync(at, N * K_PAGE, MS_SYNC)); /* makes the tables read-only */
	T_CHECK(k_written(pm, at, N * K_PAGE) == 1);
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	T_SYS(msync(at, N * K_PAGE, MS_SYNC));
	at[2 * K_PAGE] = 3;
	at[4 * K_PAGE] = 3;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);

	/* Dropped from the page cache and read again: clean. */
	T_SYS(msync(at, N * K_PAGE, MS_SYNC));
	T_SYS(madvise(at, N * K_PAGE, MADV_DONTNEED));
	T_SYS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	T_CHECK(at[4 * K_PAGE] == 3);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0);
	at[5 * K_PAGE] = 3;
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);
	/* Control: write(2) passes it by. */
	T_CHECK(pwrite(fd, "x", 1, 6 * K_PAGE) == 1);
	T_CHECK(at[6 * K_PAGE] == 'x' && k_written(pm, at, N * K_PAGE) == 0);
	munmap(at, N * K_PAGE);
}

int main(void)
{
	int async = k_uffd(K_TRACK), sync = k_uffd(0), pm = k_pagemap();
	int file = k_file(N), read_only;
	char path[64], *private = k_map(N * K_PAGE, MAP_PRIVATE, file), *at;

	T_CHECK(try(async, private, UFFDIO_REGISTER_MODE_WP) == 0);
	T_CHECK(try(async, private, UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING) ==
		-EINVAL);
	T_CHECK(try(sync, private, UFFDIO_REGISTER_MODE_WP) == -EINVAL);
	T_CHECK(try(sync, private, UFFDIO_REGISTER_MODE_MISSING) == -EINVAL);
	/* Control: anonymous memory takes all of them. */
	T_CHECK(try(sync, k_anon(N * K_PAGE), UFFDIO_REGISTER_MODE_WP) == 0);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	read_only = (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
	at = mmap(NULL, N * K_PAGE, PROT_READ, MAP_SHARED, read_only, 0);
	T_CHECK(at != MAP_FAILED);
	T_CHECK(try(async, at, UFFDIO_REGISTER_MODE_WP) == -EPERM);
	at = mmap(NULL, N * K_PAGE, PROT_READ, MAP_PRIVATE, read_only, 0);
	T_CHECK(at != MAP_FAILED);
	T_CHECK(try(async, at, UFFDIO_REGISTER_MODE_WP) == 0);
	shared(async, pm, file);
	return 0;
}
