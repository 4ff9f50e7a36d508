// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A child made by injection, in processes that wait for children, ignore them, count
 * signals, close connections, run under limits and filters, die or execute: none
 * notices anything, and nothing is left.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "tests/kernel/fork-common.h"

#define REPS 20

static struct board *the_board;

/* Children come and go while the target lives its life. */
static void fork_some(pid_t pid, struct board *board, int reps)
{
	for (int i = 0; i < reps; i++) {
		struct forking f;

		fork_ok(pid, board, &f);
		forked_go(&f);
		t_msleep(2);
		forked_end(&f);
		if (board->error[0])
			T_FAIL("child %d: %s", i, board->error);
	}
}

static void on_child(int signo)
{
	the_board->signals++;
}

/* No child of its own: every wait says so at once. */
static void waits_for_nobody(struct board *board)
{
	struct sigaction action = { .sa_handler = on_child };

	sigaction(SIGCHLD, &action, NULL);
	board->ready = true;
	for (;;) {
		pid_t pid = board->laps % 2 ? wait(NULL) : waitpid(-1, NULL, WNOHANG);

		if (pid != -1 || errno != ECHILD)
			broken(board, "wait: %d %s", (int)pid, strerror(errno));
		if (board->signals)
			broken(board, "SIGCHLD");
		board->laps++;
	}
}

/* One real child at a time: it is the only one that is ever waited for. */
static void waits_for_one(struct board *board)
{
	struct sigaction action = { .sa_handler = on_child };

	sigaction(SIGCHLD, &action, NULL);
	board->ready = true;
	for (;;) {
		unsigned long had = board->signals;
		pid_t pid = fork(), who;
		int status;

		if (pid == 0) {
			usleep(3000);
			_exit(7);
		}
		do
			who = wait(&status);
		while (who < 0 && errno == EINTR && board->signals > had);
		if (who != pid || WEXITSTATUS(status) != 7)
			broken(board, "wait: %d instead of %d, %s", (int)who, (int)pid,
				strerror(errno));
		if (board->signals != had + 1)
			broken(board, "%lu SIGCHLD", board->signals - had);
		board->laps++;
	}
}

static void ignores(struct board *board)
{
	signal(SIGCHLD, SIG_IGN);
	board->ready = true;
	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			usleep(2000);
			_exit(0);
		}
		/* Waits until all real ones are gone. */
		if (wait(NULL) != -1 || errno != ECHILD)
			broken(board, "wait: %s", strerror(errno));
		board->laps++;
	}
}

static void no_child_wait(struct board *board)
{
	struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_NOCLDWAIT };

	sigaction(SIGCHLD, &action, NULL);
	board->ready = true;
	for (;;) {
		if (wait(NULL) != -1 || errno != ECHILD || board->signals)
			broken(board, "wait: %s, %lu signals", strerror(errno), board->signals);
		usleep(500);
		board->laps++;
	}
}

static void reads_signals(struct board *board)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	board->ready = true;
	for (;;) {
		if (read(fd, &info, sizeof(info)) != -1 || errno != EAGAIN)
			broken(board, "SIGCHLD in a signalfd");
		usleep(500);
		board->laps++;
	}
}

/* Orphans come to it, and its own child's child is the only one that does. */
static void reaps_others(struct board *board)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	board->ready = true;
	for (;;) {
		pid_t pid = fork(), grandchild;
		int status;

		if (pid == 0) {
			if (fork() == 0)
				_exit(9);
			_exit(8);
		}
		if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 8)
			broken(board, "wait for the child: %s", strerror(errno));
		grandchild = wait(&status);
		if (grandchild <= 0 || WEXITSTATUS(status) != 9)
			broken(board, "wait for the grandchild: %s", strerror(errno));
		if (wait(&status) != -1 || errno != ECHILD)
			broken(board, "one more child, status %x", status);
		board->laps++;
	}
}

static void with(const char *what, void (*run)(struct board *board))
{
	struct board *board = board_new();
	struct look before;
	unsigned long laps;
	pid_t pid = t_fork();

	if (pid == 0) {
		the_board = board;
		run(board);
		_exit(0);
	}
	T_UNTIL(5, board->ready || board->error[0]);
	look_at(pid, &before);
	fork_some(pid, board, REPS);
	laps = board->laps;
	T_UNTIL(5, board->laps > laps + 1 || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s: %s", what, board->error);
	T_UNTIL(5, looks_like(pid, &before));
	printf("%s: %lu laps\n", what, board->laps);
	fflush(stdout);
	t_end(pid);
	board_free(board);
}

/* A namespace's first process: its id there is 1, and the child's another than here. */
static void first_of_namespace(void)
{
	struct board *board = board_new();
	pid_t pid, outer = t_fork();

	if (outer == 0) {
		pid_t first;

		if (unshare(CLONE_NEWPID) < 0)
			broken(board, "unshare: %s", strerror(errno));
		first = fork();
		if (first == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			the_board = board;
			waits_for_nobody(board);
		}
		board->tid = first;
		waitpid(first, NULL, 0);
		_exit(0);
	}
	T_UNTIL(5, (board->ready && board->tid) || board->error[0]);
	if (board->error[0]) {
		printf("no process namespace: %s\n", board->error);
		t_end(outer);
	} else {
		struct forking f;

		pid = board->tid;
		fork_some(pid, board, REPS);
		T_CHECK(count_children(pid) == 0);
		/* It dies, and the kernel ends all of its namespace, ours too. */
		fork_ok(pid, board, &f);
		forked_go(&f);
		T_SYS(kill(pid, SIGKILL));
		T_CHECK(t_wait(outer) == 0);
		T_UNTIL(5, t_proc_state(f.child.pid) == '-');
		forked_end(&f);
		printf("first of a namespace: %lu laps\n", board->laps);
	}
	board_free(board);
}

static void rests(struct board *board)
{
	board->ready = true;
	for (;;)
		pause();
}

static pid_t start(struct board *board, void (*run)(struct board *board))
{
	pid_t pid = t_fork();

	if (pid == 0) {
		the_board = board;
		run(board);
		_exit(0);
	}
	T_UNTIL(5, board->ready || board->error[0]);
	return pid;
}

/* The target dies, its child is read on, and nothing is left. */
static void target_dies(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, rests);
	struct forking f;
	uint64_t word;

	fork_ok(pid, board, &f);
	forked_go(&f);
	t_end(pid);
	T_CHECK(pread(f.child.mem_fd, &word, 8, (off_t)(uintptr_t)&the_board) == 8);
	T_CHECK(word == (uintptr_t)board);
	forked_end(&f);
	T_UNTIL(5, t_proc_state(f.child.pid) == '-');
	board_free(board);
}

/* The child dies, as by the out-of-memory killer: reading fails, nothing is left. */
static void child_dies(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, rests);
	struct forking f;
	char byte;

	fork_ok(pid, board, &f);
	forked_go(&f);
	T_SYS(kill(f.child.pid, SIGKILL));
	T_UNTIL(5, umem_pidfd_exited(f.child.pidfd));
	T_CHECK(pread(f.child.mem_fd, &byte, 1, (off_t)(uintptr_t)&the_board) <= 0);
	forked_end(&f);
	T_CHECK(count_children(pid) == 0);
	t_end(pid);
	board_free(board);
}

/* We are killed with the child at hand, or in the middle of it all. */
static void caller_dies(void)
{
	for (int i = 0; i < 6; i++) {
		struct board *board = board_new();
		pid_t pid = start(board, waits_for_nobody), caller;
		struct look before;
		unsigned long laps;

		look_at(pid, &before);
		caller = t_fork();
		if (caller == 0) {
			struct forking f;

			setpgid(0, 0);
			fork_ok(pid, board, &f);
			if (i % 2)
				forked_go(&f);
			board->tid = f.child.pid;
			pause();
		}
		T_UNTIL(5, board->tid != 0);
		T_CHECK(count_children(pid) == 1);
		if (i % 3 == 0)
			t_msleep(5);
		kill(-caller, SIGKILL);
		t_end(caller);
		T_UNTIL(5, count_children(pid) == 0);
		laps = board->laps;
		T_UNTIL(5, board->laps > laps || board->error[0]);
		T_CHECK(board->error[0] == '\0', "%s", board->error);
		T_UNTIL(5, looks_like(pid, &before));
		t_end(pid);
		board_free(board);
	}
	printf("callers: 6 killed\n");
}

static int is_helper_of(pid_t pid, pid_t caller)
{
	struct umem_proc_stat stat;

	return umem_proc_stat_read(pid, 0, &stat) == 0 && stat.ppid == caller;
}

static void rests_without_core(struct board *board)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	rests(board);
}

/* The helper is killed in the only moment in which the child could run. */
static void helper_dies_at_birth(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, rests_without_core), caller, helper;
	unsigned laps;

	setenv("UMEM_FAULTS", "fork.birth-delay-us=300000", 1);
	caller = t_fork();
	if (caller == 0) {
		struct forking f;
		struct umem_note note = { 0 };

		_exit(fork_any(pid, 5 * SECOND, &f, &note) == -EIO ? 0 : 1);
	}
	unsetenv("UMEM_FAULTS");
	T_UNTIL(5, count_children(pid) == 1);
	t_msleep(20);
	helper = (pid_t)tracer_of(pid);
	T_CHECK(helper > 0 && is_helper_of(helper, caller));
	laps = (unsigned)board->laps;
	T_SYS(kill(helper, SIGKILL));
	T_CHECK(t_wait(caller) == 0);
	/* The thread that was borrowed is lost with it, as is said; the child is gone too. */
	T_UNTIL(5, t_proc_state(pid) == 'Z' || count_children(pid) == 0);
	T_CHECK(board->laps == laps);
	t_end(pid);
	board_free(board);
}

/* A connection that the target closes is closed, although the child lives. */
static void closes_connection(struct board *board)
{
	char byte;

	board->ready = true;
	while (read(board->pipe_fds[0], &byte, 1) == 1) {
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
			broken(board, "socketpair");
		/* Whoever forks now has the one end in its table. */
		board->tid = fds[0] * 1000 + fds[1];
		while (!board->stop)
			usleep(100);
		close(fds[0]);
		if (read(fds[1], &byte, 1) != 0)
			broken(board, "no end");
		close(fds[1]);
		board->laps++;
	}
}

static void connections(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, closes_connection);
	struct forking f;

	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	T_UNTIL(5, board->tid != 0);
	fork_ok(pid, board, &f);
	T_CHECK(count_fds(f.child.pid, f.child.pid) > 3);
	forked_go(&f);
	board->stop = true;
	T_UNTIL(5, board->laps == 1 || board->error[0]);
	T_UNTIL(5, count_fds(f.child.pid, f.child.pid) == 2);
	T_CHECK(getsid(f.child.pid) == f.child.pid);
	forked_end(&f);
	t_end(pid);

	/* Without close_range: a table of its own, in which all stays open until its end. */
	setenv("UMEM_FAULTS", "fork.no-close-range=1", 1);
	board->ready = false;
	pid = start(board, rests);
	fork_ok(pid, board, &f);
	unsetenv("UMEM_FAULTS");
	forked_go(&f);
	T_UNTIL(5, getsid(f.child.pid) == f.child.pid);
	forked_end(&f);
	T_CHECK(count_children(pid) == 0);
	t_end(pid);
	board_free(board);
}

/* Record locks belong to the table of descriptors; the child's end must not drop them. */
static void holds_lock(struct board *board)
{
	char name[] = "/tmp/umem-lock-XXXXXX";
	struct flock lock = { .l_type = F_WRLCK };
	int fd = mkstemp(name);

	unlink(name);
	if (fcntl(fd, F_SETLK, &lock) < 0)
		broken(board, "lock: %s", strerror(errno));
	board->tid = fd;
	board->ready = true;
	for (;;)
		pause();
}

static void locks(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, holds_lock);
	struct flock lock = { .l_type = F_WRLCK };
	char path[64];
	int fd;

	fork_some(pid, board, REPS);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, (int)board->tid);
	fd = (int)T_SYS(open(path, O_RDWR | O_CLOEXEC));
	T_SYS(fcntl(fd, F_GETLK, &lock));
	T_CHECK(lock.l_type == F_WRLCK && lock.l_pid == pid);
	close(fd);
	t_end(pid);
	board_free(board);
}

static void on_term(int signo)
{
	the_board->signals++;
}

static void in_group(struct board *board)
{
	setpgid(0, 0);
	signal(SIGTERM, on_term);
	rests(board);
}

/* A signal to the group of the target is not for the child. */
static void group_signals(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, in_group);
	struct forking f;

	fork_ok(pid, board, &f);
	forked_go(&f);
	T_UNTIL(5, getsid(f.child.pid) == f.child.pid);
	T_SYS(kill(-pid, SIGTERM));
	T_UNTIL(5, board->signals == 1);
	T_CHECK(t_proc_state(f.child.pid) == 't');
	forked_end(&f);
	T_CHECK(count_children(pid) == 0 && board->signals == 1);
	t_end(pid);
	board_free(board);
}

/* A thread that is joined by its id word: the child's end must not clear it. */
static void *joined(void *arg)
{
	struct board *board = arg;

	board->tid = gettid();
	board->ready = true;
	while (!board->stop)
		usleep(1000);
	return NULL;
}

static void joins(struct board *board)
{
	pthread_t thread;

	pthread_create(&thread, NULL, joined, board);
	pthread_join(thread, NULL);
	if (!board->stop)
		broken(board, "joined before its end");
	board->laps++;
	rests(board);
}

static void joining(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, joins);

	fork_some(pid, board, REPS);
	board->stop = true;
	T_UNTIL(5, board->laps == 1 || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	t_end(pid);
	board_free(board);
}

static char *board_text;

/* Executes another program, this one, with the board's descriptor in its arguments. */
static void executes(struct board *board)
{
	char *argv[] = { (char *)(uintptr_t)"fork-unnoticed", board_text, NULL };

	board->ready = true;
	while (!board->stop)
		usleep(200);
	execv("/proc/self/exe", argv);
	broken(board, "exec: %s", strerror(errno));
}

/* What is executed: it counts SIGCHLD, and has no child that it knows of. */
static int executed(int fd)
{
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct sigaction action = { .sa_handler = on_child };

	if (board == MAP_FAILED)
		return 1;
	the_board = board;
	sigaction(SIGCHLD, &action, NULL);
	for (;;) {
		if (wait(NULL) != -1 || errno != ECHILD)
			broken(board, "wait: %s", strerror(errno));
		board->laps++;
	}
}

/*
 * The kernel does not trust an exit signal over an exec: the new program gets one
 * SIGCHLD. The child is taken away all the same.
 */
static void execution(void)
{
	int fd = memfd_create("board", 0);
	struct board *board;
	struct forking f;
	char text[16];
	pid_t pid;

	T_SYS(fd);
	T_SYS(ftruncate(fd, sizeof(*board)));
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	T_CHECK(board != MAP_FAILED);
	snprintf(text, sizeof(text), "%d", fd);
	board_text = text;
	pid = start(board, executes);
	fork_ok(pid, board, &f);
	forked_go(&f);
	board->stop = true;
	T_UNTIL(5, board->laps > 10 || board->error[0]);
	forked_end(&f);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	T_UNTIL(5, count_children(pid) == 0);
	printf("executed meanwhile: %lu SIGCHLD\n", board->signals);
	T_CHECK(board->signals <= 1);
	t_end(pid);
	munmap(board, sizeof(*board));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return executed(atoi(argv[1]));
	with("waits for nobody", waits_for_nobody);
	with("waits for one", waits_for_one);
	with("ignores children", ignores);
	with("SA_NOCLDWAIT", no_child_wait);
	with("signalfd", reads_signals);
	with("subreaper", reaps_others);
	first_of_namespace();
	target_dies();
	child_dies();
	caller_dies();
	helper_dies_at_birth();
	connections();
	locks();
	group_signals();
	joining();
	execution();
	return 0;
}
