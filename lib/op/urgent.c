// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Urgent work: the round-robin real-time class at its lowest priority, which comes
 * before all ordinary threads and behind whatever the machine's owner made real-time.
 *
 * A stop of milliseconds would otherwise be as long as a busy machine takes to give us
 * a processor, which is what the stopped threads would feel.
 */
#include "lib/op/urgent.h"

void umem_urgent_begin(struct umem_urgent *urgent)
{
	struct sched_param param = { .sched_priority = sched_get_priority_min(SCHED_RR) };
	int policy = sched_getscheduler(0);

	/* Real-time or a deadline already: its owner knows better. */
	if (urgent->begun || (policy != SCHED_OTHER && policy != SCHED_BATCH &&
			policy != SCHED_IDLE))
		return;
	if (sched_getparam(0, &urgent->param) < 0)
		return;
	urgent->policy = policy;
	urgent->begun = sched_setscheduler(0, SCHED_RR, &param) == 0;
}

void umem_urgent_end(struct umem_urgent *urgent)
{
	if (urgent->begun)
		sched_setscheduler(0, urgent->policy, &urgent->param);
	urgent->begun = false;
}
