/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages of a target have content of their own, that a snapshot has to
 * hold: the others read as zeros, or are those of a file.
 */
#ifndef UMEM_OP_CONTENT_H
#define UMEM_OP_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/ranges.h"
#include "lib/base/reasons.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

/**
 * enum umem_holds - what of a mapping has content of its own.
 * @UMEM_HOLDS_MEMORY: what is in memory or swapped; the rest reads as zeros.
 * @UMEM_HOLDS_COPIES: pages of a private file mapping that were written; the
 *	rest is the file's.
 * @UMEM_HOLDS_MAPPED: a file that can be written through the mapping: pages that are
 *	mapped; the rest is the file's.
 * @UMEM_HOLDS_ALL: all of it, what can be read (the kernel's code for programs, rings;
 *	files that nobody will find again).
 * @UMEM_HOLDS_FILE: nothing: the file has it all.
 * @UMEM_HOLDS_NOTHING: nothing that could be kept.
 */
enum umem_holds {
	UMEM_HOLDS_MEMORY,
	UMEM_HOLDS_COPIES,
	UMEM_HOLDS_MAPPED,
	UMEM_HOLDS_ALL,
	UMEM_HOLDS_FILE,
	UMEM_HOLDS_NOTHING,
};

/** umem_kind_zero_filled - does memory of this kind read as zeros where nothing is? */
static inline bool umem_kind_zero_filled(enum umem_kind kind)
{
	return kind == UMEM_KIND_ANON || kind == UMEM_KIND_SHMEM || kind == UMEM_KIND_HUGETLB ||
		kind == UMEM_KIND_HUGETLB_SHARED;
}

/**
 * umem_content_holds - of a mapping.
 *
 * A file that was deleted, or that has this name for the target alone (its own mounts), is
 * not left to whoever reads the image: it is held, as far as it goes.
 */
enum umem_holds umem_content_holds(const struct umem_target *target,
	const struct umem_region *region);

/**
 * struct umem_content - pages of a target; all zero is empty.
 * @data: have content that has to be read.
 * @swapped: those of them that are swapped out.
 * @blank: hold nothing that could be read: guards.
 */
struct umem_content {
	struct umem_pageset data;
	struct umem_pageset swapped;
	struct umem_pageset blank;
};

/** umem_content_deinit - free what it owns and make it empty. */
void umem_content_deinit(struct umem_content *content);

/**
 * umem_content_find - look, without touching a page.
 * @target: refreshed: its regions are those that are looked at.
 * @only: addresses to look at.
 * @content: added to.
 * @why: what cannot be kept is added: memory of devices.
 *
 * Return: 0, UMEM_GONE, -EPERM, -EACCES, -ENOMEM.
 */
int umem_content_find(struct umem_target *target, const struct umem_ranges *only,
	struct umem_content *content, struct umem_reasons *why, struct umem_note *note);

/**
 * umem_content_settle - of pages that were reported to have changed, find those
 * which are the file's again.
 * @set: pages of @target; what is of a file, and no copy of a page, is taken out, and
 * @out: gets it.
 *
 * Return: 0, UMEM_GONE, -ENOMEM.
 */
int umem_content_settle(struct umem_target *target, struct umem_pageset *set,
	struct umem_pageset *out);

#endif
