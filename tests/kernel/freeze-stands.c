// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * All threads of a frozen process stand: memory that they keep writing to does not
 * change while it is held, and is of one moment. How long stops take.
 *
 * REPS sets the stops of each kind.
 */
#include <pthread.h>
#include <sys/uio.h>

#include "tests/kernel/freeze-common.h"

#define MAX_WRITERS 8
#define STEPS       64

/* A busy machine makes fewer stops of each kind. */
#define LONG_NS (12 * SECOND)

/*
 * What a writer keeps up: a counter, stored to one step after the other. At any
 * moment the steps hold c + 1 up to one of them, and c behind it.
 */
struct stair {
	volatile uint64_t step[STEPS];
	volatile uint64_t from;
};

static struct stair stairs[MAX_WRITERS];

static void *climb(void *arg)
{
	struct stair *stair = arg;

	for (uint64_t c = 1;; c++) {
		for (int i = 0; i < STEPS; i++)
			stair->step[i] = c;
	}
	return NULL;
}

static void *sleep_long(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void target(struct board *board, int n_writers, int n_sleepers)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 1; i < n_writers; i++)
		pthread_create(&thread, &attr, climb, &stairs[i]);
	for (int i = 0; i < n_sleepers; i++)
		pthread_create(&thread, &attr, sleep_long, NULL);
	board->ready = true;
	if (n_writers > 0)
		climb(&stairs[0]);
	sleep_long(NULL);
}

static void read_stairs(pid_t pid, struct stair *into, size_t len)
{
	struct iovec local = { into, len }, remote = { stairs, len };

	T_CHECK(process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)len);
}

static void check_stair(const struct stair *stair)
{
	uint64_t first = stair->step[0];
	int i = 0;

	while (i < STEPS && stair->step[i] == first)
		i++;
	while (i < STEPS && stair->step[i] == first - 1)
		i++;
	T_CHECK(i == STEPS, "step %d holds %lu, the first %lu", i,
		(unsigned long)stair->step[i], (unsigned long)first);
}

static void run(int n_writers, int n_sleepers, size_t reps, uint64_t *seed)
{
	static struct stair once[MAX_WRITERS], again[MAX_WRITERS], before[MAX_WRITERS];
	size_t len = sizeof(stairs[0]) * (size_t)n_writers, moved = 0;
	struct board *board = board_new();
	uint64_t *stop_ns = calloc(reps, sizeof(*stop_ns)), *held_ns = calloc(reps, 8);
	struct umem_freeze *freeze;
	struct umem_freeze_count count;
	uint64_t end_ns = t_now_ns() + LONG_NS;
	size_t done = 0;
	pid_t pid = t_fork();

	if (pid == 0)
		target(board, n_writers, n_sleepers);
	T_UNTIL(5, board->ready);
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps && (i < 20 || t_now_ns() < end_ns); i++) {
		usleep((useconds_t)t_below(seed, 2000));
		stop_ns[i] = freeze_ok(freeze, pid, board);
		umem_freeze_count(freeze, 0, &count);
		T_CHECK(count.n_stopped == (size_t)(n_sleepers + (n_writers > 0 ? n_writers : 1)),
			"%zu", count.n_stopped);
		if (n_writers > 0) {
			read_stairs(pid, once, len);
			if (i % 10 == 0)
				usleep(3000);
			read_stairs(pid, again, len);
			T_CHECK(memcmp(once, again, len) == 0, "a thread ran in the stop");
			moved += memcmp(once, before, len) != 0;
			memcpy(before, once, len);
			for (int w = 0; w < n_writers; w++)
				check_stair(&once[w]);
		}
		T_OK(umem_freeze_go(freeze, &held_ns[i]));
		done++;
	}
	T_CHECK(n_writers == 0 || moved > done / 2, "the writers do not run between stops");
	qsort(stop_ns, done, sizeof(*stop_ns), freeze_by_value);
	qsort(held_ns, done, sizeof(*held_ns), freeze_by_value);
	printf("%d writers, %2d sleepers: %zu stops, all stand after %4lu us (median) %5lu us "
		"(worst), held for %4lu us at least\n", n_writers, n_sleepers, done,
		stop_ns[done / 2] / 1000, stop_ns[done - 1] / 1000, held_ns[0] / 1000);
	T_CHECK(umem_freeze_free(freeze) == NULL);
	T_CHECK(tracer_of(pid) == 0);
	t_end(pid);
	free(stop_ns);
	free(held_ns);
	board_free(board);
}

int main(void)
{
	size_t reps = getenv("REPS") ? strtoul(getenv("REPS"), NULL, 10) : 200;
	uint64_t seed = t_seed();

	run(0, 0, reps, &seed);
	run(1, 0, reps, &seed);
	run(2, 3, reps, &seed);
	run(8, 0, reps, &seed);
	run(0, 63, reps, &seed);
	run(2, 500, reps / 4, &seed);
	return 0;
}
