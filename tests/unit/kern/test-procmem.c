// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading a child's memory: many runs, holes, protections, both interfaces. */
#include "lib/kern/procmem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

#define PAGE 4096u
#define N    4096u

/* Laid out alike in the child by fork; the child's content is of generation 1. */
static uint8_t *area;
static bool mapped[N];
static pid_t child;
static int mem_fd = -1;

static int start(void **state)
{
	uint64_t rng = t_seed();
	int ready[2];
	char byte;

	area = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_CHECK(area != MAP_FAILED);
	for (uint64_t i = 0; i < N; i++)
		mapped[i] = i < 64 || t_below(&rng, 8) != 0;
	T_SYS(pipe(ready));
	child = t_fork();
	if (child == 0) {
		for (uint64_t i = 0; i < N; i++) {
			if (mapped[i])
				t_fill_page(area + i * PAGE, i, 1);
			else
				T_SYS(munmap(area + i * PAGE, PAGE));
		}
		/* pages 8 and 9: not readable by the child itself */
		T_SYS(mprotect(area + 8 * PAGE, 2 * PAGE, PROT_NONE));
		T_CHECK(write(ready[1], "x", 1) == 1);
		pause();
	}
	T_CHECK(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	T_OK(umem_procmem_open(child, &mem_fd));
	return 0;
}

static bool readable(uint64_t i, enum umem_procmem_method method)
{
	return mapped[i] && (method != UMEM_PROCMEM_READV || (i != 8 && i != 9));
}

/* What the runs must give, from the model; compared with what they gave. */
static void check_runs(const struct umem_range *runs, size_t n, enum umem_procmem_method method)
{
	struct umem_ranges holes = { 0 }, want = { 0 };
	uint64_t base = (uintptr_t)area, len = 0, at = 0;

	for (size_t i = 0; i < n; i++)
		len += runs[i].end - runs[i].start;
	uint8_t *buf = malloc(len + 1);

	memset(buf, 0xee, len + 1);
	T_OK(umem_procmem_read(child, mem_fd, method, runs, n, buf, &holes));
	for (size_t i = 0; i < n; i++) {
		for (uint64_t a = runs[i].start; a < runs[i].end; a++, at++) {
			uint64_t page = (a - base) / PAGE;
			bool ok = readable(page, method);
			uint8_t byte = ok ? t_pattern(page, (a - base) % PAGE, 1) : 0;

			T_CHECK(buf[at] == byte, "page %lu", (long)page);
			if (!ok)
				T_OK(umem_ranges_add(&want, a, a + 1));
		}
	}
	T_CHECK(buf[len] == 0xee);
	T_CHECK(want.n == holes.n && (want.n == 0 ||
			memcmp(want.v, holes.v, want.n * sizeof(*want.v)) == 0));
	umem_ranges_deinit(&want);
	umem_ranges_deinit(&holes);
	free(buf);
}

static void random_runs(void **state)
{
	uint64_t rng = t_seed(), base = (uintptr_t)area;
	struct umem_range *runs = calloc(3000, sizeof(*runs));

	for (int round = 0; round < 60; round++) {
		size_t n = t_below(&rng, round % 10 ? 30 : 3000);
		bool whole = round & 1;

		for (size_t i = 0; i < n; i++) {
			uint64_t a = t_below(&rng, (N - 20) * PAGE), l = t_below(&rng, 9000);

			if (whole) {
				a &= ~(uint64_t)(PAGE - 1);
				l &= ~(uint64_t)(PAGE - 1);
			}
			runs[i] = (struct umem_range){ base + a, base + a + l };
		}
		check_runs(runs, n, (enum umem_procmem_method)(round % 3));
	}
	free(runs);
}

static void whole_area(void **state)
{
	struct umem_range all = { (uintptr_t)area, (uintptr_t)area + N * PAGE };

	for (int method = UMEM_PROCMEM_AUTO; method <= UMEM_PROCMEM_MEM; method++)
		check_runs(&all, 1, (enum umem_procmem_method)method);
}

/* The child's PROT_NONE pages are content too. */
static void without_permission(void **state)
{
	struct umem_range run = { (uintptr_t)area + 7 * PAGE, (uintptr_t)area + 11 * PAGE };
	struct umem_ranges holes = { 0 };
	uint8_t buf[4 * PAGE];

	T_OK(umem_procmem_read(child, -1, UMEM_PROCMEM_AUTO, &run, 1, buf, &holes));
	T_CHECK(holes.n == 1 && holes.v[0].start == run.start + PAGE &&
		holes.v[0].end == run.start + 3 * PAGE);
	umem_ranges_clear(&holes);
	T_OK(umem_procmem_read(child, mem_fd, UMEM_PROCMEM_AUTO, &run, 1, buf, &holes));
	T_CHECK(holes.n == 0 && buf[PAGE] == t_pattern(8, 0, 1));
	umem_ranges_deinit(&holes);
}

static void edges(void **state)
{
	struct umem_ranges holes = { 0 };
	struct umem_range empty[2] = { { 5, 5 }, { (uintptr_t)area, (uintptr_t)area } };
	struct umem_range high = { UINT64_MAX - 8 * PAGE + 1, UINT64_MAX - 7 * PAGE + 1 };
	uint8_t buf[PAGE];

	T_OK(umem_procmem_read(child, mem_fd, UMEM_PROCMEM_AUTO, NULL, 0, NULL, &holes));
	T_OK(umem_procmem_read(child, mem_fd, UMEM_PROCMEM_AUTO, empty, 2, NULL, &holes));
	T_CHECK(holes.n == 0);
	for (int method = UMEM_PROCMEM_AUTO; method <= UMEM_PROCMEM_MEM; method++) {
		T_OK(umem_procmem_read(child, mem_fd, (enum umem_procmem_method)method, &high, 1,
			buf, &holes));
		T_CHECK(holes.n == 1 && holes.v[0].start == high.start);
		umem_ranges_clear(&holes);
	}
	T_CHECK(umem_procmem_read(child, -1, UMEM_PROCMEM_MEM, &high, 1, buf, &holes) == -EBADF);
	umem_ranges_deinit(&holes);
}

static void gone(void **state)
{
	struct umem_range run = { (uintptr_t)area, (uintptr_t)area + PAGE };
	struct umem_ranges holes = { 0 };
	uint8_t buf[PAGE];

	t_end(child);
	for (int method = UMEM_PROCMEM_AUTO; method <= UMEM_PROCMEM_MEM; method++)
		T_CHECK(umem_procmem_read(child, mem_fd, (enum umem_procmem_method)method, &run,
				1, buf, &holes) == -ESRCH, "%d", method);
	T_CHECK(holes.n == 0);
	close(mem_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_runs), cmocka_unit_test(whole_area),
		cmocka_unit_test(without_permission), cmocka_unit_test(edges),
		cmocka_unit_test(gone),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
