// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A child made in every kind of waiting or working process: each checks itself
 * that it notices nothing, and has no child left.
 *
 * "fork-kinds KIND" runs one of them. REPS sets the children of each.
 */
#include "tests/kernel/fork-common.h"
#include "tests/kernel/kinds.h"

static void run_kind(const struct kind *kind, size_t reps, uint64_t *seed)
{
	struct board *board = board_new();
	struct forking forking;
	struct look before;
	unsigned long laps;
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
		fork_ok(pid, board, &forking);
		T_CHECK(t_proc_state(forking.child.pid) == 't');
		forked_go(&forking);
		if (kind->poke && i % 2)
			kind->poke(board, pid);
		else
			usleep((useconds_t)t_below(seed, 6000));
		T_UNTIL(5, t_proc_state(forking.child.pid) == 't');
		forked_end(&forking);
		T_CHECK(count_children(pid) == 0);
		if (board->error[0] || t_proc_state(pid) == '-')
			T_FAIL("%s, child %zu: %s", kind->name, i, board->error);
	}
	/* A wait that began anew each time would not have ended once. */
	T_CHECK(kind->poke || board->laps > laps || strcmp(kind->name, "epoll-timeout") == 0);
	T_UNTIL(5, board->laps > laps);
	T_UNTIL(5, looks_like(pid, &before) || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s: %s", kind->name, board->error);
	printf("%-14s %4zu children, laps %lu\n", kind->name, reps, board->laps);
	fflush(stdout);
	t_end(pid);
	board_free(board);
}

int main(int argc, char **argv)
{
	const char *reps = getenv("REPS");
	uint64_t seed = t_seed();

	kinds_late_ns = 4 * SECOND;
	for (size_t i = 0; i < n_kinds; i++) {
		if (argc < 2 || strcmp(argv[1], kinds[i].name) == 0)
			run_kind(&kinds[i], reps ? strtoul(reps, NULL, 10) : 60, &seed);
	}
	return 0;
}
