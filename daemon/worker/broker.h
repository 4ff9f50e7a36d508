/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking the manager for what a worker may not open by itself: the files behind
 * the mappings of its target, and what the machine has. Each call waits for its answer.
 */
#ifndef WORKER_BROKER_H
#define WORKER_BROKER_H

#include "daemon/worker/isolate.h"
#include "lib/mem/target.h"
#include "lib/proto/frame.h"

/** BROKER_DEVICES - file systems whose kind is remembered. */
#define BROKER_DEVICES 16

/**
 * struct broker - the way to the manager.
 * @fd: the socket.
 * @inbox, @outbox: of it.
 * @reach: what a target gets.
 * @devices, @n_devices: file systems of which it is known that they hold plain files.
 */
struct broker {
	int fd;
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	struct umem_reach reach;
	uint64_t devices[BROKER_DEVICES];
	size_t n_devices;
};

/** broker_init - @fd, and what @isolate has, stay with the caller. */
void broker_init(struct broker *broker, int fd, const struct isolate *isolate);

/** broker_deinit - free what it owns. */
void broker_deinit(struct broker *broker);

#endif
