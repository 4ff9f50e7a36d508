/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of a target (see <umemd/target.h>): the descriptors through which a
 * process's memory is reached, and its address space.
 */
#ifndef UMEM_MEM_TARGET_H
#define UMEM_MEM_TARGET_H

#include <stdbool.h>

#include <umemd/target.h>

#include "lib/base/attr.h"
#include "lib/base/json.h"
#include "lib/base/ranges.h"
#include "lib/kern/feat.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/pins.h"
#include "lib/mem/space.h"

/**
 * struct umem_reach - how what is not behind a descriptor is reached, by a process that
 * has descriptors only and no /proc: whoever has the rights is asked.
 * @open_mapped: as umem_filecache_open_mapping(), of the target.
 * @backing: what the file behind a mapping of the target is.
 * @mappers: what umem_mappers_find() finds; consumes @objects. NULL: nothing can be found.
 * @machine: what umem_machine_find() finds; @parts as there. NULL: nothing can be told.
 * @open_frames: /proc/kpageflags; NULL: it may not be read.
 * @own_pagemap_fd: page table of this process, which has no /proc; or -1.
 * @is_owner: this process counts as the owner of every file (CAP_FOWNER).
 * @user: passed to each.
 */
struct umem_reach {
	int (*open_mapped)(void *user, uint64_t start, uint64_t end, int flags, int *ret_fd);
	enum umem_backing (*backing)(void *user, const struct umem_vma *vma);
	int (*mappers)(void *user, struct umem_json *objects, struct umem_json **ret_found);
	int (*machine)(void *user, unsigned parts, struct umem_json **ret_found);
	int (*open_frames)(void *user, int *ret_fd);
	int own_pagemap_fd;
	bool is_owner;
	void *user;
};

/**
 * struct umem_target - one process.
 * @pid: its id, valid as long as @pidfd has not exited.
 * @tid: a thread that has its memory; @pid unless that one ended.
 * @pidfd: its identity.
 * @dir_fd: directory /proc/PID.
 * @proc_fd: the same, or that of @tid.
 * @maps_fd, @pagemap_fd: bound to the memory it had when we came.
 * @mem_fd: likewise, /proc/PID/mem for reading; -1 where process_vm_readv(2) is used.
 * @uffd: asynchronous write-protect userfaultfd of that memory, or -1.
 * @stop_ns: how long attaching stopped it.
 * @reach: NULL: by /proc.
 * @adopted: the userfaultfd was handed in; only @managed may be touched.
 * @managed: what may be managed; empty means all.
 * @huge: blocks that were mapped by a huge page when they were armed.
 * @same_mounts: a path meant the same to it and to us when we came.
 * @feats: what the kernel can do, as far as probed and overridden.
 * @space: its regions.
 */
struct umem_target {
	int pid;
	int tid;
	int pidfd;
	int dir_fd;
	int proc_fd;
	int maps_fd;
	int pagemap_fd;
	int mem_fd;
	int uffd;
	uint64_t stop_ns;
	const struct umem_reach *reach;
	bool adopted;
	struct umem_ranges managed;
	struct umem_ranges huge;
	bool same_mounts;
	struct umem_feats feats;
	struct umem_space space;
};

UMEM_DEFINE_CLEANUP(struct umem_target, umem_target_free)

/** umem_target_new - one without a descriptor. Return: it, or NULL without memory. */
struct umem_target *umem_target_new(int pid);

/**
 * umem_target_live_thread - a thread that has the memory of process @pid.
 * @dir_fd: directory /proc/PID.
 * @leader: what its stat says.
 *
 * The leader, unless it ended before the others: then /proc/PID shows no
 * memory, but /proc/TID does. Return: its id, or -1.
 */
int umem_target_live_thread(int pid, int dir_fd, const struct umem_proc_stat *leader);

/**
 * umem_target_follow - when the thread @tid has ended, go on with another one.
 * Return: 0, UMEM_GONE when there is none, -errno.
 */
int umem_target_follow(struct umem_target *target);

/**
 * umem_target_read_pins - who can write its memory without a fault, now.
 *
 * As umem_pins_read(), but never of a thread that has ended, which shows no
 * descriptors. Return: 0, UMEM_GONE, -EACCES or -EPERM, -EMFILE, -ENOMEM.
 */
int umem_target_read_pins(struct umem_target *target, struct umem_pins *pins);

/**
 * umem_target_check_kernel - is there what any tracker needs?
 *
 * Return: 0, or -ENOTTY with the feature that is missing in @note.
 */
int umem_target_check_kernel(const struct umem_feats *feats, struct umem_note *note);

/**
 * umem_target_fetch_sync - a userfaultfd of the target's memory that holds writers up until
 * they are served, and tells of discards, moves and unmappings; hand-shake made.
 * @deadline_ns: as in struct umem_attach_options.
 * @ret_uffd: the caller's, the only reference: when it is closed, by our death too, all
 *	protection goes and nobody waits any more.
 * @ret_stop_ns: how long one thread was stopped.
 *
 * Faults of system calls and of guests are served, too. Return: as
 * umem_target_attach(); -EPERM also when the target may not have such a one.
 */
int umem_target_fetch_sync(struct umem_target *target, uint64_t deadline_ns, int *ret_uffd,
	uint64_t *ret_stop_ns, struct umem_note *note);

/**
 * umem_target_refresh - read the live map into @space.
 * @appeared, @vanished: as umem_space_refresh().
 *
 * Return: 0, UMEM_GONE (exited, or another program was executed), -errno.
 */
int umem_target_refresh(struct umem_target *target, struct umem_ranges *appeared,
	struct umem_ranges *vanished, struct umem_note *note);

/** umem_target_backing - umem_ask_backing() of @target, a struct umem_target. */
enum umem_backing umem_target_backing(const void *target, const struct umem_vma *vma);

/** umem_target_open_mapped - umem_filecache_open_mapping() of @target. */
int umem_target_open_mapped(const struct umem_target *target, uint64_t start, uint64_t end,
	int flags, int *ret_fd);

/**
 * umem_target_lift - lift every protection, as freeing it does; nothing may watch it. The
 * userfaultfd stays, and another one may have the mappings meanwhile.
 */
void umem_target_lift(struct umem_target *target);

/** umem_target_gone - has the process ended? (An exec shows in umem_target_refresh().) */
bool umem_target_gone(const struct umem_target *target);

#endif
