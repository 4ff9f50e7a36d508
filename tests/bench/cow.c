// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copy before write: what a faulting write waits, how long the moment takes, and
 * what page tables grow by.
 *
 *     fault   a write that faults under a snapshot, beside one under the least that
 *             a handler can do (poll, read, unprotect), both on the processor of
 *             the writer, in turns, in the same process
 *     moment  with a writer of 16 MiB, at three sizes of memory
 *     tables  of 1 GiB, before and within a snapshot
 *
 * arguments: [fault] [moment] [tables]; all without
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/uffd.h"
#include "lib/track/cow.h"
#include "tests/bench/bench.h"

#define HOT_BYTES (16ull << 20)
#define FAULTS 2048
#define MAX_WRITERS 8

/* What the target and we see. */
struct board {
	_Atomic int go;
	_Atomic int done;
	_Atomic int ready;
	uint32_t ns[MAX_WRITERS][FAULTS];
};

struct writer {
	struct board *board;
	uint8_t *at;
	unsigned i, n_writers;
	bool pinned;
};

static struct board *board;

/* Pages of a writer in an order that nobody guesses; a page apart from each other at least. */
static uint64_t page_of(unsigned writer, uint64_t k)
{
	return ((uint64_t)writer * FAULTS + k * 1021 % FAULTS) * 3;
}

static void *write_pages(void *arg)
{
	struct writer *w = arg;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (w->pinned)
		T_SYS(sched_setaffinity(0, sizeof(one), &one));
	for (int round = 1;; round++) {
		while (atomic_load(&w->board->go) < round)
			usleep(1000);
		for (uint64_t k = 0; k < FAULTS; k++) {
			volatile uint8_t *p = w->at + page_of(w->i, k) * B_PAGE;
			uint64_t start_ns = b_now_ns();

			*p = (uint8_t)(*p + 1);
			w->board->ns[w->i][k] = (uint32_t)(b_now_ns() - start_ns);
		}
		atomic_fetch_add(&w->board->done, 1);
	}
	return NULL;
}

/* A target with @n_writers that write on command. */
static pid_t start_writers(unsigned n_writers, bool pinned, uint64_t *ret_at, uint64_t *ret_len)
{
	uint64_t len = (uint64_t)n_writers * FAULTS * 3 * B_PAGE;
	uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	T_CHECK(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	memset(board, 0, sizeof(*board));
	pid = t_fork();
	if (pid == 0) {
		memset(at, 1, len);
		for (unsigned i = 0; i < n_writers; i++) {
			struct writer *w = malloc(sizeof(*w));
			pthread_t thread;

			*w = (struct writer){ board, at, i, n_writers, pinned };
			T_OK(pthread_create(&thread, NULL, write_pages, w));
		}
		atomic_store(&board->ready, 1);
		for (;;)
			pause();
	}
	munmap(at, len);
	T_UNTIL(60, atomic_load(&board->ready));
	*ret_at = (uintptr_t)at;
	*ret_len = len;
	return pid;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void quantiles(unsigned n_writers, uint32_t *ret_p50, uint32_t *ret_p99)
{
	static uint32_t all[MAX_WRITERS * FAULTS];
	size_t n = (size_t)n_writers * FAULTS;

	memcpy(all, board->ns, n * sizeof(all[0]));
	qsort(all, n, sizeof(all[0]), by_value);
	*ret_p50 = all[n / 2];
	*ret_p99 = all[n * 99 / 100];
}

static uint64_t run_round(int round, unsigned n_writers)
{
	uint64_t start_ns = b_now_ns();

	atomic_store(&board->done, 0);
	atomic_store(&board->go, round);
	T_UNTIL(60, atomic_load(&board->done) == (int)n_writers);
	return b_now_ns() - start_ns;
}

/* The least that a handler can do. */
static _Atomic bool bare_ends;

static void *serve_bare(void *arg)
{
	struct pollfd pfd = { .fd = *(int *)arg, .events = POLLIN };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	T_SYS(sched_setaffinity(0, sizeof(one), &one));
	while (!atomic_load(&bare_ends)) {
		struct uffd_msg msg;
		uint64_t page;

		if (poll(&pfd, 1, 20) != 1 || read(pfd.fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		page = msg.arg.pagefault.address & ~(B_PAGE - 1);
		T_OK(umem_uffd_protect(pfd.fd, page, page + B_PAGE, false));
	}
	return NULL;
}

static int fetch(struct umem_target *target)
{
	struct umem_note note = { 0 };
	uint64_t stop_ns;
	int uffd = -1;
	int r = umem_target_fetch_sync(target, 20000000000ull, &uffd, &stop_ns, &note);

	if (r == -ENOTTY || r == -ENOSYS || r == -EPERM)
		T_SKIP("%s", note.text);
	T_CHECK(r == 0, "%s", note.text);
	return uffd;
}

static void stop(pid_t pid, bool on)
{
	/* One signal for all threads is enough here: their exact state does not matter. */
	T_SYS(kill(pid, on ? SIGSTOP : SIGCONT));
	while (on && t_proc_state(pid) != 'T')
		usleep(100);
}

static void run_bare(struct umem_target *target, uint64_t at, uint64_t len, int round)
{
	int uffd = fetch(target);
	pthread_t thread;

	atomic_store(&bare_ends, false);
	T_OK(umem_uffd_register(uffd, at, at + len, UFFDIO_REGISTER_MODE_WP));
	T_OK(pthread_create(&thread, NULL, serve_bare, &uffd));
	T_OK(umem_uffd_protect(uffd, at, at + len, true));
	run_round(round, 1);
	atomic_store(&bare_ends, true);
	pthread_join(thread, NULL);
	umem_fd_close(uffd);
}

static struct umem_cow *begin(struct umem_target *target, pid_t pid, uint64_t at, uint64_t len,
	enum umem_cow_place place, bool hot)
{
	struct umem_range one = { at, at + len };
	struct umem_ranges which = { .v = &one, .n = 1 };
	struct umem_cow_member member = { target, fetch(target), &which };
	struct umem_cow_options options = { .place = place, .staging_bytes = 256ull << 20,
		.hot_ns = hot ? 0 : UMEM_COW_HOT_NEVER };
	struct umem_note note = { 0 };
	struct umem_cow *cow;
	int r = umem_cow_new(&member, 1, &options, &cow, &note);

	T_CHECK(r == 0, "%s", note.text);
	r = umem_cow_prepare(cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	stop(pid, true);
	r = umem_cow_moment(cow, &note);
	stop(pid, false);
	T_CHECK(r == 0, "%s", note.text);
	return cow;
}

static struct umem_target *open_target(pid_t pid)
{
	struct umem_note note = { 0 };
	struct umem_target *target;
	int r = umem_target_open(pid, NULL, &target, &note);

	T_CHECK(r == 0, "%s", note.text);
	return target;
}

static void bench_fault(void)
{
	uint64_t bare50[B_RUNS], cow50[B_RUNS], bare99[B_RUNS], cow99[B_RUNS], at, len;
	pid_t pid = start_writers(1, true, &at, &len);
	struct umem_target *target = open_target(pid);
	uint32_t p50, p99;
	int round = 0;

	for (int i = 0; i < B_RUNS; i++) {
		struct umem_cow_stats stats;
		struct umem_cow *cow;

		run_bare(target, at, len, ++round);
		quantiles(1, &p50, &p99);
		bare50[i] = p50;
		bare99[i] = p99;
		cow = begin(target, pid, at, len, UMEM_COW_PLACE_AUTO, false);
		run_round(++round, 1);
		quantiles(1, &p50, &p99);
		cow50[i] = p50;
		cow99[i] = p99;
		umem_cow_stats(cow, &stats);
		T_CHECK(stats.n_staged == FAULTS, "%llu", (unsigned long long)stats.n_staged);
		umem_cow_free(cow);
	}
	printf("fault, 1 writer: bare p50 %.1f p99 %.1f us; snapshot p50 %.1f p99 %.1f us: %.2f\n",
		(double)b_median(bare50, B_RUNS) / 1e3, (double)b_median(bare99, B_RUNS) / 1e3,
		(double)b_median(cow50, B_RUNS) / 1e3, (double)b_median(cow99, B_RUNS) / 1e3,
		(double)b_median(cow50, B_RUNS) / (double)b_median(bare50, B_RUNS));
	b_json("cow-fault", "\"writers\":1,\"bare_p50_ns\":%llu,\"cow_p50_ns\":%llu,"
		"\"bare_p99_ns\":%llu,\"cow_p99_ns\":%llu",
		(unsigned long long)b_median(bare50, B_RUNS),
		(unsigned long long)b_median(cow50, B_RUNS),
		(unsigned long long)b_median(bare99, B_RUNS),
		(unsigned long long)b_median(cow99, B_RUNS));
	umem_target_free(target);
	t_end(pid);
}

static void bench_writers(enum umem_cow_place place, const char *name)
{
	uint64_t p50s[B_RUNS], rates[B_RUNS], at, len;
	pid_t pid = start_writers(MAX_WRITERS, false, &at, &len);
	struct umem_target *target = open_target(pid);

	for (int i = 0; i < B_RUNS; i++) {
		struct umem_cow *cow = begin(target, pid, at, len, place, false);
		uint64_t took_ns = run_round(i + 1, MAX_WRITERS);
		uint32_t p50, p99;

		quantiles(MAX_WRITERS, &p50, &p99);
		p50s[i] = p50;
		rates[i] = MAX_WRITERS * FAULTS * 1000000000ull / took_ns;
		umem_cow_free(cow);
	}
	printf("fault, %d writers, %s: p50 %.1f us, %llu faults a second\n", MAX_WRITERS, name,
		(double)b_median(p50s, B_RUNS) / 1e3,
		(unsigned long long)b_median(rates, B_RUNS));
	b_json("cow-writers", "\"writers\":%d,\"place\":\"%s\",\"p50_ns\":%llu,\"rate\":%llu",
		MAX_WRITERS, name, (unsigned long long)b_median(p50s, B_RUNS),
		(unsigned long long)b_median(rates, B_RUNS));
	umem_target_free(target);
	t_end(pid);
}

/* A target of @len bytes, of which one thread writes 16 MiB over and over. */
static pid_t start_hot(uint64_t len, uint8_t **ret_at)
{
	uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	T_CHECK(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	memset(board, 0, sizeof(*board));
	pid = t_fork();
	if (pid == 0) {
		for (uint64_t i = 0; i < len; i += B_PAGE)
			at[i] = 1;
		atomic_store(&board->ready, 1);
		for (;;)
			for (uint64_t i = 0; i < HOT_BYTES; i += B_PAGE)
				(*(volatile uint8_t *)(at + len / 2 + i))++;
	}
	munmap(at, len);
	T_UNTIL(120, atomic_load(&board->ready));
	*ret_at = at;
	return pid;
}

static uint64_t page_tables_kb(pid_t pid)
{
	UMEM_FREE char *text = NULL;
	char path[40];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	T_OK(umem_read_file(AT_FDCWD, path, 1 << 16, &text, NULL));
	at = strstr(text, "VmPTE:");
	T_CHECK(at != NULL);
	return strtoull(at + 6, NULL, 10);
}

static void bench_moment(uint64_t len, bool hot, bool tables)
{
	uint64_t moments[B_RUNS], protected[B_RUNS], copied[B_RUNS], before = 0, after = 0;
	uint8_t *at;
	pid_t pid;

	b_warm(len);
	pid = start_hot(len, &at);

	struct umem_target *target = open_target(pid);

	for (int i = 0; i < B_RUNS; i++) {
		struct umem_cow_stats stats;
		struct umem_cow *cow;

		before = page_tables_kb(pid);
		cow = begin(target, pid, (uintptr_t)at, len, UMEM_COW_PLACE_AUTO, hot);
		after = page_tables_kb(pid);
		umem_cow_stats(cow, &stats);
		moments[i] = stats.moment_ns;
		protected[i] = stats.n_protected;
		copied[i] = stats.n_hot;
		umem_cow_free(cow);
	}
	if (tables)
		printf("page tables of %llu MiB: %llu kB before, %llu kB within\n",
			(unsigned long long)len >> 20, (unsigned long long)before,
			(unsigned long long)after);
	else
		printf("moment, %5llu MiB, 16 MiB hot: %.2f ms, %llu pages protected, "
		       "%llu copied\n",
			(unsigned long long)len >> 20, (double)b_median(moments, B_RUNS) / 1e6,
			(unsigned long long)b_median(protected, B_RUNS),
			(unsigned long long)b_median(copied, B_RUNS));
	b_json("cow-moment", "\"bytes\":%llu,\"moment_ns\":%llu,\"protected_pages\":%llu,"
		"\"tables_before_kb\":%llu,\"tables_within_kb\":%llu", (unsigned long long)len,
		(unsigned long long)b_median(moments, B_RUNS),
		(unsigned long long)b_median(protected, B_RUNS), (unsigned long long)before,
		(unsigned long long)after);
	umem_target_free(target);
	t_end(pid);
}

static bool wanted(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	T_CHECK(board != MAP_FAILED);
	if (wanted(argc, argv, "fault"))
		bench_fault();
	if (wanted(argc, argv, "writers")) {
		bench_writers(UMEM_COW_PLACE_AUTO, "auto");
		bench_writers(UMEM_COW_PLACE_WAIT, "wait");
		bench_writers(UMEM_COW_PLACE_SPIN, "spin");
	}
	for (uint64_t part = 4; part >= 1 && wanted(argc, argv, "moment"); part /= 2) {
		bench_moment(b_bytes() / part, false, false);
		bench_moment(b_bytes() / part, true, false);
	}
	if (wanted(argc, argv, "tables"))
		bench_moment(1ull << 30, false, true);
	return 0;
}
