/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A naive model of memory in use: every page has a rate at which it is touched.
 *
 * The truth that the policies of lib/policy do not see. Pages are touched at
 * random (a Poisson process each), seeded, so that a run can be repeated. Page
 * 0 is at address 0.
 */
#ifndef TESTS_POLICY_MODEL_H
#define TESTS_POLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/policy/slice.h"

#define MODEL_PAGE_BYTES 4096u

/** Bits of struct model's state of a page. */
enum model_bit {
	MODEL_MAPPED = 1,
	MODEL_OUT = 2,
	MODEL_AT_RISK = 4,
	MODEL_RETURNED = 8,
	MODEL_USED = 16,
	MODEL_WRITTEN = 32,
	MODEL_READS = 64,
	MODEL_TRIAL = 128,
	MODEL_TOUCHED = 256,
};

/**
 * struct model - the memory of one target.
 * @n_pages: its pages. @n_mapped: the first so many of them are mapped.
 * @rate: touches a second, by page; 0: touched as @cold_rate says.
 * @state: bits of enum model_bit, by page. MODEL_READS: its touches are reads.
 * @active, @chance: pages with a rate, and the chance of a touch in an interval
 *          as a share of 2^32; made anew when @stale.
 * @cold: touches a second of a page without a rate.
 */
struct model {
	uint64_t n_pages;
	uint64_t n_mapped;
	uint64_t rng;
	float *rate;
	uint16_t *state;
	uint32_t *active;
	uint32_t *chance;
	uint64_t n_active;
	double dt_s;
	double cold_rate;
	bool stale;
};

void model_init(struct model *self, uint64_t n_pages, uint64_t seed);
void model_deinit(struct model *self);

/** model_set_rate - pages [@from, @to) are touched so often from now on. */
void model_set_rate(struct model *self, uint64_t from, uint64_t to, double rate);

/**
 * model_zipf - give a set of pages rates by Zipf's law with exponent 0.99.
 * @pages: @n of them, shuffled here. @least: touches a second of the last one.
 */
void model_zipf(struct model *self, uint32_t *pages, uint64_t n, double least);

/** model_begin - an interval begins: what is out now is at risk. */
void model_begin(struct model *self);

/** model_run - @dt_s go by: pages are touched by their rates. */
void model_run(struct model *self, double dt_s);

/** model_touch - a page is touched. */
void model_touch(struct model *self, uint64_t page);

/** model_count - what a source that knows @source would see. @tries: pages can be tried. */
void model_count(const struct model *self, enum umem_use_source source, bool tries,
	uint64_t start, uint64_t n_pages, struct umem_slice_seen *ret_seen);

/** model_move - do with @slice->want random pages what its @way says. Return: how many. */
uint64_t model_move(struct model *self, const struct umem_slice *slice);

/** model_cold - pages without a rate that are mapped; of them, how many are out. */
void model_cold(const struct model *self, uint64_t *ret_cold, uint64_t *ret_cold_out);

#endif
