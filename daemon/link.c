// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The manager's side of one worker.
 *
 * Theory of operation
 *
 *     link_call() -> outbox -> calls socket -> worker
 *                              answered()   <- inbox <- check against the interface
 *
 * The end shows in three ways: the socket ends, the pidfd becomes readable, or a
 * call takes too long. Whichever comes first has the process killed; the owner is told
 * when it is over, or when it cannot be killed (KILL_NS), and always from the loop, so
 * that no function of the owner's is called back into. A link that is freed before
 * leaves the process on its own, to be waited for when it is over (struct dying).
 */
#include "daemon/link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/broker.h"
#include "daemon/log.h"
#include "lib/base/fd.h"

#define INTERFACE "io.umemd.Worker"
/* A process that is killed ends when the system call that it is in does. */
#define KILL_NS 30000000000ull
/* The longest: a round with as many ranges and reasons as a worker tells. */
#define MAX_BYTES (2u << 20)

static const struct umem_json_limits limits = { MAX_BYTES, 16, 1u << 17 };

struct link {
	const struct link_env *env;
	struct spawned worker;
	struct loop_watch *calls;
	struct loop_watch *end;
	struct loop_timer *timer;
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	struct broker *broker;
	const struct umem_idl *idl;
	const struct umem_idl_entry *method;
	void (*answered)(void *user, const struct link_answer *answer);
	void *answered_user;
	bool more;
	bool cancelled;
	void (*died)(void *user, const char *how);
	void *user;
	const char *how;
	bool over;
};

/* A process that was killed and is not over yet. */
struct dying {
	int pidfd;
	struct loop_watch *watch;
	LIST_ENTRY(dying) entry;
};

static LIST_HEAD(, dying) all_dying = LIST_HEAD_INITIALIZER(all_dying);

static void reap(void *user, unsigned what)
{
	struct dying *dying = user;

	waitid(P_PIDFD, (id_t)dying->pidfd, &(siginfo_t){ 0 }, WEXITED | WNOHANG);
	LIST_REMOVE(dying, entry);
	loop_watch_free(dying->watch);
	umem_fd_close(dying->pidfd);
	free(dying);
}

void links_end(void)
{
	while (!LIST_EMPTY(&all_dying))
		reap(LIST_FIRST(&all_dying), 0);
}

/* Have the process waited for; @pidfd is consumed. */
static void wait_for_end(struct loop *loop, int pidfd)
{
	struct dying *dying = calloc(1, sizeof(*dying));

	if (dying) {
		dying->pidfd = pidfd;
		if (loop_watch_new(loop, pidfd, reap, dying, &dying->watch) == 0) {
			LIST_INSERT_HEAD(&all_dying, dying, entry);
			loop_watch_for(dying->watch, LOOP_READ);
			return;
		}
		free(dying);
	}
	waitid(P_PIDFD, (id_t)pidfd, &(siginfo_t){ 0 }, WEXITED);
	umem_fd_close(pidfd);
}

/* It is of no more use: kill it, and tell the owner soon. */
static void fail(struct link *link, const char *how)
{
	if (link->how)
		return;
	link->how = how;
	loop_watch_for(link->calls, 0);
	pidfd_send_signal(link->worker.pidfd, SIGKILL, NULL, 0);
	link->method = NULL;
	loop_timer_set(link->timer, KILL_NS);
}

static void on_timer(void *user)
{
	struct link *link = user;

	if (link->how)
		link->died(link->user, link->how);
	else
		fail(link, LINK_TIMEOUT);
}

/*
 * One message of the worker's. Return: false when it does not keep to its interface.
 * @ret_continues: more replies to the same call follow; else the link may be gone.
 */
static bool take_reply(struct link *link, struct umem_frame *frame, bool *ret_continues)
{
	struct link_answer answer = { .frame = frame };
	const struct umem_idl_entry *entry = link->method;
	struct umem_note note = { 0 };
	char where[UMEM_IDL_WHERE];
	struct umem_reply reply = { 0 };
	void (*answered)(void *, const struct link_answer *) = link->answered;
	int r = umem_reply_decode(frame->text, frame->len_bytes, &limits, &reply, &note);

	if (r == 0 && reply.error) {
		entry = umem_idl_find_error(link->idl, reply.error);
		r = entry ? umem_idl_check(entry->in, reply.parameters, where, &note) : -EINVAL;
		answer.error = entry ? entry->name : NULL;
	} else if (r == 0) {
		r = entry ? umem_idl_check(entry->out, reply.parameters, where, &note) : -EINVAL;
	}
	answer.continues = reply.continues;
	if (r < 0 || !link->method || (reply.continues && (!link->more || reply.error))) {
		log_error("worker %d said what it may not say (%s)", (int)link->worker.pid,
			note.text);
		umem_reply_deinit(&reply);
		return false;
	}
	answer.parameters = reply.parameters;
	if (reply.continues) {
		/* To go on working is a sign of life, but not for one that is to end. */
		if (!link->cancelled)
			loop_timer_set(link->timer, link->env->timeout_ns);
	} else {
		link->method = NULL;
		loop_timer_clear(link->timer);
	}
	*ret_continues = reply.continues;
	/* The link may be gone behind this. */
	answered(link->answered_user, &answer);
	umem_reply_deinit(&reply);
	return true;
}

/* Take one message that is here. Return: true when there may be more of the same call. */
static bool take(struct link *link, int r)
{
	struct umem_frame frame = { 0 };
	bool more = false;

	if (r == 0)
		r = umem_inbox_next(&link->inbox, &frame);
	if (r == -EAGAIN || r == UMEM_AGAIN)
		return false;
	if (r < 0) {
		fail(link, r == -EPIPE || r == -ECONNRESET ? LINK_ENDED :
			"what it sent is no message");
		return false;
	}
	if (!take_reply(link, &frame, &more))
		fail(link, "it does not keep to its interface");
	umem_frame_deinit(&frame);
	return more;
}

static void receive(struct link *link)
{
	int r = umem_inbox_receive(&link->inbox, link->worker.calls_fd);

	/* A worker answers one call at a time: what came behind that is never looked at. */
	while (take(link, r))
		r = 0;
}

/*
 * The process is over. It may have answered just before, and ended as it was told to: that
 * is told first, and this comes again, if the link is there still, until nothing is left.
 */
static void on_end(void *user, unsigned what)
{
	struct link *link = user;
	struct pollfd pfd = { .fd = link->worker.calls_fd, .events = POLLIN };

	if (link->method && poll(&pfd, 1, 0) == 1) {
		receive(link);
		return;
	}
	fail(link, LINK_ENDED);
	loop_watch_for(link->end, 0);
	link->over = true;
	link->died(link->user, link->how);
}

static void on_calls(void *user, unsigned what)
{
	struct link *link = user;
	int r = umem_outbox_send(&link->outbox, link->worker.calls_fd);

	if (r < 0 && r != -EAGAIN) {
		fail(link, LINK_ENDED);
		return;
	}
	loop_watch_for(link->calls, LOOP_READ | (r == -EAGAIN ? LOOP_WRITE : 0));
	if (what & LOOP_READ)
		receive(link);
}

static int watch(struct link *link, const struct link_subject *subject)
{
	struct loop *loop = link->env->loop;
	int r = loop_watch_new(loop, link->worker.calls_fd, on_calls, link, &link->calls);

	if (r == 0)
		r = loop_watch_new(loop, link->worker.pidfd, on_end, link, &link->end);
	if (r == 0)
		r = loop_timer_new(loop, on_timer, link, &link->timer);
	if (r == 0)
		r = broker_new(link->env, umem_fd_take(&link->worker.broker_fd), subject,
			&link->broker);
	if (r == 0) {
		loop_watch_for(link->calls, LOOP_READ);
		loop_watch_for(link->end, LOOP_READ);
	}
	return r;
}

int link_new(const struct link_env *env, const struct link_subject *subject,
	void (*died)(void *user, const char *how), void *user, struct link **ret_link)
{
	struct link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	*link = (struct link){
		.env = env,
		.worker = { .pidfd = -1, .calls_fd = -1, .broker_fd = -1 },
		.inbox = { .max_bytes = MAX_BYTES },
		.idl = umem_interfaces_find(env->interfaces, INTERFACE),
		.died = died,
		.user = user,
	};
	r = spawn_worker(&env->spawn, &link->worker);
	if (r == 0)
		r = watch(link, subject);
	if (r < 0) {
		link_free(link);
		return r;
	}
	*ret_link = link;
	return 0;
}

int link_call(struct link *link, const char *method, struct umem_json *parameters,
	const int *fds, size_t n_fds,
	void (*answered)(void *user, const struct link_answer *answer), void *user)
{
	char name[UMEM_METHOD_MAX];
	int r;

	snprintf(name, sizeof(name), INTERFACE ".%s", method);
	r = umem_outbox_add_call_consume(&link->outbox, name, parameters, false, fds, n_fds);
	if (r < 0)
		return r;
	link->method = umem_idl_find(link->idl, UMEM_IDL_METHOD, method);
	link->answered = answered;
	link->answered_user = user;
	link->more = false;
	link->cancelled = false;
	if (!link->how) {
		loop_timer_set(link->timer, link->env->timeout_ns);
		loop_watch_for(link->calls, LOOP_READ | LOOP_WRITE);
	}
	return 0;
}

void link_expect_more(struct link *link)
{
	link->more = true;
}

void link_cancel(struct link *link)
{
	/* Without memory it goes on, and ends in its own time. */
	if (umem_outbox_add_call_consume(&link->outbox, INTERFACE ".Cancel", NULL, false, NULL,
		    0) < 0)
		return;
	if (link->how)
		return;
	if (!link->cancelled)
		loop_timer_set(link->timer, link->env->timeout_ns);
	link->cancelled = true;
	loop_watch_for(link->calls, LOOP_READ | LOOP_WRITE);
}

bool link_busy(const struct link *link)
{
	return link->method != NULL;
}

pid_t link_pid(const struct link *link)
{
	return link->worker.pid;
}

int link_pidfd(const struct link *link)
{
	return link->worker.pidfd;
}

bool link_is_over(const struct link *link)
{
	return link->over;
}

struct link *link_free(struct link *link)
{
	if (!link)
		return NULL;
	loop_watch_free(link->calls);
	loop_watch_free(link->end);
	loop_timer_free(link->timer);
	broker_free(link->broker);
	umem_inbox_deinit(&link->inbox);
	umem_outbox_deinit(&link->outbox);
	umem_fd_close(link->worker.calls_fd);
	umem_fd_close(link->worker.broker_fd);
	if (link->worker.pidfd >= 0) {
		pidfd_send_signal(link->worker.pidfd, SIGKILL, NULL, 0);
		wait_for_end(link->env->loop, link->worker.pidfd);
	}
	free(link);
	return NULL;
}
