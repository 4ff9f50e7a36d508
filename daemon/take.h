/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots that are being taken, for those whose work they are in the way of. A
 * process has one at a time.
 */
#ifndef DAEMON_TAKE_H
#define DAEMON_TAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/call.h"

/** snapshot_is_taken - is one of process @pid being taken? */
bool snapshot_is_taken(const struct manager *manager, pid_t pid);

/** snapshot_is_leaving - the same of one that was cancelled, and is not over yet. */
bool snapshot_is_leaving(const struct manager *manager, pid_t pid);

/**
 * snapshot_end_first - cancel the one of process @pid, and go on behind it.
 * @then: called when it is over; owns @call, whose session may be gone by then.
 *
 * Return: false when there is none: the caller goes on by itself.
 */
bool snapshot_end_first(struct call *call, pid_t pid, void (*then)(struct call *call));

/** snapshots_of - how many are being taken for user @uid. */
uint64_t snapshots_of(const struct manager *manager, uid_t uid);

/** snapshots_end - forget all: umemd ends, and so do they. */
void snapshots_end(struct manager *manager);

#endif
