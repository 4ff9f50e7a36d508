/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one place that turns a request that was authorised into descriptors. All
 * of it may take long, and is called in a thread of the pool.
 */
#ifndef DAEMON_ACQUIRE_H
#define DAEMON_ACQUIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <umemd/types.h>

#include "daemon/auth.h"
#include "lib/base/json.h"

/** ACQUIRED_FDS - descriptors of a target: lib/mem/pass.h; two of them by their places. */
#define ACQUIRED_FDS   6
#define ACQUIRED_PIDFD 0
#define ACQUIRED_MAPS  2

/** ACQUIRED_DIR - the one that is /proc/PID. */
#define ACQUIRED_DIR 1

/**
 * struct acquired - a target: what goes to its worker.
 * @pid: its process.
 * @fds: owned, -1 where there is none; the first is a pidfd.
 * @facts: owned.
 * @name: of the process.
 * @stop_ns: how long it was stopped.
 */
struct acquired {
	pid_t pid;
	int fds[ACQUIRED_FDS];
	struct umem_json *facts;
	char name[64];
	uint64_t stop_ns;
};

/** acquired_init - with nothing in it. */
void acquired_init(struct acquired *acquired);

/** acquired_deinit - close and free; the kernel lifts what only these protected. */
void acquired_deinit(struct acquired *acquired);

/**
 * acquire_attach - of process @pid, for @who.
 *
 * Return: 0; UMEM_GONE; -EPERM: @who may not; as umem_target_attach() otherwise.
 */
int acquire_attach(const struct auth_who *who, pid_t pid, struct acquired *ret_acquired,
	struct umem_note *note);

/**
 * acquire_adopt - of process @pid, with its own userfaultfd.
 * @own: @pid is @who's own process; else it has to be one that @who may trace.
 * @uffd: stays the caller's.
 *
 * Return: as umem_target_adopt(); -EPERM.
 */
int acquire_adopt(const struct auth_who *who, pid_t pid, bool own, int uffd,
	const struct umem_range *ranges, size_t n_ranges, struct acquired *ret_acquired,
	struct umem_note *note);

/**
 * acquire_open - of process @pid, for @who, only to look at it and to move its pages: it
 * is not stopped, and nothing is put into it.
 *
 * Return: as acquire_attach(), and as umem_target_open().
 */
int acquire_open(const struct auth_who *who, pid_t pid, struct acquired *ret_acquired,
	struct umem_note *note);

/**
 * struct acquire_mapping - how the file behind a mapping is opened.
 * @write: for writing, too.
 * @wait: if need be, for who holds a lease on it; else it fails.
 */
struct acquire_mapping {
	bool write;
	bool wait;
};

/**
 * acquire_open_mapped - the file behind a mapping of process @pid, which is that of
 * @pidfd. Return: 0 or -errno.
 */
int acquire_open_mapped(pid_t pid, int pidfd, uint64_t start, uint64_t end,
	const struct acquire_mapping *how, int *ret_fd);

/**
 * acquire_machine - swap and memory of the machine: Machine of io.umemd.Broker.
 * @room, @strain: as there. Return: 0 or -errno.
 */
int acquire_machine(pid_t pid, bool room, bool strain, struct umem_json **ret_found);

/** acquire_open_frames - what frames are used for. Return: 0 or -errno. */
int acquire_open_frames(int *ret_fd);

/** acquire_backing - what that file is, by a word of io.umemd.Broker; static text. */
const char *acquire_backing(pid_t pid, int pidfd, uint64_t start, uint64_t end);

/**
 * acquire_mappers - who else maps shared memory of process @pid: Mappers of io.umemd.Broker.
 * @who: to whom a process is named only if it may trace it.
 * @objects: not trusted.
 * Return: 0 or -errno.
 */
int acquire_mappers(const struct auth_who *who, pid_t pid, const struct umem_json *objects,
	struct umem_json **ret_found);

/**
 * acquire_claim - keep others from reclaiming from that process, as long as @ret_fd is open.
 * Return: 0; -EADDRINUSE: somebody does already; -ESRCH, -errno.
 */
int acquire_claim(const struct acquired *acquired, int *ret_fd);

/** acquire_kernel - is there what any target needs? Return: 0, or -errno with @note. */
int acquire_kernel(struct umem_note *note);

#endif
