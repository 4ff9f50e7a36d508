// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The one place that turns a request that was authorised into descriptors.
 *
 * Theory of operation
 *
 * A process is named by a number, and may become another program, with other
 * rights, at any moment. So rights are looked at twice:
 *
 *     may it be traced?  --  acquire everything  --  may it still be?
 *
 * What was acquired before it executed a set-user-id program is bound to memory
 * that is gone; what was acquired behind that is found out by the second look: the
 * program is not dumpable, and stays so when it gives its rights back.
 */
#include "daemon/acquire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/claim.h"
#include "lib/kern/filecache.h"
#include "lib/kern/kpage.h"
#include "lib/kern/pidfd.h"
#include "lib/mem/machine.h"
#include "lib/mem/mappers.h"
#include "lib/mem/pass.h"

_Static_assert(ACQUIRED_FDS == UMEM_N_PASSED, "all descriptors of a target");
_Static_assert(ACQUIRED_PIDFD == UMEM_PASSED_PIDFD && ACQUIRED_MAPS == UMEM_PASSED_MAPS, "places");
_Static_assert(ACQUIRED_DIR == UMEM_PASSED_DIR, "the directory of a target");

void acquired_init(struct acquired *acquired)
{
	*acquired = (struct acquired){ .fds = { -1, -1, -1, -1, -1, -1 } };
}

void acquired_deinit(struct acquired *acquired)
{
	for (size_t i = 0; i < ACQUIRED_FDS; i++)
		acquired->fds[i] = umem_fd_close(acquired->fds[i]);
	acquired->facts = umem_json_free(acquired->facts);
}

/* Take over what @target is, if @who may still have it. */
static int take(const struct auth_who *who, bool own, const struct umem_target *target,
	struct acquired *ret_acquired, struct umem_note *note)
{
	struct umem_proc_stat stat = { 0 };
	struct umem_passing passing;
	int r = umem_target_pass(target, true, &passing);

	if (r == 0 && !own) {
		r = auth_may_trace(who, target->pid, note);
		if (r != 0)
			umem_passing_deinit(&passing);
	}
	if (r != 0)
		return r;
	umem_proc_stat_read_at(target->dir_fd, 0, &stat);
	acquired_init(ret_acquired);
	ret_acquired->pid = target->pid;
	for (size_t i = 0; i < ACQUIRED_FDS; i++)
		ret_acquired->fds[i] = passing.fds[i];
	ret_acquired->facts = passing.facts;
	ret_acquired->stop_ns = target->stop_ns;
	snprintf(ret_acquired->name, sizeof(ret_acquired->name), "%s", stat.comm);
	return 0;
}

int acquire_attach(const struct auth_who *who, pid_t pid, struct acquired *ret_acquired,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	int r = auth_may_trace(who, pid, note);

	if (r == 0)
		r = umem_target_attach(pid, NULL, &target, note);
	return r == 0 ? take(who, false, target, ret_acquired, note) : r;
}

int acquire_open(const struct auth_who *who, pid_t pid, struct acquired *ret_acquired,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	int r = auth_may_trace(who, pid, note);

	if (r == 0)
		r = umem_target_open(pid, NULL, &target, note);
	return r == 0 ? take(who, false, target, ret_acquired, note) : r;
}

int acquire_adopt(const struct auth_who *who, pid_t pid, bool own, int uffd,
	const struct umem_range *ranges, size_t n_ranges, struct acquired *ret_acquired,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	UMEM_FD int mine = fcntl(uffd, F_DUPFD_CLOEXEC, 0);
	int r = own ? 0 : auth_may_trace(who, pid, note);

	if (r == 0 && mine < 0)
		r = umem_note_set(note, -EBADF, 0, "no userfaultfd was sent along");
	if (r == 0)
		r = umem_target_adopt(pid, mine, ranges, n_ranges, NULL, &target, note);
	if (r != 0)
		return r;
	umem_fd_take(&mine);
	return take(who, own, target, ret_acquired, note);
}

int acquire_open_mapped(pid_t pid, int pidfd, uint64_t start, uint64_t end,
	const struct acquire_mapping *how, int *ret_fd)
{
	int flags = (how->write ? O_RDWR : O_RDONLY) | (how->wait ? 0 : O_NONBLOCK);
	int fd, r = umem_filecache_open_mapping(pid, start, end, flags, &fd);

	if (r < 0)
		return r;
	/* By its number: the same process only if that still lives. */
	if (umem_pidfd_exited(pidfd)) {
		umem_fd_close(fd);
		return -ESRCH;
	}
	*ret_fd = fd;
	return 0;
}

const char *acquire_backing(pid_t pid, int pidfd, uint64_t start, uint64_t end)
{
	static const char *const words[] = {
		[UMEM_BACKING_UNKNOWN] = "unknown",
		[UMEM_BACKING_SHMEM] = "shmem",
		[UMEM_BACKING_HUGETLB] = "hugetlb",
		[UMEM_BACKING_FILE] = "file",
		[UMEM_BACKING_DEVICE] = "device",
	};
	const struct umem_vma vma = { .start = start, .end = end };
	enum umem_backing backing = umem_region_backing(pid, &vma);

	return umem_pidfd_exited(pidfd) ? "unknown" : words[backing];
}

static bool may_name(void *user, int pid)
{
	return auth_may_trace(user, pid, NULL) == 0;
}

int acquire_mappers(const struct auth_who *who, pid_t pid, const struct umem_json *objects,
	struct umem_json **ret_found)
{
	return umem_mappers_find(pid, pid, objects, may_name, (void *)who, ret_found);
}

int acquire_machine(pid_t pid, bool room, bool strain, struct umem_json **ret_found)
{
	return umem_machine_find(pid, (room ? UMEM_MACHINE_ROOM : 0) |
		(strain ? UMEM_MACHINE_STRAIN : 0), ret_found);
}

int acquire_open_frames(int *ret_fd)
{
	return umem_kpage_open(UMEM_KPAGE_FLAGS, ret_fd);
}

int acquire_claim(const struct acquired *acquired, int *ret_fd)
{
	struct umem_proc_stat stat;
	int r = umem_proc_stat_read_at(acquired->fds[UMEM_PASSED_DIR], 0, &stat);

	return r < 0 ? r : umem_claim("reclaim", acquired->pid, stat.start_ticks, ret_fd);
}

int acquire_kernel(struct umem_note *note)
{
	struct umem_feats feats;
	int r = umem_feats_probe_some(UMEM_FEATS_TRACKING, &feats);

	return r < 0 ? r : umem_target_check_kernel(&feats, note);
}
