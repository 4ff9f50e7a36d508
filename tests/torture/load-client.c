// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A client of the load: calls, and replies that are checked.
 *
 * Every reply is compared with the description of its interface; every error with what its
 * caller allows. A reply that does not come within LD_WAIT_MS is a failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/torture/load.h"

#define MAX_ALLOWED 32

static const struct umem_json_limits limits = { 4u << 20, 16, 1u << 18 };

static struct umem_interfaces interfaces;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static atomic_bool ending;

/* Errors that were allowed, and came. */
static struct {
	pthread_mutex_t lock;
	struct {
		char what[256];
		uint64_t n;
	} v[MAX_ALLOWED];
	size_t n;
} came = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct ld_counts ld_counts;
bool ld_own_swap;

void ld_setup(const char *socket)
{
	T_OK(umem_interfaces_load(&interfaces, NULL));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket);
}

bool ld_ending(void)
{
	return atomic_load(&ending);
}

void ld_end(void)
{
	atomic_store(&ending, true);
}

void ld_fail(const char *file, int line, const struct ld_client *c, const char *fmt, ...)
{
	char text[512];
	va_list args;

	/* The first one tells; what follows from that does not matter. */
	t_end_begins();
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ld_daemon_show();
	t_fail(file, line, "%s %u, cycle %llu, at %s: %s", c->role->name, c->index,
		(unsigned long long)c->n_cycles, c->method ? c->method : "no call", text);
}

uint64_t ld_below(struct ld_client *c, uint64_t n)
{
	return t_below(&c->rand, n);
}

void ld_pause(struct ld_client *c, unsigned ms)
{
	t_msleep((unsigned)ld_below(c, ms + 1));
}

bool ld_have_swap(void)
{
	char line[256];
	FILE *file = fopen("/proc/swaps", "re");
	/* Behind a line of titles. */
	bool have = file && fgets(line, sizeof(line), file) && fgets(line, sizeof(line), file);

	if (file)
		fclose(file);
	return have;
}

int ld_connect_raw(void)
{
	int sock = (int)T_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	T_SYS(connect(sock, (struct sockaddr *)&address, sizeof(address)));
	return sock;
}

void ld_connect(struct ld_client *c)
{
	if (c->sock >= 0)
		return;
	c->sock = ld_connect_raw();
	c->inbox.max_bytes = limits.max_bytes;
}

void ld_disconnect(struct ld_client *c)
{
	c->sock = umem_fd_close(c->sock);
	umem_inbox_deinit(&c->inbox);
	c->method = NULL;
}

bool ld_send_bytes(int sock, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * 64)] = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct pollfd pfd = { .fd = sock, .events = POLLOUT };

	if (n_fds) {
		struct cmsghdr *head;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(head), fds, sizeof(int) * n_fds);
	}
	while (iov.iov_len > 0) {
		ssize_t n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			T_CHECK(poll(&pfd, 1, LD_WAIT_MS) == 1, "umemd does not read");
			continue;
		}
		if (n < 0)
			return false;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return true;
}

/* What the call that is sent now is to be answered with. */
static void expect(struct ld_client *c, const char *method)
{
	char interface[UMEM_METHOD_MAX];
	char *dot;

	snprintf(interface, sizeof(interface), "%s", method);
	dot = strrchr(interface, '.');
	*dot = '\0';
	c->method = method;
	c->idl = umem_interfaces_find(&interfaces, interface);
	c->entry = umem_idl_find(c->idl, UMEM_IDL_METHOD, dot + 1);
	c->sent_ns = t_now_ns();
	LD_CHECK(c, c->entry != NULL, "no such method");
}

void ld_send(struct ld_client *c, const char *method, struct umem_json *parameters, bool more,
	const int *fds, size_t n_fds)
{
	char *text;
	size_t len;

	ld_connect(c);
	expect(c, method);
	T_OK(umem_call_encode_consume(method, parameters, more, &text, &len));
	LD_CHECK(c, ld_send_bytes(c->sock, text, len + 1, fds, n_fds), "hung up: %s",
		strerror(errno));
	free(text);
}

/* How long the call took that is answered now. */
static void note_latency(struct ld_client *c)
{
	uint64_t took_ns = t_now_ns() - c->sent_ns;
	size_t i = 0;

	while (i < c->n && strcmp(c->v[i].method, c->method) != 0)
		i++;
	if (i == LD_METHODS)
		return;
	if (i == c->n)
		snprintf(c->v[c->n++].method, sizeof(c->v[0].method), "%s", c->method);
	c->v[i].n++;
	c->v[i].total_ns += took_ns;
	if (took_ns > c->v[i].max_ns)
		c->v[i].max_ns = took_ns;
}

static void note_error(const char *method, const char *what)
{
	char text[256];
	size_t i = 0;

	snprintf(text, sizeof(text), "%s: %s", method, what);
	pthread_mutex_lock(&came.lock);
	while (i < came.n && strcmp(came.v[i].what, text) != 0)
		i++;
	if (i < MAX_ALLOWED) {
		if (i == came.n)
			snprintf(came.v[came.n++].what, sizeof(came.v[0].what), "%s", text);
		came.v[i].n++;
	}
	pthread_mutex_unlock(&came.lock);
}

void ld_print_allowed(void)
{
	for (size_t i = 0; i < came.n; i++)
		printf("  asked for: %6llu  %s\n", (unsigned long long)came.v[i].n,
			came.v[i].what);
}

/* Is @word one of the words of @list? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	return false;
}

/* An error reply: it is described, and @allowed. */
static void check_error(struct ld_client *c, const struct umem_reply *reply, const char *allowed)
{
	const char *name = strrchr(reply->error, '.') + 1;
	const struct umem_json *p = reply->parameters;
	bool service = strncmp(reply->error, "org.varlink.service.", 20) == 0;
	const struct umem_idl_entry *entry = umem_idl_find_error(service ?
		umem_interfaces_find(&interfaces, "org.varlink.service") : c->idl, reply->error);
	char word[160], where[UMEM_IDL_WHERE] = "";
	const char *text = umem_json_get_text(p, "text", "");

	LD_CHECK(c, entry && umem_idl_check(entry->in, p, where, NULL) == 0,
		"the error %s is not as described: %s", reply->error, where);
	if (strcmp(name, "Failed") == 0)
		snprintf(word, sizeof(word), "Failed=%lld",
			(long long)umem_json_get_int(p, "errno", 0));
	else if (strcmp(name, "QuotaExceeded") == 0)
		snprintf(word, sizeof(word), "QuotaExceeded=%s",
			umem_json_get_text(p, "quota", ""));
	else
		snprintf(word, sizeof(word), "%s", name);
	LD_CHECK(c, !reply->continues, "an error is the last reply");
	LD_CHECK(c, has_word(allowed, word), "error %s (%s), allowed: %s", word, text, allowed);
	note_error(c->method, word);
}

/* The next message, whole. */
static void next_frame(struct ld_client *c, struct umem_frame *frame)
{
	struct pollfd pfd = { .fd = c->sock, .events = POLLIN };
	int r;

	while ((r = umem_inbox_next(&c->inbox, frame)) == UMEM_AGAIN) {
		LD_CHECK(c, poll(&pfd, 1, LD_WAIT_MS) == 1, "not answered in time");
		r = umem_inbox_receive(&c->inbox, c->sock);
		LD_CHECK(c, r == 0 || r == -EAGAIN, "instead of a reply: %s", strerror(-r));
	}
	LD_CHECK(c, r == 0, "no message: %s", strerror(-r));
}

bool ld_reply(struct ld_client *c, const char *allowed, struct ld_answer *ret_answer)
{
	struct ld_answer answer = { 0 };
	struct umem_note note = { 0 };
	char where[UMEM_IDL_WHERE] = "";
	bool fine;
	int r;

	next_frame(c, &answer.frame);
	r = umem_reply_decode(answer.frame.text, answer.frame.len_bytes, &limits, &answer.reply,
		&note);
	LD_CHECK(c, r == 0, "no reply: %s", note.text);
	note_latency(c);
	fine = !answer.reply.error;
	if (fine)
		LD_CHECK(c, umem_idl_check(c->entry->out, answer.reply.parameters, where,
			&note) == 0, "not as described: %s, %s", where, note.text);
	else
		check_error(c, &answer.reply, allowed);
	if (ret_answer)
		*ret_answer = answer;
	else
		ld_answer_deinit(&answer);
	return fine;
}

bool ld_call(struct ld_client *c, const char *method, struct umem_json *parameters,
	const char *allowed, struct ld_answer *ret_answer)
{
	bool fine;

	ld_send(c, method, parameters, false, NULL, 0);
	fine = ld_reply(c, allowed, ret_answer);
	if (fine && ret_answer)
		LD_CHECK(c, !ret_answer->reply.continues, "one reply was asked for");
	return fine;
}

void ld_do(struct ld_client *c, const char *method, struct umem_json *parameters)
{
	ld_call(c, method, parameters, "", NULL);
}

void ld_must_fail(struct ld_client *c, const char *method, struct umem_json *parameters,
	const int *fds, size_t n_fds, const char *wanted)
{
	ld_send(c, method, parameters, false, fds, n_fds);
	LD_CHECK(c, !ld_reply(c, wanted, NULL), "no error, but wanted: %s", wanted);
}

void ld_answer_deinit(struct ld_answer *answer)
{
	umem_reply_deinit(&answer->reply);
	umem_frame_deinit(&answer->frame);
}

bool ld_hung_up(int sock, int ms)
{
	struct pollfd pfd = { .fd = sock, .events = POLLRDHUP };

	return poll(&pfd, 1, ms) == 1;
}

void ld_drain(struct ld_client *c)
{
	struct pollfd pfd = { .fd = c->sock, .events = POLLIN };
	struct umem_frame frame;
	struct umem_reply reply;
	int r;

	for (;;) {
		while ((r = umem_inbox_next(&c->inbox, &frame)) == 0) {
			LD_CHECK(c, umem_reply_decode(frame.text, frame.len_bytes, &limits,
				&reply, NULL) == 0, "no reply");
			umem_reply_deinit(&reply);
			umem_frame_deinit(&frame);
		}
		LD_CHECK(c, r == UMEM_AGAIN, "no message: %s", strerror(-r));
		LD_CHECK(c, poll(&pfd, 1, LD_WAIT_MS) == 1, "it does not end");
		r = umem_inbox_receive(&c->inbox, c->sock);
		if (r == -EPIPE || r == -ECONNRESET)
			return;
		LD_CHECK(c, r == 0 || r == -EAGAIN, "%s", strerror(-r));
	}
}

struct umem_json *ld_for(const char *target)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_text(json, "target", target);
	return json;
}

struct umem_json *ld_pid(pid_t pid)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_int(json, "pid", pid);
	return json;
}

void ld_attach(struct ld_client *c, const struct ld_target *target, bool keep, char id[64])
{
	for (;;) {
		struct umem_json *parameters = ld_pid(target->pid);
		LD_ANSWER answer = { 0 };

		umem_json_set_bool(parameters, "keep", keep);
		if (ld_call(c, "io.umemd.Targets.Attach", parameters, LD_ATTACH, &answer)) {
			snprintf(id, 64, "%s", umem_json_get_text(answer.reply.parameters,
				"target", ""));
			return;
		}
		t_msleep(5 + (unsigned)ld_below(c, 50));
	}
}

void ld_become(struct ld_client *c, uid_t uid)
{
	if (c->uid == uid)
		return;
	/* The system calls themselves: the C library's change all threads. */
	T_SYS(syscall(SYS_setgroups, 0, NULL));
	T_SYS(syscall(SYS_setresgid, uid, uid, uid));
	T_SYS(syscall(SYS_setresuid, uid, uid, uid));
	c->uid = uid;
}
