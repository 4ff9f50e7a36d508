/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shares: divide what may go out over several targets.
 */
#ifndef UMEM_POLICY_SHARES_H
#define UMEM_POLICY_SHARES_H

#include <stddef.h>
#include <stdint.h>

/**
 * struct umem_share - one target.
 * @resident_bytes: its size. @want_bytes: what its policy would put out now,
 * its cold candidates. @got_bytes: its share, set by umem_shares_divide().
 */
struct umem_share {
	uint64_t resident_bytes;
	uint64_t want_bytes;
	uint64_t got_bytes;
};

/**
 * umem_shares_divide - divide @allowed_bytes over @n targets.
 *
 * No target gets more than it wants, and nothing is left over while one wants
 * more: the sum is exactly min(@allowed_bytes, sum of wants). A tenth is divided
 * evenly so that none starves, the rest by what the targets want, weighted by
 * how cold they are (want / resident). Shares are in units of @unit_bytes
 * (a page), except for what is less than one unit. @turn: a number that grows
 * with each interval: who is first when there is less than a unit for each.
 */
void umem_shares_divide(struct umem_share *shares, size_t n, uint64_t allowed_bytes,
	uint64_t unit_bytes, uint64_t turn);

#endif
