// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A process that takes one snapshot.
 *
 * Theory of operation
 *
 *     started -- isolate_snapshot() -- filter -- Take: descriptors of the file, its
 *     parents and the target -- progress ... -- snapshot or error -- end
 *
 * Why not the worker of the target: that holds descriptors which read and protect
 * memory, and nothing else. To stop threads, to have a userfaultfd made, to make a
 * child takes ptrace(2) at each time, and the files of other threads by their names;
 * a worker that had this would not be confined any more, for as long as it lives. And
 * the session's userfaultfd would not do: when this process dies, by whatever means,
 * its own is closed with it, and the kernel lifts what it protected; its helpers give
 * back what they borrowed (lib/kern/inject.c). So nothing has to be undone by anybody.
 *
 * Page data goes from here into the descriptor that the client opened. What its name
 * is, and when it gets one, is the client's business; before the last reply all of it is
 * on the disk.
 *
 * It is cancelled by the end of the manager's half of the socket, which is looked at with
 * each step of progress. The process that is asked for by its number is the session's
 * when that one's pidfd still lives behind the attaching, and executed nothing else when
 * its list of mappings, opened with the session, still shows some.
 */
#include "daemon/worker/snapshotter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <umemd/op.h>

#include "daemon/worker/isolate.h"
#include "daemon/worker/round.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/base/ranges.h"
#include "lib/kern/pidfd.h"
#include "lib/proto/frame.h"
#include "lib/proto/interfaces.h"
#include "lib/proto/message.h"

#define INTERFACE "io.umemd.Snapshotter"
#define MAX_BYTES (1u << 20)
#define EVERY_NS  100000000u

static const struct umem_json_limits limits = { MAX_BYTES, 16, 65536 };

UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)
UMEM_DEFINE_CLEANUP(struct umem_snapshotter, umem_snapshotter_free)

/**
 * struct run - all that this process has.
 * @inbox, @outbox: of the manager's call.
 * @fds: that came with it.
 * @told_ns: when progress was told last.
 */
struct run {
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	struct umem_frame *fds;
	uint64_t told_ns;
};

static int send_reply(struct run *run, const char *error, struct umem_json *parameters,
	bool continues)
{
	char *text;
	size_t len;
	int r = umem_reply_encode_consume(error, parameters, continues, &text, &len);

	return r == 0 ? umem_outbox_add_consume(&run->outbox, text, len, NULL, 0) : r;
}

/* Has the manager shut its half, or is it gone? It says nothing else behind its call. */
static bool is_cancelled(void)
{
	struct pollfd pfd = { .fd = WORKER_FD_CALLS, .events = POLLIN | POLLRDHUP };

	return poll(&pfd, 1, 0) > 0;
}

/* Progress that nobody takes is not told: what comes later says more. */
static bool on_progress(void *user, const struct umem_snapshot_progress *p)
{
	struct run *run = user;
	uint64_t now_ns = umem_now_ns();
	struct umem_json *progress, *parameters;

	if (is_cancelled())
		return true;
	if (now_ns - run->told_ns < EVERY_NS || !umem_outbox_empty(&run->outbox))
		return false;
	run->told_ns = now_ns;
	progress = umem_json_object();
	umem_json_set_text(progress, "stage", p->stage);
	umem_json_set_u64(progress, "round", p->round);
	umem_json_set_u64(progress, "done_bytes", p->done_bytes);
	umem_json_set_u64(progress, "total_bytes", p->total_bytes);
	parameters = umem_json_object();
	umem_json_set_consume(parameters, "progress", progress);
	if (send_reply(run, NULL, parameters, true) < 0)
		return false;
	umem_outbox_send(&run->outbox, WORKER_FD_CALLS);
	return false;
}

static struct umem_json *json_snapshot(const struct umem_snapshot *taken, const char *why)
{
	struct umem_json *json = umem_json_object(), *parameters = umem_json_object();

	umem_json_set_text(json, "method", taken->method);
	umem_json_set_text(json, "why", why ? why : taken->why);
	umem_json_set_u64(json, "processes", taken->n_processes);
	umem_json_set_u64(json, "pause_ns", taken->pause_ns);
	umem_json_set_u64(json, "attach_stop_ns", taken->attach_stop_ns);
	umem_json_set_u64(json, "total_ns", taken->total_ns);
	umem_json_set_u64(json, "rounds", taken->rounds);
	umem_json_set_u64(json, "pages", taken->pages);
	umem_json_set_u64(json, "zero_pages", taken->zero_pages);
	umem_json_set_u64(json, "parent_pages", taken->parent_pages);
	umem_json_set_u64(json, "stopped_bytes", taken->stopped_bytes);
	umem_json_set_u64(json, "written_bytes", taken->written_bytes);
	if (taken->incremental)
		umem_json_set_text(json, "incremental", taken->incremental);
	umem_json_set_bool(json, "complete", taken->complete);
	umem_json_set_consume(json, "incomplete",
		round_json_reasons(taken->incomplete, taken->n_incomplete));
	umem_json_set_consume(parameters, "snapshot", json);
	return parameters;
}

static enum umem_snapshot_method method_of(const struct umem_json *p)
{
	const char *word = umem_json_get_text(p, "method", "auto");

	for (int i = 0; i < UMEM_N_SNAPSHOT_METHODS; i++)
		if (strcmp(word, umem_snapshot_method_name((enum umem_snapshot_method)i)) == 0)
			return (enum umem_snapshot_method)i;
	return UMEM_SNAPSHOT_AUTO;
}

static int read_regions(const struct umem_json *list, struct umem_ranges *ret_set,
	struct umem_note *note)
{
	const struct umem_json *item;
	int r = 0;

	for (size_t i = 0; (item = umem_json_item(list, i)) && r == 0; i++) {
		int64_t start = umem_json_get_int(item, "start", -1);
		int64_t end = umem_json_get_int(item, "end", -1);

		r = start >= 0 && end > start ?
			umem_ranges_add(ret_set, (uint64_t)start, (uint64_t)end) :
			umem_note_set(note, -EINVAL, 0,
				"regions: %lld to %lld is no range of addresses",
				(long long)start, (long long)end);
	}
	return r;
}

/* The descriptor that an index of the call means; it stays where it is. */
static int fd_of(const struct run *run, int64_t index)
{
	return index >= 0 && (uint64_t)index < run->fds->n_fds ? run->fds->fds[index] : -1;
}

/* The parent that is to be compared with, if there is one. */
static int open_parent(const struct run *run, const struct umem_json *p,
	struct umem_image **ret_parent, struct umem_note *note)
{
	const struct umem_json *list = umem_json_get(p, "parents");
	int fds[UMEM_FRAME_FDS];
	size_t n = umem_json_count(list);
	const struct umem_image_open_options options = {
		.size = sizeof(options),
		.parents = fds + 1,
		.n_parents = n ? n - 1 : 0,
	};

	if (n == 0)
		return 0;
	if (n > UMEM_FRAME_FDS)
		return umem_note_set(note, -E2BIG, 0, "parents: more than descriptors");
	for (size_t i = 0; i < n; i++) {
		int flags;

		fds[i] = fd_of(run, umem_json_as_int(umem_json_item(list, i), -1));
		flags = fcntl(fds[i], F_GETFL);
		/* It is opened again here: only what its sender could read. */
		if (flags < 0 || flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY)
			return umem_note_set(note, -EBADF, 0,
				"parents: number %zu is not open for reading", i);
	}
	return umem_image_open_fd(fds[0], umem_json_get_text(p, "parent_name", "the parent"),
		&options, ret_parent, note);
}

/* Is it the session's process, and the program that it was? */
static int check_same(const struct run *run, const struct umem_json *p, struct umem_note *note)
{
	int64_t pid = umem_json_get_int(p, "pid", 0);
	char byte;

	if (umem_pidfd_exited(fd_of(run, umem_json_get_int(p, "pidfd", -1)))) {
		umem_note_set(note, -ESRCH, 0, "process %lld ended", (long long)pid);
		return UMEM_GONE;
	}
	if (pread(fd_of(run, umem_json_get_int(p, "maps", -1)), &byte, 1, 0) <= 0) {
		umem_note_set(note, -ESRCH, 0, "process %lld executed another program",
			(long long)pid);
		return UMEM_GONE;
	}
	return 0;
}

static int take(struct run *run, const struct umem_json *p, struct umem_json **ret_reply,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges regions = { 0 };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *parent = NULL;
	UMEM_CLEANUP(umem_snapshotter_freep) struct umem_snapshotter *s = NULL;
	struct umem_snapshot_options options = {
		.size = sizeof(options),
		.method = method_of(p),
		.tree = umem_json_get_bool(p, "tree", false),
		.codec = strcmp(umem_json_get_text(p, "codec", "zstd"), "none") == 0 ?
			UMEM_IMAGE_CODEC_NONE : UMEM_IMAGE_CODEC_ZSTD,
		.progress = on_progress,
		.user = run,
	};
	const struct umem_snapshot_file file = {
		.size = sizeof(file),
		.fd = fd_of(run, umem_json_get_int(p, "output", -1)),
		.name = umem_json_get_text(p, "name", "the image"),
		.parent_name = umem_json_get_text(p, "parent_name", "parent"),
	};
	const struct umem_snapshot *taken;
	const char *why = NULL;
	int r = read_regions(umem_json_get(p, "regions"), &regions, note);

	if (umem_json_get_bool(p, "tracked", false) && options.method == UMEM_SNAPSHOT_AUTO) {
		options.method = UMEM_SNAPSHOT_FREEZE;
		why = "it is tracked, which has its write protection: stopped for the copy";
	}
	options.regions = regions.v;
	options.n_regions = regions.n;
	if (r == 0)
		r = open_parent(run, p, &parent, note);
	if (r == 0)
		r = umem_snapshotter_new((int)umem_json_get_int(p, "pid", 0), &options, &s, note);
	if (r == 0)
		r = check_same(run, p, note);
	if (r == 0 && is_cancelled())
		r = -ECANCELED;
	if (r == 0)
		r = umem_snapshotter_take_into(s, &file, parent, &taken, note);
	if (r == 0)
		*ret_reply = json_snapshot(taken, why);
	return r;
}

static struct umem_json *json_error(int r, const struct umem_note *note)
{
	struct umem_json *parameters = umem_json_object();

	if (r < 0)
		umem_json_set_int(parameters, "errno", -r);
	umem_json_set_text(parameters, "text", note->text[0] ? note->text : r < 0 ? strerror(-r) :
		"it ended, or executed another program, before all was copied");
	return parameters;
}

/* The one call. */
static int serve(struct run *run, struct umem_frame *frame)
{
	UMEM_CLEANUP(umem_interfaces_deinit) struct umem_interfaces interfaces = { 0 };
	UMEM_CLEANUP(umem_call_deinit) struct umem_call call = { 0 };
	const struct umem_idl_entry *method = NULL;
	struct umem_json *reply = NULL;
	struct umem_note note = { 0 };
	char where[UMEM_IDL_WHERE];
	int r = umem_interfaces_load(&interfaces, NULL);

	if (r == 0)
		r = umem_call_decode(frame->text, frame->len_bytes, &limits, &call, NULL);
	if (r == 0)
		method = umem_idl_find(umem_interfaces_find(&interfaces, INTERFACE),
			UMEM_IDL_METHOD, call.method);
	if (r < 0 || !method)
		return r < 0 ? r : -EOPNOTSUPP;
	run->fds = frame;
	r = umem_idl_check(method->in, call.parameters, where, &note);
	if (r == 0)
		r = take(run, call.parameters, &reply, &note);
	if (r == 0)
		return send_reply(run, NULL, reply, false);
	return send_reply(run, r < 0 ? INTERFACE ".Failed" : INTERFACE ".Gone",
		json_error(r, &note), false);
}

/* Send what is there to be sent, however long the manager takes. */
static int flush(struct run *run)
{
	struct pollfd pfd = { .fd = WORKER_FD_CALLS, .events = POLLOUT };
	int r;

	while ((r = umem_outbox_send(&run->outbox, WORKER_FD_CALLS)) == -EAGAIN)
		poll(&pfd, 1, -1);
	return r;
}

int snapshotter_run(void)
{
	struct run run = { .inbox = { .max_bytes = MAX_BYTES } };
	struct pollfd pfd = { .fd = WORKER_FD_CALLS, .events = POLLIN };
	struct umem_frame frame = { 0 };
	int r;

	while ((r = umem_inbox_next(&run.inbox, &frame)) == UMEM_AGAIN) {
		poll(&pfd, 1, -1);
		r = umem_inbox_receive(&run.inbox, WORKER_FD_CALLS);
		if (r < 0 && r != -EAGAIN)
			break;
	}
	if (r == 0)
		r = serve(&run, &frame);
	if (r == 0)
		r = flush(&run);
	umem_frame_deinit(&frame);
	umem_inbox_deinit(&run.inbox);
	umem_outbox_deinit(&run.outbox);
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}
