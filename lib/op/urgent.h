/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Urgent work of the calling thread: while others stand still and wait for it, it goes
 * before ordinary programs. What it starts meanwhile is urgent, too.
 */
#ifndef UMEM_OP_URGENT_H
#define UMEM_OP_URGENT_H

#include <sched.h>
#include <stdbool.h>

/**
 * struct umem_urgent - how it was before; all zero: not urgent.
 * @begun: it is urgent now.
 * @policy, @param: of the scheduler, to be given back.
 */
struct umem_urgent {
	bool begun;
	int policy;
	struct sched_param param;
};

/**
 * umem_urgent_begin - go before others. Without the right to (CAP_SYS_NICE, or
 * RLIMIT_RTPRIO) nothing changes.
 */
void umem_urgent_begin(struct umem_urgent *urgent);

/** umem_urgent_end - as it was before; nothing if it is not urgent. */
void umem_urgent_end(struct umem_urgent *urgent);

#endif
