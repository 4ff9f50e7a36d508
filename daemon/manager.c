// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * All that umemd has.
 *
 * It ends in order: no new connections, every target let go by its worker, then the
 * loop stops. What cannot be let go within END_NS is left to the kernel, which lifts
 * the protection when the last descriptor is closed.
 *
 * Where a service manager keeps targets (keep.c), they are left to it: it restarts us, and
 * they go on, or it stops us, and closes what it kept.
 */
#include "daemon/manager.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/keep.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/methods.h"
#include "daemon/notify.h"
#include "daemon/peer.h"
#include "daemon/rules.h"
#include "daemon/session.h"
#include "daemon/take.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

#define MAX_THREADS 32
#define END_NS      10000000000ull

static void begin_to_end(struct manager *m)
{
	if (m->ending)
		return;
	m->ending = true;
	m->listener = listener_free(m->listener);
	notify_stopping();
	if (sessions_unkept(m) == 0) {
		loop_stop(m->loop);
		return;
	}
	log_info("ending: %llu targets are let go", (unsigned long long)sessions_unkept(m));
	loop_timer_set(m->deadline, END_NS);
	sessions_detach_all(m);
}

/* What may change while we run is taken from the file again. */
static void reload(struct manager *m)
{
	struct umem_note note = { 0 };
	struct config config;

	notify_reload();
	config_defaults(&config);
	if (m->config_path[0] && config_read(&config, m->config_path, &note) < 0) {
		log_error("the configuration stays as it was: %s", note.text);
	} else {
		memcpy(config.socket, m->config.socket, sizeof(config.socket));
		memcpy(config.worker, m->config.worker, sizeof(config.worker));
		config.worker_uid = m->config.worker_uid;
		config.worker_gid = m->config.worker_gid;
		memcpy(config.metrics, m->config.metrics, sizeof(config.metrics));
		m->config = config;
		m->links.timeout_ns = config.worker_timeout_ns;
		log_set_level((enum log_level)config.log_level);
		rules_reload(m->rules);
		log_notice("the configuration was read again");
	}
	notify_ready("serving");
}

static void on_hangup(void *user, int signo)
{
	reload(user);
}

static void on_alive(void *user)
{
	struct manager *m = user;

	notify_alive();
	loop_timer_set(m->alive, notify_alive_ns());
}

static void on_signal(void *user, int signo)
{
	begin_to_end(user);
}

static void on_deadline(void *user)
{
	struct manager *m = user;

	log_warning("%llu targets were not let go in time; the kernel does it now",
		(unsigned long long)m->n_sessions);
	loop_stop(m->loop);
}

void manager_session_left(struct manager *m)
{
	m->n_sessions--;
	targets_session_left(m);
	if (m->ending && sessions_unkept(m) == 0)
		loop_stop(m->loop);
}

/* Those that have nothing, and have waited for what they got. */
static void forget_users(struct manager *m)
{
	const uint64_t rate = m->config.user_rate_bytes_s, now_ns = umem_now_ns();
	struct user *user, *next;

	for (user = LIST_FIRST(&m->users); user; user = next) {
		next = LIST_NEXT(user, entry);
		if (user->n_peers || user->n_sessions || user->n_requests ||
			(rate && !umem_bucket_is_full(&user->sent, rate, now_ns)))
			continue;
		LIST_REMOVE(user, entry);
		free(user);
	}
}

struct user *manager_user(struct manager *m, uid_t uid)
{
	struct user *user;

	forget_users(m);
	LIST_FOREACH(user, &m->users, entry)
		if (user->uid == uid)
			return user;
	user = calloc(1, sizeof(*user));
	if (!user)
		return NULL;
	user->uid = uid;
	LIST_INSERT_HEAD(&m->users, user, entry);
	return user;
}

void manager_user_left(struct manager *m)
{
	forget_users(m);
}

/* Each target takes some ten descriptors: take what there may be. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* What we were started with: a socket that listens, and what was kept. */
struct given {
	struct kept *kept;
	int listener;
};

static void take_given(void *user, const char *name, int fd)
{
	struct given *given = user;

	if (notify_is_listener(fd)) {
		umem_fd_close(given->listener);
		given->listener = fd;
	} else {
		keep_take(given->kept, name, fd);
	}
}

/* Listen, and go on with what was kept. */
static int open_doors(struct manager *m, struct umem_note *note)
{
	struct given given = { .kept = keep_new(), .listener = -1 };
	int r = given.kept ? notify_take(take_given, &given) : -ENOMEM;

	if (r == 0)
		r = given.listener >= 0 ?
			listener_adopt(m, given.listener, &m->listener, note) :
			listener_new(m, m->config.socket, &m->listener, note);
	if (r < 0)
		return r;
	m->metrics = metrics_new(m);
	keep_restore(given.kept, m);
	r = rules_new(m, &m->rules);
	if (r < 0)
		return r;
	/* What was kept of a rule that is not there any more. */
	rules_reload(m->rules);
	if (notify_alive_ns())
		on_alive(m);
	notify_ready("serving");
	return 0;
}

static int start(struct manager *m, struct umem_note *note)
{
	int r = umem_interfaces_load(&m->interfaces, note);

	if (r == 0)
		r = loop_new(&m->loop);
	if (r == 0)
		r = pool_new(m->loop, MAX_THREADS, &m->pool);
	if (r == 0)
		r = loop_timer_new(m->loop, on_deadline, m, &m->deadline);
	if (r == 0)
		r = loop_on_signal(m->loop, SIGTERM, on_signal, m);
	if (r == 0)
		r = loop_on_signal(m->loop, SIGINT, on_signal, m);
	if (r == 0)
		r = loop_on_signal(m->loop, SIGHUP, on_hangup, m);
	if (r == 0)
		r = loop_timer_new(m->loop, on_alive, m, &m->alive);
	if (r < 0)
		return r;
	m->links = (struct link_env){
		.loop = m->loop,
		.pool = m->pool,
		.interfaces = &m->interfaces,
		.spawn = {
			.path = m->config.worker,
			.uid = (uid_t)m->config.worker_uid,
			.gid = (gid_t)m->config.worker_gid,
			.root_fd = spawn_empty_root(),
		},
		.timeout_ns = m->config.worker_timeout_ns,
	};
	return open_doors(m, note);
}

int manager_start(struct manager *m, const struct config *config, const char *path,
	struct umem_note *note)
{
	int r = acquire_kernel(note);

	if (r < 0)
		return r;
	*m = (struct manager){ .config = *config, .links.spawn.root_fd = -1 };
	snprintf(m->config_path, sizeof(m->config_path), "%s", path ? path : "");
	LIST_INIT(&m->users);
	LIST_INIT(&m->peers);
	LIST_INIT(&m->sessions);
	LIST_INIT(&m->waiting);
	LIST_INIT(&m->takes);
	log_set_level((enum log_level)config->log_level);
	raise_limits();
	/* A long message now and then is given back to the system, not kept for the next. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_ARENA_MAX, 2);
	signal(SIGPIPE, SIG_IGN);
	r = start(m, note);
	if (r < 0) {
		umem_note_set(note, r, 0, "%s", strerror(-r));
		manager_stop(m);
	}
	return r;
}

int manager_run(struct manager *m)
{
	return loop_run(m->loop);
}

void manager_stop(struct manager *m)
{
	m->listener = listener_free(m->listener);
	m->metrics = metrics_free(m->metrics);
	while (!LIST_EMPTY(&m->peers))
		peer_drop(LIST_FIRST(&m->peers), NULL);
	snapshots_end(m);
	links_end();
	m->pool = pool_free(m->pool);
	m->rules = rules_free(m->rules);
	m->deadline = loop_timer_free(m->deadline);
	m->alive = loop_timer_free(m->alive);
	umem_fd_close(m->links.spawn.root_fd);
	umem_interfaces_deinit(&m->interfaces);
	if (m->n_sessions == 0)
		m->loop = loop_free(m->loop);
}
