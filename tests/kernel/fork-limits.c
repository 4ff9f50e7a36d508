// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making a child where something is in the way: filters, limits, stopped or single
 * threads, tracers. What cannot be done is said, and nothing is left.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/kernel/fork-common.h"

/* A target that answers each byte of its pipe by a lap. */
static void answer(struct board *board)
{
	char byte;

	board->ready = true;
	while (read(board->pipe_fds[0], &byte, 1) == 1 && byte == 'x')
		board->laps++;
}

static void ask(struct board *board)
{
	unsigned long laps = board->laps;

	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	T_UNTIL(5, board->laps == laps + 1 || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
}

static pid_t start(struct board *board, void (*run)(struct board *board))
{
	pid_t pid = t_fork();

	if (pid == 0) {
		run(board);
		_exit(0);
	}
	T_UNTIL(5, board->ready || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	T_UNTIL(5, t_proc_state(pid) == 'S');
	return pid;
}

static void once(pid_t pid, struct board *board)
{
	struct forking f;

	fork_ok(pid, board, &f);
	T_CHECK(umem_fork_thread(f.fork) != NULL);
	forked_go(&f);
	forked_end(&f);
	T_CHECK(count_children(pid) == 0);
}

/* A failure that must be said with these words; the target answers after it. */
static void refused(pid_t pid, struct board *board, int err, const char *words)
{
	struct umem_note note = { 0 };
	struct forking f;
	int r = fork_any(pid, 2 * SECOND, &f, &note);

	T_CHECK(r == err, "%d %s", r, note.text);
	T_CHECK(strstr(note.text, words), "%s", note.text);
	T_CHECK(count_children(pid) == 0 && tracer_of(pid) == 0);
	ask(board);
}

/* One more process of a user who may have no more; root is not asked. */
static void user_is_full(struct board *board)
{
	struct rlimit limit = { 1, 1 };

	setrlimit(RLIMIT_NPROC, &limit);
	if (setresgid(65533, 65533, 65533) < 0 || setresuid(65533, 65533, 65533) < 0)
		broken(board, "setresuid: %s", strerror(errno));
	answer(board);
}

static void process_limit(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, user_is_full);

	refused(pid, board, -EAGAIN, "RLIMIT_NPROC");
	refused(pid, board, -EAGAIN, "pids.max");
	t_end(pid);
	board_free(board);
}

static bool put(const char *dir, const char *name, const char *text)
{
	char path[192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : write(fd, text, strlen(text));
	close(fd);
	return n > 0;
}

static void in_full_group(const char *dir)
{
	struct board *board = board_new();
	pid_t pid = start(board, answer);
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)pid);
	if (put(dir, "cgroup.procs", number) && put(dir, "pids.max", "1")) {
		refused(pid, board, -EAGAIN, "control group");
		T_CHECK(put(dir, "pids.max", "2"));
		once(pid, board);
		ask(board);
	} else {
		printf("no control group of processes\n");
	}
	t_end(pid);
	board_free(board);
}

/* pids is a controller of version 1 or 2, where there is one. */
static void group_limit(void)
{
	char root[] = "/tmp/umem-cgroup-XXXXXX", dir[64];
	bool mounted;

	T_CHECK(mkdtemp(root) != NULL);
	mounted = mount("none", root, "cgroup", 0, "pids") == 0 ||
		mount("none", root, "cgroup2", 0, NULL) == 0;
	if (mounted) {
		put(root, "cgroup.subtree_control", "+pids");
		snprintf(dir, sizeof(dir), "%s/umem-test-%d", root, (int)getpid());
		T_SYS(mkdir(dir, 0755));
		in_full_group(dir);
		T_UNTIL(5, rmdir(dir) == 0);
		T_SYS(umount2(root, MNT_DETACH));
	} else {
		printf("no control group of processes: %s\n", strerror(errno));
	}
	rmdir(root);
}

/* A filter that kills for whatever makes a child or ends it. */
static void filtered(struct board *board)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_wait4, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsid, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0)
		broken(board, "seccomp: %s", strerror(errno));
	answer(board);
	syscall(SYS_wait4, -1, NULL, 0, NULL);
}

static void filters(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, filtered);
	struct look before;
	int status;

	look_at(pid, &before);
	for (int i = 0; i < 20; i++) {
		once(pid, board);
		ask(board);
	}
	T_UNTIL(5, looks_like(pid, &before));
	/* The filter is still there. */
	T_CHECK(write(board->pipe_fds[1], "y", 1) == 1);
	status = t_wait(pid);
	T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%x", status);
	board_free(board);
}

/* Without the right to suspend it: a caller that has only that of the same user. */
static void unprivileged(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, filtered), other = t_fork();
	int status;

	if (other == 0) {
		struct umem_note note = { 0 };
		struct forking f;
		int r;

		if (setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		r = fork_any(pid, SECOND, &f, &note);
		_exit((r == -EPERM || r == -EACCES) && note.text[0] ? 0 : 1);
	}
	status = t_wait(other);
	T_CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77, "%x", status);
	ask(board);
	t_end(pid);
	board_free(board);
}

/* A stopped process has a child as well, and is still stopped. */
static void stopped(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, answer);
	int status;

	T_SYS(kill(pid, SIGSTOP));
	T_CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	for (int i = 0; i < 10; i++) {
		once(pid, board);
		T_UNTIL(5, t_proc_state(pid) == 'T');
		T_CHECK(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG) == 0);
	}
	T_SYS(kill(pid, SIGCONT));
	ask(board);
	t_end(pid);
	board_free(board);
}

/* A debugger comes between: the dead child is taken away when it has gone. */
static void traced_at_the_end(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, answer), tracer;
	struct umem_note note = { 0 };
	struct forking f;
	uint64_t begin_ns;

	fork_ok(pid, board, &f);
	forked_go(&f);
	tracer = t_fork();
	if (tracer == 0) {
		ptrace(PTRACE_SEIZE, pid, 0, 0);
		pause();
	}
	T_UNTIL(5, tracer_of(pid) == tracer);
	begin_ns = t_now_ns();
	forked_end(&f);
	T_CHECK(t_now_ns() - begin_ns < 7 * SECOND);
	T_CHECK(count_children(pid) == 1 && t_proc_state(f.child.pid) == 'Z', "%zu, state %c",
		count_children(pid), t_proc_state(f.child.pid));
	T_CHECK(fork_any(pid, SECOND, &f, &note) == -EBUSY, "%s", note.text);
	t_end(tracer);
	T_UNTIL(5, count_children(pid) == 0);
	ask(board);
	t_end(pid);
	board_free(board);
}

static void faults(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, answer);

	setenv("UMEM_FAULTS", "fork.clone-errno=12", 1);
	refused(pid, board, -ENOMEM, "overcommit");
	setenv("UMEM_FAULTS", "fork.clone-errno=11", 1);
	refused(pid, board, -EAGAIN, "RLIMIT_NPROC");
	unsetenv("UMEM_FAULTS");
	once(pid, board);
	t_end(pid);
	board_free(board);
}

static void nobody(void)
{
	struct umem_note note = { 0 };
	struct umem_fork *fork_of = NULL;
	struct forking f;
	int pidfd;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	T_UNTIL(5, t_proc_state(pid) == 'Z');
	T_CHECK(fork_any(pid, SECOND, &f, &note) == UMEM_GONE);
	T_OK(umem_pidfd_open(pid, &pidfd));
	waitpid(pid, NULL, 0);
	T_CHECK(umem_fork_new(1, pidfd, &fork_of, &note) == UMEM_GONE);
	T_CHECK(umem_fork_new(getpid(), pidfd, &fork_of, &note) == -EINVAL);
	T_CHECK(fork_of == NULL && umem_fork_free(NULL) == NULL);
	close(pidfd);
}

int main(void)
{
	nobody();
	process_limit();
	group_limit();
	filters();
	unprivileged();
	stopped();
	faults();
	traced_at_the_end();
	return 0;
}
