// SPDX-License-Identifier: LGPL-2.1-or-later
/* io.umemd.Reclaim from the client's side. */
#include <errno.h>
#include <stdlib.h>

#include "lib/client/client.h"

#define RECLAIM "io.umemd.Reclaim."

static struct umem_json *json_policy(const struct umem_client_policy *policy)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "interval_ns", policy->interval_ns },
		{ "pressure_max_ppm", policy->pressure_max_ppm },
		{ "rate_bytes_s", policy->rate_bytes_s },
		{ "floor_bytes", policy->floor_bytes },
		{ "cpu_max_ppm", policy->cpu_max_ppm },
		{ "age_ns", policy->age_ns },
		{ "seed", policy->seed },
	};
	struct umem_json *json = umem_json_object();

	if (policy->policy)
		umem_json_set_text(json, "policy", policy->policy);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(numbers); i++)
		if (numbers[i].value)
			umem_json_set_u64(json, numbers[i].key,
				umem_min_u64(numbers[i].value, INT64_MAX));
	if (policy->refault_max_ppm_min)
		umem_json_set_u64(json, "refault_max_ppm_min",
			policy->refault_max_ppm_min == UINT64_MAX ? 0 :
				umem_min_u64(policy->refault_max_ppm_min, INT64_MAX));
	if (policy->swap_left_bytes != UINT64_MAX)
		umem_json_set_u64(json, "swap_left_bytes",
			umem_min_u64(policy->swap_left_bytes, INT64_MAX));
	umem_json_set_bool(json, "dry_run", policy->dry_run);
	return json;
}

int umem_client_reclaim_set(struct umem_client *client, const char *target,
	const struct umem_client_policy *policy, struct umem_note *note)
{
	struct umem_json *parameters = umem_client_for_target(target);
	struct umem_client_answer answer;
	int r;

	if (policy)
		umem_json_set_consume(parameters, "policy", json_policy(policy));
	r = umem_client_call(client, RECLAIM "Set", parameters, NULL, 0, &answer, note);
	if (r == 0)
		umem_client_answer_deinit(&answer);
	return r;
}

static void read_seen(const struct umem_json *json, struct umem_client_reclaim_seen *ret_seen)
{
	*ret_seen = (struct umem_client_reclaim_seen){
		.resident_bytes = umem_client_get_u64(json, "resident_bytes"),
		.swapped_bytes = umem_client_get_u64(json, "swapped_bytes"),
		.out_bytes = umem_client_get_u64(json, "out_bytes"),
		.trial_bytes = umem_client_get_u64(json, "trial_bytes"),
		.reclaimed_bytes = umem_client_get_u64(json, "reclaimed_bytes"),
		.refused_bytes = umem_client_get_u64(json, "refused_bytes"),
		.refaulted_bytes = umem_client_get_u64(json, "refaulted_bytes"),
		.refault_ppm_min = umem_client_get_u64(json, "refault_ppm_min"),
		.refault_out_ppm_min = umem_client_get_u64(json, "refault_out_ppm_min"),
		.pressure_known = umem_json_type(umem_json_get(json, "pressure_ppm")) ==
			UMEM_JSON_INT,
		.pressure_ppm = umem_client_get_u64(json, "pressure_ppm"),
		.cold_bytes = umem_client_get_u64(json, "cold_bytes"),
		.want_bytes = umem_client_get_u64(json, "want_bytes"),
		.sample_bytes = umem_client_get_u64(json, "sample_bytes"),
		.try_bytes = umem_client_get_u64(json, "try_bytes"),
		.in_use_max_ppm = umem_client_get_u64(json, "in_use_max_ppm"),
		.confidence_ppm = umem_client_get_u64(json, "confidence_ppm"),
		.decision = umem_json_get_text(json, "decision", ""),
		.reason = umem_json_get_text(json, "reason", ""),
	};
}

/* Who hears of intervals. */
struct hearing {
	int (*each)(void *user, const struct umem_client_interval *interval);
	void *user;
};

static int tell(const struct hearing *hearing, const struct umem_json *json)
{
	const struct umem_json *list = umem_json_get(json, "events");
	size_t n = umem_json_count(list);
	UMEM_FREE const char **events = calloc(n + 1, sizeof(*events));
	struct umem_client_interval interval = {
		.interval = umem_client_get_u64(json, "interval"),
		.at_ns = umem_client_get_u64(json, "at_ns"),
		.interval_ns = umem_client_get_u64(json, "interval_ns"),
		.cpu_ppm = umem_client_get_u64(json, "cpu_ppm"),
		.swap_free_bytes = umem_json_get(json, "swap_free_bytes") ?
			umem_client_get_u64(json, "swap_free_bytes") : UINT64_MAX,
		.stored_ppm = umem_client_get_u64(json, "stored_ppm"),
		.has_target = umem_json_type(umem_json_get(json, "target")) == UMEM_JSON_OBJECT,
		.events = events,
		.n_events = n,
	};

	if (!events)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		events[i] = umem_json_as_text(umem_json_item(list, i), "");
	read_seen(umem_json_get(json, "sum"), &interval.sum);
	read_seen(umem_json_get(json, "target"), &interval.target);
	return hearing->each(hearing->user, &interval);
}

static int on_reply(void *user, const struct umem_json *parameters)
{
	const struct umem_json *interval = umem_json_get(parameters, "interval");
	const struct hearing *hearing = user;

	return interval ? tell(hearing, interval) : hearing->each(hearing->user, NULL);
}

int umem_client_reclaim_each(struct umem_client *client, const char *target,
	int (*each)(void *user, const struct umem_client_interval *interval), void *user,
	struct umem_note *note)
{
	struct hearing hearing = { each, user };
	struct umem_client_answer answer;
	int r = umem_client_call_more(client, RECLAIM "Status", umem_client_for_target(target),
		NULL, 0, on_reply, &hearing, &answer, note);

	if (r == 0)
		umem_client_answer_deinit(&answer);
	return r;
}

/* One rule. Return: 0, what @each returned, -ENOMEM. */
static int tell_rule(const struct umem_json *item,
	int (*each)(void *user, const struct umem_client_rule *rule), void *user)
{
	const struct umem_json *list = umem_json_get(item, "refusals");
	const size_t n = umem_json_count(list);
	UMEM_FREE struct umem_client_refusal *refusals = calloc(n + 1, sizeof(*refusals));

	if (!refusals)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct umem_json *refusal = umem_json_item(list, i);

		refusals[i].pid = (int)umem_json_get_int(refusal, "pid", 0);
		refusals[i].reason = umem_json_get_text(refusal, "reason", "");
	}
	return each(user, &(struct umem_client_rule){
		.rule = umem_json_get_text(item, "rule", ""),
		.policy = umem_json_get_text(item, "policy", ""),
		.matched = umem_client_get_u64(item, "matched"),
		.applied = umem_client_get_u64(item, "applied"),
		.refused = umem_client_get_u64(item, "refused"),
		.refusals = refusals,
		.n_refusals = n,
	});
}

int umem_client_each_rule(struct umem_client *client,
	int (*each)(void *user, const struct umem_client_rule *rule), void *user,
	struct umem_note *note)
{
	struct umem_client_answer answer;
	const struct umem_json *list, *item;
	int r = umem_client_call(client, RECLAIM "Rules", umem_json_object(), NULL, 0, &answer,
		note);

	if (r != 0)
		return r;
	list = umem_json_get(answer.reply.parameters, "rules");
	for (size_t i = 0; (item = umem_json_item(list, i)) && r == 0; i++)
		r = tell_rule(item, each, user);
	umem_client_answer_deinit(&answer);
	return r;
}
