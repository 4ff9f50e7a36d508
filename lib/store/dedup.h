/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which stored page has a content: a table of bounded size.
 *
 * Theory of operation
 *
 * Open addressing by the secret lane of the page hash, with a window of 16 slots. The
 * table doubles until it has the size it may have; from then on a new page takes the
 * place of another one of its window, so what was stored long ago may be stored once
 * more. Nothing else is lost by it. One owner, no locks, no system call.
 */
#ifndef UMEM_STORE_DEDUP_H
#define UMEM_STORE_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/store/pagehash.h"

struct umem_dedup_slot;

/**
 * struct umem_dedup - the table; all zero with @max_slots set is an empty one.
 * @max_slots: how large it may become, a power of two; 0: it holds nothing.
 * @slots, @n_slots, @n: private.
 */
struct umem_dedup {
	uint64_t max_slots;
	struct umem_dedup_slot *slots;
	uint64_t n_slots;
	uint64_t n;
};

/** umem_dedup_init - a table that takes at most @max_bytes. */
void umem_dedup_init(struct umem_dedup *dedup, uint64_t max_bytes);

/** umem_dedup_deinit - free what it owns. */
void umem_dedup_deinit(struct umem_dedup *dedup);

/** umem_dedup_find - the number of a page with this content. Return: false: none known. */
bool umem_dedup_find(const struct umem_dedup *dedup, const struct umem_pagehash2 *hash,
	uint64_t *ret_number);

/** umem_dedup_add - page @number has this content. When memory is short it is not noted. */
void umem_dedup_add(struct umem_dedup *dedup, const struct umem_pagehash2 *hash,
	uint64_t number);

/** umem_dedup_keep - forget the pages that @keep says no to. Return: 0, -ENOMEM. */
int umem_dedup_keep(struct umem_dedup *dedup, bool (*keep)(void *user, uint64_t number),
	void *user);

#endif
