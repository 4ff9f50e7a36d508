// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection where it must refuse, or where something is in the way: tracers,
 * filters, limits, other instruction sets, failures in mid-stop. After each the
 * target is as it was.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/kernel/inject-common.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

/* A target that answers each byte of its pipe by a lap. */
static void answer(struct board *board)
{
	char byte;

	while (read(board->pipe_fds[0], &byte, 1) == 1)
		board->laps++;
	broken(board, "read: %s", strerror(errno));
}

static pid_t start(struct board *board, void (*run)(struct board *board))
{
	pid_t pid = t_fork();

	if (pid == 0) {
		run(board);
		_exit(0);
	}
	T_UNTIL(5, board->ready);
	T_UNTIL(5, t_proc_state(pid) == 'S' || t_proc_state(pid) == 'T' ||
		t_proc_state(pid) == 'D' || t_proc_state(pid) == 't');
	return pid;
}

static void ask(struct board *board)
{
	unsigned long laps = board->laps;

	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	T_UNTIL(5, board->laps == laps + 1);
}

static void plain(struct board *board)
{
	board->ready = true;
	answer(board);
}

static void nonexistent(void)
{
	struct umem_inject_step steps[2];
	struct umem_note note = { 0 };
	int pidfd;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	T_OK(umem_pidfd_open(pid, &pidfd));
	waitpid(pid, NULL, 0);
	uffd_steps(steps);
	T_CHECK(umem_inject_run(pid, pidfd, steps, 2, SECOND, NULL, &note) == UMEM_GONE);
	/* An id that another process has by now: the pidfd tells. */
	T_CHECK(umem_inject_run(1, pidfd, steps, 2, SECOND, NULL, &note) == UMEM_GONE);
	T_CHECK(umem_inject_run(getpid(), pidfd, steps, 2, SECOND, NULL, &note) == -EINVAL);
	steps[1].arg0_from = 1;
	T_CHECK(umem_inject_run(pid, pidfd, steps, 2, SECOND, NULL, NULL) == -EINVAL);
	close(pidfd);
}

static void zombie(void)
{
	struct umem_note note = { 0 };
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	T_UNTIL(5, t_proc_state(pid) == 'Z');
	T_CHECK(inject_any(pid, SECOND, NULL, &note) == UMEM_GONE);
	waitpid(pid, NULL, 0);
}

static void kernel_thread(void)
{
	struct umem_note note = { 0 };
	struct umem_proc_stat stat;

	if (umem_proc_stat_read(2, 0, &stat) < 0 || !stat.kernel_thread)
		return;
	T_CHECK(inject_any(2, SECOND, NULL, &note) == -ENOTSUP);
	T_CHECK(strstr(note.text, "kernel thread"));
}

static void traced_already(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, plain), tracer = t_fork();
	struct umem_note note = { 0 };
	char number[16];

	if (tracer == 0) {
		ptrace(PTRACE_SEIZE, pid, 0, 0);
		pause();
	}
	T_UNTIL(5, tracer_of(pid) == tracer);
	T_CHECK(inject_any(pid, SECOND, NULL, &note) == -EBUSY);
	snprintf(number, sizeof(number), "%d", (int)tracer);
	T_CHECK(strstr(note.text, number), "%s", note.text);
	T_CHECK(tracer_of(pid) == tracer);
	ask(board);
	t_end(tracer);
	inject_ok(pid, board, NULL);
	ask(board);
	t_end(pid);
	board_free(board);
}

static void not_permitted(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, plain), other = t_fork();
	struct umem_note note = { 0 };
	int status;

	if (other == 0) {
		if (setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		_exit(inject_any(pid, SECOND, NULL, &note) == -EPERM && note.text[0] ? 0 : 1);
	}
	status = t_wait(other);
	T_CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77, "%x", status);
	ask(board);
	t_end(pid);
	board_free(board);
}

/* A filter that kills for what we inject; it may do so only when the target calls. */
static void filtered(struct board *board)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };
	char byte;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0)
		broken(board, "seccomp: %s", strerror(errno));
	board->ready = true;
	while (read(board->pipe_fds[0], &byte, 1) == 1 && byte == 'x')
		board->laps++;
	syscall(SYS_close, 9999);
	broken(board, "the filter is gone");
}

static void strict(struct board *board)
{
	board->ready = true;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		broken(board, "seccomp: %s", strerror(errno));
	for (char byte = 'x'; byte == 'x';) {
		if (read(board->pipe_fds[0], &byte, 1) != 1)
			syscall(SYS_exit, 1);
		board->laps++;
	}
	syscall(SYS_getpid);
}

static void seccomp(void (*run)(struct board *board), int signo)
{
	struct board *board = board_new();
	pid_t pid = start(board, run);
	int status;

	for (int i = 0; i < 50; i++) {
		inject_ok(pid, board, NULL);
		ask(board);
	}
	T_CHECK(write(board->pipe_fds[1], "y", 1) == 1);
	status = t_wait(pid);
	T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signo, "%s %x", board->error, status);
	board_free(board);
}

#ifdef __x86_64__
static char selector;

/* All system calls of this target are dispatched to a handler, ours are not. */
static void dispatched(struct board *board)
{
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) != 0)
		_exit(77);
	board->ready = true;
	/* A wait that returns is one whose call is not dispatched. */
	for (char byte;;) {
		if (syscall(SYS_read, board->pipe_fds[0], &byte, 1) != 1)
			syscall(SYS_exit, 1);
		board->laps++;
		if (byte == 'y') {
			selector = 1;
			syscall(SYS_getpid);
		}
	}
}

/* The selector says "dispatch" while the target computes. */
static void dispatched_busy(struct board *board)
{
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) != 0)
		_exit(77);
	board->ready = true;
	selector = 1;
	while (!board->stop)
		board->laps++;
	syscall(SYS_getpid);
}

static void user_dispatch(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, dispatched);
	int status;

	for (int i = 0; i < 20; i++) {
		inject_ok(pid, board, NULL);
		ask(board);
	}
	T_CHECK(write(board->pipe_fds[1], "y", 1) == 1);
	status = t_wait(pid);
	T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%x", status);
	board_free(board);

	board = board_new();
	pid = t_fork();
	if (pid == 0)
		dispatched_busy(board);
	T_UNTIL(5, board->laps > 0);
	for (int i = 0; i < 20; i++)
		inject_ok(pid, board, NULL);
	board->stop = true;
	status = t_wait(pid);
	T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%x", status);
	board_free(board);
}
#endif

/* What older kernels lack. */
static void older_kernel(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, plain);

	setenv("UMEM_FAULTS", "inject.no-thread-pidfd=1,inject.no-maps-query=1", 1);
	inject_ok(pid, board, NULL);
	unsetenv("UMEM_FAULTS");
	ask(board);
	t_end(pid);
	board_free(board);
}

/* No vdso: a call in a mapped file is used. */
static void without_vdso(struct board *board)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned long start_addr, end;

	while (maps && fgets(line, sizeof(line), maps)) {
		if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) &&
			sscanf(line, "%lx-%lx", &start_addr, &end) == 2)
			munmap((void *)start_addr, end - start_addr);
	}
	plain(board);
}

static void no_vdso(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, without_vdso);

	inject_ok(pid, board, NULL);
	ask(board);
	t_end(pid);
	board_free(board);
}

static void vfork_waits(struct board *board)
{
	pid_t pid = vfork();

	if (pid == 0) {
		char byte;

		board->tid = getpid();
		board->ready = true;
		/* Raw: the memory is the parent's. */
		while (syscall(SYS_read, board->pipe_fds[0], &byte, 1) == 1)
			board->laps++;
		_exit(0);
	}
}

static void vfork_family(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, vfork_waits);
	struct umem_note note = { 0 };
	uint64_t begin_ns = t_now_ns();

	T_CHECK(inject_any(pid, SECOND / 5, NULL, &note) == -ETIMEDOUT);
	T_CHECK(strstr(note.text, "state D"), "%s", note.text);
	T_CHECK(t_now_ns() - begin_ns < SECOND);
	inject_ok(board->tid, board, NULL);
	ask(board);
	kill(board->tid, SIGKILL);
	T_CHECK(t_wait(pid) == 0);
	board_free(board);
}

/* The target has no descriptor left: a result, not a failure. */
static void limited(struct board *board)
{
	struct rlimit limit = { 0, 0 };

	setrlimit(RLIMIT_NOFILE, &limit);
	plain(board);
}

static void no_descriptor(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, limited);
	struct umem_inject_step steps[4];
	struct look before;
	int pidfd;

	look_at(pid, &before);
	T_OK(umem_pidfd_open(pid, &pidfd));
	uffd_steps(steps);
	/* An alternative to the failed step, and one to that which did not fail. */
	steps[2] = (struct umem_inject_step){ .nr = SYS_getpid, .arg0_from = -1, .else_of = 0 };
	steps[3] = (struct umem_inject_step){ .nr = SYS_getpid, .arg0_from = -1, .else_of = 2 };
	T_OK(umem_inject_run(pid, pidfd, steps, 4, SECOND, NULL, NULL));
	T_CHECK(steps[0].ret_value == -EMFILE && steps[0].ret_fd == -1);
	T_CHECK(steps[1].ret_value == -ECANCELED);
	T_CHECK(steps[2].ret_value == pid);
	T_CHECK(steps[3].ret_value == -ECANCELED);
	ask(board);
	T_UNTIL(5, looks_like(pid, &before));
	close(pidfd);
	t_end(pid);
	board_free(board);
}

/* A descriptor that cannot be fetched is closed again over there. */
static void fetch_fails(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, plain);
	struct look before;
	struct umem_note note = { 0 };

	look_at(pid, &before);
	setenv("UMEM_FAULTS", "inject.fetch-errno=24", 1);
	T_CHECK(inject_any(pid, SECOND, NULL, &note) == -EMFILE);
	unsetenv("UMEM_FAULTS");
	T_CHECK(note.text[0]);
	/* A deadline without end is one, too. */
	T_OK(inject_any(pid, UINT64_MAX, NULL, &note));
	T_UNTIL(5, looks_like(pid, &before));
	ask(board);
	t_end(pid);
	board_free(board);
}

/* An injected call that blocks is broken off, and so is the stop. */
static void blocks(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, plain);
	struct umem_inject_step step = { .nr = SYS_ppoll, .arg0_from = -1, .else_of = -1 };
	struct look before;
	struct umem_note note = { 0 };
	int pidfd;

	look_at(pid, &before);
	T_OK(umem_pidfd_open(pid, &pidfd));
	T_CHECK(umem_inject_run(pid, pidfd, &step, 1, SECOND / 10, NULL, &note) == -ETIMEDOUT);
	T_UNTIL(5, looks_like(pid, &before));
	ask(board);
	close(pidfd);
	t_end(pid);
	board_free(board);
}

/* A stopped process is used, and still stopped afterwards. */
static void stopped(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, plain);
	struct look before;
	int status;

	T_SYS(kill(pid, SIGSTOP));
	T_CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	look_at(pid, &before);
	for (int i = 0; i < 50; i++) {
		inject_ok(pid, board, NULL);
		T_UNTIL(5, t_proc_state(pid) == 'T');
		/* Its parent hears nothing of it. */
		T_CHECK(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG) == 0);
	}
	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	t_msleep(20);
	T_CHECK(board->laps == 0);
	T_CHECK(looks_like(pid, &before));
	T_SYS(kill(pid, SIGCONT));
	T_UNTIL(5, board->laps == 1);
	t_end(pid);
	board_free(board);
}

#ifdef __x86_64__
/* A thread that is in 32-bit code: an endless loop in a low page. */
static void compat(struct board *board)
{
	static const unsigned char loop[] = { 0xeb, 0xfe };
	struct {
		uint64_t ip;
		uint64_t cs;
	} there = { 0, 0x23 };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (page == MAP_FAILED)
		broken(board, "no low page");
	memcpy(page, loop, sizeof(loop));
	there.ip = (uintptr_t)page;
	board->ready = true;
	__asm__ volatile("push %1\n push %0\n lretq" : : "r"(there.ip), "r"(there.cs));
}

static void other_word_size(void)
{
	struct board *board = board_new();
	struct umem_note note = { 0 };
	pid_t pid = t_fork();

	if (pid == 0)
		compat(board);
	T_UNTIL(5, board->ready);
	t_msleep(10);
	T_CHECK(inject_any(pid, SECOND, NULL, &note) == -ENOTSUP, "%s", note.text);
	T_CHECK(strstr(note.text, "32-bit"), "%s", note.text);
	T_CHECK(t_proc_state(pid) == 'R' && tracer_of(pid) == 0);
	t_end(pid);
	board_free(board);
}
#endif

static bool put(const char *dir, const char *name, const char *text)
{
	char path[128];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : write(fd, text, strlen(text));
	close(fd);
	return n > 0;
}

/* A frozen group: the thread stops for us, but runs nothing. */
static void frozen(void)
{
	struct umem_note note = { 0 };
	struct board *board;
	struct look before;
	char root[] = "/tmp/umem-cgroup-XXXXXX", dir[64], number[16];
	pid_t pid;

	T_CHECK(mkdtemp(root) != NULL);
	if (mount("none", root, "cgroup2", 0, NULL) < 0) {
		printf("no control group to freeze: %s\n", strerror(errno));
		rmdir(root);
		return;
	}
	snprintf(dir, sizeof(dir), "%s/umem-test-%d", root, (int)getpid());
	T_SYS(mkdir(dir, 0755));
	board = board_new();
	pid = start(board, plain);
	look_at(pid, &before);
	snprintf(number, sizeof(number), "%d", (int)pid);
	if (put(dir, "cgroup.procs", number) && put(dir, "cgroup.freeze", "1")) {
		t_msleep(20);
		T_CHECK(inject_any(pid, SECOND / 10, NULL, &note) == -ETIMEDOUT, "%s", note.text);
		T_CHECK(strstr(note.text, "frozen"), "%s", note.text);
		T_CHECK(looks_like(pid, &before));
		T_CHECK(put(dir, "cgroup.freeze", "0"));
		ask(board);
		inject_ok(pid, board, NULL);
		ask(board);
	} else {
		printf("no control group to freeze\n");
	}
	t_end(pid);
	T_UNTIL(5, rmdir(dir) == 0);
	T_SYS(umount2(root, MNT_DETACH));
	rmdir(root);
	board_free(board);
}

int main(void)
{
	nonexistent();
	zombie();
	kernel_thread();
	traced_already();
	not_permitted();
	seccomp(filtered, SIGSYS);
	seccomp(strict, SIGKILL);
#ifdef __x86_64__
	user_dispatch();
#endif
	older_kernel();
	no_vdso();
	vfork_family();
	no_descriptor();
	fetch_fails();
	blocks();
	stopped();
	frozen();
#ifdef __x86_64__
	other_word_size();
#endif
	return 0;
}
