/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the machine says to reclaim: swap, compression, the kernel's own reclaim,
 * the processor time that we took.
 */
#ifndef UMEM_OP_RECLAIM_MACHINE_H
#define UMEM_OP_RECLAIM_MACHINE_H

#include "lib/kern/swapdev.h"
#include "lib/kern/vmstat.h"
#include "lib/mem/target.h"
#include "lib/op/reclaim.h"

/**
 * struct umem_reclaim_machine - what the machine said last.
 * @vmstat, @cpu_ns: counters at the last look.
 * @given_bytes, @stored_bytes: of compressed swap, at the start.
 * @areas: swap areas now.
 * @begun: it was looked at.
 * @target: by whose means it is looked at; NULL: by our own.
 */
struct umem_reclaim_machine {
	struct umem_vmstat vmstat;
	uint64_t cpu_ns;
	uint64_t given_bytes;
	uint64_t stored_bytes;
	struct umem_swap_areas areas;
	bool begun;
	const struct umem_target *target;
};

/** umem_reclaim_asked - the target by whose means the machine is looked at, or NULL. */
static inline const struct umem_target *umem_reclaim_asked(
	const struct umem_reclaim_options *options)
{
	return options->target && options->target->reach ? options->target : NULL;
}

/**
 * umem_reclaim_machine_check - is there what reclaim needs?
 * @machine: all zero; deinit it.
 * Return: 0, -ENOTSUP without swap (but for a dry run), -ENOSYS: the policy
 * pressure without PSI, -errno.
 */
int umem_reclaim_machine_check(struct umem_reclaim_machine *machine,
	const struct umem_reclaim_options *options, struct umem_note *note);

/** umem_reclaim_machine_deinit - free what it owns. */
void umem_reclaim_machine_deinit(struct umem_reclaim_machine *machine);

/** umem_reclaim_machine_cpu - processor time that we took since the last look, in ns. */
uint64_t umem_reclaim_machine_cpu(const struct umem_reclaim_machine *machine);

/** umem_reclaim_swap_went_away - look at swap anew: is an area gone that was there? */
bool umem_reclaim_swap_went_away(struct umem_reclaim_machine *machine);

/**
 * umem_reclaim_machine_look - the machine in the last interval, in the terms of the limits.
 * @seen: @dt_ns is given; what the machine says is filled in.
 */
void umem_reclaim_machine_look(struct umem_reclaim_machine *machine,
	struct umem_limits_seen *seen);

#endif
