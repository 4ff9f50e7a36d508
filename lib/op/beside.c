// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * On which processor the pages of another process are put out.
 *
 * Theory of operation
 *
 * Before the kernel writes a page out it makes sure that no processor has a translation
 * of it: each processor on which the process runs is interrupted and waited for, page by
 * page (shrink_folio_list() flushes before each dirty page). In a virtual machine that
 * is half of the cost, or more:
 *
 *     process_madvise(MADV_PAGEOUT) to zram, of a process that is busy two thirds of
 *     the time, us of our processor time a page (Linux 6.18, 2 virtual processors)
 *
 *         on another processor than the process      12.0, 13.0
 *         on the same one                             6.2,  7.3
 *
 * On the same processor the process does not run while we do, and what has to be flushed
 * is here. The price is that it waits for us to be preempted, which at our priority is
 * soon. A process that runs on several processors at once gains nothing.
 *
 * So nothing is assumed: both places are measured, the cheaper one is used, and the other
 * is tried again now and then, since a process may change.
 */
#include "lib/op/beside.h"

#include <time.h>

#include "lib/kern/pidfd.h"

/* One piece in so many is for the other place. */
#define TRY_AGAIN 24u
/* Fewer pages say little of what one costs. */
#define MIN_PAGES 16u

static uint64_t thread_ns(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static enum umem_beside_where choose(const struct umem_beside *beside)
{
	const uint64_t *cost = beside->cost_ns;
	enum umem_beside_where best = cost[UMEM_BESIDE_TARGET] < cost[UMEM_BESIDE_ANYWHERE] ?
		UMEM_BESIDE_TARGET : UMEM_BESIDE_ANYWHERE;

	/* What is not known costs 0: it is tried first. */
	if (cost[best] > 0 && beside->n % TRY_AGAIN == TRY_AGAIN - 1)
		best = best == UMEM_BESIDE_TARGET ? UMEM_BESIDE_ANYWHERE : UMEM_BESIDE_TARGET;
	return best;
}

/* Bind the thread to the processor on which the process ran last. Return: was it done? */
static bool bind_to(struct umem_beside *beside, int proc_fd)
{
	struct umem_proc_stat stat;
	cpu_set_t one;

	if (sched_getaffinity(0, sizeof(beside->home), &beside->home) < 0 ||
		umem_proc_stat_read_at(proc_fd, 0, &stat) != 0 || stat.last_cpu < 0 ||
		stat.last_cpu >= CPU_SETSIZE || !CPU_ISSET(stat.last_cpu, &beside->home))
		return false;
	CPU_ZERO(&one);
	CPU_SET(stat.last_cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0;
}

void umem_beside_begin(struct umem_beside *beside, int proc_fd)
{
	beside->now = choose(beside);
	beside->bound = beside->now == UMEM_BESIDE_TARGET && bind_to(beside, proc_fd);
	beside->begun_ns = thread_ns();
}

void umem_beside_end(struct umem_beside *beside, uint64_t pages)
{
	uint64_t *cost = &beside->cost_ns[beside->now], now_ns;

	if (beside->bound)
		sched_setaffinity(0, sizeof(beside->home), &beside->home);
	if (pages < MIN_PAGES)
		return;
	beside->n++;
	/* Where it cannot be bound, that place is no better than the other. */
	if (beside->now == UMEM_BESIDE_TARGET && !beside->bound) {
		*cost = UINT64_MAX;
		return;
	}
	now_ns = (thread_ns() - beside->begun_ns) / pages;
	/* 0 is for what is not known. */
	now_ns += now_ns == 0;
	*cost = *cost == 0 || *cost == UINT64_MAX ? now_ns : (*cost * 3 + now_ns) / 4;
}
