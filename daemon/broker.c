// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Serving a worker's questions about its target.
 *
 * A question is taken apart here, answered in a thread (struct question, which
 * outlives the broker if need be), and the answer sent from here. While one is
 * being answered nothing is read.
 */
#include "daemon/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/acquire.h"
#include "lib/base/fd.h"

#define INTERFACE "io.umemd.Broker"
#define MAX_BYTES (1u << 20)

static const struct umem_json_limits limits = { MAX_BYTES, 8, 1u << 17 };

struct broker {
	const struct link_env *env;
	int sock;
	struct auth_who who;
	pid_t pid;
	int pidfd;
	struct loop_watch *watch;
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	struct question *question;
};

/* A question in a thread; @broker is NULL when nobody waits for the answer any more. */
struct question {
	struct broker *broker;
	const struct subject *subject;
	struct auth_who who;
	pid_t pid;
	int pidfd;
	struct umem_json *parameters;
	int result;
	struct umem_json *answer;
	int fd;
};

/* What can be asked: a row each. @work fills @answer, and @fd for a descriptor. */
struct subject {
	const char *method;
	int (*work)(struct question *q);
};

/* The mapping that is asked about. Return: false for none. */
static bool mapping(const struct question *q, uint64_t *ret_start, uint64_t *ret_end)
{
	int64_t start = umem_json_get_int(q->parameters, "start", -1);
	int64_t end = umem_json_get_int(q->parameters, "end", -1);

	*ret_start = (uint64_t)start;
	*ret_end = (uint64_t)end;
	return start >= 0 && end > start;
}

/* Answer with @fd of @q, if @r is 0. Return: @r. */
static int answer_fd(struct question *q, int r)
{
	if (r < 0)
		return r;
	q->answer = umem_json_object();
	umem_json_set_u64(q->answer, "fd", 0);
	return 0;
}

static int open_mapped(struct question *q)
{
	const struct acquire_mapping file = {
		.write = umem_json_get_bool(q->parameters, "write", false),
		.wait = umem_json_get_bool(q->parameters, "wait", true),
	};
	uint64_t start, end;

	if (!mapping(q, &start, &end))
		return -EINVAL;
	return answer_fd(q, acquire_open_mapped(q->pid, q->pidfd, start, end, &file, &q->fd));
}

static int backing(struct question *q)
{
	uint64_t start, end;

	if (!mapping(q, &start, &end))
		return -EINVAL;
	q->answer = umem_json_object();
	umem_json_set_text(q->answer, "backing", acquire_backing(q->pid, q->pidfd, start, end));
	return 0;
}

static int mappers(struct question *q)
{
	return acquire_mappers(&q->who, q->pid, umem_json_get(q->parameters, "objects"),
		&q->answer);
}

static int machine(struct question *q)
{
	return acquire_machine(q->pid, umem_json_get_bool(q->parameters, "room", false),
		umem_json_get_bool(q->parameters, "strain", false), &q->answer);
}

static int open_frames(struct question *q)
{
	return answer_fd(q, acquire_open_frames(&q->fd));
}

static const struct subject subjects[] = {
	{ "OpenMapped", open_mapped },
	{ "Backing", backing },
	{ "Mappers", mappers },
	{ "Machine", machine },
	{ "OpenFrames", open_frames },
};

static void work(void *user)
{
	struct question *q = user;

	q->result = q->subject->work(q);
}

static void free_question(struct question *q)
{
	umem_fd_close(q->pidfd);
	umem_fd_close(q->fd);
	umem_json_free(q->parameters);
	umem_json_free(q->answer);
	free(q);
}

static void reply(struct broker *b, const char *error, struct umem_json *parameters, int fd)
{
	char *text;
	size_t len;

	/* Without memory there is no answer: the worker is killed when its time is over. */
	if (umem_reply_encode_consume(error, parameters, false, &text, &len) < 0)
		umem_fd_close(fd);
	else if (umem_outbox_add_consume(&b->outbox, text, len, &fd, fd >= 0) == 0)
		loop_watch_for(b->watch, LOOP_WRITE);
}

static void reply_failed(struct broker *b, int r)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_int(parameters, "errno", -r);
	umem_json_set_text(parameters, "text", strerror(-r));
	reply(b, INTERFACE ".Failed", parameters, -1);
}

static void answered(void *user)
{
	struct question *q = user;
	struct broker *b = q->broker;

	if (b) {
		b->question = NULL;
		if (q->result < 0)
			reply_failed(b, q->result);
		else
			reply(b, NULL, UMEM_TAKE_PTR(q->answer), umem_fd_take(&q->fd));
	}
	free_question(q);
}

static int ask(struct broker *b, const struct subject *subject, const struct umem_call *call)
{
	struct question *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	*q = (struct question){
		.broker = b,
		.subject = subject,
		.who = b->who,
		.pid = b->pid,
		.pidfd = fcntl(b->pidfd, F_DUPFD_CLOEXEC, 0),
		.parameters = call->parameters ? umem_json_share(call->parameters) : NULL,
		.fd = -1,
	};
	r = q->pidfd < 0 ? -errno : pool_run(b->env->pool, work, answered, q);
	if (r < 0) {
		free_question(q);
		return r;
	}
	b->question = q;
	return 0;
}

static const struct subject *find(const struct umem_call *call)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(subjects); i++)
		if (strcmp(call->interface, INTERFACE) == 0 &&
			strcmp(call->method, subjects[i].method) == 0)
			return &subjects[i];
	return NULL;
}

/* Return: 0; -EPROTO when it is no call of the interface. */
static int serve(struct broker *b, const struct umem_frame *frame)
{
	const struct umem_idl *idl = umem_interfaces_find(b->env->interfaces, INTERFACE);
	const struct umem_idl_entry *method;
	const struct subject *subject;
	char where[UMEM_IDL_WHERE];
	struct umem_call call;
	int r = umem_call_decode(frame->text, frame->len_bytes, &limits, &call, NULL);

	if (r < 0)
		return -EPROTO;
	subject = find(&call);
	method = umem_idl_find(idl, UMEM_IDL_METHOD, call.method);
	if (!subject || !method ||
		umem_idl_check(method->in, call.parameters, where, NULL) < 0)
		r = -EPROTO;
	if (r == 0) {
		r = ask(b, subject, &call);
		if (r < 0)
			reply_failed(b, r);
		r = 0;
	}
	umem_call_deinit(&call);
	return r;
}

static void on_ready(void *user, unsigned what)
{
	struct broker *b = user;
	struct umem_frame frame = { 0 };
	int r = umem_outbox_send(&b->outbox, b->sock);

	if (r == 0 && !b->question) {
		r = umem_inbox_next(&b->inbox, &frame);
		if (r == UMEM_AGAIN && (what & LOOP_READ)) {
			r = umem_inbox_receive(&b->inbox, b->sock);
			if (r == 0)
				r = umem_inbox_next(&b->inbox, &frame);
		}
		if (r == 0)
			r = serve(b, &frame);
		umem_frame_deinit(&frame);
	}
	/* One that does not keep to it is not listened to any more. */
	if (r < 0 && r != -EAGAIN)
		loop_watch_for(b->watch, 0);
	else if (!umem_outbox_empty(&b->outbox))
		loop_watch_for(b->watch, LOOP_WRITE);
	else
		loop_watch_for(b->watch, b->question ? 0 : LOOP_READ);
}

int broker_new(const struct link_env *env, int sock, const struct link_subject *subject,
	struct broker **ret_broker)
{
	struct broker *b = calloc(1, sizeof(*b));
	int r;

	if (!b) {
		umem_fd_close(sock);
		return -ENOMEM;
	}
	*b = (struct broker){
		.env = env,
		.sock = sock,
		.who = *subject->who,
		.pid = subject->pid,
		.pidfd = fcntl(subject->pidfd, F_DUPFD_CLOEXEC, 0),
		.inbox = { .max_bytes = MAX_BYTES },
	};
	r = b->pidfd < 0 ? -errno : loop_watch_new(env->loop, sock, on_ready, b, &b->watch);
	if (r < 0) {
		broker_free(b);
		return r;
	}
	loop_watch_for(b->watch, LOOP_READ);
	*ret_broker = b;
	return 0;
}

struct broker *broker_free(struct broker *b)
{
	if (!b)
		return NULL;
	if (b->question)
		b->question->broker = NULL;
	loop_watch_free(b->watch);
	umem_inbox_deinit(&b->inbox);
	umem_outbox_deinit(&b->outbox);
	umem_fd_close(b->sock);
	umem_fd_close(b->pidfd);
	free(b);
	return NULL;
}
