// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a child made by injection holds: the memory of the moment at which all
 * threads stood, of one or several processes; what it does not hold; what it costs.
 *
 * REPS sets the children of each kind.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "lib/kern/procmem.h"
#include "tests/kernel/fork-common.h"

#define PAGE      4096u
#define N_PAGES   256
#define MAX_LANES 4

/*
 * A lane is a row of pages. Its writer stores a counter to one page after the other:
 * at any moment c + 1 up to one page, c behind it.
 */
static volatile char *lanes[MAX_LANES];

static void *climb(void *arg)
{
	volatile char *lane = arg;

	for (uint64_t c = 1;; c++) {
		for (int i = 0; i < N_PAGES; i++)
			*(volatile uint64_t *)(lane + (size_t)i * PAGE) = c;
	}
	return NULL;
}

/* Threads that come and go beside the writers. */
static void *churn(void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 65536);
	usleep(200);
	while (pthread_create(&thread, &attr, churn, NULL) != 0)
		usleep(1000);
	return NULL;
}

static pid_t start(struct board *board, int n_lanes, bool churns)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		pthread_t thread;

		for (int i = 1; i < n_lanes; i++)
			pthread_create(&thread, NULL, climb, (void *)(uintptr_t)lanes[i]);
		if (churns)
			pthread_create(&thread, NULL, churn, NULL);
		board->ready = true;
		climb((void *)(uintptr_t)lanes[0]);
	}
	T_UNTIL(5, board->ready);
	return pid;
}

static void read_lane(const struct umem_fork_child *child, int lane, uint64_t counters[N_PAGES])
{
	for (int i = 0; i < N_PAGES; i++) {
		off_t at = (off_t)(uintptr_t)(lanes[lane] + (size_t)i * PAGE);

		T_CHECK(pread(child->mem_fd, &counters[i], 8, at) == 8, "%s", strerror(errno));
	}
}

static void check_lane(const uint64_t counters[N_PAGES])
{
	int i = 0;

	while (i < N_PAGES && counters[i] == counters[0])
		i++;
	while (i < N_PAGES && counters[i] == counters[0] - 1)
		i++;
	T_CHECK(i == N_PAGES, "page %d holds %lu, the first %lu", i, (unsigned long)counters[i],
		(unsigned long)counters[0]);
}

static void staircases(int n_lanes, bool churns, int reps, uint64_t *seed)
{
	static uint64_t once[MAX_LANES][N_PAGES], again[N_PAGES];
	struct board *board = board_new();
	uint64_t last = 0, moved = 0;
	pid_t pid;

	pid = start(board, n_lanes, churns);
	for (int i = 0; i < reps; i++) {
		struct forking f;

		usleep((useconds_t)t_below(seed, 3000));
		fork_ok(pid, board, &f);
		for (int lane = 0; lane < n_lanes && i % 4 == 0; lane++)
			read_lane(&f.child, lane, once[lane]);
		forked_go(&f);
		for (int lane = 0; lane < n_lanes; lane++) {
			read_lane(&f.child, lane, again);
			check_lane(again);
			if (i % 4 == 0)
				T_CHECK(memcmp(again, once[lane], sizeof(again)) == 0);
		}
		moved += again[0] != last;
		last = again[0];
		forked_end(&f);
	}
	T_CHECK(moved > (uint64_t)reps / 4);
	T_CHECK(count_children(pid) == 0);
	printf("%d lanes%s: %d children, each of one moment\n", n_lanes,
		churns ? ", threads come and go" : "", reps);
	t_end(pid);
	board_free(board);
}

/*
 * Two processes count each other up, and keep what they saw last in memory of their
 * own. At one moment neither is more than a step ahead.
 */
static volatile uint64_t *shared, *own;

static void follow(int who)
{
	for (;;) {
		uint64_t at = shared[1 - who];

		*own = at;
		shared[who] = at + 1;
	}
}

static void two_processes(int reps)
{
	struct umem_freeze *freeze;
	struct umem_fork *forks[2];
	struct umem_note note = { 0 };
	int pidfds[2];
	pid_t pids[2];

	for (int i = 0; i < 2; i++) {
		pids[i] = t_fork();
		if (pids[i] == 0)
			follow(i);
		T_OK(umem_pidfd_open(pids[i], &pidfds[i]));
	}
	T_OK(umem_freeze_new(&freeze));
	T_UNTIL(5, shared[0] > 100);
	for (int i = 0; i < reps; i++) {
		uint64_t copy[2], seen[2];
		int r = 0;

		usleep(1000);
		for (int j = 0; j < 2; j++)
			T_OK(umem_fork_new(pids[j], pidfds[j], &forks[j], &note));
		r = umem_fork_stop(forks, 2, freeze, 5 * SECOND, &note);
		T_CHECK(r == 0, "%d %s", r, note.text);
		for (int j = 0; j < 2; j++) {
			struct umem_fork_child child = umem_fork_child(forks[j]);

			seen[j] = shared[j];
			T_CHECK(pread(child.mem_fd, &copy[j], 8, (off_t)(uintptr_t)own) == 8);
		}
		for (int j = 0; j < 2; j++)
			T_OK(umem_fork_go(forks[j]));
		T_OK(umem_freeze_go(freeze, NULL));
		T_CHECK(copy[0] <= copy[1] + 2 && copy[1] <= copy[0] + 2, "%lu %lu", copy[0],
			copy[1]);
		for (int j = 0; j < 2; j++) {
			T_CHECK(copy[j] + 1 == seen[j] || copy[j] == seen[j] + 1,
				"%d: copy %lu, counter %lu", j, copy[j], seen[j]);
			umem_fork_free(forks[j]);
		}
	}
	umem_freeze_free(freeze);
	for (int i = 0; i < 2; i++) {
		T_CHECK(count_children(pids[i]) == 0);
		t_end(pids[i]);
		close(pidfds[i]);
	}
	printf("2 processes: %d times of one moment\n", reps);
}

static void rests(struct board *board)
{
	board->ready = true;
	for (;;)
		pause();
}

/* What the caller has to copy itself. */
static void not_in_it(void)
{
	struct board *board = board_new();
	char *kinds_of[4], byte = 0;
	struct forking f;
	pid_t pid;

	for (int i = 0; i < 4; i++) {
		kinds_of[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			(i == 3 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
		T_CHECK(kinds_of[i] != MAP_FAILED);
	}
	pid = t_fork();
	if (pid == 0) {
		for (int i = 0; i < 4; i++)
			kinds_of[i][0] = 7;
		madvise(kinds_of[1], PAGE, MADV_DONTFORK);
		madvise(kinds_of[2], PAGE, MADV_WIPEONFORK);
		rests(board);
	}
	T_UNTIL(5, board->ready);
	fork_ok(pid, board, &f);
	forked_go(&f);
	kinds_of[3][0] = 8;
	T_CHECK(pread(f.child.mem_fd, &byte, 1, (off_t)(uintptr_t)kinds_of[0]) == 1 && byte == 7);
	T_CHECK(pread(f.child.mem_fd, &byte, 1, (off_t)(uintptr_t)kinds_of[1]) <= 0);
	T_CHECK(pread(f.child.mem_fd, &byte, 1, (off_t)(uintptr_t)kinds_of[2]) == 1 && byte == 0);
	T_CHECK(pread(f.child.mem_fd, &byte, 1, (off_t)(uintptr_t)kinds_of[3]) == 1 && byte == 8);
	forked_end(&f);
	t_end(pid);
	for (int i = 0; i < 4; i++)
		munmap(kinds_of[i], PAGE);
	board_free(board);
}

static long status_kb(pid_t pid, const char *key)
{
	char path[64], line[256];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0)
			value = atol(line + strlen(key) + 1);
	}
	if (file)
		fclose(file);
	return value;
}

static void cost(size_t len, bool huge)
{
	struct board *board = board_new();
	struct umem_fork_report report;
	struct forking f;
	uint64_t end_ns;
	long tables_kb, more_kb;
	pid_t pid = t_fork();

	if (pid == 0) {
		char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			broken(board, "no memory");
		madvise(memory, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		for (size_t at = 0; at < len; at += PAGE)
			memory[at] = 1;
		rests(board);
	}
	T_UNTIL(30, board->ready || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	tables_kb = status_kb(pid, "VmPTE");
	fork_ok(pid, board, &f);
	more_kb = status_kb(f.child.pid, "VmPTE");
	forked_go(&f);
	report = umem_fork_report(f.fork);
	end_ns = t_now_ns();
	forked_end(&f);
	printf("%zu MiB in %s pages: clone %lu us, thread stood %lu us; page tables %ld kB, the "
		"child's %ld kB; its end %lu us\n", len >> 20, huge ? "huge" : "4K",
		report.clone_ns / 1000, report.stop_ns / 1000, tables_kb, more_kb,
		(t_now_ns() - end_ns) / 1000);
	t_end(pid);
	board_free(board);
}

/* The registers that are told of the thread that made the child are those from before. */
static void told_thread(void)
{
	struct board *board = board_new();
	const struct umem_frozen_thread *thread;
	struct forking f;
	pid_t pid = t_fork();

	if (pid == 0)
		rests(board);
	T_UNTIL(5, board->ready && t_proc_state(pid) == 'S');
	fork_ok(pid, board, &f);
	thread = umem_fork_thread(f.fork);
	T_CHECK(thread && thread->tid == pid && thread->n_notes >= 2);
	T_CHECK(thread->word_bytes == 8 && thread->notes[0].type == 1);
	forked_go(&f);
	forked_end(&f);
	t_end(pid);
	board_free(board);
}

int main(void)
{
	int reps = getenv("REPS") ? atoi(getenv("REPS")) : 50;
	uint64_t seed = t_seed();

	for (int i = 0; i < MAX_LANES; i++) {
		lanes[i] = mmap(NULL, (size_t)N_PAGES * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		T_CHECK(lanes[i] != MAP_FAILED);
		for (int j = 0; j < N_PAGES; j++)
			*(volatile uint64_t *)(lanes[i] + (size_t)j * PAGE) = 0;
	}
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_CHECK(shared != MAP_FAILED && own != MAP_FAILED);
	staircases(1, false, reps, &seed);
	staircases(4, false, reps, &seed);
	staircases(2, true, reps, &seed);
	two_processes(reps);
	not_in_it();
	told_thread();
	cost(1u << 30, false);
	cost(1u << 30, true);
	return 0;
}
