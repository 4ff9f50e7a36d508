// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Probes of everything but tracking: reaching a process, serving faults,
 * residency and reclaim.
 *
 * Children are made by a bare clone(2) without an exit signal: the calling
 * program's SIGCHLD handling never sees them, and its fork handlers do not
 * run. They make system calls only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "lib/kern/feat_probe.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

int umem_probe_pidfd_getfd(char *detail)
{
	UMEM_FD int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	UMEM_FD int pidfd = -1, copy = -1;

	if (null < 0)
		return -errno;
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pidfd < 0)
		return missing(-errno, detail);
	copy = (int)syscall(SYS_pidfd_getfd, pidfd, null, 0);
	return copy < 0 ? missing(-errno, detail) : 1;
}

int umem_probe_pidfd_thread(char *detail)
{
	UMEM_FD int pidfd = (int)syscall(SYS_pidfd_open, gettid(), PIDFD_THREAD);

	return pidfd < 0 ? missing(-errno, detail) : 1;
}

/* fork(2) without an exit signal. Return: as fork(2), or -errno. */
static pid_t bare_child(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid < 0 ? -errno : pid;
}

static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, __WALL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return status;
}

/* Seize @pid with @options and, if @rseq, ask for its rseq area. Return: errno or 0. */
static int trace(pid_t pid, uintptr_t options, bool rseq)
{
	struct __ptrace_rseq_configuration conf = { 0 };

	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)options) < 0)
		return errno;
	if (!rseq)
		return 0;
	if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 || !WIFSTOPPED(wait_for(pid)))
		return ESRCH;
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, (void *)sizeof(conf), &conf) < 0)
		return errno;
	return 0;
}

/*
 * A stop of a traced process raises SIGCHLD in its tracer: the tracer is a
 * child, too, with the signal blocked, and its exit status is the answer.
 */
static int try_trace(uintptr_t options, bool rseq, char *detail)
{
	pid_t tracer = bare_child(), pid;
	sigset_t set;
	int status, err;

	if (tracer < 0)
		return tracer;
	if (tracer == 0) {
		sigfillset(&set);
		sigprocmask(SIG_BLOCK, &set, NULL);
		pid = bare_child();
		if (pid == 0) {
			for (;;)
				pause();
		}
		err = pid < 0 ? -pid : trace(pid, options, rseq);
		if (pid > 0) {
			kill(pid, SIGKILL);
			while (!WIFEXITED(status = wait_for(pid)) && !WIFSIGNALED(status))
				;
		}
		_exit(err);
	}
	status = wait_for(tracer);
	if (status < 0 || !WIFEXITED(status))
		return -EIO;
	err = WEXITSTATUS(status);
	return err ? missing(-err, detail) : 1;
}

int umem_probe_ptrace_seize(char *detail)
{
	return try_trace(0, false, detail);
}

int umem_probe_suspend_seccomp(char *detail)
{
	return try_trace(PTRACE_O_SUSPEND_SECCOMP, false, detail);
}

int umem_probe_rseq_configuration(char *detail)
{
	return try_trace(0, true, detail);
}

/* userfaultfd with @features and the scratch registered in @mode. */
static int serving(struct umem_scratch *s, uint64_t features, uint64_t mode)
{
	int err = umem_uffd_open(0, &s->uffd);

	if (err == -EPERM)
		err = umem_uffd_open(UFFD_USER_MODE_ONLY, &s->uffd);
	if (!err)
		err = umem_uffd_api(s->uffd, features, NULL);
	if (!err)
		err = umem_pagemap_open(getpid(), &s->pm);
	if (!err)
		err = umem_uffd_register(s->uffd, (uintptr_t)s->at, (uintptr_t)s->at + s->len,
			mode);
	return err;
}

static bool present(struct umem_scratch *s, size_t at)
{
	uint64_t word = 0;
	size_t n = 0;

	return umem_pagemap_words(s->pm, (uintptr_t)s->at + at, &word, 1, &n) == 0 && n == 1 &&
	       word & UMEM_PM_PRESENT;
}

static void *discard(void *at)
{
	madvise(at, (size_t)sysconf(_SC_PAGESIZE), MADV_DONTNEED);
	return NULL;
}

/* A thread discards a page and waits until the message is read. */
int umem_probe_events(char *detail)
{
	const uint64_t events = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
				UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	struct uffd_msg msg = { 0 };
	struct pollfd poll_fd;
	pthread_t thread;
	int err = umem_scratch_map(&s, 2 * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	umem_scratch_touch(&s);
	err = serving(&s, events, UFFDIO_REGISTER_MODE_MISSING);
	if (err)
		return missing(err, detail);
	err = pthread_create(&thread, NULL, discard, s.at);
	if (err)
		return -err;
	poll_fd = (struct pollfd){ .fd = s.uffd, .events = POLLIN };
	if (poll(&poll_fd, 1, 2000) == 1 && read(s.uffd, &msg, sizeof(msg)) != sizeof(msg))
		msg.event = 0;
	/* Whatever came of it, closing lets the thread go. */
	s.uffd = umem_fd_close(s.uffd);
	pthread_join(thread, NULL);
	return msg.event == UFFD_EVENT_REMOVE && msg.arg.remove.start == (uintptr_t)s.at;
}

int umem_probe_minor(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE, other = UMEM_SCRATCH_NONE;
	struct uffdio_continue cont = { 0 };
	int err = umem_scratch_memfd(&other, 2 * PAGE, MAP_SHARED);

	if (!err)
		err = umem_scratch_map(&s, 2 * PAGE, PAGE, MAP_SHARED, other.fd);
	if (err)
		return err;
	err = serving(&s, UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR);
	if (err)
		return missing(err, detail);
	cont.range = (struct uffdio_range){ (uintptr_t)s.at, PAGE };
	if (ioctl(s.uffd, UFFDIO_CONTINUE, &cont) < 0)
		return missing(-errno, detail);
	return present(&s, 0) && !present(&s, PAGE) && s.at[0] == 1;
}

int umem_probe_move(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE, from = UMEM_SCRATCH_NONE;
	struct uffdio_move move = { 0 };
	int err = umem_scratch_map(&from, PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_scratch_map(&s, PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (err)
		return err;
	umem_scratch_touch(&from);
	err = serving(&s, UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING);
	if (err)
		return missing(err, detail);
	move.dst = (uintptr_t)s.at;
	move.src = (uintptr_t)from.at;
	move.len = PAGE;
	if (ioctl(s.uffd, UFFDIO_MOVE, &move) < 0)
		return missing(-errno, detail);
	return present(&s, 0) && s.at[0] == 1;
}

/* A poisoned page is read through the kernel, which answers instead of a SIGBUS. */
int umem_probe_poison(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	struct uffdio_poison poison = { 0 };
	struct iovec local, remote;
	char byte;
	int err = umem_scratch_map(&s, 2 * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	*(volatile char *)s.at = 1;
	err = serving(&s, UFFD_FEATURE_POISON, UFFDIO_REGISTER_MODE_MISSING);
	if (err)
		return missing(err, detail);
	poison.range = (struct uffdio_range){ (uintptr_t)s.at + PAGE, PAGE };
	if (ioctl(s.uffd, UFFDIO_POISON, &poison) < 0)
		return missing(-errno, detail);
	local = (struct iovec){ &byte, 1 };
	remote = (struct iovec){ s.at, 1 };
	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != 1)
		return -errno;
	remote.iov_base = s.at + PAGE;
	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0;
}

/* On a child: advice about one's own memory takes no right since Linux 6.13. */
int umem_probe_process_madvise(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	UMEM_FD int pidfd = -1;
	struct iovec iov;
	pid_t child;
	int err = umem_scratch_map(&s, 2 * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	umem_scratch_touch(&s);
	child = bare_child();
	if (child < 0)
		return child;
	if (child == 0) {
		for (;;)
			pause();
	}
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	iov = (struct iovec){ s.at, s.len };
	if (pidfd < 0 || syscall(SYS_process_madvise, pidfd, &iov, 1, MADV_COLD, 0) < 0)
		err = -errno;
	kill(child, SIGKILL);
	wait_for(child);
	return err ? missing(err, detail) : 1;
}

int umem_probe_cachestat(char *detail)
{
	struct umem_cachestat_range range = { 0 };
	struct umem_cachestat stat = { 0 };
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = umem_scratch_memfd(&s, 4 * PAGE, MAP_SHARED);

	if (err)
		return err;
	range.len = s.len;
	if (syscall(SYS_cachestat, s.fd, &range, &stat, 0) < 0)
		return missing(-errno, detail);
	return stat.nr_cache + stat.nr_evicted == 4;
}

int umem_probe_guard(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	uint64_t words[2] = { 0 };
	size_t n = 0;
	int err = umem_scratch_map(&s, 2 * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_pagemap_open(getpid(), &s.pm);
	if (err)
		return err;
	umem_scratch_touch(&s);
	if (madvise(s.at + PAGE, PAGE, MADV_GUARD_INSTALL) < 0)
		return missing(-errno, detail);
	err = umem_pagemap_words(s.pm, (uintptr_t)s.at, words, 2, &n);
	if (err)
		return err;
	if (!(words[1] & UMEM_PM_GUARD))
		return umem_probe_say(detail, 0, "guards, but no bit that shows them");
	return !(words[0] & UMEM_PM_GUARD);
}

int umem_probe_thp(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	size_t huge = PAGE * (PAGE / 8), n = 0;
	int err = umem_scratch_map(&s, huge, huge, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_pagemap_open(getpid(), &s.pm);
	if (err)
		return err;
	if (madvise(s.at, huge, MADV_HUGEPAGE) < 0)
		return missing(-errno, detail);
	*(volatile char *)s.at = 1;
	err = umem_scratch_scan(&s, 0, huge, false, PAGE_IS_HUGE, &n);
	if (err)
		return err;
	if (n == 0)
		return umem_probe_say(detail, 0, "a store into 2 MiB that asks for it gave 4 KiB");
	return 1;
}

static int read_word(const char *path, char *text, size_t size)
{
	UMEM_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return 0;
}

int umem_probe_ksm(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	char run[16] = "";
	int err = umem_scratch_map(&s, PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	if (madvise(s.at, PAGE, MADV_MERGEABLE) < 0)
		return missing(-errno, detail);
	err = read_word("/sys/kernel/mm/ksm/run", run, sizeof(run));
	return umem_probe_say(detail, 1, "%s",
		err ? "state not readable" : run[0] == '1' ? "running" : "not running");
}

int umem_probe_psi(char *detail)
{
	char line[96] = "";
	int err = read_word("/proc/pressure/memory", line, sizeof(line));

	return err ? missing(err, detail) : umem_probe_say(detail, 1, "%s", line);
}

/* Only looked for: reading hot_add would make a device. */
int umem_probe_zram(char *detail)
{
	return access("/sys/class/zram-control", F_OK) < 0 ? missing(-errno, detail) : 1;
}

int umem_probe_swap(char *detail)
{
	UMEM_FREE char *text = NULL;
	size_t n_lines = 0;
	int err = umem_read_file(AT_FDCWD, "/proc/swaps", 1 << 16, &text, NULL);

	if (err)
		return missing(err, detail);
	for (const char *c = text; *c; c++)
		n_lines += *c == '\n';
	return umem_probe_say(detail, n_lines > 1, "%zu areas", n_lines ? n_lines - 1 : 0);
}
