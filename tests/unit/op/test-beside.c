// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where pages are put out: the cheaper place is found, kept, and left when it changes. */
#include "lib/op/beside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define ROUNDS 96

/* Take so much of this thread's processor time. */
static void burn(long us)
{
	struct timespec from, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while ((now.tv_sec - from.tv_sec) * 1000000 + (now.tv_nsec - from.tv_nsec) / 1000 < us);
}

/* Work where a page costs so much. Return: pieces that were done beside the target. */
static int work(struct umem_beside *beside, int proc_fd, long us_beside, long us_anywhere)
{
	int n = 0;

	for (int i = 0; i < ROUNDS; i++) {
		cpu_set_t before, within, after;

		assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
		umem_beside_begin(beside, proc_fd);
		assert_int_equal(sched_getaffinity(0, sizeof(within), &within), 0);
		assert_int_equal(CPU_COUNT(&within), beside->bound ? 1 : CPU_COUNT(&before));
		burn(beside->bound ? us_beside : us_anywhere);
		n += beside->bound;
		umem_beside_end(beside, 32);
		assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
		assert_true(CPU_EQUAL(&before, &after));
	}
	return n;
}

static void test_cheaper(void **state)
{
	struct umem_beside beside = { 0 };
	int proc_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC), n;

	(void)state;
	assert_true(proc_fd >= 0);
	n = work(&beside, proc_fd, 100, 1000);
	assert_true(n > ROUNDS * 3 / 4 && n < ROUNDS);
	/* It changes its mind, and goes back. */
	n = work(&beside, proc_fd, 1000, 100);
	assert_true(n < ROUNDS / 2);
	n = work(&beside, proc_fd, 100, 1000);
	assert_true(n > ROUNDS / 2);
	close(proc_fd);
}

/* Pieces of a page or two say nothing. */
static void test_small(void **state)
{
	struct umem_beside beside = { 0 };

	(void)state;
	for (int i = 0; i < 10; i++) {
		umem_beside_begin(&beside, -1);
		umem_beside_end(&beside, 1);
	}
	assert_int_equal(beside.n, 0);
	assert_int_equal(beside.cost_ns[UMEM_BESIDE_ANYWHERE], 0);
}

/* A process that cannot be looked at is worked on from anywhere. */
static void test_no_process(void **state)
{
	struct umem_beside beside = { 0 };

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		umem_beside_begin(&beside, -1);
		assert_false(beside.bound);
		burn(50);
		umem_beside_end(&beside, 32);
	}
	assert_true(beside.cost_ns[UMEM_BESIDE_TARGET] == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cheaper),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_no_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
