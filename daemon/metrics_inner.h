/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of metrics share: see metrics.h, and metrics.c for how it works. */
#ifndef DAEMON_METRICS_INNER_H
#define DAEMON_METRICS_INNER_H

#include "daemon/expose.h"
#include "daemon/metrics.h"

struct http;

/**
 * struct metrics - who tells them.
 * @manager: about whom. @stats: what is counted there.
 * @http: where.
 * @scrapes: texts that were made.
 * @workers_bytes: of memory that the workers have, as of @workers_ns.
 * @n_workers: then.
 */
struct metrics {
	struct manager *manager;
	const struct stats *stats;
	struct http *http;
	uint64_t scrapes;
	uint64_t workers_bytes;
	uint64_t workers_ns;
	uint64_t n_workers;
};

/**
 * struct metrics_family - a row.
 * @type, @name, @unit, @help: as of expose_family().
 * @write: its samples.
 */
struct metrics_family {
	enum expose_type type;
	const char *name;
	const char *unit;
	void (*write)(struct expose *x, struct metrics *m);
	const char *help;
};

/** metrics_whys - why pages are dirty, as a label. */
extern const char *const metrics_whys[STATS_N_WHYS];

/** metrics_moves - which way memory is moved, as a label. */
extern const char *const metrics_moves[STATS_N_MOVES];

/** metrics_of_processes - families about umemd itself and its workers. */
const struct metrics_family *metrics_of_processes(size_t *ret_n);

/** metrics_of_targets - families about single targets. */
const struct metrics_family *metrics_of_targets(size_t *ret_n);

#endif
