// SPDX-License-Identifier: LGPL-2.1-or-later
/* All sessions: finding one, letting go of many, telling about them. */
#include "daemon/session_inner.h"

#include <string.h>

#include "daemon/peer.h"
#include "daemon/reclaim.h"
#include "lib/base/clock.h"

struct session *session_find(struct manager *manager, const char *id)
{
	struct session *s;

	LIST_FOREACH(s, &manager->sessions, entry)
		if (strcmp(s->id, id) == 0)
			return s;
	return NULL;
}

bool session_is_leaving(const struct manager *manager, pid_t pid)
{
	const struct session *s;

	LIST_FOREACH(s, &manager->sessions, entry)
		if (s->acquired.pid == pid &&
			(s->state == SESSION_DETACHING || s->state == SESSION_CLOSED ||
				(s->owner && peer_hung_up(s->owner))))
			return true;
	return false;
}

bool session_is_visible(const struct session *s, const struct auth_who *who)
{
	return s->state != SESSION_CLOSED && (who->admin || who->uid == s->who.uid);
}

void sessions_owner_left(struct manager *manager, const struct peer *owner)
{
	struct session *s, *next;

	for (s = LIST_FIRST(&manager->sessions); s; s = next) {
		next = LIST_NEXT(s, entry);
		if (s->owner != owner)
			continue;
		s->owner = NULL;
		/* One that waits for the next umemd is an orphan then. */
		if (!manager->ending || s->state_fd < 0)
			session_detach(s, NULL, NULL);
	}
}

void sessions_detach_all(struct manager *manager)
{
	struct session *s, *next;

	for (s = LIST_FIRST(&manager->sessions); s; s = next) {
		next = LIST_NEXT(s, entry);
		if (s->state_fd < 0)
			session_detach(s, NULL, NULL);
	}
}

uint64_t sessions_unkept(const struct manager *manager)
{
	const struct session *s;
	uint64_t n = 0;

	LIST_FOREACH(s, &manager->sessions, entry)
		n += s->state_fd < 0;
	return n;
}

const char *session_how_name(enum session_how how)
{
	static const char *const hows[] = {
		[SESSION_ATTACHED] = "attached",
		[SESSION_HANDED_OFF] = "handed_off",
		[SESSION_OPENED_ONLY] = "opened",
	};

	return hows[how];
}

void session_look(struct session *s)
{
	usage_read(s->acquired.fds[ACQUIRED_DIR], &s->usage);
}

/* What is known of its rounds and of its memory. */
static void describe_work(struct session *s, struct umem_json *json, uint64_t now_ns)
{
	const struct stats_target *stats = &s->stats;

	umem_json_set_u64(json, "rounds", stats->sums.rounds);
	umem_json_set_u64(json, "recovered", stats->sums.recovered);
	if (s->watch)
		umem_json_set_u64(json, "tracked_bytes", stats->tracked_bytes);
	if (stats->last_ns) {
		umem_json_set_u64(json, "dirty_bytes", stats->last_dirty_bytes);
		umem_json_set_u64(json, "interval_ns", stats->last_interval_ns);
		umem_json_set_u64(json, "scan_ns", stats->last_scan_ns);
		umem_json_set_u64(json, "idle_ns", now_ns - stats->last_ns);
	}
	session_look(s);
	if (s->usage.known) {
		umem_json_set_u64(json, "resident_bytes", s->usage.resident_bytes);
		umem_json_set_u64(json, "swapped_bytes", s->usage.swapped_bytes);
	}
}

struct umem_json *session_describe(struct session *s)
{
	struct umem_json *json = umem_json_object();
	uint64_t now_ns = umem_now_ns();

	umem_json_set_text(json, "target", s->id);
	umem_json_set_u64(json, "pid", (uint64_t)s->acquired.pid);
	umem_json_set_text(json, "name", s->acquired.name);
	umem_json_set_u64(json, "uid", s->who.uid);
	umem_json_set_text(json, "how", session_how_name(s->how));
	umem_json_set_text(json, "state", session_state_name(s->state));
	umem_json_set_bool(json, "kept", s->kept);
	if (s->rule[0])
		umem_json_set_text(json, "rule", s->rule);
	if (s->reclaim)
		umem_json_set_text(json, "reclaim", reclaim_name(s->reclaim));
	umem_json_set_u64(json, "restarts", s->restarts);
	umem_json_set_u64(json, "stop_ns", s->acquired.stop_ns);
	umem_json_set_u64(json, "age_ns", now_ns - s->started_ns);
	describe_work(s, json, now_ns);
	return json;
}
