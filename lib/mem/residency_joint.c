// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Entries of a page table, put together with the object behind them.
 *
 * Theory of operation
 *
 * Asking the object costs a system call a run, so for a stretch with many short
 * runs it is first asked whether all of it is alike there; what the table knows
 * goes first:
 *
 *     table     present --   --      present guard --
 *     object    [resident ............................]
 *     state     resident                     guard resident
 *
 * Where it is not, it hardly is in the next stretches, and these are asked run by
 * run at once.
 */
#include "lib/mem/residency_joint.h"

#include <errno.h>

#include "lib/base/attr.h"

/* A stretch, and how many runs in it make asking for all of it at once cheaper. */
#define STRETCH_BYTES (2ull << 20)
#define STRETCH_RUNS  8

/* Stretches that are asked run by run after one that was not alike. */
#define N_APART 7

/* The state of what only page tables tell of. */
static enum umem_state state_of(enum umem_entry entry)
{
	switch (entry) {
	case UMEM_ENTRY_PRESENT:
		return UMEM_STATE_RESIDENT;
	case UMEM_ENTRY_SWAPPED:
		return UMEM_STATE_SWAPPED;
	case UMEM_ENTRY_ZERO:
		return UMEM_STATE_ZERO;
	case UMEM_ENTRY_GUARD:
		return UMEM_STATE_GUARD;
	default:
		return UMEM_STATE_UNTOUCHED;
	}
}

static int put_object(struct umem_joint *joint, uint64_t start, uint64_t end, enum umem_state state)
{
	uint64_t bytes;

	if (state != UMEM_STATE_SWAPPED)
		return umem_walk_add(&joint->out, start, end, state);
	if (joint->cached == UMEM_CACHED_UNKNOWN)
		joint->cached = umem_reader_place(joint->reader) == UMEM_SWAP_DEVICE ?
			UMEM_CACHED_COUNTED : UMEM_CACHED_NOT;
	if (joint->cached == UMEM_CACHED_COUNTED) {
		if (umem_object_in_memory(joint->view, start - joint->shift, end - joint->shift,
			    &bytes) == 0)
			joint->cached_bytes += bytes;
		else
			joint->cached = UMEM_CACHED_NOT;
	}
	return umem_walk_add(&joint->out, start, end, state);
}

/* What the object says, where the table says nothing; ascending through the stretch. */
static int put_together(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct umem_joint *joint = user;
	int r = 0;

	while (start < end && r == 0) {
		const struct umem_joint_run *run = &joint->runs[joint->i_run];
		uint64_t to = umem_min_u64(end, run->end);

		if (start >= run->end) {
			joint->i_run++;
			continue;
		}
		r = run->entry == UMEM_ENTRY_NONE ?
			put_object(joint, start, to, state) :
			umem_walk_add(&joint->out, start, to, state_of(run->entry));
		start = to;
	}
	return r;
}

/* Ask the object for [@start, @end). When it fails, what is left is called untouched. */
static int ask(struct umem_joint *joint, uint64_t start, uint64_t end)
{
	struct umem_walk walk = { .each = put_together, .user = joint };
	int r = joint->failed;

	if (r == 0)
		r = umem_object_walk(joint->view, start - joint->shift, end - joint->shift,
			joint->shift, &walk);
	if (r < 0 && r != -ENOMEM) {
		uint64_t done = umem_max_u64(walk.end, start);

		joint->failed = r;
		r = umem_walk_add(&walk, done, end, UMEM_STATE_UNTOUCHED);
	}
	return r != 0 ? r : umem_walk_end(&walk);
}

/* If all of a stretch of many runs is alike in the object, hand it on. @ret_done: it was. */
static int at_once(struct umem_joint *joint, size_t n, bool *ret_done)
{
	uint64_t start = joint->runs[0].start, end = joint->runs[n - 1].end;
	enum umem_state state;
	int r;

	*ret_done = joint->view->method == UMEM_OBJECT_EXTENTS || joint->failed;
	if (*ret_done)
		return ask(joint, start, end);
	if (joint->n_apart > 0) {
		joint->n_apart--;
		return 0;
	}
	r = umem_object_alike(joint->view, start - joint->shift, end - joint->shift, &state);
	if (r == 0)
		joint->n_apart = N_APART;
	*ret_done = r > 0;
	return r > 0 ? put_together(joint, start, end, state) : 0;
}

static int flush(struct umem_joint *joint)
{
	size_t n = joint->n_runs;
	bool many = joint->n_none >= STRETCH_RUNS, done = false;
	int r = 0;

	joint->n_runs = joint->n_none = joint->i_run = 0;
	if (n > 0 && many)
		r = at_once(joint, n, &done);
	for (size_t i = 0; i < n && r == 0 && !done; i++) {
		const struct umem_joint_run *run = &joint->runs[i];

		joint->i_run = i;
		r = run->entry == UMEM_ENTRY_NONE ?
			ask(joint, run->start, run->end) :
			umem_walk_add(&joint->out, run->start, run->end, state_of(run->entry));
	}
	return r;
}

/* Keep a run until its stretch is complete. */
static int keep(struct umem_joint *joint, uint64_t start, uint64_t end, enum umem_entry entry)
{
	struct umem_joint_run *last = joint->n_runs ? &joint->runs[joint->n_runs - 1] : NULL;

	if (last && last->entry == entry && last->end == start) {
		last->end = end;
	} else {
		joint->runs[joint->n_runs++] = (struct umem_joint_run){ start, end, entry };
		joint->n_none += entry == UMEM_ENTRY_NONE;
	}
	if (joint->n_runs < UMEM_JOINT_RUNS && end - joint->runs[0].start < STRETCH_BYTES)
		return 0;
	return flush(joint);
}

int umem_joint_take(void *user, uint64_t start, uint64_t end, enum umem_entry entry)
{
	struct umem_joint *joint = user;

	if (entry == UMEM_ENTRY_HIDDEN) {
		joint->hidden_bytes += end - start;
		entry = joint->hidden;
	} else if (entry == UMEM_ENTRY_UNMARKED) {
		joint->unmarked_bytes += end - start;
		entry = joint->unmarked;
	}
	if (joint->view)
		return keep(joint, start, end, entry);
	return umem_walk_add(&joint->out, start, end, state_of(entry));
}

int umem_joint_end(struct umem_joint *joint)
{
	int r = joint->view ? flush(joint) : 0;

	return r != 0 ? r : umem_walk_end(&joint->out);
}
