/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine's swap areas, from /proc/swaps, and what a zram device among them
 * holds, from its folder in /sys.
 *
 * Nothing here blocks or changes anything. Areas come and go at any time: a list
 * is of the moment it was read.
 */
#ifndef UMEM_KERN_SWAPDEV_H
#define UMEM_KERN_SWAPDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** umem_swap_active - is any swap area in use? True when it cannot be told. */
bool umem_swap_active(void);

/** umem_swap_count - areas in the text of /proc/swaps. */
size_t umem_swap_count(const char *text, size_t len_bytes);

/** enum umem_swap_kind - what an area lies in. */
enum umem_swap_kind {
	UMEM_SWAP_FILE,
	UMEM_SWAP_PARTITION,
};

/**
 * struct umem_zram - what a zram device holds.
 * @orig_bytes: of the pages stored in it, uncompressed.
 * @compr_bytes: of the same, compressed.
 * @mem_used_bytes: memory taken for it, with the allocator's waste.
 * @same_pages: pages of one repeated word, which take no memory.
 * @huge_pages: pages that did not compress and are stored as they are.
 * @backed: a device is behind it, to which pages may be written back.
 * @written_back_bytes: what lies there now; to read it needs I/O.
 */
struct umem_zram {
	uint64_t orig_bytes;
	uint64_t compr_bytes;
	uint64_t mem_used_bytes;
	uint64_t same_pages;
	uint64_t huge_pages;
	bool backed;
	uint64_t written_back_bytes;
};

/**
 * struct umem_swap_area - one area.
 * @path: as the kernel names it, unescaped; of a deleted file "PATH (deleted)".
 * @kind: file or partition.
 * @size_bytes: room for pages.
 * @used_bytes: slots taken, also by pages that are in the swap cache.
 * @priority: higher is filled first.
 * @is_zram: a zram device, by its device number, else by its name.
 * @zram_id: N of zramN.
 * @has_zram: @zram was read.
 * @zram: what it holds; all zero without @has_zram.
 */
struct umem_swap_area {
	char *path;
	enum umem_swap_kind kind;
	uint64_t size_bytes;
	uint64_t used_bytes;
	int priority;
	bool is_zram;
	unsigned zram_id;
	bool has_zram;
	struct umem_zram zram;
};

/**
 * struct umem_swap_areas - all areas, in the order of their swap types; all zero is none.
 * @v: @n of them.
 * @total_bytes: sum of their sizes.
 * @used_bytes: sum of what is used; what is free is the difference.
 */
struct umem_swap_areas {
	struct umem_swap_area *v;
	size_t n;
	size_t room;
	uint64_t total_bytes;
	uint64_t used_bytes;
};

/** umem_swap_areas_deinit - free what the list owns and make it empty. */
void umem_swap_areas_deinit(struct umem_swap_areas *areas);

/**
 * umem_swap_areas_parse - parse the text of /proc/swaps; zram is not looked at.
 * @areas: initialized, maybe used before; replaced.
 *
 * Return: 0, -EBADMSG, -ENOMEM; on failure @areas is empty.
 */
int umem_swap_areas_parse(const char *text, size_t len_bytes, struct umem_swap_areas *areas);

/**
 * umem_swap_areas_read - read the areas, and what the zram devices hold.
 * @swaps: "/proc/swaps", or what stands in for it; NULL is the former.
 * @sys: "/sys", or what stands in for it; NULL is the former.
 * @areas: initialized, maybe used before; replaced.
 *
 * Without CONFIG_SWAP there is no such file and no area. A zram device that goes
 * away meanwhile, or cannot be looked at, is left without @has_zram.
 *
 * Return: 0, -EBADMSG, -ENOMEM, -EACCES; on failure @areas is empty.
 */
int umem_swap_areas_read(const char *swaps, const char *sys, struct umem_swap_areas *areas);

/** umem_swap_free_bytes - room left in all areas. */
static inline uint64_t umem_swap_free_bytes(const struct umem_swap_areas *areas)
{
	return areas->used_bytes < areas->total_bytes ? areas->total_bytes - areas->used_bytes : 0;
}

/**
 * umem_swap_in_memory - does a swapped page come back without I/O?
 *
 * True when every area with a slot taken is a zram device that has nothing written
 * back; then also "no area is used". False when it cannot be told. What zswap keeps
 * in memory before another area is not seen here (umem_meminfo.zswapped_bytes).
 */
bool umem_swap_in_memory(const struct umem_swap_areas *areas);

#endif
