/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Returns: how many pages can have come back from swap in an interval.
 *
 * Theory of operation
 *
 * A page that was out at one look and is in memory at the next came back, or it was
 * discarded and filled anew between the two, as allocators do; nothing in its page
 * table tells which. What tells is how much left swap at all. A page that comes back
 *
 *	- was read in the interval, which the machine's counters show by the page: or
 *	- was in memory already, in the swap cache: since the begin of the interval, or
 *	  since it was put out in it, where the area keeps its pages there (a disk's does,
 *	  zram does not).
 *
 * The sum of these bounds what came back, for private and shared memory, whoever
 * touched the page, and however many pages a fault brought in. It is the machine's:
 * where other programs swap it allows more than one target can have had. The faults of
 * the target alone are no bound: a page that was read ahead comes back by a minor
 * fault, and a guest's pages come back by a worker of the kernel.
 */
#ifndef UMEM_POLICY_RETURNS_H
#define UMEM_POLICY_RETURNS_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct umem_returns_seen - the machine, as counted at one moment, in pages since boot.
 * @known: the rest is.
 * @read: pages that left swap by being read.
 * @put_out: pages that were put out by anybody.
 * @cached: pages that are in the swap cache at this moment.
 */
struct umem_returns_seen {
	bool known;
	uint64_t read;
	uint64_t put_out;
	uint64_t cached;
};

/**
 * umem_returns_most - how many pages can have come back between two moments.
 * @before: taken no later than the look at which the pages were out.
 * @after: taken no earlier than the look at which they are in memory.
 * @kept: an area is in use that keeps what goes out in the swap cache.
 *
 * Return: pages; UINT64_MAX when that is not known.
 */
uint64_t umem_returns_most(const struct umem_returns_seen *before,
	const struct umem_returns_seen *after, bool kept);

#endif
