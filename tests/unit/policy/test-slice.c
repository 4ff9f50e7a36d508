// SPDX-License-Identifier: LGPL-2.1-or-later
/* Slices: what mappings leave of them against a model of pages, and what an interval does. */
#include "lib/policy/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define PAGE 4096u
#define SPACE 2000
#define SECOND 1000000000u

/* Sorted, disjoint, within cells, and counts that can be. */
static void check_sane(const struct umem_slices *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct umem_slice *a = &s->v[i];
		uint64_t cell = UMEM_SLICE_PAGES * s->page_bytes;

		assert_in_range(a->n_pages, 1, UMEM_SLICE_PAGES);
		assert_int_equal(a->start / cell, (umem_slice_end(s, a) - 1) / cell);
		assert_true(a->resident + a->out <= a->n_pages);
		assert_true(a->returned <= a->at_risk && a->back <= a->sample);
		assert_true(a->want <= a->resident);
		if (i)
			assert_true(umem_slice_end(s, a - 1) <= a->start);
	}
}

/* Random maps: each page keeps the mark of its slice as long as it stays mapped. */
static void sync_keeps_state(void **state)
{
	uint64_t rng = t_seed(), next_mark = 1;

	for (int round = 0; round < 60; round++) {
		UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
		UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };
		uint64_t mark[SPACE] = { 0 };

		umem_slices_init(&s, PAGE);
		for (int step = 0; step < 25; step++) {
			uint64_t from = t_below(&rng, SPACE), to = from + t_below(&rng, 700);

			to = umem_min_u64(to, SPACE);
			if (t_below(&rng, 3))
				T_OK(umem_ranges_add(&ranges, from * PAGE, to * PAGE));
			else
				T_OK(umem_ranges_sub(&ranges, from * PAGE, to * PAGE));
			T_OK(umem_slices_sync(&s, &ranges));
			check_sane(&s);
			for (uint64_t p = 0; p < SPACE; p++) {
				size_t i = umem_slices_find(&s, p * PAGE);
				bool in = i < s.n && s.v[i].start <= p * PAGE;

				assert_int_equal(in, umem_ranges_has(&ranges, p * PAGE));
				if (!in)
					mark[p] = 0;
				else
					assert_int_equal(s.v[i].evidence_ns, mark[p]);
			}
			/* new marks, which parts of a slice have to share */
			for (size_t i = 0; i < s.n; i++) {
				struct umem_slice *a = &s.v[i];

				a->evidence_ns = next_mark++;
				a->resident = (uint32_t)t_below(&rng, a->n_pages + 1);
				a->out = a->n_pages - a->resident;
				a->at_risk = (uint32_t)t_below(&rng, a->n_pages + 1);
				a->returned = (uint32_t)t_below(&rng, a->at_risk + 1);
				a->want = (uint32_t)t_below(&rng, a->resident + 1);
				for (uint64_t p = 0; p < a->n_pages; p++)
					mark[a->start / PAGE + p] = a->evidence_ns;
			}
		}
	}
}

static void sync_cuts_on_the_grid(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };
	uint64_t top = UINT64_MAX & ~(uint64_t)(PAGE - 1);

	umem_slices_init(&s, PAGE);
	T_OK(umem_slices_sync(&s, &ranges));
	assert_int_equal(s.n, 0);
	/* 100 pages before a line, two cells, 7 pages behind */
	T_OK(umem_ranges_add(&ranges, 412 * PAGE, (3 * 512 + 7) * PAGE));
	T_OK(umem_slices_sync(&s, &ranges));
	assert_int_equal(s.n, 4);
	assert_int_equal(s.v[0].n_pages, 100);
	assert_int_equal(s.v[1].n_pages, 512);
	assert_int_equal(s.v[3].n_pages, 7);
	assert_false(s.v[0].late);
	/* the last page of the address space; what comes later is told apart */
	T_OK(umem_ranges_add(&ranges, top - PAGE, top));
	T_OK(umem_slices_sync(&s, &ranges));
	assert_int_equal(s.n, 5);
	assert_int_equal(umem_slices_find(&s, top - 1), 4);
	assert_int_equal(umem_slices_find(&s, top), 5);
	assert_true(s.v[4].late && !s.v[3].late);
}

/* Every small set of numbers, and numbers that cannot be. */
static void note_cuts_what_cannot_be(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 2, 7, 8, 9, UINT64_MAX };
	const size_t n = UMEM_ARRAY_LEN(numbers);

	for (size_t k = 0; k < n * n * n * n * n * 3; k++) {
		struct umem_slice a = { .n_pages = 8, .sample = 4, .resident = 3, .seen = true };
		struct umem_slice_seen seen = {
			.resident = numbers[k % n],
			.out = numbers[k / n % n],
			.at_risk = numbers[k / n / n % n],
			.returned = numbers[k / n / n / n % n],
			.trial = numbers[k / 5 % n],
			.touched = numbers[k / 11 % n],
			.used = numbers[k / n / n / n / n % n],
			.source = (enum umem_use_source)(k / n / n / n / n / n),
		};

		umem_slice_note(&a, &seen, k % 2 ? UINT64_MAX : SECOND);
		umem_slice_note(&a, &seen, k % 3 ? UINT64_MAX : SECOND);
		assert_true(a.resident + a.trial + a.out <= 8 && a.touched <= a.resident);
		assert_true(a.recent <= 8 && a.at_risk <= 8 && a.used <= 8);
		assert_true(a.returned <= a.at_risk && a.back <= a.sample);
		assert_true(a.warm <= a.resident && a.grown <= a.resident);
		if (seen.source == UMEM_USE_UNKNOWN)
			assert_int_equal(a.used, 0);
		if (a.returned || a.used || a.touched)
			assert_int_equal(a.quiet_ns, 0);
		if (a.returned)
			assert_int_equal(a.evidence_ns, 0);
	}
}

static void note_counts_time(void **state)
{
	struct umem_slice a = { .n_pages = 512 };
	struct umem_slice_seen seen = { .resident = 500, .out = 12, .at_risk = 12 };

	/* nothing out, no source: silence says nothing */
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 512 }, SECOND);
	assert_int_equal(a.quiet_ns, 0);
	assert_int_equal(a.grown, 0);
	umem_slice_note(&a, &seen, SECOND);
	umem_slice_note(&a, &seen, 2 * (uint64_t)SECOND);
	assert_int_equal(a.quiet_ns, 3 * (uint64_t)SECOND);
	assert_int_equal(a.evidence_ns, 36 * (uint64_t)SECOND);
	/* a return begins again, and is no growth */
	seen = (struct umem_slice_seen){ .resident = 501, .out = 11, .at_risk = 12, .returned = 1 };
	umem_slice_note(&a, &seen, SECOND);
	assert_int_equal(a.quiet_ns + a.evidence_ns + a.grown, 0);
	/* pages that nobody put out are the target's doing */
	seen = (struct umem_slice_seen){ .resident = 510, .out = 2, .at_risk = 11 };
	umem_slice_note(&a, &seen, SECOND);
	assert_int_equal(a.grown, 9);
	assert_int_equal(a.quiet_ns, 0);
	assert_int_equal(a.warm, 1 + 9);
	/* memory that was mapped later was filled by the target */
	a = (struct umem_slice){ .n_pages = 512, .late = true };
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 5 }, SECOND);
	assert_int_equal(a.grown, 5);
}

static void holds_double(void **state)
{
	struct umem_slice a = { .n_pages = 512 };
	uint64_t length = 30, now = 1000;

	for (int i = 0; i < 20; i++) {
		a.state = UMEM_SLICE_PROBING;
		a.sample = a.put = a.back = 3;
		umem_slice_hold(&a, now, 30, 1800);
		assert_int_equal(a.state, UMEM_SLICE_WARM);
		assert_int_equal(a.hold_ns, length);
		assert_int_equal(a.hold_until_ns, now + length);
		assert_int_equal(a.sample + a.put + a.back, 0);
		length = umem_min_u64(length * 2, 1800);
	}
	umem_slice_hold(&a, UINT64_MAX - 5, 30, UINT64_MAX);
	assert_int_equal(a.hold_until_ns, UINT64_MAX);
	for (int i = 0; i < 70; i++)
		umem_slice_hold(&a, 0, 30, UINT64_MAX);
	assert_int_equal(a.hold_ns, UINT64_MAX);

	/* forgotten after four times as long without a return, if there was one to be seen */
	a = (struct umem_slice){ .n_pages = 8, .hold_ns = 10 };
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 8 }, 1000);
	assert_int_equal(a.hold_ns, 10);
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 7, .out = 1, .at_risk = 1 }, 39);
	assert_int_equal(a.hold_ns, 10);
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 7, .out = 1, .at_risk = 1 }, 1);
	assert_int_equal(a.hold_ns, 0);
}

static void put_out_moves_pages(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 100, .out = 20, .want = 2 };

	umem_slice_put_out(&a, 2, 5, 30);
	assert_int_equal(a.state, UMEM_SLICE_PROBING);
	assert_int_equal(a.resident, 98);
	assert_int_equal(a.out, 22);
	assert_int_equal(a.sample, 2);
	assert_int_equal(a.want, 0);
	umem_slice_put_out(&a, 6, 5, 30);
	assert_int_equal(a.sample, 8);
	assert_int_equal(a.put, 6);
	assert_int_equal(a.step, 1);
	a.state = UMEM_SLICE_COLD;
	umem_slice_put_out(&a, UINT64_MAX, 5, 30);
	assert_int_equal(a.resident, 0);
	assert_int_equal(a.out, 120);
	assert_int_equal(a.sample, 8);
	assert_int_equal(a.put, 6 + 92);
	/* refused: not asked again at once */
	a = (struct umem_slice){ .n_pages = 512, .resident = 100, .want = 2 };
	umem_slice_put_out(&a, 0, 5, 30);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
	assert_int_equal(a.hold_until_ns, 35);
	assert_int_equal(a.resident, 100);
}

/* Pages on trial: they are in memory, and used, or dropped, or let go again. */
static void trials_move_pages(void **state)
{
	struct umem_slice a = { .n_pages = 512, .resident = 100, .out = 20, .want = 4,
		.way = UMEM_WAY_TRY, .recent = 7, .recent_ns = SECOND };

	umem_slice_put_out(&a, 4, 5, 30);
	assert_int_equal(a.state, UMEM_SLICE_PROBING);
	assert_int_equal(a.resident, 96);
	assert_int_equal(a.trial, 4);
	assert_int_equal(a.sample, 4);
	assert_int_equal(a.out, 20);
	assert_int_equal(a.recent + a.recent_ns + a.sampled_ns, 0);
	/* used: no growth, and a sign of use */
	umem_slice_note(&a, &(struct umem_slice_seen){ .resident = 97, .trial = 3, .touched = 1,
		.out = 20, .at_risk = 20, .tries = true }, SECOND);
	assert_true(a.tries);
	assert_int_equal(a.grown + a.returned + a.quiet_ns, 0);
	assert_int_equal(a.back, 1);
	assert_int_equal(a.recent, 1);
	/* one of three was used meanwhile, and is resident */
	a.state = UMEM_SLICE_COLD;
	a.way = UMEM_WAY_DROP;
	a.want = 3;
	umem_slice_put_out(&a, 2, 5, 30);
	assert_int_equal(a.state, UMEM_SLICE_COLD);
	assert_int_equal(a.trial, 0);
	assert_int_equal(a.resident, 98);
	assert_int_equal(a.out, 22);
	/* what is left of a cold slice is tried as a whole */
	a.way = UMEM_WAY_TRY;
	a.want = 98;
	umem_slice_put_out(&a, 90, 5, 30);
	assert_int_equal(a.state, UMEM_SLICE_PROBING);
	assert_int_equal(a.step, UMEM_TRIAL_WHOLE);
	assert_int_equal(a.sample, 90);
	assert_int_equal(a.trial, 90);
	assert_int_equal(a.resident, 8);
	/* let go: as if nothing had been, whatever could be done of it */
	a.state = UMEM_SLICE_WARM;
	a.way = UMEM_WAY_RELEASE;
	a.want = 90;
	umem_slice_put_out(&a, 0, 5, 30);
	assert_int_equal(a.state, UMEM_SLICE_WARM);
	assert_int_equal(a.trial, 0);
	assert_int_equal(a.resident, 98);
}

static void wakes_evenly(void **state)
{
	UMEM_CLEANUP(umem_slices_deinit) struct umem_slices s;
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges ranges = { 0 };

	umem_slices_init(&s, PAGE);
	T_OK(umem_ranges_add(&ranges, 0, 10 * 512 * PAGE));
	T_OK(umem_slices_sync(&s, &ranges));
	umem_slices_wake(&s, 100, 60);
	for (size_t i = 0; i < 10; i += 2)
		umem_slice_hold(&s.v[i], 100, 1000, 1000);
	s.v[4].hold_until_ns = 101;
	umem_slices_wake(&s, 100, 60);
	assert_int_equal(s.v[0].hold_until_ns, 100);
	assert_int_equal(s.v[1].hold_until_ns, 0);
	assert_int_equal(s.v[2].hold_until_ns, 112);
	assert_int_equal(s.v[4].hold_until_ns, 101);
	assert_int_equal(s.v[8].hold_until_ns, 148);
	assert_int_equal(s.v[8].hold_ns, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sync_keeps_state),
		cmocka_unit_test(sync_cuts_on_the_grid),
		cmocka_unit_test(note_cuts_what_cannot_be),
		cmocka_unit_test(note_counts_time),
		cmocka_unit_test(holds_double),
		cmocka_unit_test(put_out_moves_pages),
		cmocka_unit_test(trials_move_pages),
		cmocka_unit_test(wakes_evenly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
