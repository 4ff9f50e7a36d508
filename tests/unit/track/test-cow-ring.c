// SPDX-License-Identifier: LGPL-2.1-or-later
/* Staging memory and notes, between two threads: all comes, in order, and intact. */
#include "lib/track/cow_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "lib/mem/pageset.h"
#include "lib/track/cow_notes.h"
#include "tests/lib/harness.h"

#define N_SLOTS 40
#define N_PAGES 20000
#define N_NOTES 100000

struct job {
	struct umem_cow_ring ring;
	struct umem_cow_notes notes;
	uint64_t seed;
};

/* Rooms of 1 to 20 pages, of which some runs are put. */
static void *produce(void *arg)
{
	struct job *job = arg;
	uint64_t rand = job->seed, page = 0;

	while (page < N_PAGES) {
		uint64_t n = 1 + t_below(&rand, N_SLOTS / 2), at = 0;
		uint8_t *bytes = umem_cow_ring_room(&job->ring, n);

		if (!bytes) {
			sched_yield();
			continue;
		}
		/* A run, a gap, a run. */
		while (at < n) {
			uint64_t len = 1 + t_below(&rand, n - at);
			struct umem_cow_staged staged = {
				.page = page,
				.n_pages = len,
				.bytes = bytes + (at << UMEM_PAGE_SHIFT),
			};

			for (uint64_t i = 0; i < len; i++)
				t_fill_page(bytes + ((at + i) << UMEM_PAGE_SHIFT), page + i, 5);
			if (t_below(&rand, 4)) {
				umem_cow_ring_put(&job->ring, &staged);
				page += len;
			}
			at += len + t_below(&rand, 3);
		}
	}
	return NULL;
}

static void test_ring(void **state)
{
	struct umem_cow_staged staged;
	uint64_t rand, next = 0;
	struct job job = { .seed = t_seed() };
	uint8_t want[UMEM_PAGE_BYTES];
	pthread_t thread;

	rand = job.seed;
	assert_int_equal(umem_cow_ring_init(&job.ring, 1), -EINVAL);
	assert_int_equal(umem_cow_ring_init(&job.ring, N_SLOTS), 0);
	assert_null(umem_cow_ring_room(&job.ring, N_SLOTS / 2 + 1));
	assert_false(umem_cow_ring_get(&job.ring, &staged));
	assert_int_equal(pthread_create(&thread, NULL, produce, &job), 0);
	while (next < N_PAGES) {
		if (!umem_cow_ring_get(&job.ring, &staged)) {
			sched_yield();
			continue;
		}
		assert_int_equal(staged.page, next);
		for (uint64_t i = 0; i < staged.n_pages; i++) {
			t_fill_page(want, next + i, 5);
			assert_memory_equal(staged.bytes + (i << UMEM_PAGE_SHIFT), want,
				sizeof(want));
		}
		next += staged.n_pages;
		if (t_below(&rand, 8) == 0)
			sched_yield();
		umem_cow_ring_give_back(&job.ring);
	}
	pthread_join(thread, NULL);
	assert_false(umem_cow_ring_half_full(&job.ring));
	umem_cow_ring_deinit(&job.ring);
}

/* Nothing is given back: rooms must never overlap, and end when it is full. */
static void test_full(void **state)
{
	struct umem_cow_ring ring;
	struct umem_cow_staged staged = { .n_pages = 3 };
	int n = 0;

	assert_int_equal(umem_cow_ring_init(&ring, N_SLOTS), 0);
	while ((staged.bytes = umem_cow_ring_room(&ring, 3))) {
		memset((uint8_t *)staged.bytes, n, 3 * UMEM_PAGE_BYTES);
		staged.page = (uint64_t)n++;
		umem_cow_ring_put(&ring, &staged);
	}
	assert_int_equal(n, N_SLOTS / 3);
	assert_true(umem_cow_ring_half_full(&ring));
	for (int i = 0; i < n; i++) {
		assert_true(umem_cow_ring_get(&ring, &staged));
		assert_int_equal(staged.page, i);
		assert_int_equal(staged.bytes[3 * UMEM_PAGE_BYTES - 1], i);
		umem_cow_ring_give_back(&ring);
	}
	assert_non_null(umem_cow_ring_room(&ring, N_SLOTS / 2));
	umem_cow_ring_deinit(&ring);
}

static void *take_notes_down(void *arg)
{
	struct job *job = arg;

	for (uint64_t i = 0; i < N_NOTES; i++) {
		struct umem_cow_note note = { i, i + 1, (uint32_t)(i % 7), UMEM_COW_LIFTED };

		assert_int_equal(umem_cow_notes_put(&job->notes, &note), 0);
	}
	return NULL;
}

static void test_notes(void **state)
{
	struct umem_cow_note note;
	struct job job = { 0 };
	pthread_t thread;
	uint64_t next = 0;

	assert_int_equal(umem_cow_notes_init(&job.notes), 0);
	assert_false(umem_cow_notes_get(&job.notes, &note));
	assert_int_equal(pthread_create(&thread, NULL, take_notes_down, &job), 0);
	while (next < N_NOTES) {
		if (!umem_cow_notes_get(&job.notes, &note)) {
			sched_yield();
			continue;
		}
		assert_int_equal(note.start, next);
		assert_int_equal(note.member, next % 7);
		next++;
	}
	pthread_join(thread, NULL);
	assert_false(umem_cow_notes_get(&job.notes, &note));
	assert_int_equal(atomic_load(&job.notes.n), N_NOTES);
	umem_cow_notes_deinit(&job.notes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_notes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
