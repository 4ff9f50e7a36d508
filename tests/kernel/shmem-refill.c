// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where shared memory has folios of several pages, a store into a hole makes its
 * neighbours data as well: of zeros, not mapped, with the marks that they had before the
 * punch. Neither a scan nor the file's extents show them; the counts of folios move.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define FOLIO (64ull << 10)
#define BYTES (2ull << 20)
#define STAT  "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/shmem_alloc"

static uint64_t folios(void)
{
	uint64_t n = 0;

	if (!k_read_u64(STAT, &n))
		T_SKIP("this kernel does not count the folios of shared memory");
	return n;
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap(), fd = k_memfd(BYTES);
	char *at = k_map_huge(BYTES, fd);
	uint64_t before;

	k_shmem_folios();
	T_SYS(madvise(at, BYTES, MADV_HUGEPAGE));
	before = folios();
	k_touch(at, BYTES, 1);
	k_fact("2 MiB touched: %llu folios of 64 kB", (unsigned long long)(folios() - before));
	if (folios() - before < BYTES / FOLIO)
		T_SKIP("no memory for folios of 64 kB");
	T_OK(k_register(uffd, at, BYTES));
	k_collect(pm, at, BYTES);

	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, FOLIO));
	T_CHECK(lseek(fd, 0, SEEK_DATA) == (off_t)FOLIO);
	before = folios();
	at[0] = 2;
	T_CHECK(lseek(fd, 0, SEEK_DATA) == 0 && lseek(fd, 0, SEEK_HOLE) == (off_t)BYTES);
	T_CHECK(folios() > before);
	k_fact("a store to the first of 16 punched pages: %zu WRITTEN, %zu mapped, all data",
		k_written(pm, at, FOLIO), k_count(pm, at, FOLIO, PAGE_IS_PRESENT));
	T_CHECK(k_written(pm, at, FOLIO) == 1);
	T_CHECK(k_count(pm, at, FOLIO, PAGE_IS_PRESENT) == 1);
	/* Reading maps the page under its old mark. */
	T_CHECK(at[5 * K_PAGE] == 0);
	T_CHECK(k_written(pm, at, FOLIO) == 1);
	return 0;
}
