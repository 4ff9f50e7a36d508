// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freezing every kind of waiting or working process: each checks itself that it
 * notices nothing.
 *
 * "freeze-kinds KIND" runs one of them. REPS sets the stops of each.
 */
#include "tests/kernel/freeze-common.h"
#include "tests/kernel/kinds.h"

static void run_kind(const struct kind *kind, size_t reps, uint64_t *seed)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
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
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps; i++) {
		unsigned long then;

		freeze_ok(freeze, pid, board);
		then = board->laps;
		usleep((useconds_t)t_below(seed, 300));
		T_CHECK(board->laps == then, "it ran in the stop");
		T_OK(umem_freeze_go(freeze, NULL));
		if (kind->poke && i % 2)
			kind->poke(board, pid);
		else
			usleep((useconds_t)t_below(seed, 6000));
		if (board->error[0] || t_proc_state(pid) == '-')
			T_FAIL("%s, stop %zu: %s", kind->name, i, board->error);
	}
	/* A wait that began anew each time would not have ended once. */
	T_CHECK(kind->poke || board->laps > laps || strcmp(kind->name, "epoll-timeout") == 0);
	T_UNTIL(5, board->laps > laps);
	T_UNTIL(5, looks_like(pid, &before) || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s: %s", kind->name, board->error);
	printf("%-14s %4zu stops, laps %lu\n", kind->name, reps, board->laps);
	fflush(stdout);
	umem_freeze_free(freeze);
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
			run_kind(&kinds[i], reps ? strtoul(reps, NULL, 10) : 200, &seed);
	}
	return 0;
}
