// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The whole of umemd, in this process, against peers that do what a script says: the
 * manager's own loop, table of methods, pool and workers; the peers are the other ends of
 * socket pairs.
 *
 * A script is text, a line a step:
 *
 *     c N      go on with connection N (0..3), made when it is first used
 *     f KINDS  descriptors that go along with what is sent next, a letter each
 *     s TEXT   send a message        p TEXT   send a part of one      z N   send N bytes 'x'
 *     r        read until all is answered     q   stop reading here
 *     h        no more is sent here           x   close
 *     k        kill all workers               v   end the victim
 *
 * In TEXT, $P is the victim's number, $S ours, $D that of a process that ended, $A and $B an
 * area of memory, $T the target that was named last, $0 a NUL.
 *
 * What must hold: every call gets its replies, in order, the last one once, each as the
 * description of its interface has it; a connection ends when it has sent something that
 * ends one, and never otherwise; and when all are closed, nothing of them is left: no
 * descriptor, process or thread's job, nothing in the manager's lists, no memory, nothing
 * in the victim.
 *
 * With FUZZ_SHOW in the environment, what is said is printed.
 */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/manager.h"
#include "daemon/peer.h"
#include "daemon/session.h"
#include "lib/base/fd.h"
#include "tests/fuzz/server_world.h"
#include "tests/lib/harness.h"

#define N_CONNS     4u
#define MAX_CALLS   256u
#define MAX_FDS     40u
#define WAIT_MS     60000u
#define ENDLESS_MS  30u
/* As daemon/peer.c has them. */
#define CALL_BYTES  (256u << 10)
#define REPLY_BYTES (4u << 20)
/* What may stay with allocators and libraries. */
#define MEMORY_SLACK (1u << 20)

static const struct umem_json_limits call_limits = { CALL_BYTES, 12, 20000 };
static const struct umem_json_limits reply_limits = { REPLY_BYTES, 16, 1u << 18 };

/* A call that was sent. @endless: it may go on for ever. */
struct asked {
	char interface[UMEM_METHOD_MAX];
	char method[UMEM_METHOD_MAX];
	bool more;
	bool endless;
};

/*
 * A connection. @part, @part_len: of a message that has no end yet. @part_fds: that were sent
 * with it. @fds: of all that was not answered. @ended: by umemd. @may_end: it may be, for what
 * was sent. @must_end: it must, when all before was answered. @mute: nothing more is sent.
 */
struct conn {
	int sock;
	struct loop_watch *watch;
	struct umem_inbox inbox;
	struct asked asked[MAX_CALLS];
	size_t first;
	size_t n;
	char *part;
	size_t part_len;
	size_t part_fds;
	bool ended;
	bool may_end;
	bool must_end;
	bool mute;
	bool quiet;
};

static struct manager manager;
static struct loop_timer *tick;
static struct conn conns[N_CONNS + 1];
static char target[64];
static int pending[MAX_FDS];
static size_t n_pending;

/* What must hold does not: say what, and leave the input to the driver. */
static void broken(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void broken(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	__builtin_trap();
}

static void on_tick(void *user)
{
	loop_stop(manager.loop);
}

/* Let umemd work, until something arrives here, or for @ms. */
static void turn(unsigned ms)
{
	loop_timer_set(tick, ms * 1000000ull);
	T_OK(loop_run(manager.loop));
}

static const struct umem_idl_entry *entry_of_error(const struct asked *asked, const char *error)
{
	const struct umem_idl *service = umem_interfaces_find(&manager.interfaces,
		"org.varlink.service");
	const struct umem_idl *own = umem_interfaces_find(&manager.interfaces, asked->interface);
	const struct umem_idl_entry *entry = own ? umem_idl_find_error(own, error) : NULL;

	return entry ? entry : umem_idl_find_error(service, error);
}

/* Is a reply as the interface has it? */
static void check_shape(const struct asked *asked, const struct umem_reply *reply)
{
	const struct umem_idl *idl = umem_interfaces_find(&manager.interfaces, asked->interface);
	const struct umem_idl_entry *entry = idl && !reply->error ?
		umem_idl_find(idl, UMEM_IDL_METHOD, asked->method) : NULL;
	const struct umem_idl_type *type = entry ? entry->out : NULL;
	char where[UMEM_IDL_WHERE] = "";
	struct umem_note note = { 0 };

	if (reply->error) {
		entry = entry_of_error(asked, reply->error);
		type = entry ? entry->in : NULL;
	}
	if (!type || umem_idl_check(type, reply->parameters, where, &note) < 0)
		broken("%s.%s: not a reply of it: %s (%s)", asked->interface, asked->method,
			reply->error ? reply->error : where, note.text);
}

static void take_reply(struct conn *c, struct umem_frame *frame)
{
	struct asked *asked = &c->asked[c->first];
	struct umem_reply reply;
	const char *name;

	if (getenv("FUZZ_SHOW"))
		fprintf(stderr, "< %.300s (%zu descriptors)\n", frame->text, frame->n_fds);
	if (umem_reply_decode(frame->text, frame->len_bytes, &reply_limits, &reply, NULL) < 0)
		broken("no reply: %s", frame->text);
	if (c->n == 0)
		broken("a reply that nobody waits for: %s", frame->text);
	if (reply.continues && !asked->more)
		broken("more than one reply to %s", asked->method);
	check_shape(asked, &reply);
	name = umem_json_get_text(reply.parameters, "target", "");
	if (!reply.error && name[0])
		snprintf(target, sizeof(target), "%s", name);
	if (!reply.continues) {
		c->first = (c->first + 1) % MAX_CALLS;
		c->n--;
	}
	umem_reply_deinit(&reply);
}

static void on_ready(void *user, unsigned what)
{
	struct conn *c = user;
	struct umem_frame frame;
	int r = umem_inbox_receive(&c->inbox, c->sock);

	while (umem_inbox_next(&c->inbox, &frame) == 0) {
		take_reply(c, &frame);
		umem_frame_deinit(&frame);
	}
	loop_stop(manager.loop);
	if (r == 0 || r == -EAGAIN)
		return;
	if (getenv("FUZZ_SHOW"))
		fputs("< end\n", stderr);
	c->ended = true;
	c->mute = true;
	loop_watch_for(c->watch, 0);
	if (!c->may_end && !(c->must_end && c->n == 0))
		broken("a connection was ended: %zu calls without an answer, the next %s", c->n,
			c->n ? c->asked[c->first].method : "none");
}

static void open_conn(struct conn *c)
{
	int pair[2];

	if (c->watch)
		return;
	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	*c = (struct conn){ .sock = pair[0], .inbox = { .max_bytes = REPLY_BYTES } };
	c->part = malloc(CALL_BYTES + 1);
	T_CHECK(c->part);
	T_OK(loop_watch_new(manager.loop, c->sock, on_ready, c, &c->watch));
	loop_watch_for(c->watch, LOOP_READ);
	peer_new(&manager, pair[1]);
}

static void close_conn(struct conn *c)
{
	if (!c->watch)
		return;
	loop_watch_free(c->watch);
	umem_inbox_deinit(&c->inbox);
	umem_fd_close(c->sock);
	free(c->part);
	*c = (struct conn){ 0 };
}

/* A whole message was sent: what must become of it? */
static void note_message(struct conn *c)
{
	struct asked *asked = &c->asked[(c->first + c->n) % MAX_CALLS];
	struct umem_call call;

	if (c->must_end)
		return;
	if (c->part_len > CALL_BYTES || c->part_fds > UMEM_FRAME_FDS)
		c->must_end = c->may_end = true;
	else if (umem_call_decode(c->part, c->part_len, &call_limits, &call, NULL) < 0)
		c->must_end = true;
	if (c->must_end)
		return;
	snprintf(asked->interface, sizeof(asked->interface), "%s", call.interface);
	snprintf(asked->method, sizeof(asked->method), "%s", call.method);
	asked->more = call.more;
	asked->endless = strcmp(call.method, "Monitor") == 0 ||
		(strcmp(call.method, "Status") == 0 && call.more) ||
		umem_json_get_int(call.parameters, "unwritten_ns", 0) != 0;
	c->n += !call.oneway;
	/* What of it is not answered may be in the way of what comes. */
	c->may_end |= call.oneway && asked->endless;
	umem_call_deinit(&call);
	if (c->n == MAX_CALLS)
		c->mute = true;
}

static void note_sent(struct conn *c, const char *bytes, size_t len, size_t n_fds)
{
	c->part_fds += n_fds;
	/* More than may come at a time, or may wait for the ends of their messages. */
	c->may_end |= c->part_fds > UMEM_FRAME_FDS;
	c->must_end |= n_fds > UMEM_FRAME_FDS;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\0') {
			note_message(c);
			c->part_len = c->part_fds = 0;
		} else if (c->part_len < CALL_BYTES) {
			c->part[c->part_len++] = bytes[i];
		} else {
			c->part_len = CALL_BYTES + 1;
			c->may_end = c->must_end = true;
		}
	}
	/* Descriptors do not wait for ever for the end of their message. */
	c->may_end |= c->part_fds > 0;
}

static ssize_t send_some(const struct conn *c, const char *bytes, size_t len, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), pending, sizeof(int) * n_fds);
	}
	return sendmsg(c->sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void drop_pending(void)
{
	while (n_pending)
		umem_fd_close(pending[--n_pending]);
}

/* Send, with the descriptors that wait; what is not taken in the end is not sent at all. */
static void send_all(struct conn *c, const char *bytes, size_t len)
{
	unsigned patience = 20;

	while (len && !c->mute) {
		/* A NUL ends what descriptors belong to: they go with the first message. */
		size_t n_fds = n_pending, part = n_fds ? strnlen(bytes, len) : len;
		ssize_t n = send_some(c, bytes, part < len && n_fds ? part + 1 : part, n_fds);

		if (n < 0 && errno == EAGAIN && patience--) {
			turn(5);
			continue;
		}
		if (n < 0) {
			c->mute = true;
			break;
		}
		note_sent(c, bytes, (size_t)n, n_fds);
		drop_pending();
		bytes += n;
		len -= (size_t)n;
	}
	drop_pending();
}

/* Replace what begins with $. Return: bytes at @to, which has room for any of @len. */
static size_t expand(char *to, const char *from, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char what = from[i] == '$' && i + 1 < len ? from[i + 1] : '\0';

		i += what != '\0';
		if (what == 'P')
			n += (size_t)sprintf(to + n, "%d", (int)world_victim());
		else if (what == 'S')
			n += (size_t)sprintf(to + n, "%d", (int)getpid());
		else if (what == 'D')
			n += (size_t)sprintf(to + n, "%d", (int)world_dead());
		else if (what == 'A' || what == 'B')
			n += (size_t)sprintf(to + n, "%llu", (unsigned long long)(world_area() +
				(what == 'B' ? WORLD_PAGES * 4096u : 0)));
		else if (what == 'T')
			n += (size_t)sprintf(to + n, "%s", target);
		else if (what == '0')
			to[n++] = '\0';
		else
			to[n++] = what ? what : from[i];
	}
	return n;
}

/* @len bytes of the script as a message, or a part of one. */
static void send_text(struct conn *c, const char *text, size_t len, bool whole)
{
	UMEM_FREE char *bytes = malloc(len * sizeof(target) + 1);
	size_t n;

	T_CHECK(bytes);
	n = expand(bytes, text, len);
	if (whole)
		bytes[n++] = '\0';
	send_all(c, bytes, n);
}

static void send_filler(struct conn *c, const char *text)
{
	size_t n = strtoul(text, NULL, 10) % (2 * CALL_BYTES);
	UMEM_FREE char *bytes = malloc(n + 1);

	T_CHECK(bytes);
	memset(bytes, 'x', n);
	send_all(c, bytes, n);
}

/* Has it got all that it can get? */
static bool is_settled(const struct conn *c, unsigned waited_ms)
{
	if (!c->watch || c->ended || c->quiet)
		return true;
	if (c->n && (c->asked[c->first].endless || (c->may_end && c->must_end)))
		return waited_ms > ENDLESS_MS;
	return c->n == 0 && !c->must_end;
}

static void read_all(void)
{
	uint64_t begin_ns = t_now_ns();

	for (;;) {
		unsigned ms = (unsigned)((t_now_ns() - begin_ns) / 1000000u);
		struct conn *waits = NULL;

		for (size_t i = 0; i <= N_CONNS; i++)
			if (!is_settled(&conns[i], ms))
				waits = &conns[i];
		if (!waits)
			return;
		if (ms > WAIT_MS)
			broken("no answer to %s", waits->n ? waits->asked[waits->first].method :
				"what has to end the connection");
		turn(5);
	}
}

static void set_pending(const char *kinds, size_t len, const struct conn *c)
{
	drop_pending();
	for (size_t i = 0; i < len && n_pending < MAX_FDS; i++)
		if (isalnum((unsigned char)kinds[i]))
			pending[n_pending++] = world_fd(kinds[i], c->watch ? c->sock : -1);
}

/* One line; @c is the connection so far. Return: the one from now on. */
static struct conn *step(struct conn *c, const char *line, size_t len)
{
	const char *text = line + (len < 2 ? len : 2);
	size_t n = len - (size_t)(text - line);

	if (len == 0)
		return c;
	if (getenv("FUZZ_SHOW"))
		fprintf(stderr, "> %.*s\n", (int)umem_min_u64(len, 300), line);
	if (line[0] == 'c')
		c = &conns[n ? (unsigned char)text[0] % N_CONNS : 0];
	if (strchr("cspzqh", line[0]))
		open_conn(c);
	switch (line[0]) {
	case 'f':
		set_pending(text, n, c);
		break;
	case 's':
	case 'p':
		send_text(c, text, n, line[0] == 's');
		break;
	case 'z':
		send_filler(c, text);
		break;
	case 'r':
		read_all();
		break;
	case 'q':
		loop_watch_for(c->watch, 0);
		c->quiet = c->may_end = true;
		break;
	case 'h':
		shutdown(c->sock, SHUT_WR);
		c->mute = c->may_end = true;
		break;
	case 'x':
		close_conn(c);
		break;
	case 'k':
		world_kill_workers();
		break;
	case 'v':
		world_end_victim();
		break;
	}
	return c;
}

/* Kept targets outlive who brought them in: let go of them as an administrator would. */
static void detach_all(void)
{
	static const char call[] = "{\"method\":\"io.umemd.Targets.Detach\",\"parameters\":"
		"{\"target\":\"$T\"}}";
	struct conn *c = &conns[N_CONNS];
	struct session *s;

	open_conn(c);
	LIST_FOREACH(s, &manager.sessions, entry) {
		snprintf(target, sizeof(target), "%s", s->id);
		send_text(c, call, strlen(call), true);
	}
	read_all();
	close_conn(c);
}

static bool is_same(const struct world_count *a, const struct world_count *b)
{
	return a->fds == b->fds && a->processes == b->processes && a->victim_fds == b->victim_fds;
}

static bool is_empty(void)
{
	return LIST_EMPTY(&manager.peers) && LIST_EMPTY(&manager.sessions) &&
		LIST_EMPTY(&manager.users) && LIST_EMPTY(&manager.waiting) &&
		LIST_EMPTY(&manager.takes) && manager.n_peers == 0 && manager.n_sessions == 0 &&
		manager.stats.n_shown == 0 && manager.stats.n_hidden == 0;
}

/* Memory in use; 0 where that is not known. */
static size_t memory(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* Everything has to be as it was @before. */
static void check_nothing_left(const struct world_count *before, size_t bytes_before)
{
	uint64_t begin_ns = t_now_ns();
	struct world_count now;

	for (;;) {
		now = world_count();
		if (is_empty() && is_same(&now, before))
			break;
		if (t_now_ns() - begin_ns > WAIT_MS * 1000000ull)
			broken("left: %u descriptors (of %u), %u processes (of %u), %u in the "
				"victim (of %u), %llu targets, %llu connections", now.fds,
				before->fds, now.processes, before->processes, now.victim_fds,
				before->victim_fds, (unsigned long long)manager.n_sessions,
				(unsigned long long)manager.n_peers);
		turn(1);
	}
	if (!world_area_is_free() || !world_victim_is_free())
		broken("something is left in a process");
	if (memory() > bytes_before + MEMORY_SLACK)
		broken("memory: %zu bytes, before %zu", memory(), bytes_before);
}

static void start_manager(void)
{
	struct config config;
	struct umem_note note = { 0 };
	ssize_t n;

	world_enter();
	/* Of the workers: confined, they cannot look for leaks. Ours were read already. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	config_defaults(&config);
	snprintf(config.socket, sizeof(config.socket), "/run/umemd-fuzz");
	n = T_SYS(readlink("/proc/self/exe", config.worker, sizeof(config.worker) - 1));
	config.worker[n] = '\0';
	/* BUILD/tests/fuzz/fuzz-server */
	for (int i = 0; i < 3; i++)
		*strrchr(config.worker, '/') = '\0';
	strncat(config.worker, "/daemon/worker/umemd-worker",
		sizeof(config.worker) - strlen(config.worker) - 1);
	T_CHECK(access(config.worker, X_OK) == 0, "%s", config.worker);
	config.log_level = 3;
	config.slow_reader_ns = 100000000ull;
	config.worker_timeout_ns = 20000000000ull;
	if (manager_start(&manager, &config, NULL, &note) < 0)
		T_SKIP("%s", note.text);
	T_OK(loop_timer_new(manager.loop, on_tick, NULL, &tick));
}

static void play(const char *script, size_t len)
{
	struct conn *c = &conns[0];
	const char *end = script + len;

	snprintf(target, sizeof(target), "t1");
	while (script < end) {
		const char *eol = memchr(script, '\n', (size_t)(end - script));
		size_t n = eol ? (size_t)(eol - script) : (size_t)(end - script);

		c = step(c, script, n);
		script += n + (eol != NULL);
	}
	read_all();
	drop_pending();
	for (size_t i = 0; i < N_CONNS; i++)
		close_conn(&conns[i]);
	detach_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	static size_t bytes_before;
	struct world_count before;

	if (!tick) {
		start_manager();
		/* Threads and tables that stay are made now. */
		turn(50);
		bytes_before = memory();
	}
	/* The driver opens things in between. */
	before = world_count();
	play((const char *)data, len_bytes);
	check_nothing_left(&before, bytes_before);
	return 0;
}
