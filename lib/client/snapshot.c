// SPDX-License-Identifier: LGPL-2.1-or-later
/* io.umemd.Snapshot from the client's side. */
#include <errno.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/client/client.h"

#define SNAPSHOT "io.umemd.Snapshot."

/* Behind the output there is room for so many, and what the daemon adds. */
#define MAX_PARENTS 13u

static const char *method_word(enum umem_snapshot_method method)
{
	static const char *const words[UMEM_N_SNAPSHOT_METHODS] = {
		[UMEM_SNAPSHOT_AUTO] = "auto",
		[UMEM_SNAPSHOT_PRECOPY] = "precopy",
		[UMEM_SNAPSHOT_COW] = "cow",
		[UMEM_SNAPSHOT_FORK] = "fork",
		[UMEM_SNAPSHOT_FREEZE] = "freeze",
	};

	return words[method];
}

/* Parameters of Take; the output is the first descriptor, the parents come behind it. */
static struct umem_json *json_take(const char *target,
	const struct umem_client_snapshot_options *options)
{
	struct umem_json *p = umem_client_for_target(target), *parents = umem_json_array();

	umem_json_set_int(p, "output", 0);
	if (options->name)
		umem_json_set_text(p, "name", options->name);
	umem_json_set_text(p, "method", method_word(options->method));
	for (size_t i = 0; i < options->n_parents; i++)
		umem_json_append_consume(parents, umem_json_int((int64_t)i + 1));
	umem_json_set_consume(p, "parents", parents);
	if (options->parent_name)
		umem_json_set_text(p, "parent_name", options->parent_name);
	umem_json_set_text(p, "codec", options->codec == UMEM_IMAGE_CODEC_NONE ? "none" : "zstd");
	umem_client_set_regions(p, "regions", options->regions, options->n_regions);
	umem_json_set_bool(p, "tree", options->tree);
	return p;
}

/* The snapshot of the last reply, whose texts it keeps. */
static int read_snapshot(struct umem_client *client, const struct umem_json *reply)
{
	const struct umem_json *json;
	int r;

	umem_json_free(client->words);
	client->words = umem_json_share(reply);
	json = umem_json_get(client->words, "snapshot");
	if (!json)
		return -EPROTO;
	r = umem_client_read_reasons(umem_json_get(json, "incomplete"), &client->incomplete);
	client->snapshot = (struct umem_snapshot){
		.method = umem_json_get_text(json, "method", ""),
		.why = umem_json_get_text(json, "why", ""),
		.n_processes = umem_client_get_u64(json, "processes"),
		.pause_ns = umem_client_get_u64(json, "pause_ns"),
		.attach_stop_ns = umem_client_get_u64(json, "attach_stop_ns"),
		.total_ns = umem_client_get_u64(json, "total_ns"),
		.rounds = umem_client_get_u64(json, "rounds"),
		.pages = umem_client_get_u64(json, "pages"),
		.zero_pages = umem_client_get_u64(json, "zero_pages"),
		.parent_pages = umem_client_get_u64(json, "parent_pages"),
		.stopped_bytes = umem_client_get_u64(json, "stopped_bytes"),
		.written_bytes = umem_client_get_u64(json, "written_bytes"),
		.incremental = umem_json_get_text(json, "incremental", NULL),
		.complete = umem_json_get_bool(json, "complete", false),
		.incomplete = client->incomplete.v,
		.n_incomplete = client->incomplete.n,
	};
	return r;
}

/* What is told of it, and to whom. */
struct progress {
	const struct umem_client_snapshot_options *options;
	struct umem_snapshot_progress last;
};

static void read_progress(const struct umem_json *json, struct umem_snapshot_progress *progress)
{
	const char *stage = umem_json_get_text(json, "stage", "");

	progress->stage = strcmp(stage, "write") == 0 ? "write" :
		strcmp(stage, "stop") == 0 ? "stop" : "copy";
	progress->round = umem_client_get_u64(json, "round");
	progress->done_bytes = umem_client_get_u64(json, "done_bytes");
	progress->total_bytes = umem_client_get_u64(json, "total_bytes");
}

/* A reply before the last, or a tick without one. */
static int on_reply(void *user, const struct umem_json *reply)
{
	struct progress *p = user;

	if (reply)
		read_progress(umem_json_get(reply, "progress"), &p->last);
	return p->options->progress && p->options->progress(p->options->user, &p->last) ?
		-ECANCELED : 0;
}

int umem_client_snapshot(struct umem_client *client, const char *target,
	const struct umem_client_snapshot_options *options,
	const struct umem_snapshot **ret_snapshot, struct umem_note *note)
{
	struct progress progress = { options, { .stage = "copy" } };
	struct umem_client_answer answer = { 0 };
	int fds[1 + MAX_PARENTS];
	int r;

	if (options->size != sizeof(*options) || options->method >= UMEM_N_SNAPSHOT_METHODS)
		return umem_note_set(note, -EINVAL, 0, "options of another version");
	if (options->n_parents > MAX_PARENTS)
		return umem_note_set(note, -E2BIG, 0, "more than %u images in the chain of parents "
			"cannot be handed over; flatten it first", MAX_PARENTS);
	fds[0] = options->output_fd;
	for (size_t i = 0; i < options->n_parents; i++)
		fds[1 + i] = options->parents[i];
	r = umem_client_call_more(client, SNAPSHOT "Take", json_take(target, options), fds,
		1 + options->n_parents, on_reply, &progress, &answer, note);
	if (r != 0)
		return r;
	r = read_snapshot(client, answer.reply.parameters);
	umem_client_answer_deinit(&answer);
	if (r < 0)
		return umem_note_set(note, r, 0, "a snapshot is not understood: %s", strerror(-r));
	*ret_snapshot = &client->snapshot;
	return 0;
}

int umem_client_cancel_snapshot(struct umem_client *client, const char *target,
	struct umem_note *note)
{
	struct umem_client_answer answer;
	int r = umem_client_call(client, SNAPSHOT "Cancel", umem_client_for_target(target), NULL, 0,
		&answer, note);

	if (r == 0)
		umem_client_answer_deinit(&answer);
	return r;
}
