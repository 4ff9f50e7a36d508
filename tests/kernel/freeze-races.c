// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freezing processes whose threads come and go in a storm, which execute, are killed,
 * are stopped and continued at that very moment.
 *
 * REPS sets the stops of each kind.
 */
#include <pthread.h>
#include <signal.h>

#include "tests/kernel/freeze-common.h"

static size_t reps = 200;

/* What all threads of a storm add to: none may do so in a stop. */
static atomic_ulong *storm;

static void *live_shortly(void *arg)
{
	for (int i = 0; i < 300; i++)
		(*storm)++;
	return NULL;
}

static void *live_on(void *arg);

static void breed(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 65536);
	while (pthread_create(&thread, &attr, live_on, NULL) != 0)
		usleep(500);
	pthread_attr_destroy(&attr);
}

/* A thread that ends when it has made the next one: a chain that is hard to catch. */
static void *live_on(void *arg)
{
	live_shortly(NULL);
	breed();
	return NULL;
}

static void in_storm(struct board *board, int n_chains)
{
	storm = &board->laps;
	for (int i = 0; i < n_chains; i++)
		breed();
	board->ready = true;
	for (;;) {
		pthread_t thread[4];

		for (int i = 0; i < 4; i++) {
			if (pthread_create(&thread[i], NULL, live_shortly, NULL) != 0)
				broken(board, "pthread_create: %s", strerror(errno));
		}
		for (int i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		board->signals++;
	}
}

static void threads(int n_chains, uint64_t *seed)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	uint64_t *stop_ns = calloc(reps, sizeof(*stop_ns));
	size_t n_most = 0;
	unsigned long rounds;
	pid_t pid = t_fork();

	if (pid == 0)
		in_storm(board, n_chains);
	T_UNTIL(5, board->ready);
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps; i++) {
		struct umem_freeze_count count;
		unsigned long laps;

		usleep((useconds_t)t_below(seed, 1000));
		stop_ns[i] = freeze_ok(freeze, pid, board);
		laps = board->laps;
		umem_freeze_count(freeze, 0, &count);
		n_most = count.n_stopped > n_most ? count.n_stopped : n_most;
		usleep((useconds_t)t_below(seed, 500));
		T_CHECK(board->laps == laps, "a thread ran in the stop %zu", i);
		go_ok(freeze);
	}
	rounds = board->signals;
	T_UNTIL(5, board->signals > rounds || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	T_CHECK(tracer_of(pid) == 0);
	qsort(stop_ns, reps, sizeof(*stop_ns), freeze_by_value);
	printf("threads in %d chains: %zu stops, stand after %lu us (median) %lu us (worst), up to "
		"%zu threads\n", n_chains, reps, stop_ns[reps / 2] / 1000,
		stop_ns[reps - 1] / 1000, n_most);
	fflush(stdout);
	umem_freeze_free(freeze);
	t_end(pid);
	free(stop_ns);
	board_free(board);
}

/* 0 and UMEM_GONE are fine, and it does not take long. */
static int freeze_racing(struct umem_freeze *freeze, pid_t pid)
{
	struct umem_note note = { 0 };
	uint64_t begin_ns = t_now_ns();
	int r = freeze_any(freeze, pid, 15 * SECOND, NULL, &note);

	T_CHECK(r == 0 || r == UMEM_GONE, "%d %s", r, note.text);
	T_CHECK(t_now_ns() - begin_ns < 10 * SECOND, "%lu ms",
		(t_now_ns() - begin_ns) / 1000000);
	return r;
}

static void *idle(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void *busy(void *arg)
{
	for (;;)
		;
	return NULL;
}

/* Executes itself again and again, with threads that have to end for it. */
static void *execute(void *arg)
{
	char *argv[] = { (char *)(uintptr_t)"freeze-races", (char *)(uintptr_t)"exec", arg,
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
	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, i ? idle : busy, NULL);
	if (n % 2)
		execute(next);
	pthread_create(&thread, NULL, execute, next);
	for (;;)
		pause();
}

static void executes(void)
{
	unsigned n_done = 0, n_gone = 0;
	struct umem_freeze *freeze;

	T_OK(umem_freeze_new(&freeze));
	for (int i = 0; i < 6; i++) {
		char left[] = "60";
		pid_t pid = t_fork();

		if (pid == 0)
			execute(left);
		while (t_proc_state(pid) != 'Z') {
			if (freeze_racing(freeze, pid) == 0)
				n_done++;
			else
				n_gone++;
			go_ok(freeze);
		}
		T_CHECK(WEXITSTATUS(t_wait(pid)) == 42);
	}
	umem_freeze_free(freeze);
	printf("executes: %u stood, %u gone\n", n_done, n_gone);
}

static void *execute_when_told(void *arg)
{
	struct board *board = arg;
	char left[] = "0";

	while (!board->stop)
		;
	return execute(left);
}

/*
 * An exec waits for the end of threads that we trace, and we wait for the exec to
 * trace one more: this needs a way out.
 */
static void embrace(void)
{
	struct umem_freeze *freeze;
	unsigned n_gone = 0;

	T_OK(umem_freeze_new(&freeze));
	setenv("UMEM_FAULTS", "freeze.seize-delay-us=4000", 1);
	for (int i = 0; i < 20; i++) {
		struct board *board = board_new();
		pid_t pid = t_fork();

		if (pid == 0) {
			pthread_t thread;

			for (int j = 0; j < 6; j++)
				pthread_create(&thread, NULL, j == 5 ? execute_when_told : idle,
					board);
			board->ready = true;
			pause();
		}
		T_UNTIL(5, board->ready);
		if (fork() == 0) {
			usleep(6000 + (useconds_t)i * 1000);
			board->stop = true;
			_exit(0);
		}
		n_gone += freeze_racing(freeze, pid) == UMEM_GONE;
		go_ok(freeze);
		T_CHECK(WEXITSTATUS(t_wait(pid)) == 42);
		wait(NULL);
		board_free(board);
	}
	unsetenv("UMEM_FAULTS");
	umem_freeze_free(freeze);
	printf("executes while it is seized: %u of 20 gone\n", n_gone);
}

/* Exits by itself, or by SIGKILL, at any moment: its own parent sees the right status. */
static void ends(bool killed, uint64_t *seed)
{
	unsigned n_done = 0;
	struct umem_freeze *freeze;

	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps; i++) {
		uint64_t life_ns = t_below(seed, 1500000);
		int status;
		pid_t pid = t_fork();

		if (pid == 0) {
			pthread_t thread;

			pthread_create(&thread, NULL, idle, NULL);
			pthread_create(&thread, NULL, busy, NULL);
			for (uint64_t end_ns = t_now_ns() + life_ns; t_now_ns() < end_ns || killed;)
				;
			_exit(7);
		}
		if (killed && i % 2) {
			pid_t killer = t_fork();

			if (killer == 0) {
				usleep((useconds_t)(life_ns / 1000));
				kill(pid, SIGKILL);
				_exit(0);
			}
			n_done += freeze_racing(freeze, pid) == 0;
			t_wait(killer);
		} else {
			n_done += freeze_racing(freeze, pid) == 0;
		}
		if (killed)
			kill(pid, SIGKILL);
		/* It is dead and held: its end is not told before it is let go. */
		umem_freeze_go(freeze, NULL);
		status = t_wait(pid);
		T_CHECK(killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL :
			WIFEXITED(status) && WEXITSTATUS(status) == 7, "%x", status);
	}
	umem_freeze_free(freeze);
	printf("%s: %u of %zu stood before\n", killed ? "killed" : "exits", n_done, reps);
}

/* The parent that must hear of the end is another process, not the tracer's. */
static void end_is_told(uint64_t *seed)
{
	struct umem_freeze *freeze;

	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps / 4; i++) {
		struct board *board = board_new();
		pid_t parent = t_fork();

		if (parent == 0) {
			pid_t pid = fork();
			int status;

			if (pid == 0) {
				pthread_t thread;

				pthread_create(&thread, NULL, busy, NULL);
				board->tid = getpid();
				usleep((useconds_t)t_below(seed, 1000));
				_exit(7);
			}
			_exit(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7 ? 0 : 1);
		}
		T_UNTIL(5, board->tid != 0);
		freeze_racing(freeze, board->tid);
		go_ok(freeze);
		T_CHECK(t_wait(parent) == 0);
		board_free(board);
	}
	umem_freeze_free(freeze);
}

/* Leaders that end and leave their threads: nothing of ours is left on them. */
static void *outlive(void *arg)
{
	struct board *board = arg;

	board->ready = true;
	while (!board->stop)
		usleep(500);
	_exit(5);
}

static void leaders_end(uint64_t *seed)
{
	struct umem_freeze *freeze;

	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps / 4; i++) {
		struct board *board = board_new();
		uint64_t life_us = t_below(seed, 400);
		pid_t pid = t_fork();

		if (pid == 0) {
			pthread_t thread;

			pthread_create(&thread, NULL, outlive, board);
			while (!board->ready)
				;
			for (uint64_t end_ns = t_now_ns() + life_us * 1000; t_now_ns() < end_ns;)
				;
			pthread_exit(NULL);
		}
		T_UNTIL(5, board->ready);
		freeze_ok(freeze, pid, board);
		go_ok(freeze);
		board->stop = true;
		/* Held by nobody, it ends, and its parent hears of it. */
		T_CHECK(WEXITSTATUS(t_wait(pid)) == 5);
		board_free(board);
	}
	umem_freeze_free(freeze);
}

/* What was sent last is what holds afterwards. */
static void stop_storm(uint64_t *seed)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	pid_t pid = t_fork(), sender;

	if (pid == 0) {
		struct timespec ts = { 0, 200000 };
		pthread_t thread;

		pthread_create(&thread, NULL, busy, NULL);
		pthread_create(&thread, NULL, idle, NULL);
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
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps; i++) {
		unsigned long laps;

		freeze_ok(freeze, pid, board);
		laps = board->laps;
		usleep(200);
		T_CHECK(board->laps == laps);
		go_ok(freeze);
	}
	board->stop = true;
	t_wait(sender);
	for (size_t i = 0; i < 30; i++) {
		unsigned long laps;

		T_SYS(kill(pid, SIGSTOP));
		freeze_ok(freeze, pid, board);
		go_ok(freeze);
		T_UNTIL(5, t_proc_state(pid) == 'T');
		laps = board->laps;
		T_SYS(kill(pid, SIGCONT));
		freeze_ok(freeze, pid, board);
		go_ok(freeze);
		T_UNTIL(5, board->laps > laps + 1);
	}
	printf("stops: %lu laps\n", board->laps);
	umem_freeze_free(freeze);
	t_end(pid);
	board_free(board);
}

int main(int argc, char **argv)
{
	uint64_t seed;

	if (argc == 3 && strcmp(argv[1], "exec") == 0)
		return executed(argv[2]);
	seed = t_seed();
	if (getenv("REPS"))
		reps = strtoul(getenv("REPS"), NULL, 10);
	threads(0, &seed);
	threads(3, &seed);
	executes();
	embrace();
	ends(false, &seed);
	ends(true, &seed);
	end_is_told(&seed);
	leaders_end(&seed);
	stop_storm(&seed);
	return 0;
}
