/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What work on a target has to know of the whole machine: its swap areas, its memory, how
 * much more the target's cgroup may have out, what frames are used for. Read here, or where
 * /proc is out of reach by whoever is asked (struct umem_reach). Of the moment; no state.
 */
#ifndef UMEM_MEM_MACHINE_H
#define UMEM_MEM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/json.h"
#include "lib/kern/psi.h"
#include "lib/kern/swapdev.h"
#include "lib/kern/vmstat.h"
#include "lib/mem/target.h"

/**
 * struct umem_machine - of a moment; all zero before the first one.
 * @areas: swap areas. From elsewhere those of zram have only what is used here.
 * @info: memory; what the kernel does not tell is not in its @present.
 */
struct umem_machine {
	struct umem_swap_areas areas;
	struct umem_meminfo info;
};

/** umem_machine_deinit - free what it owns and make it empty. */
void umem_machine_deinit(struct umem_machine *machine);

/**
 * umem_machine_read - look now.
 * @machine: initialized, maybe used before; replaced.
 * Return: 0; -errno: the areas cannot be told, and nothing of @machine holds.
 */
int umem_machine_read(const struct umem_target *target, struct umem_machine *machine);

/** umem_machine_has_swap - is there any swap area? True when it cannot be told. */
bool umem_machine_has_swap(const struct umem_target *target);

/** umem_machine_meminfo - memory alone, which is asked for often. Return: as above. */
int umem_machine_meminfo(const struct umem_target *target, struct umem_meminfo *ret_info);

/**
 * umem_machine_room - how much may still be put out of @target, by the areas and by its
 * cgroup; UINT64_MAX where nothing tells. @ret_limited: it is the cgroup that ends it.
 */
uint64_t umem_machine_room(const struct umem_target *target, bool *ret_limited);

/**
 * struct umem_machine_strain - what the machine goes through.
 * @vmstat: events since boot; what the kernel does not count is not in its @present.
 * @info: memory, read right behind that.
 * @psi, @psi_known: stalls of the target's cgroup, or of the machine.
 * @psi_own: of the cgroup.
 */
struct umem_machine_strain {
	struct umem_vmstat vmstat;
	struct umem_meminfo info;
	struct umem_psi psi;
	bool psi_known;
	bool psi_own;
};

/**
 * umem_machine_strain - look now. Return: 0 or -errno.
 * Only where /proc is out of reach: who has it reads what of this is wanted.
 */
int umem_machine_strain(const struct umem_target *target, struct umem_machine_strain *ret_strain);

/**
 * enum umem_machine_part - parts of an answer that are looked at only when they are wanted.
 * @UMEM_MACHINE_ROOM: for umem_machine_room().
 * @UMEM_MACHINE_STRAIN: for umem_machine_strain().
 */
enum umem_machine_part {
	UMEM_MACHINE_ROOM = 1u << 0,
	UMEM_MACHINE_STRAIN = 1u << 1,
};

/**
 * umem_machine_find - the same for somebody else, who has no /proc (struct umem_reach).
 * @pid: the target.
 * @parts: of enum umem_machine_part.
 * Return: 0 with what umem_machine_read() there understands, owned by the caller; -errno.
 */
int umem_machine_find(int pid, unsigned parts, struct umem_json **ret_found);

/** umem_machine_open_frames - /proc/kpageflags. Return: as umem_kpage_open(). */
int umem_machine_open_frames(const struct umem_target *target, int *ret_fd);

#endif
