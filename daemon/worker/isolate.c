// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Giving up what a worker does not need, in stages.
 *
 * Theory of operation
 *
 * A worker reads what its target has in memory and in /proc, and the target is
 * free to lie. If it ever takes a worker over, there must be nothing to win but
 * the target itself.
 *
 *     stage         lost
 *     start         descriptors but three, core dumps, being traced, new privileges;
 *                   started by root: the file system (an empty root), namespaces, the user,
 *                   all capabilities but four
 *     filter wait   system calls but those of the verbs, and those of the next stage
 *     target        (the target's descriptors arrive, by numbers that are known now)
 *     filter verbs  opening anything but below /proc/PID, and changing the filter
 *
 * Why four capabilities stay: CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, to list the
 * descriptors of the target (who pins its memory), which takes them at each look;
 * CAP_SYS_NICE, for process_madvise(2); CAP_FOWNER, because the kernel tells what of a
 * file is in memory, and puts shared memory out, only for who owns the file or may
 * write to it (tests/kernel/owner-rights.c). Descriptors for writing would do for half of that,
 * and could write to what the target itself may only read. None of the four reaches
 * beyond the target: the directory that names are looked up in is a mount of /proc/PID
 * alone (lib/mem/pass.c), ptrace(2), chmod(2) and the like are not among the calls, and
 * those that take a pidfd take this one.
 *
 * The page table of the worker itself is opened at the start: of memory that nobody
 * maps any more it alone tells what became of it, and frames are told only to those
 * who could see them when they opened it.
 *
 * Not started by root, a worker keeps the user of the manager, and could open what
 * that user can: a user namespace would take the right to look at the target away,
 * too. That is said in @loose.
 *
 * A process that takes a snapshot is another matter. It stops threads and runs system
 * calls in them, which takes ptrace(2), and whoever may trace cannot be kept from
 * becoming what it may trace: an empty root or namespaces would be for show. So it is
 * given the rights of whom it works for, no more: another user's process, one that
 * executed a program with more rights meanwhile, a file that its caller could not open,
 * the kernel refuses to it as it would to the caller, whenever it is asked. What it
 * does not need of those (executing, talking, making files) its filter takes
 * (seccomp.c). For administrators it is root, with these capabilities: SYS_PTRACE and
 * DAC_READ_SEARCH to read, CHECKPOINT_RESTORE for the files behind mappings, SYS_NICE to
 * be short in a stop, KILL and DAC_OVERRIDE for the child of a fork (its end; that it goes
 * first when memory is short).
 */
#include "daemon/worker/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"

#define MAX_FDS 4096

#define BIT(cap) (UINT64_C(1) << (cap))

/* Capabilities that stay: of a worker; of root's process that takes a snapshot. */
#define WORKER_CAPS                                                                   \
	(BIT(CAP_SYS_PTRACE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_SYS_NICE) | \
		BIT(CAP_FOWNER))
#define SNAPSHOT_CAPS                                                                 \
	(BIT(CAP_SYS_PTRACE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_SYS_NICE) | \
		BIT(CAP_CHECKPOINT_RESTORE) | BIT(CAP_KILL) | BIT(CAP_DAC_OVERRIDE))

void isolate_note_loose(struct isolate *isolate, const char *what)
{
	if (isolate->n_loose < ISOLATE_LOOSE)
		isolate->loose[isolate->n_loose++] = what;
}

/* A resource, and how much of it is left. */
struct limit {
	int resource;
	rlim_t limit;
};

static int limit_resources(const struct limit *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct rlimit r;

		if (getrlimit(v[i].resource, &r) < 0)
			return -errno;
		if (r.rlim_max > v[i].limit)
			r.rlim_max = v[i].limit;
		r.rlim_cur = r.rlim_max;
		if (setrlimit(v[i].resource, &r) < 0)
			return -errno;
	}
	return 0;
}

/* What is there now, cut to @stays. @ret_kept: what did stay. */
static int drop_capabilities(uint64_t stays, uint64_t *ret_kept)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	uint64_t kept;

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	kept = stays & (data[0].permitted | (uint64_t)data[1].permitted << 32);
	*ret_kept = kept;
	for (int i = 0; i < 2; i++) {
		data[i].permitted = data[i].effective = (uint32_t)(kept >> (32 * i));
		data[i].inheritable = 0;
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* The root directory becomes one with nothing in it. */
static int leave_file_system(void)
{
	if (fchdir(WORKER_FD_ROOT) < 0 || chroot(".") < 0)
		return -errno;
	umem_fd_close(WORKER_FD_ROOT);
	return 0;
}

/* What cannot be gained again cannot be given back by a set-user-id program either. */
static void drop_bounding_set(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

/* What takes root. */
static int leave_root(const struct isolate_options *options, struct isolate *isolate)
{
	int r = leave_file_system();

	if (r < 0)
		isolate_note_loose(isolate, "its root directory is not an empty one");
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		isolate_note_loose(isolate, "it has no namespaces of its own");
	drop_bounding_set();
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
		setresgid(options->gid, options->gid, options->gid) < 0 ||
		setresuid(options->uid, options->uid, options->uid) < 0)
		return -errno;
	return 0;
}

int isolate_start(const struct isolate_options *options, struct isolate *ret_isolate)
{
	static const struct limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_NOFILE, MAX_FDS },
		{ RLIMIT_MEMLOCK, 0 },
		{ RLIMIT_FSIZE, 4ll << 30 },
	};
	struct isolate isolate = { 0 };
	uint64_t kept = 0;
	int r;

	if (close_range(WORKER_FD_END, ~0u, 0) < 0)
		return -errno;
	isolate.pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	umask(077);
	r = limit_resources(limits, UMEM_ARRAY_LEN(limits));
	if (r < 0)
		return r;
	if (geteuid() == 0)
		r = leave_root(options, &isolate);
	else
		isolate_note_loose(&isolate, "it runs as the user of the manager, and could open "
			"what that user may");
	if (r == 0)
		r = drop_capabilities(WORKER_CAPS, &kept);
	if (r < 0)
		return r;
	isolate.is_owner = kept >> CAP_FOWNER & 1;
	/* These are undone by a change of user, so they come behind it. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	/* It may have died before the signal was asked for. */
	if (options->manager && getppid() != options->manager)
		return -ESRCH;
	*ret_isolate = isolate;
	return 0;
}

int isolate_snapshot(const struct isolate_options *options)
{
	static const struct limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_NOFILE, MAX_FDS },
	};
	const bool changes = geteuid() == 0 && options->uid != 0;
	uint64_t kept;
	int r;

	if (close_range(WORKER_FD_CALLS + 1, ~0u, 0) < 0)
		return -errno;
	umask(077);
	r = limit_resources(limits, UMEM_ARRAY_LEN(limits));
	if (r < 0)
		return r;
	if (geteuid() == 0)
		drop_bounding_set();
	/* Without PR_SET_KEEPCAPS all capabilities go with root. */
	if (changes && (setgroups(0, NULL) < 0 ||
			setresgid(options->gid, options->gid, options->gid) < 0 ||
			setresuid(options->uid, options->uid, options->uid) < 0))
		return -errno;
	r = drop_capabilities(options->uid == 0 ? SNAPSHOT_CAPS : 0, &kept);
	if (r < 0)
		return r;
	/*
	 * Not root, it must be dumpable to find out by its own /proc what the kernel can do.
	 * Its user may trace it then, and gets nothing that is not theirs.
	 */
	if (prctl(PR_SET_DUMPABLE, options->uid != 0, 0, 0, 0) < 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* No PR_SET_PDEATHSIG: the end of the manager ends it by way of the socket, cleanly. */
	return 0;
}
