// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory that moved: pages of a parent, and of its parents, are found by content and
 * referred to; of hostile ones with the same hash, the bytes count.
 */
#include "lib/store/kin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

#define N 500u

/* A table forgets a page now and then, where too many hashes lie together. */
#define FEW (N / 100 * PAGE)

/* An image of N pages in space @space from page @shift on, contents from @first on. */
static struct umem_image_totals make(const char *name, const char *parent, uint32_t space,
	uint64_t shift, uint64_t first, struct model *model)
{
	struct umem_image_create_options options = { .size = sizeof(options) };
	struct umem_image_writer *writer;
	struct umem_image_totals totals;
	struct umem_image *image;
	uint64_t rng = 1;

	if (parent)
		T_OK(umem_image_open(t_tree_path(parent), NULL, &options.parent, NULL));
	model_clear(model);
	T_OK(umem_image_create(t_tree_path(name), &options, &writer, NULL));
	for (uint64_t i = 0; i < N; i++) {
		uint64_t content = (first + i) * 8 + 1 + i % 7;

		model_put(model, writer, space, shift + i, &content, 1, true);
	}
	T_OK(umem_image_commit(writer, &totals, NULL));
	umem_image_writer_free(writer);
	umem_image_free(options.parent);
	T_OK(umem_image_open(t_tree_path(name), NULL, &image, NULL));
	model_check(model, image, &rng);
	model_verify(image);
	umem_image_free(image);
	return totals;
}

static void moved(void **state)
{
	static struct model model;
	struct umem_image_totals totals = make("k0", NULL, 0, 0, 0, &model);

	assert_int_equal(totals.stored_bytes, N * PAGE);
	/* By three pages; to another space; both, and it is in the parent's parent. */
	totals = make("k1", "k0", 0, 3, 0, &model);
	assert_true(totals.stored_bytes <= FEW);
	assert_int_equal(totals.parent_bytes, N * PAGE - totals.stored_bytes);
	assert_true(totals.n_runs < 20);
	totals = make("k2", "k1", 1, 9, 0, &model);
	assert_true(totals.stored_bytes <= FEW);
	/* 70 new ones, in an image whose parent has none of its own. */
	totals = make("k3", "k2", 2, 100, 70, &model);
	assert_true(totals.stored_bytes >= 70 * PAGE && totals.stored_bytes < 90 * PAGE);
	assert_true(totals.n_runs < 90);
	totals = make("k4", "k3", 0, 0, 70, &model);
	assert_true(totals.stored_bytes <= FEW);
}

/* A page that has the hash of another, by a change of the table. */
static void same_hash(void **state)
{
	static struct model model;
	struct umem_image *parent;
	struct umem_kin *kin;
	unsigned char page[PAGE];
	uint64_t addr;
	uint32_t space;

	make("h0", NULL, 0, 0, 0, &model);
	T_OK(umem_image_open(t_tree_path("h0"), NULL, &parent, NULL));
	T_OK(umem_image_load_hashes(parent));
	/* Now the hash of page 7 is said to be that of page 5's place. */
	model_page(model.page[0][7], page);
	parent->hashes[7] = 12345;
	parent->hashes[5] = umem_pagehash_one(parent->key, page);
	T_OK(umem_kin_new(parent, 1 << 20, &kin));
	assert_false(umem_kin_find(kin, page, 0, &space, &addr));
	model_page(model.page[0][9], page);
	assert_true(umem_kin_find(kin, page, 0, &space, &addr));
	assert_int_equal(space, 0);
	assert_int_equal(addr, model_addr(9));
	umem_kin_free(kin);
	umem_image_free(parent);
}

/* Pages in random order cost reads: only some of them are looked for. */
static void random_order(void **state)
{
	static struct model model;
	struct umem_image *parent;
	struct umem_kin *kin;
	unsigned char page[PAGE];
	uint64_t rng = t_seed(), addr, found = 0;
	uint32_t space;

	make("r0", NULL, 0, 0, 0, &model);
	T_OK(umem_image_open(t_tree_path("r0"), NULL, &parent, NULL));
	T_OK(umem_kin_new(parent, 1 << 20, &kin));
	for (int i = 0; i < 20000; i++) {
		model_page(model.page[0][t_below(&rng, N)], page);
		found += umem_kin_find(kin, page, 0, &space, &addr);
	}
	assert_true(found >= 256 && found < 256 + 20000 / 32);
	umem_kin_free(kin);
	umem_image_free(parent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moved),
		cmocka_unit_test(same_hash),
		cmocka_unit_test(random_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
