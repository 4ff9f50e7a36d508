// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Idle page tracking.
 *
 * Theory of operation
 *
 * The file is an array of 64-bit words, a bit a frame, read and written in whole
 * words. A window over the words takes in as many of the frames that are asked for
 * as lie in it or right beside it:
 *
 *     frames   130 131 66 70 | 6000 ...
 *     words    [ 1 .. 2 ]    | [ 93 ...
 *
 * A word without a frame of ours is never touched: the kernel would look at 64
 * frames for nothing, with a walk to all their mappings where they are marked.
 * Nothing is sorted here; a caller with many frames does (lib/track/page_idle.c).
 *
 * sysfs moves at most a page at a time, which is the largest window.
 */
#include "lib/kern/pageidle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/attr.h"

#define WORD_BYTES   sizeof(uint64_t)
#define WORD_FRAMES  64u
#define WINDOW_WORDS 512u

int umem_pageidle_open(const char *sys, int *ret_fd)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/kernel/mm/page_idle/bitmap", sys ? sys : "/sys") >=
		(int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Take as many of @pfns as one window can hold. Return: how many, at least one. */
static size_t grow(const uint64_t *pfns, size_t n, uint64_t *ret_low, uint64_t *ret_high)
{
	uint64_t low = pfns[0] / WORD_FRAMES, high = low;
	size_t taken = 1;

	for (; taken < n; taken++) {
		uint64_t word = pfns[taken] / WORD_FRAMES;
		uint64_t to_low = umem_min_u64(low, word), to_high = umem_max_u64(high, word);

		if (to_high - to_low >= WINDOW_WORDS || (to_high - to_low) - (high - low) > 1)
			break;
		low = to_low;
		high = to_high;
	}
	*ret_low = low;
	*ret_high = high;
	return taken;
}

/* Move words from @low on, as many as there are. Return: bytes moved, or -errno. */
static ssize_t move(int fd, uint64_t low, uint64_t *words, size_t len, bool write)
{
	size_t done = 0;

	while (done < len) {
		char *at = (char *)words + done;
		off_t offset = (off_t)(low * WORD_BYTES + done);
		ssize_t n = write ? pwrite(fd, at, len - done, offset) :
				    pread(fd, at, len - done, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno == ENXIO))
			break;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int umem_pageidle_mark(int fd, const uint64_t *pfns, size_t n)
{
	uint64_t words[WINDOW_WORDS];

	for (size_t at = 0; at < n;) {
		uint64_t low, high;
		size_t taken = grow(pfns + at, n - at, &low, &high);
		size_t len = (size_t)(high - low + 1) * WORD_BYTES;
		ssize_t r;

		memset(words, 0, len);
		for (size_t i = at; i < at + taken; i++)
			words[pfns[i] / WORD_FRAMES - low] |= 1ull << pfns[i] % WORD_FRAMES;
		r = move(fd, low, words, len, true);
		if (r < 0)
			return (int)r;
		at += taken;
	}
	return 0;
}

int umem_pageidle_read(int fd, const uint64_t *pfns, size_t n, bool *ret_idle)
{
	uint64_t words[WINDOW_WORDS];

	for (size_t at = 0; at < n;) {
		uint64_t low, high;
		size_t taken = grow(pfns + at, n - at, &low, &high);
		ssize_t len = move(fd, low, words, (size_t)(high - low + 1) * WORD_BYTES, false);

		if (len < 0)
			return (int)len;
		for (size_t i = at; i < at + taken; i++) {
			uint64_t word = pfns[i] / WORD_FRAMES - low;

			ret_idle[i] = word < (size_t)len / WORD_BYTES &&
				words[word] >> pfns[i] % WORD_FRAMES & 1;
		}
		at += taken;
	}
	return 0;
}
