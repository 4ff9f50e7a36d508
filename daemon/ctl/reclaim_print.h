/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umemctl reclaim shows of an interval.
 */
#ifndef CTL_RECLAIM_PRINT_H
#define CTL_RECLAIM_PRINT_H

#include "daemon/ctl/ctl.h"
#include "lib/op/reclaim.h"

/**
 * struct reclaim_total - sums over a run.
 * @intervals, @ns, @reclaimed_bytes, @refaulted_bytes, @cpu_ns: so far.
 */
struct reclaim_total {
	uint64_t intervals;
	uint64_t ns;
	uint64_t reclaimed_bytes;
	uint64_t refaulted_bytes;
	uint64_t cpu_ns;
};

/** reclaim_count - add an interval. */
void reclaim_count(struct reclaim_total *total, const struct umem_reclaim_report *report);

/** reclaim_print_events - who came and went. Return: 0 or -errno. */
int reclaim_print_events(const struct umem_reclaim_report *report, bool json);

/** reclaim_print_head - the head of the table. */
void reclaim_print_head(void);

/** reclaim_print_interval - one interval. Return: 0 or -errno. */
int reclaim_print_interval(const struct umem_reclaim_report *report, bool json);

/** reclaim_print_done - the end of a run. @last: NULL without an interval. Return: 0 or -errno. */
int reclaim_print_done(const struct reclaim_total *total,
	const struct umem_reclaim_report *last, bool json);

#endif
