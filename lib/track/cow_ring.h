/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Staging memory: a ring through which copied pages go from one thread to
 * another, without a lock and without a second copy.
 *
 * One producer, one consumer. The producer asks for room, fills it, and puts
 * runs of it in; the consumer gets them in that order and gives each back
 * before it gets the next.
 */
#ifndef UMEM_TRACK_COW_RING_H
#define UMEM_TRACK_COW_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct umem_cow_part;

/**
 * struct umem_cow_staged - pages with their content.
 * @part, @page, @n_pages: which.
 * @bytes: in the ring.
 */
struct umem_cow_staged {
	struct umem_cow_part *part;
	uint64_t page;
	uint64_t n_pages;
	const uint8_t *bytes;
};

/** struct umem_cow_ring - all fields are private; all zero can be deinited. */
struct umem_cow_ring {
	uint8_t *area;
	uint64_t n_slots;
	struct umem_cow_record *records;
	uint64_t n_records;
	uint64_t next; /* the producer's: where free room begins, in pages */
	_Atomic uint64_t put;
	_Atomic uint64_t got;
	_Atomic uint64_t freed; /* pages that were given back, ever */
};

/**
 * umem_cow_ring_init - room for @n_pages pages, touched already.
 * Return: 0, -EINVAL for less than two pages, -ENOMEM.
 */
int umem_cow_ring_init(struct umem_cow_ring *ring, uint64_t n_pages);

/** umem_cow_ring_deinit - free everything. */
void umem_cow_ring_deinit(struct umem_cow_ring *ring);

/**
 * umem_cow_ring_room - producer: memory for @n_pages pages in a row.
 * Return: NULL when there is none now, or more is asked than half of the ring.
 */
uint8_t *umem_cow_ring_room(struct umem_cow_ring *ring, uint64_t n_pages);

/** umem_cow_ring_put - producer: a run within the last room, ascending. */
void umem_cow_ring_put(struct umem_cow_ring *ring, const struct umem_cow_staged *staged);

/** umem_cow_ring_get - consumer: the oldest run. Return: false when there is none. */
bool umem_cow_ring_get(struct umem_cow_ring *ring, struct umem_cow_staged *ret_staged);

/** umem_cow_ring_give_back - consumer: done with what the last get gave. */
void umem_cow_ring_give_back(struct umem_cow_ring *ring);

/** umem_cow_ring_half_full - producer: is half of the memory in use? */
bool umem_cow_ring_half_full(const struct umem_cow_ring *ring);

#endif
