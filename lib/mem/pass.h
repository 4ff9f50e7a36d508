/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target that goes from one process to another: from the one that has the
 * right to acquire it to one that has no rights at all.
 *
 * What goes is descriptors, which stay valid in any process, and facts, as JSON.
 * The two processes are of one build: the facts are no stable format, but they
 * are checked when they are read.
 */
#ifndef UMEM_MEM_PASS_H
#define UMEM_MEM_PASS_H

#include "lib/base/json.h"
#include "lib/mem/target.h"

/** enum umem_passed - the descriptors of a target, in the order in which they are passed. */
enum umem_passed {
	UMEM_PASSED_PIDFD,
	UMEM_PASSED_DIR,     /* /proc/PID */
	UMEM_PASSED_MAPS,
	UMEM_PASSED_PAGEMAP,
	UMEM_PASSED_MEM,     /* for reading; -1 where it may not be opened */
	UMEM_PASSED_UFFD,    /* -1 for a target that is only looked at */
	UMEM_N_PASSED,
};

/**
 * struct umem_passing - a target on its way.
 * @fds: by enum umem_passed, owned; -1 for none.
 * @facts: the rest, owned.
 */
struct umem_passing {
	int fds[UMEM_N_PASSED];
	struct umem_json *facts;
};

/** umem_passing_deinit - close and free. */
void umem_passing_deinit(struct umem_passing *passing);

/**
 * umem_target_pass - duplicates of all that @target is.
 * @target: stays as it is; it may be freed behind this, as long as it was not
 *	watched by this process (then freeing lifts the protection).
 * @confine: have DIR be a mount of its own from which no way leads out, where
 *	that is allowed; else the plain directory.
 *
 * Return: 0, -EMFILE, -ENOMEM; UMEM_GONE.
 */
int umem_target_pass(const struct umem_target *target, bool confine,
	struct umem_passing *ret_passing);

/**
 * umem_target_from_fds - the target at the other end.
 * @facts: not trusted.
 * @fds: by enum umem_passed; owned by the target when this succeeds.
 * @reach: whom to ask for the rest; must outlive the target. NULL: /proc is there.
 *
 * Return: 0; -EINVAL: @facts are none, or a descriptor that is needed is -1; -ENOMEM.
 */
int umem_target_from_fds(const struct umem_json *facts, const int fds[UMEM_N_PASSED],
	const struct umem_reach *reach, struct umem_target **ret_target, struct umem_note *note);

#endif
