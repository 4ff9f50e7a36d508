// SPDX-License-Identifier: LGPL-2.1-or-later
/* Maps of a snapshot against a naive model: one entry a page of a small address space. */
#include "lib/track/cow_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/mem/pageset.h"
#include "tests/lib/harness.h"

#define N 128 /* pages of the address space */
#define STEPS 4000

/* A part is no more than an address here. */
static char parts[8];

struct model {
	const char *part[N];
	uint64_t page[N];
};

static uint64_t addr_of(uint64_t page)
{
	return (page + 16) << UMEM_PAGE_SHIFT;
}

static void check(const struct umem_cow_map *map, const struct model *m)
{
	for (size_t i = 0; i < map->n; i++) {
		assert_true(map->v[i].start < map->v[i].end);
		assert_true(i == 0 || map->v[i - 1].end <= map->v[i].start);
	}
	for (uint64_t i = 0; i < N; i++) {
		const struct umem_cow_view *v = umem_cow_map_find(map, addr_of(i) + 17);

		assert_true((v != NULL) == (m->part[i] != NULL));
		if (!v)
			continue;
		assert_ptr_equal(v->part, m->part[i]);
		assert_int_equal(v->page + ((addr_of(i) - v->start) >> UMEM_PAGE_SHIFT),
			m->page[i]);
	}
}

static void step_add(struct umem_cow_map *map, struct model *m, uint64_t *rand)
{
	uint64_t first = t_below(rand, N), n = 1 + t_below(rand, N - first);
	char *part = &parts[t_below(rand, sizeof(parts))];
	struct umem_cow_view view = {
		.start = addr_of(first),
		.part = (struct umem_cow_part *)part,
		.page = t_below(rand, 1000),
	};

	for (uint64_t i = 0; i < n; i++)
		if (m->part[first + i])
			n = i;
	if (n == 0)
		return;
	view.end = addr_of(first + n);
	assert_int_equal(umem_cow_map_add(map, &view), 0);
	for (uint64_t i = 0; i < n; i++) {
		m->part[first + i] = part;
		m->page[first + i] = view.page + i;
	}
}

static void step_cut(struct umem_cow_map *map, struct model *m, uint64_t *rand)
{
	struct umem_cow_map cut = { 0 };
	uint64_t first = t_below(rand, N), n = 1 + t_below(rand, N - first), sum = 0, want = 0;

	assert_int_equal(umem_cow_map_cut(map, addr_of(first), addr_of(first + n),
				 t_below(rand, 2) ? &cut : NULL), 0);
	for (uint64_t i = first; i < first + n; i++) {
		want += m->part[i] != NULL;
		m->part[i] = NULL;
	}
	for (size_t i = 0; i < cut.n; i++)
		sum += (cut.v[i].end - cut.v[i].start) >> UMEM_PAGE_SHIFT;
	assert_true(cut.n == 0 || sum == want);
	umem_cow_map_deinit(&cut);
}

static void step_move(struct umem_cow_map *map, struct model *m, uint64_t *rand)
{
	struct umem_cow_map moved = { 0 };
	struct model was = *m;
	uint64_t n = 1 + t_below(rand, N / 4);
	uint64_t from = t_below(rand, N - n), to = t_below(rand, N - n);

	/* The kernel refuses to move to what overlaps. */
	if (from < to + n && to < from + n)
		return;
	assert_int_equal(umem_cow_map_move(map, addr_of(from), addr_of(to), n << UMEM_PAGE_SHIFT,
				 &moved), 0);
	for (uint64_t i = 0; i < n; i++) {
		m->part[to + i] = was.part[from + i];
		m->page[to + i] = was.page[from + i];
		m->part[from + i] = NULL;
	}
	for (size_t i = 0; i < moved.n; i++)
		assert_true(moved.v[i].start >= addr_of(to) && moved.v[i].end <= addr_of(to + n));
	umem_cow_map_deinit(&moved);
}

static void test_random(void **state)
{
	uint64_t rand = t_seed();
	struct umem_cow_map map = { 0 }, copy = { 0 };
	struct model m = { 0 };

	for (int i = 0; i < STEPS; i++) {
		switch (t_below(&rand, 3)) {
		case 0:
			step_add(&map, &m, &rand);
			break;
		case 1:
			step_cut(&map, &m, &rand);
			break;
		default:
			step_move(&map, &m, &rand);
			break;
		}
		check(&map, &m);
	}
	assert_int_equal(umem_cow_map_copy(&copy, &map), 0);
	check(&copy, &m);
	umem_cow_map_deinit(&map);
	umem_cow_map_deinit(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
