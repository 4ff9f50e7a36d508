/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages of a target are in use, read or written: sources of accesses.
 *
 * Dirty tracking sees writes only. Where the kernel can tell of reads as well, a
 * source does: it marks pages and tells at the next look which of them were not
 * accessed since. It answers on the safe side: every page that is not known to be
 * idle counts as accessed.
 *
 * Sources differ in the kernel feature they stand on; umem_accessed_open() chooses:
 *
 *	page_idle	idle page tracking, lib/kern/pageidle.h
 *
 * Places kept, not filled:
 *
 *	PAGE_IS_ACCESSED  a category of PAGEMAP_SCAN to come with read-write protection
 *			by userfaultfd. It is reported for mappings that are registered
 *			for that mode, which excludes write protection of the same
 *			mapping: it takes a target that was attached to and is not being
 *			watched for writes. Until its number is in a kernel's header the
 *			feature scan_accessed is never found and there is no row for it.
 *	DAMON		no: lib/kern/damon.h says why.
 *
 * One source a target, one owner, no locks. Nothing here blocks on the target, reads
 * its memory, or swaps anything in.
 */
#ifndef UMEM_TRACK_ACCESSED_H
#define UMEM_TRACK_ACCESSED_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

struct umem_accessed;

/**
 * struct umem_accessed_count - what a look found, in pages.
 * @pages: asked about; the sum of the three below.
 * @idle: not accessed since the look before.
 * @accessed: accessed since.
 * @unknown: counted as accessed, for nothing can be said: not asked about in the look
 *	before, come or moved since, mapped more than once, or nothing that is tracked.
 * @disturbed: static text; why all pages of this interval are unknown, or NULL.
 */
struct umem_accessed_count {
	uint64_t pages;
	uint64_t idle;
	uint64_t accessed;
	uint64_t unknown;
	const char *disturbed;
};

/**
 * struct umem_accessed_ops - one source.
 * @name: what UMEM_FEATURES and reports call it.
 * @feat: what it stands on.
 * @create: as umem_accessed_open(); nothing is marked yet. The base is filled in by
 *	the caller.
 * @collect: as umem_accessed_collect().
 * @memory: bytes of heap in use.
 * @destroy: free.
 */
struct umem_accessed_ops {
	const char *name;
	enum umem_feat feat;
	int (*create)(struct umem_target *target, const char *sys,
		struct umem_accessed **ret_accessed, struct umem_note *note);
	int (*collect)(struct umem_accessed *self, struct umem_pageset *pages,
		struct umem_pageset *accessed, struct umem_accessed_count *ret_count);
	uint64_t (*memory)(const struct umem_accessed *self);
	void (*destroy)(struct umem_accessed *self);
};

/** struct umem_accessed - what every source begins with. */
struct umem_accessed {
	const struct umem_accessed_ops *ops;
	struct umem_target *target;
	char *sys;
};

extern const struct umem_accessed_ops umem_accessed_page_idle;

/**
 * umem_accessed_open - the best source for @target.
 * @target: stays the caller's and must outlive the source. One that was opened for
 *	looking is enough. Its feature overrides count.
 * @sys: "/sys", or what stands in for it; NULL is the former.
 * @note: why there is none, for people; may be NULL.
 *
 * Return: 0; -ENOTSUP: this kernel has no source, use writes; -EBUSY: somebody else
 * ages pages in a way that would make answers wrong (DAMON); -EADDRINUSE: another one
 * of ours does so with this target; -EPERM, -EACCES: not with our rights; UMEM_GONE;
 * -ENOMEM, -EMFILE.
 */
int umem_accessed_open(struct umem_target *target, const char *sys,
	struct umem_accessed **ret_accessed, struct umem_note *note);

/** umem_accessed_name - what it stands on, "page_idle". */
const char *umem_accessed_name(const struct umem_accessed *self);

/**
 * umem_accessed_collect - which pages were accessed since the look before? Then mark.
 * @pages: of interest: those that are resident, by the residency map. They need not be
 *	the same each time; what is not among them is forgotten. (Not const: a walk
 *	sorts it.)
 * @accessed: all of @pages that are not known to be idle are added.
 *
 * An access between answer and mark is lost; its page is in @accessed already. The two
 * are apart by what 256 MiB take, some 20 ms and the kernel's share. Large pages are
 * accessed as a whole. Look before paging out: what was tried and stayed in reads as
 * idle afterwards (lib/kern/pageidle.h).
 *
 * Processor time, with page_idle and a plain file for its bitmap, small pages, frames
 * that lie two to four together: 75 ns for an idle page, 280 for an accessed one, 0.13 ms
 * for a look. What the kernel itself does for a bit comes on top (a walk to all mappings
 * of the frame), and was never measured.
 *
 * Return: 0; UMEM_GONE; -EPERM: frame numbers are hidden; -ENOMEM, -errno. On failure
 * @accessed is in part filled, and the next look knows nothing of the time before it.
 */
int umem_accessed_collect(struct umem_accessed *self, struct umem_pageset *pages,
	struct umem_pageset *accessed, struct umem_accessed_count *ret_count);

/**
 * umem_accessed_memory - bytes of heap that it uses between looks: 4 a page. While
 * looking it is as much again, and 4 MiB.
 */
uint64_t umem_accessed_memory(const struct umem_accessed *self);

/** umem_accessed_free - NULL is fine. Marks stay; they hurt nobody. Return: NULL. */
struct umem_accessed *umem_accessed_free(struct umem_accessed *self);

UMEM_DEFINE_CLEANUP(struct umem_accessed, umem_accessed_free)

#endif
