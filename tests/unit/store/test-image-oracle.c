// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Images against a naive model: random puts, rewrites, zeros, drops and references to
 * parents, in several spaces and chains of images; each is opened again, read in pieces
 * of any size and verified.
 *
 *     SEED=N, IMAGE_SEEDS=N (how many chains, 24)
 */
#include <unistd.h>

#include "lib/store/writer.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

#define MAX_IMAGES 5

/** struct chain - images, each the parent of the next, and what is in them. */
struct chain {
	struct model models[MAX_IMAGES];
	struct umem_image *last;
	unsigned n;
};

static const char *path_of(unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "image-%u.umem", i);
	return t_tree_path(name);
}

/* Every fallback is taken now and then. */
static const char *const faults[] = { "", "", "ring.setup=38", "ring.register=12",
	"outfile.direct=22,ahead.direct=22", "outfile.tmpfile=95",
	"ring.setup=1,outfile.direct=22,ahead.direct=22,outfile.tmpfile=95" };

static void add_image(struct chain *chain, uint64_t *rng)
{
	struct umem_image_create_options options = model_options(rng);
	struct model *model = &chain->models[chain->n];
	const struct model *parent = chain->n ? &chain->models[chain->n - 1] : NULL;
	struct umem_image_writer *writer;
	struct umem_image *opened = NULL;
	struct umem_image_totals totals;
	struct umem_note note = { 0 };
	int r;

	setenv("UMEM_FAULTS", faults[t_below(rng, UMEM_ARRAY_LEN(faults))], 1);
	options.parent = chain->last;
	r = umem_image_create(path_of(chain->n), &options, &writer, &note);
	T_CHECK(r == 0, "%d, %s", r, note.text);
	/* So that much is superseded, and cleaned. */
	writer->min_superseded = t_below(rng, 2) ? 64 : 1000;
	model_clear(model);
	for (uint64_t n = t_below(rng, 300); n > 0; n--)
		model_step(model, parent, writer, rng);
	r = umem_image_commit(writer, &totals, &note);
	T_CHECK(r == 0, "%d, %s", r, note.text);
	umem_image_writer_free(writer);
	/* The parent is opened with it, so the one we have can go. */
	r = umem_image_open(path_of(chain->n), NULL, &opened, &note);
	T_CHECK(r == 0, "%d, %s", r, note.text);
	umem_image_free(chain->last);
	chain->last = opened;
	model_check(model, chain->last, rng);
	if (t_below(rng, 2))
		model_verify(chain->last);
	chain->n++;
}

int main(void)
{
	const char *given = getenv("IMAGE_SEEDS");
	unsigned long seeds = given ? strtoul(given, NULL, 10) : 24;
	static struct chain chain;
	uint64_t rng = t_seed();

	for (unsigned long i = 0; i < seeds; i++) {
		unsigned n = 1 + (unsigned)t_below(&rng, MAX_IMAGES);

		chain = (struct chain){ 0 };
		while (chain.n < n)
			add_image(&chain, &rng);
		umem_image_free(chain.last);
	}
	printf("%lu chains\n", seeds);
	return 0;
}
