/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Residency: where each page of a target is, and putting pages out and back.
 *
 * A map tells the state of every page without touching one: nothing is brought
 * in, no thread is stopped, no page table changes. For shared memory the state
 * is that of the object (memfd, tmpfs file, System V segment, shared anonymous
 * memory), so it is the same for all who map it, also when nobody has a page
 * in a page table. A page that moves while the map is made is reported in one
 * of the states that it had meanwhile.
 *
 * Whoever has to read memory that is swapped out (a snapshot, a migration) can
 * take a map before, read, and give umem_pageout() what was swapped, so that
 * residency is left as it was found.
 */
#ifndef UMEMD_RESIDENCY_H
#define UMEMD_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/target.h>
#include <umemd/types.h>

struct umem_residency;

/**
 * enum umem_state - where a page is.
 * @UMEM_STATE_UNTOUCHED: nowhere: never touched, or given back; it reads as
 *	zeros. Of a file of a disk: not mapped by this process, the file has it. Pages
 *	that a userfaultfd poisoned count as untouched, too: nothing is in them, though
 *	to read one is an error.
 * @UMEM_STATE_RESIDENT: in memory. Of shared memory: in its object, whoever
 *	maps it. Of a file of a disk: mapped by this process.
 * @UMEM_STATE_SWAPPED: swapped out. It may still be in the swap cache.
 * @UMEM_STATE_ZERO: the kernel's shared page of zeros; it costs no memory.
 * @UMEM_STATE_GUARD: a guard page (MADV_GUARD_INSTALL); touching it is an error.
 */
enum umem_state {
	UMEM_STATE_UNTOUCHED,
	UMEM_STATE_RESIDENT,
	UMEM_STATE_SWAPPED,
	UMEM_STATE_ZERO,
	UMEM_STATE_GUARD,
	UMEM_N_STATES,
};

/**
 * struct umem_residency_options - what to look at and how.
 * @size: sizeof(struct umem_residency_options), for later growth.
 * @regions, @n_regions: look only at these addresses; 0 of them means all.
 * @method: use this method where it applies, and the usual ones elsewhere; NULL
 *	chooses by backing, cost and permission. "scan" and "words" read page
 *	tables (PAGEMAP_SCAN, the classic words), "smaps" is a scan that settles
 *	what the kernel hides from it by the sums of smaps; "cachestat", "halving"
 *	(cachestat alone, of smaller and smaller parts), "extents" (SEEK_DATA and
 *	mincore) and "continue" (huge pages) ask the object.
 */
struct umem_residency_options {
	size_t size;
	const struct umem_range *regions;
	size_t n_regions;
	const char *method;
};

/**
 * struct umem_residency_region - what is known of one mapping.
 * @start, @end: its addresses, clipped to what was asked for.
 * @kind: what backs it, as umemctl-regions says it; static text.
 * @path: its name; empty for none.
 * @page_size_bytes: granule in which it is mapped.
 * @method: what was used, like "scan" or "scan+cachestat"; static text.
 * @exact: every page is in its true state.
 * @reason: why it is not exact, static text; NULL when it is.
 * @bytes: by enum umem_state; their sum is the length.
 * @io_known: @io_bytes is known.
 * @io_bytes: of the swapped bytes, those that take reading from a device: not
 *	in the swap cache and not in memory that poses as a swap device (zram). Pages
 *	of zeros are among them, though the kernel never wrote them and reads nothing.
 */
struct umem_residency_region {
	uint64_t start;
	uint64_t end;
	const char *kind;
	const char *path;
	uint64_t page_size_bytes;
	const char *method;
	bool exact;
	const char *reason;
	uint64_t bytes[UMEM_N_STATES];
	bool io_known;
	uint64_t io_bytes;
};

/**
 * umem_residency_new - make a map of @target now.
 * @target: attached, adopted or opened; must outlive the map.
 * @options: NULL for defaults; copied.
 * @ret_map: freed with umem_residency_free().
 *
 * Costs some nanoseconds a resident page, some tens a swapped one.
 *
 * Return: 0; UMEM_GONE; -EINVAL: an unknown method; -ENOENT: nothing of
 * @regions is mapped; -EPERM, -EACCES, -ENOMEM.
 */
UMEM_API int umem_residency_new(struct umem_target *target,
	const struct umem_residency_options *options, struct umem_residency **ret_map,
	struct umem_note *note);

/** umem_residency_free - free a map; NULL is fine. Return: NULL. */
UMEM_API struct umem_residency *umem_residency_free(struct umem_residency *map);

/**
 * umem_residency_refresh - look again. Return: as umem_residency_new(); what the
 * map held is lost when it fails.
 */
UMEM_API int umem_residency_refresh(struct umem_residency *map, struct umem_note *note);

/** umem_residency_regions - the mappings, ascending; valid until the next refresh. */
UMEM_API const struct umem_residency_region *umem_residency_regions(
	const struct umem_residency *map, size_t *ret_n);

/**
 * umem_residency_each - the runs of pages in [@start, @end), ascending, untouched
 * ones included; what is not mapped is left out.
 * @each: called for each run; what it returns other than 0 ends the walk.
 *
 * Return: 0, what @each returned, or -ENOMEM.
 */
UMEM_API int umem_residency_each(struct umem_residency *map, uint64_t start, uint64_t end,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_state state),
	void *user);

/**
 * umem_residency_file - the state of an object's pages, whoever maps it or nobody.
 * @fd: memfd or tmpfs file, or one of huge pages (hugetlbfs). One that this process
 *	may write to or owns, or the kernel does not tell what is in its cache.
 * @start, @end: bytes of the file, rounded out to whole pages (of 4 KiB, also of huge
 *	pages); @end is cut at its end.
 * @method: "cachestat", "halving", "extents", of huge pages "continue", or NULL.
 * @each: as umem_residency_each(), with offsets; may be NULL.
 * @ret_region: sums; @kind and @path are empty.
 *
 * Return: 0, what @each returned, -EINVAL: not a memory-backed file or an
 * unknown method; -EPERM; -ENOSYS; -ENOMEM.
 */
UMEM_API int umem_residency_file(int fd, uint64_t start, uint64_t end, const char *method,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_state state),
	void *user, struct umem_residency_region *ret_region);

/**
 * struct umem_pageout_options - what to put out, or to bring back.
 * @size: sizeof(struct umem_pageout_options), for later growth.
 * @ranges, @n_ranges: only these addresses; 0 of them means all.
 * @max_bytes: at most so much; 0 means no limit. Lower addresses come first.
 * @free_cached: where pages that are out stay in the swap cache (a swap file, a
 *	disk), have the kernel free them now, by what the system offers: it waits until
 *	they are written, and does not free what would have to be written once more.
 */
struct umem_pageout_options {
	size_t size;
	const struct umem_range *ranges;
	size_t n_ranges;
	uint64_t max_bytes;
	bool free_cached;
};

/** struct umem_refused - @bytes that did not move, and the @reason, static text. */
struct umem_refused {
	uint64_t bytes;
	const char *reason;
};

/** UMEM_N_REFUSED - reasons that one answer can tell. */
#define UMEM_N_REFUSED 16

/**
 * struct umem_pageout - what became of it, by a second look at residency.
 * @asked_bytes: were to move: resident before, and not more than @max_bytes.
 *	(umem_pagein(): swapped before.)
 * @moved_bytes: moved, and are there still at the second look.
 * @already_bytes: were where they should be before.
 * @returned_bytes: went out, and came back before the second look.
 * @refused, @n_refused: the rest of what was asked, by reason.
 * @freed_known: @freed_bytes is known.
 * @freed_bytes: of those that moved, those whose memory is free; the others are
 *	in the swap cache until the kernel needs their memory.
 * @freed_note: why it is not known, or what keeps the others in memory; static text or NULL.
 */
struct umem_pageout {
	uint64_t asked_bytes;
	uint64_t moved_bytes;
	uint64_t already_bytes;
	uint64_t returned_bytes;
	struct umem_refused refused[UMEM_N_REFUSED];
	size_t n_refused;
	bool freed_known;
	uint64_t freed_bytes;
	const char *freed_note;
};

/**
 * umem_pageout - put memory of a target out (MADV_PAGEOUT), and verify it.
 * @options: NULL for all of it.
 *
 * Only what is resident and can go is advised, in batches, so that the target
 * is never held up for long. Content is never lost; what cannot go stays. Pages of
 * files are left to the kernel. What this process has mapped of the target's shared
 * memory would keep it in: it is taken out of our page table, and comes back there when
 * it is touched. Such a mapping may not be replaced by another thread meanwhile.
 *
 * Return: 0, also when everything was refused; UMEM_GONE; -ENOTSUP: there is no
 * swap at all; -ENOENT: nothing of the ranges is mapped; -EPERM: needs
 * CAP_SYS_NICE and what ptrace needs; -ENOSYS before Linux 5.10; -ENOMEM.
 */
UMEM_API int umem_pageout(struct umem_target *target,
	const struct umem_pageout_options *options, struct umem_pageout *ret_result,
	struct umem_note *note);

/**
 * umem_pagein - bring swapped memory of a target back, before it is needed.
 *
 * Reads ahead from the devices (MADV_WILLNEED), then touches each page once, so
 * that it is mapped and not the first to go again. What is not there is not touched.
 * Of the result, what is said of freed memory is empty.
 *
 * Return: 0, also without swap; UMEM_GONE; -ENOENT; -EPERM, -EACCES; -ENOMEM.
 */
UMEM_API int umem_pagein(struct umem_target *target,
	const struct umem_pageout_options *options, struct umem_pageout *ret_result,
	struct umem_note *note);

/** umem_state_name - "untouched", "resident", "swapped", "zero", "guard". */
UMEM_API const char *umem_state_name(enum umem_state state);

#endif
