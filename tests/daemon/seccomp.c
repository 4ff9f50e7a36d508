// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The filter of a worker from inside: what is not in its table fails, each call of the
 * kernel tried; and what is in it only for some arguments fails for all others.
 */
#include "daemon/worker/seccomp.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/worker/isolate.h"
#include "lib/kern/uapi.h"
#include "tests/lib/harness.h"

#define N_CALLS 480

static bool allowed[N_CALLS];

/* Descriptors as a worker has them, at numbers that are free here. */
static const struct seccomp_fds fds = { .dir = 20, .proc = 21, .pidfd = 22, .journal = 23 };

static void read_table(enum seccomp_stage stage)
{
	int nr;

	memset(allowed, 0, sizeof(allowed));
	for (size_t i = 0; (nr = seccomp_call_number(stage, i)) >= 0; i++)
		if (nr < N_CALLS)
			allowed[nr] = true;
}

static void enter(void)
{
	T_SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	T_OK(seccomp_stage_enter(SECCOMP_WAIT, NULL));
	T_OK(seccomp_stage_enter(SECCOMP_VERBS, &fds));
}

/*
 * uretprobe and uprobe of x86-64 (Linux 6.11, 6.18) are called by code that the kernel
 * puts in place; no filter is asked, and anybody else who calls them is killed.
 */
static bool is_of_the_kernel(int nr)
{
#ifdef __x86_64__
	return nr == 335 || nr == 336;
#else
	return false;
#endif
}

static void enter_snapshot(void)
{
	T_SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	T_OK(seccomp_stage_enter(SECCOMP_SNAPSHOT, NULL));
}

/* Every call that is not in the table, with arguments that do no harm. */
static void deny_others(void)
{
	int n = 0;

	for (int nr = 0; nr < N_CALLS; nr++) {
		if (allowed[nr] || is_of_the_kernel(nr))
			continue;
		errno = 0;
		T_CHECK(syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L) == -1 && errno == EPERM,
			"call %d: %s", nr, strerror(errno));
		n++;
	}
	T_CHECK(n > 280, "%d", n);
}

static void others(void)
{
	read_table(SECCOMP_VERBS);
	enter();
	deny_others();
}

static void others_snapshot(void)
{
	read_table(SECCOMP_SNAPSHOT);
	/* Of this one it is told that it is not there: threads are made by clone then. */
	allowed[SYS_clone3] = true;
	enter_snapshot();
	errno = 0;
	T_CHECK(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
	deny_others();
}

#define DENIED(call)                                                            \
	do {                                                                    \
		errno = 0;                                                      \
		T_CHECK((long)(call) == -1 && errno == EPERM, "%s", strerror(errno)); \
	} while (0)
/* Passed by the filter, and refused by what is behind it. */
#define PASSED(call)                                                            \
	do {                                                                    \
		errno = 0;                                                      \
		T_CHECK((long)(call) != -1 || errno != EPERM);                  \
	} while (0)

/* What a program that was taken over would try. */
static void probes(void)
{
	char name[] = "sh", *argv[] = { name, NULL };
	char byte = 0;

	enter();
	DENIED(open("/etc/passwd", O_RDONLY));
	DENIED(openat(AT_FDCWD, ".", O_RDONLY));
	DENIED(openat(0, "x", O_RDONLY));
	DENIED(openat(fds.dir, "mem", O_RDWR));
	DENIED(openat(fds.dir, "mem", O_WRONLY));
	DENIED(openat(fds.dir, "x", O_CREAT | O_RDONLY, 0600));
	DENIED(socket(AF_UNIX, SOCK_STREAM, 0));
	DENIED(socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 }));
	DENIED(ptrace(PTRACE_SEIZE, getppid(), 0, 0));
	DENIED(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
	DENIED(syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0));
	DENIED(execv("/bin/sh", argv));
	DENIED(syscall(SYS_execveat, fds.dir, "x", argv, NULL, 0));
	DENIED(fork());
	DENIED(syscall(SYS_clone3, NULL, 0));
	DENIED(kill(getppid(), SIGKILL));
	DENIED(syscall(SYS_tgkill, getppid(), getppid(), SIGKILL));
	DENIED(syscall(SYS_pidfd_send_signal, fds.pidfd, SIGKILL, NULL, 0));
	DENIED(syscall(SYS_pidfd_open, 1, 0));
	DENIED(syscall(SYS_pidfd_getfd, fds.dir, 0, 0));
	DENIED(syscall(SYS_process_madvise, fds.dir, NULL, 0, MADV_PAGEOUT, 0));
	DENIED(syscall(SYS_process_madvise, fds.pidfd, NULL, 0, MADV_DONTNEED, 0));
	DENIED(syscall(SYS_move_pages, getppid(), 0ul, NULL, NULL, NULL, 0));
	DENIED(syscall(SYS_move_pages, 0, 1ul, NULL, NULL, NULL, 0));
	DENIED(fchmod(0, 0777));
	DENIED(syscall(SYS_open_by_handle_at, fds.dir, NULL, 0));
	DENIED(syscall(SYS_userfaultfd, 0));
	DENIED(ioctl(0, UFFDIO_COPY, NULL));
	DENIED(ioctl(0, 0x5401 /* TCGETS */, NULL));
	DENIED(sendmsg(7, NULL, 0));
	DENIED(recvmsg(0, NULL, 0));
	DENIED(sendto(WORKER_FD_CALLS, &byte, 1, 0, NULL, 0));
	DENIED(write(1, &byte, 1));
	DENIED(pwrite(1, &byte, 1, 0));
	DENIED(dup(0));
	DENIED(syscall(SYS_dup3, 0, 1, 0));
	DENIED(fcntl(0, F_SETFL, 0));
	DENIED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	DENIED(mprotect(NULL, 4096, PROT_EXEC));
	DENIED(chroot("."));
	DENIED(setresuid(0, 0, 0));
	DENIED(unshare(CLONE_NEWUSER));
	DENIED(syscall(SYS_seccomp, 0, 0, NULL));
	DENIED(prctl(PR_SET_DUMPABLE, 1));
	DENIED(syscall(SYS_io_uring_setup, 1, NULL));
	DENIED(syscall(SYS_bpf, 0, NULL, 0));
}

/* The same of one that takes a snapshot: it may trace, and not do these. */
static void probes_snapshot(void)
{
	char name[] = "sh", *argv[] = { name, NULL };
	char byte = 0;

	enter_snapshot();
	DENIED(execv("/bin/sh", argv));
	DENIED(syscall(SYS_execveat, AT_FDCWD, "/bin/sh", argv, NULL, 0));
	DENIED(socket(AF_UNIX, SOCK_STREAM, 0));
	DENIED(socket(AF_INET, SOCK_STREAM, 0));
	DENIED(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){ 0 }));
	DENIED(connect(WORKER_FD_CALLS, NULL, 0));
	DENIED(sendmsg(7, NULL, 0));
	DENIED(recvmsg(7, NULL, 0));
	DENIED(sendto(7, &byte, 1, 0, (struct sockaddr *)&byte, 1));
	DENIED(openat(AT_FDCWD, "x", O_CREAT | O_RDWR, 0600));
	DENIED(openat(AT_FDCWD, "x", O_WRONLY | O_TRUNC));
	DENIED(openat(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 0600));
	DENIED(mkdir("x", 0700));
	DENIED(unlink("x"));
	DENIED(rename("x", "y"));
	DENIED(symlink("x", "y"));
	DENIED(syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0));
	DENIED(ioctl(0, 0x5412 /* TIOCSTI */, NULL));
	DENIED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	DENIED(mprotect(NULL, 4096, PROT_EXEC));
	DENIED(chroot("."));
	DENIED(setresuid(0, 0, 0));
	DENIED(unshare(CLONE_NEWUSER));
	DENIED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	DENIED(syscall(SYS_setns, 0, 0));
	DENIED(syscall(SYS_seccomp, 0, 0, NULL));
	DENIED(prctl(PR_SET_DUMPABLE, 1));
	DENIED(syscall(SYS_io_uring_setup, 1, NULL));
	DENIED(syscall(SYS_bpf, 0, NULL, 0));
	DENIED(syscall(SYS_open_by_handle_at, 0, NULL, 0));
}

/* And what it needs is there. */
static void needs(void)
{
	void *at;

	enter();
	PASSED(openat(fds.dir, "status", O_RDONLY | O_CLOEXEC));
	PASSED(openat(fds.proc, "fd", O_RDONLY | O_DIRECTORY));
	PASSED(syscall(SYS_pidfd_getfd, fds.pidfd, 0, 0));
	PASSED(syscall(SYS_process_madvise, fds.pidfd, NULL, 0, MADV_COLLAPSE, 0));
	PASSED(syscall(SYS_process_madvise, fds.pidfd, NULL, 0, MADV_PAGEOUT, 0));
	PASSED(syscall(SYS_process_madvise, fds.pidfd, NULL, 0, MADV_WILLNEED, 0));
	PASSED(syscall(SYS_move_pages, 0, 0ul, NULL, NULL, NULL, 0));
	PASSED(syscall(SYS_cachestat, 0, NULL, NULL, 0));
	PASSED(syscall(SYS_mincore, NULL, 0ul, NULL));
	PASSED(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC));
	PASSED(ioctl(20, PAGEMAP_SCAN, NULL));
	PASSED(ioctl(20, UFFDIO_REGISTER, NULL));
	PASSED(sendmsg(WORKER_FD_CALLS, NULL, 0));
	PASSED(recvmsg(WORKER_FD_BROKER, NULL, 0));
	PASSED(pwrite(fds.journal, "", 1, 0));
	at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_CHECK(at != MAP_FAILED);
	memset(at, 1, 1 << 20);
	T_SYS(munmap(at, 1 << 20));
	T_SYS(memfd_create("x", MFD_ALLOW_SEALING));
	abort(); /* last words come by a signal of its own */
}

static int run(void (*what)(void))
{
	pid_t child = t_fork();

	if (child == 0) {
		what();
		syscall(SYS_exit_group, 0);
	}
	return t_wait(child);
}

int main(void)
{
	int status;

	T_CHECK(run(others) == 0);
	T_CHECK(run(probes) == 0);
	T_CHECK(run(others_snapshot) == 0);
	T_CHECK(run(probes_snapshot) == 0);
	status = run(needs);
	T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%d", status);
	return 0;
}
