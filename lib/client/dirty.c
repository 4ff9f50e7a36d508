// SPDX-License-Identifier: LGPL-2.1-or-later
/* io.umemd.Dirty from the client's side: calls and monitoring. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/client/client.h"

#define DIRTY "io.umemd.Dirty."

int umem_client_read_reasons(const struct umem_json *list, struct umem_reasons *ret_reasons)
{
	const struct umem_json *item;
	int r = 0;

	umem_reasons_clear(ret_reasons);
	for (size_t i = 0; (item = umem_json_item(list, i)) && r == 0; i++) {
		bool whole = umem_json_type(umem_json_get(item, "end")) != UMEM_JSON_INT;

		r = umem_reasons_add(ret_reasons,
			whole ? 0 : umem_client_get_u64(item, "start"),
			whole ? UINT64_MAX : umem_client_get_u64(item, "end"), "%s",
			umem_json_get_text(item, "reason", ""));
	}
	return r;
}

static int read_armed(struct umem_client *client, const struct umem_json *json)
{
	int r = umem_client_read_reasons(umem_json_get(json, "assumes"), &client->assumes);

	snprintf(client->tracker, sizeof(client->tracker), "%s",
		umem_json_get_text(json, "tracker", ""));
	client->armed = (struct umem_armed){
		.tracker = client->tracker,
		.regions = umem_client_get_u64(json, "regions"),
		.tracked_bytes = umem_client_get_u64(json, "tracked_bytes"),
		.stop_ns = umem_client_get_u64(json, "stop_ns"),
		.arm_ns = umem_client_get_u64(json, "arm_ns"),
		.assumes = client->assumes.v,
		.n_assumes = client->assumes.n,
	};
	return r;
}

static void set_options(struct umem_json *parameters, const struct umem_watch_options *options)
{
	static const char *const pins[] = {
		[UMEM_PINS_ALWAYS] = "always",
		[UMEM_PINS_REPORT] = "report",
		[UMEM_PINS_REFUSE] = "refuse",
	};

	umem_client_set_regions(parameters, "regions", options->regions, options->n_regions);
	umem_json_set_text(parameters, "pins", pins[options->pins]);
	umem_json_set_bool(parameters, "sharers", options->sharers);
	if (options->tracker)
		umem_json_set_text(parameters, "tracker", options->tracker);
}

int umem_client_start(struct umem_client *client, const char *target,
	const struct umem_watch_options *options, const struct umem_armed **ret_armed,
	struct umem_note *note)
{
	struct umem_json *parameters = umem_client_for_target(target);
	struct umem_client_answer answer;
	int r;

	if (options)
		set_options(parameters, options);
	r = umem_client_call(client, DIRTY "Start", parameters, NULL, 0, &answer, note);
	if (r != 0)
		return r;
	r = read_armed(client, answer.reply.parameters);
	umem_client_answer_deinit(&answer);
	if (r == 0)
		*ret_armed = &client->armed;
	return r;
}

static const char *form_word(enum umem_client_form form)
{
	/* A table has all ranges, however many. */
	return form == UMEM_CLIENT_RANGES ? "table" :
		form == UMEM_CLIENT_BITMAP ? "bitmap" : "numbers";
}

int umem_client_collect(struct umem_client *client, const char *target,
	enum umem_client_form form, uint64_t after, struct umem_client_round **ret_round,
	struct umem_note *note)
{
	struct umem_json *parameters = umem_client_for_target(target);
	struct umem_client_answer answer;
	int r;

	umem_json_set_text(parameters, "form", form_word(form));
	if (after <= INT64_MAX)
		umem_json_set_u64(parameters, "after", after);
	r = umem_client_call(client, DIRTY "Collect", parameters, NULL, 0, &answer, note);
	if (r != 0)
		return r;
	r = umem_client_round_new(&answer, ret_round);
	umem_client_answer_deinit(&answer);
	return r < 0 ? umem_note_set(note, r, 0, "a round is not understood: %s", strerror(-r)) : 0;
}

int umem_client_stop(struct umem_client *client, const char *target, struct umem_note *note)
{
	struct umem_client_answer answer;
	int r = umem_client_call(client, DIRTY "Stop", umem_client_for_target(target), NULL, 0,
		&answer, note);

	if (r == 0)
		umem_client_answer_deinit(&answer);
	return r;
}

int umem_client_monitor(struct umem_client *client, const char *target, uint64_t interval_ns,
	uint64_t rounds, enum umem_client_form form,
	void (*on_round)(void *user, struct umem_client_round *round, int result,
		const struct umem_note *note),
	void *user, struct umem_note *note)
{
	struct umem_json *parameters = umem_client_for_target(target);
	int r;

	umem_json_set_u64(parameters, "interval_ns", interval_ns);
	umem_json_set_u64(parameters, "rounds", rounds);
	umem_json_set_text(parameters, "form", form_word(form));
	r = umem_client_send_more(client, DIRTY "Monitor", parameters, note);
	if (r == 0) {
		client->on_round = on_round;
		client->user = user;
	}
	return r;
}

static void tell_end(struct umem_client *client, int result, const struct umem_note *note)
{
	void (*on_round)(void *, struct umem_client_round *, int, const struct umem_note *) =
		client->on_round;

	client->on_round = NULL;
	if (on_round)
		on_round(client->user, NULL, result, note);
}

/* One reply of Monitor. Return: 0 or what the connection ended with. */
static int take_round(struct umem_client *client, struct umem_client_answer *answer)
{
	bool last = !answer->reply.continues;
	struct umem_client_round *round;
	struct umem_note note = { 0 };
	int r = umem_client_result(&answer->reply, &note);

	if (r != 0) {
		tell_end(client, r, &note);
		return 0;
	}
	r = umem_client_round_new(answer, &round);
	if (r < 0)
		return r;
	client->on_round(client->user, round, 0, NULL);
	if (last)
		tell_end(client, 0, NULL);
	return 0;
}

int umem_client_dispatch(struct umem_client *client)
{
	struct umem_client_answer answer;
	struct umem_note note = { 0 };
	int r;

	if (client->sock < 0)
		return -EPIPE;
	r = umem_outbox_send(&client->outbox, client->sock);
	if (r == 0 || r == -EAGAIN)
		r = umem_inbox_receive(&client->inbox, client->sock);
	if (r == -EAGAIN)
		r = 0;
	while (r == 0 && (r = umem_client_take(client, &answer)) == 0) {
		/* Nobody asked: only a call that is over could be meant. */
		r = client->on_round ? take_round(client, &answer) : -EPROTO;
		umem_client_answer_deinit(&answer);
	}
	if (r == UMEM_AGAIN)
		return 0;
	r = r == -ENOMEM || r == -EPIPE ? r : r == -ECONNRESET ? -EPIPE : -EPROTO;
	umem_note_set(&note, r, 0, "the connection to umemd is over: %s", strerror(-r));
	tell_end(client, r, &note);
	return r;
}
