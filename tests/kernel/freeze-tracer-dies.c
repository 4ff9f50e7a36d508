// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The caller, or its helper, is killed while a process is frozen, or about to be: all
 * threads run on, as exactly as if they had been let go. One thing is not exact, and
 * left out here: death in the microseconds between the stop of a thread and the look
 * at it, when the thread is in a call that says EINTR to any disturbance.
 *
 * "freeze-tracer-dies KIND" runs one kind. REPS sets the deaths of each.
 */
#include <signal.h>

#include "tests/kernel/freeze-common.h"
#include "tests/kernel/kinds.h"

static size_t reps = 24;

/* A caller that says when it holds the target, and waits to be killed. */
static pid_t hold(pid_t pid, struct board *held)
{
	pid_t caller = t_fork();

	if (caller == 0) {
		struct umem_freeze *freeze;
		struct umem_note note = { 0 };

		setpgid(0, 0);
		T_OK(umem_freeze_new(&freeze));
		if (freeze_any(freeze, pid, 5 * SECOND, NULL, &note) != 0)
			broken(held, "freeze: %s", note.text);
		held->ready = true;
		/* What is held by a dead helper is not held. */
		while (!held->stop)
			usleep(100);
		_exit(umem_freeze_go(freeze, NULL) == UMEM_AGAIN ? 0 : 1);
	}
	return caller;
}

static void kill_caller(pid_t caller)
{
	/* The whole group, as a terminal or a supervisor would. */
	kill(-caller, SIGKILL);
	t_end(caller);
}

/* The tracer of any thread, or 0: a leader that ended has none. */
static pid_t tracer_of_any(pid_t pid)
{
	struct look now;
	pid_t tracer = 0;

	look_at(pid, &now);
	for (const char *at = now.status; (at = strstr(at, "TracerPid:")) && tracer == 0;) {
		at += strlen("TracerPid:");
		tracer = (pid_t)atol(at);
	}
	return tracer;
}

/* In a call that says EINTR? */
static bool is_touchy(const struct kind *kind)
{
	return strncmp(kind->name, "epoll", 5) == 0 || strcmp(kind->name, "sigwait") == 0;
}

static void run_kind(const struct kind *kind, uint64_t *seed)
{
	struct board *board = board_new();
	struct look before;
	unsigned long laps;
	uint64_t longest_ns = 0;
	pid_t pid = t_fork();

	if (pid == 0) {
		board->ready = !kind->sets_ready;
		kind->run(board);
		broken(board, "ended");
	}
	T_UNTIL(5, board->ready);
	t_msleep(30); /* into the wait, with its masks and threads set */
	look_at(pid, &before);
	laps = board->laps;
	for (size_t i = 0; i < reps; i++) {
		struct board *held = board_new();
		pid_t caller = hold(pid, held), tracer;
		uint64_t begin_ns;

		if (i % 3 == 0 && !is_touchy(kind)) {
			/* At any moment. */
			usleep((useconds_t)t_below(seed, 1500));
			begin_ns = t_now_ns();
			kill_caller(caller);
		} else {
			T_UNTIL(20, held->ready || held->error[0]);
			T_CHECK(held->error[0] == '\0', "%s", held->error);
			tracer = tracer_of_any(pid);
			T_CHECK(tracer > 0 && tracer != caller);
			begin_ns = t_now_ns();
			if (i % 3 != 2) {
				kill_caller(caller);
			} else {
				T_SYS(kill(tracer, SIGKILL));
				T_UNTIL(5, tracer_of_any(pid) == 0);
				held->stop = true;
				T_CHECK(t_wait(caller) == 0, "the caller did not notice");
			}
		}
		T_UNTIL(5, tracer_of_any(pid) == 0);
		if (t_now_ns() - begin_ns > longest_ns)
			longest_ns = t_now_ns() - begin_ns;
		if (kind->poke && i % 2)
			kind->poke(board, pid);
		if (board->error[0] || t_proc_state(pid) == '-')
			T_FAIL("%s, death %zu: %s", kind->name, i, board->error);
		board_free(held);
	}
	T_UNTIL(5, board->laps > laps || board->error[0]);
	T_UNTIL(5, looks_like(pid, &before) || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s: %s", kind->name, board->error);
	printf("%-14s %4zu deaths, let go within %lu ms, laps %lu\n", kind->name, reps,
		longest_ns / 1000000, board->laps);
	fflush(stdout);
	t_end(pid);
	board_free(board);
}

static struct board *the_board;

static void on_queued(int signo, siginfo_t *info, void *context)
{
	if (info->si_value.sival_int != (int)the_board->signals)
		broken(the_board, "signal %d came as number %lu", info->si_value.sival_int,
			the_board->signals);
	the_board->signals++;
}

/* Signals that are being delivered just when the tracer dies are delivered all the same. */
static void signals_survive(uint64_t *seed)
{
	struct board *board = board_new();
	int n_sent = 0;
	pid_t pid = t_fork(), sender;

	if (pid == 0) {
		struct sigaction action = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };

		the_board = board;
		sigaction(SIGRTMIN, &action, NULL);
		board->ready = true;
		for (;;)
			;
	}
	T_UNTIL(5, board->ready);
	sender = t_fork();
	if (sender == 0) {
		while (!board->stop) {
			if (sigqueue(pid, SIGRTMIN, (union sigval){ .sival_int = n_sent }) == 0)
				n_sent++;
			usleep(20);
		}
		_exit(n_sent % 251);
	}
	for (size_t i = 0; i < reps * 5; i++) {
		struct board *held = board_new();
		pid_t caller = hold(pid, held);

		T_UNTIL(20, held->ready || held->error[0]);
		T_CHECK(held->error[0] == '\0', "%s", held->error);
		usleep((useconds_t)t_below(seed, 500));
		kill_caller(caller);
		T_UNTIL(5, tracer_of_any(pid) == 0);
		T_CHECK(board->error[0] == '\0', "%s", board->error);
		board_free(held);
	}
	board->stop = true;
	n_sent = WEXITSTATUS(t_wait(sender));
	T_UNTIL(5, board->signals % 251 == (unsigned long)n_sent || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	printf("signals: %lu, all in order\n", board->signals);
	t_end(pid);
	board_free(board);
}

int main(int argc, char **argv)
{
	uint64_t seed = t_seed();

	if (getenv("REPS"))
		reps = strtoul(getenv("REPS"), NULL, 10);
	kinds_late_ns = 4 * SECOND;
	for (size_t i = 0; i < n_kinds; i++) {
		if (argc < 2 || strcmp(argv[1], kinds[i].name) == 0)
			run_kind(&kinds[i], &seed);
	}
	signals_survive(&seed);
	return 0;
}
