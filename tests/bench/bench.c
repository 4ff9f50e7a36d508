// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the benchmarks share. */
#include "tests/bench/bench.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char *const memory_names[B_N_MEMORIES] = {
	[B_ANON_4K] = "anon-4k",
	[B_ANON_THP] = "anon-thp",
	[B_SHMEM] = "shmem",
};

static const char *const pattern_names[B_N_PATTERNS] = {
	[B_CLEAN] = "clean",
	[B_SCATTERED] = "1% scattered",
	[B_HALF] = "every other",
	[B_ALL] = "all",
};

const char *b_memory_name(enum b_memory memory)
{
	return memory_names[memory];
}

const char *b_pattern_name(enum b_pattern pattern)
{
	return pattern_names[pattern];
}

uint64_t b_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t b_bytes(void)
{
	const char *given = getenv("BENCH_BYTES");

	return given ? strtoull(given, NULL, 0) : 4ull << 30;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t b_median(uint64_t *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

void b_json(const char *bench, const char *fmt, ...)
{
	const char *path = getenv("BENCH_JSON");
	va_list args;
	FILE *file;

	if (!path)
		return;
	file = fopen(path, "ae");
	T_CHECK(file);
	fprintf(file, "{\"bench\":\"%s\",", bench);
	va_start(args, fmt);
	vfprintf(file, fmt, args);
	va_end(args);
	fputs("}\n", file);
	fclose(file);
}

void b_warm(uint64_t bytes)
{
	pid_t pid = t_fork();
	char *at;

	if (pid) {
		T_CHECK(t_wait(pid) == 0);
		return;
	}
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_CHECK(at != MAP_FAILED);
	madvise(at, bytes, MADV_HUGEPAGE);
	for (uint64_t i = 0; i < bytes; i += B_PAGE)
		at[i] = 1;
	_exit(0);
}

/* One mapping, or many with a page between them. */
static char *map_memory(enum b_memory memory, const struct b_target *t)
{
	int flags = memory == B_SHMEM ? MAP_SHARED : MAP_PRIVATE;
	uint64_t piece = t->bytes / t->n_mappings;
	/* Huge pages begin at multiples of 2 MiB. */
	char *at = mmap(NULL, t->span_bytes + (2 << 20), PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	T_CHECK(at != MAP_FAILED);
	at = (char *)(((uintptr_t)at + (2 << 20) - 1) & ~((uintptr_t)(2 << 20) - 1));
	for (uint64_t i = 0; i < t->n_mappings; i++) {
		char *where = at + i * (piece + (t->n_mappings > 1 ? B_PAGE : 0));
		char *got = mmap(where, piece, PROT_READ | PROT_WRITE,
			flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		T_CHECK(got == where, "mapping %llu: %s", (unsigned long long)i,
			strerror(errno));
		madvise(got, piece, memory == B_ANON_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		for (uint64_t k = 0; k < piece; k += B_PAGE)
			got[k] = 1;
	}
	return at;
}

static void write_pattern(char *at, const struct b_target *t, enum b_pattern pattern)
{
	static const uint64_t steps[B_N_PATTERNS] = { 0, 100, 2, 1 };
	uint64_t piece = t->bytes / t->n_mappings, step = steps[pattern] * B_PAGE;

	for (uint64_t i = 0; i < t->n_mappings && step; i++, at += piece + B_PAGE)
		for (uint64_t k = 0; k < piece; k += step)
			(*(volatile char *)(at + k))++;
}

static void run_child(enum b_memory memory, const struct b_target *t)
{
	char *at = map_memory(memory, t);
	unsigned char *vec = malloc(t->span_bytes / B_PAGE);
	uint64_t reply = (uintptr_t)at;
	char command;

	T_CHECK(vec);
	for (;;) {
		T_CHECK(write(t->reply, &reply, sizeof(reply)) == sizeof(reply));
		if (read(t->command, &command, 1) != 1)
			_exit(0);
		reply = b_now_ns();
		if (command == 'm')
			T_SYS(mincore(at, t->bytes, vec));
		else
			write_pattern(at, t, (enum b_pattern)(command - '0'));
		reply = b_now_ns() - reply;
	}
}

static uint64_t read_reply(struct b_target *target)
{
	uint64_t value;

	T_CHECK(read(target->reply, &value, sizeof(value)) == sizeof(value));
	return value;
}

void b_target_start(struct b_target *target, enum b_memory memory, uint64_t bytes,
	uint64_t n_mappings)
{
	uint64_t piece = (bytes / n_mappings) & ~(B_PAGE - 1);
	int command[2], reply[2];

	*target = (struct b_target){
		.bytes = piece * n_mappings,
		.n_mappings = n_mappings,
		.span_bytes = n_mappings > 1 ? (piece + B_PAGE) * n_mappings : piece,
	};
	T_SYS(pipe(command));
	T_SYS(pipe(reply));
	target->pid = t_fork();
	if (target->pid == 0) {
		close(command[1]);
		close(reply[0]);
		target->command = command[0];
		target->reply = reply[1];
		run_child(memory, target);
	}
	close(command[0]);
	close(reply[1]);
	target->command = command[1];
	target->reply = reply[0];
	target->start = read_reply(target);
}

static uint64_t tell(struct b_target *target, char command)
{
	T_SYS(write(target->command, &command, 1));
	return read_reply(target);
}

uint64_t b_target_write(struct b_target *target, enum b_pattern pattern)
{
	return tell(target, (char)('0' + pattern));
}

uint64_t b_target_mincore(struct b_target *target)
{
	return tell(target, 'm');
}

void b_target_end(struct b_target *target)
{
	close(target->command);
	close(target->reply);
	t_end(target->pid);
}
