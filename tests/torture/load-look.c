// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Clients of a load that share a few kept targets: they look, follow, move, save, and end
 * what others do. One of another user sees nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umemd/store.h>

#include "lib/base/fd.h"
#include "tests/torture/load.h"

static struct ld_target *any(struct ld_client *c)
{
	return &c->shared[ld_below(c, LD_SHARED)];
}

static void look_around(struct ld_client *c)
{
	static const char *const names[] = { "io.umemd.Targets", "io.umemd.Dirty",
		"io.umemd.Residency", "io.umemd.Snapshot", "org.varlink.service" };
	struct umem_json *parameters = umem_json_object();

	ld_do(c, "org.varlink.service.GetInfo", NULL);
	umem_json_set_text(parameters, "interface", names[ld_below(c, UMEM_ARRAY_LEN(names))]);
	ld_do(c, "org.varlink.service.GetInterfaceDescription", parameters);
	parameters = umem_json_object();
	umem_json_set_text(parameters, "interface", "no.such");
	ld_must_fail(c, "org.varlink.service.GetInterfaceDescription", parameters, NULL, 0,
		"InterfaceNotFound");
}

/* The kept ones are among those that are listed. */
static void look_at_list(struct ld_client *c)
{
	LD_ANSWER answer = { 0 };
	const struct umem_json *list;
	unsigned found = 0;

	ld_call(c, "io.umemd.Targets.List", NULL, "", &answer);
	list = umem_json_get(answer.reply.parameters, "targets");
	for (size_t i = 0; i < umem_json_count(list); i++)
		for (int k = 0; k < LD_SHARED; k++)
			found += !strcmp(c->shared[k].id,
				umem_json_get_text(umem_json_item(list, i), "target", ""));
	LD_CHECK(c, found == LD_SHARED, "%u of %d targets", found, LD_SHARED);
}

static void look_at_one(struct ld_client *c)
{
	const struct ld_target *t = any(c);
	LD_ANSWER answer = { 0 };
	const struct umem_json *target;

	ld_call(c, "io.umemd.Targets.Describe", ld_for(t->id), "", &answer);
	target = umem_json_get(answer.reply.parameters, "description");
	LD_CHECK(c, umem_json_get_int(target, "pid", 0) == t->pid, "another one");
	LD_CHECK(c, !strcmp(umem_json_get_text(target, "state", ""), t->tracked ? "tracking" :
		"ready"), "it is %s", umem_json_get_text(target, "state", ""));
	LD_CHECK(c, umem_json_get_int(target, "restarts", 1) == 0, "its worker died");
	ld_must_fail(c, "io.umemd.Targets.Describe", ld_for("t0"), NULL, 0, "NoSuchTarget");
}

/* The sums of each mapping are all of it. */
static void look_at_map(struct ld_client *c)
{
	static const char *const forms[] = { "numbers", "ranges", "table" };
	static const char *const states[] = { "untouched_bytes", "resident_bytes",
		"swapped_bytes", "zero_bytes", "guard_bytes" };
	struct umem_json *parameters = ld_for(any(c)->id);
	const struct umem_json *list;
	LD_ANSWER answer = { 0 };

	umem_json_set_text(parameters, "form", forms[ld_below(c, UMEM_ARRAY_LEN(forms))]);
	ld_call(c, "io.umemd.Residency.Map", parameters, "", &answer);
	list = umem_json_get(answer.reply.parameters, "regions");
	LD_CHECK(c, umem_json_count(list) > 0, "no mappings");
	for (size_t i = 0; i < umem_json_count(list); i++) {
		const struct umem_json *region = umem_json_item(list, i);
		int64_t sum = 0;

		for (size_t k = 0; k < UMEM_ARRAY_LEN(states); k++)
			sum += umem_json_get_int(region, states[k], 0);
		LD_CHECK(c, sum == umem_json_get_int(region, "end", 0) -
				umem_json_get_int(region, "start", 0), "pages are missing");
	}
}

void ld_looker(struct ld_client *c)
{
	switch (ld_below(c, 6)) {
	case 0:
		look_around(c);
		break;
	case 1:
		look_at_list(c);
		break;
	case 2:
	case 3:
		look_at_map(c);
		break;
	default:
		look_at_one(c);
		break;
	}
	if (ld_below(c, 20) == 0)
		ld_disconnect(c);
	ld_pause(c, 60);
}

/* Rounds of a target that others follow, too. */
void ld_monitor(struct ld_client *c)
{
	static const char *const forms[] = { "numbers", "ranges", "table", "bitmap" };
	const struct ld_target *t = &c->shared[ld_below(c, LD_SHARED / 2)];
	struct umem_json *parameters = ld_for(t->id);
	uint64_t n = 1 + ld_below(c, 20);

	umem_json_set_u64(parameters, "interval_ns", 1000000 + ld_below(c, 100000000));
	umem_json_set_text(parameters, "form", forms[ld_below(c, UMEM_ARRAY_LEN(forms))]);
	ld_send(c, "io.umemd.Dirty.Monitor", parameters, true, NULL, 0);
	for (uint64_t i = 0; i < n; i++) {
		LD_ANSWER answer = { 0 };

		ld_reply(c, "", &answer);
		LD_CHECK(c, answer.reply.continues, "it ends by itself");
	}
	ld_disconnect(c);
	ld_pause(c, 50);
}

/* Was something cancelled on the target since @before, when so many were over? */
static bool cancelled_since(const struct ld_target *t, unsigned long before)
{
	return atomic_load(&t->begun) > before;
}

/* Bytes that were asked for are those that moved and those that did not. */
static void check_moved(struct ld_client *c, const struct ld_target *t, unsigned long before,
	const struct umem_json *p)
{
	const struct umem_json *moved = umem_json_get(p, "moved");
	const struct umem_json *refused = umem_json_get(moved, "refused");
	int64_t sum = umem_json_get_int(moved, "moved_bytes", 0) +
		umem_json_get_int(moved, "returned_bytes", 0);

	for (size_t i = 0; i < umem_json_count(refused); i++)
		sum += umem_json_get_int(umem_json_item(refused, i), "bytes", 0);
	LD_CHECK(c, moved && sum == umem_json_get_int(moved, "asked_bytes", -1), "%lld bytes",
		(long long)sum);
	LD_CHECK(c, !umem_json_get_bool(moved, "interrupted", false) ||
		cancelled_since(t, before), "interrupted by nobody");
	LD_CHECK(c, !umem_json_get_bool(p, "recovered", false), "its worker died");
}

void ld_mover(struct ld_client *c)
{
	struct ld_target *t = any(c);
	unsigned long before = atomic_load(&t->over);
	struct umem_json *parameters = ld_for(t->id);
	bool more = ld_below(c, 2), goes_on = true;

	if (ld_below(c, 2))
		umem_json_set_u64(parameters, "max_bytes", (1 + ld_below(c, 100)) * LD_PAGE);
	ld_send(c, ld_below(c, 2) ? "io.umemd.Residency.PageOut" : "io.umemd.Residency.PageIn",
		parameters, more, NULL, 0);
	while (goes_on) {
		LD_ANSWER answer = { 0 };

		if (!ld_reply(c, "Failed=125 Failed=95", &answer)) {
			LD_CHECK(c, cancelled_since(t, before) || !ld_own_swap || !ld_have_swap(),
				"cancelled by nobody: %s", umem_json_get_text(
				answer.reply.parameters, "text", ""));
			return;
		}
		goes_on = answer.reply.continues;
		LD_CHECK(c, more || !goes_on, "one reply was asked for");
		if (!goes_on)
			check_moved(c, t, before, answer.reply.parameters);
	}
	ld_pause(c, 100);
}

/* The file is an image, and each byte of it is as it was written. */
static void check_image(struct ld_client *c, int fd, const struct umem_json *snapshot)
{
	struct umem_image_verify_options options = { .size = sizeof(options) };
	struct umem_note note = { 0 };
	struct umem_image *image;
	struct stat st;

	T_SYS(fstat(fd, &st));
	LD_CHECK(c, umem_json_get_bool(snapshot, "complete", false), "not complete");
	LD_CHECK(c, st.st_size == umem_json_get_int(snapshot, "written_bytes", -1), "%lld bytes",
		(long long)st.st_size);
	LD_CHECK(c, umem_image_open_fd(fd, NULL, NULL, &image, &note) == 0, "%s", note.text);
	LD_CHECK(c, umem_image_verify(image, &options, &note) == 0, "%s", note.text);
	umem_image_free(image);
}

void ld_snapshotter(struct ld_client *c)
{
	static const char *const methods[] = { "auto", "freeze", "fork", "precopy", "cow" };
	struct ld_target *t = any(c);
	unsigned long before = atomic_load(&t->over);
	struct umem_json *parameters = ld_for(t->id);
	int fd = (int)T_SYS(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	bool goes_on = true;

	umem_json_set_int(parameters, "output", 0);
	umem_json_set_text(parameters, "method", methods[ld_below(c, t->tracked ? 3 : 5)]);
	ld_send(c, "io.umemd.Snapshot.Take", parameters, true, &fd, 1);
	while (goes_on) {
		LD_ANSWER answer = { 0 };

		if (!ld_reply(c, "Busy Cancelled", &answer)) {
			LD_CHECK(c, strstr(answer.reply.error, "Busy") ||
				cancelled_since(t, before), "cancelled by nobody");
			break;
		}
		goes_on = answer.reply.continues;
		if (!goes_on)
			check_image(c, fd, umem_json_get(answer.reply.parameters, "snapshot"));
	}
	close(fd);
	ld_pause(c, 400);
}

/* End what others do. */
void ld_canceller(struct ld_client *c)
{
	struct ld_target *t = any(c);

	ld_pause(c, 1500);
	atomic_fetch_add(&t->begun, 1);
	ld_do(c, ld_below(c, 2) ? "io.umemd.Residency.Cancel" : "io.umemd.Snapshot.Cancel",
		ld_for(t->id));
	atomic_fetch_add(&t->over, 1);
}

/* Another user: targets of others are not there, and processes are denied. */
void ld_stranger(struct ld_client *c)
{
	static const char *const methods[] = { "io.umemd.Targets.Describe",
		"io.umemd.Targets.Detach", "io.umemd.Dirty.Collect", "io.umemd.Residency.Map",
		"io.umemd.Residency.PageOut", "io.umemd.Reclaim.Get", "io.umemd.Snapshot.Cancel" };
	LD_ANSWER answer = { 0 };

	ld_become(c, 65534);
	ld_must_fail(c, methods[ld_below(c, UMEM_ARRAY_LEN(methods))], ld_for(any(c)->id), NULL, 0,
		"NoSuchTarget");
	ld_call(c, "io.umemd.Targets.List", NULL, "", &answer);
	LD_CHECK(c, umem_json_count(umem_json_get(answer.reply.parameters, "targets")) == 0,
		"it sees targets of others");
	if (ld_below(c, 10) == 0)
		ld_must_fail(c, "io.umemd.Targets.Attach", ld_pid(any(c)->pid), NULL, 0,
			"NotPermitted QuotaExceeded=UserRequests");
	if (ld_below(c, 10) == 0)
		ld_disconnect(c);
	ld_pause(c, 100);
}

/* Read the metrics, to the end. */
void ld_scraper(struct ld_client *c)
{
	static const char mark[] = "# EOF\n";
	const size_t len = sizeof(mark) - 1;
	char text[16384];
	int sock = ld_daemon_scrape();
	size_t have = 0, total = 0;
	ssize_t n;

	/* The end of what came before stays in front of what comes. */
	while ((n = recv(sock, text + have, sizeof(text) - have, 0)) > 0) {
		if (total == 0)
			LD_CHECK(c, !strncmp(text, "HTTP/1.1 200", 12), "%.40s", text);
		total += (size_t)n;
		have += (size_t)n;
		if (have > len) {
			memmove(text, text + have - len, len);
			have = len;
		}
	}
	close(sock);
	LD_CHECK(c, n == 0 && total > 1000, "%zu bytes of metrics", total);
	LD_CHECK(c, have == len && !memcmp(text, mark, len), "they are cut short");
	ld_pause(c, 500);
}
