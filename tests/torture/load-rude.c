// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Clients of a load that do not behave, or are slow. Those that do not read are dropped, as
 * are those that send what is no call; all the others are served to the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/torture/load.h"

/* A reply to a call of this is some kilobytes. */
static const char description[] =
	"{\"method\":\"org.varlink.service.GetInterfaceDescription\","
	"\"parameters\":{\"interface\":\"io.umemd.Residency\"}}";

static const char info[] = "{\"method\":\"org.varlink.service.GetInfo\"}";

/* Connected, and without a word until the end; then it is served as anybody. */
void ld_silent(struct ld_client *c)
{
	bool half = ld_below(c, 2);

	ld_connect(c);
	if (half)
		LD_CHECK(c, ld_send_bytes(c->sock, info, 17, NULL, 0), "half of a call");
	while (!ld_ending() && ld_below(c, 200) > 0)
		LD_CHECK(c, !ld_hung_up(c->sock, 100), "a silent client was dropped");
	if (!half)
		ld_do(c, "org.varlink.service.GetInfo", NULL);
	ld_disconnect(c);
}

/* A byte, and after a while the next one. */
void ld_dribbler(struct ld_client *c)
{
	bool slow = ld_below(c, 2);
	struct ld_answer answer = { 0 };

	ld_do(c, "org.varlink.service.GetInfo", NULL);
	for (size_t i = 0; i < sizeof(info); i++) {
		LD_CHECK(c, ld_send_bytes(c->sock, info + i, 1, NULL, 0), "dropped");
		if (ld_ending())
			continue;
		if (slow)
			t_msleep(1000);
		else
			ld_pause(c, 100);
	}
	c->sent_ns = t_now_ns();
	ld_reply(c, "", &answer);
	ld_answer_deinit(&answer);
}

/* It asks for a lot and reads nothing: it is dropped, not too early and not too late. */
void ld_deaf(struct ld_client *c)
{
	struct umem_json *parameters;
	const uint64_t slow_ns = LD_SLOW_READER_S * 1000000000ull;
	uint64_t begin_ns = t_now_ns();
	/* Rounds of a busy target are small, and very slow under a sanitizer. */
	bool monitors = ld_below(c, 2) && !ld_is_sanitized();

	/* So the socket is half full before. */
	ld_connect(c);
	for (int i = 0; i < (monitors ? 5 : 300); i++)
		LD_CHECK(c, ld_send_bytes(c->sock, description, sizeof(description), NULL, 0),
			"dropped while it asks");
	if (monitors) {
		parameters = ld_for(c->shared[0].id);
		umem_json_set_int(parameters, "interval_ns", 1000000);
		umem_json_set_text(parameters, "form", "ranges");
		ld_send(c, "io.umemd.Dirty.Monitor", parameters, true, NULL, 0);
	}
	LD_CHECK(c, ld_hung_up(c->sock, LD_WAIT_MS), "it is not dropped");
	LD_CHECK(c, t_now_ns() - begin_ns > slow_ns - 50000000, "dropped too early");
	atomic_fetch_add(&ld_counts.slow, 1);
	ld_drain(c);
	ld_disconnect(c);
	ld_pause(c, 1000);
}

/* It asks for a lot, and reads it slowly: nobody is dropped who reads. */
void ld_lazy(struct ld_client *c)
{
	const unsigned n_calls = 120;
	uint64_t until_ns = t_now_ns() + 3ull * LD_SLOW_READER_S * 1000000000u;
	char bytes[6000];
	unsigned replies = 0;

	ld_connect(c);
	for (unsigned i = 0; i < n_calls; i++)
		LD_CHECK(c, ld_send_bytes(c->sock, description, sizeof(description), NULL, 0),
			"dropped while it asks");
	while (replies < n_calls) {
		bool slow = t_now_ns() < until_ns && !ld_ending();
		ssize_t n = recv(c->sock, bytes, sizeof(bytes), 0);

		LD_CHECK(c, n > 0, "dropped, though it reads; %u replies, %s", replies,
			strerror(errno));
		for (ssize_t i = 0; i < n; i++)
			replies += bytes[i] == '\0';
		if (slow)
			t_msleep(700);
	}
	LD_CHECK(c, replies == n_calls, "%u replies", replies);
	ld_disconnect(c);
}

/* The first bytes of a reply, and no more. */
static void read_half(struct ld_client *c)
{
	struct pollfd pfd = { .fd = c->sock, .events = POLLIN };
	char bytes[30];

	LD_CHECK(c, poll(&pfd, 1, LD_WAIT_MS) == 1, "not answered in time");
	LD_CHECK(c, recv(c->sock, bytes, sizeof(bytes), 0) > 0, "dropped");
}

static void ask_for_a_snapshot(struct ld_client *c)
{
	struct umem_json *parameters = ld_for(c->shared[ld_below(c, LD_SHARED)].id);
	int fd = (int)T_SYS(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));

	umem_json_set_int(parameters, "output", 0);
	ld_send(c, "io.umemd.Snapshot.Take", parameters, true, &fd, 1);
	close(fd);
}

/* It has a target, and cuts the connection at any point of its way. */
static void cut_a_target(struct ld_client *c)
{
	char id[64];

	if (ld_below(c, 3) == 0) {
		ld_send(c, "io.umemd.Targets.Attach", ld_pid(c->own.pid), false, NULL, 0);
		return;
	}
	ld_attach(c, &c->own, false, id);
	ld_do(c, "io.umemd.Dirty.Start", ld_for(id));
	if (ld_below(c, 2))
		ld_send(c, "io.umemd.Dirty.Collect", ld_for(id), false, NULL, 0);
	else
		ld_send(c, "io.umemd.Residency.PageOut", ld_for(id), true, NULL, 0);
}

/* The connection is cut in the middle of a call, of an answer, of work. */
void ld_cutter(struct ld_client *c)
{
	struct umem_json *parameters;

	ld_connect(c);
	switch (ld_below(c, 6)) {
	case 0:
		ld_send_bytes(c->sock, info, ld_below(c, sizeof(info)), NULL, 0);
		break;
	case 1:
		for (int i = 0; i < 4; i++)
			ld_send_bytes(c->sock, description, sizeof(description), NULL, 0);
		read_half(c);
		break;
	case 2:
		parameters = ld_for(c->shared[0].id);
		umem_json_set_int(parameters, "interval_ns", 1000000);
		ld_send(c, "io.umemd.Dirty.Monitor", parameters, true, NULL, 0);
		read_half(c);
		break;
	case 3:
		ask_for_a_snapshot(c);
		break;
	case 4:
		ld_send(c, "io.umemd.Residency.PageOut", ld_for(c->shared[5].id), true, NULL, 0);
		break;
	default:
		cut_a_target(c);
		break;
	}
	ld_pause(c, 20);
	ld_disconnect(c);
	ld_pause(c, 100);
}

/* Descriptors that nobody asked for, of the wrong kind, too many, and half of a call. */
void ld_sender(struct ld_client *c)
{
	struct umem_json *parameters, *list, *range;
	unsigned n = 1 + (unsigned)ld_below(c, 16);
	int fds[40];

	ld_connect(c);
	for (unsigned i = 0; i < UMEM_ARRAY_LEN(fds); i++)
		fds[i] = (int)T_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
	switch (ld_below(c, 4)) {
	case 0:
		ld_send(c, "org.varlink.service.GetInfo", NULL, false, fds, n);
		ld_reply(c, "", NULL);
		break;
	case 1:
		parameters = umem_json_object();
		list = umem_json_array();
		range = umem_json_object();
		umem_json_set_int(range, "start", 4096);
		umem_json_set_int(range, "end", 8192);
		umem_json_append_consume(list, range);
		umem_json_set_consume(parameters, "ranges", list);
		umem_json_set_int(parameters, "uffd", (int64_t)ld_below(c, 20));
		ld_must_fail(c, "io.umemd.Targets.HandOff", parameters, fds, n,
			"InvalidParameter Failed=9 QuotaExceeded=UserRequests");
		break;
	case 2:
		ld_send_bytes(c->sock, info, sizeof(info), fds, UMEM_ARRAY_LEN(fds));
		LD_CHECK(c, ld_hung_up(c->sock, LD_WAIT_MS), "too many descriptors");
		atomic_fetch_add(&ld_counts.too_many_fds, 1);
		break;
	default:
		ld_send_bytes(c->sock, info, 1 + ld_below(c, sizeof(info) - 2), fds, n);
		break;
	}
	for (unsigned i = 0; i < UMEM_ARRAY_LEN(fds); i++)
		close(fds[i]);
	ld_disconnect(c);
	ld_pause(c, 100);
}

/* What is no call, or never ends. */
void ld_liar(struct ld_client *c)
{
	static const char *const lies[] = { "", " ", "[]", "{}", "garbage", "{\"method\":1}",
		"{\"method\":\"a.b\",\"x\":1}", "{\"method\":\"a.b\",\"parameters\":[]}" };
	const char *lie = lies[ld_below(c, UMEM_ARRAY_LEN(lies))];
	static const char filler[10000] = { [0 ... 9999] = 'x' };

	ld_connect(c);
	if (ld_below(c, 8) == 0) {
		for (int i = 0; i < 40; i++)
			if (!ld_send_bytes(c->sock, filler, sizeof(filler), NULL, 0))
				break;
		atomic_fetch_add(&ld_counts.too_long, 1);
	} else {
		ld_send_bytes(c->sock, lie, strlen(lie) + 1, NULL, 0);
		atomic_fetch_add(&ld_counts.no_call, 1);
	}
	LD_CHECK(c, ld_hung_up(c->sock, LD_WAIT_MS), "it is not dropped");
	ld_disconnect(c);
	ld_pause(c, 100);
}

/* Connect, and ask. Return: was it served? */
static bool is_served(struct ld_client *c, int sock)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	char bytes[4096];
	ssize_t n;

	if (!ld_send_bytes(sock, info, sizeof(info), NULL, 0))
		return false;
	LD_CHECK(c, poll(&pfd, 1, LD_WAIT_MS) == 1, "not answered in time");
	n = recv(sock, bytes, sizeof(bytes), 0);
	LD_CHECK(c, n <= 0 || bytes[n - 1] == '\0', "half of a reply");
	return n > 0;
}

/*
 * A user of its own with one connection too many, and then some more: exactly those are
 * refused. That the ones before are closed may take a moment.
 */
void ld_crowd(struct ld_client *c)
{
	const unsigned n = LD_USER_CONNECTIONS + 10;
	int socks[LD_USER_CONNECTIONS + 10];
	unsigned served = 0;

	ld_become(c, 65000 + c->index);
	for (unsigned i = 0; i < n; i++) {
		socks[i] = ld_connect_raw();
		served += is_served(c, socks[i]);
	}
	LD_CHECK(c, served == LD_USER_CONNECTIONS, "%u connections of %d", served,
		LD_USER_CONNECTIONS);
	atomic_fetch_add(&ld_counts.refused, n - served);
	for (unsigned i = 0; i < n; i++)
		close(socks[i]);
	/* The next turn begins when all of these are noticed. */
	t_msleep(2000 + (unsigned)ld_below(c, 3000));
}
