/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a parent found by their content, wherever they are: memory that moved.
 *
 * Theory of operation
 *
 * A table from hashes of pages to places in the parent, made from the hashes in the
 * files of the chain. The images of a chain have each its own key, so a page is hashed
 * once for each image that has pages there, up to MAX_KEYS of them, the nearest first.
 * Who can read the parent knows these keys and can make pages that collide, and here a
 * page of one program may stand for that of another. So what is found is read from the
 * parent and compared.
 *
 * That costs: the table takes a tenth of a second for 4 GiB, a read a frame. So for a
 * large parent the table is only made when a sixteenth as much as it has was stored
 * anew; and reads that do not follow the one before are few, a 64th of all look-ups.
 * Memory that moved as a whole is found all the same, and random pages are stored.
 */
#ifndef UMEM_STORE_KIN_H
#define UMEM_STORE_KIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/attr.h"
#include "lib/store/image.h"

struct umem_kin;

/**
 * umem_kin_new - get ready to look into @parent, which outlives this.
 * @max_bytes: memory for the table, at most. Return: 0, -ENOMEM.
 */
int umem_kin_new(struct umem_image *parent, uint64_t max_bytes, struct umem_kin **ret_kin);

/** umem_kin_free - NULL is fine. Return: NULL. */
struct umem_kin *umem_kin_free(struct umem_kin *kin);

/**
 * umem_kin_find - has the parent this page?
 * @n_stored: pages that were stored anew so far.
 * @ret_space, @ret_addr: where it is.
 */
bool umem_kin_find(struct umem_kin *kin, const void *page, uint64_t n_stored,
	uint32_t *ret_space, uint64_t *ret_addr);

UMEM_DEFINE_CLEANUP(struct umem_kin, umem_kin_free)

#endif
