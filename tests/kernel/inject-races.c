// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection against targets that exit, execute, create threads, get signals
 * and are stopped at that very moment; and callers that die in mid-stop.
 */
#include <linux/rseq.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "tests/kernel/inject-common.h"

static struct board *the_board;

/* 0 and UMEM_GONE are fine, and it does not take long. */
static int inject_racing(pid_t pid)
{
	struct umem_note note = { 0 };
	uint64_t begin_ns = t_now_ns();
	int r = inject_any(pid, 3 * SECOND, NULL, &note);

	T_CHECK(r == 0 || r == UMEM_GONE, "%d %s", r, note.text);
	T_CHECK(t_now_ns() - begin_ns < 2 * SECOND);
	return r;
}

static void exits(uint64_t *seed)
{
	unsigned n_done = 0;

	for (int i = 0; i < 300; i++) {
		uint64_t life_ns = t_below(seed, 1500000);
		pid_t pid = t_fork();

		if (pid == 0) {
			for (uint64_t end_ns = t_now_ns() + life_ns; t_now_ns() < end_ns;)
				;
			_exit(7);
		}
		n_done += inject_racing(pid) == 0;
		T_CHECK(WEXITSTATUS(t_wait(pid)) == 7);
	}
	printf("exits: %u of 300 before their end\n", n_done);
}

/* Threads that live for microseconds, under a leader that waits for them. */
static void *live_shortly(void *arg)
{
	for (volatile int i = 0; i < 3000; i++)
		;
	return NULL;
}

static void churn_threads(struct board *board)
{
	for (;;) {
		pthread_t thread[4];

		for (int i = 0; i < 4; i++) {
			if (pthread_create(&thread[i], NULL, live_shortly, NULL) != 0)
				broken(board, "pthread_create");
		}
		for (int i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		board->laps++;
	}
}

static void thread_churn(void)
{
	struct board *board = board_new();
	struct look before, after;
	pid_t pid = t_fork();
	unsigned long laps;

	if (pid == 0)
		churn_threads(board);
	T_UNTIL(5, board->laps > 10);
	look_at(pid, &before);
	for (int i = 0; i < 300; i++)
		inject_ok(pid, board, NULL);
	laps = board->laps;
	T_UNTIL(5, board->laps > laps);
	look_at(pid, &after);
	T_CHECK(before.n_fds == after.n_fds && tracer_of(pid) == 0);
	printf("threads: %lu rounds\n", board->laps);
	t_end(pid);
	board_free(board);
}

/* Executes itself again and again, from a thread that is not the leader if @arg says so. */
static void *execute(void *arg)
{
	char *argv[] = { (char *)(uintptr_t)"inject-races", (char *)(uintptr_t)"exec", arg,
		NULL };

	execv("/proc/self/exe", argv);
	_exit(99);
}

static int executed(char *left)
{
	long n = strtol(left, NULL, 10);
	char next[24];
	pthread_t thread;

	if (n == 0)
		return 42;
	snprintf(next, sizeof(next), "%ld", n - 1);
	if (n % 2)
		execute(next);
	pthread_create(&thread, NULL, execute, next);
	for (;;)
		pause();
}

static void executes(void)
{
	unsigned n_done = 0, n_gone = 0;

	for (int i = 0; i < 8; i++) {
		char left[] = "60";
		pid_t pid = t_fork();

		if (pid == 0)
			execute(left);
		while (t_proc_state(pid) != 'Z') {
			if (inject_racing(pid) == 0)
				n_done++;
			else
				n_gone++;
		}
		T_CHECK(WEXITSTATUS(t_wait(pid)) == 42);
	}
	printf("executes: %u done, %u gone\n", n_done, n_gone);
}

/* Realtime signals are queued: each is handled once, in order, with its value. */
static void on_queued(int signo, siginfo_t *info, void *context)
{
	struct board *board = the_board;

	if (info->si_value.sival_int != (int)board->signals)
		broken(board, "signal %d came as number %lu", info->si_value.sival_int,
			board->signals);
	board->signals++;
}

static void queued_signals(bool sleeps)
{
	struct board *board = board_new();
	struct sigaction action = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };
	int n_sent = 0;
	pid_t pid = t_fork();

	if (pid == 0) {
		the_board = board;
		sigaction(SIGRTMIN, &action, NULL);
		board->ready = true;
		for (;;) {
			struct timespec ts = { 10, 0 };

			/* In a sleep a handler must end it with EINTR, nothing else may. */
			if (sleeps) {
				unsigned long had = board->signals;

				if (nanosleep(&ts, NULL) == 0 || errno != EINTR)
					broken(board, "nanosleep: %s", strerror(errno));
				if (board->signals == had)
					broken(board, "EINTR without a signal");
			}
			board->laps++;
		}
	}
	T_UNTIL(5, board->ready);
	pid_t sender = t_fork();

	if (sender == 0) {
		while (!board->stop) {
			if (sigqueue(pid, SIGRTMIN, (union sigval){ .sival_int = n_sent }) == 0)
				n_sent++;
			usleep(200);
		}
		_exit(n_sent % 251);
	}
	for (int i = 0; i < 400; i++)
		inject_ok(pid, board, NULL);
	board->stop = true;
	n_sent = WEXITSTATUS(t_wait(sender));
	T_UNTIL(5, board->signals % 251 == (unsigned long)n_sent || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	printf("signals: %lu, all in order\n", board->signals);
	t_end(pid);
	board_free(board);
}

/* SIGSTOP gets through our mask; what was sent last is what holds afterwards. */
static void stop_storm(uint64_t *seed)
{
	struct board *board = board_new();
	pid_t pid = t_fork(), sender;

	if (pid == 0) {
		struct timespec ts = { 0, 200000 };

		for (;;) {
			if (nanosleep(&ts, NULL) != 0)
				broken(board, "nanosleep: %s", strerror(errno));
			board->laps++;
		}
	}
	sender = t_fork();
	if (sender == 0) {
		for (bool stops = true; !board->stop; stops = !stops) {
			kill(pid, stops ? SIGSTOP : SIGCONT);
			usleep((useconds_t)t_below(seed, 300));
		}
		_exit(0);
	}
	for (int i = 0; i < 400; i++)
		inject_ok(pid, board, NULL);
	board->stop = true;
	t_wait(sender);
	for (int i = 0; i < 50; i++) {
		unsigned long laps;

		T_SYS(kill(pid, SIGSTOP));
		inject_ok(pid, board, NULL);
		T_UNTIL(5, t_proc_state(pid) == 'T');
		laps = board->laps;
		T_SYS(kill(pid, SIGCONT));
		inject_ok(pid, board, NULL);
		T_UNTIL(5, board->laps > laps + 1);
	}
	printf("stops: %lu laps\n", board->laps);
	t_end(pid);
	board_free(board);
}

/* A caller that is killed while the target's registers are borrowed. */
static void caller_killed(void)
{
	for (int i = 0; i < 10; i++) {
		struct board *board = board_new();
		struct look before;
		unsigned long laps;
		pid_t pid = t_fork(), caller;

		if (pid == 0) {
			struct timespec ts = { 0, 1000000 };

			for (;;) {
				if (nanosleep(&ts, NULL) != 0)
					broken(board, "nanosleep: %s", strerror(errno));
				board->laps++;
			}
		}
		T_UNTIL(5, board->laps > 2);
		look_at(pid, &before);
		caller = t_fork();
		if (caller == 0) {
			setpgid(0, 0);
			setenv("UMEM_FAULTS", "inject.stopped-delay-us=100000", 1);
			inject_any(pid, 5 * SECOND, NULL, NULL);
			_exit(0);
		}
		T_UNTIL(5, tracer_of(pid) > 0 && t_proc_state(pid) == 't');
		t_msleep(5);
		T_CHECK(tracer_of(pid) > 0);
		/* The whole group, as a terminal or a supervisor would. */
		kill(-caller, SIGKILL);
		t_end(caller);
		T_CHECK(tracer_of(pid) > 0, "stopped no longer than the caller lived");
		laps = board->laps;
		T_UNTIL(5, tracer_of(pid) == 0);
		T_UNTIL(5, board->laps > laps + 2 || board->error[0]);
		T_CHECK(board->error[0] == '\0', "%s", board->error);
		T_UNTIL(5, looks_like(pid, &before));
		t_end(pid);
		board_free(board);
	}
	printf("callers: 10 killed in mid-stop\n");
}

static void *kill_later(void *arg)
{
	t_msleep(20);
	kill(*(pid_t *)arg, SIGKILL);
	return NULL;
}

/* A target that is killed in mid-stop. */
static void target_killed(void)
{
	setenv("UMEM_FAULTS", "inject.stopped-delay-us=60000", 1);
	for (int i = 0; i < 5; i++) {
		struct umem_note note = { 0 };
		pthread_t thread;
		pid_t pid = t_fork();

		if (pid == 0) {
			pause();
			_exit(0);
		}
		T_CHECK(pthread_create(&thread, NULL, kill_later, &pid) == 0);
		int r = inject_any(pid, 5 * SECOND, NULL, &note);

		T_CHECK(r == UMEM_GONE, "%d %s", r, note.text);
		pthread_join(thread, NULL);
		T_CHECK(WTERMSIG(t_wait(pid)) == SIGKILL);
	}
	unsetenv("UMEM_FAULTS");
}

#ifdef __x86_64__
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

/*
 * A restartable sequence that reads the mark twice with work in between. The
 * injected call writes the mark, in this thread: a sequence that is not
 * aborted must see the same value at both ends. Return: was it aborted?
 */
static bool sequence(struct rseq *rseq, const uint64_t *mark, uint64_t seen[2])
{
	uint64_t first, last;

	__asm__ volatile goto(
		".pushsection __rseq_cs, \"aw\"\n.balign 32\n"
		"3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
		"leaq 3b(%%rip), %%rax\nmovq %%rax, %[cs]\n"
		"1:\nmovq (%[mark]), %%rax\nmovl $4000, %%ecx\n"
		"5: decl %%ecx\njnz 5b\n"
		"movq (%[mark]), %%rdx\nmovq %%rax, (%[seen])\nmovq %%rdx, 8(%[seen])\n"
		"2:\n"
		".pushsection __rseq_failure, \"ax\"\n.byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\n"
		"4: jmp %l[aborted]\n.popsection\n"
		:
		: [cs] "m"(rseq->rseq_cs), [mark] "r"(mark), [seen] "r"(seen)
		: "rax", "rcx", "rdx", "memory", "cc"
		: aborted);
	first = seen[0];
	last = seen[1];
	if (first != last)
		broken(the_board, "a sequence went on over an injected call");
	return false;
aborted:
	return true;
}

static void restartable(void)
{
	struct board *board = board_new();
	struct umem_inject_step step = { .nr = SYS_clock_gettime, .arg0_from = -1, .else_of = -1,
		.args = { CLOCK_MONOTONIC, (uintptr_t)board->mark } };
	int pidfd;
	pid_t pid;

	if (!&__rseq_size || __rseq_size == 0) {
		printf("sequences: this C library registers none\n");
		return;
	}
	pid = t_fork();
	if (pid == 0) {
		struct rseq *rseq = (struct rseq *)((char *)__builtin_thread_pointer() +
			__rseq_offset);
		uint64_t seen[2];

		the_board = board;
		for (;;) {
			if (sequence(rseq, &board->mark[1], seen))
				board->aborts++;
			else
				board->laps++;
		}
	}
	T_UNTIL(5, board->laps > 100);
	T_OK(umem_pidfd_open(pid, &pidfd));
	for (int i = 0; i < 500 && !board->error[0]; i++) {
		struct umem_note note = { 0 };
		int r = umem_inject_run(pid, pidfd, &step, 1, 5 * SECOND, NULL, &note);

		T_CHECK(r == 0 || board->error[0], "%d %s", r, note.text);
	}
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	printf("sequences: %lu finished, %lu aborted\n", board->laps, board->aborts);
	T_CHECK(board->aborts > 100);
	close(pidfd);
	t_end(pid);
	board_free(board);
}
#endif

int main(int argc, char **argv)
{
	uint64_t seed;

	if (argc == 3 && strcmp(argv[1], "exec") == 0)
		return executed(argv[2]);
	seed = t_seed();
	exits(&seed);
	thread_churn();
	executes();
	queued_signals(false);
	queued_signals(true);
	stop_storm(&seed);
	caller_killed();
	target_killed();
#ifdef __x86_64__
	restartable();
#endif
	return 0;
}
