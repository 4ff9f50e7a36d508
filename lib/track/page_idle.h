/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of the source page_idle: marks, and one look at them. Theory of operation in
 * page_idle.c.
 */
#ifndef UMEM_TRACK_PAGE_IDLE_H
#define UMEM_TRACK_PAGE_IDLE_H

#include "lib/track/accessed.h"

/**
 * struct umem_idle_files - what a look reads; all stay the caller's.
 * @pagemap_fd: of the target. @bitmap_fd: the bits. @flags_fd: what frames are.
 */
struct umem_idle_files {
	int pagemap_fd;
	int bitmap_fd;
	int flags_fd;
};

/**
 * struct umem_idle_marks - what was marked; all zero is nothing.
 * @pages: of the last look.
 * @frames: the low 32 bits of the frame of each, in order of their addresses; 0 where
 *	nothing was marked. @n of them.
 */
struct umem_idle_marks {
	struct umem_pageset pages;
	uint32_t *frames;
	size_t n;
};

/** umem_idle_marks_deinit - free what is remembered; bits in the kernel stay set. */
void umem_idle_marks_deinit(struct umem_idle_marks *marks);

/**
 * umem_idle_look - as umem_accessed_collect().
 * @marks: of the last look; then of this one, or none after a failure.
 * @disturbed: if not NULL, no answer of this look is worth anything.
 */
int umem_idle_look(const struct umem_idle_files *files, struct umem_idle_marks *marks,
	struct umem_pageset *pages, struct umem_pageset *accessed, const char *disturbed,
	struct umem_accessed_count *ret_count);

#endif
