// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copy before write against a copy that was taken while everything was stopped,
 * at the same moment, byte for byte; and against what the victim promises of
 * every instant.
 *
 * arguments: [--snapshots N] [--lanes N] [--churn SET] [--shared] [--huge]
 */
#include <getopt.h>
#include <unistd.h>

#include "lib/kern/freeze.h"
#include "lib/kern/procmem.h"
#include "lib/track/cow.h"
#include "tests/lib/harness.h"
#include "tests/torture/cow-victim.h"

/* Other tests may keep the machine busy. */
#define DEADLINE_NS 20000000000ull

/* The arena, in two versions. */
static uint8_t *image, *frozen;
static uint8_t *mapped; /* a byte a page: it was there to be compared */

struct totals {
	uint64_t snapshots, pages, lost, staged, swept, discards, unseen, moves, moment_max_ns;
};

static void stop_all(struct umem_freeze *freeze, const struct umem_target *target)
{
	struct umem_freeze_process process = { target->pid, target->pidfd, 0 };
	struct umem_note note = { 0 };
	int r = umem_freeze_stop(freeze, &process, 1, DEADLINE_NS, NULL, &note);

	T_CHECK(r == 0, "%s", note.text);
}

static void copy_frozen(struct umem_target *target)
{
	memset(mapped, 0, (V_ARENA_END - V_ARENA_AT) / V_PAGE);
	for (size_t i = 0; i < target->space.n; i++) {
		const struct umem_region *g = &target->space.v[i];
		struct umem_range run = { g->start, g->end };
		struct umem_ranges holes = { 0 };

		if (g->start < V_ARENA_AT || g->end > V_ARENA_END)
			continue;
		T_OK(umem_procmem_read(target->pid, -1, UMEM_PROCMEM_AUTO, &run, 1,
			frozen + (g->start - V_ARENA_AT), &holes));
		memset(mapped + (g->start - V_ARENA_AT) / V_PAGE, 1,
			(g->end - g->start) / V_PAGE);
		for (size_t k = 0; k < holes.n; k++)
			memset(mapped + (holes.v[k].start - V_ARENA_AT) / V_PAGE, 0,
				(holes.v[k].end - holes.v[k].start) / V_PAGE);
		umem_ranges_deinit(&holes);
	}
}

static void drop(const struct umem_reasons *why, struct totals *totals, bool loud)
{
	for (size_t i = 0; i < why->n; i++) {
		uint64_t n = (why->v[i].end - why->v[i].start) / V_PAGE;

		memset(mapped + (why->v[i].start - V_ARENA_AT) / V_PAGE, 0, n);
		totals->lost += n;
		if (loud)
			printf("lost %#llx-%#llx: %s\n", (unsigned long long)why->v[i].start,
				(unsigned long long)why->v[i].end, why->v[i].reason);
	}
}

static void compare(const struct v_plan *plan)
{
	for (uint64_t i = 0; i < (V_ARENA_END - V_ARENA_AT) / V_PAGE; i++)
		T_CHECK(!mapped[i] ||
				memcmp(image + i * V_PAGE, frozen + i * V_PAGE, V_PAGE) == 0,
			"page at %#llx (slot %llu, page %llu): is %02x, was %02x",
			(unsigned long long)(V_ARENA_AT + i * V_PAGE),
			(unsigned long long)(i * V_PAGE / V_SLOT_BYTES),
			(unsigned long long)(i % (V_SLOT_BYTES / V_PAGE)), image[i * V_PAGE],
			frozen[i * V_PAGE]);
	for (unsigned i = 0; i < plan->n_lanes; i++) {
		uint64_t bad = v_check_lane(image + (v_lane_at(i) - V_ARENA_AT), plan->lane_pages);

		T_CHECK(bad == 0, "lane %u is torn at page %llu", i,
			(unsigned long long)bad - 1);
	}
	T_CHECK(v_check_cold(image + (v_cold_at() - V_ARENA_AT), plan->cold_pages) == 0);
}

static void take(struct umem_cow *cow, const struct v_plan *plan, uint64_t *rand)
{
	struct umem_note note = { 0 };
	struct umem_cow_piece piece;

	for (;;) {
		int r = umem_cow_next(cow, &piece, &note);

		if (r == UMEM_AGAIN)
			continue;
		T_CHECK(r == 0, "%d: %s", r, note.text);
		if (piece.n_pages == 0)
			break;
		T_CHECK(piece.addr >= V_ARENA_AT &&
			piece.addr + piece.n_pages * V_PAGE <= V_ARENA_END);
		memcpy(image + (piece.addr - V_ARENA_AT), piece.bytes, piece.n_pages * V_PAGE);
		/* A slow disk. */
		if (t_below(rand, 64) == 0)
			usleep(200);
	}
}

static void snapshot(pid_t pid, struct umem_freeze *freeze, const struct v_plan *plan,
	uint64_t *rand, struct totals *totals)
{
	struct umem_range arena = { V_ARENA_AT, V_ARENA_END };
	struct umem_ranges which = { .v = &arena, .n = 1 };
	struct umem_cow_options options = { .verify = true };
	struct umem_cow_member member = { .which = &which };
	struct umem_reasons lost = { 0 };
	struct umem_note note = { 0 };
	struct umem_cow_stats stats;
	struct umem_cow *cow;
	uint64_t stop_ns;
	int r;

	r = umem_target_open(pid, NULL, &member.target, &note);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_target_fetch_sync(member.target, DEADLINE_NS, &member.uffd, &stop_ns, &note);
	if (r == -ENOTTY || r == -ENOSYS || r == -EPERM)
		T_SKIP("%s", note.text);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_cow_new(&member, 1, &options, &cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_cow_prepare(cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	if (t_below(rand, 2))
		usleep((useconds_t)t_below(rand, 20000));
	stop_all(freeze, member.target);
	r = umem_cow_moment(cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	copy_frozen(member.target);
	memset(image, 0, V_ARENA_END - V_ARENA_AT);
	drop(umem_cow_within_stop(cow, 0), totals, false);
	umem_freeze_go(freeze, NULL);
	take(cow, plan, rand);
	T_OK(umem_cow_lost(cow, 0, &lost));
	umem_cow_stats(cow, &stats);
	drop(&lost, totals, getenv("LOUD") != NULL);
	umem_reasons_deinit(&lost);
	umem_cow_free(cow);
	umem_target_free(member.target);
	compare(plan);
	totals->snapshots++;
	totals->pages += stats.n_staged + stats.n_swept;
	totals->staged += stats.n_staged;
	totals->swept += stats.n_swept;
	totals->discards += stats.n_discards;
	totals->unseen += stats.n_unseen;
	totals->moves += stats.n_moves;
	totals->moment_max_ns = umem_max_u64(totals->moment_max_ns, stats.moment_ns);
}

static struct v_plan parse(int argc, char **argv, unsigned *n_snapshots)
{
	static const struct option longs[] = {
		{ "snapshots", 1, NULL, 'n' }, { "lanes", 1, NULL, 'l' },
		{ "churn", 1, NULL, 'c' }, { "churners", 1, NULL, 'C' },
		{ "shared", 0, NULL, 's' }, { "huge", 0, NULL, 'h' },
		{ "pause", 1, NULL, 'p' }, { 0 },
	};
	struct v_plan plan = { .n_lanes = 2, .lane_pages = 512, .n_churners = 2,
		.churn = V_CHURN_ALL, .cold_pages = 2000, .pause_us = 50 };
	int c;

	*n_snapshots = 20;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
		switch (c) {
		case 'n': *n_snapshots = (unsigned)atoi(optarg); break;
		case 'l': plan.n_lanes = (unsigned)atoi(optarg); break;
		case 'c': plan.churn = (unsigned)atoi(optarg); break;
		case 'C': plan.n_churners = (unsigned)atoi(optarg); break;
		case 's': plan.shared = true; break;
		case 'h': plan.huge = true; break;
		case 'p': plan.pause_us = (unsigned)atoi(optarg); break;
		default: T_FAIL("bad arguments");
		}
	return plan;
}

int main(int argc, char **argv)
{
	uint64_t seed = t_seed(), rand = seed;
	struct totals totals = { 0 };
	struct umem_freeze *freeze;
	unsigned n_snapshots;
	struct v_plan plan = parse(argc, argv, &n_snapshots);
	pid_t pid;

	image = calloc(1, V_ARENA_END - V_ARENA_AT);
	frozen = calloc(1, V_ARENA_END - V_ARENA_AT);
	mapped = calloc(1, (V_ARENA_END - V_ARENA_AT) / V_PAGE);
	T_CHECK(image && frozen && mapped);
	plan.seed = seed;
	T_OK(umem_freeze_new(&freeze));
	pid = v_start(&plan);
	for (unsigned i = 0; i < n_snapshots; i++)
		snapshot(pid, freeze, &plan, &rand, &totals);
	umem_freeze_free(freeze);
	t_end(pid);
	printf("%llu snapshots, %llu pages (%llu before a write or discard, %llu swept), "
	       "%llu lost; %llu discards, %llu not seen in time, %llu moves; "
	       "longest moment %llu us\n",
		(unsigned long long)totals.snapshots, (unsigned long long)totals.pages,
		(unsigned long long)totals.staged, (unsigned long long)totals.swept,
		(unsigned long long)totals.lost, (unsigned long long)totals.discards,
		(unsigned long long)totals.unseen, (unsigned long long)totals.moves,
		(unsigned long long)totals.moment_max_ns / 1000);
	return 0;
}
