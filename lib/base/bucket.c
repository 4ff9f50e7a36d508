// SPDX-License-Identifier: LGPL-2.1-or-later
/* A token bucket that lends. */
#include "lib/base/bucket.h"

#include "lib/base/attr.h"

#define SECOND_NS 1000000000u

/* Nobody is made to wait longer by one that lent more: centuries are as good as ever. */
#define SPENT_MAX (UINT64_MAX / 2)

/* What is spent at @now_ns. */
static uint64_t spent_at(const struct umem_bucket *bucket, uint64_t rate, uint64_t now_ns)
{
	unsigned __int128 came = (unsigned __int128)(now_ns - bucket->at_ns) * rate / SECOND_NS;

	return came < bucket->spent ? bucket->spent - (uint64_t)came : 0;
}

uint64_t umem_bucket_take(struct umem_bucket *bucket, uint64_t rate, uint64_t now_ns, uint64_t n)
{
	uint64_t spent = spent_at(bucket, rate, now_ns);
	uint64_t owed = spent > rate ? spent - rate : 0;
	unsigned __int128 wait_ns = ((unsigned __int128)owed * SECOND_NS + rate - 1) / rate;

	*bucket = (struct umem_bucket){
		.spent = spent + umem_min_u64(n, SPENT_MAX - umem_min_u64(spent, SPENT_MAX)),
		.at_ns = now_ns,
	};
	return wait_ns > UINT64_MAX ? UINT64_MAX : (uint64_t)wait_ns;
}

bool umem_bucket_is_full(const struct umem_bucket *bucket, uint64_t rate, uint64_t now_ns)
{
	return spent_at(bucket, rate, now_ns) == 0;
}
