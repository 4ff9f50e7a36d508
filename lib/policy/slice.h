/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slices: a target's reclaimable memory in pieces that have an age of their own.
 *
 * Theory of operation
 *
 * Memory is cut along a grid of 512 pages (2 MiB with pages of 4 KiB); the ends
 * of a mapping may be shorter. A slice that is partly in use is split in 8
 * (512 -> 64 -> 8 pages), so that ages and evidence are kept where they differ;
 * neighbours of one grid cell that are all cold, or all in use, become one again.
 *
 *	cell        |<------------------ 512 ------------------>|
 *	split once  | 64 | 64 | 64 | 64 | 64 | 64 | 64 | 64 |
 *	and again        |8|8|8|8|8|8|8|8|
 *
 * Once an interval the owner calls, in this order:
 *
 *	umem_slices_sync()      the mappings as they are now
 *	umem_slice_note()       for each slice: what was seen in the interval
 *	umem_thrash_note()      the sums (umem_slices_sum()), lib/policy/thrash.h
 *	umem_plan_make()        sets want and split of each slice, lib/policy/plan.h
 *	umem_slices_split()     carry out the splits, count the parts
 *	umem_slice_put_out()    for each slice with want > 0: what really went out
 *	umem_slices_merge()     every now and then, say once a minute
 *
 * Invariants: slices are sorted, disjoint and never cross a cell's border;
 * resident + trial + out <= n_pages; returned <= at_risk; sync, split and merge are
 * linear in the number of slices. One owner, no locks. The array is the only
 * thing in lib/policy that allocates. Left out: which pages of a slice are out
 * is known to the owner alone; slices hold numbers.
 */
#ifndef UMEM_POLICY_SLICE_H
#define UMEM_POLICY_SLICE_H

#include "lib/base/ranges.h"

/** Pages of the largest and the smallest slice, and parts that a split makes. */
#define UMEM_SLICE_PAGES 512u
#define UMEM_SLICE_PAGES_MIN 8u
#define UMEM_SLICE_FANOUT 8u

/** UMEM_TRIAL_WHOLE - umem_slice.step of a slice that is on trial as a whole. */
#define UMEM_TRIAL_WHOLE 2u

/** UMEM_SLICES_MAX - default of umem_slices.max: 1 Mi slices, 128 MiB. */
#define UMEM_SLICES_MAX (1u << 20)

/**
 * enum umem_use_source - what "used" of an interval knows.
 * @UMEM_USE_UNKNOWN: nothing; used is 0 and says nothing.
 * @UMEM_USE_WRITES: writes only (write tracking); reads go unseen.
 * @UMEM_USE_ACCESSES: reads and writes (page_idle, DAMON, an accessed bit).
 */
enum umem_use_source {
	UMEM_USE_UNKNOWN,
	UMEM_USE_WRITES,
	UMEM_USE_ACCESSES,
};

/**
 * enum umem_slice_state - what is known of a slice.
 * @UMEM_SLICE_NEW: nothing yet, or its hold has ended: to be probed.
 * @UMEM_SLICE_PROBING: a sample is out and being watched.
 * @UMEM_SLICE_COLD: judged cold; what is resident may go.
 * @UMEM_SLICE_WARM: in use; left alone until hold_until_ns.
 */
enum umem_slice_state {
	UMEM_SLICE_NEW,
	UMEM_SLICE_PROBING,
	UMEM_SLICE_COLD,
	UMEM_SLICE_WARM,
};

/**
 * enum umem_slice_way - what is done with the pages that a slice wants.
 * @UMEM_WAY_OUT: they go out.
 * @UMEM_WAY_TRY: they are put on trial: they stay in memory, but their next use is seen.
 * @UMEM_WAY_DROP: pages that were on trial, and not used, go out.
 * @UMEM_WAY_RELEASE: pages that were on trial are as they were before.
 */
enum umem_slice_way {
	UMEM_WAY_OUT,
	UMEM_WAY_TRY,
	UMEM_WAY_DROP,
	UMEM_WAY_RELEASE,
};

/**
 * struct umem_slice_seen - what the owner saw of a slice in one interval, in pages.
 * @resident: in memory now, but for those on trial.
 * @trial: on trial: in memory, and not used since they were put there.
 * @touched: were on trial at the begin of the interval, and were used in it.
 * @tries: pages of this memory can be put on trial.
 * @out: evicted by us and still out now.
 * @at_risk: evicted by us and out at the begin of the interval.
 * @returned: of @at_risk, came back in the interval.
 * @used: resident pages seen in use in the interval (written or accessed), by @source.
 * @source: what @used knows.
 */
struct umem_slice_seen {
	uint64_t resident;
	uint64_t trial;
	uint64_t touched;
	uint64_t out;
	uint64_t at_risk;
	uint64_t returned;
	uint64_t used;
	bool tries;
	enum umem_use_source source;
};

/**
 * struct umem_slice - one slice. Counts are 32 bits wide: they are at most 512,
 * and there may be a million of these.
 * @start: its first address.
 * @quiet_ns: time since the last sign of use (a return, growth, or use seen by a
 *    source); only time counts in which there was something to see it by.
 * @sampled_ns: time since pages of the sample were last put out.
 * @watched_ns: time since the first page of the sample was put out.
 * @hold_ns: length of the last hold; the next one is twice as long. 0: never held.
 * @hold_until_ns: when the hold ends (WARM; of COLD: for @warm), on the caller's clock.
 *    Not 0 and not COLD: in use when last looked at, as umem_slices_merge() asks.
 * @whole_until_ns: not to be split before: its parts were alike the last time.
 * @evidence_ns: page-nanoseconds out since the last return: the pages that are
 *    out, times how long. UINT64_MAX is the most.
 * @n_pages: its length.
 * @resident, @trial, @touched, @out, @at_risk, @returned, @used: as last seen.
 * @grown: pages that became resident in the last interval and were not evicted
 *    by us: the target filled them.
 * @warm: resident pages of a cold slice that came back; they stay until hold_until_ns.
 * @sample: pages that were put out, or on trial, in this probe. @put: of them, the
 *    last time.
 * @back: of them, came back.
 * @recent: pages on trial that were used within @recent_ns, the time since it was asked last.
 * @want: pages to do something with now, set by umem_plan_make(); at most @resident, or
 *    of those on trial @trial. @way: enum umem_slice_way, what.
 * @state: enum umem_slice_state.
 * @source: enum umem_use_source.
 * @step: of the probe: 0 for the first sample, one more each time that it grew.
 * @wish: of umem_plan_make(), between judging and granting.
 * @seen: umem_slice_note() was called for it. @late: its memory was mapped after
 *    the first umem_slices_sync(): all that is resident counts as grown at first.
 * @tries: pages of it can be put on trial. @all: what is wanted is all that was not on
 *    trial yet.
 * @split: to be split now, set by umem_plan_make().
 */
struct umem_slice {
	uint64_t start;
	uint64_t quiet_ns;
	uint64_t sampled_ns;
	uint64_t watched_ns;
	uint64_t hold_ns;
	uint64_t hold_until_ns;
	uint64_t whole_until_ns;
	uint64_t evidence_ns;
	uint64_t recent_ns;
	uint32_t n_pages;
	uint32_t resident;
	uint32_t trial;
	uint32_t touched;
	uint32_t out;
	uint32_t at_risk;
	uint32_t returned;
	uint32_t used;
	uint32_t grown;
	uint32_t warm;
	uint32_t sample;
	uint32_t put;
	uint32_t back;
	uint32_t recent;
	uint32_t want;
	uint8_t state;
	uint8_t source;
	uint8_t step;
	uint8_t wish;
	uint8_t way;
	bool seen;
	bool late;
	bool tries;
	bool all;
	bool split;
};

/**
 * struct umem_slices - the slices of one target, sorted by address.
 * @v: the slices, @n of them. @room: how many @v has room for.
 * @page_bytes: size of a page; set by umem_slices_init().
 * @max: no split is made that leads to more; UMEM_SLICES_MAX after init.
 */
struct umem_slices {
	struct umem_slice *v;
	size_t n;
	size_t room;
	uint64_t page_bytes;
	size_t max;
};

/**
 * struct umem_slices_sum - pages of all slices together, as last seen; @n of them.
 * @sampled_back: of @returned, came back to slices that are being probed.
 */
struct umem_slices_sum {
	uint64_t n;
	uint64_t pages;
	uint64_t resident;
	uint64_t trial;
	uint64_t touched;
	uint64_t out;
	uint64_t at_risk;
	uint64_t returned;
	uint64_t sampled_back;
	uint64_t used;
	uint64_t want;
};

/** umem_slices_init - no slices yet. @page_bytes: a power of two. */
void umem_slices_init(struct umem_slices *self, uint64_t page_bytes);

/** umem_slices_deinit - free what it owns and make it empty. */
void umem_slices_deinit(struct umem_slices *self);

/**
 * umem_slices_sync - make the slices cover exactly @ranges.
 * @ranges: whole pages.
 *
 * What stays keeps its state; a slice that lost a part is cut, its counts are
 * scaled until they are seen again; what is new starts as NEW. Linear.
 *
 * Return: 0, -ENOMEM (nothing changed).
 */
int umem_slices_sync(struct umem_slices *self, const struct umem_ranges *ranges);

/** umem_slices_find - index of the first slice whose end is past @addr; @n if none. */
size_t umem_slices_find(const struct umem_slices *self, uint64_t addr);

/** umem_slice_end - the first address past a slice. */
static inline uint64_t umem_slice_end(const struct umem_slices *self,
	const struct umem_slice *slice)
{
	return slice->start + slice->n_pages * self->page_bytes;
}

/** umem_slices_sum - add up what was last seen. */
void umem_slices_sum(const struct umem_slices *self, struct umem_slices_sum *ret_sum);

/**
 * umem_slice_note - take in what was seen in an interval of @dt_ns.
 * Numbers that cannot be (more returned than at risk, more than its pages) are
 * cut to what can: they were read one after the other from a moving target.
 */
void umem_slice_note(struct umem_slice *slice, const struct umem_slice_seen *seen,
	uint64_t dt_ns);

/**
 * umem_slice_put_out - tell what became of @want.
 * @got: pages that really went out, or on trial. 0: the slice is held, for it was
 *    refused. Of UMEM_WAY_DROP, what did not go is resident again; of UMEM_WAY_RELEASE
 *    it says nothing.
 * @hold_ns: how long such a slice is held at first (umem_probe_conf.hold_ns).
 */
void umem_slice_put_out(struct umem_slice *slice, uint64_t got, uint64_t now_ns,
	uint64_t hold_ns);

/**
 * umem_slice_rest - set hold_ns and hold_until_ns, keep the state.
 * @first_ns: length of the first hold; @max_ns: of the longest; each is twice the last.
 */
void umem_slice_rest(struct umem_slice *slice, uint64_t now_ns, uint64_t first_ns,
	uint64_t max_ns);

/**
 * umem_slice_hold - leave the slice alone for twice as long as the last time:
 * WARM, and its probe is over. As umem_slice_rest().
 */
void umem_slice_hold(struct umem_slice *slice, uint64_t now_ns, uint64_t first_ns,
	uint64_t max_ns);

/**
 * umem_slice_counter - count a part of memory for umem_slices_split().
 * @start, @n_pages: the part; @ret_seen: as for the interval that was just noted.
 */
typedef void umem_slice_counter(void *arg, uint64_t start, uint64_t n_pages,
	struct umem_slice_seen *ret_seen);

/**
 * umem_slices_split - split each slice that says so, one level down.
 * @count: counts the parts; NULL: counts are divided evenly (sums stay exact).
 * @dt_ns: length of the interval that @count counts.
 *
 * A part in which pages came back or were used is held as its parent is; a part
 * with pages out that did not return goes on with them as its sample; the others
 * start as NEW. @want of the parts is 0. A slice that cannot be split (at the
 * smallest size, or @max is reached) stays as it is: held. Linear.
 *
 * Return: 0, -ENOMEM (nothing changed).
 */
int umem_slices_split(struct umem_slices *self, umem_slice_counter *count, void *arg,
	uint64_t dt_ns);

/**
 * umem_slices_merge - put neighbours together again that are all cold, or all in use.
 * @whole_ns: for so long at most a slice that was merged from parts in use is not
 *            split again: four times its last hold, at least two minutes.
 *
 * Only where all slices of a block of 64 pages, then of 512, are alike and touch.
 * Sums of counts stay. Never allocates; linear. Return: slices that went away.
 */
size_t umem_slices_merge(struct umem_slices *self, uint64_t now_ns, uint64_t whole_ns);

/**
 * umem_slices_wake - end holds early after the working set has changed.
 * @now_ns: holds end at @now_ns + @within_ns at the latest, spread evenly over
 * the slices, and the next hold of these slices starts short again.
 */
void umem_slices_wake(struct umem_slices *self, uint64_t now_ns, uint64_t within_ns);

#endif
