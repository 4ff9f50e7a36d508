// SPDX-License-Identifier: LGPL-2.1-or-later
/* A process that writes to its memory in a loop. */
#include "tests/bench/writer.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

/* It looks at the clock once in so many pages. */
#define STEP 64u

enum order { NOTHING, FORK, TABLES, CHANGE };

/* At the same address in the writer and here. @answered: orders that were obeyed. */
static struct {
	volatile uint64_t at;
	volatile uint64_t order;
	volatile uint64_t argument;
	volatile uint64_t answer;
	volatile uint64_t answered;
	volatile uint64_t longest_ns;
	volatile uint64_t n_pages;
} state;

static void fill(uint64_t *words, uint64_t n, uint64_t *random)
{
	for (uint64_t i = 0; i < n; i++)
		words[i] = t_rand(random);
}

static uint64_t fork_once(bool waits_for_look)
{
	uint64_t start_ns = b_now_ns(), took_ns;
	pid_t pid = fork();

	if (pid == 0) {
		if (waits_for_look)
			pause();
		_exit(0);
	}
	took_ns = b_now_ns() - start_ns;
	T_CHECK(pid > 0);
	if (waits_for_look) {
		took_ns = b_tables_kb(pid);
		kill(pid, SIGKILL);
	}
	waitpid(pid, NULL, 0);
	return took_ns;
}

static void obey(char *at, uint64_t bytes, uint64_t *random)
{
	switch (state.order) {
	case FORK:
	case TABLES:
		state.answer = fork_once(state.order == TABLES);
		break;
	case CHANGE:
		for (uint64_t i = 0; i < bytes / B_PAGE; i += 100 / state.argument)
			fill((uint64_t *)(void *)(at + i * B_PAGE), B_PAGE / 8, random);
		break;
	default:
		return;
	}
	state.order = NOTHING;
	state.answered++;
}

/* The stall of an order of ours is not told. */
static void run(char *at, const struct b_writer *w, uint64_t *random)
{
	uint64_t last_ns = b_now_ns(), now_ns;

	for (;;) {
		for (uint64_t i = 0; i < w->hot_bytes / B_PAGE; i++) {
			(*(volatile uint64_t *)(void *)(at + i * B_PAGE))++;
			if (i % STEP)
				continue;
			now_ns = b_now_ns();
			if (now_ns - last_ns > state.longest_ns)
				state.longest_ns = now_ns - last_ns;
			last_ns = now_ns;
			state.n_pages += STEP;
		}
		if (!w->hot_bytes)
			usleep(1000);
		if (state.order != NOTHING) {
			obey(at, w->bytes, random);
			last_ns = b_now_ns();
		}
	}
}

static void peek(const struct b_writer *w, volatile uint64_t *field, uint64_t *ret_value)
{
	struct iovec to = { ret_value, 8 }, from = { (void *)field, 8 };

	T_CHECK(process_vm_readv(w->pid, &to, 1, &from, 1, 0) == 8, "the writer ended");
}

static void poke(const struct b_writer *w, volatile uint64_t *field, uint64_t value)
{
	struct iovec from = { &value, 8 }, to = { (void *)field, 8 };

	T_CHECK(process_vm_writev(w->pid, &from, 1, &to, 1, 0) == 8, "the writer ended");
}

void b_writer_start(struct b_writer *w, uint64_t bytes, uint64_t hot_bytes)
{
	uint64_t random = 1;
	char *at;

	*w = (struct b_writer){ .bytes = bytes & ~(B_PAGE - 1), .hot_bytes = hot_bytes };
	w->pid = t_fork();
	if (w->pid == 0) {
		at = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
		T_CHECK(at != MAP_FAILED);
		T_SYS(madvise(at, w->bytes, MADV_NOHUGEPAGE));
		fill((uint64_t *)(void *)at, w->bytes / 8, &random);
		state.at = (uintptr_t)at;
		run(at, w, &random);
	}
	while (!w->at) {
		t_msleep(5);
		peek(w, &state.at, &w->at);
	}
}

void b_writer_reset(struct b_writer *w)
{
	poke(w, &state.longest_ns, 0);
	poke(w, &state.n_pages, 0);
}

void b_writer_look(struct b_writer *w, struct b_writer_seen *ret_seen)
{
	peek(w, &state.longest_ns, &ret_seen->longest_ns);
	peek(w, &state.n_pages, &ret_seen->n_pages);
}

static uint64_t order(struct b_writer *w, enum order what, uint64_t argument)
{
	uint64_t before, now, answer;

	peek(w, &state.answered, &before);
	poke(w, &state.argument, argument);
	poke(w, &state.order, what);
	do {
		t_msleep(1);
		peek(w, &state.answered, &now);
	} while (now == before);
	peek(w, &state.answer, &answer);
	return answer;
}

uint64_t b_writer_fork(struct b_writer *w)
{
	return order(w, FORK, 0);
}

uint64_t b_writer_fork_tables(struct b_writer *w)
{
	return order(w, TABLES, 0);
}

void b_writer_change(struct b_writer *w, uint64_t percent)
{
	order(w, CHANGE, percent);
}

void b_writer_end(struct b_writer *w)
{
	t_end(w->pid);
}

uint64_t b_tables_kb(pid_t pid)
{
	unsigned long long kb = 0;
	char path[40], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file) && sscanf(line, "VmPTE: %llu", &kb) != 1)
		;
	fclose(file);
	return kb;
}
