// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A shared page is where it is, whoever asks and whoever mapped it.
 *
 * The example that no mark in page tables can get right: A and B map page P;
 * A's entry is zapped; P is swapped out, for which the kernel visits B's entry
 * only; all must say swapped: A, B, a child forked after that, and a process that
 * maps it for the first time. Nobody is brought to fault by the questions.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/matrix/residency-scene.h"

#define P     3
#define PAGES 16

static int memfd, uffd = -1;
static bool armed, other_offset;
static char *area;

/* Map all of it, or from page 1 on: offset and address differ. */
static void map(int flags)
{
	size_t skip = other_offset ? PAGE : 0;

	area = mmap(NULL, PAGES * PAGE - skip, PROT_READ | PROT_WRITE, flags, memfd, (off_t)skip);
	T_CHECK(area != MAP_FAILED);
	area -= skip;
}

static void arm(void)
{
	size_t skip = other_offset ? PAGE : 0;

	uffd = k_uffd(K_TRACK);
	T_OK(k_register(uffd, area + skip, PAGES * PAGE - skip));
	k_collect(k_pagemap(), area + skip, PAGES * PAGE - skip);
}

/* A child that has come to rest. */
static pid_t fork_child(void)
{
	int pipe_fds[2];
	char byte = 0;
	pid_t child;

	T_SYS(pipe(pipe_fds));
	child = t_fork();
	if (child == 0) {
		T_SYS(write(pipe_fds[1], &byte, 1));
		for (;;)
			pause();
	}
	T_CHECK(read(pipe_fds[0], &byte, 1) == 1);
	T_UNTIL(20, t_proc_state(child) == 'S');
	return child;
}

static char *act(char command)
{
	switch (command) {
	case 0:
		map(MAP_SHARED);
		if (armed)
			arm();
		break;
	case 't':
		area[P * PAGE]++;
		break;
	case 'r':
		(void)*(volatile char *)(area + P * PAGE);
		break;
	case 'z':
		T_SYS(madvise(area + P * PAGE, PAGE, MADV_DONTNEED));
		break;
	case 'o':
		T_SYS(madvise(area + P * PAGE, PAGE, MADV_PAGEOUT));
		break;
	case 'f':
		return (char *)(uintptr_t)fork_child();
	}
	return area + P * PAGE;
}

static char *act_private(char command)
{
	if (command == 0)
		map(MAP_PRIVATE);
	return area + P * PAGE;
}

/* Where the page is, by the object itself. */
static enum umem_state truth(void)
{
	struct umem_cachestat_range range = { .off = P * PAGE, .len = PAGE };
	struct umem_cachestat stat = { 0 };

	T_SYS(syscall(SYS_cachestat, memfd, &range, &stat, 0));
	return stat.nr_cache ? UMEM_STATE_RESIDENT : stat.nr_evicted ? UMEM_STATE_SWAPPED :
								       UMEM_STATE_UNTOUCHED;
}

/*
 * Have the page where it is wanted, by what @b does. Others may bring it in or put it
 * out at any time: swap areas are the whole machine's.
 */
static void put(struct scene *b, enum umem_state state)
{
	T_UNTIL(20, (truth() == state ||
			    (scene_tell(b, 'r'),
				    state == UMEM_STATE_SWAPPED ? scene_tell(b, 'o') : (void)0,
				    truth() == state)));
}

/* By one method. Return: did the page and the process hold still meanwhile? */
static bool says(struct scene *b, pid_t pid, const char *method, char *at, enum umem_state state)
{
	struct scene_answer answer;
	uint64_t faults;

	put(b, state);
	faults = scene_faults(pid);
	answer = scene_ask(pid, method, NULL, at, PAGE);
	if (truth() != state || scene_faults(pid) != faults)
		return false;
	T_CHECK(answer.exact || (method && !strcmp(method, "extents") && answer.reason[0]),
		"(%s: %s)", answer.method, answer.reason);
	T_CHECK(!answer.exact || answer.pages[state] == 1, "(%d by %s, not %s)", (int)pid,
		answer.method, umem_state_name(state));
	return true;
}

static void all_say(struct scene *b, const pid_t *pids, char **at, size_t n,
	enum umem_state state)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < scene_n_methods; k++) {
			int attempts = 0;

			while (!says(b, pids[i], scene_methods[k], at[i], state))
				T_CHECK(attempts++ < 20, "page or process %d does not hold still",
					(int)pids[i]);
		}
	}
}

static void four_steps(bool with_marks)
{
	struct scene a, b, d, e;
	pid_t pids[5];
	char *at[5], *p;

	memfd = k_memfd(PAGES * PAGE);
	armed = with_marks;
	a = scene_start(act);
	other_offset = true;
	b = scene_start(act);
	other_offset = false;
	scene_tell(&a, 't');
	scene_tell(&b, 't');
	p = a.at;
	scene_tell(&a, 'z');
	put(&b, UMEM_STATE_SWAPPED);
	scene_tell(&a, 'f');
	pids[0] = (pid_t)(uintptr_t)a.at;
	armed = false;
	d = scene_start(act);
	e = scene_start(act_private);
	pids[1] = a.pid;
	pids[2] = b.pid;
	pids[3] = d.pid;
	pids[4] = e.pid;
	at[0] = at[1] = p;
	at[2] = b.at;
	at[3] = d.at;
	at[4] = e.at;
	all_say(&b, pids, at, 5, UMEM_STATE_SWAPPED);
	all_say(&b, pids, at, 5, UMEM_STATE_RESIDENT);
	scene_end(&a);
	scene_end(&b);
	scene_end(&d);
	scene_end(&e);
	close(memfd);
}

static char *act_writer(char command)
{
	if (command == 0) {
		map(MAP_SHARED);
		k_touch(area, PAGES * PAGE, 1);
	} else {
		T_SYS(madvise(area, PAGES * PAGE, MADV_PAGEOUT));
	}
	return area;
}

static int only_swapped(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	uint64_t *bytes = user;

	*bytes += state == UMEM_STATE_SWAPPED ? end - start : 0;
	return 0;
}

/* By descriptor. Return: did the page hold still meanwhile? */
static bool says_file(const char *method)
{
	struct umem_residency_region about;
	uint64_t bytes = 0;

	T_SYS(lseek(memfd, 5, SEEK_SET));
	T_OK(umem_residency_file(memfd, P * PAGE, P * PAGE + 1, method, only_swapped, &bytes,
		&about));
	T_CHECK(lseek(memfd, 0, SEEK_CUR) == 5);
	if (truth() != UMEM_STATE_SWAPPED)
		return false;
	T_CHECK(about.start == P * PAGE && about.end == (P + 1) * PAGE);
	T_CHECK(bytes == about.bytes[UMEM_STATE_SWAPPED]);
	T_CHECK(about.exact ? bytes == PAGE : about.reason && !strcmp(method, "extents"));
	return true;
}

/* Memory that nobody maps any more. */
static void by_descriptor(void)
{
	static const char *const methods[] = { NULL, "cachestat", "halving", "extents" };
	struct umem_residency_region about;

	memfd = k_memfd(PAGES * PAGE);
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		do {
			struct scene a = scene_start(act_writer);

			T_UNTIL(20, (scene_tell(&a, 'o'), truth() == UMEM_STATE_SWAPPED));
			scene_end(&a);
		} while (!says_file(methods[i]));
	}
	T_CHECK(umem_residency_file(memfd, 0, 1, "continue", NULL, NULL, &about) == -EINVAL);
	T_CHECK(umem_residency_file(memfd, 0, 1, "scan", NULL, NULL, &about) == -EINVAL);
	T_CHECK(umem_residency_file(k_file(1), 0, 1, NULL, NULL, NULL, &about) == -EINVAL);
	T_CHECK(umem_residency_file(-1, 0, 1, NULL, NULL, NULL, &about) == -EBADF);
	T_OK(umem_residency_file(memfd, 0, UINT64_MAX, NULL, NULL, NULL, &about));
	T_CHECK(about.start == 0 && about.end == PAGES * PAGE);
	T_OK(umem_residency_file(memfd, PAGES * PAGE, UINT64_MAX, NULL, NULL, NULL, &about));
	T_CHECK(about.start == about.end && about.bytes[UMEM_STATE_UNTOUCHED] == 0);
	close(memfd);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("swap needs root");
	k_zram_swap(64ul << 20);
	four_steps(false);
	four_steps(true);
	by_descriptor();
	return 0;
}
