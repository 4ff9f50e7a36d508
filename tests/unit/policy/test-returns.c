// SPDX-License-Identifier: LGPL-2.1-or-later
/* Returns: the bound holds for every way a page can come back, and is no looser than said. */
#include "lib/policy/returns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

/*
 * A machine in small: pages are out, in the swap cache, or in memory; what moves them
 * moves the counters as the kernel does. What really came back is counted beside.
 */
#define N 64

enum where { MEMORY, CACHED, OUT };

struct machine {
	enum where where[N];
	bool was_out[N];
	struct umem_returns_seen now;
	uint64_t back;
};

static void put_out(struct machine *m, size_t i, bool kept)
{
	if (m->where[i] != MEMORY)
		return;
	m->where[i] = kept ? CACHED : OUT;
	m->now.cached += kept;
	m->now.put_out++;
	m->was_out[i] = true;
}

/* Nobody touches it, but its neighbour was read. */
static void read_ahead(struct machine *m, size_t i)
{
	if (m->where[i] != OUT)
		return;
	m->where[i] = CACHED;
	m->now.cached++;
	m->now.read++;
}

static void touch(struct machine *m, size_t i)
{
	if (m->where[i] == MEMORY)
		return;
	read_ahead(m, i);
	m->now.cached--;
	m->where[i] = MEMORY;
	m->back += m->was_out[i];
	m->was_out[i] = false;
}

static void discard_and_fill(struct machine *m, size_t i)
{
	m->now.cached -= m->where[i] == CACHED;
	m->where[i] = MEMORY;
	m->was_out[i] = false;
}

static void run(bool kept, bool ahead, uint64_t *random)
{
	struct machine m = { .now = { .known = true, .read = t_rand(random) >> 1 } };
	struct umem_returns_seen before;
	uint64_t most;

	for (size_t i = 0; i < N; i++)
		if (t_below(random, 2))
			put_out(&m, i, kept);
	for (size_t i = 0; i < N && ahead; i++)
		if (t_below(random, 4) == 0)
			read_ahead(&m, i);
	before = m.now;
	m.back = 0;
	for (int k = 0; k < 200; k++) {
		size_t i = t_below(random, N);

		switch (t_below(random, 4)) {
		case 0:
			put_out(&m, i, kept);
			break;
		case 1:
			touch(&m, i);
			break;
		case 2:
			if (ahead)
				read_ahead(&m, i);
			break;
		default:
			discard_and_fill(&m, i);
		}
	}
	most = umem_returns_most(&before, &m.now, kept);
	assert_true(m.back <= most);
	/* Without a cache it is exact. */
	if (!kept && !ahead)
		assert_true(m.back == most);
}

static void any_machine(void **state)
{
	uint64_t random = t_seed();

	for (int i = 0; i < 20000; i++)
		run(i & 1, i & 2, &random);
}

static void refills_alone(void **state)
{
	const struct umem_returns_seen before = { true, 5, 9, 0 }, after = { true, 5, 2000, 0 };

	assert_true(umem_returns_most(&before, &after, false) == 0);
	assert_true(umem_returns_most(&before, &after, true) >= 1991);
}

static void not_known(void **state)
{
	const struct umem_returns_seen some = { true, 5, 5, 5 }, none = { 0 };
	const struct umem_returns_seen less = { true, 4, 4, 0 }, full = { true, 0, 0, UINT64_MAX };

	assert_true(umem_returns_most(&none, &some, false) == UINT64_MAX);
	assert_true(umem_returns_most(&some, &none, false) == UINT64_MAX);
	/* A counter that went back, and one that would overflow. */
	assert_true(umem_returns_most(&some, &less, false) == UINT64_MAX);
	assert_true(umem_returns_most(&some, &less, true) == UINT64_MAX);
	assert_true(umem_returns_most(&full, &some, true) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_machine),
		cmocka_unit_test(refills_alone),
		cmocka_unit_test(not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
