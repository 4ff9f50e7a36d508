// SPDX-License-Identifier: LGPL-2.1-or-later
/* How sessions come to be: of what was acquired, or of what was kept over a restart. */
#include "daemon/session_inner.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>

#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/peer.h"
#include "daemon/reclaim.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

static void on_lonely(void *user)
{
	struct session *s = user;

	log_notice("target %s (process %d): nobody came back for it", s->id,
		(int)s->acquired.pid);
	session_detach(s, NULL, NULL);
}

/* Put it into the lists, with what it needs of the loop. @s->journal_fd may be made here. */
static int init(struct session *s)
{
	struct loop *loop = s->manager->loop;
	int r = loop_watch_new(loop, s->acquired.fds[0], session_on_ended, s, &s->end);

	if (r == 0)
		r = loop_timer_new(loop, session_on_retry, s, &s->retry);
	if (r == 0)
		r = loop_timer_new(loop, on_lonely, s, &s->lonely);
	if (r < 0)
		return r;
	if (s->journal_fd < 0)
		s->journal_fd = memfd_create("umemd-journal", MFD_CLOEXEC);
	if (s->journal_fd < 0)
		return -errno;
	s->user = manager_user(s->manager, s->who.uid);
	if (!s->user)
		return -ENOMEM;
	s->user->n_sessions++;
	s->manager->n_sessions++;
	LIST_INSERT_HEAD(&s->manager->sessions, s, entry);
	loop_watch_for(s->end, LOOP_READ);
	return 0;
}

/* One that is in no list yet. Return: NULL. */
static struct session *abandon(struct session *s)
{
	loop_watch_free(s->end);
	loop_timer_free(s->retry);
	loop_timer_free(s->lonely);
	acquired_deinit(&s->acquired);
	umem_fd_close(s->journal_fd);
	umem_fd_close(s->state_fd);
	umem_fd_close(s->old_worker_fd);
	umem_json_free(s->watch);
	free(s);
	return NULL;
}

int session_new(struct manager *manager, const struct session_options *options,
	struct acquired *acquired, session_done *on_open, void *user,
	struct session **ret_session)
{
	static const enum stats_how hows[] = {
		[SESSION_ATTACHED] = STATS_ATTACHED,
		[SESSION_HANDED_OFF] = STATS_HANDED_OFF,
		[SESSION_OPENED_ONLY] = STATS_OPENED,
	};
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		acquired_deinit(acquired);
		return -ENOMEM;
	}
	*s = (struct session){
		.manager = manager,
		.owner = options->owner,
		.who = options->who,
		.how = options->how,
		.kept = !options->owner,
		.acquired = *acquired,
		.journal_fd = -1,
		.state_fd = -1,
		.old_worker_fd = -1,
		.claim_fd = -1,
		.started_ns = umem_now_ns(),
		.on_open = on_open,
		.on_open_user = user,
	};
	acquired_init(acquired);
	STAILQ_INIT(&s->jobs);
	snprintf(s->rule, sizeof(s->rule), "%s", options->rule ? options->rule : "");
	snprintf(s->id, sizeof(s->id), "t%llu", (unsigned long long)++manager->next_id);
	r = init(s);
	if (r < 0) {
		abandon(s);
		return r;
	}
	stats_came(&manager->stats, &s->stats, hows[s->how], metrics_limit(&manager->config));
	if (s->how == SESSION_ATTACHED)
		stats_time(&manager->stats.stops, s->acquired.stop_ns);
	keep_session(s);
	session_start_worker(s);
	*ret_session = s;
	return 0;
}

static void on_old_worker_ended(void *user, unsigned what)
{
	struct session *s = user;

	s->old_worker = loop_watch_free(s->old_worker);
	s->old_worker_fd = umem_fd_close(s->old_worker_fd);
	if (session_wants_worker(s))
		session_start_worker(s);
}

/* Have the worker of the umemd before this one end, if it is there still, then go on. */
static int succeed_worker(struct session *s)
{
	int r;

	if (s->old_worker_fd < 0) {
		session_start_worker(s);
		return 0;
	}
	pidfd_send_signal(s->old_worker_fd, SIGKILL, NULL, 0);
	r = loop_watch_new(s->manager->loop, s->old_worker_fd, on_old_worker_ended, s,
		&s->old_worker);
	if (r == 0)
		loop_watch_for(s->old_worker, LOOP_READ);
	return r;
}

/* The number in its name must not be given again. */
static void reserve_id(struct manager *manager, const char *id)
{
	uint64_t number = strtoull(id + 1, NULL, 10);

	manager->next_id = umem_max_u64(manager->next_id, number);
}

/* A policy goes on; without memory it does not, and that is said. */
static void restore_policy(struct session *s, const struct umem_json *policy)
{
	int r = 0;

	if (policy)
		r = acquire_claim(&s->acquired, &s->claim_fd);
	if (policy && r == 0)
		r = reclaim_new(s, policy, NULL, NULL);
	if (r < 0)
		log_error("target %s: its policy of reclaim is over: %s", s->id, strerror(-r));
}

int session_restore(struct manager *manager, struct session_kept *kept)
{
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		acquired_deinit(&kept->acquired);
		umem_fd_close(kept->journal_fd);
		umem_fd_close(kept->state_fd);
		umem_fd_close(kept->worker_fd);
		return -ENOMEM;
	}
	*s = (struct session){
		.manager = manager,
		.who = kept->who,
		.how = kept->how,
		.kept = kept->kept,
		.state = kept->watch ? SESSION_RECOVERING : SESSION_REVIVING,
		.acquired = kept->acquired,
		.journal_fd = kept->journal_fd,
		.state_fd = kept->state_fd,
		.old_worker_fd = kept->worker_fd,
		.claim_fd = -1,
		.watch = kept->watch ? umem_json_share(kept->watch) : NULL,
		.restarts = kept->restarts + 1,
		.started_ns = kept->started_ns,
		.orphan = !kept->kept,
		.came = true,
	};
	STAILQ_INIT(&s->jobs);
	snprintf(s->id, sizeof(s->id), "%s", kept->id);
	snprintf(s->rule, sizeof(s->rule), "%s", kept->rule);
	reserve_id(manager, s->id);
	r = init(s);
	if (r < 0) {
		abandon(s);
		return r;
	}
	stats_came(&manager->stats, &s->stats, STATS_RESTORED, metrics_limit(&manager->config));
	if (s->orphan)
		loop_timer_set(s->lonely, manager->config.keep_orphans_ns);
	restore_policy(s, kept->policy);
	keep_update(s);
	return succeed_worker(s);
}

void session_touched(struct session *s, struct peer *peer)
{
	if (!s->orphan || s->who.uid != peer->who.uid)
		return;
	s->orphan = false;
	s->owner = peer;
	loop_timer_clear(s->lonely);
}
