/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A walk over the mappers of an object on behalf of another process; shared with mappers.c. */
#ifndef UMEM_MEM_MAPPERS_PASS_H
#define UMEM_MEM_MAPPERS_PASS_H

#include "lib/mem/mappers.h"

/** umem_mappers_add - one more object to look for. Return: 0 or -ENOMEM. */
int umem_mappers_add(struct umem_mappers *m, const struct umem_mapped *mapped);

/** umem_mappers_open - the objects are all there: begin with /proc. Return: 0 or -errno. */
int umem_mappers_open(struct umem_mappers *m);

/**
 * umem_mappers_ask - have somebody else walk; when that fails all others count as hidden.
 * Return: 0 or -ENOMEM.
 */
int umem_mappers_ask(struct umem_mappers *m, const struct umem_reach *reach);

/** umem_mappers_take - umem_mappers_next() of what was found. */
int umem_mappers_take(struct umem_mappers *m, bool (*skip)(void *user, int pid), void *user,
	const struct umem_mapper **ret_mapper);

#endif
