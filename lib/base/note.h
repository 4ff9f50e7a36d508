/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filling the error note of an operation (struct umem_note, <umemd/types.h>).
 */
#ifndef UMEM_BASE_NOTE_H
#define UMEM_BASE_NOTE_H

#include <umemd/types.h>

#include "lib/base/attr.h"

/**
 * umem_note_set - say what went wrong, once: a note that is set stays.
 * @note: may be NULL.
 * @err: -errno, also what this returns, so that a caller can return it on.
 * @addr: the address it was about, or 0.
 */
int umem_note_set(struct umem_note *note, int err, uint64_t addr, const char *fmt, ...)
	UMEM_PRINTF(4, 5);

/** umem_note_clear - make @note empty; NULL is fine. */
void umem_note_clear(struct umem_note *note);

#endif
