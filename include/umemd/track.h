/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty tracking: which pages of a target changed, round after round.
 *
 * A watch is armed once; each umem_watch_collect() then gives a round: every
 * page whose content may have changed since the collect before it (for the
 * first round: since arming). The target keeps running. A round says whether
 * it is complete, and if not, where and why.
 */
#ifndef UMEMD_TRACK_H
#define UMEMD_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/target.h>
#include <umemd/types.h>

struct umem_watch;

/** enum umem_pins_policy - what to do with pages that can be written unseen. */
enum umem_pins_policy {
	UMEM_PINS_ALWAYS, /* they are in every round */
	UMEM_PINS_REPORT, /* they are left out, and make the round incomplete */
	UMEM_PINS_REFUSE, /* arming fails, or the collect that first sees one */
};

/**
 * struct umem_watch_left - what a watch has to leave to one that follows it, in case that it
 * ends without a last collect (its process died).
 * @round: its last round.
 * @watched, @n_watched: what was watched, and what was gone in that round.
 * @held, @n_held: of these, where content may have been; the rest never held any.
 */
struct umem_watch_left {
	uint64_t round;
	const struct umem_range *watched;
	size_t n_watched;
	const struct umem_range *held;
	size_t n_held;
};

/**
 * struct umem_watch_options - what to watch and how.
 * @size: sizeof(struct umem_watch_options), for later growth.
 * @regions, @n_regions: watch only these addresses; 0 of them means all.
 * @pins: see enum umem_pins_policy.
 * @sharers: attach to every process that maps the same shared memory, too.
 * @tracker: force a tracker by name ("wp_async", "soft_dirty"); NULL chooses.
 * @left: go on where a watch with the same options ended that nobody can ask any
 *	more: the first round holds everything that may have changed since, as new, and
 *	what is gone. Copied. NULL for none.
 */
struct umem_watch_options {
	size_t size;
	const struct umem_range *regions;
	size_t n_regions;
	enum umem_pins_policy pins;
	bool sharers;
	const char *tracker;
	const struct umem_watch_left *left;
};

/**
 * struct umem_armed - what arming found.
 * @tracker: name of the tracker in use.
 * @regions: mappings that are watched.
 * @tracked_bytes: their sum.
 * @stop_ns: how long attaching stopped one thread of the target.
 * @arm_ns: how long registering and protecting took; the target ran on.
 * @assumes, @n_assumes: what cannot be watched but is not normally done;
 *	rounds are complete under these.
 */
struct umem_armed {
	const char *tracker;
	uint64_t regions;
	uint64_t tracked_bytes;
	uint64_t stop_ns;
	uint64_t arm_ns;
	const struct umem_reason *assumes;
	size_t n_assumes;
};

/**
 * struct umem_round - one round.
 * @round: its number, from 1.
 * @at_ns: CLOCK_MONOTONIC when the collect ended.
 * @interval_ns: since the collect before it.
 * @tracked_bytes: bytes that are watched now.
 * @dirty_bytes: sum of @why_bytes.
 * @why_bytes: bytes by enum umem_why; each page is counted once.
 * @gone_bytes: bytes that are mapped no longer, or by something else now.
 * @scan_ns: how long the collect took.
 * @complete: no change is missing, given what was assumed.
 * @incomplete, @n_incomplete: where and why not.
 */
struct umem_round {
	uint64_t round;
	uint64_t at_ns;
	uint64_t interval_ns;
	uint64_t tracked_bytes;
	uint64_t dirty_bytes;
	uint64_t why_bytes[UMEM_N_WHYS];
	uint64_t gone_bytes;
	uint64_t scan_ns;
	bool complete;
	const struct umem_reason *incomplete;
	size_t n_incomplete;
};

/**
 * umem_watch_new - arm.
 * @target: stays owned by the caller and must outlive the watch.
 * @options: NULL for defaults.
 * @ret_watch: freed with umem_watch_free().
 *
 * Return: 0; UMEM_GONE; -EBUSY: another userfaultfd watches a part of it;
 * -ENOENT: something of @regions is not mapped; -EINVAL: an unknown tracker; -EADDRINUSE:
 * pinned pages and UMEM_PINS_REFUSE; -ENOTTY, -ENOSYS: the kernel lacks a
 * feature; -EPERM, -EACCES, -ENOMEM.
 */
UMEM_API int umem_watch_new(struct umem_target *target,
	const struct umem_watch_options *options, struct umem_watch **ret_watch,
	struct umem_note *note);

/** umem_watch_free - stop watching; NULL is fine. Return: NULL. */
UMEM_API struct umem_watch *umem_watch_free(struct umem_watch *watch);

/** umem_watch_armed - what arming found; lives as long as the watch. */
UMEM_API const struct umem_armed *umem_watch_armed(const struct umem_watch *watch);

/**
 * umem_watch_collect - make the next round.
 * @ret_round: valid until the next call on the watch.
 *
 * Return: 0; UMEM_GONE: the target ended or executed another program;
 * -EADDRINUSE: a pinned page and UMEM_PINS_REFUSE; -ENOMEM and other -errno.
 * After a failure the next round holds what this one would have held.
 */
UMEM_API int umem_watch_collect(struct umem_watch *watch,
	const struct umem_round **ret_round, struct umem_note *note);

/**
 * umem_watch_each - the ranges of the last round, ascending, each page once.
 * @each: called for each range; what it returns other than 0 ends the walk.
 *
 * Return: 0, what @each returned, or -ENOMEM.
 */
UMEM_API int umem_watch_each(struct umem_watch *watch,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why),
	void *user);

/** umem_watch_gone - ranges of the last round that are gone; @ret_n of them. */
UMEM_API const struct umem_range *umem_watch_gone(const struct umem_watch *watch,
	size_t *ret_n);

/**
 * umem_watch_repeat - have the next round hold what the last one held, too: it did
 * not arrive where it was to go.
 */
UMEM_API void umem_watch_repeat(struct umem_watch *watch);

/**
 * umem_watch_left - what a watch that follows this one has to know, as of the last round.
 * @ret_left: points into the watch, until the next call on it.
 *
 * Return: 0 or -ENOMEM.
 */
UMEM_API int umem_watch_left(struct umem_watch *watch, struct umem_watch_left *ret_left);

/** umem_watch_memory - bytes of heap that the watch uses now. */
UMEM_API uint64_t umem_watch_memory(const struct umem_watch *watch);

/** umem_why_name - "written", "new", "punched", "sharer", "pinned". */
UMEM_API const char *umem_why_name(enum umem_why why);

#endif
