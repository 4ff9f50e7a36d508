/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the freeze tests share, beside what they have from inject-common.h.
 */
#ifndef TESTS_KERNEL_FREEZE_COMMON_H
#define TESTS_KERNEL_FREEZE_COMMON_H

#include "lib/kern/freeze.h"
#include "tests/kernel/inject-common.h"

/* Stop one process. Return: as umem_freeze_stop(). */
static inline int freeze_any(struct umem_freeze *freeze, pid_t pid, uint64_t deadline_ns,
	uint64_t *ret_stop_ns, struct umem_note *note)
{
	struct umem_freeze_process who = { .pid = pid };
	int r = umem_pidfd_open(pid, &who.pidfd);

	if (r == -ESRCH)
		return UMEM_GONE;
	T_OK(r);
	r = umem_freeze_stop(freeze, &who, 1, deadline_ns, ret_stop_ns, note);
	/* No longer needed by what the tests do in between. */
	close(who.pidfd);
	return r;
}

/* One stop that must succeed. */
static inline uint64_t freeze_ok(struct umem_freeze *freeze, pid_t pid, const struct board *board)
{
	struct umem_note note = { 0 };
	uint64_t stop_ns = 0;
	int r = freeze_any(freeze, pid, 20 * SECOND, &stop_ns, &note);

	if (r != 0)
		T_FAIL("freeze: %d %s; target in state %c: %s", r, note.text, t_proc_state(pid),
			board->error);
	return stop_ns;
}

static inline void go_ok(struct umem_freeze *freeze)
{
	T_OK(umem_freeze_go(freeze, NULL));
}

static inline int freeze_by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

#endif
