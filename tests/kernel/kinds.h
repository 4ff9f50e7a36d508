/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every kind of waiting or working process: each checks itself, and reports on its
 * board when it saw something that it should not.
 */
#ifndef TESTS_KERNEL_KINDS_H
#define TESTS_KERNEL_KINDS_H

#include "tests/kernel/inject-common.h"

/**
 * struct kind - one of them.
 * @name: for people.
 * @run: its life; does not return if all is well.
 * @poke: makes it go on where it would wait for ever, or NULL.
 * @sets_ready: it says on the board when it is in its loop.
 */
struct kind {
	const char *name;
	void (*run)(struct board *board);
	void (*poke)(struct board *board, pid_t pid);
	bool sets_ready;
};

/* How late a wait of theirs may end; where they are held for long it is not told by this. */
extern uint64_t kinds_late_ns;

extern const struct kind kinds[];
extern const size_t n_kinds;

#endif
