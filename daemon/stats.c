// SPDX-License-Identifier: LGPL-2.1-or-later
/* What umemd counts of its work. */
#include "daemon/stats.h"

#include <stdio.h>
#include <string.h>

#include "daemon/link.h"
#include "lib/base/clock.h"

#define US 1000ull
#define MS 1000000ull
#define S  1000000000ull

/* From a stop of a thread to a scan of terabytes. */
const uint64_t stats_bounds_ns[STATS_BUCKETS] = {
	20 * US, 50 * US, 100 * US, 200 * US, 500 * US,
	1 * MS, 2 * MS, 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 200 * MS, 500 * MS,
	1 * S, 2 * S, 5 * S, 10 * S,
};

const char *const stats_quota_names[STATS_N_QUOTAS] = {
	[STATS_CONNECTIONS] = "Connections",
	[STATS_TARGETS] = "Targets",
	[STATS_USER_CONNECTIONS] = "UserConnections",
	[STATS_USER_TARGETS] = "UserTargets",
	[STATS_USER_REQUESTS] = "UserRequests",
	[STATS_USER_DESCRIPTORS] = "UserDescriptors",
	[STATS_USER_MEMORY] = "UserMemory",
	[STATS_USER_RATE] = "UserRate",
};

const char *const stats_decision_names[STATS_N_DECISIONS] = {
	[STATS_GROW] = "grow",
	[STATS_HOLD] = "hold",
	[STATS_BACK_OFF] = "back_off",
	[STATS_STOP] = "stop",
};

void stats_time(struct stats_times *times, uint64_t ns)
{
	size_t i = 0;

	while (i < STATS_BUCKETS && ns > stats_bounds_ns[i])
		i++;
	times->n[i]++;
	times->sum_ns += ns;
}

void stats_came(struct stats *stats, struct stats_target *target, enum stats_how how,
	uint64_t limit)
{
	target->hidden = stats->n_shown >= limit;
	stats->hid |= target->hidden;
	stats->n_shown += !target->hidden;
	stats->n_hidden += target->hidden;
	stats->started[how]++;
}

void stats_left(struct stats *stats, const struct stats_target *target)
{
	stats->n_shown -= !target->hidden;
	stats->n_hidden -= target->hidden;
}

static bool is_over(enum session_state state)
{
	return state >= SESSION_DETACHING;
}

void stats_moved(struct stats *stats, enum session_state from, enum session_state to)
{
	if (is_over(from) || !is_over(to))
		return;
	stats->ended[to == SESSION_ENDED ? STATS_PROCESS_ENDED :
		to == SESSION_FAILED ? STATS_FAILED : STATS_DETACHED]++;
}

void stats_asked(struct stats_target *target)
{
	target->asked_ns = umem_now_ns();
}

/*
 * Member @key. A worker is not trusted: what is more than any address space has bytes, or
 * any round nanoseconds, would have sums run over.
 */
static uint64_t get(const struct umem_json *object, const char *key)
{
	int64_t value = umem_json_get_int(object, key, 0);

	return value > 0 && value < 1ll << 57 ? (uint64_t)value : 0;
}

static void add(struct stats_sums *sums, const struct stats_sums *more)
{
	sums->rounds += more->rounds;
	sums->recovered += more->recovered;
	sums->incomplete += more->incomplete;
	for (size_t i = 0; i < STATS_N_WHYS; i++)
		sums->dirty_bytes[i] += more->dirty_bytes[i];
	sums->gone_bytes += more->gone_bytes;
	sums->scan_ns += more->scan_ns;
	for (size_t i = 0; i < STATS_N_MOVES; i++)
		sums->moved_bytes[i] += more->moved_bytes[i];
	sums->reclaimed_bytes += more->reclaimed_bytes;
	sums->refaulted_bytes += more->refaulted_bytes;
	sums->deaths += more->deaths;
}

/* To all sums that a target belongs to. */
static void add_to_all(struct stats *stats, struct stats_target *target,
	const struct stats_sums *more)
{
	add(&stats->all, more);
	add(&target->sums, more);
	if (target->hidden)
		add(&stats->others, more);
}

static void note_round(struct stats *stats, struct stats_target *target,
	const struct umem_json *round)
{
	static const char *const keys[STATS_N_WHYS] = {
		[STATS_WRITTEN] = "written_bytes",
		[STATS_NEW] = "new_bytes",
		[STATS_PUNCHED] = "punched_bytes",
		[STATS_SHARER] = "sharer_bytes",
		[STATS_PINNED] = "pinned_bytes",
	};
	struct stats_sums more = {
		.rounds = 1,
		.recovered = umem_json_get_bool(round, "recovered", false),
		.incomplete = !umem_json_get_bool(round, "complete", true),
		.gone_bytes = get(round, "gone_bytes"),
		.scan_ns = get(round, "scan_ns"),
	};

	for (size_t i = 0; i < STATS_N_WHYS; i++)
		more.dirty_bytes[i] = get(round, keys[i]);
	add_to_all(stats, target, &more);
	target->tracked_bytes = get(round, "tracked_bytes");
	target->last_ns = umem_now_ns();
	target->last_dirty_bytes = get(round, "dirty_bytes");
	target->last_interval_ns = get(round, "interval_ns");
	target->last_scan_ns = more.scan_ns;
	stats_time(&stats->scans, more.scan_ns);
	stats_time(&stats->rounds, target->last_ns - target->asked_ns);
}

static void note_moved(struct stats *stats, struct stats_target *target, enum stats_move move,
	const struct umem_json *moved)
{
	struct stats_sums more = { 0 };

	more.moved_bytes[move] = get(moved, "moved_bytes");
	add_to_all(stats, target, &more);
}

/* An interval of a policy. */
static void note_interval(struct stats *stats, struct stats_target *target,
	const struct umem_json *sum)
{
	const struct stats_sums more = {
		.reclaimed_bytes = get(sum, "reclaimed_bytes"),
		.refaulted_bytes = get(sum, "refaulted_bytes"),
	};
	const char *decision = umem_json_get_text(sum, "decision", "");

	add_to_all(stats, target, &more);
	for (size_t i = 0; i < STATS_N_DECISIONS; i++)
		stats->decisions[i] += strcmp(stats_decision_names[i], decision) == 0;
}

void stats_answered(struct stats *stats, struct stats_target *target, const char *method,
	const struct umem_json *parameters)
{
	if (strcmp(method, "Watch") == 0)
		target->tracked_bytes = get(parameters, "tracked_bytes");
	else if (strcmp(method, "Unwatch") == 0)
		target->tracked_bytes = 0;
	else if (strcmp(method, "Collect") == 0)
		note_round(stats, target, umem_json_get(parameters, "round"));
	else if (strcmp(method, "PageOut") == 0 || strcmp(method, "PageIn") == 0)
		note_moved(stats, target, method[4] == 'O' ? STATS_OUT : STATS_IN,
			umem_json_get(parameters, "moved"));
	else if (strcmp(method, "ReclaimLook") == 0)
		note_interval(stats, target,
			umem_json_get(umem_json_get(parameters, "interval"), "sum"));
}

void stats_died(struct stats *stats, struct stats_target *target, const char *how)
{
	const struct stats_sums more = { .deaths = 1 };
	enum stats_death death = strcmp(how, LINK_ENDED) == 0 ? STATS_DIED :
		strcmp(how, LINK_TIMEOUT) == 0 ? STATS_TIMEOUT : STATS_MISBEHAVED;

	add_to_all(stats, target, &more);
	stats->deaths[death]++;
}

void stats_called(struct stats *stats, uint64_t row)
{
	stats->calls[umem_min_u64(row, STATS_METHODS)]++;
}

void stats_error(struct stats *stats, uint64_t row, const char *name)
{
	struct stats_error *error;

	for (uint64_t i = 0; i < stats->n_errors; i++) {
		error = &stats->errors[i];
		if (error->row == row && strcmp(error->name, name) == 0) {
			error->n++;
			return;
		}
	}
	/* Names are ours, and few: no client can fill this. */
	if (stats->n_errors == STATS_ERRORS)
		return;
	error = &stats->errors[stats->n_errors++];
	*error = (struct stats_error){ .row = row, .n = 1 };
	snprintf(error->name, sizeof(error->name), "%s", name);
}

void stats_quota(struct stats *stats, const char *name)
{
	for (size_t i = 0; i < STATS_N_QUOTAS; i++)
		stats->quotas[i] += strcmp(stats_quota_names[i], name) == 0;
}
