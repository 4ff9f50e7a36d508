// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Staging memory between two threads.
 *
 * Theory of operation
 *
 *     area     [  free  | run 3 | run 4 |pad|     free    ]
 *                       ^freed              ^next
 *     records  [ | 3 | 4 | ]   with the position behind each run
 *                  ^got    ^put
 *
 * Positions count pages and never go back; the slot is the position modulo
 * the size. A run lies in a row: where the end of the area is too near, the
 * producer skips to its start, and the record's position covers the skip.
 * Room that was asked for and not put is simply asked for again.
 *
 * @put is released by the producer behind the bytes and the record, @freed and
 * @got by the consumer when it no longer looks at them.
 */
#include "lib/track/cow_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

#define HUGE_BYTES (2ull << 20)

/* One run: what it is, and the position behind it. */
struct umem_cow_record {
	struct umem_cow_staged staged;
	uint64_t behind;
};

int umem_cow_ring_init(struct umem_cow_ring *ring, uint64_t n_pages)
{
	uint64_t len = n_pages << UMEM_PAGE_SHIFT;
	void *area;

	*ring = (struct umem_cow_ring){ 0 };
	if (n_pages < 2)
		return -EINVAL;
	area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return -ENOMEM;
	ring->area = area;
	ring->n_slots = n_pages;
	/* A page fault of ours would be waited for by the target. */
	if (len >= HUGE_BYTES)
		madvise(area, len, MADV_HUGEPAGE);
	for (uint64_t at = 0; at < len; at += UMEM_PAGE_BYTES)
		((volatile uint8_t *)ring->area)[at] = 0;
	ring->n_records = n_pages;
	ring->records = reallocarray(NULL, ring->n_records, sizeof(*ring->records));
	if (!ring->records) {
		umem_cow_ring_deinit(ring);
		return -ENOMEM;
	}
	memset(ring->records, 0, ring->n_records * sizeof(*ring->records));
	return 0;
}

void umem_cow_ring_deinit(struct umem_cow_ring *ring)
{
	if (ring->area)
		munmap(ring->area, ring->n_slots << UMEM_PAGE_SHIFT);
	free(ring->records);
	*ring = (struct umem_cow_ring){ 0 };
}

/* Where @n_pages pages in a row would begin. */
static uint64_t place(const struct umem_cow_ring *ring, uint64_t n_pages)
{
	uint64_t slot = ring->next % ring->n_slots;

	return slot + n_pages > ring->n_slots ? ring->next + ring->n_slots - slot : ring->next;
}

uint8_t *umem_cow_ring_room(struct umem_cow_ring *ring, uint64_t n_pages)
{
	uint64_t freed = atomic_load_explicit(&ring->freed, memory_order_acquire);
	uint64_t got = atomic_load_explicit(&ring->got, memory_order_acquire);
	uint64_t put = atomic_load_explicit(&ring->put, memory_order_relaxed);
	uint64_t at = place(ring, n_pages);

	/* Each page put may become a run of its own. */
	if (n_pages > ring->n_slots / 2 || at + n_pages - freed > ring->n_slots ||
		put + n_pages - got > ring->n_records)
		return NULL;
	ring->next = at;
	return ring->area + (at % ring->n_slots << UMEM_PAGE_SHIFT);
}

void umem_cow_ring_put(struct umem_cow_ring *ring, const struct umem_cow_staged *staged)
{
	uint64_t put = atomic_load_explicit(&ring->put, memory_order_relaxed);
	uint64_t slot = (uint64_t)(staged->bytes - ring->area) >> UMEM_PAGE_SHIFT;
	uint64_t at = ring->next + (slot - ring->next % ring->n_slots);
	struct umem_cow_record *record = &ring->records[put % ring->n_records];

	record->staged = *staged;
	record->behind = at + staged->n_pages;
	ring->next = record->behind;
	atomic_store_explicit(&ring->put, put + 1, memory_order_release);
}

bool umem_cow_ring_get(struct umem_cow_ring *ring, struct umem_cow_staged *ret_staged)
{
	uint64_t got = atomic_load_explicit(&ring->got, memory_order_relaxed);

	if (got == atomic_load_explicit(&ring->put, memory_order_acquire))
		return false;
	*ret_staged = ring->records[got % ring->n_records].staged;
	return true;
}

void umem_cow_ring_give_back(struct umem_cow_ring *ring)
{
	uint64_t got = atomic_load_explicit(&ring->got, memory_order_relaxed);

	atomic_store_explicit(&ring->freed, ring->records[got % ring->n_records].behind,
		memory_order_release);
	atomic_store_explicit(&ring->got, got + 1, memory_order_release);
}

bool umem_cow_ring_half_full(const struct umem_cow_ring *ring)
{
	return ring->next - atomic_load_explicit(&ring->freed, memory_order_relaxed) >
		ring->n_slots / 2;
}
