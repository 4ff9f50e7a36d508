// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which stored page has a content; see dedup.h. */
#include "lib/store/dedup.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"

#define FIRST_SLOTS 1024u
#define WINDOW      16u

/** struct umem_dedup_slot - a page; @number is one more than its number, 0: free. */
struct umem_dedup_slot {
	struct umem_pagehash2 hash;
	uint64_t number;
};

void umem_dedup_init(struct umem_dedup *dedup, uint64_t max_bytes)
{
	uint64_t slots = FIRST_SLOTS;

	*dedup = (struct umem_dedup){ 0 };
	if (max_bytes < slots * sizeof(struct umem_dedup_slot))
		return;
	while (slots < UINT32_MAX && slots * 2 * sizeof(struct umem_dedup_slot) <= max_bytes)
		slots *= 2;
	dedup->max_slots = slots;
}

void umem_dedup_deinit(struct umem_dedup *dedup)
{
	free(dedup->slots);
	*dedup = (struct umem_dedup){ 0 };
}

static struct umem_dedup_slot *slot(const struct umem_dedup *dedup,
	const struct umem_pagehash2 *hash, unsigned i)
{
	return &dedup->slots[(hash->lane[1] + i) & (dedup->n_slots - 1)];
}

bool umem_dedup_find(const struct umem_dedup *dedup, const struct umem_pagehash2 *hash,
	uint64_t *ret_number)
{
	if (dedup->n_slots == 0)
		return false;
	for (unsigned i = 0; i < WINDOW; i++) {
		const struct umem_dedup_slot *s = slot(dedup, hash, i);

		if (s->number == 0)
			return false;
		if (s->hash.lane[0] == hash->lane[0] && s->hash.lane[1] == hash->lane[1]) {
			*ret_number = s->number - 1;
			return true;
		}
	}
	return false;
}

/* Put a page into its window; where that is full, instead of another one. */
static void place(struct umem_dedup *dedup, const struct umem_pagehash2 *hash, uint64_t number)
{
	struct umem_dedup_slot *to = NULL;

	for (unsigned i = 0; i < WINDOW && !to; i++) {
		struct umem_dedup_slot *s = slot(dedup, hash, i);

		if (s->number == 0)
			to = s;
	}
	if (to)
		dedup->n++;
	else
		to = slot(dedup, hash, (unsigned)(hash->lane[0] % WINDOW));
	*to = (struct umem_dedup_slot){ *hash, number + 1 };
}

/* A table of @n_slots with what @keep says yes to; NULL keeps all. */
static int rebuild(struct umem_dedup *dedup, uint64_t n_slots,
	bool (*keep)(void *user, uint64_t number), void *user)
{
	UMEM_FREE struct umem_dedup_slot *old = dedup->slots;
	struct umem_dedup_slot *slots = calloc(n_slots, sizeof(*slots));
	uint64_t n_old = dedup->n_slots;

	if (!slots) {
		UMEM_TAKE_PTR(old);
		return -ENOMEM;
	}
	dedup->slots = slots;
	dedup->n_slots = n_slots;
	dedup->n = 0;
	for (uint64_t i = 0; i < n_old; i++) {
		if (old[i].number != 0 && (!keep || keep(user, old[i].number - 1)))
			place(dedup, &old[i].hash, old[i].number - 1);
	}
	return 0;
}

void umem_dedup_add(struct umem_dedup *dedup, const struct umem_pagehash2 *hash,
	uint64_t number)
{
	if (dedup->max_slots == 0)
		return;
	if (dedup->n_slots < dedup->max_slots && dedup->n >= dedup->n_slots / 2) {
		uint64_t want = dedup->n_slots ? dedup->n_slots * 2 : FIRST_SLOTS;

		/* Without memory for more, it stays as large as it is. */
		if (rebuild(dedup, want, NULL, NULL) < 0)
			dedup->max_slots = dedup->n_slots;
	}
	if (dedup->n_slots > 0)
		place(dedup, hash, number);
}

int umem_dedup_keep(struct umem_dedup *dedup, bool (*keep)(void *user, uint64_t number),
	void *user)
{
	return dedup->n_slots ? rebuild(dedup, dedup->n_slots, keep, user) : 0;
}
