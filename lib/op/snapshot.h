/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of a snapshotter (see <umemd/op.h>), shared by the files of its methods.
 */
#ifndef UMEM_OP_SNAPSHOT_H
#define UMEM_OP_SNAPSHOT_H

#include <umemd/op.h>
#include <umemd/track.h>

#include "lib/base/attr.h"
#include "lib/base/reasons.h"
#include "lib/kern/freeze.h"
#include "lib/op/content.h"
#include "lib/op/copier.h"
#include "lib/op/describe.h"
#include "lib/op/urgent.h"

/**
 * struct umem_snapshot_member - one process of a snapshot.
 * @pid: its id; its space in the image is its index among the members.
 * @ended: it is not there any more; nothing of it is in the image.
 * @in_last: it is in the image that was made last.
 * @tracked: this snapshot of it is an increment to that.
 * @frozen: its index among those that are stopped.
 * @target: through which it is read; owned.
 * @watch: what changes while it is copied (pre-copy); owned, may be NULL.
 * @copier: copies it.
 * @content: pages that hold something.
 * @stage: what was read within the stop.
 * @dirty: scratch: pages of a round.
 * @gone: scratch: pages that are mapped no longer, or by something else, or are a file's
 *	again; and that were not read since.
 * @unwatched: addresses that the watch does not cover.
 * @huge: what was mapped by huge pages, and is to be again.
 * @why: where its part of the image is not complete.
 * @description: what it was at the moment.
 */
struct umem_snapshot_member {
	int pid;
	bool ended;
	bool in_last;
	bool tracked;
	size_t frozen;
	struct umem_target *target;
	struct umem_watch *watch;
	struct umem_copier copier;
	struct umem_content content;
	struct umem_stage stage;
	struct umem_pageset dirty;
	struct umem_pageset gone;
	struct umem_ranges unwatched;
	struct umem_ranges huge;
	struct umem_reasons why;
	struct umem_description description;
};

struct umem_snapshotter;

/** UMEM_SNAPSHOT_ATTACH_NS - attaching may take so long, on a machine that is busy. */
#define UMEM_SNAPSHOT_ATTACH_NS 5000000000u

/** UMEM_SNAPSHOT_HINT - what to do about others who write shared memory. */
#define UMEM_SNAPSHOT_HINT "--tree takes it along"

/**
 * struct umem_snapshot_ops - a method.
 * @method, @name: which.
 * @sees_writers: it says itself who else may have written shared memory.
 * @prepare: attach to the members, if they are not yet; nothing is copied. On failure
 *	nothing is left in them.
 * @take: copy all members at one moment into s->writer, and describe them.
 * @release: detach from the members; NULL where there is nothing.
 *
 * Return: 0, UMEM_GONE, -errno with the note set.
 */
struct umem_snapshot_ops {
	enum umem_snapshot_method method;
	const char *name;
	bool sees_writers;
	int (*prepare)(struct umem_snapshotter *s, struct umem_note *note);
	int (*take)(struct umem_snapshotter *s, struct umem_note *note);
	void (*release)(struct umem_snapshotter *s);
};

extern const struct umem_snapshot_ops umem_snapshot_freeze;
extern const struct umem_snapshot_ops umem_snapshot_precopy;
extern const struct umem_snapshot_ops umem_snapshot_cow;
extern const struct umem_snapshot_ops umem_snapshot_fork;

/**
 * struct umem_snapshotter - a snapshotter.
 * @options: as asked; @selected has its regions.
 * @selected: addresses that are wanted; @whole: that is all.
 * @ops: the method; @why it was chosen.
 * @v, @n: processes; v[0] is the one that was named.
 * @pids: their ids.
 * @freeze: stops them.
 * @urgent: while they are.
 * @writer: the image that is being made.
 * @last_id: content id of the image that was made last, and since which the watches
 *	know what changed; @has_last: it is set.
 * @tracked: this snapshot is an increment to that one.
 * @start_ns: when this snapshot began, CLOCK_MONOTONIC.
 * @moment_ns: the moment that it shows, CLOCK_REALTIME.
 * @incomplete: of this snapshot, of all members.
 * @result: what the caller is shown.
 * @round, @round_bytes, @round_done: for the progress.
 */
struct umem_snapshotter {
	struct umem_snapshot_options options;
	struct umem_ranges selected;
	bool whole;
	const struct umem_snapshot_ops *ops;
	const char *why;
	struct umem_snapshot_member *v;
	size_t n;
	int *pids;
	struct umem_freeze *freeze;
	struct umem_urgent urgent;
	struct umem_image_writer *writer;
	struct umem_image_id last_id;
	bool has_last;
	bool tracked;
	uint64_t start_ns;
	uint64_t moment_ns;
	struct umem_reasons incomplete;
	struct umem_snapshot result;
	uint64_t round;
	uint64_t round_bytes;
	uint64_t round_done;
};

/** umem_snapshot_open - open the targets of members that are not, for looking at them. */
int umem_snapshot_open(struct umem_snapshotter *s, struct umem_note *note);

/** umem_snapshot_detach - give up the target of a member and what belongs to it. */
void umem_snapshot_detach(struct umem_snapshot_member *member);

/**
 * umem_snapshot_next - the first live member behind @m, or of all when it is NULL.
 * Return: NULL at the end.
 */
struct umem_snapshot_member *umem_snapshot_next(struct umem_snapshotter *s,
	struct umem_snapshot_member *m);

/** umem_each_member - walk the live members. */
#define umem_each_member(s, m) \
	(struct umem_snapshot_member *m = umem_snapshot_next(s, NULL); m; \
		m = umem_snapshot_next(s, m))

/**
 * umem_snapshot_result - what the result @r of work on @m means for the snapshot: that a
 * member other than the first has ended is none of its failures.
 */
int umem_snapshot_result(struct umem_snapshotter *s, struct umem_snapshot_member *m, int r);

/** umem_snapshot_space - the space of @m in the image. */
static inline uint32_t umem_snapshot_space(const struct umem_snapshotter *s,
	const struct umem_snapshot_member *m)
{
	return (uint32_t)(m - s->v);
}

/** umem_snapshot_stop - stop all threads of all members. Return: as umem_freeze_stop(). */
int umem_snapshot_stop(struct umem_snapshotter *s, struct umem_note *note);

/** umem_snapshot_name_workers - say which threads are not held. Return: 0 or -ENOMEM. */
int umem_snapshot_name_workers(struct umem_snapshotter *s);

/**
 * umem_snapshot_go - let them go on, and note how long they stood. Safe when none is stopped.
 * @result: of the work within the stop. Return: it; -EIO if it is 0 and they went on early.
 */
int umem_snapshot_go(struct umem_snapshotter *s, int result, struct umem_note *note);

/**
 * umem_snapshot_describe - the threads of the members, and the time; while they are stopped.
 * Return: 0, UMEM_GONE, -ENOMEM.
 */
int umem_snapshot_describe(struct umem_snapshotter *s);

/** umem_snapshot_begin_round - a round of @bytes begins, for the progress. */
void umem_snapshot_begin_round(struct umem_snapshotter *s, uint64_t bytes);

/**
 * umem_snapshot_put_out - put memory of @member out again that was swapped before it was
 * read. That it stays in memory is no failure. Return: 0, UMEM_GONE, -ENOMEM.
 */
int umem_snapshot_put_out(struct umem_snapshot_member *member,
	const struct umem_ranges *ranges);

/** umem_snapshot_put_back - the same with a set of pages. */
int umem_snapshot_put_back(struct umem_snapshot_member *member, struct umem_pageset *swapped);

/**
 * umem_snapshot_find_huge - note what of @member is mapped by huge pages, before anything
 * splits them. Refreshes its regions. Return: 0, UMEM_GONE, -ENOMEM.
 */
int umem_snapshot_find_huge(struct umem_snapshot_member *member);

/** umem_snapshot_restore_huge - make that huge again, and forget it. */
void umem_snapshot_restore_huge(struct umem_snapshot_member *member);

/** UMEM_SNAPSHOT_SWAPPED_BYTES - read in before it is put out again. */
#define UMEM_SNAPSHOT_SWAPPED_BYTES (16ull << 20)

/**
 * umem_snapshot_copy - copy @set of @member while it may run or not; what is @swapped
 * of it last, and left swapped out as it was.
 * Return: as umem_copier_copy(), -ECANCELED.
 */
int umem_snapshot_copy(struct umem_snapshotter *s, struct umem_snapshot_member *member,
	struct umem_pageset *set, struct umem_pageset *swapped);

/** umem_snapshot_finish - after a method's take: all that remains, and the commit. */
int umem_snapshot_finish(struct umem_snapshotter *s, struct umem_image_totals *ret_totals,
	struct umem_note *note);

#endif
