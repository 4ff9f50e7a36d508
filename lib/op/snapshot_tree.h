/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes are of one snapshot. */
#ifndef UMEM_OP_SNAPSHOT_TREE_H
#define UMEM_OP_SNAPSHOT_TREE_H

#include "lib/op/snapshot.h"

/**
 * umem_snapshot_find_tree - add what belongs to the first member: its descendants, and
 * who may write shared memory of a member. Those that are members stay what they are.
 *
 * @ret_new: how many were added.
 *
 * Return: 0, UMEM_GONE: the first member ended; -ENOMEM, -errno of reading /proc.
 */
int umem_snapshot_find_tree(struct umem_snapshotter *s, size_t *ret_new, struct umem_note *note);

/** umem_snapshot_add_member - add a process that is none yet. Return: 0 or -ENOMEM. */
int umem_snapshot_add_member(struct umem_snapshotter *s, int pid);

#endif
