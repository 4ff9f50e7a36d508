// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sessions over a restart of umemd.
 *
 * Theory of operation
 *
 * A session is kept as descriptors by name, and as a record (lib/base/record.h) that is
 * rewritten in place, so that nothing has to be sent when something changes:
 *
 *     t7.0 ... t7.5    what was acquired, by number (those that there are)
 *     t7.journal       what a worker leaves to the next
 *     t7.state         the record: JSON
 *     t7.worker        pidfd of the worker: it must be over before another one begins
 *
 * They outlive umemd however it ends. The next one makes sessions of them, whose workers
 * died: they recover as from any other death. A session that belonged to a
 * connection waits for its owner for a while (KeepOrphans).
 *
 * What was kept comes from the service manager, which is trusted, and was written by
 * a umemd, maybe of another version: a record that is not understood is dropped, with
 * its descriptors, and the kernel lifts what they protected.
 */
#include "daemon/keep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/reclaim.h"
#include "lib/base/fd.h"
#include "lib/base/record.h"

#define VERSION   1
#define MAX_BYTES (1u << 20)

static const struct umem_json_limits limits = { MAX_BYTES, 16, 1u << 17 };

/* Names behind those of numbers. */
enum part { PART_JOURNAL = ACQUIRED_FDS, PART_STATE, PART_WORKER, N_PARTS };

/* What is there of one session. */
struct one {
	char id[SESSION_ID];
	int fds[N_PARTS];
	struct one *next;
};

struct kept {
	struct one *first;
};

static const char *part_name(int part, char buf[16])
{
	static const char *const names[] = { "journal", "state", "worker" };

	if (part >= PART_JOURNAL)
		return names[part - PART_JOURNAL];
	snprintf(buf, 16, "%d", part);
	return buf;
}

static void keep_part(const struct session *s, int part, int fd)
{
	char name[64], number[16];

	snprintf(name, sizeof(name), "%s.%s", s->id, part_name(part, number));
	if (fd >= 0)
		notify_keep(name, fd);
	else
		notify_drop(name);
}

static struct umem_json *json_of(const struct session *s)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_u64(json, "version", VERSION);
	umem_json_set_u64(json, "pid", (uint64_t)s->acquired.pid);
	umem_json_set_text(json, "name", s->acquired.name);
	umem_json_set_u64(json, "stop_ns", s->acquired.stop_ns);
	umem_json_set_consume(json, "facts", umem_json_share(s->acquired.facts));
	umem_json_set_u64(json, "uid", s->who.uid);
	umem_json_set_u64(json, "gid", s->who.gid);
	umem_json_set_u64(json, "client", (uint64_t)s->who.pid);
	umem_json_set_bool(json, "admin", s->who.admin);
	umem_json_set_bool(json, "handed", s->how == SESSION_HANDED_OFF);
	umem_json_set_bool(json, "opened", s->how == SESSION_OPENED_ONLY);
	umem_json_set_bool(json, "kept", s->kept);
	umem_json_set_text(json, "rule", s->rule);
	umem_json_set_u64(json, "restarts", s->restarts);
	umem_json_set_u64(json, "started_ns", s->started_ns);
	if (s->watch)
		umem_json_set_consume(json, "watch", umem_json_share(s->watch));
	if (s->reclaim)
		umem_json_set_consume(json, "reclaim",
			umem_json_share(reclaim_policy(s->reclaim)));
	return json;
}

void keep_update(struct session *s)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *json = NULL;
	UMEM_FREE char *text = NULL;
	struct iovec part;
	size_t len;
	int r;

	if (s->state_fd < 0 || !s->acquired.facts)
		return;
	json = json_of(s);
	r = umem_json_dump(json, &text, &len);
	part = (struct iovec){ text, len };
	if (r == 0)
		r = umem_record_write(s->state_fd, &part, 1);
	if (r < 0)
		log_error("target %s: a restart of umemd would forget it: %s", s->id,
			strerror(-r));
}

void keep_session(struct session *s)
{
	if (!notify_is_there() || !s->manager->config.keep_over_restart)
		return;
	s->state_fd = memfd_create("umemd-state", MFD_CLOEXEC);
	if (s->state_fd < 0) {
		log_error("target %s: a restart of umemd would forget it: %s", s->id,
			strerror(errno));
		return;
	}
	keep_update(s);
	for (int i = 0; i < (int)ACQUIRED_FDS; i++)
		if (s->acquired.fds[i] >= 0)
			keep_part(s, i, s->acquired.fds[i]);
	keep_part(s, PART_JOURNAL, s->journal_fd);
	keep_part(s, PART_STATE, s->state_fd);
}

void keep_worker(struct session *s, int pidfd)
{
	if (s->state_fd < 0)
		return;
	keep_part(s, PART_WORKER, -1);
	if (pidfd >= 0)
		keep_part(s, PART_WORKER, pidfd);
}

void keep_drop(struct session *s)
{
	if (s->state_fd < 0)
		return;
	for (int i = 0; i < N_PARTS; i++)
		keep_part(s, i, -1);
	s->state_fd = umem_fd_close(s->state_fd);
}

struct kept *keep_new(void)
{
	return calloc(1, sizeof(struct kept));
}

static struct one *find(struct kept *kept, const char *id, size_t len)
{
	struct one *one;

	for (one = kept->first; one; one = one->next)
		if (strlen(one->id) == len && memcmp(one->id, id, len) == 0)
			return one;
	one = calloc(1, sizeof(*one));
	if (!one)
		return NULL;
	memcpy(one->id, id, len);
	for (int i = 0; i < N_PARTS; i++)
		one->fds[i] = -1;
	one->next = kept->first;
	kept->first = one;
	return one;
}

void keep_take(struct kept *kept, const char *name, int fd)
{
	const char *dot = strchr(name, '.');
	size_t len = dot ? (size_t)(dot - name) : 0;
	struct one *one = len > 1 && len < SESSION_ID && name[0] == 't' ?
		find(kept, name, len) : NULL;
	char number[16];

	for (int i = 0; one && i < N_PARTS; i++) {
		if (strcmp(dot + 1, part_name(i, number)) != 0)
			continue;
		umem_fd_close(one->fds[i]);
		one->fds[i] = fd;
		return;
	}
	log_notice("a descriptor \"%s\" was kept that is not known", name);
	umem_fd_close(fd);
}

/* The record of @one. Return: 0; -EBADMSG and the like. */
static int read_state(const struct one *one, struct umem_json **ret_json)
{
	UMEM_FREE void *text = NULL;
	struct umem_json *json = NULL;
	size_t len;
	int r = one->fds[PART_STATE] < 0 || one->fds[PART_JOURNAL] < 0 || one->fds[0] < 0 ?
		-ENODATA : umem_record_read(one->fds[PART_STATE], MAX_BYTES, &text, &len);

	if (r == 0)
		r = umem_json_parse(text, len, &limits, &json, NULL);
	if (r < 0)
		return r;
	if (umem_json_get_int(json, "version", 0) != VERSION ||
		umem_json_get_int(json, "pid", 0) <= 0 || !umem_json_get(json, "facts")) {
		umem_json_free(json);
		return -EBADMSG;
	}
	*ret_json = json;
	return 0;
}

/* A session of what was kept; its descriptors are taken on success. */
static int restore(struct one *one, struct manager *manager)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *json = NULL;
	struct session_kept kept = { .journal_fd = -1 };
	int r = read_state(one, &json);

	if (r < 0)
		return r;
	acquired_init(&kept.acquired);
	kept.acquired.pid = (pid_t)umem_json_get_int(json, "pid", 0);
	kept.acquired.stop_ns = (uint64_t)umem_json_get_int(json, "stop_ns", 0);
	snprintf(kept.acquired.name, sizeof(kept.acquired.name), "%s",
		umem_json_get_text(json, "name", ""));
	kept.acquired.facts = umem_json_share(umem_json_get(json, "facts"));
	for (size_t i = 0; i < ACQUIRED_FDS; i++)
		kept.acquired.fds[i] = umem_fd_take(&one->fds[i]);
	kept.journal_fd = umem_fd_take(&one->fds[PART_JOURNAL]);
	kept.state_fd = umem_fd_take(&one->fds[PART_STATE]);
	kept.worker_fd = umem_fd_take(&one->fds[PART_WORKER]);
	kept.id = one->id;
	kept.rule = umem_json_get_text(json, "rule", "");
	kept.who = (struct auth_who){
		.uid = (uid_t)umem_json_get_int(json, "uid", 0),
		.gid = (gid_t)umem_json_get_int(json, "gid", 0),
		.pid = (pid_t)umem_json_get_int(json, "client", 0),
		.admin = umem_json_get_bool(json, "admin", false),
	};
	kept.how = umem_json_get_bool(json, "handed", false) ? SESSION_HANDED_OFF :
		umem_json_get_bool(json, "opened", false) ? SESSION_OPENED_ONLY : SESSION_ATTACHED;
	kept.kept = umem_json_get_bool(json, "kept", false);
	kept.restarts = (uint64_t)umem_json_get_int(json, "restarts", 0);
	kept.started_ns = (uint64_t)umem_json_get_int(json, "started_ns", 0);
	kept.watch = umem_json_get(json, "watch");
	kept.policy = umem_json_get(json, "reclaim");
	return session_restore(manager, &kept);
}

void keep_restore(struct kept *kept, struct manager *manager)
{
	struct one *one;
	unsigned n = 0;

	while ((one = kept->first)) {
		int r = restore(one, manager);

		if (r < 0) {
			char name[64], number[16];

			log_error("target %s cannot go on after the restart, and is let go: %s",
				one->id, strerror(-r));
			for (int i = 0; i < N_PARTS; i++) {
				snprintf(name, sizeof(name), "%s.%s", one->id,
					part_name(i, number));
				notify_drop(name);
				umem_fd_close(one->fds[i]);
			}
		}
		n += r == 0;
		kept->first = one->next;
		free(one);
	}
	free(kept);
	if (n)
		log_notice("%u targets go on after the restart", n);
}
