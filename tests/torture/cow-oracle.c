// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copy before write against a copy that was taken while everything was stopped,
 * at the same moment, byte for byte; and against what the victim promises of
 * every instant.
 *
 * arguments: [--snapshots N] [--lanes N] [--churners N] [--churn SET] [--pause US]
 *            [--shared] [--alias] [--twin] [--huge]
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

#define ARENA_BYTES (V_ARENA_END - V_ARENA_AT)

/* A process, and its arena in two versions. */
struct subject {
	pid_t pid;
	struct umem_target *target;
	uint8_t *image;
	uint8_t *frozen;
	uint8_t *mapped; /* a byte a page: it is there to be compared */
};

struct totals {
	uint64_t snapshots, pages, lost, staged, swept, hot;
	uint64_t discards, unseen, moves, waits, moment_max_ns;
};

static struct subject subjects[2];
static size_t n_subjects;

static void stop_all(struct umem_freeze *freeze)
{
	struct umem_freeze_process v[2];
	struct umem_note note = { 0 };
	int r;

	for (size_t i = 0; i < n_subjects; i++)
		v[i] = (struct umem_freeze_process){
			.pid = subjects[i].pid,
			.pidfd = subjects[i].target->pidfd,
		};
	r = umem_freeze_stop(freeze, v, n_subjects, DEADLINE_NS, NULL, &note);
	T_CHECK(r == 0, "%s", note.text);
}

static void copy_frozen(struct subject *s)
{
	memset(s->image, 0, ARENA_BYTES);
	memset(s->mapped, 0, ARENA_BYTES / V_PAGE);
	for (size_t i = 0; i < s->target->space.n; i++) {
		const struct umem_region *g = &s->target->space.v[i];
		struct umem_range run = { g->start, g->end };
		struct umem_ranges holes = { 0 };

		if (g->start < V_ARENA_AT || g->end > V_ARENA_END)
			continue;
		T_OK(umem_procmem_read(s->pid, -1, UMEM_PROCMEM_AUTO, &run, 1,
			s->frozen + (g->start - V_ARENA_AT), &holes));
		memset(s->mapped + (g->start - V_ARENA_AT) / V_PAGE, 1,
			(g->end - g->start) / V_PAGE);
		for (size_t k = 0; k < holes.n; k++)
			memset(s->mapped + (holes.v[k].start - V_ARENA_AT) / V_PAGE, 0,
				(holes.v[k].end - holes.v[k].start) / V_PAGE);
		umem_ranges_deinit(&holes);
	}
}

static void drop(struct subject *s, const struct umem_reasons *why, struct totals *totals)
{
	for (size_t i = 0; i < why->n; i++) {
		uint64_t n = (why->v[i].end - why->v[i].start) / V_PAGE;

		memset(s->mapped + (why->v[i].start - V_ARENA_AT) / V_PAGE, 0, n);
		totals->lost += n;
	}
}

static void compare(const struct subject *s, const struct v_plan *plan, bool is_first)
{
	for (uint64_t i = 0; i < ARENA_BYTES / V_PAGE; i++)
		T_CHECK(!s->mapped[i] ||
				memcmp(s->image + i * V_PAGE, s->frozen + i * V_PAGE, V_PAGE) == 0,
			"pid %d, page at %#llx (slot %llu, page %llu): is %02x, was %02x", s->pid,
			(unsigned long long)(V_ARENA_AT + i * V_PAGE),
			(unsigned long long)(i * V_PAGE / V_SLOT_BYTES),
			(unsigned long long)(i % (V_SLOT_BYTES / V_PAGE)), s->image[i * V_PAGE],
			s->frozen[i * V_PAGE]);
	for (unsigned i = 0; i < plan->n_lanes; i++) {
		uint64_t bad = v_check_lane(s->image + (v_lane_at(i) - V_ARENA_AT),
			plan->lane_pages);

		/* Pages that are said to be lost are zeros here. */
		if (memchr(s->mapped + (v_lane_at(i) - V_ARENA_AT) / V_PAGE, 0, plan->lane_pages))
			continue;
		T_CHECK(bad == 0, "pid %d: lane %u is torn at page %llu", s->pid, i,
			(unsigned long long)bad - 1);
		T_CHECK(!plan->alias || v_check_lane(s->image + (v_alias_at(i) - V_ARENA_AT),
						plan->lane_pages) == 0);
	}
	T_CHECK(!is_first || v_check_cold(s->image + (v_cold_at() - V_ARENA_AT),
				     plan->cold_pages) == 0);
}

static void take(struct umem_cow *cow, uint64_t *rand)
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
		T_CHECK(piece.member < n_subjects && piece.addr >= V_ARENA_AT &&
			piece.addr + piece.n_pages * V_PAGE <= V_ARENA_END);
		memcpy(subjects[piece.member].image + (piece.addr - V_ARENA_AT), piece.bytes,
			piece.n_pages * V_PAGE);
		/* A slow disk. */
		if (t_below(rand, 64) == 0)
			usleep(200);
	}
}

/* On a busy machine a thread may take too long to be stopped. */
static int fetch(struct umem_target *target, struct umem_note *note)
{
	int uffd = -1, r = -ETIMEDOUT;
	uint64_t stop_ns;

	for (int i = 0; i < 20 && r < 0 && r != -ENOTTY && r != -ENOSYS; i++) {
		note->text[0] = '\0';
		r = umem_target_fetch_sync(target, DEADLINE_NS, &uffd, &stop_ns, note);
	}
	if (r == -ENOTTY || r == -ENOSYS)
		T_SKIP("%s", note->text);
	T_CHECK(r == 0, "%s", note->text);
	return uffd;
}

static struct umem_cow *begin(const struct umem_cow_options *options)
{
	static const struct umem_range arena = { V_ARENA_AT, V_ARENA_END };
	struct umem_ranges which = { .v = (struct umem_range *)&arena, .n = 1 };
	struct umem_cow_member members[2];
	struct umem_note note = { 0 };
	struct umem_cow *cow;
	int r;

	for (size_t i = 0; i < n_subjects; i++) {
		r = umem_target_open(subjects[i].pid, NULL, &subjects[i].target, &note);
		T_CHECK(r == 0, "%s", note.text);
		members[i] = (struct umem_cow_member){ subjects[i].target, -1, &which };
		members[i].uffd = fetch(subjects[i].target, &note);
	}
	r = umem_cow_new(members, n_subjects, options, &cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_cow_prepare(cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	return cow;
}

static void snapshot(struct umem_freeze *freeze, const struct v_plan *plan, uint64_t *rand,
	struct totals *totals)
{
	struct umem_cow_options options = {
		.verify = true,
		.hot_ns = t_below(rand, 2) ? 0 : UMEM_COW_HOT_NEVER,
		/* Now and then so little that writers have to wait. */
		.staging_bytes = t_below(rand, 3) ? 0 : 1,
	};
	struct umem_note note = { 0 };
	struct umem_cow_stats stats;
	struct umem_cow *cow = begin(&options);
	int r;

	if (t_below(rand, 2))
		usleep((useconds_t)t_below(rand, 20000));
	stop_all(freeze);
	r = umem_cow_moment(cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	for (size_t i = 0; i < n_subjects; i++) {
		copy_frozen(&subjects[i]);
		drop(&subjects[i], umem_cow_within_stop(cow, i), totals);
	}
	umem_freeze_go(freeze, NULL);
	take(cow, rand);
	umem_cow_stats(cow, &stats);
	for (size_t i = 0; i < n_subjects; i++) {
		struct umem_reasons lost = { 0 };

		T_OK(umem_cow_lost(cow, i, &lost));
		drop(&subjects[i], &lost, totals);
		umem_reasons_deinit(&lost);
	}
	umem_cow_free(cow);
	for (size_t i = 0; i < n_subjects; i++) {
		umem_target_free(subjects[i].target);
		compare(&subjects[i], plan, i == 0);
	}
	totals->snapshots++;
	totals->pages += stats.n_staged + stats.n_swept + stats.n_hot;
	totals->staged += stats.n_staged;
	totals->swept += stats.n_swept;
	totals->hot += stats.n_hot;
	totals->discards += stats.n_discards;
	totals->unseen += stats.n_unseen;
	totals->moves += stats.n_moves;
	totals->waits += stats.n_waits;
	totals->moment_max_ns = umem_max_u64(totals->moment_max_ns, stats.moment_ns);
}

static void add_subject(pid_t pid)
{
	struct subject *s = &subjects[n_subjects++];

	*s = (struct subject){
		.pid = pid,
		.image = calloc(1, ARENA_BYTES),
		.frozen = calloc(1, ARENA_BYTES),
		.mapped = calloc(1, ARENA_BYTES / V_PAGE),
	};
	T_CHECK(s->image && s->frozen && s->mapped);
}

static struct v_plan parse(int argc, char **argv, unsigned *n_snapshots)
{
	static const struct option longs[] = {
		{ "snapshots", 1, NULL, 'n' }, { "lanes", 1, NULL, 'l' },
		{ "churn", 1, NULL, 'c' }, { "churners", 1, NULL, 'C' },
		{ "shared", 0, NULL, 's' }, { "huge", 0, NULL, 'h' },
		{ "pause", 1, NULL, 'p' }, { "alias", 0, NULL, 'a' },
		{ "twin", 0, NULL, 't' }, { "cold", 1, NULL, 'o' }, { 0 },
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
		case 'a': plan.shared = plan.alias = true; break;
		case 't': plan.shared = plan.twin = true; break;
		case 'o': plan.cold_pages = (uint64_t)atoi(optarg); break;
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
	pid_t pid, twin;

	plan.seed = seed;
	T_OK(umem_freeze_new(&freeze));
	pid = v_start(&plan, &twin);
	add_subject(pid);
	if (twin > 0)
		add_subject(twin);
	for (unsigned i = 0; i < n_snapshots; i++)
		snapshot(freeze, &plan, &rand, &totals);
	umem_freeze_free(freeze);
	for (size_t i = 0; i < n_subjects; i++)
		t_end(subjects[i].pid);
	printf("%llu snapshots, %llu pages: %llu before a write or discard, %llu swept, %llu "
	       "within the moment, %llu lost; %llu discards, %llu not seen in time, %llu moves, "
	       "%llu waits for room; longest moment %llu us\n",
		(unsigned long long)totals.snapshots, (unsigned long long)totals.pages,
		(unsigned long long)totals.staged, (unsigned long long)totals.swept,
		(unsigned long long)totals.hot, (unsigned long long)totals.lost,
		(unsigned long long)totals.discards, (unsigned long long)totals.unseen,
		(unsigned long long)totals.moves, (unsigned long long)totals.waits,
		(unsigned long long)totals.moment_max_ns / 1000);
	return 0;
}
