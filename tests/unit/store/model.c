// SPDX-License-Identifier: LGPL-2.1-or-later
/* A naive picture of what an image holds. */
#include "tests/unit/store/model.h"

#include "tests/lib/harness.h"

void model_page(uint64_t content, void *to)
{
	uint64_t rng = content * 2654435761u + 1, *word = to;

	for (unsigned i = 0; i < PAGE / 8; i++) {
		if (content == 0)
			word[i] = 0;
		else if (content % 8 == 0)
			word[i] = content;
		else if (content % 8 < 4)
			word[i] = t_rand(&rng);
		else
			word[i] = i % 64 ? content * 0x100 + i % 7 : t_rand(&rng);
	}
}

void model_clear(struct model *model)
{
	for (unsigned s = 0; s < MODEL_SPACES; s++) {
		for (unsigned i = 0; i < MODEL_PAGES; i++)
			model->page[s][i] = MODEL_ABSENT;
	}
}

void model_put(struct model *model, struct umem_image_writer *writer, uint32_t space,
	uint64_t i, const uint64_t *contents, uint64_t n, bool if_changed)
{
	unsigned char *bytes = malloc(n * PAGE + 1);

	T_CHECK(bytes);
	for (uint64_t k = 0; k < n; k++) {
		model_page(contents[k], bytes + k * PAGE);
		model->page[space][i + k] = contents[k];
	}
	T_OK(if_changed ? umem_image_put_if_changed(writer, space, model_addr(i), bytes, n) :
			  umem_image_put(writer, space, model_addr(i), bytes, n));
	free(bytes);
}

/* New content, or what the page has, or some of the parent, or of another page. */
static uint64_t some_content(const struct model *model, const struct model *parent,
	uint32_t space, uint64_t i, uint64_t *rng)
{
	uint64_t content = t_rand(rng) >> 20;

	switch (t_below(rng, 8)) {
	case 0:
		return 0;
	case 1:
		content = model->page[t_below(rng, MODEL_SPACES)][t_below(rng, MODEL_PAGES)];
		break;
	case 2:
		content = model->page[space][i];
		break;
	case 3:
		/* Memory that moved. */
		if (parent)
			content = parent->page[(space + 1) % MODEL_SPACES][(i + 50) % MODEL_PAGES];
		break;
	case 4:
		if (parent)
			content = parent->page[space][i];
		break;
	default:
		break;
	}
	return content == MODEL_ABSENT ? 1 : content;
}

void model_step(struct model *model, const struct model *parent,
	struct umem_image_writer *writer, uint64_t *rng)
{
	uint32_t space = (uint32_t)t_below(rng, MODEL_SPACES);
	uint64_t i = t_below(rng, MODEL_PAGES), n = 1 + t_below(rng, 60);
	uint64_t contents[60];
	unsigned what = (unsigned)t_below(rng, 12);

	if (n > MODEL_PAGES - i)
		n = MODEL_PAGES - i;
	for (uint64_t k = 0; k < n; k++)
		contents[k] = some_content(model, parent, space, i + k, rng);
	if (what == 0) {
		T_OK(umem_image_put_zero(writer, space, model_addr(i), model_addr(i + n)));
		memset(contents, 0, sizeof(contents));
	} else if (what == 1) {
		T_OK(umem_image_drop(writer, space, model_addr(i), model_addr(i + n)));
		memset(contents, 0xff, sizeof(contents));
	} else if (what < 5 && parent) {
		T_OK(umem_image_put_parent(writer, space, model_addr(i), model_addr(i + n)));
		memcpy(contents, &parent->page[space][i], n * sizeof(*contents));
	} else {
		model_put(model, writer, space, i, contents, n, what < 9);
	}
	memcpy(&model->page[space][i], contents, n * sizeof(*contents));
}

static void check_get(const struct model *model, struct umem_image *image, uint32_t space,
	uint64_t i, uint64_t n)
{
	static unsigned char have[MODEL_PAGES * PAGE], want[PAGE];
	struct umem_note note = { 0 };
	bool absent = false;
	int r = umem_image_get(image, space, model_addr(i), have, n, &note);

	for (uint64_t k = 0; k < n; k++)
		absent |= model->page[space][i + k] == MODEL_ABSENT;
	if (absent) {
		T_CHECK(r == -ENXIO, "%d, %s", r, note.text);
		return;
	}
	T_CHECK(r == 0, "%d, %s", r, note.text);
	for (uint64_t k = 0; k < n; k++) {
		model_page(model->page[space][i + k], want);
		T_CHECK(memcmp(want, have + k * PAGE, PAGE) == 0, "space %u page %llu of %llu",
			space, (unsigned long long)(i + k), (unsigned long long)n);
	}
}

/** struct walk - a walk by umem_image_each(). */
struct walk {
	const struct model *model;
	uint32_t space;
	uint64_t at;
};

/* The pages before @i are absent. */
static void skip_to(struct walk *walk, uint64_t i)
{
	for (; walk->at < i; walk->at++)
		T_CHECK(walk->model->page[walk->space][walk->at] == MODEL_ABSENT);
}

static int each(void *user, const struct umem_image_run *run)
{
	struct walk *walk = user;

	skip_to(walk, (run->start - MODEL_START) / PAGE);
	for (uint64_t at = run->start; at < run->end; at += PAGE, walk->at++) {
		uint64_t content = walk->model->page[walk->space][walk->at];
		enum umem_image_page want = content == 0 ? UMEM_IMAGE_ZERO :
			content % 8 == 0 ? UMEM_IMAGE_FILL : UMEM_IMAGE_DATA;

		T_CHECK(run->what == want);
		T_CHECK(want != UMEM_IMAGE_FILL || run->fill == content);
	}
	return 0;
}

void model_check(const struct model *model, struct umem_image *image, uint64_t *rng)
{
	for (uint32_t s = 0; s < umem_image_n_spaces(image); s++) {
		struct walk walk = { model, s, 0 };

		for (uint64_t i = 0; i < MODEL_PAGES;) {
			uint64_t n = 1 + t_below(rng, t_below(rng, 4) ? 9 : 200);

			n = n > MODEL_PAGES - i ? MODEL_PAGES - i : n;
			check_get(model, image, s, i, n);
			i += n;
		}
		for (int k = 0; k < 40; k++)
			check_get(model, image, s, t_below(rng, MODEL_PAGES), 1);
		T_OK(umem_image_each(image, s, 0, UINT64_MAX, each, &walk));
		skip_to(&walk, MODEL_PAGES);
	}
}

void model_verify(struct umem_image *image)
{
	struct umem_note note = { 0 };
	int r = umem_image_verify(image, NULL, &note);

	T_CHECK(r == 0, "%d, %s", r, note.text);
}

struct umem_image_create_options model_options(uint64_t *rng)
{
	struct umem_image_create_options options = {
		.size = sizeof(options),
		.codec = t_below(rng, 3) ? UMEM_IMAGE_CODEC_ZSTD : UMEM_IMAGE_CODEC_NONE,
		.frame_bytes = 4096u << t_below(rng, 7),
		.n_threads = (int)t_below(rng, 4) - 1,
		.buffer_bytes = t_below(rng, 2) ? 0 : 65536u << t_below(rng, 6),
		.dedup_bytes = t_below(rng, 4) ? 0 : t_below(rng, 2) ? 65536 : UINT64_MAX,
	};

	return options;
}
