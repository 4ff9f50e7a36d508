/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notes from the thread that serves faults to the thread that protects: a
 * queue without a lock and without a limit. One producer, one consumer.
 */
#ifndef UMEM_TRACK_COW_NOTES_H
#define UMEM_TRACK_COW_NOTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * enum umem_cow_noted - what happened to a range.
 * @UMEM_COW_LIFTED: it is protected no longer, for a writer's sake.
 * @UMEM_COW_DISCARDED: its content was discarded, and its protection with it.
 * @UMEM_COW_REMAPPED: it is mapped no longer, or anew.
 */
enum umem_cow_noted {
	UMEM_COW_LIFTED,
	UMEM_COW_DISCARDED,
	UMEM_COW_REMAPPED,
};

/** struct umem_cow_note - @start to @end of the process @member: @noted. */
struct umem_cow_note {
	uint64_t start;
	uint64_t end;
	uint32_t member;
	uint32_t noted;
};

struct umem_cow_block;

/**
 * struct umem_cow_notes - the queue; all fields are private.
 * @n: notes put so far, for all to see.
 */
struct umem_cow_notes {
	struct umem_cow_block *head;
	struct umem_cow_block *tail;
	uint32_t taken;
	_Atomic uint64_t n;
};

/** umem_cow_notes_init - an empty queue. Return: 0 or -ENOMEM. */
int umem_cow_notes_init(struct umem_cow_notes *notes);

/** umem_cow_notes_deinit - free everything. */
void umem_cow_notes_deinit(struct umem_cow_notes *notes);

/** umem_cow_notes_put - producer. Return: 0, or -ENOMEM and the note is not in. */
int umem_cow_notes_put(struct umem_cow_notes *notes, const struct umem_cow_note *note);

/** umem_cow_notes_get - consumer: the oldest. Return: false when there is none. */
bool umem_cow_notes_get(struct umem_cow_notes *notes, struct umem_cow_note *ret_note);

#endif
