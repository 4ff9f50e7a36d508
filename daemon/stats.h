/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umemd counts of its work: of all targets together, of each, and of those together
 * that are not told about one by one. Numbers only; metrics.h tells them to others.
 *
 * Whether a target is told about by itself is settled when it comes in and stays so, so
 * that no sum ever gets smaller when another one ends.
 */
#ifndef DAEMON_STATS_H
#define DAEMON_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/session_state.h"
#include "lib/base/json.h"

/** STATS_BUCKETS - of a histogram, without the one that takes all. */
#define STATS_BUCKETS 18u

/** STATS_ERRORS - pairs of a method and an error that are told apart. */
#define STATS_ERRORS 256u

/** STATS_METHODS - methods that are counted one by one; as a row: what is no method. */
#define STATS_METHODS 64u

/** stats_bounds_ns - upper bounds of the buckets. */
extern const uint64_t stats_bounds_ns[STATS_BUCKETS];

/** struct stats_times - a histogram. @n: by bucket, the last beyond all bounds. @sum_ns: of all. */
struct stats_times {
	uint64_t n[STATS_BUCKETS + 1];
	uint64_t sum_ns;
};

/** enum stats_why - why pages are dirty, as Round of io.umemd.Dirty has it. */
enum stats_why {
	STATS_WRITTEN,
	STATS_NEW,
	STATS_PUNCHED,
	STATS_SHARER,
	STATS_PINNED,
	STATS_N_WHYS,
};

/** enum stats_move - which way memory is moved when somebody asks for it. */
enum stats_move { STATS_OUT, STATS_IN, STATS_N_MOVES };

/** enum stats_decision - of a policy of reclaim, as io.umemd.Reclaim has them. */
enum stats_decision { STATS_GROW, STATS_HOLD, STATS_BACK_OFF, STATS_STOP, STATS_N_DECISIONS };

/** stats_decision_names - their words. */
extern const char *const stats_decision_names[STATS_N_DECISIONS];

/**
 * struct stats_sums - what only grows, of a target or of several.
 * @rounds: that were made. @recovered: of these, behind the death of a worker.
 * @incomplete: of these, that may miss a change, and say so.
 * @dirty_bytes: by why. @gone_bytes: mapped no longer.
 * @scan_ns: that the collects took in their workers.
 * @moved_bytes: that PageOut and PageIn moved.
 * @reclaimed_bytes: that policies of reclaim put out. @refaulted_bytes: that came back of it.
 * @deaths: of workers.
 */
struct stats_sums {
	uint64_t rounds;
	uint64_t recovered;
	uint64_t incomplete;
	uint64_t dirty_bytes[STATS_N_WHYS];
	uint64_t gone_bytes;
	uint64_t scan_ns;
	uint64_t moved_bytes[STATS_N_MOVES];
	uint64_t reclaimed_bytes;
	uint64_t refaulted_bytes;
	uint64_t deaths;
};

/**
 * struct stats_target - of one target.
 * @sums: since it came in, or since umemd was started again.
 * @hidden: it is not told about by itself.
 * @tracked_bytes: while it is tracked; else 0.
 * @asked_ns: when its worker was last called.
 * @last_ns: when the last round was made; 0 for none, and then what follows is 0.
 * @last_dirty_bytes, @last_interval_ns, @last_scan_ns: of it.
 */
struct stats_target {
	struct stats_sums sums;
	bool hidden;
	uint64_t tracked_bytes;
	uint64_t asked_ns;
	uint64_t last_ns;
	uint64_t last_dirty_bytes;
	uint64_t last_interval_ns;
	uint64_t last_scan_ns;
};

/** enum stats_how - how targets come in. */
enum stats_how { STATS_ATTACHED, STATS_HANDED_OFF, STATS_OPENED, STATS_RESTORED, STATS_N_HOWS };

/** enum stats_end - how they end. */
enum stats_end { STATS_DETACHED, STATS_PROCESS_ENDED, STATS_FAILED, STATS_N_ENDS };

/** enum stats_death - how workers end that were not to. */
enum stats_death { STATS_DIED, STATS_TIMEOUT, STATS_MISBEHAVED, STATS_N_DEATHS };

/** enum stats_drop - why connections are ended by umemd. */
enum stats_drop { STATS_SLOW_READER, STATS_NO_MESSAGE, STATS_TOO_MANY, STATS_N_DROPS };

/** enum stats_quota - what there may be too much of, in the order of stats_quota_names. */
enum stats_quota {
	STATS_CONNECTIONS,
	STATS_TARGETS,
	STATS_USER_CONNECTIONS,
	STATS_USER_TARGETS,
	STATS_USER_REQUESTS,
	STATS_USER_DESCRIPTORS,
	STATS_USER_MEMORY,
	STATS_USER_RATE,
	STATS_N_QUOTAS,
};

/** stats_quota_names - as umemd.conf(5) calls them. */
extern const char *const stats_quota_names[STATS_N_QUOTAS];

/** struct stats_error - errors of one name that calls of one method, by row, ended with. */
struct stats_error {
	uint64_t row;
	char name[32];
	uint64_t n;
};

/**
 * struct stats - of umemd; all zero at first.
 * @all: of all targets there ever were. @others: of those that are hidden.
 * @n_shown, @n_hidden: targets that are there.
 * @hid: there ever was a hidden one.
 * @scans: of rounds, in their workers. @rounds: from asking a worker to its answer.
 * @stops: of targets, to attach.
 * @calls: by row of the table of methods; the last is for what is no method.
 * @errors, @n_errors: that calls ended with.
 * @connections: that there ever were. Others by their enum.
 */
struct stats {
	struct stats_sums all;
	struct stats_sums others;
	uint64_t n_shown;
	uint64_t n_hidden;
	bool hid;
	struct stats_times scans;
	struct stats_times rounds;
	struct stats_times stops;
	uint64_t started[STATS_N_HOWS];
	uint64_t ended[STATS_N_ENDS];
	uint64_t deaths[STATS_N_DEATHS];
	uint64_t decisions[STATS_N_DECISIONS];
	uint64_t connections;
	uint64_t drops[STATS_N_DROPS];
	uint64_t denials;
	uint64_t quotas[STATS_N_QUOTAS];
	uint64_t calls[STATS_METHODS + 1];
	struct stats_error errors[STATS_ERRORS];
	uint64_t n_errors;
};

/** stats_time - one more of a histogram. */
void stats_time(struct stats_times *times, uint64_t ns);

/**
 * stats_came - a target came in.
 * @limit: so many are told about one by one.
 */
void stats_came(struct stats *stats, struct stats_target *target, enum stats_how how,
	uint64_t limit);

/** stats_left - it is forgotten. */
void stats_left(struct stats *stats, const struct stats_target *target);

/** stats_moved - a target goes from one state to another. */
void stats_moved(struct stats *stats, enum session_state from, enum session_state to);

/** stats_asked - a worker is called. */
void stats_asked(struct stats_target *target);

/** stats_answered - it answered @method of io.umemd.Worker with @parameters. */
void stats_answered(struct stats *stats, struct stats_target *target, const char *method,
	const struct umem_json *parameters);

/** stats_died - a worker is no more. @how: as link.h tells it. */
void stats_died(struct stats *stats, struct stats_target *target, const char *how);

/** stats_called - the method of a row of the table is called, or none (STATS_METHODS). */
void stats_called(struct stats *stats, uint64_t row);

/** stats_error - a call of it ends with error @name, without its interface. */
void stats_error(struct stats *stats, uint64_t row, const char *name);

/** stats_quota - something was refused; @name as in umemd.conf(5). */
void stats_quota(struct stats *stats, const char *name);

#endif
