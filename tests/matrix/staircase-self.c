// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The judge of the staircase, judged: a copy of stopped memory is one moment to it, a
 * copy of memory that is written meanwhile is not, and neither are areas of different
 * moments. And each single fault that is put into a good copy is found, by the check
 * that is there for it.
 */
#include "tests/matrix/staircase.h"

#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/clients/client.h"

#define N_COPIES 20u
#define MAX_KEPT (SC_MAX_LANES * 2 + SC_MAX_SCRATCH + 2)

static uint64_t random_state;

static bool read_live(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	struct iovec to = { bytes, len }, from = { (void *)at, len };

	(void)user;
	return process_vm_readv(pid, &to, 1, &from, 1, 0) == (ssize_t)len;
}

static uint64_t pages_done(pid_t pid)
{
	struct sc_hot hot;
	uint64_t sum = 0;

	T_CHECK(read_live(NULL, pid, SC_HOT_AT, &hot, sizeof(hot)));
	for (unsigned l = 0; l < SC_MAX_LANES; l++)
		sum += hot.lanes[l].done;
	return sum;
}

/* As a copy that takes its time: the memory is written to meanwhile, whoever else runs. */
static bool read_slowly(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	const uint64_t piece = 32 * SC_PAGE;

	for (uint64_t done = 0; done < len; done += piece) {
		uint64_t n = umem_min_u64(piece, len - done), before = pages_done(pid);

		if (!read_live(user, pid, at + done, (char *)bytes + done, n))
			return false;
		T_UNTIL(10, pages_done(pid) > before + 40);
	}
	return true;
}

/* Each area of one moment, and no two of the same. */
static bool read_apart(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	uint64_t before;
	bool is_good;

	cl_stop(pid);
	is_good = read_live(user, pid, at, bytes, len);
	before = pages_done(pid);
	cl_cont(pid);
	T_UNTIL(10, pages_done(pid) > before + 100);
	return is_good;
}

/* Copy and judge. Return: how many of the copies are not one moment. */
static unsigned judge_copies(struct sc_victim *victim,
	bool (*read)(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len))
{
	struct sc_reader reader = { read, NULL };
	struct sc_verdict verdict;
	unsigned n_torn = 0;

	for (unsigned i = 0; i < N_COPIES; i++) {
		sc_judge(&reader, victim->pid, NULL, &verdict);
		if (!verdict.is_one_moment && n_torn++ == 0)
			printf("	%s\n", verdict.why);
	}
	return n_torn;
}

/* What was read once, to be read again with faults in it. */
struct kept {
	size_t n;
	struct {
		uint64_t at;
		uint64_t len;
		char *bytes;
	} v[MAX_KEPT];
};

static bool read_and_keep(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	struct kept *kept = user;

	T_CHECK(kept->n < MAX_KEPT && read_live(NULL, pid, at, bytes, len));
	kept->v[kept->n].at = at;
	kept->v[kept->n].len = len;
	kept->v[kept->n].bytes = malloc(len);
	memcpy(kept->v[kept->n++].bytes, bytes, len);
	return true;
}

/* The byte of the copy at @at. */
static void *kept_at(struct kept *kept, uint64_t at)
{
	for (size_t i = 0; i < kept->n; i++)
		if (at >= kept->v[i].at && at < kept->v[i].at + kept->v[i].len)
			return kept->v[i].bytes + (at - kept->v[i].at);
	T_FAIL("%#llx was not read", (unsigned long long)at);
}

static bool read_kept(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	(void)pid;
	memcpy(bytes, kept_at(user, at), len);
	return true;
}

/* Put one word into the copy: it is no moment now, for that reason. Then take it out. */
static void fault(struct kept *kept, uint64_t at, uint64_t value, const char *why)
{
	struct sc_reader reader = { read_kept, kept };
	uint64_t *word = kept_at(kept, at), before = *word;
	struct sc_verdict verdict;

	*word = value;
	sc_judge(&reader, 0, NULL, &verdict);
	T_CHECK(!verdict.is_one_moment, "%#llx at %#llx was not seen: \"%s\" was expected",
		(unsigned long long)value, (unsigned long long)at, why);
	T_CHECK(strstr(verdict.why, why), "\"%s\", and not \"%s\"", verdict.why, why);
	*word = before;
}

static void lane_faults(struct kept *kept, const struct sc_plan *plan, unsigned l)
{
	const struct sc_lane *lane = &plan->lanes[l];
	const struct sc_hot *hot = kept_at(kept, SC_HOT_AT);
	uint64_t page = t_below(&random_state, lane->n_pages);
	/* Word 0 is of each pass, word 2 of the fill in a sparse lane. */
	unsigned w = lane->stride * (unsigned)(2 + t_below(&random_state, 6));
	uint64_t at = lane->at + page * SC_PAGE, pass = *(uint64_t *)kept_at(kept, at) >> 28;
	uint64_t done = offsetof(struct sc_hot, lanes) + l * sizeof(hot->lanes[0]) + SC_HOT_AT;

	T_CHECK(pass > 4);
	fault(kept, at + w * 8, sc_word(l, page, pass - 2), "torn");
	fault(kept, at + w * 8, sc_word(l, page, pass + 2), "torn");
	fault(kept, at + w * 8, sc_word(l, (page + 1) % lane->n_pages, pass), "holds");
	fault(kept, at + w * 8, sc_word(l + 1, page, pass), "holds");
	fault(kept, at + w * 8, 0, "holds");
	if (lane->stride > 1)
		fault(kept, at + 16, sc_word(l, page, pass), "wrote no word");
	fault(kept, done, hot->lanes[l].done + 2, "told of");
	fault(kept, done, hot->lanes[l].done - 2, "told of");
	if (lane->alias != lane->at) {
		fault(kept, lane->alias + page * SC_PAGE + w * 8, sc_word(l, page, pass - 1),
			"differs");
		return;
	}
	fault(kept, at + SC_SEEN * 8, sc_seen_word((l + 1) % plan->n_lanes, 1ull << 40), "saw");
	fault(kept, at + SC_SEEN * 8, sc_seen_word(plan->n_lanes, 0), "saw");
}

/* Oldest behind newest, or two steps: no page was ever like that. */
static void scratch_faults(struct kept *kept, const struct sc_scratch *scratch)
{
	for (uint64_t page = 0; page < scratch->n_pages; page++) {
		uint64_t at = scratch->at + page * SC_PAGE, *words = kept_at(kept, at);

		if (words[0] == 0 || words[0] != sc_scratch_word(page, words[511] >> 28))
			continue;
		fault(kept, at + 300 * 8, sc_scratch_word(page, (words[0] >> 28) + 1), "mixed");
		fault(kept, at + 300 * 8, sc_scratch_word(page + 1, words[0] >> 28), "holds");
		fault(kept, at + 300 * 8, 0, "mixed");
		return;
	}
}

/* A cut through the lanes: each is whole, what it told as well, one is of a later moment. */
static void late_lane(struct sc_victim *victim, const struct sc_plan *plan, unsigned l)
{
	struct sc_reader reader = { read_and_keep, NULL }, again = { read_kept, NULL };
	struct kept early = { 0 }, late = { 0 };
	struct sc_verdict verdict;
	uint64_t len = plan->lanes[l].n_pages * SC_PAGE;
	struct sc_hot *hot, *late_hot;

	cl_stop(victim->pid);
	reader.user = &early;
	sc_judge(&reader, victim->pid, NULL, &verdict);
	T_CHECK(verdict.is_one_moment, "%s", verdict.why);
	cl_cont(victim->pid);
	sc_check(victim);
	t_msleep(20);
	cl_stop(victim->pid);
	reader.user = &late;
	sc_judge(&reader, victim->pid, NULL, &verdict);
	cl_cont(victim->pid);
	memcpy(kept_at(&early, plan->lanes[l].at), kept_at(&late, plan->lanes[l].at), len);
	if (plan->lanes[l].alias != plan->lanes[l].at)
		memcpy(kept_at(&early, plan->lanes[l].alias), kept_at(&late, plan->lanes[l].alias),
			len);
	hot = kept_at(&early, SC_HOT_AT);
	late_hot = kept_at(&late, SC_HOT_AT);
	hot->lanes[l] = late_hot->lanes[l];
	again.user = &early;
	sc_judge(&again, 0, NULL, &verdict);
	T_CHECK(!verdict.is_one_moment && strstr(verdict.why, "saw"), "\"%s\"", verdict.why);
	for (size_t i = 0; i < MAX_KEPT; i++) {
		free(early.v[i].bytes);
		free(late.v[i].bytes);
	}
}

static void single_faults(struct sc_victim *victim)
{
	struct sc_reader reader = { read_and_keep, NULL };
	struct sc_plan plan;
	struct kept kept = { 0 };
	struct sc_verdict verdict;

	cl_stop(victim->pid);
	reader.user = &kept;
	sc_judge(&reader, victim->pid, NULL, &verdict);
	T_CHECK(verdict.is_one_moment, "%s", verdict.why);
	cl_cont(victim->pid);
	plan = *(struct sc_plan *)kept_at(&kept, SC_PLAN_AT);
	for (unsigned l = 0; l < plan.n_lanes; l++)
		lane_faults(&kept, &plan, l);
	for (unsigned s = 0; s < plan.n_scratch; s++)
		if (!plan.scratch[s].is_torn)
			scratch_faults(&kept, &plan.scratch[s]);
	fault(&kept, SC_PLAN_AT, 0, "no plan");
	for (unsigned l = 0; l < plan.n_lanes && plan.n_lanes > 1; l++)
		late_lane(victim, &plan, l);
	for (size_t i = 0; i < kept.n; i++)
		free(kept.v[i].bytes);
}

int main(int argc, char **argv)
{
	struct sc_setup setup = { .n_pages = 256, .n_processes = 1 };
	unsigned torn, apart, whole;

	sc_main(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	setup.seed = random_state = t_seed();
	for (setup.n_lanes = 1; setup.n_lanes <= SC_MAX_LANES; setup.n_lanes *= 2) {
		struct sc_victim victim;

		setup.kind = setup.n_lanes < 4 ? SC_ANON : SC_MIXED;
		/* Stopping by a signal is seen by calls that say so. */
		setup.churn = setup.n_lanes == 4 ? (SC_CALM | SC_WILD) & ~SC_WAITS : 0u;
		sc_start(&victim, &setup);
		torn = judge_copies(&victim, read_slowly);
		apart = judge_copies(&victim, read_apart);
		cl_stop(victim.pid);
		whole = judge_copies(&victim, read_live);
		cl_cont(victim.pid);
		single_faults(&victim);
		sc_check(&victim);
		sc_stop(&victim);
		printf("%u lanes: %u of %u copies of running memory are torn, %u of areas at "
		       "different moments, %u of stopped memory\n", setup.n_lanes, torn, N_COPIES,
			apart, whole);
		T_CHECK(torn == N_COPIES && apart == N_COPIES && whole == 0);
	}
	return 0;
}
