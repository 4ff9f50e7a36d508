/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager's side of one worker: its process, one call at a time, and the
 * questions that it asks. A worker is not trusted: what it says is compared with
 * the description of its interface, and one that does not keep to it is killed.
 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/auth.h"
#include "daemon/loop.h"
#include "daemon/pool.h"
#include "daemon/spawn.h"
#include "lib/proto/frame.h"
#include "lib/proto/interfaces.h"
#include "lib/proto/message.h"

struct link;

/** LINK_ENDED, LINK_TIMEOUT - of the texts that tell how a worker died; others: it misbehaved. */
#define LINK_ENDED   "it ended"
#define LINK_TIMEOUT "it did not answer in time"

/**
 * struct link_env - what all links share; lives longer than they.
 * @timeout_ns: a call that takes longer means that the worker hangs.
 */
struct link_env {
	struct loop *loop;
	struct pool *pool;
	const struct umem_interfaces *interfaces;
	struct spawn_options spawn;
	uint64_t timeout_ns;
};

/**
 * struct link_answer - what a call came to.
 * @error: last word of the error's name, or NULL.
 * @continues: there are more, see link_expect_more().
 * @parameters: as the description says; borrowed.
 * @frame: descriptors; those that are not taken are closed.
 */
struct link_answer {
	const char *error;
	bool continues;
	const struct umem_json *parameters;
	struct umem_frame *frame;
};

/**
 * struct link_subject - whom a worker works on, and for.
 * @who: whose target it is.
 * @pid, @pidfd: the process.
 */
struct link_subject {
	const struct auth_who *who;
	pid_t pid;
	int pidfd;
};

/**
 * link_new - start a worker for @subject.
 * @died: called once when the worker is no more, with how, static text; not from within
 *	a call of a link's function, and not after link_free().
 *
 * Return: 0 or -errno.
 */
int link_new(const struct link_env *env, const struct link_subject *subject,
	void (*died)(void *user, const char *how), void *user, struct link **ret_link);

/**
 * link_call - call a method of io.umemd.Worker.
 * @parameters: consumed. @fds, @n_fds: duplicates are sent.
 * @answered: called once, unless the worker dies before.
 *
 * One call at a time. Return: 0, -errno.
 */
int link_call(struct link *link, const char *method, struct umem_json *parameters,
	const int *fds, size_t n_fds,
	void (*answered)(void *user, const struct link_answer *answer), void *user);

/** link_expect_more - the call that is on its way may have several replies. */
void link_expect_more(struct link *link);

/**
 * link_cancel - have the call that is on its way end soon; it is answered as any other. A
 * worker that does not end it in time counts as one that hangs.
 */
void link_cancel(struct link *link);

/** link_busy - is a call on its way? */
bool link_busy(const struct link *link);

/** link_pid, link_pidfd - the worker's process. */
pid_t link_pid(const struct link *link);
int link_pidfd(const struct link *link);

/** link_is_over - has the process ended? When @died is told it has, unless it cannot be killed. */
bool link_is_over(const struct link *link);

/** link_free - kill what still runs, and see to it that it is waited for. NULL is fine. */
struct link *link_free(struct link *link);

/** links_end - forget workers that were killed and are not over yet: umemd ends. */
void links_end(void);

#endif
