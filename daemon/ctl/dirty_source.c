// SPDX-License-Identifier: LGPL-2.1-or-later
/* Rounds of dirty tracking: by the engine in this process, and by umemd. */
#include "daemon/ctl/dirty_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include <umemd/client.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

/* A watch of this process. */
struct embedded {
	struct dirty_source base;
	struct umem_target *target;
	struct umem_watch *watch;
};

/* A target of umemd. */
struct remote {
	struct dirty_source base;
	struct umem_client *client;
	struct umem_client_round *round;
	enum umem_client_form form;
	char target[UMEM_CLIENT_TARGET];
};

static int embedded_collect(struct dirty_source *source, const struct umem_round **ret_round,
	struct umem_note *note)
{
	return umem_watch_collect(((struct embedded *)source)->watch, ret_round, note);
}

static int embedded_each(struct dirty_source *source,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why), void *user)
{
	return umem_watch_each(((struct embedded *)source)->watch, each, user);
}

static const struct umem_range *embedded_gone(const struct dirty_source *source, size_t *ret_n)
{
	return umem_watch_gone(((const struct embedded *)source)->watch, ret_n);
}

static void embedded_free(struct dirty_source *source)
{
	struct embedded *e = (struct embedded *)source;

	umem_watch_free(e->watch);
	umem_target_free(e->target);
	free(e);
}

static const struct dirty_source_ops embedded_ops = {
	.collect = embedded_collect,
	.each = embedded_each,
	.gone = embedded_gone,
	.free = embedded_free,
};

int dirty_embedded_new(int pid, const struct umem_watch_options *watch,
	struct dirty_source **ret_source, struct umem_note *note)
{
	struct umem_attach_options attach = ctl_attach_options();
	struct embedded *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->base = (struct dirty_source){ .ops = &embedded_ops, .pid = pid, .pidfd = -1 };
	r = umem_target_attach(pid, &attach, &e->target, note);
	if (r == 0)
		r = umem_watch_new(e->target, watch, &e->watch, note);
	if (r != 0) {
		embedded_free(&e->base);
		return r;
	}
	e->base.pidfd = umem_target_pidfd(e->target);
	e->base.armed = umem_watch_armed(e->watch);
	*ret_source = &e->base;
	return 0;
}

static int remote_collect(struct dirty_source *source, const struct umem_round **ret_round,
	struct umem_note *note)
{
	struct remote *m = (struct remote *)source;
	int r;

	m->round = umem_client_round_free(m->round);
	r = umem_client_collect(m->client, m->target, m->form, UINT64_MAX, &m->round, note);
	if (r == 0)
		*ret_round = umem_client_round_numbers(m->round);
	return r;
}

static int remote_each(struct dirty_source *source,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why), void *user)
{
	return umem_client_round_each(((struct remote *)source)->round, each, user);
}

static const struct umem_range *remote_gone(const struct dirty_source *source, size_t *ret_n)
{
	return umem_client_round_gone(((const struct remote *)source)->round, ret_n);
}

static void remote_free(struct dirty_source *source)
{
	struct remote *m = (struct remote *)source;

	umem_client_round_free(m->round);
	/* Waited for, so that nothing is left when we end. */
	if (m->client && m->target[0])
		umem_client_detach(m->client, m->target, NULL);
	umem_client_free(m->client);
	umem_fd_close(m->base.pidfd);
	free(m);
}

static const struct dirty_source_ops remote_ops = {
	.collect = remote_collect,
	.each = remote_each,
	.gone = remote_gone,
	.free = remote_free,
};

/* Before the daemon is asked, so that the end of this process is seen and no other's. */
static int open_pidfd(struct remote *m, struct umem_note *note)
{
	m->base.pidfd = pidfd_open(m->base.pid, 0);
	if (m->base.pidfd >= 0)
		return 0;
	if (errno != ESRCH)
		return umem_note_set(note, -errno, 0, "process %d: %s", m->base.pid,
			strerror(errno));
	umem_note_set(note, -ESRCH, 0, "there is no process %d", m->base.pid);
	return UMEM_GONE;
}

int dirty_remote_new(const char *path, int pid, const struct umem_watch_options *watch,
	bool ranges, struct dirty_source **ret_source, struct umem_note *note)
{
	struct remote *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->base = (struct dirty_source){ .ops = &remote_ops, .pid = pid, .pidfd = -1 };
	m->form = ranges ? UMEM_CLIENT_RANGES : UMEM_CLIENT_NUMBERS;
	r = umem_client_connect(path, &m->client, note);
	if (r == 0)
		r = open_pidfd(m, note);
	if (r == 0)
		r = umem_client_attach(m->client, pid, NULL, m->target, note);
	if (r == 0)
		r = umem_client_start(m->client, m->target, watch, &m->base.armed, note);
	if (r != 0) {
		remote_free(&m->base);
		return r;
	}
	*ret_source = &m->base;
	return 0;
}
