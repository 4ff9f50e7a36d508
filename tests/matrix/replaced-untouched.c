// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory that was never touched is replaced by an equal mapping, which is then
 * written: the round says gone and new, and goes on watching.
 *
 * Nothing is armed where nothing is populated, so no protecting scan passes
 * there, and the map looks the same as before.
 */
#include <sys/mman.h>
#include <unistd.h>

#include <umemd/track.h>

#include "tests/lib/harness.h"

#define PAGE  4096ull
#define BYTES (8ull << 20)

static char *map(char *at)
{
	return mmap(at, BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
}

static void run_child(int command, int reply, char *at)
{
	char c;

	for (;;) {
		T_CHECK(write(reply, "k", 1) == 1);
		if (read(command, &c, 1) != 1)
			_exit(0);
		if (c == 'm')
			T_CHECK(map(at) == at);
		for (uint64_t i = 0; i < 16; i++)
			at[(1 << 20) + (c == 'm' ? 0 : 64 * PAGE) + i * PAGE] = c;
	}
}

static int add_bytes(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	uint64_t *bytes = user;

	bytes[why] += end - start;
	return 0;
}

int main(void)
{
	char *at = map(NULL), c;
	struct umem_range all = { (uintptr_t)at, (uintptr_t)at + BYTES };
	struct umem_watch_options options = { .size = sizeof(options), .regions = &all,
		.n_regions = 1 };
	const struct umem_round *round;
	struct umem_note note = { 0 };
	struct umem_target *target;
	struct umem_watch *watch;
	int command[2], reply[2], r;
	pid_t pid;

	T_CHECK(at != MAP_FAILED);
	T_SYS(pipe(command));
	T_SYS(pipe(reply));
	pid = t_fork();
	if (pid == 0) {
		close(command[1]);
		run_child(command[0], reply[1], at);
	}
	T_CHECK(read(reply[0], &c, 1) == 1);
	r = umem_target_attach(pid, NULL, &target, &note);
	if (r == -ENOTTY || r == -ENOSYS)
		T_SKIP("%s", note.text);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_watch_new(target, &options, &watch, &note);
	T_CHECK(r == 0, "%s", note.text);
	for (int i = 0; i < 4; i++) {
		uint64_t bytes[UMEM_N_WHYS] = { 0 };
		bool replace = i % 2 == 0;

		T_CHECK(write(command[1], replace ? "m" : "w", 1) == 1);
		T_CHECK(read(reply[0], &c, 1) == 1);
		r = umem_watch_collect(watch, &round, &note);
		T_CHECK(r == 0, "round %d: %s", i, note.text);
		T_CHECK(round->complete);
		T_OK(umem_watch_each(watch, add_bytes, bytes));
		T_CHECK(bytes[replace ? UMEM_WHY_NEW : UMEM_WHY_WRITTEN] == 16 * PAGE,
			"round %d: written %llu, new %llu", i,
			(unsigned long long)bytes[UMEM_WHY_WRITTEN],
			(unsigned long long)bytes[UMEM_WHY_NEW]);
		T_CHECK(round->gone_bytes == (replace ? BYTES : 0), "round %d: %llu", i,
			(unsigned long long)round->gone_bytes);
	}
	umem_watch_free(watch);
	umem_target_free(target);
	t_end(pid);
	return 0;
}
