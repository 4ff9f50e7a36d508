// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How much one user may have.
 *
 * What there is of a user is counted when somebody wants more, by looking at it: nothing is
 * written down that could be forgotten. Bytes a second are different: a bucket, that a user
 * keeps as long as it is not full, so that coming anew does not fill it.
 */
#include "daemon/quota.h"

#include <stdio.h>
#include <sys/stat.h>

#include "daemon/call.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/peer.h"
#include "daemon/session.h"
#include "daemon/take.h"
#include "lib/base/clock.h"

/* A bit for each page of 4096 bytes, in a round and in the one before it. */
#define TRACKED_PER_BYTE (4096u * 8 / 2)

uint64_t quota_tracked_bytes(uint64_t bytes)
{
	return bytes / TRACKED_PER_BYTE;
}

static uint64_t count_open(const int *fds, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += fds[i] >= 0;
	return count;
}

uint64_t quota_fd_bytes(const int *fds, size_t n_fds)
{
	uint64_t bytes = 0;
	struct stat st;

	for (size_t i = 0; i < n_fds; i++)
		if (fstat(fds[i], &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
			bytes += (uint64_t)st.st_size;
	return bytes;
}

static void count_peer(const struct peer *peer, struct quota_held *held)
{
	const struct umem_outbox_item *item;

	held->fds += QUOTA_PEER_FDS + peer->inbox.n_fds;
	if (peer->call)
		held->fds += count_open(peer->call->frame.fds, peer->call->frame.n_fds);
	held->memory_bytes += peer->inbox.room + peer->outbox.bytes;
	for (item = peer->outbox.first; item; item = item->next) {
		held->fds += item->n_fds;
		held->memory_bytes += quota_fd_bytes(item->fds, item->n_fds);
	}
}

/* What its rounds are of: pages that are there. A program may reserve much more. */
static uint64_t tracked_bytes(struct session *s)
{
	session_look(s);
	return s->usage.known ? umem_min_u64(s->stats.tracked_bytes,
		s->usage.resident_bytes + s->usage.swapped_bytes) : s->stats.tracked_bytes;
}

static void count_session(struct session *s, struct quota_held *held)
{
	const int fds[] = { s->journal_fd, s->state_fd, s->claim_fd, s->old_worker_fd };

	held->fds += count_open(s->acquired.fds, ACQUIRED_FDS);
	held->fds += count_open(fds, UMEM_ARRAY_LEN(fds));
	/* Two sockets and a pidfd. */
	held->fds += s->link ? 3 : 0;
	held->memory_bytes += quota_tracked_bytes(tracked_bytes(s));
}

struct quota_held quota_count(const struct manager *m, const struct user *user)
{
	struct quota_held held = {
		.fds = user->n_requests * QUOTA_TARGET_FDS +
			snapshots_of(m, user->uid) * QUOTA_SHOT_FDS,
	};
	const struct peer *peer;
	struct session *s;

	LIST_FOREACH(peer, &m->peers, entry)
		if (peer->user == user)
			count_peer(peer, &held);
	LIST_FOREACH(s, &m->sessions, entry)
		if (s->user == user)
			count_session(s, &held);
	return held;
}

bool quota_refuses(struct manager *m, struct user *user, int pid, const struct quota_ask *ask,
	char ret_text[QUOTA_TEXT])
{
	const char *name = stats_quota_names[ask->quota];
	const unsigned bit = 1u << ask->quota;

	if (ask->more <= ask->limit && ask->now <= ask->limit - ask->more) {
		user->told &= ~bit;
		return false;
	}
	snprintf(ret_text, QUOTA_TEXT, "user %u has reached the limit of %llu (%s)",
		(unsigned)user->uid, (unsigned long long)ask->limit, name);
	if (!(user->told & bit))
		log_notice("process %d: %s; not told again until there is room", pid, ret_text);
	user->told |= bit;
	stats_quota(&m->stats, name);
	return true;
}

bool quota_refuses_call(struct call *call, const struct quota_ask *ask)
{
	struct umem_json *parameters;
	char text[QUOTA_TEXT];

	if (!quota_refuses(call->manager, call->peer->user, (int)call->peer->who.pid, ask, text))
		return false;
	parameters = umem_json_object();
	umem_json_set_text(parameters, "quota", stats_quota_names[ask->quota]);
	umem_json_set_text(parameters, "text", text);
	call_error(call, "QuotaExceeded", parameters);
	return true;
}

bool quota_refuses_fds(struct call *call, uint64_t more)
{
	const struct quota_held held = quota_count(call->manager, call->peer->user);

	return quota_refuses_call(call, &(struct quota_ask){ STATS_USER_DESCRIPTORS, held.fds, more,
		call->manager->config.user_descriptors });
}

bool quota_refuses_memory(struct call *call, uint64_t more)
{
	const struct quota_held held = quota_count(call->manager, call->peer->user);

	return quota_refuses_call(call, &(struct quota_ask){ STATS_USER_MEMORY, held.memory_bytes,
		more, call->manager->config.user_memory_bytes });
}

bool quota_refuses_result(struct call *call)
{
	const struct manager *m = call->manager;
	struct user *user = call->peer->user;
	const uint64_t now_ns = umem_now_ns();

	if (user->counted_ns == 0 || now_ns - user->counted_ns >= QUOTA_OLD_NS) {
		user->counted_bytes = quota_count(m, user).memory_bytes;
		user->counted_ns = now_ns;
	}
	return quota_refuses_call(call, &(struct quota_ask){ STATS_USER_MEMORY,
		user->counted_bytes, 1, m->config.user_memory_bytes });
}

uint64_t quota_pay(struct manager *m, struct user *user, int pid, uint64_t bytes)
{
	const char *name = stats_quota_names[STATS_USER_RATE];
	const unsigned bit = 1u << STATS_USER_RATE;
	uint64_t rate = m->config.user_rate_bytes_s, wait_ns;

	if (rate == 0)
		return 0;
	wait_ns = umem_bucket_take(&user->sent, rate, umem_now_ns(), bytes);
	if (wait_ns == 0) {
		user->told &= ~bit;
		return 0;
	}
	if (!(user->told & bit))
		log_notice("process %d: what user %u is sent has to wait: the limit is %llu bytes "
			"a second (%s)", pid, (unsigned)user->uid, (unsigned long long)rate, name);
	user->told |= bit;
	stats_quota(&m->stats, name);
	return wait_ns;
}
