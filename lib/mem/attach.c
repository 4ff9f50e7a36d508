// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Attaching to a process that knows nothing of us.
 *
 * Theory of operation
 *
 * The userfaultfd must be made by the target itself (it acts on the memory of
 * its maker). Attach runs userfaultfd(2) and close(2) in one stop: the
 * duplicate that we fetched is then the only reference, and a death of this
 * process, however sudden, makes the kernel lift every protection. It is made
 * UFFD_USER_MODE_ONLY first: an unprivileged target may do that, and in
 * asynchronous mode nothing is ever delivered, so it does not matter whose
 * faults they are.
 *
 * A synchronous one (umem_target_fetch_sync()) is another matter: with user mode
 * only, a system call of the target that writes to protected memory would fail,
 * and a guest's processor would be stopped by SIGBUS. It is made for all faults or
 * not at all.
 */
#include "lib/mem/target.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/inject.h"
#include "lib/kern/uffd.h"

#define DEFAULT_DEADLINE_NS 1000000000ull

/* What the asynchronous trackers ask of UFFDIO_API. */
#define ASYNC_FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
	UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP)

/*
 * What copying before the write asks. Not EVENT_FORK: children are not watched and
 * run free.
 */
#define SYNC_FEATURES (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED | \
	UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_REMAP | \
	UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_THREAD_ID)

/* Processes that may be looked at, but never stopped. */
static int refuse_to_stop(int pid, struct umem_note *note)
{
	if (pid == 1)
		return umem_note_set(note, -EINVAL, 0,
			"pid 1 is the init process, which must never be stopped; "
			"name the process you mean");
	if (pid == getpid())
		return umem_note_set(note, -EINVAL, 0,
			"pid %d is this program itself; it cannot stop itself", pid);
	return 0;
}

/* What userfaultfd(2) said inside the target, explained. */
static int explain_uffd(const struct umem_target *target, long value, struct umem_note *note)
{
	switch (value) {
	case -ENOSYS:
		return umem_note_set(note, -ENOSYS, 0,
			"the kernel has no userfaultfd (CONFIG_USERFAULTFD)");
	case -EPERM:
		return umem_note_set(note, -EPERM, 0,
			"pid %d may not use userfaultfd: set vm.unprivileged_userfaultfd=1 "
			"or use a kernel since 5.11", target->pid);
	case -EMFILE:
	case -ENFILE:
		return umem_note_set(note, (int)value, 0,
			"pid %d has no free file descriptor for a moment; raise its limit "
			"(prlimit --nofile)", target->pid);
	default:
		return umem_note_set(note, (int)value, 0, "userfaultfd in pid %d: %s",
			target->pid, strerror((int)-value));
	}
}

int umem_target_fetch_sync(struct umem_target *target, uint64_t deadline_ns, int *ret_uffd,
	uint64_t *ret_stop_ns, struct umem_note *note)
{
	struct umem_inject_step steps[] = {
		{ .nr = SYS_userfaultfd, .args = { O_CLOEXEC | O_NONBLOCK },
		  .arg0_from = -1, .else_of = -1, .fetch_fd = true },
		{ .nr = SYS_close, .arg0_from = 0, .else_of = -1 },
	};
	UMEM_FD int uffd = -1;
	struct umem_inject_report report;
	int r = refuse_to_stop(target->pid, note);

	if (r == 0)
		r = umem_inject_run(target->pid, target->pidfd, steps, UMEM_ARRAY_LEN(steps),
			deadline_ns ? deadline_ns : DEFAULT_DEADLINE_NS, &report, note);
	if (r != 0)
		return r;
	uffd = steps[0].ret_fd;
	if (uffd < 0 && steps[0].ret_value == -EPERM)
		return umem_note_set(note, -EPERM, 0,
			"pid %d may not have faults of the kernel served: set "
			"vm.unprivileged_userfaultfd=1, or use method precopy", target->pid);
	if (uffd < 0)
		return explain_uffd(target,
			steps[0].ret_value < 0 ? steps[0].ret_value : -EIO, note);
	r = umem_uffd_api(uffd, SYNC_FEATURES, NULL);
	if (r == -ESRCH) {
		umem_note_set(note, r, 0, "process %d executed another program", target->pid);
		return UMEM_GONE;
	}
	if (r < 0)
		return umem_note_set(note, -ENOTTY, 0,
			"the kernel does not let pid %d have its writes held up until they are "
			"served (uffd_wp, Linux 6.4): %s; use method precopy", target->pid,
			strerror(-r));
	*ret_uffd = umem_fd_take(&uffd);
	*ret_stop_ns = report.stop_ns;
	return 0;
}

static int fetch_uffd(struct umem_target *target, uint64_t deadline_ns, struct umem_note *note)
{
	const uint64_t flags = O_CLOEXEC | O_NONBLOCK;
	struct umem_inject_step steps[] = {
		{ .nr = SYS_userfaultfd, .args = { flags | UFFD_USER_MODE_ONLY },
		  .arg0_from = -1, .else_of = -1, .fetch_fd = true },
		{ .nr = SYS_close, .arg0_from = 0, .else_of = -1 },
		{ .nr = SYS_userfaultfd, .args = { flags },
		  .arg0_from = -1, .else_of = 0, .fetch_fd = true },
		{ .nr = SYS_close, .arg0_from = 2, .else_of = -1 },
	};
	struct umem_inject_report report;
	int r = umem_inject_run(target->pid, target->pidfd, steps, UMEM_ARRAY_LEN(steps),
		deadline_ns, &report, note);

	if (r != 0)
		return r;
	target->stop_ns = report.stop_ns;
	target->uffd = steps[0].ret_fd >= 0 ? steps[0].ret_fd : steps[2].ret_fd;
	if (target->uffd >= 0)
		return 0;
	return explain_uffd(target,
		steps[2].ret_value == -ECANCELED ? -EIO : steps[2].ret_value, note);
}

int umem_target_check_kernel(const struct umem_feats *feats, struct umem_note *note)
{
	static const enum umem_feat needed[] = { UMEM_FEAT_UFFD_WP_ASYNC, UMEM_FEAT_PAGEMAP_SCAN };

	if (umem_feats_has(feats, UMEM_FEAT_SOFT_DIRTY))
		return 0;
	for (size_t i = 0; i < UMEM_ARRAY_LEN(needed); i++) {
		const struct umem_feat_info *info = umem_feat_info(needed[i]);

		if (!umem_feats_has(feats, needed[i]))
			return umem_note_set(note, -ENOTTY, 0,
				"the kernel lacks %s (to get it: %s), and soft_dirty in its place",
				info->name, info->how_to_get);
	}
	return 0;
}

int umem_target_attach(int pid, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	uint64_t deadline_ns = options && options->deadline_ns ? options->deadline_ns :
								 DEFAULT_DEADLINE_NS;
	int r = refuse_to_stop(pid, note);

	if (r == 0)
		r = umem_target_open(pid, options, &target, note);
	if (r == 0)
		r = umem_target_check_kernel(&target->feats, note);
	if (r != 0)
		return r;
	if (umem_feats_has(&target->feats, UMEM_FEAT_UFFD_WP_ASYNC)) {
		r = fetch_uffd(target, deadline_ns, note);
		if (r != 0)
			return r;
		r = umem_uffd_api(target->uffd, ASYNC_FEATURES, NULL);
		if (r == -ESRCH) {
			umem_note_set(note, r, 0, "process %d executed another program", pid);
			return UMEM_GONE;
		}
		if (r < 0)
			return umem_note_set(note, -ENOTTY, 0,
				"the kernel does not let pid %d have asynchronous write protection "
				"(uffd_wp_async): %s", pid, strerror(-r));
	}
	*ret_target = UMEM_TAKE_PTR(target);
	return 0;
}
