/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is counted (stats.h), for monitoring: as OpenMetrics over HTTP, where the
 * configuration says. See umemd-metrics(7).
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "daemon/config.h"
#include "daemon/manager.h"

/** METRICS_AUTO - for Targets of [Metrics]: as many as the kind of socket suggests. */
#define METRICS_AUTO UINT64_MAX

/**
 * metrics_new - serve them.
 *
 * What fails is told to the log, and nothing is served: targets are more important.
 * Return: NULL for that, and where no address is given.
 */
struct metrics *metrics_new(struct manager *manager);

/** metrics_free - NULL is fine. Return: NULL. */
struct metrics *metrics_free(struct metrics *metrics);

/** metrics_limit - how many targets are told about one by one. */
uint64_t metrics_limit(const struct config *config);

/**
 * metrics_text - all of them now.
 * @open: as OpenMetrics, else in the older form.
 * Return: 0 or -ENOMEM.
 */
int metrics_text(struct metrics *metrics, bool open, char **ret_text, size_t *ret_len_bytes);

#endif
