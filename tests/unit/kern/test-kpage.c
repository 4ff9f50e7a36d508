// SPDX-License-Identifier: LGPL-2.1-or-later
/* Words of frames: any order against single reads, the end of the file, real frames. */
#include "lib/kern/kpage.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "lib/kern/pagemap.h"
#include "tests/lib/harness.h"

#define N_FRAMES 5000u
#define NONE     UMEM_KPF(NOPAGE)
#define PFN_MASK ((1ull << 55) - 1)

/* A file of the layout: frame i has the word i * 3 + 1. */
static int frames(void)
{
	int fd = memfd_create("frames", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (uint64_t i = 0; i < N_FRAMES; i++) {
		uint64_t word = i * 3 + 1;

		assert_int_equal(0, umem_write_all(fd, &word, sizeof(word)));
	}
	return fd;
}

static void check(int fd, const uint64_t *pfns, size_t n)
{
	UMEM_FREE uint64_t *words = malloc((n + 1) * sizeof(*words));

	assert_non_null(words);
	words[n] = 4711;
	assert_int_equal(0, umem_kpage_read(fd, pfns, n, NONE, words));
	for (size_t i = 0; i < n; i++)
		assert_true(words[i] == (pfns[i] < N_FRAMES ? pfns[i] * 3 + 1 : NONE));
	assert_int_equal(4711, words[n]);
}

static void orders(void **state)
{
	const uint64_t some[] = { 103, 102, 101, 106, 100, 100, 900, 4, 0, N_FRAMES - 1, 511, 512 };
	uint64_t seed = t_seed(), pfns[2000];
	int fd = frames();

	check(fd, some, 0);
	check(fd, some, UMEM_ARRAY_LEN(some));
	for (size_t i = 0; i < UMEM_ARRAY_LEN(pfns); i++)
		pfns[i] = i;
	check(fd, pfns, UMEM_ARRAY_LEN(pfns));
	for (size_t i = 0; i < UMEM_ARRAY_LEN(pfns); i++)
		pfns[i] = N_FRAMES + 20 - i;
	check(fd, pfns, UMEM_ARRAY_LEN(pfns));
	/* Steps of every size around what a window bears, up and down. */
	for (unsigned round = 0; round < 200; round++) {
		uint64_t at = t_below(&seed, N_FRAMES), reach = 1 + t_below(&seed, 40);

		for (size_t i = 0; i < UMEM_ARRAY_LEN(pfns); i++) {
			at = (at + N_FRAMES + t_below(&seed, 2 * reach) - reach) % N_FRAMES;
			pfns[i] = at;
		}
		check(fd, pfns, UMEM_ARRAY_LEN(pfns));
	}
	close(fd);
}

static void past_the_end(void **state)
{
	const uint64_t pfns[] = { N_FRAMES - 2, N_FRAMES - 1, N_FRAMES, N_FRAMES + 1, UINT64_MAX,
		UINT64_MAX - 1, INT64_MAX / 8, INT64_MAX / 8 - 1, INT64_MAX / 8 + 1, 1ull << 55 };
	uint64_t word = 5;
	int fd = frames();

	check(fd, pfns, UMEM_ARRAY_LEN(pfns));
	/* The last word is cut. */
	assert_int_equal(0, ftruncate(fd, N_FRAMES * 8 - 3));
	assert_int_equal(0, umem_kpage_read(fd, &pfns[1], 1, 0, &word));
	assert_int_equal(0, word);
	close(fd);
	word = 5;
	assert_int_equal(-EBADF, umem_kpage_read(-1, pfns, 1, 0, &word));
	assert_int_equal(5, word);
}

/* What one call a frame says. */
static uint64_t single(int fd, uint64_t pfn)
{
	uint64_t word = 0;

	assert_int_equal(8, pread(fd, &word, 8, (off_t)(pfn * 8)));
	return word;
}

#define PAGES 64u

/* The first page is read, and is the zero page; the others are written. */
static bool touch_all(int pm, char *at, uint64_t *pfns)
{
	bool all = true;
	size_t n = 0;

	(void)*(volatile char *)at;
	for (size_t i = 1; i < PAGES; i++)
		*(volatile char *)(at + i * 4096) = 1;
	assert_int_equal(0, umem_pagemap_words(pm, (uintptr_t)at, pfns, PAGES, &n));
	assert_int_equal(PAGES, n);
	for (size_t i = 0; i < PAGES; i++) {
		all = all && pfns[i] & UMEM_PM_PRESENT;
		pfns[i] &= PFN_MASK;
	}
	return all;
}

static void real(void **state)
{
	char *at = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
	uint64_t pfns[PAGES], flags[PAGES], counts[PAGES];
	int flags_fd = -1, count_fd = -1, pm = -1, r;

	assert_true(at != MAP_FAILED);
	assert_int_equal(0, madvise(at, PAGES * 4096, MADV_NOHUGEPAGE));
	r = umem_kpage_open(UMEM_KPAGE_FLAGS, &flags_fd);
	if (r < 0) {
		print_message("no kpageflags: %s\n", strerror(-r));
		skip();
	}
	assert_int_equal(0, umem_kpage_open(UMEM_KPAGE_COUNT, &count_fd));
	assert_int_equal(0, umem_pagemap_open(getpid(), &pm));
	/* Swap may be on, and somebody may page us out. */
	T_UNTIL(5, touch_all(pm, at, pfns));
	if (pfns[1] == 0) {
		print_message("frame numbers are hidden here\n");
		skip();
	}
	assert_int_equal(0, umem_kpage_read(flags_fd, pfns, PAGES, NONE, flags));
	assert_int_equal(0, umem_kpage_read(count_fd, pfns, PAGES, 0, counts));
	assert_true(flags[0] & UMEM_KPF(ZERO_PAGE));
	for (size_t i = 1; i < PAGES; i++) {
		assert_true(flags[i] & UMEM_KPF(ANON));
		assert_true(flags[i] & UMEM_KPF(SWAPBACKED));
		assert_false(flags[i] & (NONE | UMEM_KPF(ZERO_PAGE) | UMEM_KPF(KSM)));
		assert_true(counts[i] >= 1);
		assert_true((single(flags_fd, pfns[i]) & UMEM_KPF(ANON)) != 0);
	}
	close(flags_fd);
	close(count_fd);
	close(pm);
	munmap(at, PAGES * 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders),
		cmocka_unit_test(past_the_end),
		cmocka_unit_test(real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
