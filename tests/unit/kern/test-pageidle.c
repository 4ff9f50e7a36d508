// SPDX-License-Identifier: LGPL-2.1-or-later
/* Idle bits of frames: any order against a naive model, the end, bits of others. */
#include "lib/kern/pageidle.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"
#include "tests/lib/idle.h"
#include "tests/lib/tree.h"

#define N_FRAMES 100000u
#define MANY     3000u

static int bitmap = -1;

/* What the model says of each frame. */
static bool idle[N_FRAMES];

static void reset(void)
{
	t_idle_forget();
	t_idle_limit(N_FRAMES);
	memset(idle, 0, sizeof(idle));
}

static void mark(const uint64_t *pfns, size_t n)
{
	assert_int_equal(0, umem_pageidle_mark(bitmap, pfns, n));
	for (size_t i = 0; i < n; i++)
		if (pfns[i] < N_FRAMES / 64 * 64)
			idle[pfns[i]] = true;
}

static void check(const uint64_t *pfns, size_t n)
{
	UMEM_FREE bool *answers = malloc(n + 1);

	assert_non_null(answers);
	memset(answers, 2, n + 1);
	assert_int_equal(0, umem_pageidle_read(bitmap, pfns, n, answers));
	for (size_t i = 0; i < n; i++)
		if (answers[i] != (pfns[i] < N_FRAMES && idle[pfns[i]]))
			fail_msg("%zu of %zu: frame %llu reads %d", i, n,
				(unsigned long long)pfns[i], answers[i]);
	assert_int_equal(2, ((unsigned char *)answers)[n]);
}

static void access_frame(uint64_t pfn)
{
	t_idle_access(pfn);
	idle[pfn] = false;
}

/* Walks of every step size: up, down, back and forth, repeated. */
static void orders(void **state)
{
	static uint64_t pfns[MANY], others[MANY];
	uint64_t seed = t_seed();

	reset();
	check(pfns, 0);
	mark(pfns, 0);
	for (unsigned round = 0; round < 50; round++) {
		uint64_t at = t_below(&seed, N_FRAMES);
		uint64_t reach = 1ull << t_below(&seed, 15);
		size_t n = 1 + (size_t)t_below(&seed, MANY);

		for (size_t i = 0; i < n; i++) {
			at = (at + N_FRAMES + t_below(&seed, 2 * reach + 1) - reach) % N_FRAMES;
			pfns[i] = at;
			others[i] = t_below(&seed, 2) ? at ^ 1 : t_below(&seed, N_FRAMES);
		}
		mark(pfns, n);
		check(pfns, n);
		for (size_t i = 0; i < n / 3; i++)
			access_frame(pfns[t_below(&seed, n)]);
		check(others, n);
		check(pfns, n);
	}
	assert_int_equal(0, t_idle_calls().bad);
}

/* Every frame there is, both ways: windows are as large as sysfs takes. */
static void everything(void **state)
{
	static uint64_t pfns[N_FRAMES];
	struct t_idle_calls calls;
	const uint64_t words = N_FRAMES / 64;

	reset();
	for (size_t i = 0; i < N_FRAMES; i++)
		pfns[i] = i;
	mark(pfns, N_FRAMES);
	check(pfns, N_FRAMES);
	calls = t_idle_calls();
	assert_int_equal(words, calls.words_written);
	assert_int_equal(words, calls.words_read);
	/* One more for the last word, which is not whole, and one that finds no more. */
	assert_in_range(calls.writes, (words + 511) / 512, (words + 511) / 512 + 2);
	for (size_t i = 0; i < N_FRAMES / 2; i++) {
		pfns[i] = N_FRAMES - 1 - i;
		pfns[N_FRAMES - 1 - i] = i;
	}
	check(pfns, N_FRAMES);
}

/* No word is touched in which there is nothing of ours, no bit set that is not asked for. */
static void no_more_than_needed(void **state)
{
	const uint64_t far[] = { 0, 200, 400, 128, 64 * 700, 64 * 702, 64 * 704 + 63 };
	const uint64_t near[] = { 64, 127, 128, 63, 200, 64, 65 };
	struct t_idle_calls calls;

	reset();
	mark(far, UMEM_ARRAY_LEN(far));
	calls = t_idle_calls();
	assert_int_equal(UMEM_ARRAY_LEN(far), calls.bits);
	assert_int_equal(UMEM_ARRAY_LEN(far), calls.words_written);
	assert_int_equal(UMEM_ARRAY_LEN(far), calls.writes);
	t_idle_forget();
	mark(near, UMEM_ARRAY_LEN(near));
	calls = t_idle_calls();
	assert_int_equal(UMEM_ARRAY_LEN(near) - 1, calls.bits);
	assert_int_equal(4, calls.words_written);
	assert_int_equal(1, calls.writes);
}

/* Others mark frames of the same word: their bits stay, and are not set again by ours. */
static void others(void **state)
{
	const uint64_t ours[] = { 1000, 1002 }, theirs[] = { 1001, 1003 };
	bool answers[2];

	reset();
	mark(theirs, 2);
	mark(ours, 2);
	check(theirs, 2);
	access_frame(1001);
	mark(ours, 1);
	assert_int_equal(0, umem_pageidle_read(bitmap, ours, 2, answers));
	check(theirs, 2);
	assert_false(t_idle_is(1001));
	assert_int_equal(5, t_idle_calls().bits);
}

/* The last frame is not at the end of a word; numbers past it are no error. */
static void past_the_end(void **state)
{
	const uint64_t last = N_FRAMES / 64 * 64;
	const uint64_t pfns[] = { last - 1, last, last + 1, N_FRAMES - 1, N_FRAMES, N_FRAMES + 64,
		5, UINT64_MAX, UINT64_MAX - 64, 1ull << 55, (1ull << 63) + 64 * 3, last - 64 };

	reset();
	for (size_t from = 0; from < UMEM_ARRAY_LEN(pfns); from++) {
		mark(pfns + from, UMEM_ARRAY_LEN(pfns) - from);
		check(pfns + from, UMEM_ARRAY_LEN(pfns) - from);
	}
	assert_true(N_FRAMES % 64 != 0 && idle[last - 1] && !idle[last]);
	/* There are fewer frames than a window has. */
	t_idle_limit(63);
	memset(idle, 0, sizeof(idle));
	check(pfns, UMEM_ARRAY_LEN(pfns));
	mark(pfns, 0);
}

/* What cannot be marked is passed over in silence, and never idle. */
static void not_on_a_list(void **state)
{
	const uint64_t pfns[] = { 300, 301, 302, 303 };

	reset();
	t_idle_ignore(301, true);
	mark(pfns, UMEM_ARRAY_LEN(pfns));
	idle[301] = false;
	check(pfns, UMEM_ARRAY_LEN(pfns));
	t_idle_ignore(301, false);
	check(pfns, UMEM_ARRAY_LEN(pfns));
	mark(pfns, UMEM_ARRAY_LEN(pfns));
	check(pfns, UMEM_ARRAY_LEN(pfns));
}

static void failures(void **state)
{
	const uint64_t pfn = 7;
	bool answer = true;
	int fd = 4711;

	assert_int_equal(-EBADF, umem_pageidle_mark(-1, &pfn, 1));
	assert_int_equal(-EBADF, umem_pageidle_read(-1, &pfn, 1, &answer));
	assert_true(answer);
	assert_int_equal(-ENOENT, umem_pageidle_open(t_tree_path("nowhere"), &fd));
	assert_int_equal(4711, fd);
	/* This kernel's own, or that it has none. */
	if (umem_pageidle_open(NULL, &fd) == 0)
		close(fd);
	else
		assert_int_equal(4711, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders),
		cmocka_unit_test(everything),
		cmocka_unit_test(no_more_than_needed),
		cmocka_unit_test(others),
		cmocka_unit_test(past_the_end),
		cmocka_unit_test(not_on_a_list),
		cmocka_unit_test(failures),
	};

	t_idle_start(T_IDLE_BITS);
	if (umem_pageidle_open(t_tree(), &bitmap) < 0)
		T_FAIL("the stand-in cannot be opened");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
