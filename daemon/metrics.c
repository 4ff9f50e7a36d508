// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Metrics of umemd.
 *
 * Theory of operation
 *
 * A family of metrics is a row of a table: its name, its help, and a function that writes
 * its samples out of what is counted. Families of single targets have a sample for each
 * target that is shown, by its name (umemd_target_info tells which process that is),
 * and one for all others together ("other"), if there ever was one.
 *
 * Names of processes are chosen by anybody: they are in one family only, and escaped there.
 * There is no label with more values than a configuration or this source allows.
 */
#include "daemon/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/expose.h"
#include "daemon/http.h"
#include "daemon/log.h"
#include "daemon/methods.h"
#include "daemon/metrics_inner.h"
#include "daemon/reclaim.h"
#include "daemon/session.h"
#include "lib/base/attr.h"

/* Shown one by one, unless the configuration says: everybody can read a loopback socket. */
#define SHOWN_PATH     100
#define SHOWN_LOOPBACK 0

const char *const metrics_whys[STATS_N_WHYS] = { "written", "new", "punched", "sharer",
	"pinned" };
const char *const metrics_moves[STATS_N_MOVES] = { "out", "in" };
static const char *const hows[STATS_N_HOWS] = { "attached", "handed_off", "opened", "restored" };
static const char *const ends[STATS_N_ENDS] = { "detached", "process_ended", "failed" };
static const char *const deaths[STATS_N_DEATHS] = { "died", "timeout", "misbehaved" };
static const char *const drops[STATS_N_DROPS] = { "slow_reader", "no_message", "too_many" };

/* A sample for each of @n values of one label. */
static void each_label(struct expose *x, const char *label, const char *const *names,
	const uint64_t *values, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		expose_label(x, label, names[i]);
		expose_u64(x, values[i]);
	}
}

static void build(struct expose *x, struct metrics *m)
{
	expose_label(x, "version", UMEMD_VERSION);
	expose_u64(x, 1);
}

static void targets(struct expose *x, struct metrics *m)
{
	static const enum session_state states[] = { SESSION_STARTING, SESSION_READY,
		SESSION_TRACKING, SESSION_RECOVERING, SESSION_DETACHING, SESSION_FAILED,
		SESSION_ENDED };
	const struct session *s;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(states); i++) {
		const char *name = session_state_name(states[i]);
		uint64_t n = 0;

		/* Some states have the same name. */
		LIST_FOREACH(s, &m->manager->sessions, entry)
			n += strcmp(session_state_name(s->state), name) == 0;
		expose_label(x, "state", name);
		expose_u64(x, n);
	}
}

static void targets_hidden(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->n_hidden);
}

static void targets_limit(struct expose *x, struct metrics *m)
{
	expose_u64(x, metrics_limit(&m->manager->config));
}

static void started(struct expose *x, struct metrics *m)
{
	each_label(x, "how", hows, m->stats->started, STATS_N_HOWS);
}

static void ended(struct expose *x, struct metrics *m)
{
	each_label(x, "why", ends, m->stats->ended, STATS_N_ENDS);
}

static void rounds(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->all.rounds);
}

static void recovered(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->all.recovered);
}

static void incomplete(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->all.incomplete);
}

static void dirty(struct expose *x, struct metrics *m)
{
	each_label(x, "why", metrics_whys, m->stats->all.dirty_bytes, STATS_N_WHYS);
}

static void gone(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->all.gone_bytes);
}

static void times(struct expose *x, const struct stats_times *t)
{
	expose_histogram(x, stats_bounds_ns, t->n, STATS_BUCKETS, t->sum_ns);
}

static void scan_times(struct expose *x, struct metrics *m)
{
	times(x, &m->stats->scans);
}

static void round_times(struct expose *x, struct metrics *m)
{
	times(x, &m->stats->rounds);
}

static void stop_times(struct expose *x, struct metrics *m)
{
	times(x, &m->stats->stops);
}

static void worker_deaths(struct expose *x, struct metrics *m)
{
	each_label(x, "why", deaths, m->stats->deaths, STATS_N_DEATHS);
}

static void connections(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->manager->n_peers);
}

static void connections_total(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->connections);
}

static void connections_dropped(struct expose *x, struct metrics *m)
{
	each_label(x, "why", drops, m->stats->drops, STATS_N_DROPS);
}

static void label_method(struct expose *x, uint64_t row)
{
	char name[2 * UMEM_METHOD_MAX];
	size_t n;
	const struct method *table = methods_table(&n);

	if (row < n)
		snprintf(name, sizeof(name), "%s.%s", table[row].interface, table[row].name);
	expose_label(x, "method", row < n ? name : "unknown");
}

static void calls(struct expose *x, struct metrics *m)
{
	size_t n;

	methods_table(&n);
	for (uint64_t i = 0; i <= STATS_METHODS; i++) {
		if (i >= n && i != STATS_METHODS)
			continue;
		label_method(x, i);
		expose_u64(x, m->stats->calls[i]);
	}
}

static void call_errors(struct expose *x, struct metrics *m)
{
	for (uint64_t i = 0; i < m->stats->n_errors; i++) {
		label_method(x, m->stats->errors[i].row);
		expose_label(x, "error", m->stats->errors[i].name);
		expose_u64(x, m->stats->errors[i].n);
	}
}

static void moved(struct expose *x, struct metrics *m)
{
	each_label(x, "direction", metrics_moves, m->stats->all.moved_bytes, STATS_N_MOVES);
}

static void reclaimed(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->all.reclaimed_bytes);
}

static void refaulted(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->all.refaulted_bytes);
}

static void decisions(struct expose *x, struct metrics *m)
{
	each_label(x, "decision", stats_decision_names, m->stats->decisions, STATS_N_DECISIONS);
}

static void policies(struct expose *x, struct metrics *m)
{
	static const char *const names[] = { "probe", "age", "pressure" };
	const struct session *s;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(names); i++) {
		uint64_t n = 0;

		LIST_FOREACH(s, &m->manager->sessions, entry)
			n += s->reclaim && strcmp(reclaim_name(s->reclaim), names[i]) == 0;
		expose_label(x, "policy", names[i]);
		expose_u64(x, n);
	}
}

static void denials(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->stats->denials);
}

static void quotas(struct expose *x, struct metrics *m)
{
	each_label(x, "quota", stats_quota_names, m->stats->quotas, STATS_N_QUOTAS);
}

static void scrapes(struct expose *x, struct metrics *m)
{
	expose_u64(x, m->scrapes);
}

static const struct metrics_family families[] = {
	{ EXPOSE_GAUGE, "umemd_build_info", NULL, build, "The version of umemd; always 1." },
	{ EXPOSE_GAUGE, "umemd_targets", NULL, targets, "Targets by state." },
	{ EXPOSE_GAUGE, "umemd_targets_hidden", NULL, targets_hidden,
		"Targets that have no metrics of their own, but are in \"other\"." },
	{ EXPOSE_GAUGE, "umemd_targets_shown_limit", NULL, targets_limit,
		"How many targets may have metrics of their own." },
	{ EXPOSE_COUNTER, "umemd_targets_started", NULL, started, "Targets that came in, by how." },
	{ EXPOSE_COUNTER, "umemd_targets_ended", NULL, ended, "Targets that ended, by why." },
	{ EXPOSE_COUNTER, "umemd_rounds", NULL, rounds, "Rounds of dirty tracking." },
	{ EXPOSE_COUNTER, "umemd_rounds_recovered", NULL, recovered,
		"Rounds behind the death of a worker, which may hold more than changed." },
	{ EXPOSE_COUNTER, "umemd_rounds_incomplete", NULL, incomplete,
		"Rounds that may miss a change, and said so." },
	{ EXPOSE_COUNTER, "umemd_dirty_bytes", "bytes", dirty,
		"Memory that rounds reported, by why." },
	{ EXPOSE_COUNTER, "umemd_gone_bytes", "bytes", gone,
		"Memory that was mapped no longer when a round was made." },
	{ EXPOSE_COUNTER, "umemd_moved_bytes", "bytes", moved,
		"Memory that was put out or brought in because somebody asked for it." },
	{ EXPOSE_GAUGE, "umemd_targets_reclaimed", NULL, policies,
		"Targets that have a policy of reclaim, by policy." },
	{ EXPOSE_COUNTER, "umemd_reclaimed_bytes", "bytes", reclaimed,
		"Memory that policies of reclaim put out." },
	{ EXPOSE_COUNTER, "umemd_refaulted_bytes", "bytes", refaulted,
		"Memory that came back of what policies had put out." },
	{ EXPOSE_COUNTER, "umemd_reclaim_decisions", NULL, decisions,
		"What policies of reclaim decided, one for each interval." },
	{ EXPOSE_HISTOGRAM, "umemd_scan_seconds", "seconds", scan_times,
		"How long workers took for a round." },
	{ EXPOSE_HISTOGRAM, "umemd_round_seconds", "seconds", round_times,
		"From asking a worker for a round to its answer." },
	{ EXPOSE_HISTOGRAM, "umemd_stop_seconds", "seconds", stop_times,
		"How long a thread of a target was stopped to attach." },
	{ EXPOSE_COUNTER, "umemd_worker_deaths", NULL, worker_deaths,
		"Workers that ended and were not to, by why; each is replaced." },
	{ EXPOSE_GAUGE, "umemd_connections", NULL, connections, "Connections of clients." },
	{ EXPOSE_COUNTER, "umemd_connections_accepted", NULL, connections_total,
		"Connections that clients made." },
	{ EXPOSE_COUNTER, "umemd_connections_dropped", NULL, connections_dropped,
		"Connections that umemd ended, by why." },
	{ EXPOSE_COUNTER, "umemd_calls", NULL, calls, "Calls by method." },
	{ EXPOSE_COUNTER, "umemd_call_errors", NULL, call_errors,
		"Calls that failed, by method and error." },
	{ EXPOSE_COUNTER, "umemd_denials", NULL, denials, "Calls that were not permitted." },
	{ EXPOSE_COUNTER, "umemd_quota_refusals", NULL, quotas, "What was refused, by quota." },
	{ EXPOSE_COUNTER, "umemd_scrapes", NULL, scrapes, "Texts like this that were made." },
};

static void write_table(struct metrics *m, struct expose *x, const struct metrics_family *v,
	size_t n)
{
	for (size_t i = 0; i < n; i++) {
		expose_family(x, v[i].type, v[i].name, v[i].unit, v[i].help);
		v[i].write(x, m);
	}
}

int metrics_text(struct metrics *m, bool open, char **ret_text, size_t *ret_len_bytes)
{
	const struct metrics_family *v;
	struct expose x;
	size_t n;

	m->scrapes++;
	expose_begin(&x, open);
	write_table(m, &x, families, UMEM_ARRAY_LEN(families));
	v = metrics_of_processes(&n);
	write_table(m, &x, v, n);
	v = metrics_of_targets(&n);
	write_table(m, &x, v, n);
	return expose_end(&x, ret_text, ret_len_bytes);
}

/* The older form is for those only who ask for it and do not know the other one. */
static int make_page(void *user, const char *accept, const char **ret_type, char **ret_text,
	size_t *ret_len_bytes)
{
	bool open = strstr(accept, "application/openmetrics-text") || !strstr(accept, "text/plain");

	*ret_type = open ? EXPOSE_OPEN : EXPOSE_PLAIN;
	return metrics_text(user, open, ret_text, ret_len_bytes);
}

uint64_t metrics_limit(const struct config *config)
{
	if (config->metrics_targets != METRICS_AUTO)
		return config->metrics_targets;
	return config->metrics[0] == '/' ? SHOWN_PATH : SHOWN_LOOPBACK;
}

struct metrics *metrics_new(struct manager *manager)
{
	const struct config *config = &manager->config;
	struct http_page page = { .path = "/metrics", .make = make_page };
	struct umem_note note = { 0 };
	struct metrics *m;
	int r;

	if (!config->metrics[0])
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m) {
		log_error("metrics: out of memory; nothing is told");
		return NULL;
	}
	*m = (struct metrics){ .manager = manager, .stats = &manager->stats };
	page.user = m;
	r = http_new(manager->loop, config->metrics, (gid_t)config->admin_gid, &page, &m->http,
		&note);
	if (r < 0) {
		log_error("metrics: %s; umemd serves without them", note.text);
		return metrics_free(m);
	}
	log_notice("metrics at %s", config->metrics);
	return m;
}

struct metrics *metrics_free(struct metrics *m)
{
	if (!m)
		return NULL;
	http_free(m->http);
	free(m);
	return NULL;
}
