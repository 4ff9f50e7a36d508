/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One target's work, in a process of its own: messages of the manager to
 * operations of the engine. Calls are served one after the other.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/track.h>

#include "daemon/worker/answer.h"
#include "daemon/worker/broker.h"
#include "daemon/worker/isolate.h"
#include "lib/base/ranges.h"
#include "lib/op/reclaim.h"
#include "lib/proto/interfaces.h"

/**
 * struct worker - all that this process has.
 * @inbox, @outbox: of the manager's calls.
 * @interfaces: what a call may have.
 * @broker: whom to ask for files.
 * @isolate: how far isolation came.
 * @target, @watch, @reclaim: NULL until there is one.
 * @reclaim_pid: the process of @reclaim, which that points to.
 * @reclaim_watches: its policy watches writes, and nobody else can.
 * @journal_fd: -1, or where to note what is left.
 * @base, @last: the sets of the watch hold the rounds behind @base, up to @last.
 * @recovered: the coming round follows the death of a worker.
 * @ended: no call is served behind this.
 */
struct worker {
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	struct umem_interfaces interfaces;
	struct broker broker;
	struct isolate isolate;
	struct umem_target *target;
	struct umem_watch *watch;
	struct umem_reclaim *reclaim;
	int reclaim_pid;
	bool reclaim_watches;
	int journal_fd;
	uint64_t base;
	uint64_t last;
	bool recovered;
	bool ended;
};

/**
 * worker_run - serve until the manager is gone or has the worker end.
 * @isolate: what isolate_start() came to.
 *
 * Return: 0 or -errno.
 */
int worker_run(const struct isolate *isolate);

/*
 * Verbs. Each gets parameters that fit its description, and the descriptors that
 * came with them. Return: 0 with @answer->parameters, or none for no parameters;
 * UMEM_GONE, -errno with @answer->note; -E2BIG as round_answer().
 */
int worker_watch(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_collect(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_unwatch(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_map(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_page_out(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_page_in(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);

int worker_reclaim(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_reclaim_look(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_reclaim_work(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);
int worker_unreclaim(struct worker *worker, const struct umem_json *parameters,
	struct answer *answer);

/** worker_regions - an array of Range, or none. Return: 0, -EINVAL with @note, -ENOMEM. */
int worker_regions(const struct umem_json *list, struct umem_ranges *ret_set,
	struct umem_note *note);

/** worker_tell - a reply of which there are more; @parameters are consumed. Return: 0 or -errno. */
int worker_tell(struct worker *worker, struct umem_json *parameters);

/** worker_is_cancelled - does nobody want the end of the call that is being served? */
bool worker_is_cancelled(struct worker *worker);

#endif
