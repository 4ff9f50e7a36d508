/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process that takes one snapshot: one call of the manager, and it ends. */
#ifndef WORKER_SNAPSHOTTER_H
#define WORKER_SNAPSHOTTER_H

/**
 * snapshotter_run - serve the call, until it is answered or the manager is gone.
 * Return: 0 or -errno.
 */
int snapshotter_run(void);

#endif
