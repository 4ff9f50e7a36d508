// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the serving thread does when nobody waits for it: lift what was swept, copy
 * what was moved, look for new mappings of objects.
 */
#include "lib/track/cow_own.h"

#include "lib/base/clock.h"

/* How often it is looked for new mappings of objects. */
#define CHECK_MS 20

/* Swept pages need their protection no longer. Return: was there something to do? */
static bool lift_swept(struct umem_cow *cow)
{
	struct umem_cow_lifts *lifts = &cow->lifts;
	uint64_t got = atomic_load_explicit(&lifts->got, memory_order_relaxed);
	struct umem_cow_run run;

	if (got == atomic_load_explicit(&lifts->put, memory_order_acquire))
		return false;
	run = lifts->v[got % UMEM_COW_N_LIFTS];
	for (size_t i = 0; i < run.part->n_seen; i++) {
		const struct umem_cow_seen *seen = &run.part->seen[i];
		struct umem_cow_run rest = run;

		while (rest.n_pages > 0) {
			uint64_t addr = 0;
			uint64_t n = umem_cow_where(&seen->process->now, seen, &rest, &addr);

			/* Refused during a change: then when somebody writes. */
			if (n)
				umem_cow_lift(seen->process, addr, addr + (n << UMEM_PAGE_SHIFT));
			n = n ? n : 1;
			rest.page += n;
			rest.n_pages -= n;
		}
	}
	atomic_store_explicit(&lifts->got, got + 1, memory_order_release);
	return true;
}

/* Is there work for which nobody waits? */
static bool has_work(const struct umem_cow *cow)
{
	const struct umem_cow_lifts *lifts = &cow->lifts;

	return atomic_load_explicit(&cow->order, memory_order_acquire) == UMEM_COW_COPY &&
		(atomic_load_explicit(&lifts->got, memory_order_relaxed) !=
				atomic_load_explicit(&lifts->put, memory_order_relaxed) ||
			umem_cow_may_copy_moved(cow));
}

/* Look for new mappings of objects, when it is asked for or time. */
static void check_objects(struct umem_cow *cow)
{
	uint64_t asked = atomic_load_explicit(&cow->n_asked, memory_order_acquire), now_ns;
	bool waits = atomic_load_explicit(&cow->n_checked, memory_order_relaxed) != asked;

	if (!atomic_load_explicit(&cow->shares, memory_order_relaxed) ||
		atomic_load_explicit(&cow->order, memory_order_relaxed) != UMEM_COW_COPY)
		return;
	now_ns = umem_now_ns();
	if (!waits && now_ns - cow->server.checked_ns < CHECK_MS * 1000000ull)
		return;
	if (!umem_cow_objects_check(cow))
		return;
	cow->server.checked_ns = now_ns;
	atomic_store_explicit(&cow->n_checked, asked, memory_order_release);
}

int umem_cow_idle_ms(const struct umem_cow *cow)
{
	if (has_work(cow) || atomic_load_explicit(&cow->n_checked, memory_order_relaxed) !=
			atomic_load_explicit(&cow->n_asked, memory_order_acquire))
		return 0;
	return atomic_load_explicit(&cow->shares, memory_order_relaxed) ? CHECK_MS : -1;
}

void umem_cow_idle(struct umem_cow *cow)
{
	if (has_work(cow) && !lift_swept(cow))
		umem_cow_copy_moved(cow);
	check_objects(cow);
}
