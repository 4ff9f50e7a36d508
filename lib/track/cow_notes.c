// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Notes from one thread to another.
 *
 * Theory of operation
 *
 *     head --> [ full, taken in part ] --> [ full ] --> [ being filled ] <-- tail
 *
 * The producer fills the last block; when it is full it links a new one. The
 * consumer takes from the first and frees it when it is through and there is a
 * next. @n of a block is released behind its notes, @next behind the new block.
 */
#include "lib/track/cow_notes.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define BLOCK_NOTES 1020

struct umem_cow_block {
	struct umem_cow_block *_Atomic next;
	_Atomic uint32_t n;
	struct umem_cow_note v[BLOCK_NOTES];
};

int umem_cow_notes_init(struct umem_cow_notes *notes)
{
	struct umem_cow_block *block = calloc(1, sizeof(*block));

	if (!block)
		return -ENOMEM;
	*notes = (struct umem_cow_notes){ .head = block, .tail = block };
	return 0;
}

void umem_cow_notes_deinit(struct umem_cow_notes *notes)
{
	while (notes->head) {
		struct umem_cow_block *block = notes->head;

		notes->head = atomic_load(&block->next);
		free(block);
	}
	notes->tail = NULL;
}

int umem_cow_notes_put(struct umem_cow_notes *notes, const struct umem_cow_note *note)
{
	struct umem_cow_block *block = notes->tail;
	uint32_t n = atomic_load_explicit(&block->n, memory_order_relaxed);

	if (n == BLOCK_NOTES) {
		struct umem_cow_block *more = calloc(1, sizeof(*more));

		if (!more)
			return -ENOMEM;
		atomic_store_explicit(&block->next, more, memory_order_release);
		notes->tail = block = more;
		n = 0;
	}
	block->v[n] = *note;
	atomic_store_explicit(&block->n, n + 1, memory_order_release);
	atomic_fetch_add_explicit(&notes->n, 1, memory_order_relaxed);
	return 0;
}

bool umem_cow_notes_get(struct umem_cow_notes *notes, struct umem_cow_note *ret_note)
{
	struct umem_cow_block *block = notes->head;

	if (notes->taken == BLOCK_NOTES) {
		struct umem_cow_block *next =
			atomic_load_explicit(&block->next, memory_order_acquire);

		if (!next)
			return false;
		free(block);
		notes->head = block = next;
		notes->taken = 0;
	}
	if (notes->taken == atomic_load_explicit(&block->n, memory_order_acquire))
		return false;
	*ret_note = block->v[notes->taken++];
	return true;
}
