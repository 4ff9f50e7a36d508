/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page frames: /proc/kpageflags (what a frame is used for) and /proc/kpagecount
 * (how often it is mapped).
 *
 * Frame numbers come from the low 55 bits of a pagemap word of a present page
 * (0 to readers without CAP_SYS_ADMIN). A frame may be freed and given to somebody
 * else at any time: flags tell about the frame now, not about the page that was in
 * it when its number was read.
 */
#ifndef UMEM_KERN_KPAGE_H
#define UMEM_KERN_KPAGE_H

#include <linux/kernel-page-flags.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** UMEM_KPF - a bit of a flags word: UMEM_KPF(SWAPCACHE), UMEM_KPF(ZERO_PAGE), ... */
#define UMEM_KPF(name) (1ull << KPF_##name)

/** enum umem_kpage_file - which of the two. */
enum umem_kpage_file {
	UMEM_KPAGE_FLAGS,
	UMEM_KPAGE_COUNT,
};

/**
 * umem_kpage_open - open one of them. Return: 0, -EACCES or -EPERM without root,
 * -ENOENT without CONFIG_PROC_PAGE_MONITOR, -EMFILE.
 */
int umem_kpage_open(enum umem_kpage_file file, int *ret_fd);

/**
 * umem_kpage_read - the words of frames.
 * @fd: of umem_kpage_open(), or a file of the same layout.
 * @pfns: @n frame numbers, in any order, also repeated.
 * @ret_words: @n words, in the order of @pfns: KPF_* bits, or how often the frame is
 *             mapped. A number past the last frame gives @none.
 * @none: UMEM_KPF(NOPAGE), or 0.
 *
 * Frames that lie close together are read with one call.
 *
 * Return: 0, or -errno of pread(2); then @ret_words is in part written.
 */
int umem_kpage_read(int fd, const uint64_t *pfns, size_t n, uint64_t none,
	uint64_t *ret_words);

/**
 * umem_kpage_in_swap_cache - is the frame's page in the swap cache?
 *
 * A page that went out to an area with slow writes (a file, a disk) stays there until
 * reclaim frees it; MADV_PAGEOUT passes over it, since it is not mapped. A private one
 * can be read from outside, which maps it again without I/O, and paged out once more:
 * then it is freed, and nothing is written (tests/kernel/swap-cache: 2 us a page). Of
 * shared memory the touch gives the slot back, and all is as before.
 */
static inline bool umem_kpage_in_swap_cache(uint64_t flags)
{
	return flags & UMEM_KPF(SWAPCACHE);
}

#endif
