/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stand-in for the kernel's idle page bitmap, where the kernel has none: the file
 * kernel/mm/page_idle/bitmap of t_tree(), served by a thread of the test (FUSE), which
 * does with reads and writes what mm/page_idle.c does: whole words, at most 4096 bytes
 * a call, ENXIO and nothing past the last frame, marks that are added to those there.
 *
 * With real frames, those of this process are followed: a mark is gone when its page
 * was stored to (the first byte of a page counts), or is in another frame, or when the
 * test says that it was accessed. Frames inside of a large page cannot be marked.
 */
#ifndef TESTS_LIB_IDLE_H
#define TESTS_LIB_IDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** enum t_idle_kind - what frames are. */
enum t_idle_kind {
	T_IDLE_BITS,   /* numbers, nothing else */
	T_IDLE_FRAMES, /* real ones */
};

/**
 * t_idle_start - begin; skips the test program where it cannot be done (no root, no
 * FUSE). Call it once, from main(), before there are threads: the file system is
 * mounted in a mount namespace of this program's own.
 */
void t_idle_start(enum t_idle_kind kind);

/**
 * t_idle_window - follow frames of [@at, @at + @len) besides those of other windows.
 * Without one, and again after a window at NULL, those of all memory are followed.
 */
void t_idle_window(const void *at, size_t len);

/** t_idle_limit - there are @n frames. */
void t_idle_limit(uint64_t n);

/** t_idle_ignore - marks for frame @pfn are ignored from now on, or are not. */
void t_idle_ignore(uint64_t pfn, bool ignore);

/** t_idle_access - frame @pfn was accessed. */
void t_idle_access(uint64_t pfn);

/** t_idle_is - is frame @pfn marked? */
bool t_idle_is(uint64_t pfn);

/** t_idle_forget - no frame is marked or ignored any more, no call was made. */
void t_idle_forget(void);

/**
 * struct t_idle_calls - what was asked of the file.
 * @reads, @writes: calls. @words_read, @words_written: 64-bit words moved.
 * @bits: that were 1 in what was written.
 * @bad: calls that were not of whole words, and those past the end.
 */
struct t_idle_calls {
	uint64_t reads;
	uint64_t writes;
	uint64_t words_read;
	uint64_t words_written;
	uint64_t bits;
	uint64_t bad;
};

/** t_idle_calls - since the start, or t_idle_forget(). */
struct t_idle_calls t_idle_calls(void);

#endif
