/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list of things that have to be said about ranges (struct umem_reason).
 * The list owns copies of the texts.
 */
#ifndef UMEM_BASE_REASONS_H
#define UMEM_BASE_REASONS_H

#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"

/** struct umem_reasons - @n reasons at @v; all zero is empty. */
struct umem_reasons {
	struct umem_reason *v;
	size_t n;
	size_t room;
};

/** umem_reasons_clear - make the list empty, keep its memory. */
void umem_reasons_clear(struct umem_reasons *list);

/** umem_reasons_deinit - free what the list owns and make it empty. */
void umem_reasons_deinit(struct umem_reasons *list);

/**
 * umem_reasons_add - say something about [@start, @end); 0 to UINT64_MAX is
 * the whole target. A range that continues the last one with the same text
 * is merged; the same reason twice is said once.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_reasons_add(struct umem_reasons *list, uint64_t start, uint64_t end,
	const char *fmt, ...) UMEM_PRINTF(4, 5);

/** umem_reasons_append - add copies of all of @from. Return: 0 or -ENOMEM. */
int umem_reasons_append(struct umem_reasons *list, const struct umem_reasons *from);

#endif
