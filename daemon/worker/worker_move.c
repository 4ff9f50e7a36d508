// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Putting pages of the target out and bringing them back: the verbs PageOut and PageIn.
 *
 * They may take long, so they tell every TELL_NS how far they are, by which the manager
 * knows that the worker is alive, and look every LOOK_NS whether they are to end. What
 * they have done by then is told as if it were all.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include <umemd/residency.h>

#include "daemon/worker/worker.h"
#include "lib/base/clock.h"
#include "lib/base/note.h"
#include "lib/mem/machine.h"
#include "lib/op/pageout.h"
#include "lib/op/unwritten.h"

#define TELL_NS 200000000u
#define LOOK_NS 20000000u

/* The longest that writes are watched for. */
#define UNWRITTEN_MAX_NS 86400000000000

/**
 * struct moving - a verb that is at work.
 * @asked, @options: what is moved.
 * @unwritten_ns, @unwritten: how long to watch writes for, and what was seen.
 * @start_ns: when moving began.
 * @told_ns, @looked_ns: when it told how far it is, and looked whether it is to end.
 * @stopped: it is to end.
 */
struct moving {
	struct worker *w;
	struct umem_ranges asked;
	struct umem_pageout_options options;
	uint64_t unwritten_ns;
	struct umem_unwritten unwritten;
	uint64_t start_ns;
	uint64_t told_ns;
	uint64_t looked_ns;
	bool stopped;
};

static void moving_deinit(struct moving *m)
{
	umem_ranges_deinit(&m->asked);
	umem_unwritten_deinit(&m->unwritten);
}

static void tell(struct moving *m, uint64_t done_bytes, uint64_t total_bytes)
{
	struct umem_json *reply = umem_json_object(), *progress = umem_json_object();

	umem_json_set_u64(progress, "done_bytes", done_bytes);
	umem_json_set_u64(progress, "total_bytes", total_bytes);
	umem_json_set_consume(reply, "progress", progress);
	m->stopped |= worker_tell(m->w, reply) < 0;
}

static bool step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct moving *m = user;
	uint64_t now_ns = umem_now_ns();

	if (now_ns - m->told_ns >= TELL_NS) {
		m->told_ns = now_ns;
		tell(m, done_bytes, total_bytes);
	}
	if (now_ns - m->looked_ns >= LOOK_NS) {
		m->looked_ns = now_ns;
		m->stopped |= worker_is_cancelled(m->w);
	}
	return m->stopped;
}

/* Let the target write for a while. Return: 0, UMEM_AGAIN: it is to end, UMEM_GONE. */
static int wait_for_writes(void *user)
{
	struct moving *m = user;
	uint64_t end_ns = umem_now_ns() + m->unwritten_ns;

	for (uint64_t now_ns = umem_now_ns(); now_ns < end_ns; now_ns = umem_now_ns()) {
		uint64_t left_ns = umem_min_u64(end_ns - now_ns, LOOK_NS);

		if (umem_target_gone(m->w->target))
			return UMEM_GONE;
		if (step(m, 0, 0))
			return UMEM_AGAIN;
		nanosleep(&(struct timespec){ .tv_nsec = (long)left_ns }, NULL);
	}
	return 0;
}

static int read_options(const struct umem_json *parameters, struct moving *m,
	struct umem_note *note)
{
	int64_t max = umem_json_get_int(parameters, "max_bytes", 0);
	int64_t unwritten_ns = umem_json_get_int(parameters, "unwritten_ns", 0);
	int r = worker_regions(umem_json_get(parameters, "regions"), &m->asked, note);

	if (r < 0)
		return r;
	if (max < 0)
		return umem_note_set(note, -EINVAL, 0, "max_bytes: no number of bytes");
	if (unwritten_ns < 0 || unwritten_ns > UNWRITTEN_MAX_NS)
		return umem_note_set(note, -EINVAL, 0, "unwritten_ns: no time up to a day");
	m->unwritten_ns = (uint64_t)unwritten_ns;
	m->options = (struct umem_pageout_options){
		.size = sizeof(m->options),
		.ranges = m->asked.v,
		.n_ranges = m->asked.n,
		.max_bytes = (uint64_t)max,
		.free_cached = umem_json_get_bool(parameters, "free_cached", false),
	};
	return 0;
}

static struct umem_json *json_moved(const struct moving *m, const struct umem_pageout *result)
{
	struct umem_json *json = umem_json_object(), *list = umem_json_array(), *item;

	umem_json_set_u64(json, "asked_bytes", result->asked_bytes);
	umem_json_set_u64(json, "moved_bytes", result->moved_bytes);
	umem_json_set_u64(json, "already_bytes", result->already_bytes);
	umem_json_set_u64(json, "returned_bytes", result->returned_bytes);
	for (size_t i = 0; i < result->n_refused; i++) {
		item = umem_json_object();
		umem_json_set_u64(item, "bytes", result->refused[i].bytes);
		umem_json_set_text(item, "reason", result->refused[i].reason);
		umem_json_append_consume(list, item);
	}
	umem_json_set_consume(json, "refused", list);
	if (result->freed_known)
		umem_json_set_u64(json, "freed_bytes", result->freed_bytes);
	if (result->freed_note)
		umem_json_set_text(json, "freed_note", result->freed_note);
	if (m->unwritten_ns)
		umem_json_set_u64(json, "written_bytes",
			umem_pageset_bytes(&m->unwritten.written));
	list = umem_json_array();
	for (size_t i = 0; i < m->unwritten.unseen.n; i++)
		umem_json_append_consume(list, umem_json_text(m->unwritten.unseen.v[i].reason));
	umem_json_set_consume(json, "unseen", list);
	umem_json_set_bool(json, "interrupted", m->stopped);
	umem_json_set_u64(json, "elapsed_ns", umem_now_ns() - m->start_ns);
	return json;
}

static void answer_moved(const struct moving *m, const struct umem_pageout *result,
	struct answer *answer)
{
	answer->parameters = umem_json_object();
	umem_json_set_consume(answer->parameters, "moved", json_moved(m, result));
}

static int find_written(struct moving *m, struct umem_note *note)
{
	struct umem_target *target = m->w->target;
	int r;

	if (m->w->watch)
		return umem_note_set(note, -EBUSY, 0, "process %d is tracked: what it writes "
			"cannot be watched for anybody else", target->pid);
	if (target->uffd < 0)
		return umem_note_set(note, -EOPNOTSUPP, 0,
			"process %d was opened to be looked at only; attach to it to watch what "
			"it writes", target->pid);
	r = umem_unwritten_find(target, m->asked.v, m->asked.n, wait_for_writes, m,
		&m->unwritten, note);
	if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "process %d ended", target->pid);
	return r;
}

int worker_page_out(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	UMEM_CLEANUP(moving_deinit) struct moving m = { .w = w };
	struct umem_pageout_watcher watcher = { .progress = step, .user = &m };
	struct umem_pageout result = { 0 };
	int r = read_options(parameters, &m, &answer->note);

	/* Without swap there is nothing to watch for; the answer says so. */
	if (r == 0 && m.unwritten_ns && umem_machine_has_swap(w->target)) {
		r = find_written(&m, &answer->note);
		watcher.leave = &m.unwritten.written;
		watcher.unwatched = &m.unwritten.unwatched;
	}
	m.start_ns = umem_now_ns();
	if (r == 0)
		r = umem_pageout_watched(w->target, &m.options, &watcher, &result, &answer->note);
	/* Nothing was put out yet when it was to end. */
	if (r == 0 || (r == UMEM_AGAIN && m.stopped)) {
		answer_moved(&m, &result, answer);
		r = 0;
	}
	return r;
}

int worker_page_in(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	UMEM_CLEANUP(moving_deinit) struct moving m = { .w = w };
	const struct umem_pageout_watcher watcher = { .progress = step, .user = &m };
	struct umem_pageout result = { 0 };
	int r = read_options(parameters, &m, &answer->note);

	m.start_ns = umem_now_ns();
	if (r == 0)
		r = umem_pagein_watched(w->target, &m.options, &watcher, &result, &answer->note);
	if (r == 0)
		answer_moved(&m, &result, answer);
	return r;
}
