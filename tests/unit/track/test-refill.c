// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Holes that were filled again: random punches, fills and stores in a file, each way of
 * being told, against what the file held at the last look.
 */
#include "lib/track/refill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define PAGE   UMEM_PAGE_BYTES
#define N      64u
#define ROUNDS 300

/* What each page holds: a number, 0 for zeros. */
struct model {
	int fd;
	char now[N];
	char before[N];
};

static void fill(struct model *m, unsigned page, char value)
{
	char data[PAGE];

	memset(data, value, sizeof(data));
	assert_int_equal(pwrite(m->fd, data, PAGE, (off_t)(page * PAGE)), PAGE);
	m->now[page] = value;
}

static int disk(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* Look at the pages of @in; whatever became zeros, and only that, has to be found. */
static void look(struct umem_refill *refill, struct umem_refill_gate *gate, struct model *m,
	const bool in[N])
{
	struct umem_pageset kept = { 0 }, filled = { 0 };

	umem_refill_gate_begin(gate);
	for (unsigned i = 0; i < N; i++)
		if (in[i])
			assert_int_equal(umem_pageset_add(&kept, i * PAGE, (i + 1) * PAGE), 0);
	assert_int_equal(umem_refill_look(refill, gate, m->fd, &kept, &filled), 0);
	for (unsigned i = 0; i < N; i++) {
		bool found = umem_pageset_has(&filled, i * PAGE);

		if (in[i] && m->before[i] && !m->now[i] && refill->how != UMEM_REFILL_NEVER)
			assert_true(found);
		if (!in[i] || m->now[i])
			assert_false(found);
	}
	memcpy(m->before, m->now, sizeof(m->now));
	umem_pageset_deinit(&kept);
	umem_pageset_deinit(&filled);
}

/* @exhausted: this user has no more groups of fanotify to be had. */
static void check(int fd, bool exhausted, enum umem_refill_how how)
{
	struct umem_refill_gate gate = { 0 };
	struct umem_refill refill;
	struct model m = { .fd = fd };
	uint64_t state = t_seed();
	int groups[4096];
	unsigned n = 0;

	while (exhausted && n < 4096 &&
		(groups[n] = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, 0)) >= 0)
		n++;
	for (unsigned i = 0; i < N; i++)
		fill(&m, i, 1);
	memcpy(m.before, m.now, sizeof(m.now));
	umem_refill_init(&refill, &gate, fd);
	while (n > 0)
		close(groups[--n]);
	if (refill.how != how)
		print_message("told by %d, not %d\n", refill.how, how);
	/* A file system that cannot tell is looked at in each round, as one without a watch. */
	assert_true(refill.how == how ||
		(refill.how == UMEM_REFILL_UNTOLD && how == UMEM_REFILL_BY_CHANGES));
	for (int round = 0; round < ROUNDS; round++) {
		bool in[N];

		for (unsigned i = 0; i < t_below(&state, 6); i++)
			fill(&m, (unsigned)t_below(&state, N), (char)t_below(&state, 3));
		for (unsigned i = 0; i < N; i++)
			in[i] = t_below(&state, 4) != 0;
		look(&refill, &gate, &m, in);
	}
	umem_refill_deinit(&refill);
	umem_refill_gate_deinit(&gate);
	close(fd);
}

static void test_changes(void **state)
{
	(void)state;
	check(disk(), false, UMEM_REFILL_BY_CHANGES);
}

static void test_exhausted(void **state)
{
	(void)state;
	check(disk(), true, UMEM_REFILL_UNTOLD);
}

/* A count that cannot be had is a count that moved. */
static void test_folios(void **state)
{
	struct umem_refill_gate gate = { 0 };
	struct umem_refill refill;
	struct model m = { .fd = memfd_create("refill", MFD_CLOEXEC) };
	bool in[N];

	(void)state;
	memset(in, true, sizeof(in));
	for (unsigned i = 0; i < N; i++)
		fill(&m, i, 1);
	umem_refill_init(&refill, &gate, m.fd);
	assert_int_equal(refill.how, UMEM_REFILL_BY_FOLIOS);
	memcpy(m.before, m.now, sizeof(m.now));
	for (unsigned i = 0; i < N; i += 3) {
		gate.known = false;
		fill(&m, i, 0);
		look(&refill, &gate, &m, in);
	}
	umem_refill_deinit(&refill);
	umem_refill_gate_deinit(&gate);
	close(m.fd);
}

/* The last page of a file may be a part of one. */
static void test_end_of_file(void **state)
{
	struct model m = { .fd = memfd_create("refill", MFD_CLOEXEC) };
	struct umem_pageset zeros = { 0 };

	(void)state;
	fill(&m, 0, 0);
	fill(&m, 1, 1);
	assert_int_equal(ftruncate(m.fd, 2 * PAGE + 100), 0);
	assert_int_equal(umem_refill_zeros(m.fd, 0, 4 * PAGE, &zeros), 0);
	assert_true(umem_pageset_has(&zeros, 0));
	assert_false(umem_pageset_has(&zeros, PAGE));
	assert_true(umem_pageset_has(&zeros, 2 * PAGE));
	assert_false(umem_pageset_has(&zeros, 3 * PAGE));
	umem_pageset_clear(&zeros);
	assert_int_equal(pwrite(m.fd, "x", 1, 2 * PAGE + 99), 1);
	assert_int_equal(umem_refill_zeros(m.fd, 2 * PAGE, 3 * PAGE, &zeros), 0);
	assert_true(umem_pageset_empty(&zeros));
	umem_pageset_deinit(&zeros);
	close(m.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_exhausted),
		cmocka_unit_test(test_folios),
		cmocka_unit_test(test_end_of_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
