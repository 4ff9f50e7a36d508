// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages of a parent found by their content; see kin.h. */
#include "lib/store/kin.h"

#include <errno.h>
#include <stdlib.h>

#include <umemd/store.h>

#define PAGE_BYTES  UMEM_IMAGE_PAGE_BYTES
#define MAX_KEYS    4u
#define WINDOW      16u
#define SMALL_PAGES 65536u
#define FREE_READS  256u

/** struct slot - a page: @place is its space above its page number, plus one; 0: free. */
struct slot {
	uint64_t hash;
	uint64_t place;
};

#define PLACE_SHIFT 44

/**
 * struct umem_kin - @n_pages: pages of the parent. @images: whose keys are used.
 * @space, @next: where the page behind the one found last is.
 * @n_lookups, @n_jumps: how often it was asked, and read elsewhere than @next.
 */
struct umem_kin {
	struct umem_image *parent;
	uint64_t max_bytes;
	uint64_t n_pages;
	bool is_made;
	struct slot *slots;
	uint64_t n_slots;
	struct umem_image *images[MAX_KEYS];
	unsigned n_images;
	uint32_t space;
	uint64_t next;
	uint64_t n_lookups;
	uint64_t n_jumps;
	unsigned char page[PAGE_BYTES];
};

/** struct walk - a walk over the stored pages of the parent, through its own parents. */
struct walk {
	struct umem_kin *kin;
	uint32_t space;
	int (*each)(struct walk *walk, uint64_t addr, uint64_t end,
		const struct umem_resolved *found);
};

static int walk_parent(struct walk *walk)
{
	for (walk->space = 0; walk->space < umem_image_n_spaces(walk->kin->parent);
		walk->space++) {
		uint64_t at = 0;

		while (at < UINT64_MAX - PAGE_BYTES) {
			struct umem_resolved found;
			int r = 0;

			umem_image_resolve(walk->kin->parent, walk->space, at, UINT64_MAX, &found);
			if (found.what == UMEM_IMAGE_DATA)
				r = walk->each(walk, at, found.end, &found);
			if (r < 0)
				return r;
			at = found.end;
		}
	}
	return 0;
}

static int count(struct walk *walk, uint64_t addr, uint64_t end,
	const struct umem_resolved *found)
{
	walk->kin->n_pages += (end - addr) / PAGE_BYTES;
	return 0;
}

int umem_kin_new(struct umem_image *parent, uint64_t max_bytes, struct umem_kin **ret_kin)
{
	UMEM_CLEANUP(umem_kin_freep) struct umem_kin *kin = calloc(1, sizeof(*kin));
	struct walk walk = { .kin = kin, .each = count };

	if (!kin)
		return -ENOMEM;
	kin->parent = parent;
	kin->max_bytes = max_bytes;
	walk_parent(&walk);
	*ret_kin = UMEM_TAKE_PTR(kin);
	return 0;
}

struct umem_kin *umem_kin_free(struct umem_kin *kin)
{
	if (kin)
		free(kin->slots);
	free(kin);
	return NULL;
}

/* Is this one of the images whose keys are used? It becomes one when there is room. */
static bool has_key(struct umem_kin *kin, struct umem_image *image)
{
	for (unsigned i = 0; i < kin->n_images; i++) {
		if (kin->images[i] == image)
			return true;
	}
	if (kin->n_images == MAX_KEYS || umem_image_load_hashes(image) < 0)
		return false;
	kin->images[kin->n_images++] = image;
	return true;
}

static void place(struct umem_kin *kin, uint64_t hash, uint64_t where)
{
	for (unsigned i = 0; i < WINDOW; i++) {
		struct slot *slot = &kin->slots[(hash + i) & (kin->n_slots - 1)];

		if (slot->place != 0 && slot->hash != hash)
			continue;
		/* The first of equal ones stays. */
		if (slot->place == 0)
			*slot = (struct slot){ hash, where };
		return;
	}
}

static int add(struct walk *walk, uint64_t addr, uint64_t end, const struct umem_resolved *found)
{
	struct umem_image *image = found->image;
	uint64_t number = found->ref;
	size_t i;

	/* Addresses past what a place can tell are no user's. */
	if (end >> UMEM_IMAGE_PAGE_SHIFT >> PLACE_SHIFT || !has_key(walk->kin, image))
		return 0;
	while (addr < end && umem_index_frame_of(&image->index, number, &i)) {
		struct umem_frame frame = umem_index_frame(&image->index, i);
		uint64_t at = image->ordinals[i] + number - frame.first;

		for (; addr < end && number - frame.first < frame.n_pages; number++, at++) {
			place(walk->kin, image->hashes[at], ((uint64_t)walk->space << PLACE_SHIFT |
				addr >> UMEM_IMAGE_PAGE_SHIFT) + 1);
			addr += PAGE_BYTES;
		}
	}
	return 0;
}

/* Make the table; when memory is short, there is none. */
static void make(struct umem_kin *kin)
{
	struct walk walk = { .kin = kin, .each = add };
	uint64_t n_slots = 1024;

	kin->is_made = true;
	while (n_slots < 2 * kin->n_pages && 2 * n_slots * sizeof(struct slot) <= kin->max_bytes)
		n_slots *= 2;
	kin->slots = calloc(n_slots, sizeof(*kin->slots));
	if (!kin->slots)
		return;
	kin->n_slots = n_slots;
	walk_parent(&walk);
}

/* Read the page at a place, and compare it. */
static bool is_there(struct umem_kin *kin, uint64_t where, const void *page)
{
	uint32_t space = (uint32_t)((where - 1) >> PLACE_SHIFT);
	uint64_t addr = ((where - 1) & ((1ull << PLACE_SHIFT) - 1)) << UMEM_IMAGE_PAGE_SHIFT;

	if (space != kin->space || addr != kin->next) {
		if (kin->n_jumps >= FREE_READS + kin->n_lookups / 64)
			return false;
		kin->n_jumps++;
	}
	kin->space = space;
	kin->next = addr + PAGE_BYTES;
	/* A parent that is damaged there is no help, and no harm. */
	return umem_image_get(kin->parent, space, addr, kin->page, 1, NULL) == 0 &&
		memcmp(kin->page, page, PAGE_BYTES) == 0;
}

bool umem_kin_find(struct umem_kin *kin, const void *page, uint64_t n_stored,
	uint32_t *ret_space, uint64_t *ret_addr)
{
	if (!kin->is_made && (kin->n_pages < SMALL_PAGES || n_stored > kin->n_pages / 16))
		make(kin);
	if (kin->n_slots == 0)
		return false;
	kin->n_lookups++;
	for (unsigned k = 0; k < kin->n_images; k++) {
		uint64_t hash = umem_pagehash_one(kin->images[k]->key, page);

		for (unsigned i = 0; i < WINDOW; i++) {
			const struct slot *slot = &kin->slots[(hash + i) & (kin->n_slots - 1)];

			if (slot->place == 0)
				break;
			if (slot->hash != hash || !is_there(kin, slot->place, page))
				continue;
			*ret_space = kin->space;
			*ret_addr = kin->next - PAGE_BYTES;
			return true;
		}
	}
	return false;
}
