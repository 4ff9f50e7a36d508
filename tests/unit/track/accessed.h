/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of sources of accesses share: this process is the target, and the
 * bitmap is one that stands in for the kernel's. For one file a program.
 */
#ifndef TESTS_UNIT_TRACK_ACCESSED_H
#define TESTS_UNIT_TRACK_ACCESSED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/kern/pagemap.h"
#include "lib/track/accessed.h"
#include "tests/lib/harness.h"
#include "tests/lib/idle.h"
#include "tests/lib/tree.h"

#define PAGE     UMEM_PAGE_BYTES
#define ALL_BITS (UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE | UMEM_PM_PFN_MASK)

static struct umem_target *target;

/* A process that has what this one has, and does nothing. It ends with the test. */
static inline pid_t new_child(void)
{
	pid_t pid = t_fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static inline struct umem_target *new_target(int pid, const char *features)
{
	struct umem_attach_options options = {
		.size = sizeof(options),
		.feature_override = features,
	};
	struct umem_target *new = NULL;

	assert_int_equal(0, umem_target_open(pid, &options, &new, NULL));
	return new;
}

static inline struct umem_accessed *new_source(void)
{
	struct umem_accessed *source = NULL;
	struct umem_note note = { 0 };
	int r = umem_accessed_open(target, t_tree(), &source, &note);

	if (r != 0)
		fail_msg("%d: %s", r, note.text);
	assert_string_equal("page_idle", umem_accessed_name(source));
	return source;
}

/* Look at [@at, @at + @n_pages); only sums are asked for. */
static inline struct umem_accessed_count look(struct umem_accessed *source, const void *at,
	uint64_t n_pages)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset pages = { 0 }, accessed = { 0 };
	struct umem_accessed_count count;

	assert_int_equal(0, umem_pageset_add(&pages, (uintptr_t)at,
		(uintptr_t)at + n_pages * PAGE));
	memset(&count, 0x55, sizeof(count));
	assert_int_equal(0, umem_accessed_collect(source, &pages, &accessed, &count));
	assert_int_equal(n_pages, count.pages);
	assert_int_equal(n_pages, count.idle + count.accessed + count.unknown);
	assert_int_equal((n_pages - count.idle) * PAGE, umem_pageset_bytes(&accessed));
	return count;
}

/* Of words, what a source goes by; 0 for what is not there. */
static inline void words_of(const void *at, uint64_t *words, size_t n)
{
	size_t got = 0;

	assert_int_equal(0, umem_pagemap_words(target->pagemap_fd, (uintptr_t)at, words, n, &got));
	assert_int_equal(n, got);
	for (size_t i = 0; i < n; i++)
		words[i] &= words[i] & UMEM_PM_PRESENT ? ALL_BITS : 0;
}

#endif
