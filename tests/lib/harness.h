/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every test program shares: checks that stop, skips with a reason,
 * seeds that are printed, children that end with the test, deadlines.
 *
 * A test program returns 0 (passed), 1 (failed) or 77 (skipped). It ends its
 * own children by pid only.
 */
#ifndef TESTS_LIB_HARNESS_H
#define TESTS_LIB_HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/** T_SKIP - end this test program as skipped, saying which feature is missing. */
#define T_SKIP(...) t_skip(__VA_ARGS__)

/** T_FAIL - end this test program as failed. */
#define T_FAIL(...) t_fail(__FILE__, __LINE__, __VA_ARGS__)

/** T_CHECK - fail unless @cond holds; further arguments: format and values. */
#define T_CHECK(cond, ...)                                               \
	do {                                                             \
		if (!(cond))                                             \
			t_fail(__FILE__, __LINE__, #cond " " __VA_ARGS__); \
	} while (0)

/** T_SYS - the value of a system call; fail with errno when it is negative. */
#define T_SYS(call)                                                     \
	({                                                              \
		long t_r_ = (long)(call);                               \
		if (t_r_ < 0)                                           \
			t_fail(__FILE__, __LINE__, "%s: %s", #call, strerror(errno)); \
		t_r_;                                                   \
	})

/** T_OK - fail unless @call gives 0; for calls that return -errno. */
#define T_OK(call)                                                      \
	do {                                                            \
		int t_r_ = (call);                                      \
		if (t_r_ != 0)                                          \
			t_fail(__FILE__, __LINE__, "%s: %d (%s)", #call, t_r_, \
				t_r_ < 0 ? strerror(-t_r_) : "outcome"); \
	} while (0)

void t_skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void t_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

/**
 * t_end_begins - this thread ends the program; others that fail meanwhile, for what it
 * takes away, wait for that. t_fail() does so; handlers of signals may.
 */
void t_end_begins(void);

/**
 * t_seed - the seed of this run: the environment's SEED, else from the clock.
 * It is printed, so that a failure can be replayed with SEED=N.
 */
uint64_t t_seed(void);

/** t_rand - next number of a splitmix64 generator. */
uint64_t t_rand(uint64_t *state);

/** t_below - a number from 0 to @n - 1; @n > 0. */
uint64_t t_below(uint64_t *state, uint64_t n);

/**
 * t_fork - fork a child that is killed when this program ends, however it ends
 * (PR_SET_PDEATHSIG and an exit handler). Return: as fork(2); failure ends the test.
 */
pid_t t_fork(void);

/** t_end - SIGKILL and wait for a child of t_fork(). */
void t_end(pid_t pid);

/** t_wait - wait for a child of t_fork(). Return: its wait status. */
int t_wait(pid_t pid);

/** t_msleep - sleep; for pacing a load, never as synchronisation. */
void t_msleep(unsigned ms);

/**
 * T_UNTIL - look at @cond every millisecond until it holds; fail after
 * @seconds. For events that have no descriptor to wait on.
 */
#define T_UNTIL(seconds, cond)                                           \
	do {                                                             \
		uint64_t t_end_ = t_now_ns() + (uint64_t)(seconds) * 1000000000u; \
		while (!(cond)) {                                        \
			if (t_now_ns() > t_end_)                         \
				t_fail(__FILE__, __LINE__, "not within %d s: %s", \
					(int)(seconds), #cond);          \
			t_msleep(1);                                     \
		}                                                        \
	} while (0)

uint64_t t_now_ns(void);

/** t_pattern - byte of page @page at @offset in generation @gen; period 251. */
static inline uint8_t t_pattern(uint64_t page, uint64_t offset, uint64_t gen)
{
	return (uint8_t)((page * 7 + gen * 31 + offset) % 251 + 1);
}

/** t_fill_page - write the pattern of t_pattern() over one page of 4096 bytes. */
void t_fill_page(void *at, uint64_t page, uint64_t gen);

/** t_page_state - one word: the state letter of /proc/PID/stat ('R', 'S', 'T', ...). */
char t_proc_state(pid_t pid);

#endif
