/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes of shared objects that were filled again: pages that held data, were punched or
 * cut off, and became data (zeros) within one round without being touched themselves.
 *
 * See refill.c for how that comes and when it has to be looked for.
 */
#ifndef UMEM_TRACK_REFILL_H
#define UMEM_TRACK_REFILL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/mem/pageset.h"

/**
 * struct umem_refill_gate - whether anything happened that fills holes; all zero is new.
 * @watching: @watch_fd is open.
 * @n_changes: how many times a watched file was found changed by a call.
 * @counted: the folios were counted in this round.
 * @known: @folios is valid.
 * @folios: of umem_folios_count().
 * @n_moves: how many times it was found moved, or could not be told.
 */
struct umem_refill_gate {
	bool watching;
	int watch_fd;
	uint64_t n_changes;
	bool counted;
	bool known;
	uint64_t folios;
	uint64_t n_moves;
};

/** enum umem_refill_how - what tells that a hole of an object may have been filled. */
enum umem_refill_how {
	UMEM_REFILL_UNTOLD,
	UMEM_REFILL_NEVER,
	UMEM_REFILL_BY_FOLIOS,
	UMEM_REFILL_BY_CHANGES,
};

/**
 * struct umem_refill - of one object.
 * @how: what tells; UMEM_REFILL_UNTOLD is looked at in each round.
 * @seen: n_moves or n_changes when it was looked at last.
 * @zeros: pages, by file offset, that were not mapped and held zeros then.
 */
struct umem_refill {
	enum umem_refill_how how;
	uint64_t seen;
	struct umem_pageset zeros;
};

/** umem_refill_gate_deinit - close what is open. */
void umem_refill_gate_deinit(struct umem_refill_gate *gate);

/** umem_refill_gate_begin - a round begins; before anything is looked at. */
void umem_refill_gate_begin(struct umem_refill_gate *gate);

/**
 * umem_refill_init - begin to look after the object behind @fd; before its data is
 * looked up for the first time. What cannot be set up makes rounds slower, not wrong.
 */
void umem_refill_init(struct umem_refill *refill, struct umem_refill_gate *gate, int fd);

/** umem_refill_deinit - free. */
void umem_refill_deinit(struct umem_refill *refill);

/**
 * umem_refill_zeros - add those pages of a range that hold zeros to @zeros.
 * @start, @end: file offsets of @fd, whole pages. They are read, and brought in. What is
 *	past the end of the file is not looked at; of its last page, what there is.
 *
 * Return: 0, -ENOMEM, -errno of pread(2).
 */
int umem_refill_zeros(int fd, uint64_t start, uint64_t end, struct umem_pageset *zeros);

/**
 * umem_refill_look - find pages that were filled.
 * @kept: file offsets that hold data, did so at the last look, and are not mapped.
 * @filled: those of them that hold zeros and did not at the last look are added.
 *
 * Reads pages that are in memory, and no other. After an error the next call looks at
 * everything that this one should have.
 *
 * Return: 0, -ENOMEM, -errno of cachestat(2) or of reading the object.
 */
int umem_refill_look(struct umem_refill *refill, struct umem_refill_gate *gate, int fd,
	struct umem_pageset *kept, struct umem_pageset *filled);

#endif
