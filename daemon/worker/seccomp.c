// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The system calls that a worker, and a process that takes a snapshot, may make.
 *
 * Theory of operation
 *
 * One table: a row is a call, what its arguments must be, and which code needs it. A
 * call with several rows is allowed if one of them fits. An argument is compared as a
 * number; what a pointer points to cannot be looked at, so nothing here trusts a
 * path: those that take one take the number of a directory that leads nowhere else
 * (lib/mem/pass.c), and the root directory is empty.
 *
 * Filters add up, and the strictest wins: WAIT must allow what VERBS allows.
 *
 * SNAPSHOT has a table of its own. Tracing is its work, so whoever took it over could do
 * what its user can do to its own processes; what it may not is execute, talk to
 * anybody, make files, or get at the kernel by way of rings, keys and the like, which no
 * filter sees through. Its helpers (lib/kern/freeze.c, inject.c, inject_fork.c) inherit the
 * filter. It has these in common with the others: memory, threads, files of /proc.
 */
#include "daemon/worker/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/worker/isolate.h"
#include "lib/base/attr.h"
#include "lib/kern/filewatch.h"
#include "lib/kern/uapi.h"

/* What an argument is compared with, besides a number: a descriptor of the target. */
enum what {
	NUMBER,
	ANY_FLAGS_BUT, /* none of these bits */
	FLAGS_WITH,    /* all of these bits */
	DIR_FD,
	PROC_FD,
	PID_FD,
	JOURNAL_FD,
	OWN_PID,
};

/* A condition on argument @arg, 1 for the first; 0 for no condition. */
struct condition {
	unsigned arg;
	enum what what;
	uint64_t value;
};

/* A row; @wait says that only WAIT has it. */
struct row {
	int call;
	bool wait;
	struct condition when[3];
	const char *why;
};

#define CALL(name) SCMP_SYS(name)

static const struct row rows[] = {
	/* talking to the manager: lib/proto/frame.c */
	{ CALL(recvmsg), false, { { 1, NUMBER, WORKER_FD_CALLS } }, "calls" },
	{ CALL(sendmsg), false, { { 1, NUMBER, WORKER_FD_CALLS } }, "replies" },
	{ CALL(recvmsg), false, { { 1, NUMBER, WORKER_FD_BROKER } }, "answers" },
	{ CALL(sendmsg), false, { { 1, NUMBER, WORKER_FD_BROKER } }, "questions" },
	{ CALL(poll), false, { { 0 } }, "waiting; whether a pidfd's process ended" },
	{ CALL(ppoll), false, { { 0 } }, "the same, where there is no poll" },
	{ CALL(close), false, { { 0 } }, "" },

	/* the target's files: lib/kern/pins.c, pidfd.c, maps.c, pagemap.c, procmem.c */
	{ CALL(openat), false,
		{ { 1, DIR_FD }, { 3, ANY_FLAGS_BUT, O_ACCMODE | O_CREAT | O_TRUNC } }, "" },
	{ CALL(openat), false,
		{ { 1, PROC_FD }, { 3, ANY_FLAGS_BUT, O_ACCMODE | O_CREAT | O_TRUNC } }, "" },
	{ CALL(readlinkat), false, { { 1, PROC_FD } }, "what a descriptor is" },
	{ CALL(getdents64), false, { { 0 } }, "descriptors, threads" },
	{ CALL(read), false, { { 0 } }, "" },
	{ CALL(pread64), false, { { 0 } }, "" },
	{ CALL(lseek), false, { { 0 } }, "extents: lib/kern/filecache.c" },
	{ CALL(fstat), false, { { 0 } }, "fdopendir; stamps" },
	{ CALL(newfstatat), false, { { 0 } }, "how the C library does it; of an empty root" },
	{ CALL(fstatfs), false, { { 0 } }, "stamps" },
	{ CALL(fanotify_init), false, { { 1, NUMBER, UMEM_FILEWATCH_FLAGS } },
		"lib/kern/filewatch.c" },
	{ CALL(fanotify_mark), false,
		{ { 2, NUMBER, FAN_MARK_ADD }, { 3, NUMBER, FAN_MODIFY }, { 5, NUMBER, 0 } },
		"of a file that is open" },
	{ CALL(fcntl), false, { { 2, NUMBER, F_DUPFD_CLOEXEC } }, "" },
	{ CALL(fcntl), false, { { 2, NUMBER, F_GETFL } }, "fdopendir" },
	{ CALL(fcntl), false, { { 2, NUMBER, F_SETFD } }, "fdopendir" },
	{ CALL(dup3), false, { { 2, PROC_FD } }, "another thread's directory: target.c" },
	{ CALL(pidfd_getfd), false, { { 1, PID_FD } }, "what a socket is" },
	{ CALL(getsockopt), false, { { 2, NUMBER, SOL_SOCKET }, { 3, NUMBER, SO_DOMAIN } }, "" },

	/* tracking: lib/kern/uffd.c, pagemap.c, maps.c */
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_REGISTER } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_UNREGISTER } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_WRITEPROTECT } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, PAGEMAP_SCAN } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, PROCMAP_QUERY } }, "" },
	{ CALL(process_madvise), false, { { 1, PID_FD }, { 4, NUMBER, MADV_COLLAPSE } },
		"huge pages back: lib/mem/thp.c" },
	{ CALL(process_madvise), false, { { 1, PID_FD }, { 4, NUMBER, MADV_PAGEOUT } },
		"putting out: lib/op/advise.c" },
	{ CALL(process_madvise), false, { { 1, PID_FD }, { 4, NUMBER, MADV_WILLNEED } },
		"bringing in" },
	{ CALL(move_pages), false, { { 1, NUMBER, 0 }, { 2, NUMBER, 0 } },
		"no page at all: lists are emptied, lib/kern/lru.c" },
	{ CALL(getrusage), false, { { 0 } }, "what reclaim takes of a processor" },
	{ CALL(nanosleep), false, { { 0 } }, "letting the target go on in between" },
	{ CALL(clock_nanosleep), false, { { 0 } }, "the same" },
	{ CALL(sched_yield), false, { { 0 } }, "the same" },
	{ CALL(sched_getaffinity), false, { { 1, NUMBER, 0 } }, "where it works: lib/op/beside.c" },
	{ CALL(sched_setaffinity), false, { { 1, NUMBER, 0 } }, "the same" },

	/* where pages are: lib/mem/residency_object.c, residency_core.c, residency_huge.c */
	{ SYS_cachestat, false, { { 0 } }, "of an object" },
	{ CALL(mincore), false, { { 0 } }, "of an object" },
	{ CALL(userfaultfd), false, { { 1, FLAGS_WITH, UFFD_USER_MODE_ONLY } },
		"of our own memory, for which huge pages an object has; one that cannot hold "
		"the kernel up" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_API } }, "of that one" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_CONTINUE } }, "of that one" },

	/* results: round.c, journal.c */
	{ CALL(memfd_create), false, { { 0 } }, "tables and bitmaps" },
	{ CALL(ftruncate), false, { { 0 } }, "of these" },
	{ CALL(fcntl), false, { { 2, NUMBER, F_ADD_SEALS } }, "of these" },
	{ CALL(pwrite64), false, { { 1, JOURNAL_FD } }, "" },
	{ CALL(write), false, { { 1, NUMBER, 2 } }, "last words" },

	/* the C library */
	{ CALL(mmap), false, { { 3, ANY_FLAGS_BUT, PROT_EXEC } }, "memory" },
	{ CALL(mprotect), false, { { 3, ANY_FLAGS_BUT, PROT_EXEC } }, "memory" },
	{ CALL(munmap), false, { { 0 } }, "memory" },
	{ CALL(mremap), false, { { 0 } }, "memory" },
	{ CALL(madvise), false, { { 0 } }, "memory" },
	{ CALL(brk), false, { { 0 } }, "memory" },
	{ CALL(futex), false, { { 0 } }, "" },
	{ CALL(getrandom), false, { { 0 } }, "hash tables" },
	{ CALL(clock_gettime), false, { { 0 } }, "where the vDSO has it not" },
	{ CALL(clock_getres), false, { { 0 } }, "the same" },
	{ CALL(gettimeofday), false, { { 0 } }, "the same" },
	{ CALL(getpid), false, { { 0 } }, "abort" },
	{ CALL(gettid), false, { { 0 } }, "abort" },
	{ CALL(tgkill), false, { { 1, OWN_PID } }, "abort" },
	{ CALL(rt_sigaction), false, { { 0 } }, "abort" },
	{ CALL(rt_sigprocmask), false, { { 0 } }, "abort" },
	{ CALL(rt_sigreturn), false, { { 0 } }, "" },
	{ CALL(sigaltstack), false, { { 0 } }, "sanitizers" },
	{ CALL(restart_syscall), false, { { 0 } }, "after a stop" },
	{ CALL(exit), false, { { 0 } }, "" },
	{ CALL(exit_group), false, { { 0 } }, "" },

	/* from WAIT to VERBS: worker.c */
	{ CALL(seccomp), true, { { 0 } }, "" },
	{ CALL(prctl), true, { { 1, NUMBER, PR_SET_NO_NEW_PRIVS } }, "libseccomp" },
	{ CALL(prctl), true, { { 1, NUMBER, PR_SET_SECCOMP } }, "libseccomp" },
};

#define NEW_NAMESPACES                                                              \
	(CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | \
		CLONE_NEWUTS | CLONE_NEWCGROUP)

/* Files may be opened, also to write (oom_score_adj of a child), and none is made. */
#define MAKES_FILES (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

static const struct row snapshot_rows[] = {
	/* talking to the manager, and to helpers: inject_fork.c */
	{ CALL(recvmsg), false, { { 1, NUMBER, WORKER_FD_CALLS } }, "the call" },
	{ CALL(sendmsg), false, { { 1, NUMBER, WORKER_FD_CALLS } }, "replies" },
	{ CALL(socketpair), false, { { 1, NUMBER, AF_UNIX } }, "helpers" },
	{ CALL(sendto), false, { { 6, NUMBER, 0 } }, "helpers; to no address" },
	{ CALL(recvfrom), false, { { 0 } }, "helpers" },
	{ CALL(poll), false, { { 0 } }, "" },
	{ CALL(ppoll), false, { { 0 } }, "" },

	/* files of /proc, of the target, of the image */
	{ CALL(openat), false, { { 3, ANY_FLAGS_BUT, MAKES_FILES } }, "" },
	{ CALL(readlinkat), false, { { 0 } }, "" },
	{ CALL(readlink), false, { { 0 } }, "" },
	{ CALL(getdents64), false, { { 0 } }, "" },
	{ CALL(read), false, { { 0 } }, "" },
	{ CALL(pread64), false, { { 0 } }, "" },
	{ CALL(write), false, { { 0 } }, "" },
	{ CALL(pwrite64), false, { { 0 } }, "" },
	{ CALL(lseek), false, { { 0 } }, "" },
	{ CALL(fstat), false, { { 0 } }, "" },
	{ CALL(newfstatat), false, { { 0 } }, "" },
	{ CALL(statx), false, { { 0 } }, "" },
	{ CALL(fstatfs), false, { { 0 } }, "" },
	{ CALL(statfs), false, { { 0 } }, "" },
	{ CALL(access), false, { { 0 } }, "" },
	{ CALL(faccessat), false, { { 0 } }, "" },
	{ CALL(faccessat2), false, { { 0 } }, "" },
	{ CALL(fcntl), false, { { 0 } }, "" },
	{ CALL(dup), false, { { 0 } }, "" },
	{ CALL(dup3), false, { { 0 } }, "" },
	{ CALL(close), false, { { 0 } }, "" },
	{ CALL(close_range), false, { { 0 } }, "helpers" },
	{ CALL(ftruncate), false, { { 0 } }, "the image: store/outfile.c, sink_end.c" },
	{ CALL(fallocate), false, { { 0 } }, "the image: store/sink_write.c" },
	{ CALL(sync_file_range), false, { { 0 } }, "the image" },
	{ CALL(utimensat), false, { { 0 } }, "kern/feat_probe.c" },
	{ CALL(fadvise64), false, { { 0 } }, "the image" },
	{ CALL(fsync), false, { { 0 } }, "the image" },
	{ CALL(fdatasync), false, { { 0 } }, "the image" },
	{ SYS_cachestat, false, { { 0 } }, "kern/filecache.c" },
	{ CALL(mincore), false, { { 0 } }, "kern/filecache.c" },
	{ CALL(fanotify_init), false, { { 1, NUMBER, UMEM_FILEWATCH_FLAGS } }, "kern/filewatch.c" },
	{ CALL(fanotify_mark), false,
		{ { 2, NUMBER, FAN_MARK_ADD }, { 3, NUMBER, FAN_MODIFY }, { 5, NUMBER, 0 } },
		"of a file that is open" },

	/* the target: kern/freeze*.c, inject*.c, procmem.c, pidfd.c, uffd.c */
	{ CALL(ptrace), false, { { 0 } }, "" },
	{ CALL(wait4), false, { { 0 } }, "" },
	{ CALL(waitid), false, { { 0 } }, "" },
	{ CALL(process_vm_readv), false, { { 0 } }, "" },
	{ CALL(process_madvise), false, { { 0 } }, "" },
	{ CALL(pidfd_open), false, { { 0 } }, "" },
	{ CALL(pidfd_getfd), false, { { 0 } }, "" },
	{ CALL(pidfd_send_signal), false, { { 0 } }, "a helper that is stuck" },
	{ CALL(kill), false, { { 0 } }, "the child of a fork" },
	{ CALL(getsockopt), false, { { 2, NUMBER, SOL_SOCKET }, { 3, NUMBER, SO_DOMAIN } }, "" },
	{ CALL(kcmp), false, { { 0 } }, "" },
	{ CALL(userfaultfd), false, { { 0 } }, "what the kernel can do: kern/feat.c" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_API } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_REGISTER } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_UNREGISTER } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_WAKE } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_COPY } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_ZEROPAGE } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_CONTINUE } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, UFFDIO_WRITEPROTECT } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, PAGEMAP_SCAN } }, "" },
	{ CALL(ioctl), false, { { 2, NUMBER, PROCMAP_QUERY } }, "" },

	/* threads and helpers */
	{ CALL(clone), false, { { 1, ANY_FLAGS_BUT, NEW_NAMESPACES } }, "" },
	{ CALL(set_robust_list), false, { { 0 } }, "" },
	{ CALL(rseq), false, { { 0 } }, "" },
	{ CALL(futex), false, { { 0 } }, "" },
	{ CALL(eventfd2), false, { { 0 } }, "the thread that copies: track/cow_serve.c" },
	{ CALL(setpgid), false, { { 0 } }, "" },
	{ CALL(getpgid), false, { { 0 } }, "op/describe.c" },
	{ CALL(getsid), false, { { 0 } }, "op/describe.c" },
	{ CALL(setsid), false, { { 0 } }, "" },
	{ CALL(setitimer), false, { { 0 } }, "" },
	{ CALL(prctl), false, { { 1, NUMBER, PR_SET_PDEATHSIG } }, "" },
	{ CALL(prctl), false, { { 1, NUMBER, PR_SET_NAME } }, "" },
	{ CALL(getpid), false, { { 0 } }, "" },
	{ CALL(getppid), false, { { 0 } }, "" },
	{ CALL(gettid), false, { { 0 } }, "" },
	{ CALL(getuid), false, { { 0 } }, "" },
	{ CALL(geteuid), false, { { 0 } }, "" },
	{ CALL(tgkill), false, { { 1, OWN_PID } }, "abort" },
	{ CALL(rt_sigaction), false, { { 0 } }, "" },
	{ CALL(rt_sigprocmask), false, { { 0 } }, "" },
	{ CALL(rt_sigreturn), false, { { 0 } }, "" },
	{ CALL(sigaltstack), false, { { 0 } }, "sanitizers" },
	{ CALL(sched_yield), false, { { 0 } }, "" },
	{ CALL(sched_getaffinity), false, { { 0 } }, "" },
	{ CALL(sched_setaffinity), false, { { 0 } }, "a helper beside its target" },
	{ CALL(sched_getscheduler), false, { { 0 } }, "op/urgent.c" },
	{ CALL(sched_setscheduler), false, { { 0 } }, "op/urgent.c" },
	{ CALL(sched_getparam), false, { { 0 } }, "op/urgent.c" },
	{ CALL(sched_get_priority_min), false, { { 0 } }, "op/urgent.c" },
	{ CALL(setpriority), false, { { 0 } }, "" },
	{ CALL(getpriority), false, { { 0 } }, "" },
	{ CALL(nanosleep), false, { { 0 } }, "" },
	{ CALL(clock_nanosleep), false, { { 0 } }, "" },
	{ CALL(clock_gettime), false, { { 0 } }, "" },
	{ CALL(clock_getres), false, { { 0 } }, "" },
	{ CALL(gettimeofday), false, { { 0 } }, "" },
	{ CALL(getcpu), false, { { 0 } }, "" },
	{ CALL(getrusage), false, { { 0 } }, "" },
	{ CALL(sysinfo), false, { { 0 } }, "" },
	{ CALL(uname), false, { { 0 } }, "" },
	{ CALL(getrandom), false, { { 0 } }, "" },
	{ CALL(restart_syscall), false, { { 0 } }, "after a stop" },
	{ CALL(exit), false, { { 0 } }, "" },
	{ CALL(exit_group), false, { { 0 } }, "" },

	/* memory */
	{ CALL(memfd_create), false, { { 0 } }, "kern/feat.c" },
	{ CALL(mmap), false, { { 3, ANY_FLAGS_BUT, PROT_EXEC } }, "" },
	{ CALL(mprotect), false, { { 3, ANY_FLAGS_BUT, PROT_EXEC } }, "" },
	{ CALL(munmap), false, { { 0 } }, "" },
	{ CALL(mremap), false, { { 0 } }, "" },
	{ CALL(madvise), false, { { 0 } }, "" },
	{ CALL(brk), false, { { 0 } }, "" },
};

/* The table of a stage. */
static const struct row *table_of(enum seccomp_stage stage, size_t *ret_n)
{
	*ret_n = stage == SECCOMP_SNAPSHOT ? UMEM_ARRAY_LEN(snapshot_rows) : UMEM_ARRAY_LEN(rows);
	return stage == SECCOMP_SNAPSHOT ? snapshot_rows : rows;
}

/* One comparison. Before there is a target every descriptor will do. */
static bool compare(const struct condition *c, const struct seccomp_fds *fds,
	struct scmp_arg_cmp *ret)
{
	const int by_what[] = {
		[DIR_FD] = fds ? fds->dir : -1,
		[PROC_FD] = fds ? fds->proc : -1,
		[PID_FD] = fds ? fds->pidfd : -1,
		[JOURNAL_FD] = fds ? fds->journal : -1,
	};

	if (c->arg == 0 || (c->what >= DIR_FD && c->what <= JOURNAL_FD && !fds))
		return false;
	switch (c->what) {
	case OWN_PID:
		*ret = SCMP_CMP(c->arg - 1, SCMP_CMP_EQ, (uint64_t)getpid());
		return true;
	case NUMBER:
		/* Requests of ioctl are 32 bits wide, whatever is above them. */
		*ret = SCMP_CMP(c->arg - 1, SCMP_CMP_MASKED_EQ, UINT32_MAX,
			(uint32_t)c->value);
		return true;
	case FLAGS_WITH:
		*ret = SCMP_CMP(c->arg - 1, SCMP_CMP_MASKED_EQ, c->value, c->value);
		return true;
	case ANY_FLAGS_BUT:
		*ret = SCMP_CMP(c->arg - 1, SCMP_CMP_MASKED_EQ, c->value, 0);
		return true;
	default:
		*ret = SCMP_CMP(c->arg - 1, SCMP_CMP_MASKED_EQ, UINT32_MAX,
			(uint32_t)by_what[c->what]);
		return true;
	}
}

static int add_row(scmp_filter_ctx filter, const struct row *row, const struct seccomp_fds *fds)
{
	struct scmp_arg_cmp cmp[UMEM_ARRAY_LEN(row->when)];
	unsigned n = 0;
	int r;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(row->when); i++)
		n += compare(&row->when[i], fds, &cmp[n]);
	r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, row->call, n, cmp);
	/* The same rule twice, since a condition was left out; or no such call here. */
	return r == -EEXIST || r == -EDOM ? 0 : r;
}

int seccomp_stage_enter(enum seccomp_stage stage, const struct seccomp_fds *fds)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? 0 : -ENOMEM;
	size_t n;
	const struct row *v = table_of(stage, &n);

	/* Searched by halves: a collect makes hundreds of calls, most of them at the end. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < n && r == 0; i++)
		if (stage == SECCOMP_WAIT || !v[i].wait)
			r = add_row(filter, &v[i], fds);
	/* Its flags are in memory, so it is not there; then clone is asked for threads. */
	if (r == 0 && stage == SECCOMP_SNAPSHOT)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

int seccomp_call_number(enum seccomp_stage stage, size_t index)
{
	size_t n;
	const struct row *v = table_of(stage, &n);

	for (size_t i = 0; i < n; i++)
		if ((stage != SECCOMP_VERBS || !v[i].wait) && index-- == 0)
			return v[i].call >= 0 ? v[i].call : INT_MAX;
	return -1;
}
