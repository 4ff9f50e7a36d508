// SPDX-License-Identifier: LGPL-2.1-or-later
/* A naive model of memory in use. */
#include "tests/policy/model.h"

#include <math.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define ZIPF 0.99

void model_init(struct model *self, uint64_t n_pages, uint64_t seed)
{
	*self = (struct model){
		.n_pages = n_pages,
		.n_mapped = n_pages,
		.rng = seed,
		.rate = calloc(n_pages, sizeof(*self->rate)),
		.state = calloc(n_pages, sizeof(*self->state)),
		.active = calloc(n_pages, sizeof(*self->active)),
		.chance = calloc(n_pages, sizeof(*self->chance)),
		.stale = true,
	};
	T_CHECK(self->rate && self->state && self->active && self->chance);
	for (uint64_t i = 0; i < n_pages; i++)
		self->state[i] = MODEL_MAPPED;
}

void model_deinit(struct model *self)
{
	free(self->rate);
	free(self->state);
	free(self->active);
	free(self->chance);
}

void model_set_rate(struct model *self, uint64_t from, uint64_t to, double rate)
{
	for (uint64_t i = from; i < to; i++)
		self->rate[i] = (float)rate;
	self->stale = true;
}

void model_zipf(struct model *self, uint32_t *pages, uint64_t n, double least)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = t_below(&self->rng, i);
		uint32_t page = pages[j];

		pages[j] = pages[i - 1];
		pages[i - 1] = page;
	}
	for (uint64_t i = 0; i < n; i++)
		self->rate[pages[i]] = (float)(least * pow((double)n / (double)(i + 1), ZIPF));
	self->stale = true;
}

void model_touch(struct model *self, uint64_t page)
{
	uint16_t *state = &self->state[page];

	if (*state & MODEL_TRIAL) {
		*state &= (uint16_t)~MODEL_TRIAL;
		*state |= MODEL_TOUCHED;
	}
	if (*state & MODEL_OUT) {
		*state &= (uint16_t)~MODEL_OUT;
		if (*state & MODEL_AT_RISK)
			*state |= MODEL_RETURNED;
	}
	*state |= *state & MODEL_READS ? MODEL_USED : MODEL_USED | MODEL_WRITTEN;
}

static void refresh(struct model *self, double dt_s)
{
	if (!self->stale && self->dt_s == dt_s)
		return;
	self->n_active = 0;
	for (uint64_t i = 0; i < self->n_mapped; i++) {
		if (self->rate[i] <= 0)
			continue;
		self->active[self->n_active] = (uint32_t)i;
		self->chance[self->n_active++] = (uint32_t)
			(-expm1(-(double)self->rate[i] * dt_s) * UINT32_MAX);
	}
	self->dt_s = dt_s;
	self->stale = false;
}

/* A Poisson number; the sum of exponential gaps, or for many the normal law. */
static uint64_t poisson(struct model *self, double mean)
{
	double left = mean;
	uint64_t n = 0;

	if (mean > 200) {
		double sum = 0;

		for (int i = 0; i < 12; i++)
			sum += (double)(t_rand(&self->rng) >> 11) / 0x1p53;
		return (uint64_t)(mean + (sum - 6) * sqrt(mean));
	}
	while (left > 0) {
		left += log((double)((t_rand(&self->rng) >> 11) + 1) / 0x1p53);
		n += left > 0;
	}
	return n;
}

void model_begin(struct model *self)
{
	for (uint64_t i = 0; i < self->n_mapped; i++) {
		uint16_t state = self->state[i] &
			(MODEL_MAPPED | MODEL_OUT | MODEL_READS | MODEL_TRIAL);

		self->state[i] = state & MODEL_OUT ? state | MODEL_AT_RISK : state;
	}
}

void model_run(struct model *self, double dt_s)
{
	uint64_t n_cold;

	refresh(self, dt_s);
	for (uint64_t i = 0; i < self->n_active; i++) {
		if ((uint32_t)t_rand(&self->rng) < self->chance[i])
			model_touch(self, self->active[i]);
	}
	n_cold = poisson(self, self->cold_rate * dt_s *
		(double)(self->n_mapped - self->n_active));
	for (uint64_t i = 0; i < n_cold; i++)
		model_touch(self, t_below(&self->rng, self->n_mapped));
}

void model_count(const struct model *self, enum umem_use_source source, bool tries,
	uint64_t start, uint64_t n_pages, struct umem_slice_seen *ret_seen)
{
	const uint16_t *state = self->state + start / MODEL_PAGE_BYTES;
	uint16_t used = source == UMEM_USE_WRITES ? MODEL_WRITTEN : MODEL_USED;
	struct umem_slice_seen seen = { .source = source, .tries = tries };

	for (uint64_t i = 0; i < n_pages; i++) {
		seen.out += !!(state[i] & MODEL_OUT);
		seen.trial += !!(state[i] & MODEL_TRIAL);
		seen.touched += !!(state[i] & MODEL_TOUCHED);
		seen.at_risk += !!(state[i] & MODEL_AT_RISK);
		seen.returned += !!(state[i] & MODEL_RETURNED);
		seen.used += (state[i] & used) && !(state[i] & MODEL_OUT);
	}
	seen.resident = n_pages - seen.out - seen.trial;
	if (source == UMEM_USE_UNKNOWN)
		seen.used = 0;
	*ret_seen = seen;
}

/* What can be done with a page, by what it is. */
static bool is_for(uint16_t state, enum umem_slice_way way)
{
	bool trial = state & MODEL_TRIAL;

	return !(state & MODEL_OUT) &&
		trial == (way == UMEM_WAY_DROP || way == UMEM_WAY_RELEASE);
}

uint64_t model_move(struct model *self, const struct umem_slice *slice)
{
	uint64_t first = slice->start / MODEL_PAGE_BYTES, left = 0, n, todo;
	enum umem_slice_way way = (enum umem_slice_way)slice->way;

	for (uint64_t i = first; i < first + slice->n_pages; i++)
		left += is_for(self->state[i], way);
	n = todo = umem_min_u64(slice->want, left);
	/* each of those that are left is taken with the same chance */
	for (uint64_t i = first; todo; i++) {
		uint16_t *state = &self->state[i];

		if (!is_for(*state, way) || t_below(&self->rng, left--) >= todo)
			continue;
		todo--;
		*state &= (uint16_t)~MODEL_TRIAL;
		if (way == UMEM_WAY_TRY)
			*state |= MODEL_TRIAL;
		else if (way != UMEM_WAY_RELEASE)
			*state |= MODEL_OUT;
	}
	return n;
}

void model_cold(const struct model *self, uint64_t *ret_cold, uint64_t *ret_cold_out)
{
	uint64_t cold = 0, out = 0;

	for (uint64_t i = 0; i < self->n_mapped; i++) {
		cold += self->rate[i] <= 0;
		out += self->rate[i] <= 0 && self->state[i] & MODEL_OUT;
	}
	*ret_cold = cold;
	*ret_cold_out = out;
}
