/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An oracle for dirty tracking: what every page of a quiet process holds, found
 * without any tracker, and without changing what a tracker would see.
 *
 * The process must not run while a picture is taken.
 */
#ifndef TESTS_LIB_ORACLE_H
#define TESTS_LIB_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** enum oracle_page_flags - what else is known of a page. */
enum oracle_page_flags {
	ORACLE_FILE_CONTENT = 1, /* a private file mapping that shows the file */
	ORACLE_NO_ACCESS = 2,    /* guard page, or past the end of the file */
};

/** struct oracle_page - a page and the hash of its content. */
struct oracle_page {
	uint64_t addr;
	uint64_t hash;
	uint32_t flags;
};

/** struct oracle_picture - all pages of a process, ascending; all zero is empty. */
struct oracle_picture {
	struct oracle_page *v;
	size_t n;
	size_t room;
};

/** oracle_zero_hash - hash of a page of zeros, and of a page that may not be accessed. */
uint64_t oracle_zero_hash(void);

/** oracle_hash - hash of one page. */
uint64_t oracle_hash(const void *page);

/**
 * oracle_take - take a picture; failure ends the test.
 * @skip_start, @skip_end: one range that is left out.
 *
 * Left out besides: what the kernel maps (vdso), and areas that it shares.
 */
void oracle_take(struct oracle_picture *picture, pid_t pid, uint64_t skip_start,
	uint64_t skip_end);

/** oracle_find - the page at @addr, or NULL. */
struct oracle_page *oracle_find(const struct oracle_picture *picture, uint64_t addr);

/** oracle_add - append a page; ascending order is the caller's duty. */
void oracle_add(struct oracle_picture *picture, const struct oracle_page *page);

/** oracle_free - free what the picture owns. */
void oracle_free(struct oracle_picture *picture);

/** oracle_describe - print what /proc tells of a page: mapping, VmFlags, pagemap word. */
void oracle_describe(pid_t pid, uint64_t addr);

#endif
