// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Chains folded into one image, and images compared, against the model. Regions that
 * differ, spaces that are paired by pid.
 *
 *     SEED=N, IMAGE_SEEDS=N (how many families, 16)
 */
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

#define N_IMAGES 4

/** struct family - images that descend from the first, and what they hold. */
struct family {
	struct model models[N_IMAGES];
	struct umem_image *images[N_IMAGES];
};

static const char *path_of(unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "image-%u.umem", i);
	return t_tree_path(name);
}

static void describe(struct umem_image_writer *writer, const int32_t *pids)
{
	struct umem_image_process processes[MODEL_SPACES] = { 0 };

	for (uint32_t s = 0; s < MODEL_SPACES; s++)
		processes[s] = (struct umem_image_process){ .space = s, .pid = pids[s] };
	T_OK(umem_image_describe(writer, processes, MODEL_SPACES, NULL));
}

/* Image @i: none, or an earlier one, is its parent. */
static void add_image(struct family *family, unsigned i, uint64_t *rng)
{
	struct umem_image_create_options options = model_options(rng);
	const struct model *parent = NULL;
	struct umem_image_writer *writer;
	const int32_t pids[] = { 5, 6, 7 };

	if (i > 0) {
		unsigned p = (unsigned)t_below(rng, i);

		parent = &family->models[p];
		options.parent = family->images[p];
	}
	model_clear(&family->models[i]);
	T_OK(umem_image_create(path_of(i), &options, &writer, NULL));
	if (parent && t_below(rng, 4)) {
		for (uint32_t s = 0; s < MODEL_SPACES; s++)
			T_OK(umem_image_put_parent(writer, s, 0, UINT64_MAX - 4095));
		family->models[i] = *parent;
	}
	for (uint64_t n = t_below(rng, 100); n > 0; n--)
		model_step(&family->models[i], parent, writer, rng);
	describe(writer, pids);
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	T_OK(umem_image_open(path_of(i), NULL, &family->images[i], NULL));
}

/** struct found - what a comparison told: a mark for each page. */
struct found {
	int mark[MODEL_SPACES][MODEL_PAGES];
	uint64_t last_end;
	uint64_t done;
};

static int pages(void *user, uint32_t first, uint32_t second, const struct umem_range *range,
	enum umem_image_change change)
{
	struct found *found = user;

	T_CHECK(first == second && first < MODEL_SPACES && range->end > range->start);
	for (uint64_t at = range->start; at < range->end; at += PAGE) {
		int *mark = &found->mark[first][(at - MODEL_START) / PAGE];

		T_CHECK(*mark == 0);
		*mark = 1 + (int)change;
	}
	return 0;
}

static int progress(void *user, uint64_t done, uint64_t total)
{
	struct found *found = user;

	T_CHECK(done >= found->done && done <= total);
	found->done = done;
	return 0;
}

static void compare(const struct model *a, const struct model *b, struct umem_image *first,
	struct umem_image *second)
{
	static struct found found;
	struct umem_image_diff_options options = { .size = sizeof(options), .pages = pages,
		.progress = progress, .user = &found };
	struct umem_note note = { 0 };

	memset(&found, 0, sizeof(found));
	T_OK(umem_image_diff(first, second, &options, &note));
	for (uint32_t s = 0; s < MODEL_SPACES; s++) {
		for (unsigned i = 0; i < MODEL_PAGES; i++) {
			uint64_t x = a->page[s][i], y = b->page[s][i];
			int want = x == y ? 0 : x == MODEL_ABSENT ? 1 + UMEM_IMAGE_ADDED :
				y == MODEL_ABSENT ? 1 + UMEM_IMAGE_REMOVED : 1 + UMEM_IMAGE_CHANGED;

			T_CHECK(found.mark[s][i] == want, "space %u page %u: %d, not %d", s, i,
				found.mark[s][i], want);
		}
	}
}

static void flatten(const struct model *model, struct umem_image *image, uint64_t *rng)
{
	struct umem_image_create_options options = model_options(rng);
	struct umem_image_totals totals;
	struct umem_image *flat;
	struct found found = { 0 };
	struct umem_note note = { 0 };
	size_t n;
	int r = umem_image_flatten(image, t_tree_path("flat"), &options, progress, &found, &totals,
		&note);

	T_CHECK(r == 0, "%s", note.text);
	T_CHECK(totals.parent_bytes == 0);
	T_OK(umem_image_open(t_tree_path("flat"), NULL, &flat, NULL));
	T_CHECK(!umem_image_parent_name(flat, NULL));
	T_CHECK(umem_image_processes(flat, &n)[2].pid == 7 && n == 3);
	model_check(model, flat, rng);
	model_verify(flat);
	compare(model, model, image, flat);
	umem_image_free(flat);
}

static void one_family(uint64_t *rng)
{
	static struct family family;

	for (unsigned i = 0; i < N_IMAGES; i++)
		add_image(&family, i, rng);
	for (int k = 0; k < 6; k++) {
		unsigned a = (unsigned)t_below(rng, N_IMAGES), b = (unsigned)t_below(rng, N_IMAGES);

		compare(&family.models[a], &family.models[b], family.images[a], family.images[b]);
	}
	flatten(&family.models[N_IMAGES - 1], family.images[N_IMAGES - 1], rng);
	for (unsigned i = 0; i < N_IMAGES; i++)
		umem_image_free(family.images[i]);
}

/* An image of one page in each of two spaces, with these pids. */
static struct umem_image *make_pair(const char *name, int32_t first, int32_t second,
	const struct umem_image_region *regions, size_t n_regions)
{
	const struct umem_image_process processes[] = {
		{ .space = 0, .pid = first, .regions = regions, .n_regions = n_regions },
		{ .space = 1, .pid = second },
	};
	struct umem_image_writer *writer;
	struct umem_image *image;
	unsigned char page[PAGE];

	T_OK(umem_image_create(t_tree_path(name), NULL, &writer, NULL));
	model_page((uint64_t)first * 8 + 1, page);
	T_OK(umem_image_put(writer, 0, MODEL_START, page, 1));
	model_page((uint64_t)second * 8 + 1, page);
	T_OK(umem_image_put(writer, 1, MODEL_START, page, 1));
	T_OK(umem_image_describe(writer, processes, second ? 2 : 1, NULL));
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	return image;
}

static char told[4096];

static int tell_pages(void *user, uint32_t first, uint32_t second,
	const struct umem_range *range, enum umem_image_change change)
{
	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%d-%d %llu %c; ", (int)first,
		(int)second, (unsigned long long)(range->end - range->start) / PAGE,
		"car"[change]);
	return 0;
}

static int tell_regions(void *user, uint32_t first, uint32_t second,
	const struct umem_image_region *a, const struct umem_image_region *b,
	enum umem_image_change change)
{
	snprintf(told + strlen(told), sizeof(told) - strlen(told), "region %llx %c; ",
		(unsigned long long)(a ? a : b)->start, "car"[change]);
	T_CHECK(!!a == (change != UMEM_IMAGE_ADDED) && !!b == (change != UMEM_IMAGE_REMOVED));
	return 0;
}

static void must_tell(struct umem_image *first, struct umem_image *second, const char *want)
{
	struct umem_image_diff_options options = { .size = sizeof(options), .pages = tell_pages,
		.regions = tell_regions };

	told[0] = '\0';
	T_OK(umem_image_diff(first, second, &options, NULL));
	T_CHECK(strcmp(told, want) == 0, "told: %s", told);
	umem_image_free(first);
	umem_image_free(second);
}

static void pairs_and_regions(void)
{
	const struct umem_image_region one[] = { { .start = 0x1000, .end = 0x2000 },
		{ .start = 0x3000, .end = 0x5000, .path = "/a" },
		{ .start = 0x5000, .end = 0x6000 }, { .start = 0x9000, .end = 0xa000 } };
	const struct umem_image_region two[] = { { .start = 0x3000, .end = 0x5000, .path = "/b" },
		{ .start = 0x5000, .end = 0x7000 }, { .start = 0x9000, .end = 0xa000 } };

	must_tell(make_pair("a", 5, 6, NULL, 0), make_pair("b", 5, 6, NULL, 0), "");
	/* By pid, whatever the number of the space. */
	must_tell(make_pair("a", 5, 6, NULL, 0), make_pair("b", 6, 5, NULL, 0), "");
	must_tell(make_pair("a", 5, 6, NULL, 0), make_pair("b", 6, 7, NULL, 0),
		"0--1 1 r; -1-1 1 a; ");
	/* No pid is in both: by number. */
	must_tell(make_pair("a", 5, 6, NULL, 0), make_pair("b", 7, 8, NULL, 0),
		"0-0 1 c; 1-1 1 c; ");
	must_tell(make_pair("a", 5, 6, one, 4), make_pair("b", 5, 6, two, 3),
		"region 1000 r; region 3000 c; region 5000 r; region 5000 a; ");
}

static int stop(void *user, uint64_t done, uint64_t total)
{
	return 42;
}

static int stop_pages(void *user, uint32_t first, uint32_t second,
	const struct umem_range *range, enum umem_image_change change)
{
	return 43;
}

/* What a callback returns ends the work. */
static void stopped(void)
{
	struct umem_image_diff_options diff = { .size = sizeof(diff), .progress = stop };
	struct umem_image_verify_options verify = { .size = sizeof(verify), .progress = stop };
	struct umem_image *a = make_pair("a", 1, 2, NULL, 0), *b = make_pair("b", 3, 4, NULL, 0);

	T_CHECK(umem_image_diff(a, b, &diff, NULL) == 42);
	diff.progress = NULL;
	diff.pages = stop_pages;
	T_CHECK(umem_image_diff(a, b, &diff, NULL) == 43);
	T_CHECK(umem_image_verify(a, &verify, NULL) == 42);
	T_CHECK(umem_image_flatten(a, t_tree_path("flat2"), NULL, stop, NULL, NULL, NULL) == 42);
	umem_image_free(a);
	T_CHECK(umem_image_open(t_tree_path("flat2"), NULL, &a, NULL) == -ENOENT);
	umem_image_free(b);
}

int main(void)
{
	const char *given = getenv("IMAGE_SEEDS");
	unsigned long seeds = given ? strtoul(given, NULL, 10) : 16;
	uint64_t rng = t_seed();

	pairs_and_regions();
	stopped();
	for (unsigned long i = 0; i < seeds; i++)
		one_family(&rng);
	printf("%lu families\n", seeds);
	return 0;
}
