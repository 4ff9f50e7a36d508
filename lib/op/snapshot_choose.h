/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which method a snapshot takes, and getting it ready. */
#ifndef UMEM_OP_SNAPSHOT_CHOOSE_H
#define UMEM_OP_SNAPSHOT_CHOOSE_H

#include "lib/op/snapshot.h"

/**
 * umem_snapshot_choose - set s->ops and s->why, and prepare the members.
 *
 * With UMEM_SNAPSHOT_AUTO the next best method is taken when one cannot be used.
 *
 * Return: as umem_snapshotter_new().
 */
int umem_snapshot_choose(struct umem_snapshotter *s, struct umem_note *note);

#endif
