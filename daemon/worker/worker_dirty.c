// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The verbs of dirty tracking.
 *
 * A round is journalled before it is told: whoever follows this process if it dies in
 * between reports more than what is lost, never less.
 */
#include <errno.h>
#include <string.h>

#include "daemon/worker/journal.h"
#include "daemon/worker/round.h"
#include "daemon/worker/worker.h"
#include "lib/base/note.h"
#include "lib/base/ranges.h"

int worker_regions(const struct umem_json *list, struct umem_ranges *ret_set,
	struct umem_note *note)
{
	size_t n = umem_json_count(list);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct umem_json *item = umem_json_item(list, i);
		int64_t start = umem_json_get_int(item, "start", -1);
		int64_t end = umem_json_get_int(item, "end", -1);

		if (start < 0 || end <= start)
			return umem_note_set(note, -EINVAL, 0,
				"regions: %lld to %lld is no range of addresses",
				(long long)start, (long long)end);
		r = umem_ranges_add(ret_set, (uint64_t)start, (uint64_t)end);
	}
	return r;
}

static enum umem_pins_policy pins_policy(const char *word)
{
	return strcmp(word, "report") == 0 ? UMEM_PINS_REPORT :
		strcmp(word, "refuse") == 0 ? UMEM_PINS_REFUSE : UMEM_PINS_ALWAYS;
}

static int write_journal(struct worker *w, struct umem_note *note)
{
	struct umem_watch_left left;
	int r = umem_watch_left(w->watch, &left);

	if (r == 0)
		r = journal_write(w->journal_fd, &left);
	return r < 0 ? umem_note_set(note, r, 0, "noting what is watched: %s", strerror(-r)) : 0;
}

/* What the worker before this one left; nothing, when it died before it had armed. */
static int read_left(struct worker *w, struct journal_left *left, struct umem_note *note)
{
	int r = journal_read(w->journal_fd, left);

	if (r == -ENODATA || r == 0)
		return r;
	return umem_note_set(note, r, 0, "what a worker left: %s", strerror(-r));
}

static int start(struct worker *w, const struct umem_watch_options *options,
	struct umem_note *note)
{
	int r = umem_watch_new(w->target, options, &w->watch, note);

	if (r != 0)
		return r;
	w->base = 0;
	w->last = options->left ? options->left->round : 0;
	w->recovered = options->left != NULL;
	return write_journal(w, note);
}

static struct umem_json *json_armed(const struct umem_armed *armed)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_text(json, "tracker", armed->tracker);
	umem_json_set_u64(json, "regions", armed->regions);
	umem_json_set_u64(json, "tracked_bytes", armed->tracked_bytes);
	umem_json_set_u64(json, "stop_ns", armed->stop_ns);
	umem_json_set_u64(json, "arm_ns", armed->arm_ns);
	umem_json_set_consume(json, "assumes",
		round_json_reasons(armed->assumes, armed->n_assumes));
	return json;
}

int worker_watch(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges regions = { 0 };
	UMEM_CLEANUP(journal_left_deinit) struct journal_left left = { 0 };
	struct umem_watch_options options = {
		.size = sizeof(options),
		.pins = pins_policy(umem_json_get_text(parameters, "pins", "always")),
		.tracker = umem_json_get_text(parameters, "tracker", NULL),
	};
	int r;

	if (w->watch)
		return umem_note_set(&answer->note, -EALREADY, 0, "it is tracked already");
	if (w->reclaim_watches)
		return umem_note_set(&answer->note, -EBUSY, 0, "it is watched by the policy age "
			"of reclaim; set another one");
	if (umem_json_get_bool(parameters, "sharers", false))
		return umem_note_set(&answer->note, -EOPNOTSUPP, 0,
			"sharers are not tracked by the daemon; umemctl --embedded does");
	r = worker_regions(umem_json_get(parameters, "regions"), &regions, &answer->note);
	if (r == 0 && umem_json_get_bool(parameters, "recover", false)) {
		r = read_left(w, &left, &answer->note);
		options.left = r == 0 ? &left.left : NULL;
	}
	if (r < 0 && r != -ENODATA)
		return r;
	options.regions = regions.v;
	options.n_regions = regions.n;
	r = start(w, &options, &answer->note);
	if (r != 0) {
		w->watch = umem_watch_free(w->watch);
		return r;
	}
	answer->parameters = json_armed(umem_watch_armed(w->watch));
	return 0;
}

/* Have the coming round hold what did not arrive. Return: 0 or -EINVAL. */
static int go_back(struct worker *w, int64_t after, struct umem_note *note)
{
	if (after < 0 || (uint64_t)after >= w->last) {
		w->base = w->last;
		return 0;
	}
	if ((uint64_t)after < w->base)
		return umem_note_set(note, -EINVAL, 0,
			"after: what followed round %lld was told already, and rounds since; "
			"start anew", (long long)after);
	umem_watch_repeat(w->watch);
	return 0;
}

int worker_collect(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	int64_t after = umem_json_get_int(parameters, "after", INT64_MAX);
	const struct umem_round *round;
	int r;

	if (!w->watch)
		return umem_note_set(&answer->note, -ENOENT, 0, "it is not tracked");
	/* The first round after a death holds everything: nothing is further back. */
	if (w->recovered)
		r = 0;
	else
		r = go_back(w, after, &answer->note);
	if (r == 0)
		r = umem_watch_collect(w->watch, &round, &answer->note);
	if (r != 0)
		return r;
	w->last = round->round;
	r = write_journal(w, &answer->note);
	if (r == 0)
		r = round_answer(w->watch, round, umem_json_get_text(parameters, "form", NULL),
			w->recovered, answer);
	if (r < 0) {
		/* The next round holds this one. */
		umem_watch_repeat(w->watch);
		return r;
	}
	w->recovered = false;
	return 0;
}

int worker_unwatch(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	if (!w->watch)
		return umem_note_set(&answer->note, -ENOENT, 0, "it is not tracked");
	w->watch = umem_watch_free(w->watch);
	/* A mapping has one userfaultfd at a time, and a snapshot may want it now. */
	umem_target_lift(w->target);
	return 0;
}
