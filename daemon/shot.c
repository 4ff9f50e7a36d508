// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The manager's side of one snapshot.
 *
 * Theory of operation
 *
 *     shot_new() -> Take -> progress ... -> snapshot or error -> its process ends -> done()
 *                      shot_cancel(): our half of the socket is shut
 *
 * done() is told when the process is over, not when it said so: then its helpers are, and
 * whatever it held of the target is closed. One that does not end by itself in time is
 * killed, which is as clean (daemon/worker/snapshotter.c) but for what it had put into
 * the file; and one that ends without a reply has failed. How long a snapshot takes is
 * its owner's business: it may be cancelled at any time.
 */
#include "daemon/shot.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/spawn.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/proto/frame.h"
#include "lib/proto/interfaces.h"
#include "lib/proto/message.h"

#define INTERFACE "io.umemd.Snapshotter"
#define MAX_BYTES (2u << 20)

/* From its last word, or the wish that it ends, to its end: what it stops is let go first. */
#define END_NS 10000000000ull

static const struct umem_json_limits limits = { MAX_BYTES, 16, 1u << 17 };

/*
 * @reply: the last one, owned; its message is empty when there was none.
 * @error: of it, or NULL. @cancelled: shot_cancel() was called. @bad: it said what it may not.
 * @quiet: nothing more is read from it.
 */
struct shot {
	const struct link_env *env;
	struct spawned process;
	struct loop_watch *calls;
	struct loop_watch *end;
	struct loop_timer *timer;
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	const struct umem_idl *idl;
	const struct shot_ops *ops;
	void *user;
	struct umem_reply reply;
	const char *error;
	bool answered;
	bool cancelled;
	bool bad;
	bool quiet;
};

static void kill_it(struct shot *shot)
{
	pidfd_send_signal(shot->process.pidfd, SIGKILL, NULL, 0);
}

/* Nothing more is expected but its end. */
static void await_end(struct shot *shot)
{
	shot->quiet = true;
	if (!loop_timer_is_set(shot->timer))
		loop_timer_set(shot->timer, END_NS);
}

static void on_timer(void *user)
{
	struct shot *shot = user;

	log_warning("process %d, which takes a snapshot, does not end: it is killed",
		(int)shot->process.pid);
	kill_it(shot);
}

/* Does a reply say what it may? */
static bool is_fine(struct shot *shot, const struct umem_reply *reply, struct umem_note *note)
{
	const struct umem_idl_entry *take = umem_idl_find(shot->idl, UMEM_IDL_METHOD, "Take");
	const struct umem_idl_entry *error = reply->error ?
		umem_idl_find_error(shot->idl, reply->error) : NULL;
	char where[UMEM_IDL_WHERE];

	if (reply->error) {
		shot->error = error ? error->name : NULL;
		return error && !reply->continues &&
			umem_idl_check(error->in, reply->parameters, where, note) == 0;
	}
	return umem_idl_check(take->out, reply->parameters, where, note) == 0 &&
		umem_json_type(umem_json_get(reply->parameters, reply->continues ? "progress" :
			"snapshot")) == UMEM_JSON_OBJECT;
}

static void take_reply(struct shot *shot, struct umem_frame *frame)
{
	struct umem_reply reply = { 0 };
	struct umem_note note = { 0 };
	int r = umem_reply_decode(frame->text, frame->len_bytes, &limits, &reply, &note);

	if (r < 0 || frame->n_fds || !is_fine(shot, &reply, &note)) {
		log_error("process %d, which takes a snapshot, said what it may not (%s)",
			(int)shot->process.pid, note.text);
		shot->bad = true;
		kill_it(shot);
		await_end(shot);
	} else if (reply.continues) {
		shot->ops->progress(shot->user, reply.parameters);
	} else {
		shot->answered = true;
		shot->reply = reply;
		reply = (struct umem_reply){ 0 };
		await_end(shot);
	}
	umem_reply_deinit(&reply);
}

/* Read once, and take what is whole then. Return: there may be more. */
static bool receive(struct shot *shot)
{
	struct umem_frame frame = { 0 };
	int r = umem_inbox_receive(&shot->inbox, shot->process.calls_fd);
	const bool more = r == 0;

	while (r == 0 && !shot->quiet) {
		r = umem_inbox_next(&shot->inbox, &frame);
		if (r == 0) {
			take_reply(shot, &frame);
			umem_frame_deinit(&frame);
		}
	}
	if (r == 0 || r == -EAGAIN || r == UMEM_AGAIN)
		return more;
	if (r != -EPIPE && r != -ECONNRESET) {
		shot->bad = true;
		kill_it(shot);
	}
	await_end(shot);
	return false;
}

static void on_calls(void *user, unsigned what)
{
	struct shot *shot = user;
	int r = umem_outbox_send(&shot->outbox, shot->process.calls_fd);

	if (what & LOOP_READ)
		receive(shot);
	else if (r < 0 && r != -EAGAIN)
		await_end(shot);
	loop_watch_for(shot->calls, shot->quiet ? 0 :
		LOOP_READ | (r == -EAGAIN ? LOOP_WRITE : 0));
}

/* What the last reply says, or that there was none. */
static int result_of(const struct shot *shot, struct umem_note *note)
{
	const struct umem_json *p = shot->reply.parameters;
	int64_t number = umem_json_get_int(p, "errno", EIO);
	int r = number > 0 && number < 4096 ? (int)-number : -EIO;

	if (shot->answered && !shot->error)
		return 0;
	if (shot->cancelled)
		return umem_note_set(note, -ECANCELED, 0, "the snapshot was cancelled; the target "
			"runs on");
	if (!shot->answered)
		return umem_note_set(note, -EIO, 0, "the process that took the snapshot %s; the "
			"target runs on, take it again",
			shot->bad ? "did not behave" : "was killed");
	if (strcmp(shot->error, "Gone") == 0)
		r = UMEM_GONE;
	umem_note_set(note, r < 0 ? r : -ESRCH, 0, "%s", umem_json_get_text(p, "text", ""));
	return r;
}

static void on_end(void *user, unsigned what)
{
	struct shot *shot = user;
	struct umem_note note = { 0 };
	struct shot_result result = { .note = &note };

	/* What it said at last may not have been read yet. */
	while (!shot->quiet && receive(shot))
		;
	waitid(P_PIDFD, (id_t)shot->process.pidfd, &(siginfo_t){ 0 }, WEXITED | WNOHANG);
	loop_watch_for(shot->end, 0);
	loop_watch_for(shot->calls, 0);
	loop_timer_clear(shot->timer);
	result.result = result_of(shot, &note);
	if (result.result == 0)
		result.reply = shot->reply.parameters;
	if (result.result == -EIO)
		log_error("process %d, which took a snapshot: %s", (int)shot->process.pid,
			note.text);
	shot->ops->done(shot->user, &result);
}

static int watch(struct shot *shot)
{
	struct loop *loop = shot->env->loop;
	int r = loop_watch_new(loop, shot->process.calls_fd, on_calls, shot, &shot->calls);

	if (r == 0)
		r = loop_watch_new(loop, shot->process.pidfd, on_end, shot, &shot->end);
	if (r == 0)
		r = loop_timer_new(loop, on_timer, shot, &shot->timer);
	if (r < 0)
		return r;
	loop_watch_for(shot->calls, LOOP_READ | LOOP_WRITE);
	loop_watch_for(shot->end, LOOP_READ);
	return 0;
}

static int start(struct shot *shot, const struct auth_who *who)
{
	struct spawn_options spawn = shot->env->spawn;
	int r;

	/* Only root can become another user. */
	if (geteuid() != 0 && who->uid != geteuid())
		return -EPERM;
	spawn.uid = who->admin ? 0 : who->uid;
	spawn.gid = who->admin ? 0 : who->gid;
	spawn.root_fd = -1;
	spawn.role = "snapshot";
	r = spawn_worker(&spawn, &shot->process);
	shot->process.broker_fd = umem_fd_close(shot->process.broker_fd);
	return r;
}

int shot_new(const struct link_env *env, const struct auth_who *who,
	struct umem_json *parameters, const int *fds, size_t n_fds, const struct shot_ops *ops,
	void *user, struct shot **ret_shot)
{
	struct shot *shot = calloc(1, sizeof(*shot));
	int r;

	if (!shot) {
		umem_json_free(parameters);
		return -ENOMEM;
	}
	*shot = (struct shot){
		.env = env,
		.process = { .pidfd = -1, .calls_fd = -1, .broker_fd = -1 },
		.inbox = { .max_bytes = MAX_BYTES },
		.idl = umem_interfaces_find(env->interfaces, INTERFACE),
		.ops = ops,
		.user = user,
	};
	r = umem_outbox_add_call_consume(&shot->outbox, INTERFACE ".Take", parameters, true, fds,
		n_fds);
	if (r == 0)
		r = start(shot, who);
	if (r == 0)
		r = watch(shot);
	if (r < 0) {
		shot_free(shot);
		return r;
	}
	*ret_shot = shot;
	return 0;
}

void shot_cancel(struct shot *shot)
{
	if (shot->cancelled)
		return;
	shot->cancelled = true;
	shutdown(shot->process.calls_fd, SHUT_WR);
	if (!loop_timer_is_set(shot->timer))
		loop_timer_set(shot->timer, END_NS);
}

struct shot *shot_free(struct shot *shot)
{
	if (!shot)
		return NULL;
	loop_watch_free(shot->calls);
	loop_watch_free(shot->end);
	loop_timer_free(shot->timer);
	umem_inbox_deinit(&shot->inbox);
	umem_outbox_deinit(&shot->outbox);
	umem_reply_deinit(&shot->reply);
	/* The end of the socket cancels what is under way. */
	umem_fd_close(shot->process.calls_fd);
	umem_fd_close(shot->process.broker_fd);
	umem_fd_close(shot->process.pidfd);
	free(shot);
	return NULL;
}
