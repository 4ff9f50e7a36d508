/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registering exactly what is mapped, also when the mappings just change. */
#ifndef UMEM_TRACK_EXACT_H
#define UMEM_TRACK_EXACT_H

#include <stdint.h>

#include "lib/mem/target.h"

/**
 * umem_register_exactly - register a whole mapping for write protection.
 * @uffd: a userfaultfd of @target's memory.
 * @start, @end: the mapping, as it was read.
 *
 * Return: 0; UMEM_AGAIN: something else is mapped there by now, and nothing was registered;
 * -errno as umem_uffd_register().
 */
int umem_register_exactly(const struct umem_target *target, int uffd, uint64_t start,
	uint64_t end);

#endif
