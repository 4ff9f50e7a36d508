/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager's side of one snapshot: the process that takes it, from its start to its
 * end. What it says is not trusted: it is compared with the description of
 * io.umemd.Snapshotter.
 */
#ifndef DAEMON_SHOT_H
#define DAEMON_SHOT_H

#include <stddef.h>

#include <umemd/types.h>

#include "daemon/auth.h"
#include "daemon/link.h"

struct shot;

/**
 * struct shot_result - what it came to.
 * @result: 0; UMEM_GONE; -ECANCELED; -errno.
 * @note: of a failure.
 * @reply: with 0: parameters of the last reply of Take; borrowed.
 */
struct shot_result {
	int result;
	const struct umem_note *note;
	const struct umem_json *reply;
};

/**
 * struct shot_ops - whom to tell, always from the loop.
 * @progress: parameters of a reply of Take; borrowed.
 * @done: told once, when the process is over, and nothing of it is left; the owner frees
 *	the shot then.
 */
struct shot_ops {
	void (*progress)(void *user, const struct umem_json *reply);
	void (*done)(void *user, const struct shot_result *result);
};

/**
 * shot_new - start the process, with the rights of @who, and call it.
 * @parameters: of Take; consumed. @fds, @n_fds: duplicates are sent.
 * @ops: outlives the shot.
 *
 * Return: 0; -EPERM: this umemd cannot have the rights of @who; -errno.
 */
int shot_new(const struct link_env *env, const struct auth_who *who,
	struct umem_json *parameters, const int *fds, size_t n_fds, const struct shot_ops *ops,
	void *user, struct shot **ret_shot);

/** shot_cancel - have it end soon; done() is told then. */
void shot_cancel(struct shot *shot);

/** shot_free - one that still works is on its own, and ends by itself. Return: NULL. */
struct shot *shot_free(struct shot *shot);

#endif
