// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where the serving thread runs.
 *
 * Theory of operation
 *
 * A writer that faults sleeps until it is served. Waking a thread on another
 * processor takes an interrupt there and back, three times as long as all else
 * of the service. So while there is one writer, the thread is bound to the
 * processor of that one: it runs as soon as the writer sleeps, and the writer as
 * soon as it does. A message tells the thread that faulted; where it ran last
 * is read from /proc when it has faulted several times in a row, and again from
 * time to time, since it may be moved.
 *
 * A better priority is of no use: the writer is to run as soon as it is woken, in
 * the middle of the call that wakes it.
 *
 * With several writers one is served while others run, and the thread hardly
 * ever sleeps: it runs where the scheduler puts it.
 */
#include "lib/track/cow_own.h"

#include <sched.h>

#include "lib/kern/pidfd.h"

/* Faults in a row of one thread before it counts as the only writer. */
#define RUN_FAULTS 4

/* How often is looked whether it was moved. */
#define LOOK_NS 5000000ull

void umem_cow_place_init(struct umem_cow_place_state *place)
{
	place->cpu = -1;
	place->known = sched_getaffinity(0, sizeof(place->home), &place->home) == 0;
}

static void unbind(struct umem_cow_place_state *place)
{
	if (place->cpu < 0)
		return;
	sched_setaffinity(0, sizeof(place->home), &place->home);
	place->cpu = -1;
}

static void bind_to(struct umem_cow_place_state *place, int cpu)
{
	cpu_set_t one;

	if (cpu < 0 || cpu >= CPU_SETSIZE || cpu == place->cpu || !CPU_ISSET(cpu, &place->home))
		return;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) == 0)
		place->cpu = cpu;
}

void umem_cow_place_fault(struct umem_cow_place_state *place, int pid, int tid, uint64_t now_ns)
{
	struct umem_proc_stat stat;

	if (!place->known)
		return;
	if (tid != place->tid) {
		/* One that is in between is none of several. */
		place->n_others = place->run >= RUN_FAULTS ? 1 : place->n_others + 1;
		place->tid = tid;
		place->run = 0;
		if (place->n_others > RUN_FAULTS)
			unbind(place);
		return;
	}
	if (++place->run < RUN_FAULTS)
		return;
	place->n_others = 0;
	if (place->cpu >= 0 && place->looked_tid == tid && now_ns - place->looked_ns < LOOK_NS)
		return;
	place->looked_ns = now_ns;
	place->looked_tid = tid;
	if (umem_proc_stat_read(pid, tid, &stat) == 0)
		bind_to(place, stat.last_cpu);
}
