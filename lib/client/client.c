// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A connection to umemd: calls, their replies, and what went wrong with them.
 *
 * The daemon is trusted to mean well, not to be right: what it sends has caps, and what is
 * not as expected ends the connection (-EPROTO).
 */
#include "lib/client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

#define MAX_BYTES (4u << 20)

/* Between two looks whether a long call is to end. */
#define TICK_NS 100000000u

static const struct umem_json_limits limits = { MAX_BYTES, 16, 1u << 18 };

void umem_client_answer_deinit(struct umem_client_answer *answer)
{
	umem_reply_deinit(&answer->reply);
	umem_frame_deinit(&answer->frame);
}

int umem_client_connect(const char *path, struct umem_client **ret_client,
	struct umem_note *note)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	UMEM_FD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct umem_client *client;
	int r;

	if (!path)
		path = UMEMD_SOCKET;
	if (sock < 0)
		return umem_note_set(note, -errno, 0, "a socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(addr.sun_path))
		return umem_note_set(note, -ENAMETOOLONG, 0, "%s: too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (connect(sock, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		r = -errno;
		return umem_note_set(note, r, 0, "umemd does not listen at %s: %s", path,
			strerror(-r));
	}
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->sock = umem_fd_take(&sock);
	client->inbox.max_bytes = MAX_BYTES;
	client->path = strdup(path);
	if (!client->path) {
		umem_client_free(client);
		return -ENOMEM;
	}
	*ret_client = client;
	return 0;
}

struct umem_client *umem_client_free(struct umem_client *client)
{
	if (!client)
		return NULL;
	umem_fd_close(client->sock);
	umem_inbox_deinit(&client->inbox);
	umem_outbox_deinit(&client->outbox);
	umem_reasons_deinit(&client->assumes);
	umem_client_forget_moved(client);
	umem_reasons_deinit(&client->incomplete);
	umem_json_free(client->words);
	free(client->path);
	free(client);
	return NULL;
}

void umem_client_set_timeout(struct umem_client *client, uint64_t timeout_ns)
{
	client->timeout_ns = timeout_ns;
}

/* The connection is of no more use. Return: @r, said in @note. */
static int over(struct umem_client *client, int r, struct umem_note *note)
{
	client->sock = umem_fd_close(client->sock);
	return umem_note_set(note, r, 0, "the connection to umemd is over: %s",
		r == -EPIPE ? "it was closed" : r == -EPROTO ? "a reply is not understood" :
							 strerror(-r));
}

/* Wait until the socket is ready for @events, at most a tick. Return: 0, UMEM_AGAIN, -errno. */
static int wait_a_tick(const struct umem_client *client, short events)
{
	struct pollfd pfd = { .fd = client->sock, .events = events };
	int n = ppoll(&pfd, 1, &(struct timespec){ .tv_nsec = TICK_NS }, NULL);

	if (n < 0 && errno != EINTR)
		return -errno;
	return n > 0 ? 0 : UMEM_AGAIN;
}

/* Wait until the socket is ready for @events. Return: 0, -ETIMEDOUT. */
static int wait_for(const struct umem_client *client, short events, uint64_t end_ns)
{
	struct pollfd pfd = { .fd = client->sock, .events = events };

	for (;;) {
		uint64_t now_ns = umem_now_ns();
		struct timespec left = { 0 };
		int n;

		if (client->timeout_ns && now_ns >= end_ns)
			return -ETIMEDOUT;
		if (client->timeout_ns)
			left = (struct timespec){ (time_t)((end_ns - now_ns) / 1000000000u),
				(long)((end_ns - now_ns) % 1000000000u) };
		n = ppoll(&pfd, 1, client->timeout_ns ? &left : NULL, NULL);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_all(struct umem_client *client, uint64_t end_ns)
{
	int r;

	while ((r = umem_outbox_send(&client->outbox, client->sock)) == -EAGAIN) {
		r = wait_for(client, POLLOUT, end_ns);
		if (r < 0)
			return r;
	}
	return r == -ECONNRESET ? -EPIPE : r;
}

int umem_client_take(struct umem_client *client, struct umem_client_answer *ret_answer)
{
	struct umem_client_answer answer = { 0 };
	int r = umem_inbox_next(&client->inbox, &answer.frame);

	if (r != 0)
		return r == UMEM_AGAIN || r == -ENOMEM ? r : -EPROTO;
	r = umem_reply_decode(answer.frame.text, answer.frame.len_bytes, &limits,
		&answer.reply, NULL);
	if (r < 0) {
		umem_frame_deinit(&answer.frame);
		return r == -ENOMEM ? r : -EPROTO;
	}
	*ret_answer = answer;
	return 0;
}

static int receive(struct umem_client *client, uint64_t end_ns,
	struct umem_client_answer *ret_answer)
{
	int r;

	while ((r = umem_client_take(client, ret_answer)) == UMEM_AGAIN) {
		r = umem_inbox_receive(&client->inbox, client->sock);
		if (r == -EAGAIN)
			r = wait_for(client, POLLIN, end_ns);
		if (r < 0)
			return r == -ECONNRESET ? -EPIPE : r == -EMSGSIZE ? -EPROTO : r;
	}
	return r;
}

static bool ends_in(const char *name, const char *end)
{
	const char *dot = strrchr(name, '.');

	return dot && strcmp(dot + 1, end) == 0;
}

int umem_client_result(const struct umem_reply *reply, struct umem_note *note)
{
	static const struct {
		const char *error;
		int result;
		const char *before;
		const char *key; /* of what the error names */
	} errors[] = {
		{ "Gone", UMEM_GONE, "", "text" },
		{ "NotPermitted", -EPERM, "", "text" },
		{ "QuotaExceeded", -EDQUOT, "", "text" },
		{ "NoSuchTarget", -ENOENT, "there is no target ", "target" },
		{ "NotSet", -ENOENT, "no policy of reclaim is set: target ", "target" },
		{ "NotStarted", -ENOENT, "it is not tracked: target ", "target" },
		{ "AlreadyStarted", -EALREADY, "it is tracked already: target ", "target" },
		{ "Busy", -EBUSY, "a snapshot is being taken of target ", "target" },
		{ "Cancelled", -ECANCELED, "", "text" },
		{ "TooManyRanges", -E2BIG, "more ranges than a reply takes", "" },
		{ "InvalidParameter", -EINVAL, "umemd does not take parameter ", "parameter" },
		{ "InterfaceNotFound", -EOPNOTSUPP, "umemd has no interface ", "interface" },
		{ "MethodNotFound", -EOPNOTSUPP, "umemd has no method ", "method" },
	};
	const struct umem_json *p = reply->parameters;
	int64_t number;

	if (!reply->error)
		return 0;
	for (size_t i = 0; i < UMEM_ARRAY_LEN(errors); i++) {
		if (!ends_in(reply->error, errors[i].error))
			continue;
		umem_note_set(note, errors[i].result < 0 ? errors[i].result : -ESRCH, 0, "%s%s",
			errors[i].before, umem_json_get_text(p, errors[i].key, ""));
		return errors[i].result;
	}
	number = umem_json_get_int(p, "errno", EIO);
	return umem_note_set(note, number > 0 && number < 4096 ? (int)-number : -EIO, 0, "%s",
		umem_json_get_text(p, "text", reply->error));
}

static int check_free(const struct umem_client *client, struct umem_note *note)
{
	if (client->sock < 0)
		return umem_note_set(note, -EPIPE, 0, "the connection to umemd is over");
	return client->on_round ? umem_note_set(note, -EBUSY, 0,
		"the connection monitors; open another one") : 0;
}

int umem_client_call(struct umem_client *client, const char *method,
	struct umem_json *parameters, const int *fds, size_t n_fds,
	struct umem_client_answer *ret_answer, struct umem_note *note)
{
	uint64_t end_ns = umem_now_ns() + client->timeout_ns;
	struct umem_client_answer answer = { 0 };
	int r = check_free(client, note);

	if (r < 0) {
		umem_json_free(parameters);
		return r;
	}
	r = umem_outbox_add_call_consume(&client->outbox, method, parameters, false, fds, n_fds);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", method, strerror(-r));
	r = send_all(client, end_ns);
	if (r == 0)
		r = receive(client, end_ns, &answer);
	if (r < 0)
		return over(client, r, note);
	r = umem_client_result(&answer.reply, note);
	if (r != 0) {
		umem_client_answer_deinit(&answer);
		return r;
	}
	*ret_answer = answer;
	return 0;
}

/* The next reply; @each is told NULL for each tick without one. Return: as receive(). */
static int receive_with(struct umem_client *client,
	int (*each)(void *user, const struct umem_json *parameters), void *user,
	struct umem_client_answer *ret_answer)
{
	int r, stop;

	while ((r = umem_client_take(client, ret_answer)) == UMEM_AGAIN) {
		r = umem_inbox_receive(&client->inbox, client->sock);
		stop = r == -EAGAIN && wait_a_tick(client, POLLIN) == UMEM_AGAIN ?
			each(user, NULL) : 0;
		if (stop)
			return stop;
		if (r < 0 && r != -EAGAIN)
			return r == -ECONNRESET ? -EPIPE : r == -EMSGSIZE ? -EPROTO : r;
	}
	return r;
}

int umem_client_call_more(struct umem_client *client, const char *method,
	struct umem_json *parameters, const int *fds, size_t n_fds,
	int (*each)(void *user, const struct umem_json *parameters), void *user,
	struct umem_client_answer *ret_answer, struct umem_note *note)
{
	struct umem_client_answer answer = { 0 };
	int r = check_free(client, note);

	if (r < 0) {
		umem_json_free(parameters);
		return r;
	}
	r = umem_outbox_add_call_consume(&client->outbox, method, parameters, true, fds, n_fds);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", method, strerror(-r));
	r = send_all(client, umem_now_ns() + client->timeout_ns);
	if (r == 0)
		r = receive_with(client, each, user, &answer);
	while (r == 0 && answer.reply.continues) {
		r = each(user, answer.reply.parameters);
		umem_client_answer_deinit(&answer);
		answer = (struct umem_client_answer){ 0 };
		if (r != 0)
			break;
		r = receive_with(client, each, user, &answer);
	}
	if (r != 0)
		return over(client, r, note);
	r = umem_client_result(&answer.reply, note);
	if (r != 0) {
		umem_client_answer_deinit(&answer);
		return r;
	}
	*ret_answer = answer;
	return 0;
}

int umem_client_send_more(struct umem_client *client, const char *method,
	struct umem_json *parameters, struct umem_note *note)
{
	int r = check_free(client, note);

	if (r < 0) {
		umem_json_free(parameters);
		return r;
	}
	r = umem_outbox_add_call_consume(&client->outbox, method, parameters, true, NULL, 0);
	if (r == 0)
		r = umem_outbox_send(&client->outbox, client->sock);
	return r < 0 && r != -EAGAIN ? over(client, r, note) : 0;
}

int umem_client_fd(const struct umem_client *client)
{
	return client->sock;
}

short umem_client_events(const struct umem_client *client)
{
	return umem_outbox_empty(&client->outbox) ? POLLIN : POLLIN | POLLOUT;
}
