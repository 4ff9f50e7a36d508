// SPDX-License-Identifier: LGPL-2.1-or-later
/* io.umemd.Targets from the client's side. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/client/client.h"

#define TARGETS "io.umemd.Targets."

uint64_t umem_client_get_u64(const struct umem_json *object, const char *key)
{
	int64_t value = umem_json_get_int(object, key, 0);

	return value > 0 ? (uint64_t)value : 0;
}

/* The same, but UMEM_CLIENT_UNKNOWN for what is not there. */
static uint64_t known(const struct umem_json *object, const char *key)
{
	int64_t value = umem_json_get_int(object, key, -1);

	return value < 0 ? UMEM_CLIENT_UNKNOWN : (uint64_t)value;
}

/* The name in a reply. */
static int take_name(struct umem_client_answer *answer, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note)
{
	const char *name = umem_json_get_text(answer->reply.parameters, "target", "");
	int r = 0;

	if (!name[0] || strlen(name) >= UMEM_CLIENT_TARGET)
		r = umem_note_set(note, -EPROTO, 0, "umemd gave a target no name");
	else
		memcpy(ret_target, name, strlen(name) + 1);
	umem_client_answer_deinit(answer);
	return r;
}

static bool keeps(const struct umem_client_bring_options *options)
{
	return options && options->keep;
}

struct umem_json *umem_client_for_target(const char *target)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_text(parameters, "target", target);
	return parameters;
}

void umem_client_set_regions(struct umem_json *parameters, const char *key,
	const struct umem_range *v, size_t n)
{
	struct umem_json *list;

	if (n == 0)
		return;
	list = umem_json_array();
	for (size_t i = 0; i < n; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "start", v[i].start);
		umem_json_set_u64(item, "end", v[i].end);
		umem_json_append_consume(list, item);
	}
	umem_json_set_consume(parameters, key, list);
}

/* Bring process @pid in by @method. */
static int bring(struct umem_client *client, const char *method, int pid,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note)
{
	struct umem_json *parameters = umem_json_object();
	struct umem_client_answer answer;
	int r;

	umem_json_set_int(parameters, "pid", pid);
	umem_json_set_bool(parameters, "keep", keeps(options));
	r = umem_client_call(client, method, parameters, NULL, 0, &answer, note);
	return r == 0 ? take_name(&answer, ret_target, note) : r;
}

int umem_client_attach(struct umem_client *client, int pid,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note)
{
	return bring(client, TARGETS "Attach", pid, options, ret_target, note);
}

int umem_client_open(struct umem_client *client, int pid,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note)
{
	return bring(client, TARGETS "Open", pid, options, ret_target, note);
}

int umem_client_hand_off(struct umem_client *client, int uffd,
	const struct umem_range *ranges, size_t n_ranges,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note)
{
	struct umem_json *parameters = umem_json_object();
	struct umem_client_answer answer;
	int r;

	umem_json_set_int(parameters, "uffd", 0);
	umem_client_set_regions(parameters, "ranges", ranges, n_ranges);
	umem_json_set_bool(parameters, "keep", keeps(options));
	r = umem_client_call(client, TARGETS "HandOff", parameters, &uffd, 1, &answer, note);
	return r == 0 ? take_name(&answer, ret_target, note) : r;
}

int umem_client_detach(struct umem_client *client, const char *target, struct umem_note *note)
{
	struct umem_json *parameters = umem_client_for_target(target);
	struct umem_client_answer answer;
	int r;

	r = umem_client_call(client, TARGETS "Detach", parameters, NULL, 0, &answer, note);
	if (r == 0)
		umem_client_answer_deinit(&answer);
	return r;
}

int umem_client_each_target(struct umem_client *client,
	int (*each)(void *user, const struct umem_client_target *target), void *user,
	struct umem_note *note)
{
	struct umem_client_answer answer;
	const struct umem_json *list, *item;
	int r = umem_client_call(client, TARGETS "List", umem_json_object(), NULL, 0, &answer,
		note);

	if (r != 0)
		return r;
	list = umem_json_get(answer.reply.parameters, "targets");
	for (size_t i = 0; (item = umem_json_item(list, i)) && r == 0; i++) {
		const char *how = umem_json_get_text(item, "how", "");

		r = each(user, &(struct umem_client_target){
			.target = umem_json_get_text(item, "target", ""),
			.pid = (int)umem_json_get_int(item, "pid", 0),
			.name = umem_json_get_text(item, "name", ""),
			.uid = (uint32_t)umem_json_get_int(item, "uid", 0),
			.handed = strcmp(how, "handed_off") == 0,
			.state = umem_json_get_text(item, "state", ""),
			.kept = umem_json_get_bool(item, "kept", false),
			.restarts = umem_client_get_u64(item, "restarts"),
			.stop_ns = umem_client_get_u64(item, "stop_ns"),
			.age_ns = umem_client_get_u64(item, "age_ns"),
			.opened = strcmp(how, "opened") == 0,
			.reclaim = umem_json_get_text(item, "reclaim", NULL),
			.rounds = umem_client_get_u64(item, "rounds"),
			.recovered = umem_client_get_u64(item, "recovered"),
			.tracked_bytes = known(item, "tracked_bytes"),
			.dirty_bytes = known(item, "dirty_bytes"),
			.interval_ns = known(item, "interval_ns"),
			.scan_ns = known(item, "scan_ns"),
			.idle_ns = known(item, "idle_ns"),
			.resident_bytes = known(item, "resident_bytes"),
			.swapped_bytes = known(item, "swapped_bytes"),
		});
	}
	umem_client_answer_deinit(&answer);
	return r;
}
