// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages that are written again and again, as by rounds of pre-copy: the file stays within
 * its bound, whatever is rewritten, and the content right. And that the same calls make
 * the same file, whatever the threads do.
 *
 *     SEED=N
 */
#include <sys/stat.h>

#include "lib/store/writer.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

#define MIN_PAGES 100u

/** enum pattern - what a round rewrites. */
enum pattern {
	HOT,    /* the same tenth */
	RANDOM, /* any page, one at a time */
	STRIDE, /* every third, which leaves something in every frame */
	ALL,
	N_PATTERNS,
};

static const char *const names[] = { "the same tenth", "random", "every third", "all" };

static void put(struct model *model, struct umem_image_writer *writer, uint64_t i, uint64_t *rng)
{
	/* Does not compress, so that the length of the file tells. */
	uint64_t content = (t_rand(rng) >> 20 & ~7ull) + 1;

	model_put(model, writer, 0, i, &content, 1, false);
}

static void rewrite(struct model *model, struct umem_image_writer *writer, enum pattern pattern,
	uint64_t *rng)
{
	for (uint64_t i = 0; i < MODEL_PAGES; i++) {
		if (pattern == ALL || (pattern == HOT && i < MODEL_PAGES / 10) ||
			(pattern == STRIDE && i % 3 == 0))
			put(model, writer, i, rng);
		else if (pattern == RANDOM && t_below(rng, 3) == 0)
			put(model, writer, t_below(rng, MODEL_PAGES), rng);
	}
}

static void bounded(enum pattern pattern, enum umem_image_codec codec, uint64_t *rng)
{
	struct umem_image_create_options options = { .size = sizeof(options), .codec = codec,
		.buffer_bytes = 1 << 20 };
	uint64_t bound = MODEL_PAGES * PAGE * 17 / 10 + MIN_PAGES * PAGE + (1 << 20);
	uint64_t peak = 0;
	struct umem_image_totals totals;
	struct umem_image_writer *writer;
	struct umem_image *image;
	static struct model model;

	model_clear(&model);
	T_OK(umem_image_create(t_tree_path("clean"), &options, &writer, NULL));
	writer->min_superseded = MIN_PAGES;
	rewrite(&model, writer, ALL, rng);
	for (int round = 0; round < 60; round++) {
		rewrite(&model, writer, pattern, rng);
		peak = umem_max_u64(peak, umem_sink_end(writer->sink));
	}
	T_OK(umem_image_commit(writer, &totals, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	model_check(&model, image, rng);
	model_verify(image);
	umem_image_free(image);
	printf("%-15s %s: %llu put, peak %llu, file %llu, on disk %llu of %llu KiB\n",
		names[pattern], codec == UMEM_IMAGE_CODEC_NONE ? "none" : "zstd",
		(unsigned long long)(totals.superseded_bytes + totals.data_bytes) >> 10,
		(unsigned long long)peak >> 10, (unsigned long long)totals.file_bytes >> 10,
		(unsigned long long)totals.disk_bytes >> 10,
		(unsigned long long)(MODEL_PAGES * PAGE) >> 10);
	T_CHECK(peak <= bound, "%llu > %llu", (unsigned long long)peak, (unsigned long long)bound);
	T_CHECK(totals.stored_bytes <= MODEL_PAGES * PAGE * 5 / 4 + MIN_PAGES * PAGE);
	T_CHECK(totals.disk_bytes <= MODEL_PAGES * PAGE * 5 / 4 + (MIN_PAGES + 20) * PAGE);
}

/* Duplicates of what is dropped later, and of what was: never wrong bytes. */
static void duplicates(uint64_t *rng)
{
	struct umem_image_create_options options = { .size = sizeof(options),
		.buffer_bytes = 1 << 18 };
	struct umem_image_writer *writer;
	struct umem_image *image;
	static struct model model;

	model_clear(&model);
	T_OK(umem_image_create(t_tree_path("clean"), &options, &writer, NULL));
	writer->min_superseded = 20;
	for (int n = 0; n < 20000; n++) {
		uint64_t content = 1 + t_below(rng, 300), i = t_below(rng, MODEL_PAGES);

		model_put(&model, writer, 0, i, &content, 1, false);
		if (t_below(rng, 20) == 0) {
			T_OK(umem_image_drop(writer, 0, model_addr(i), model_addr(i + 1)));
			model.page[0][i] = MODEL_ABSENT;
		}
	}
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	model_check(&model, image, rng);
	model_verify(image);
	umem_image_free(image);
}

/* The frames of images that were made by the same calls. */
static void same_file(uint64_t seed)
{
	static struct model model;
	uint64_t digests[4];

	for (unsigned k = 0; k < 4; k++) {
		struct umem_image_create_options options = { .size = sizeof(options),
			.n_threads = k == 0 ? -1 : (int)k, .buffer_bytes = 1 << 20 };
		struct umem_image_writer *writer;
		struct umem_frame *frames;
		uint64_t rng = seed;
		size_t n;

		model_clear(&model);
		T_OK(umem_image_create(t_tree_path("same"), &options, &writer, NULL));
		writer->min_superseded = 200;
		/* The key decides which duplicates a full window forgets. */
		memset(&writer->key, 0x5a, sizeof(writer->key));
		for (int i = 0; i < 300; i++)
			model_step(&model, NULL, writer, &rng);
		T_OK(umem_image_commit(writer, NULL, NULL));
		frames = umem_writer_sort(writer, &n);
		digests[k] = n;
		for (size_t i = 0; i < n; i++)
			digests[k] = digests[k] * 31 + (frames[i].first ^ frames[i].offset << 20 ^
				frames[i].checksum);
		umem_image_writer_free(writer);
		T_CHECK(digests[k] == digests[0], "%u threads make another file", k);
	}
}

int main(void)
{
	uint64_t rng = t_seed();

	for (int pattern = 0; pattern < N_PATTERNS; pattern++) {
		bounded((enum pattern)pattern, UMEM_IMAGE_CODEC_NONE, &rng);
		bounded((enum pattern)pattern, UMEM_IMAGE_CODEC_ZSTD, &rng);
	}
	duplicates(&rng);
	same_file(t_rand(&rng));
	return 0;
}
