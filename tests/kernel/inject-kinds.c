// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection into every kind of waiting or working process.
 *
 * "inject-kinds KIND" runs one of them. REPS sets the injections of each.
 */
#include "tests/kernel/kinds.h"

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void run_kind(const struct kind *kind, size_t reps, uint64_t *seed)
{
	struct board *board = board_new();
	uint64_t *stop_ns = calloc(reps, sizeof(*stop_ns));
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
		struct umem_inject_report report;

		inject_ok(pid, board, &report);
		stop_ns[i] = report.stop_ns;
		/* A worker beside it is not the one that is stopped. */
		T_CHECK(board->tid == 0 || report.tid != board->tid);
		if (kind->poke && i % 2)
			kind->poke(board, pid);
		else
			usleep((useconds_t)t_below(seed, 6000));
		if (board->error[0] || t_proc_state(pid) == '-')
			T_FAIL("%s, injection %zu: %s", kind->name, i, board->error);
	}
	T_UNTIL(5, board->laps > laps);
	T_UNTIL(5, looks_like(pid, &before) || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s: %s", kind->name, board->error);
	qsort(stop_ns, reps, sizeof(*stop_ns), by_value);
	printf("%-14s %4zu injections, stopped for %4lu us (median) %5lu us (worst), laps %lu",
		kind->name, reps, stop_ns[reps / 2] / 1000, stop_ns[reps - 1] / 1000, board->laps);
	if (board->tid)
		printf(", longest pause beside it %lu us", board->gap_ns / 1000);
	printf("\n");
	fflush(stdout);
	t_end(pid);
	free(stop_ns);
	board_free(board);
}

int main(int argc, char **argv)
{
	const char *reps = getenv("REPS");
	uint64_t seed = t_seed();

	for (size_t i = 0; i < n_kinds; i++) {
		if (argc < 2 || strcmp(argv[1], kinds[i].name) == 0)
			run_kind(&kinds[i], reps ? strtoul(reps, NULL, 10) : 300, &seed);
	}
	return 0;
}
