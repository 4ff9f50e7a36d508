// SPDX-License-Identifier: LGPL-2.1-or-later
/* The index of a writer against an array of pages, random changes. */
#include "lib/store/runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

#define PAGES 3000u
#define PAGE  4096ull

/** struct page - what a run says of a page. */
struct page {
	unsigned kind;
	unsigned space;
	uint64_t ref;
};

static struct page page_of(const struct umem_run *run, uint64_t i)
{
	struct page page = { run->kind, run->space, run->ref };

	if (run->kind == UMEM_RUN_DATA)
		page.ref += i;
	if (run->kind == UMEM_RUN_PARENT)
		page.ref += i * PAGE;
	return page;
}

static bool same(const struct page *a, const struct page *b)
{
	return a->kind == b->kind && a->space == b->space && a->ref == b->ref;
}

static void check(const struct umem_runs *runs, const struct page *model)
{
	struct umem_runs_at at, found;
	const struct umem_run *last = NULL;
	uint64_t n = 0, next = 0;

	for (bool more = umem_runs_first(runs, &at); more; more = umem_runs_next(runs, &at), n++) {
		const struct umem_run *run = umem_runs_get(runs, &at);
		uint64_t first = run->start / PAGE;

		assert_true(run->n_pages > 0);
		assert_true(first >= next);
		for (; next < first; next++)
			assert_int_equal(model[next].kind, 0);
		/* Neighbours that continue each other are one. */
		if (last && umem_run_end(last) == run->start) {
			struct page expected = page_of(last, last->n_pages);
			struct page have = page_of(run, 0);

			assert_false(same(&expected, &have));
		}
		for (uint64_t i = 0; i < run->n_pages; i++, next++) {
			struct page have = page_of(run, i);

			assert_true(same(&have, &model[next]));
		}
		assert_true(umem_runs_find(runs, run->start, &found));
		assert_ptr_equal(umem_runs_get(runs, &found), run);
		assert_true(umem_runs_find(runs, umem_run_end(run) - 1, &found));
		assert_ptr_equal(umem_runs_get(runs, &found), run);
		last = run;
	}
	for (; next < PAGES; next++)
		assert_int_equal(model[next].kind, 0);
	assert_int_equal(n, runs->n);
	if (last)
		assert_false(umem_runs_find(runs, umem_run_end(last), &found));
}

static struct umem_run some_run(uint64_t *rng, uint64_t first, uint64_t n)
{
	struct umem_run run = { .start = first * PAGE, .n_pages = n,
		.kind = 1 + t_below(rng, 4) };

	/* Often what continues a neighbour. */
	if (run.kind == UMEM_RUN_DATA)
		run.ref = t_below(rng, 2) ? 5000 + first : t_below(rng, 1000);
	else if (run.kind == UMEM_RUN_PARENT)
		run.ref = (t_below(rng, 2) ? 700 + first : t_below(rng, 1000)) * PAGE;
	else if (run.kind == UMEM_RUN_FILL)
		run.ref = 1 + t_below(rng, 2);
	if (run.kind == UMEM_RUN_PARENT)
		run.space = t_below(rng, 2);
	return run;
}

static void change(uint64_t *rng, struct umem_runs *runs, struct page *model, uint64_t longest)
{
	uint64_t first = t_below(rng, PAGES), n = 1 + t_below(rng, longest), dead = 0, want = 0;
	struct umem_run run;
	bool drop = t_below(rng, 4) == 0;

	n = n > PAGES - first ? PAGES - first : n;
	run = some_run(rng, first, n);
	for (uint64_t i = first; i < first + n; i++)
		want += model[i].kind == UMEM_RUN_DATA;
	if (drop)
		T_OK(umem_runs_drop(runs, first * PAGE, (first + n) * PAGE, &dead));
	else
		T_OK(umem_runs_set(runs, &run, &dead));
	assert_int_equal(dead, want);
	for (uint64_t i = 0; i < n; i++)
		model[first + i] = drop ? (struct page){ 0 } : page_of(&run, i);
}

static void random_changes(void **state)
{
	static struct page model[PAGES];
	uint64_t rng = t_seed();

	for (int round = 0; round < 60; round++) {
		/* Short ones make many runs, long ones take many out at once. */
		uint64_t longest = round % 3 == 0 ? 2 : round % 3 == 1 ? 20 : 2000;
		struct umem_runs runs = { 0 };

		memset(model, 0, sizeof(model));
		for (int i = 0; i < 4000; i++) {
			change(&rng, &runs, model, t_below(&rng, 50) ? longest : PAGES);
			if (i % 97 == 0)
				check(&runs, model);
		}
		check(&runs, model);
		umem_runs_deinit(&runs);
	}
}

static void edges(void **state)
{
	const struct umem_run whole = { .n_pages = UMEM_RUN_MAX_PAGES, .kind = UMEM_RUN_ZERO };
	struct umem_run next = { .start = umem_run_end(&whole), .n_pages = 1,
		.kind = UMEM_RUN_ZERO };
	struct umem_run last = { .start = UINT64_MAX - 2 * PAGE + 1, .n_pages = 1,
		.kind = UMEM_RUN_DATA };
	struct umem_runs runs = { 0 };
	struct umem_runs_at at;
	uint64_t dead = 0;

	assert_false(umem_runs_first(&runs, &at));
	T_OK(umem_runs_drop(&runs, 0, UINT64_MAX - PAGE + 1, &dead));
	/* More than a run can have does not become one. */
	T_OK(umem_runs_set(&runs, &whole, &dead));
	T_OK(umem_runs_set(&runs, &next, &dead));
	assert_int_equal(runs.n, 2);
	T_OK(umem_runs_set(&runs, &last, &dead));
	assert_int_equal(runs.n, 3);
	T_OK(umem_runs_drop(&runs, PAGE, UINT64_MAX - PAGE + 1, &dead));
	assert_int_equal(runs.n, 1);
	assert_int_equal(dead, 1);
	umem_runs_deinit(&runs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_changes),
		cmocka_unit_test(edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
