// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Proactive reclaim of the target: the verbs Reclaim, ReclaimLook, ReclaimWork, Unreclaim.
 *
 * The manager keeps the time. What is known of the target's memory is this process's: a
 * worker that follows another one begins anew, and so nothing is journalled.
 */
#include <errno.h>
#include <string.h>

#include "daemon/worker/worker.h"
#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/mem/target.h"

#define INTERVAL_MIN_NS 100000000

/* A number of a policy: where it goes, and what it is at least. */
struct setting {
	const char *key;
	uint64_t *to;
	int64_t least;
};

static int read_settings(const struct umem_json *policy, const struct setting *v, size_t n,
	struct umem_note *note)
{
	for (size_t i = 0; i < n; i++) {
		int64_t value = umem_json_get_int(policy, v[i].key, INT64_MIN);

		if (value == INT64_MIN)
			continue;
		if (value < v[i].least)
			return umem_note_set(note, -EINVAL, 0, "policy.%s: less than %lld",
				v[i].key, (long long)v[i].least);
		*v[i].to = (uint64_t)value;
	}
	return 0;
}

static enum umem_policy policy_of(const char *word)
{
	return strcmp(word, "age") == 0 ? UMEM_POLICY_AGE :
		strcmp(word, "pressure") == 0 ? UMEM_POLICY_PRESSURE : UMEM_POLICY_PROBE;
}

static int read_policy(const struct umem_json *policy, struct umem_reclaim_options *ret_options,
	struct umem_note *note)
{
	struct umem_reclaim_options o = {
		.policy = policy_of(umem_json_get_text(policy, "policy", "probe")),
		.interval_ns = 5000000000u,
		.refault_max_ppm_min = 2000,
		.pressure_max_ppm = 1000,
		.limits = UMEM_LIMITS_CONF_DEFAULT,
		.seed = umem_now_ns(),
		.dry_run = umem_json_get_bool(policy, "dry_run", false),
	};
	const struct setting settings[] = {
		{ "interval_ns", &o.interval_ns, INTERVAL_MIN_NS },
		{ "refault_max_ppm_min", &o.refault_max_ppm_min, 0 },
		{ "pressure_max_ppm", &o.pressure_max_ppm, 1 },
		{ "rate_bytes_s", &o.limits.rate_bytes_s, 0 },
		{ "floor_bytes", &o.limits.floor_bytes, 0 },
		{ "swap_left_bytes", &o.limits.swap_min_bytes, 0 },
		{ "cpu_max_ppm", &o.limits.cpu_max_ppm, 1 },
		{ "age_ns", &o.age_ns, 1 },
		{ "seed", &o.seed, 0 },
	};
	int r = read_settings(policy, settings, UMEM_ARRAY_LEN(settings), note);

	if (r < 0)
		return r;
	if (o.refault_max_ppm_min == 0)
		o.refault_max_ppm_min = UINT64_MAX;
	o.machine_pressure = o.policy == UMEM_POLICY_PRESSURE ||
		umem_json_type(umem_json_get(policy, "pressure_max_ppm")) == UMEM_JSON_INT;
	*ret_options = o;
	return 0;
}

static void end(struct worker *w)
{
	w->reclaim = umem_reclaim_free(w->reclaim);
	w->reclaim_watches = false;
}

int worker_reclaim(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	struct umem_reclaim_options options;
	int r = read_policy(umem_json_get(parameters, "policy"), &options, &answer->note);

	if (r < 0)
		return r;
	end(w);
	if (options.policy == UMEM_POLICY_AGE && w->watch)
		return umem_note_set(&answer->note, -EBUSY, 0, "it is tracked, and the policy age "
			"would have to watch it, too; take the policy probe");
	w->reclaim_pid = umem_target_pid(w->target);
	options.pids = &w->reclaim_pid;
	options.n_pids = 1;
	options.target = w->target;
	r = umem_reclaim_new(&options, &w->reclaim, &answer->note);
	w->reclaim_watches = r == 0 && options.policy == UMEM_POLICY_AGE;
	return r;
}

static struct umem_json *json_seen(const struct umem_reclaim_seen *seen)
{
	static const char *const decisions[UMEM_N_RECLAIM_DECISIONS] = {
		[UMEM_RECLAIM_GROW] = "grow",
		[UMEM_RECLAIM_HOLD] = "hold",
		[UMEM_RECLAIM_BACK_OFF] = "back_off",
		[UMEM_RECLAIM_STOP] = "stop",
	};
	struct umem_json *json = umem_json_object();

	umem_json_set_u64(json, "resident_bytes", seen->resident_bytes);
	umem_json_set_u64(json, "swapped_bytes", seen->swapped_bytes);
	umem_json_set_u64(json, "out_bytes", seen->out_bytes);
	umem_json_set_u64(json, "trial_bytes", seen->trial_bytes);
	umem_json_set_u64(json, "reclaimed_bytes", seen->reclaimed_bytes);
	umem_json_set_u64(json, "refused_bytes", seen->refused_bytes);
	umem_json_set_u64(json, "refaulted_bytes", seen->refaulted_bytes);
	umem_json_set_u64(json, "refault_ppm_min", seen->refault_ppm_min);
	umem_json_set_u64(json, "refault_out_ppm_min", seen->refault_out_ppm_min);
	if (seen->pressure_known)
		umem_json_set_u64(json, "pressure_ppm", seen->pressure_ppm);
	umem_json_set_u64(json, "cold_bytes", seen->cold_bytes);
	umem_json_set_u64(json, "want_bytes", seen->want_bytes);
	umem_json_set_u64(json, "sample_bytes", seen->sample_bytes);
	umem_json_set_u64(json, "try_bytes", seen->try_bytes);
	umem_json_set_u64(json, "in_use_max_ppm", seen->bound_ppm);
	umem_json_set_u64(json, "confidence_ppm", seen->confidence_ppm);
	umem_json_set_text(json, "decision", decisions[seen->decision]);
	umem_json_set_text(json, "reason", seen->reason ? seen->reason : "");
	return json;
}

static struct umem_json *json_interval(const struct umem_reclaim_report *report)
{
	struct umem_json *json = umem_json_object(), *list = umem_json_array();

	umem_json_set_u64(json, "interval", report->interval);
	umem_json_set_u64(json, "at_ns", report->at_ns);
	umem_json_set_u64(json, "interval_ns", report->interval_ns);
	umem_json_set_u64(json, "cpu_ppm", report->cpu_ppm);
	if (report->swap_free_bytes != UINT64_MAX)
		umem_json_set_u64(json, "swap_free_bytes", report->swap_free_bytes);
	umem_json_set_u64(json, "stored_ppm", report->stored_ppm);
	umem_json_set_consume(json, "sum", json_seen(&report->sum));
	if (report->n_targets)
		umem_json_set_consume(json, "target", json_seen(&report->targets[0]));
	for (size_t i = 0; i < report->n_events; i++)
		umem_json_append_consume(list, umem_json_text(report->events[i].text));
	umem_json_set_consume(json, "events", list);
	return json;
}

static int none(struct answer *answer)
{
	return umem_note_set(&answer->note, -ENOENT, 0, "no policy of reclaim is set");
}

int worker_reclaim_look(struct worker *w, const struct umem_json *parameters,
	struct answer *answer)
{
	const struct umem_reclaim_report *report;
	int r;

	if (!w->reclaim)
		return none(answer);
	r = umem_reclaim_look(w->reclaim, &report, &answer->note);
	if (r == UMEM_GONE) {
		/* It may be no more than that its pages may not be put out: to begin anew tells. */
		end(w);
		return -ENOENT;
	}
	if (r != 0)
		return r;
	answer->parameters = umem_json_object();
	umem_json_set_consume(answer->parameters, "interval", json_interval(report));
	return 0;
}

int worker_reclaim_work(struct worker *w, const struct umem_json *parameters,
	struct answer *answer)
{
	int64_t max_bytes = umem_json_get_int(parameters, "max_bytes", 0);
	bool more;
	int r;

	if (!w->reclaim)
		return none(answer);
	r = umem_reclaim_work(w->reclaim, max_bytes > 0 ? (uint64_t)max_bytes : 0, &more);
	if (r != 0)
		return r;
	answer->parameters = umem_json_object();
	umem_json_set_bool(answer->parameters, "more", more);
	return 0;
}

int worker_unreclaim(struct worker *w, const struct umem_json *parameters,
	struct answer *answer)
{
	end(w);
	return 0;
}
