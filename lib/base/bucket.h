/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A token bucket that lends: what is too much at once goes through, and who comes behind
 * waits for it. So nothing is ever too large, and the rate holds over any longer time.
 * Numbers only; the time is the caller's.
 */
#ifndef UMEM_BASE_BUCKET_H
#define UMEM_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct umem_bucket - all zero is full.
 * @spent: what is missing of a full one, a second's worth; more than that is debt.
 * @at_ns: when that was so.
 */
struct umem_bucket {
	uint64_t spent;
	uint64_t at_ns;
};

/**
 * umem_bucket_take - take @n out of it, whatever is in it.
 * @rate: what comes in, a second; above 0. A full bucket has a second's worth.
 * @now_ns: never less than the time before.
 *
 * Return: how long to wait before it is used, in nanoseconds: until nothing of what was
 * taken before is owed.
 */
uint64_t umem_bucket_take(struct umem_bucket *bucket, uint64_t rate, uint64_t now_ns,
	uint64_t n);

/** umem_bucket_is_full - is it as if nothing had ever been taken? */
bool umem_bucket_is_full(const struct umem_bucket *bucket, uint64_t rate, uint64_t now_ns);

#endif
