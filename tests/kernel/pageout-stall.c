// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How long a page-out by another process holds up its target: faults in other
 * mappings hardly, mmap(2) for as long as a call takes, since the call holds the
 * lock of the address space for the whole of its vector. Called again at once, it
 * has the lock before the waiting thread has woken up, call after call; a pause of
 * some microseconds lets that in. The size of a batch is then the longest stall.
 * Printed, not judged, but for these orders.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "lib/kern/pidfd.h"
#include "tests/kernel/peer.h"

#define LEN	(64ul << 20)
#define SCRATCH (4ul << 20)

enum mode { FAULTS, MAPS, N_MODES };

static const char *const mode_names[] = { "faults elsewhere", "mmap and munmap" };

#define MAX_SAMPLES (1u << 18)

/* In memory that test and target share. */
struct sample {
	_Atomic int stop;
	_Atomic int running;
	size_t n;
	uint64_t ns[MAX_SAMPLES];
};

static struct sample *sample;
static enum mode mode;
static pthread_t sampler;

static void note(uint64_t start)
{
	if (sample->n < MAX_SAMPLES)
		sample->ns[sample->n++] = t_now_ns() - start;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return *one < *other ? -1 : *one > *other;
}

/* Of sorted values, in microseconds with one place. */
static double at_share(const uint64_t *ns, size_t n, double share)
{
	return n ? (double)ns[(size_t)((double)(n - 1) * share)] / 1000 : 0;
}

static void fault_once(char *at, size_t *pos)
{
	uint64_t start;

	if (*pos == SCRATCH) {
		madvise(at, SCRATCH, MADV_DONTNEED);
		*pos = 0;
	}
	start = t_now_ns();
	*(volatile char *)(at + *pos) = 1;
	note(start);
	*pos += K_PAGE;
}

static void *keep_going(void *arg)
{
	char *at = k_anon(SCRATCH);
	size_t pos = 0;

	k_touch(at, SCRATCH, 1);
	sample->running = 1;
	while (!sample->stop) {
		if (mode == FAULTS) {
			fault_once(at, &pos);
		} else {
			uint64_t start = t_now_ns();

			munmap(k_anon(K_PAGE), K_PAGE);
			note(start);
		}
	}
	munmap(at, SCRATCH);
	return arg;
}

static long start_sampler(char *at, size_t len, long arg)
{
	(void)at;
	(void)len;
	mode = (enum mode)arg;
	return pthread_create(&sampler, NULL, keep_going, NULL);
}

static long join_sampler(char *at, size_t len, long arg)
{
	(void)at;
	(void)len;
	sample->stop = 1;
	return pthread_join(sampler, NULL) + arg;
}

/* Fill such that zram stores something. */
static long fill(char *at, size_t len, long gen)
{
	uint64_t state = (uint64_t)gen;

	for (size_t i = 0; i < len; i += 32)
		*(uint64_t *)(void *)(at + i) = t_rand(&state);
	return 0;
}

/* @call_us: processor time; the rest is what passed. @n: what the target got done. */
struct stalls {
	size_t n;
	double call_us;
	double target_us;
	double longest_us;
};

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * One pass over @at in calls of @batch bytes; 0 for none, as long as one takes.
 * @pause_us: to let the target in, after each call.
 */
static struct stalls run(struct k_peer *peer, char *at, enum mode which, size_t batch,
	size_t n_iov, unsigned pause_us)
{
	static uint64_t calls[LEN / (256 << 10)];
	size_t n_calls = 0;
	struct iovec iov[16];
	uint64_t bytes = 0, start;
	struct stalls stalls;

	k_peer_do(peer, fill, at, LEN, (long)batch);
	umem_lru_drain();
	sample->n = 0;
	sample->stop = 0;
	sample->running = 0;
	T_OK((int)k_peer_do(peer, start_sampler, NULL, 0, which));
	T_UNTIL(5, sample->running);
	if (!batch)
		t_msleep(100);
	for (size_t i = 0; batch && i < LEN; i += batch) {
		for (size_t j = 0; j < n_iov; j++)
			iov[j] = (struct iovec){ at + i + j * (batch / n_iov), batch / n_iov };
		start = cpu_ns();
		T_OK(umem_pidfd_madvise(peer->pidfd, iov, n_iov, MADV_PAGEOUT, &bytes));
		calls[n_calls++] = cpu_ns() - start;
		T_CHECK(bytes == batch);
		if (pause_us)
			usleep(pause_us);
	}
	T_OK((int)k_peer_do(peer, join_sampler, NULL, 0, 0));
	T_CHECK(k_here(peer->pm, at, LEN) < (batch ? LEN / K_PAGE / 2 : LEN));
	qsort(calls, n_calls, sizeof(calls[0]), by_value);
	qsort(sample->ns, sample->n, sizeof(sample->ns[0]), by_value);
	stalls = (struct stalls){ sample->n, at_share(calls, n_calls, 0.5),
		at_share(sample->ns, sample->n, 0.5), at_share(sample->ns, sample->n, 1) };
	k_fact("%s, batches of %zu KiB in %zu ranges, pauses of %u us: call %.0f us (longest "
	       "%.0f); target: %zu times, median %.1f us, 99%% %.1f, 99.9%% %.1f, longest %.0f",
		mode_names[which], batch >> 10, n_iov, pause_us, stalls.call_us,
		at_share(calls, n_calls, 1), sample->n, stalls.target_us,
		at_share(sample->ns, sample->n, 0.99), at_share(sample->ns, sample->n, 0.999),
		stalls.longest_us);
	return stalls;
}

int main(void)
{
	static const size_t batches[] = { 0, 256 << 10, 2 << 20, 32 << 20 };
	char *at = k_anon(LEN);
	struct stalls stalls[N_MODES][4], paused;
	struct k_peer peer;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		T_SKIP("only one processor");
	sample = (void *)k_map(sizeof(*sample), MAP_SHARED | MAP_ANONYMOUS, -1);
	k_zram_swap(256 << 20);
	k_peer_start(&peer);
	T_OK((int)k_peer_do(&peer, k_go_to_cpu, NULL, 0, 1));
	T_OK((int)k_go_to_cpu(NULL, 0, 0));
	for (int which = 0; which < N_MODES; which++) {
		for (int i = 0; i < 4; i++)
			stalls[which][i] = run(&peer, at, (enum mode)which, batches[i], 1, 0);
		run(&peer, at, (enum mode)which, 2 << 20, 16, 0);
	}
	paused = run(&peer, at, MAPS, batches[1], 1, 50);
	run(&peer, at, MAPS, batches[2], 1, 50);
	T_CHECK(stalls[MAPS][3].call_us > 10 * stalls[MAPS][1].call_us);
	T_CHECK(stalls[MAPS][3].longest_us > stalls[MAPS][3].call_us / 4);
	T_CHECK(paused.n > 3 * stalls[MAPS][1].n);
	T_CHECK(stalls[FAULTS][3].target_us < stalls[FAULTS][3].call_us / 100);
	return 0;
}
