// SPDX-License-Identifier: LGPL-2.1-or-later
/* The staircase: is a copy one moment? See staircase.h. */
#include "tests/matrix/staircase.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

/* Where a lane was. @pass: of its last word; @i: its page; @words: written of it. */
struct step {
	uint64_t pass;
	uint64_t i;
	unsigned words;
};

struct judge {
	const struct sc_reader *reader;
	pid_t pid;
	const struct umem_ranges *unknown;
	struct sc_plan plan;
	struct sc_hot hot;
	uint64_t *bytes[SC_MAX_LANES];
	uint64_t done[SC_MAX_LANES];
	struct sc_verdict *verdict;
};

/* Note the first reason. Return: false, for the caller to pass on. */
static bool object(struct judge *j, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool object(struct judge *j, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (j->verdict->is_one_moment)
		vsnprintf(j->verdict->why, sizeof(j->verdict->why), fmt, args);
	va_end(args);
	j->verdict->is_one_moment = false;
	return false;
}

static bool get(struct judge *j, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	if (j->reader->read(j->reader->user, pid, at, bytes, len))
		return true;
	return object(j, "%#llx, %llu bytes of process %d cannot be read",
		(unsigned long long)at, (unsigned long long)len, (int)pid);
}

/* The plan says what is read next: with nonsense in it there is nothing to judge. */
static bool get_plan(struct judge *j)
{
	const struct sc_plan *plan = &j->plan;

	if (!get(j, j->pid, SC_PLAN_AT, &j->plan, sizeof(j->plan)) ||
		!get(j, j->pid, SC_HOT_AT, &j->hot, sizeof(j->hot)))
		return false;
	if (plan->magic != SC_MAGIC || plan->n_lanes > SC_MAX_LANES ||
		plan->n_scratch > SC_MAX_SCRATCH || plan->n_processes > 2)
		return object(j, "it holds no plan");
	return true;
}

/* The pass that a word is of. Return: false if it is no word of that place. */
static bool pass_of(uint64_t word, uint64_t lane, uint64_t page, uint64_t *ret_pass)
{
	*ret_pass = word >> 28;
	return word == sc_word(lane, page, *ret_pass);
}

/*
 * The next word in the order of writing: as the one before, or one less, once.
 * @step: where the lane is, as far as is known.
 */
static bool judge_word(struct judge *j, unsigned l, uint64_t i, unsigned w, uint64_t word,
	struct step *step, bool *is_behind)
{
	const struct sc_lane *lane = &j->plan.lanes[l];
	uint64_t page = sc_page_of(lane, i), pass, want;

	if (!pass_of(word, l, sc_number_of(lane, page), &pass))
		return object(j, "lane %u, page %llu, word %u holds %#llx", l,
			(unsigned long long)page, w, (unsigned long long)word);
	if (i == 0 && w == 0)
		step->pass = pass;
	if (!sc_is_written(lane, w))
		return pass == 0 || object(j, "lane %u wrote no word %u", l, w);
	want = *is_behind ? step->pass - 1 : step->pass;
	if (!*is_behind && pass + 1 == step->pass) {
		*is_behind = true;
		step->i = i;
		want = pass;
	}
	step->words += !*is_behind;
	if (pass != want)
		return object(j, "lane %u of kind %u is torn: its page %llu, number %llu of a "
			"pass, word %u, is of pass %llu, not %llu; the pass began with %llu", l,
			lane->kind, (unsigned long long)page, (unsigned long long)i, w,
			(unsigned long long)pass, (unsigned long long)want,
			(unsigned long long)step->pass);
	return true;
}

static bool judge_lane(struct judge *j, unsigned l)
{
	const struct sc_lane *lane = &j->plan.lanes[l];
	struct step step = { .i = lane->n_pages };
	bool is_behind = false;

	for (uint64_t i = 0; i < lane->n_pages; i++) {
		const uint64_t *words = j->bytes[l] + sc_page_of(lane, i) * SC_WORDS;

		if (!is_behind)
			step.words = 0;
		for (unsigned w = 0; w < SC_WORDS; w++)
			if (w != SC_SEEN && !judge_word(j, l, i, w, words[w], &step, &is_behind))
				return false;
	}
	if (!is_behind)
		step.words = 0;
	if (step.pass == 0 && step.i < lane->n_pages)
		return object(j, "lane %u has not begun, and has", l);
	/* The pass 0 is the fill, of which none is counted. */
	j->done[l] = step.pass ? (step.pass - 1) * lane->n_pages + step.i : 0;
	j->verdict->in_page += step.words > 0;
	j->verdict->done += j->done[l];
	if (j->hot.lanes[l].done != j->done[l] &&
		(step.words > 0 || j->hot.lanes[l].done + 1 != j->done[l]))
		return object(j, "lane %u told of %llu pages, and has written %llu", l,
			(unsigned long long)j->hot.lanes[l].done, (unsigned long long)j->done[l]);
	return true;
}

/* What a lane saw of another one had happened there. */
static bool judge_causes(struct judge *j, unsigned l)
{
	const struct sc_lane *lane = &j->plan.lanes[l];

	for (uint64_t page = 0; page < lane->n_pages; page++) {
		uint64_t seen = j->bytes[l][page * SC_WORDS + SC_SEEN];
		uint64_t of = seen >> 60, done = seen & ((1ull << 60) - 1);

		if (of >= j->plan.n_lanes)
			return object(j, "lane %u, page %llu saw a lane %llu", l,
				(unsigned long long)page, (unsigned long long)of);
		if (done > j->done[of])
			return object(j, "lane %u, page %llu saw %llu pages of lane %llu (kind "
				"%u), which has written %llu", l, (unsigned long long)page,
				(unsigned long long)done, (unsigned long long)of,
				j->plan.lanes[of].kind, (unsigned long long)j->done[of]);
	}
	return true;
}

static bool judge_lanes(struct judge *j)
{
	for (unsigned l = 0; l < j->plan.n_lanes; l++) {
		const struct sc_lane *lane = &j->plan.lanes[l];
		uint64_t len = lane->n_pages * SC_PAGE;
		pid_t pid = j->plan.pids[lane->process % 2];

		if (umem_ranges_overlaps(j->unknown, lane->at, lane->at + len))
			return object(j, "lane %u is said not to be known", l);
		j->bytes[l] = malloc(len);
		T_CHECK(j->bytes[l]);
		if (!get(j, pid, lane->at, j->bytes[l], len) || !judge_lane(j, l))
			return false;
		if (lane->alias == lane->at)
			continue;
		UMEM_FREE void *alias = malloc(len);

		T_CHECK(alias);
		if (!get(j, pid, lane->alias, alias, len))
			return false;
		if (memcmp(alias, j->bytes[l], len) != 0)
			return object(j, "lane %u differs between its two mappings", l);
	}
	for (unsigned l = 0; l < j->plan.n_lanes; l++)
		if (!judge_causes(j, l))
			return false;
	return true;
}

/* A generation up to one word, and an older one behind it; zeros are older than all. */
static bool judge_scratch_page(struct judge *j, unsigned s, uint64_t page, const uint64_t *words)
{
	uint64_t last = UINT64_MAX;
	unsigned steps = 0;

	for (unsigned w = 0; w < SC_WORDS; w++) {
		uint64_t gen = words[w] >> 28;

		if (words[w] && words[w] != sc_scratch_word(page, gen))
			return object(j, "scratch %u, page %llu, word %u holds %#llx", s,
				(unsigned long long)page, w, (unsigned long long)words[w]);
		if (gen == last)
			continue;
		if (j->plan.scratch[s].is_torn)
			continue;
		if (w > 0 && (gen > last || ++steps > 1))
			return object(j, "scratch %u (churn %#x), page %llu is mixed: word %u is "
				"of generation %llu, the one before of %llu", s,
				j->plan.scratch[s].churn, (unsigned long long)page, w,
				(unsigned long long)gen, (unsigned long long)last);
		last = gen;
	}
	j->verdict->scratch_pages++;
	return true;
}

/* Of pages that the copy says it does not have, nothing is asked. */
static bool judge_scratch(struct judge *j, unsigned s)
{
	const struct sc_scratch *scratch = &j->plan.scratch[s];
	struct umem_ranges all = { 0 }, known = { 0 };
	uint64_t words[SC_WORDS];
	bool is_good = true;

	T_OK(umem_ranges_add(&all, scratch->at, scratch->at + scratch->n_pages * SC_PAGE));
	T_OK(umem_ranges_subtract(&all, j->unknown, &known));
	for (size_t i = 0; i < known.n && is_good; i++) {
		uint64_t start = known.v[i].start, len = known.v[i].end - start;
		UMEM_FREE char *bytes = malloc(len);

		T_CHECK(bytes);
		is_good = get(j, j->plan.pids[0], start, bytes, len);
		for (uint64_t at = 0; at < len && is_good; at += SC_PAGE) {
			memcpy(words, bytes + at, SC_PAGE);
			is_good = judge_scratch_page(j, s, (start + at - scratch->at) / SC_PAGE,
				words);
		}
	}
	umem_ranges_deinit(&all);
	umem_ranges_deinit(&known);
	return is_good;
}

void sc_judge(const struct sc_reader *reader, pid_t pid, const struct umem_ranges *unknown,
	struct sc_verdict *ret_verdict)
{
	static const struct umem_ranges nothing;
	struct judge j = { .reader = reader, .pid = pid, .verdict = ret_verdict,
		.unknown = unknown ? unknown : &nothing };

	*ret_verdict = (struct sc_verdict){ .is_one_moment = true };
	if (get_plan(&j) && judge_lanes(&j))
		for (unsigned s = 0; s < j.plan.n_scratch; s++)
			if (!judge_scratch(&j, s))
				break;
	for (unsigned l = 0; l < SC_MAX_LANES; l++)
		free(j.bytes[l]);
}
