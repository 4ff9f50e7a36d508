// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Putting pages of a target out and bringing them back, from the client's side.
 *
 * A connection has one call at a time, so it is another one by which a call that is on
 * its way is told to end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/client/client.h"

#define RESIDENCY "io.umemd.Residency."

/* How long telling it to end may take. */
#define CANCEL_NS 5000000000u

/* A call that is on its way. */
struct moving {
	struct umem_client *client;
	const char *target;
	const struct umem_client_move_options *options;
	uint64_t done_bytes;
	uint64_t total_bytes;
	bool cancelled;
};

void umem_client_forget_moved(struct umem_client *client)
{
	for (size_t i = 0; i < client->n_texts; i++)
		free(client->texts[i]);
	free(client->texts);
	client->texts = NULL;
	client->n_texts = 0;
	client->moved = (struct umem_client_moved){ 0 };
}

/* Should it fail, the call ends in its own time. */
static void cancel(const struct moving *m)
{
	struct umem_client *other = NULL;
	struct umem_client_answer answer;

	if (umem_client_connect(m->client->path, &other, NULL) < 0)
		return;
	umem_client_set_timeout(other, CANCEL_NS);
	if (umem_client_call(other, RESIDENCY "Cancel", umem_client_for_target(m->target), NULL, 0,
		    &answer, NULL) == 0)
		umem_client_answer_deinit(&answer);
	umem_client_free(other);
}

static int on_reply(void *user, const struct umem_json *parameters)
{
	const struct umem_json *progress = umem_json_get(parameters, "progress");
	struct moving *m = user;

	if (progress) {
		m->done_bytes = umem_client_get_u64(progress, "done_bytes");
		m->total_bytes = umem_client_get_u64(progress, "total_bytes");
	}
	if (!m->options || !m->options->progress || m->cancelled)
		return 0;
	m->cancelled = m->options->progress(m->options->user, m->done_bytes, m->total_bytes);
	if (m->cancelled)
		cancel(m);
	return 0;
}

/* A copy of a text that lives until the next call. Return: it, or NULL without memory. */
static const char *keep(struct umem_client *client, const char *text)
{
	char *copy = strdup(text);

	if (copy)
		client->texts[client->n_texts++] = copy;
	return copy;
}

static bool known(const struct umem_json *json, const char *key)
{
	return umem_json_type(umem_json_get(json, key)) == UMEM_JSON_INT;
}

static int read_refused(struct umem_client *client, const struct umem_json *list)
{
	struct umem_pageout *numbers = &client->moved.numbers;
	const struct umem_json *item;

	for (; (item = umem_json_item(list, numbers->n_refused)); numbers->n_refused++) {
		if (numbers->n_refused == UMEM_N_REFUSED)
			return -EPROTO;
		numbers->refused[numbers->n_refused] = (struct umem_refused){
			umem_client_get_u64(item, "bytes"),
			keep(client, umem_json_get_text(item, "reason", "")),
		};
		if (!numbers->refused[numbers->n_refused].reason)
			return -ENOMEM;
	}
	return 0;
}

static int read_unseen(struct umem_client *client, const struct umem_json *list)
{
	const struct umem_json *item;

	client->moved.unseen = (const char *const *)client->texts + client->n_texts;
	for (; (item = umem_json_item(list, client->moved.n_unseen)); client->moved.n_unseen++)
		if (!keep(client, umem_json_as_text(item, "")))
			return -ENOMEM;
	return 0;
}

static int read_moved(struct umem_client *client, const struct umem_json *parameters)
{
	const struct umem_json *json = umem_json_get(parameters, "moved");
	const struct umem_json *unseen = umem_json_get(json, "unseen");
	const char *note = umem_json_get_text(json, "freed_note", NULL);
	struct umem_pageout *numbers = &client->moved.numbers;
	int r;

	client->texts = calloc(UMEM_N_REFUSED + umem_json_count(unseen) + 1,
		sizeof(*client->texts));
	if (!json || !client->texts)
		return json ? -ENOMEM : -EPROTO;
	client->moved.written_bytes = umem_client_get_u64(json, "written_bytes");
	client->moved.elapsed_ns = umem_client_get_u64(json, "elapsed_ns");
	client->moved.interrupted = umem_json_get_bool(json, "interrupted", false);
	client->moved.recovered = umem_json_get_bool(parameters, "recovered", false);
	*numbers = (struct umem_pageout){
		.asked_bytes = umem_client_get_u64(json, "asked_bytes"),
		.moved_bytes = umem_client_get_u64(json, "moved_bytes"),
		.already_bytes = umem_client_get_u64(json, "already_bytes"),
		.returned_bytes = umem_client_get_u64(json, "returned_bytes"),
		.freed_known = known(json, "freed_bytes"),
		.freed_bytes = umem_client_get_u64(json, "freed_bytes"),
		.freed_note = note ? keep(client, note) : NULL,
	};
	r = read_refused(client, umem_json_get(json, "refused"));
	return r == 0 ? read_unseen(client, unseen) : r;
}

static struct umem_json *parameters_of(const char *target,
	const struct umem_client_move_options *options, bool out)
{
	struct umem_json *parameters = umem_client_for_target(target);

	if (!options)
		return parameters;
	umem_client_set_regions(parameters, "regions", options->regions, options->n_regions);
	if (options->max_bytes)
		umem_json_set_u64(parameters, "max_bytes", options->max_bytes);
	if (out && options->free_cached)
		umem_json_set_bool(parameters, "free_cached", true);
	if (out && options->unwritten_ns)
		umem_json_set_u64(parameters, "unwritten_ns", options->unwritten_ns);
	return parameters;
}

static int move(struct umem_client *client, const char *target,
	const struct umem_client_move_options *options, bool out,
	const struct umem_client_moved **ret_moved, struct umem_note *note)
{
	struct moving m = { .client = client, .target = target, .options = options };
	struct umem_client_answer answer;
	int r;

	umem_client_forget_moved(client);
	r = umem_client_call_more(client, out ? RESIDENCY "PageOut" : RESIDENCY "PageIn",
		parameters_of(target, options, out), NULL, 0, on_reply, &m, &answer, note);
	if (r == -ECANCELED && m.cancelled) {
		/* It had not begun. */
		client->moved.interrupted = true;
		*ret_moved = &client->moved;
		return 0;
	}
	if (r != 0)
		return r;
	r = read_moved(client, answer.reply.parameters);
	umem_client_answer_deinit(&answer);
	if (r < 0)
		return umem_note_set(note, r, 0, "a reply is not understood: %s", strerror(-r));
	*ret_moved = &client->moved;
	return 0;
}

int umem_client_pageout(struct umem_client *client, const char *target,
	const struct umem_client_move_options *options,
	const struct umem_client_moved **ret_moved, struct umem_note *note)
{
	return move(client, target, options, true, ret_moved, note);
}

int umem_client_pagein(struct umem_client *client, const char *target,
	const struct umem_client_move_options *options,
	const struct umem_client_moved **ret_moved, struct umem_note *note)
{
	return move(client, target, options, false, ret_moved, note);
}
