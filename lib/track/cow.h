/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copy before write: the memory of running processes as it was at one moment.
 *
 * Life: new, prepare (the processes run), moment (all their threads are
 * stopped by the caller, who then lets them go), next until it is done, free.
 * See cow.c for the theory of operation. The object belongs to one thread;
 * it runs one of its own.
 */
#ifndef UMEM_TRACK_COW_H
#define UMEM_TRACK_COW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/base/ranges.h"
#include "lib/base/reasons.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

struct umem_cow;

/**
 * struct umem_cow_member - a process of a snapshot.
 * @target: the caller's; only its mappings and descriptors are used.
 * @uffd: of umem_target_fetch_sync(); owned by the object when umem_cow_new()
 *	succeeds, left to the caller when it fails.
 * @which: addresses that the image is to hold; NULL for all. The caller's.
 */
struct umem_cow_member {
	struct umem_target *target;
	int uffd;
	const struct umem_ranges *which;
};

/**
 * enum umem_cow_place - where the thread that serves faults runs.
 * @UMEM_COW_PLACE_AUTO: on the processor of the writer while there is one writer;
 *	else where the scheduler puts it.
 * @UMEM_COW_PLACE_WAIT: wherever the scheduler puts it; it sleeps when idle.
 * @UMEM_COW_PLACE_SPIN: it never sleeps; for a processor that has nothing to do.
 */
enum umem_cow_place {
	UMEM_COW_PLACE_AUTO,
	UMEM_COW_PLACE_WAIT,
	UMEM_COW_PLACE_SPIN,
};

/**
 * struct umem_cow_options - how to go about it; all zero is the default.
 * @staging_bytes: memory for pages that were copied and not yet taken; 0: 32 MiB. When
 *	it is full, writers wait until the caller took some.
 * @place: of the thread.
 * @hot_ns: how long pages that were written shortly before the moment are copied within it,
 *	instead of being protected (a write costs its writer 10 us then, copying 0.3 to
 *	2); 0: a millisecond; UMEM_COW_HOT_NEVER: none.
 * @verify: look at all of memory within the moment whether a page that is to be
 *	copied is unprotected; for tests, since the pause then grows with memory.
 */
struct umem_cow_options {
	uint64_t staging_bytes;
	enum umem_cow_place place;
	uint64_t hot_ns;
	bool verify;
};

/** UMEM_COW_HOT_NEVER - see struct umem_cow_options. */
#define UMEM_COW_HOT_NEVER UINT64_MAX

/** UMEM_COW_N_TIMES - classes of service times: class i holds those below 2^i ns. */
#define UMEM_COW_N_TIMES 32

/**
 * struct umem_cow_stats - what it cost.
 * @n_noted: faults before the moment.
 * @n_faults: faults behind it.
 * @n_staged: pages that were copied because somebody was about to write or discard them.
 * @n_swept: pages that were copied in the background.
 * @n_lost: pages that could not be had.
 * @n_discards: discards that were held up.
 * @n_unseen: discards that were not seen in time.
 * @n_moves: memory that was moved behind the moment.
 * @n_waits: times that the thread found no staging memory.
 * @n_protected: pages that were protected within the moment.
 * @n_hot: pages that were copied within the moment.
 * @moment_ns: how long umem_cow_moment() took.
 * @max_ns: longest service of one fault, read to wake, behind the moment.
 * @times: how many services took how long.
 */
struct umem_cow_stats {
	uint64_t n_noted;
	uint64_t n_faults;
	uint64_t n_staged;
	uint64_t n_swept;
	uint64_t n_lost;
	uint64_t n_discards;
	uint64_t n_unseen;
	uint64_t n_moves;
	uint64_t n_waits;
	uint64_t n_protected;
	uint64_t n_hot;
	uint64_t moment_ns;
	uint64_t max_ns;
	uint64_t times[UMEM_COW_N_TIMES];
};

/**
 * struct umem_cow_piece - pages of the image.
 * @member: index of the process.
 * @addr: where they were at the moment.
 * @n_pages: how many; 0 when all has been given.
 * @bytes: valid until the next call.
 */
struct umem_cow_piece {
	size_t member;
	uint64_t addr;
	uint64_t n_pages;
	const uint8_t *bytes;
};

/**
 * umem_cow_new - begin. Nothing is protected yet.
 * @members, @n_members: copied.
 * @options: NULL for defaults.
 *
 * Return: 0; -EINVAL, -ENOMEM, -EAGAIN (no thread), -EMFILE.
 */
int umem_cow_new(const struct umem_cow_member *members, size_t n_members,
	const struct umem_cow_options *options, struct umem_cow **ret_cow,
	struct umem_note *note);

/**
 * umem_cow_prepare - register and protect, while the processes run.
 *
 * Blocks for some 100 ns a populated page. Repeat it when the moment is put off: it
 * does again what was undone since. Return: 0, UMEM_GONE, -ENOMEM, -errno.
 */
int umem_cow_prepare(struct umem_cow *cow, struct umem_note *note);

/**
 * umem_cow_moment - now. All threads of all members are stopped; writes of others
 * (process_vm_writev(2)) wait.
 *
 * Blocks for as long as it takes to protect what was written since
 * umem_cow_prepare(). When it returns, the threads may go on.
 * Return: 0, UMEM_GONE, -EAGAIN: a mapping is being changed by something that is not
 * stopped; -ENOMEM, -errno. After a failure only umem_cow_free() is left.
 */
int umem_cow_moment(struct umem_cow *cow, struct umem_note *note);

/**
 * umem_cow_within_stop - what of a member must be copied by the caller before the threads
 * go on, and why; for private mappings of files: their private pages. It is
 * known from umem_cow_prepare() on, and final behind umem_cow_moment().
 */
const struct umem_reasons *umem_cow_within_stop(const struct umem_cow *cow, size_t member);

/**
 * umem_cow_except - leave pages out that the caller copies itself (pinned ones), between
 * the moment and the first umem_cow_next(). Return: 0 or -ENOMEM.
 */
int umem_cow_except(struct umem_cow *cow, size_t member, const struct umem_ranges *ranges);

/**
 * umem_cow_populated - which pages were there at the moment; the others that the image is
 * to hold (and that are not within_stop) were never touched and read as zeros.
 * @out: added to. Takes time by the size of memory: not for the pause.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_cow_populated(const struct umem_cow *cow, size_t member, struct umem_pageset *out);

/**
 * umem_cow_next - the next pages of the image.
 *
 * The threads run. What was copied before a write comes first. Never waits for the
 * target; repeat it at once.
 * Return: 0: a piece, or with 0 pages: all is done; UMEM_AGAIN: nothing at this very
 * moment; UMEM_GONE: a process exited or executed another program: what is
 * left of it is lost (go on: the others are not); -EAGAIN: the mappings have been
 * changed without a pause for 20 s; -errno.
 */
int umem_cow_next(struct umem_cow *cow, struct umem_cow_piece *ret_piece,
	struct umem_note *note);

/**
 * umem_cow_lost - pages of a member that the image should hold and cannot, or that may be
 * later than the moment, and why.
 * @out: added to. Final when umem_cow_next() said that all is done.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_cow_lost(const struct umem_cow *cow, size_t member, struct umem_reasons *out);

/** umem_cow_stats - what it cost so far. */
void umem_cow_stats(const struct umem_cow *cow, struct umem_cow_stats *ret_stats);

/**
 * umem_cow_free - lift all protection, in steps, and close. NULL is fine; at any time.
 * Return: NULL.
 */
struct umem_cow *umem_cow_free(struct umem_cow *cow);

UMEM_DEFINE_CLEANUP(struct umem_cow, umem_cow_free)

#endif
