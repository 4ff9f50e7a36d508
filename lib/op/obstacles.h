/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands in the way of attaching to a process, found without stopping it.
 * Nothing here is a promise: the process may change before it is attached to.
 */
#ifndef UMEM_OP_OBSTACLES_H
#define UMEM_OP_OBSTACLES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/kern/feat.h"
#include "lib/mem/target.h"

/** UMEM_OBSTACLES_MAX - more than there are kinds of them. */
#define UMEM_OBSTACLES_MAX 8

/**
 * struct umem_obstacle - one finding.
 * @err: -errno that attaching would answer; 0: it only has to be known.
 * @what: one word: "init", "self", "permission", "tracer", "seccomp", "32-bit",
 *        "sleep", "stopped", "kernel".
 * @text: what and what to do, for people.
 */
struct umem_obstacle {
	int err;
	const char *what;
	char text[192];
};

/** struct umem_obstacles - @n findings, those that block first. */
struct umem_obstacles {
	struct umem_obstacle v[UMEM_OBSTACLES_MAX];
	size_t n;
};

/**
 * umem_obstacles_find - look for them.
 * @target: opened; @feats: what the kernel can do, everything probed.
 *
 * Return: 0, UMEM_GONE.
 */
int umem_obstacles_find(const struct umem_target *target, const struct umem_feats *feats,
	struct umem_obstacles *ret_obstacles);

#endif
