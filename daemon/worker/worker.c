// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One target's work, in a process of its own.
 *
 * Theory of operation
 *
 *     started -- isolate_start() -- filter wait
 *        |
 *        | Open: descriptors of the target, the journal -- filter verbs
 *        v
 *     serving: Watch, Collect, Unwatch, Map, PageOut ...
 *        |
 *        | Close: protection is lifted          the manager is gone: nothing is lifted,
 *        v                                      it may come back for the target
 *       end
 *
 * Parameters are checked against io.umemd.Worker before a verb sees them. A verb that
 * fails leaves the worker as it was.
 */
#include "daemon/worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "daemon/worker/seccomp.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/mem/pass.h"
#include "lib/proto/message.h"

#define INTERFACE "io.umemd.Worker"
#define MAX_BYTES (1u << 20)

static const struct umem_json_limits limits = { MAX_BYTES, 16, 65536 };

/* A call that is being served. */
struct request {
	const struct umem_call *call;
	struct umem_frame *frame;
	const struct umem_idl_entry *method;
};

static int take_fds(const struct umem_json *list, struct umem_frame *frame,
	int fds[UMEM_N_PASSED])
{
	if (umem_json_count(list) != UMEM_N_PASSED)
		return -EINVAL;
	for (size_t i = 0; i < UMEM_N_PASSED; i++)
		fds[i] = umem_frame_take_fd(frame,
			umem_json_as_int(umem_json_item(list, i), -1));
	return 0;
}

static int open_target(struct worker *w, const struct umem_json *parameters,
	struct umem_frame *frame, struct umem_note *note)
{
	struct umem_passing passing = { .fds = { -1, -1, -1, -1, -1, -1 } };
	int r = take_fds(umem_json_get(parameters, "fds"), frame, passing.fds);

	if (r == 0)
		r = umem_target_from_fds(umem_json_get(parameters, "facts"), passing.fds,
			&w->broker.reach, &w->target, note);
	if (r < 0) {
		umem_passing_deinit(&passing);
		return r;
	}
	w->journal_fd = umem_frame_take_fd(frame, umem_json_get_int(parameters, "journal", -1));
	return 0;
}

static int enter_verbs(struct worker *w)
{
	const struct seccomp_fds fds = {
		.dir = w->target->dir_fd,
		.proc = w->target->proc_fd,
		.pidfd = w->target->pidfd,
		.journal = w->journal_fd,
	};

	return seccomp_stage_enter(SECCOMP_VERBS, &fds);
}

static int do_open(struct worker *w, const struct request *request, struct answer *answer)
{
	struct umem_json *loose;
	int r;

	if (w->target)
		return umem_note_set(&answer->note, -EALREADY, 0, "there is a target already");
	r = open_target(w, request->call->parameters, request->frame, &answer->note);
	if (r == 0)
		r = enter_verbs(w);
	if (r < 0)
		return r;
	loose = umem_json_array();
	for (size_t i = 0; i < w->isolate.n_loose; i++)
		umem_json_append_consume(loose, umem_json_text(w->isolate.loose[i]));
	answer->parameters = umem_json_object();
	umem_json_set_bool(answer->parameters, "confined", w->isolate.n_loose == 0);
	umem_json_set_consume(answer->parameters, "loose", loose);
	return 0;
}

static int do_close(struct worker *w, const struct request *request, struct answer *answer)
{
	w->reclaim = umem_reclaim_free(w->reclaim);
	w->watch = umem_watch_free(w->watch);
	w->target = umem_target_free(w->target);
	w->ended = true;
	return 0;
}

/* A verb takes the whole request, or its parameters. */
static const struct verb {
	const char *method;
	bool needs_target;
	int (*run)(struct worker *w, const struct request *request, struct answer *answer);
	int (*simple)(struct worker *w, const struct umem_json *parameters,
		struct answer *answer);
} verbs[] = {
	{ "Open", false, do_open, NULL },
	{ "Watch", true, NULL, worker_watch },
	{ "Collect", true, NULL, worker_collect },
	{ "Unwatch", true, NULL, worker_unwatch },
	{ "Map", true, NULL, worker_map },
	{ "PageOut", true, NULL, worker_page_out },
	{ "PageIn", true, NULL, worker_page_in },
	{ "Reclaim", true, NULL, worker_reclaim },
	{ "ReclaimLook", true, NULL, worker_reclaim_look },
	{ "ReclaimWork", true, NULL, worker_reclaim_work },
	{ "Unreclaim", true, NULL, worker_unreclaim },
	{ "Close", false, do_close, NULL },
};

static int run_verb(struct worker *w, const struct request *request, struct answer *answer)
{
	char where[UMEM_IDL_WHERE];
	int r = umem_idl_check(request->method->in, request->call->parameters, where,
		&answer->note);

	if (r < 0)
		return r;
	for (size_t i = 0; i < UMEM_ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].method, request->call->method) != 0)
			continue;
		if (verbs[i].needs_target && !w->target)
			return umem_note_set(&answer->note, -ENOENT, 0, "there is no target");
		return verbs[i].run ? verbs[i].run(w, request, answer) :
				      verbs[i].simple(w, request->call->parameters, answer);
	}
	return -EOPNOTSUPP;
}

static void close_fds(struct answer *answer)
{
	for (size_t i = 0; i < answer->n_fds; i++)
		umem_fd_close(answer->fds[i]);
	answer->n_fds = 0;
}

/* The name of the error that @r is, and its parameters in place of the answer's. */
static const char *error_of(int r, struct answer *answer)
{
	const char *text = answer->note.text;

	close_fds(answer);
	umem_json_free(answer->parameters);
	answer->parameters = umem_json_object();
	if (r == -E2BIG) {
		umem_json_set_u64(answer->parameters, "ranges", answer->n_ranges);
		return INTERFACE ".TooManyRanges";
	}
	if (r == UMEM_GONE) {
		umem_json_set_text(answer->parameters, "text", text[0] ? text : "it ended");
		return INTERFACE ".Gone";
	}
	umem_json_set_int(answer->parameters, "errno", r < 0 ? -r : EIO);
	umem_json_set_text(answer->parameters, "text", text[0] ? text : strerror(-r));
	return INTERFACE ".Failed";
}

static int reply(struct worker *w, int result, struct answer *answer)
{
	const char *error = result == 0 ? NULL : error_of(result, answer);
	char *text;
	size_t len;
	int r;

	if (!answer->parameters)
		answer->parameters = umem_json_object();
	r = umem_reply_encode_consume(error, answer->parameters, false, &text, &len);
	if (r < 0) {
		close_fds(answer);
		return r;
	}
	return umem_outbox_add_consume(&w->outbox, text, len, answer->fds, answer->n_fds);
}

/* Send what is there to be sent, however long the manager takes. */
static int flush(struct worker *w)
{
	struct pollfd pfd = { .fd = WORKER_FD_CALLS, .events = POLLOUT };
	int r;

	while ((r = umem_outbox_send(&w->outbox, WORKER_FD_CALLS)) == -EAGAIN)
		poll(&pfd, 1, -1);
	return r;
}

int worker_tell(struct worker *w, struct umem_json *parameters)
{
	char *text;
	size_t len;
	int r = umem_reply_encode_consume(NULL, parameters, true, &text, &len);

	if (r == 0)
		r = umem_outbox_add_consume(&w->outbox, text, len, NULL, 0);
	return r == 0 ? flush(w) : r;
}

/* The one call that is not answered. */
static bool is_cancel(const struct umem_call *call)
{
	return strcmp(call->interface, INTERFACE) == 0 && strcmp(call->method, "Cancel") == 0;
}

bool worker_is_cancelled(struct worker *w)
{
	struct pollfd pfd = { .fd = WORKER_FD_CALLS, .events = POLLIN };
	UMEM_CLEANUP(umem_frame_deinit) struct umem_frame frame = { 0 };
	int r;

	if (poll(&pfd, 1, 0) <= 0)
		return false;
	r = umem_inbox_receive(&w->inbox, WORKER_FD_CALLS);
	if (r == 0)
		r = umem_inbox_next(&w->inbox, &frame);
	/* Nothing else comes while a call is served, but the end of the manager. */
	return r != -EAGAIN && r != UMEM_AGAIN;
}

static int serve(struct worker *w, struct umem_frame *frame)
{
	struct umem_note note = { 0 };
	struct answer answer = { 0 };
	struct umem_call call;
	struct request request = { &call, frame, NULL };
	int r = umem_call_decode(frame->text, frame->len_bytes, &limits, &call, &note);

	if (r < 0)
		return r; /* nobody but the manager is there: a bug */
	request.method = strcmp(call.interface, INTERFACE) == 0 ?
		umem_idl_find(umem_interfaces_find(&w->interfaces, INTERFACE), UMEM_IDL_METHOD,
			call.method) : NULL;
	/* What it was about has ended already. */
	if (is_cancel(&call)) {
		umem_call_deinit(&call);
		return 0;
	}
	r = request.method ? run_verb(w, &request, &answer) : -EOPNOTSUPP;
	umem_call_deinit(&call);
	return reply(w, r, &answer);
}

static int loop(struct worker *w)
{
	struct pollfd pfd = { .fd = WORKER_FD_CALLS, .events = POLLIN };
	int r = 0;

	while (r == 0 && !w->ended) {
		struct umem_frame frame = { 0 };

		r = umem_inbox_next(&w->inbox, &frame);
		if (r == 0) {
			r = serve(w, &frame);
			umem_frame_deinit(&frame);
			if (r == 0)
				r = flush(w);
			continue;
		}
		if (r != UMEM_AGAIN)
			return r;
		poll(&pfd, 1, -1);
		r = umem_inbox_receive(&w->inbox, WORKER_FD_CALLS);
		if (r == -EAGAIN)
			r = 0;
	}
	/* The second, when the manager left something unread: a reply that nobody waits for. */
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

int worker_run(const struct isolate *isolate)
{
	struct worker w = {
		.inbox = { .max_bytes = MAX_BYTES },
		.isolate = *isolate,
		.journal_fd = -1,
	};
	int r = umem_interfaces_load(&w.interfaces, NULL);

	broker_init(&w.broker, WORKER_FD_BROKER, isolate);
	if (r == 0)
		r = loop(&w);
	/* Nothing is lifted here: without a Close the target is somebody else's now. */
	umem_interfaces_deinit(&w.interfaces);
	broker_deinit(&w.broker);
	umem_inbox_deinit(&w.inbox);
	umem_outbox_deinit(&w.outbox);
	return r;
}
