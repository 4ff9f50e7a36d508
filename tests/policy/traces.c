// SPDX-License-Identifier: LGPL-2.1-or-later
/* Traces: what a program does with its memory over the simulated time. */
#include "tests/policy/traces.h"

#include <math.h>

#include "tests/lib/harness.h"

#define GIB_PAGES (1u << 18)

/* The coldest page of a working set: touched twice a minute. */
#define TAIL (1.0 / 30)

/* Cold memory is touched now and then: a quarter of what the objective allows. */
#define COLD (0.0005 / 60)

/* A working set: blocks of @block pages, all of them touched, chosen by chance. */
static void blocks(struct model *model, uint64_t from, uint64_t to, uint64_t block, double share,
	double tail)
{
	uint32_t *pages = calloc(to - from, sizeof(*pages));
	uint64_t n = 0;

	T_CHECK(pages);
	for (uint64_t at = from; at + block <= to; at += block) {
		if ((double)t_below(&model->rng, 1u << 20) >= share * (1u << 20))
			continue;
		for (uint64_t i = 0; i < block; i++)
			pages[n++] = (uint32_t)(at + i);
	}
	model_zipf(model, pages, n, tail);
	free(pages);
}

static void setup_steady(struct model *model, unsigned target)
{
	model->cold_rate = COLD;
	blocks(model, 0, model->n_pages, 1024, 0.2, TAIL);
}

static void tick_phase(struct model *model, double now_s, double dt_s)
{
	if (now_s < 3600 || now_s >= 3600 + dt_s)
		return;
	model_set_rate(model, 0, model->n_pages, 0);
	blocks(model, 0, model->n_pages, 1024, 0.2, TAIL);
}

/* The part of a pass over everything, @pass_s long from @begin_s on, in this interval. */
static void pass(struct model *model, double now_s, double dt_s, double begin_s, double pass_s)
{
	double from = (now_s - begin_s) / pass_s, to = (now_s + dt_s - begin_s) / pass_s;

	if (to <= 0 || from >= 1)
		return;
	from = fmax(from, 0) * (double)model->n_mapped;
	to = fmin(to, 1) * (double)model->n_mapped;
	for (uint64_t i = (uint64_t)from; i < (uint64_t)to; i++)
		model_touch(model, i);
}

static void tick_scan_once(struct model *model, double now_s, double dt_s)
{
	pass(model, now_s, dt_s, 1800, 60);
}

static void tick_scan_often(struct model *model, double now_s, double dt_s)
{
	for (double begin_s = 600; begin_s < 14400; begin_s += 600)
		pass(model, now_s, dt_s, begin_s, 60);
}

/* A quarter at first, all of it after half an hour; what is new is used for two minutes. */
static void setup_growing(struct model *model, unsigned target)
{
	model->cold_rate = COLD;
	model->n_mapped = model->n_pages / 4;
	blocks(model, 0, model->n_mapped, 1024, 0.2, TAIL);
}

static void tick_growing(struct model *model, double now_s, double dt_s)
{
	double per_s = (double)model->n_pages * 0.75 / 1800;
	uint64_t quarter = model->n_pages / 4, was = model->n_mapped, young, old;

	model->n_mapped = quarter + (uint64_t)fmin(per_s * (now_s + dt_s),
		(double)(model->n_pages - quarter));
	young = quarter + (uint64_t)(per_s * fmax(now_s + dt_s - 120, 0));
	old = quarter + (uint64_t)(per_s * fmax(now_s - 120, 0));
	model_set_rate(model, was, model->n_mapped, 1);
	for (uint64_t i = old; i < young && i < model->n_mapped; i++)
		/* every eighth run of 64 pages stays in use */
		model_set_rate(model, i, i + 1, i / 64 % 8 ? 0 : TAIL);
	for (uint64_t i = was; i < model->n_mapped; i++)
		model_touch(model, i);
}

static void setup_thrash(struct model *model, unsigned target)
{
	model_set_rate(model, 0, model->n_pages, 1.0 / 20);
}

/* Half of the working set is only read. */
static void setup_reads(struct model *model, unsigned target)
{
	setup_steady(model, target);
	for (uint64_t i = 0; i < model->n_pages; i++)
		if (i / 1024 % 2)
			model->state[i] |= MODEL_READS;
}

/* Runs of 16 pages in use all over the memory: no slice is free of them. */
static void setup_mixed(struct model *model, unsigned target)
{
	model->cold_rate = COLD;
	blocks(model, 0, model->n_pages, 16, 0.1, TAIL);
}

/* Single pages in use all over the memory. */
static void setup_scattered(struct model *model, unsigned target)
{
	model->cold_rate = COLD;
	blocks(model, 0, model->n_pages, 1, 0.03, TAIL);
}

/* A fifth in use; of the rest, single pages all over it, as allocators place small things. */
static void setup_sprinkled(struct model *model, unsigned target)
{
	uint64_t fifth = model->n_pages / 5;

	model->cold_rate = COLD;
	blocks(model, 0, fifth, 1024, 1, TAIL);
	blocks(model, fifth, model->n_pages, 1, 0.06, 1);
}

static void setup_many(struct model *model, unsigned target)
{
	model->cold_rate = COLD;
	blocks(model, 0, model->n_pages, 256, 0.1 + 0.02 * target, TAIL);
}

const struct trace traces[] = {
	{ "steady", "a fifth in use, the rest cold", 2 * GIB_PAGES, 1, 60, 0,
		UMEM_USE_ACCESSES, false, 0, setup_steady, NULL },
	{ "phase", "the working set moves after one hour", GIB_PAGES / 2, 1, 120, 60,
		UMEM_USE_ACCESSES, false, 0, setup_steady, tick_phase },
	{ "scan-once", "one pass over everything after 30 minutes", GIB_PAGES / 2, 1, 90, 30,
		UMEM_USE_ACCESSES, false, 0, setup_steady, tick_scan_once },
	{ "scan-often", "a pass over everything every 10 minutes", GIB_PAGES / 2, 1, 240, 10,
		UMEM_USE_ACCESSES, false, 0, setup_steady, tick_scan_often },
	{ "growing", "grows fourfold in 30 minutes", GIB_PAGES / 2, 1, 60, 0,
		UMEM_USE_ACCESSES, false, 0, setup_growing, tick_growing },
	{ "thrash", "everything in use", GIB_PAGES / 2, 1, 60, 0,
		UMEM_USE_ACCESSES, false, 0, setup_thrash, NULL },
	{ "writes", "as steady; age sees writes only, all use is writes", GIB_PAGES / 2, 1, 60, 0,
		UMEM_USE_WRITES, true, 0, setup_steady, NULL },
	{ "reads", "as steady; age sees writes only, half of the use is reads", GIB_PAGES / 2, 1,
		60, 0, UMEM_USE_WRITES, true, 0, setup_reads, NULL },
	{ "mixed", "a tenth in use, in runs of 16 pages everywhere", GIB_PAGES / 2, 1, 60, 0,
		UMEM_USE_ACCESSES, false, 0, setup_mixed, NULL },
	{ "scattered", "3% in use, single pages everywhere", GIB_PAGES / 2, 1, 60, 0,
		UMEM_USE_ACCESSES, false, 0, setup_scattered, NULL },
	{ "sprinkled", "a fifth in use; in the rest, single pages everywhere", 2 * GIB_PAGES, 1,
		60, 0, UMEM_USE_ACCESSES, false, 0, setup_sprinkled, NULL },
	{ "slowly", "as sprinkled, with 2% of a processor to move pages", 2 * GIB_PAGES, 1,
		60, 0, UMEM_USE_ACCESSES, false, 20000, setup_sprinkled, NULL },
	{ "many", "32 targets of 16 MiB, a tenth to three quarters in use", 4096, 32, 60, 0,
		UMEM_USE_ACCESSES, false, 0, setup_many, NULL },
};
const unsigned n_traces = sizeof(traces) / sizeof(traces[0]);
