/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Types that every part of umemd's public interface shares.
 *
 * Conventions: functions return < 0 for -errno, 0 for success and > 0 for an
 * outcome of enum umem_outcome that the caller handles. Outputs come last and
 * are named ret_*: untouched on failure, always set on success. Addresses,
 * lengths and counts are uint64_t, in bytes unless the name says otherwise.
 */
#ifndef UMEMD_TYPES_H
#define UMEMD_TYPES_H

#include <stdint.h>

/** UMEM_API - marks a function that the engine library exports. */
#define UMEM_API __attribute__((visibility("default")))

/**
 * enum umem_outcome - what a call may answer besides success and -errno.
 * @UMEM_OK: done.
 * @UMEM_GONE: the target exited, or executed another program: what we held is
 *             of a memory that exists no longer.
 * @UMEM_AGAIN: the state moved under us; look at it again and repeat.
 */
enum umem_outcome {
	UMEM_OK = 0,
	UMEM_GONE = 1,
	UMEM_AGAIN = 2,
};

/**
 * struct umem_range - a half-open range of addresses.
 * @start: first byte.
 * @end: one past the last byte; end > start in every range that is passed on.
 */
struct umem_range {
	uint64_t start;
	uint64_t end;
};

/**
 * enum umem_why - why a page is in a round of dirty tracking.
 * @UMEM_WHY_WRITTEN: the kernel saw a write, or the page was discarded.
 * @UMEM_WHY_NEW: populated page of a mapping that appeared since the last round.
 * @UMEM_WHY_PINNED: may be written without a page fault, so it is always in.
 * @UMEM_WHY_PUNCHED: its backing was punched out, truncated or dropped.
 * @UMEM_WHY_SHARER: changed through another mapping of the same memory.
 *
 * A page that has several reasons is counted once, under the first that
 * applies in the order written, new, punched, sharer, pinned.
 */
enum umem_why {
	UMEM_WHY_WRITTEN,
	UMEM_WHY_NEW,
	UMEM_WHY_PUNCHED,
	UMEM_WHY_SHARER,
	UMEM_WHY_PINNED,
	UMEM_N_WHYS,
};

/**
 * struct umem_reason - a range about which something has to be said.
 * @start: first byte; 0 together with @end = UINT64_MAX: the whole target.
 * @end: one past the last byte.
 * @reason: what and why, a sentence without a full stop; never NULL.
 */
struct umem_reason {
	uint64_t start;
	uint64_t end;
	const char *reason;
};

/**
 * struct umem_note - the one error note of an operation.
 * @err: -errno of the call that failed, or 0 where nothing was noted.
 * @addr: the address it was about, or 0.
 * @text: what, on which target, why, what to do; empty or NUL-terminated.
 *
 * Owned by the caller, who may pass NULL wherever a note is taken.
 */
struct umem_note {
	int err;
	uint64_t addr;
	char text[384];
};

#endif
