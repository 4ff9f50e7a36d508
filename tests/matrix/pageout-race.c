// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umem_pageout() and umem_pagein() while the target does not hold still: it ends,
 * executes another program, unmaps, locks, discards, writes, forks, in mid-way. The call
 * ends, says so or has its sums right, and a target that lives has the bytes it wrote.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/op/pageout.h"
#include "tests/matrix/moves.h"

#define N	 4096
#define LEN	 (N * K_PAGE)
#define ATTEMPTS 12

static uint64_t random_state;

/* A victim: no orders are obeyed, it does one thing over and over. */
static pid_t victim(char *at, void (*run)(char *at))
{
	int ready[2];
	char byte;
	pid_t pid;

	T_SYS(pipe(ready));
	pid = t_fork();
	if (pid == 0) {
		k_fill(at, LEN, 0);
		T_CHECK(write(ready[1], "x", 1) == 1);
		run(at);
		_exit(0);
	}
	T_CHECK(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void wait_there(char *at)
{
	(void)at;
	for (;;)
		pause();
}

static void on_signal(int signo)
{
	(void)signo;
	execl("/bin/sleep", "sleep", "100", (char *)NULL);
	_exit(1);
}

static void wait_to_execute(char *at)
{
	(void)at;
	signal(SIGUSR1, on_signal);
	for (;;)
		pause();
}

/* Send @signo to @pid after a random while. */
struct timer {
	pid_t pid;
	int signo;
	uint64_t after_ns;
};

static void *strike(void *user)
{
	struct timer *timer = user;
	struct timespec wait = { 0, (long)timer->after_ns };

	nanosleep(&wait, NULL);
	kill(timer->pid, timer->signo);
	return NULL;
}

/* Ends or executes in mid-way: UMEM_GONE with a note, or all was done before. */
static void struck(const char *what, void (*run)(char *at), int signo, bool in)
{
	char *at = k_anon(LEN);
	int n_gone = 0;

	for (int i = 0; i < ATTEMPTS; i++) {
		struct umem_range range = { (uintptr_t)at, (uintptr_t)at + LEN };
		struct umem_pageout_options options = { .size = sizeof(options),
			.ranges = &range, .n_ranges = 1, .free_cached = i % 2 };
		struct timer timer = { victim(at, run), signo, t_below(&random_state, 80000000) };
		struct umem_target *target = m_open(timer.pid);
		struct umem_note note = { 0 };
		struct umem_pageout result;
		pthread_t id;
		int r = 0;

		if (in)
			r = umem_pageout(target, &options, &result, &note);
		T_CHECK(r == 0, "%s", note.text);
		T_CHECK(pthread_create(&id, NULL, strike, &timer) == 0);
		r = in ? umem_pagein(target, &options, &result, &note) :
			 umem_pageout(target, &options, &result, &note);
		T_CHECK(r == 0 || r == UMEM_GONE, "%d %s", r, note.text);
		if (r == 0)
			m_check(&result);
		else
			T_CHECK(strstr(note.text, what), "note: %s", note.text);
		n_gone += r == UMEM_GONE;
		pthread_join(id, NULL);
		umem_target_free(target);
		t_end(timer.pid);
	}
	printf("%s in mid-way: %d of %d were gone\n", what, n_gone, ATTEMPTS);
	munmap(at, LEN);
}

static uint64_t step(void)
{
	return t_below(&random_state, 64);
}

/* Writes its pages over and over, and checks that nobody else did. */
static void writer(char *at)
{
	for (uint64_t gen = 1;; gen++) {
		for (size_t i = step(); i < N; i += 1 + step()) {
			uint8_t *page = (uint8_t *)at + i * K_PAGE;
			uint64_t was = page[8];

			T_CHECK(page[9] == (uint8_t)(was + 1) || page[9] == t_pattern(i, 9, 0),
				"page %zu", i);
			page[8] = (uint8_t)gen;
			page[9] = (uint8_t)(gen + 1);
		}
	}
}

static void discarder(char *at)
{
	for (;;) {
		size_t i = t_below(&random_state, N), n = 1 + t_below(&random_state, N - i);

		madvise(at + i * K_PAGE, n * K_PAGE, MADV_DONTNEED);
		for (size_t k = i; k < i + n; k++) {
			T_CHECK(at[k * K_PAGE] == 0);
			at[k * K_PAGE] = 1;
		}
	}
}

static void mapper(char *at)
{
	for (;;) {
		size_t i = t_below(&random_state, N), n = 1 + t_below(&random_state, N - i);

		munmap(at + i * K_PAGE, n * K_PAGE);
		T_CHECK(mmap(at + i * K_PAGE, n * K_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at + i * K_PAGE);
		for (size_t k = i; k < i + n; k++)
			t_fill_page(at + k * K_PAGE, k, 1);
	}
}

static void locker(char *at)
{
	for (;;) {
		size_t i = t_below(&random_state, N), n = 1 + t_below(&random_state, N - i);

		m_lock(at + i * K_PAGE, n * K_PAGE, 0);
		for (size_t k = i; k < i + n; k += 16)
			at[k * K_PAGE + 5]++;
		syscall(SYS_munlock, at + i * K_PAGE, n * K_PAGE);
	}
}

static void forker(char *at)
{
	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			T_CHECK(k_wrong(at, LEN, 0) == 0);
			_exit(0);
		}
		if (pid > 0) {
			int status = 0;

			T_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		}
	}
}

static void restless(const char *what, void (*run)(char *at))
{
	uint64_t asked = 0, moved = 0, returned = 0;
	char *at = k_anon(LEN);
	pid_t pid = victim(at, run);

	for (int i = 0; i < ATTEMPTS; i++) {
		struct umem_pageout_options options = { .free_cached = i % 2 };
		struct umem_pageout result = m_out(pid, at, LEN, &options);

		asked += result.asked_bytes;
		moved += result.moved_bytes;
		returned += result.returned_bytes;
		if (i == ATTEMPTS - 1)
			m_show(what, &result);
		m_in(pid, at, LEN);
		T_CHECK(waitpid(pid, NULL, WNOHANG) == 0, "%s: it has ended", what);
	}
	printf("%s: of %llu pages %llu went, %llu came back at once\n", what,
		(unsigned long long)asked / K_PAGE, (unsigned long long)moved / K_PAGE,
		(unsigned long long)returned / K_PAGE);
	T_CHECK(asked > 0);
	t_end(pid);
	munmap(at, LEN);
}

/* A map that is old by now: what was mapped then is locked, unmapped, discarded. */
static void old_map(void)
{
	char *at = k_anon(256 * K_PAGE);
	struct umem_pageset chosen = { 0 }, went = { 0 };
	struct umem_pageout result;
	struct umem_residency *map;
	struct umem_target *target;
	struct umem_note note = { 0 };
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, 256 * K_PAGE, 0);
	target = m_open(peer.pid);
	T_OK(umem_residency_new(target, NULL, &map, &note));
	T_OK(umem_pageset_add(&chosen, (uintptr_t)at, (uintptr_t)at + 256 * K_PAGE));
	T_OK((int)k_peer_do(&peer, m_lock, at + 10 * K_PAGE, 20 * K_PAGE, 0));
	T_OK((int)k_peer_do(&peer, m_unmap, at + 50 * K_PAGE, 20 * K_PAGE, 0));
	T_OK((int)k_peer_do(&peer, m_lock, at + 70 * K_PAGE, 1 * K_PAGE, 0));
	T_OK((int)k_peer_do(&peer, k_advise, at + 100 * K_PAGE, 20 * K_PAGE, MADV_DONTNEED));
	/* With no time for anything, nothing is asked. */
	T_OK(umem_pageout_pages(target, map, &chosen, 1, &went, &result, &note));
	T_CHECK(result.asked_bytes == 0 && umem_pageset_empty(&went));
	T_OK(umem_pageout_pages(target, map, &chosen, 0, &went, &result, &note));
	m_show("by an old map", &result);
	m_check(&result);
	T_CHECK(result.asked_bytes == 256 * K_PAGE);
	T_CHECK(m_refused(&result, "locked") == 21 * K_PAGE);
	T_CHECK(m_refused(&result, "not there") == 40 * K_PAGE);
	T_CHECK(result.moved_bytes + result.returned_bytes == 195 * K_PAGE);
	T_CHECK(result.moved_bytes == umem_pageset_bytes(&went));
	T_CHECK(k_peer_do(&peer, k_wrong, at, 50 * K_PAGE, 0) == 0);
	umem_residency_free(map);
	umem_pageset_deinit(&chosen);
	umem_pageset_deinit(&went);
	umem_target_free(target);
	k_peer_end(&peer);
	munmap(at, 256 * K_PAGE);
}

/* A watcher that has enough after some batches: the rest is not asked. */
static bool enough(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	uint64_t *seen = user;

	T_CHECK(done_bytes <= total_bytes && done_bytes >= *seen);
	*seen = done_bytes;
	return done_bytes >= LEN / 4;
}

static void stopped(void)
{
	char *at = k_anon(LEN);
	struct umem_range range = { (uintptr_t)at, (uintptr_t)at + LEN };
	struct umem_pageout_options options = { .size = sizeof(options), .ranges = &range,
		.n_ranges = 1 };
	uint64_t seen = 0;
	struct umem_pageout_watcher watcher = { .progress = enough, .user = &seen };
	pid_t pid = victim(at, wait_there);
	struct umem_target *target = m_open(pid);
	struct umem_note note = { 0 };
	struct umem_pageout result;

	T_OK(umem_pageout_watched(target, &options, &watcher, &result, &note));
	m_show("ended after a quarter", &result);
	m_check(&result);
	T_CHECK(result.asked_bytes >= LEN / 4 && result.asked_bytes < LEN / 2);
	m_out(pid, at, LEN, NULL);
	seen = 0;
	T_OK(umem_pagein_watched(target, &options, &watcher, &result, &note));
	m_show("brought in, ended after a quarter", &result);
	m_check(&result);
	T_CHECK(result.asked_bytes >= LEN / 4 && result.asked_bytes < LEN);
	umem_target_free(target);
	t_end(pid);
	munmap(at, LEN);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("paging out another process needs CAP_SYS_NICE");
	random_state = t_seed();
	k_zram_swap(256 << 20);
	old_map();
	stopped();
	restless("written", writer);
	restless("discarded", discarder);
	restless("mapped anew", mapper);
	restless("locked and unlocked", locker);
	restless("forked", forker);
	struck("ended", wait_there, SIGKILL, false);
	struck("executed", wait_to_execute, SIGUSR1, false);
	struck("ended", wait_there, SIGKILL, true);
	struck("executed", wait_to_execute, SIGUSR1, true);
	return 0;
}
