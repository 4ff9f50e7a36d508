// SPDX-License-Identifier: LGPL-2.1-or-later
/* Metrics about single targets: a sample for each that is shown, and one for all others. */
#include "daemon/metrics_inner.h"

#include "daemon/session.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"

#define OTHER "other"

/* Shown ones, one after the other, beginning behind @s (NULL: with the first). */
static struct session *next_shown(const struct metrics *m, struct session *s)
{
	s = s ? LIST_NEXT(s, entry) : LIST_FIRST(&m->manager->sessions);
	while (s && s->stats.hidden)
		s = LIST_NEXT(s, entry);
	return s;
}

static void info(struct expose *x, struct metrics *m)
{
	for (struct session *s = NULL; (s = next_shown(m, s));) {
		expose_label(x, "target", s->id);
		expose_label_u64(x, "pid", (uint64_t)s->acquired.pid);
		expose_label(x, "name", s->acquired.name);
		expose_label_u64(x, "uid", s->who.uid);
		expose_label(x, "how", session_how_name(s->how));
		expose_u64(x, 1);
	}
}

static void state(struct expose *x, struct metrics *m)
{
	for (struct session *s = NULL; (s = next_shown(m, s));) {
		expose_label(x, "target", s->id);
		expose_label(x, "state", session_state_name(s->state));
		expose_u64(x, 1);
	}
}

static void age(struct expose *x, struct metrics *m)
{
	uint64_t now_ns = umem_now_ns();

	for (struct session *s = NULL; (s = next_shown(m, s));) {
		expose_label(x, "target", s->id);
		expose_seconds(x, now_ns - s->started_ns);
	}
}

static void tracked(struct expose *x, struct metrics *m)
{
	const struct session *hidden;
	uint64_t others = 0;

	for (struct session *s = NULL; (s = next_shown(m, s));) {
		expose_label(x, "target", s->id);
		expose_u64(x, s->stats.tracked_bytes);
	}
	LIST_FOREACH(hidden, &m->manager->sessions, entry)
		others += hidden->stats.hidden ? hidden->stats.tracked_bytes : 0;
	if (m->stats->hid) {
		expose_label(x, "target", OTHER);
		expose_u64(x, others);
	}
}

static void memory(struct expose *x, struct metrics *m, bool swapped)
{
	for (struct session *s = NULL; (s = next_shown(m, s));) {
		session_look(s);
		if (!s->usage.known)
			continue;
		expose_label(x, "target", s->id);
		expose_u64(x, swapped ? s->usage.swapped_bytes : s->usage.resident_bytes);
	}
}

static void resident(struct expose *x, struct metrics *m)
{
	memory(x, m, false);
}

static void swapped(struct expose *x, struct metrics *m)
{
	memory(x, m, true);
}

static void last_scan(struct expose *x, struct metrics *m)
{
	for (struct session *s = NULL; (s = next_shown(m, s));) {
		if (!s->stats.last_ns)
			continue;
		expose_label(x, "target", s->id);
		expose_seconds(x, s->stats.last_scan_ns);
	}
}

/* A sample of each sum. */
static void each_sum(struct expose *x, struct metrics *m,
	void (*write)(struct expose *x, const char *target, const struct stats_sums *sums))
{
	for (struct session *s = NULL; (s = next_shown(m, s));)
		write(x, s->id, &s->stats.sums);
	if (m->stats->hid)
		write(x, OTHER, &m->stats->others);
}

static void write_rounds(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_u64(x, sums->rounds);
}

static void rounds(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_rounds);
}

static void write_recovered(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_u64(x, sums->recovered);
}

static void recovered(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_recovered);
}

static void write_incomplete(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_u64(x, sums->incomplete);
}

static void incomplete(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_incomplete);
}

static void write_dirty(struct expose *x, const char *target, const struct stats_sums *sums)
{
	for (size_t i = 0; i < STATS_N_WHYS; i++) {
		expose_label(x, "target", target);
		expose_label(x, "why", metrics_whys[i]);
		expose_u64(x, sums->dirty_bytes[i]);
	}
}

static void dirty(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_dirty);
}

static void write_moved(struct expose *x, const char *target, const struct stats_sums *sums)
{
	for (size_t i = 0; i < STATS_N_MOVES; i++) {
		expose_label(x, "target", target);
		expose_label(x, "direction", metrics_moves[i]);
		expose_u64(x, sums->moved_bytes[i]);
	}
}

static void moved(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_moved);
}

static void write_reclaimed(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_u64(x, sums->reclaimed_bytes);
}

static void reclaimed(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_reclaimed);
}

static void write_refaulted(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_u64(x, sums->refaulted_bytes);
}

static void refaulted(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_refaulted);
}

static void write_scans(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_seconds(x, sums->scan_ns);
}

static void scans(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_scans);
}

static void write_deaths(struct expose *x, const char *target, const struct stats_sums *sums)
{
	expose_label(x, "target", target);
	expose_u64(x, sums->deaths);
}

static void deaths(struct expose *x, struct metrics *m)
{
	each_sum(x, m, write_deaths);
}

static const struct metrics_family families[] = {
	{ EXPOSE_GAUGE, "umemd_target_info", NULL, info,
		"Which process a target is; always 1." },
	{ EXPOSE_GAUGE, "umemd_target_state", NULL, state,
		"The state that a target is in; always 1." },
	{ EXPOSE_GAUGE, "umemd_target_age_seconds", "seconds", age, "Since a target came in." },
	{ EXPOSE_GAUGE, "umemd_target_tracked_bytes", "bytes", tracked,
		"Memory that is tracked." },
	{ EXPOSE_GAUGE, "umemd_target_resident_bytes", "bytes", resident,
		"Memory of the process that is in memory." },
	{ EXPOSE_GAUGE, "umemd_target_swapped_bytes", "bytes", swapped,
		"Private memory of the process that is swapped out." },
	{ EXPOSE_GAUGE, "umemd_target_last_scan_seconds", "seconds", last_scan,
		"How long the worker took for the last round." },
	{ EXPOSE_COUNTER, "umemd_target_rounds", NULL, rounds, "Rounds of a target." },
	{ EXPOSE_COUNTER, "umemd_target_rounds_recovered", NULL, recovered,
		"Rounds of a target behind the death of a worker." },
	{ EXPOSE_COUNTER, "umemd_target_rounds_incomplete", NULL, incomplete,
		"Rounds of a target that may miss a change." },
	{ EXPOSE_COUNTER, "umemd_target_dirty_bytes", "bytes", dirty,
		"Memory that rounds of a target reported, by why." },
	{ EXPOSE_COUNTER, "umemd_target_moved_bytes", "bytes", moved,
		"Memory of a target that was put out or brought in because somebody asked." },
	{ EXPOSE_COUNTER, "umemd_target_reclaimed_bytes", "bytes", reclaimed,
		"Memory of a target that a policy of reclaim put out." },
	{ EXPOSE_COUNTER, "umemd_target_refaulted_bytes", "bytes", refaulted,
		"Memory of a target that came back of what a policy had put out." },
	{ EXPOSE_COUNTER, "umemd_target_scan_seconds", "seconds", scans,
		"How long the worker of a target took for rounds." },
	{ EXPOSE_COUNTER, "umemd_target_worker_deaths", NULL, deaths,
		"Workers of a target that ended and were not to." },
};

const struct metrics_family *metrics_of_targets(size_t *ret_n)
{
	*ret_n = UMEM_ARRAY_LEN(families);
	return families;
}
