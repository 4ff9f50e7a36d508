// SPDX-License-Identifier: LGPL-2.1-or-later
/* What tracking costs where there is much: address space, mappings, dirty pages. */
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <umemd/track.h>

#include "tests/lib/harness.h"

#define PAGE 4096ull
#define HUGE (2ull << 20)
#define GIB  (1ull << 30)
#define AT   0x20000000000ull

/* A child that maps, then does what single bytes tell it. */
struct child {
	pid_t pid;
	int orders;
	int answers;
};

static void answer(int fd)
{
	T_CHECK(write(fd, "x", 1) == 1);
}

static void tell(const struct child *c, char order)
{
	char done;

	T_CHECK(write(c->orders, &order, 1) == 1);
	T_CHECK(read(c->answers, &done, 1) == 1);
}

static struct child start(void (*run)(int orders, int answers))
{
	int orders[2], answers[2];
	struct child c;
	char ready;

	T_SYS(pipe(orders));
	T_SYS(pipe(answers));
	c = (struct child){ .orders = orders[1], .answers = answers[0] };
	c.pid = t_fork();
	if (c.pid == 0) {
		close(orders[1]);
		close(answers[0]);
		run(orders[0], answers[1]);
		_exit(0);
	}
	close(orders[0]);
	close(answers[1]);
	T_CHECK(read(c.answers, &ready, 1) == 1);
	return c;
}

static void end(struct child *c)
{
	close(c->orders);
	close(c->answers);
	t_end(c->pid);
}

static void map(uint64_t at, uint64_t len, int more)
{
	T_CHECK(mmap((void *)at, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | more, -1, 0) ==
		(void *)at);
}

static uint64_t vmpte_kb(pid_t pid)
{
	char path[64], line[256];
	uint64_t kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	T_CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "VmPTE:", 6) == 0)
			kb = strtoull(line + 6, NULL, 10);
	fclose(f);
	return kb;
}

static struct umem_target *target;
static struct umem_watch *watch;

static void arm(pid_t pid)
{
	struct umem_note note = { 0 };

	T_CHECK(umem_target_attach(pid, NULL, &target, &note) == 0, "%s", note.text);
	T_CHECK(umem_watch_new(target, NULL, &watch, &note) == 0, "%s", note.text);
}

static const struct umem_round *collect(void)
{
	const struct umem_round *round;
	struct umem_note note = { 0 };

	T_CHECK(umem_watch_collect(watch, &round, &note) == 0, "%s", note.text);
	return round;
}

static void disarm(void)
{
	watch = umem_watch_free(watch);
	target = umem_target_free(target);
}

/* 64 GiB that nobody touches. */
static void sparse_child(int orders, int answers)
{
	uint64_t n = 0;
	char c;

	map(AT, 64 * GIB, MAP_NORESERVE);
	answer(answers);
	while (read(orders, &c, 1) == 1) {
		*(volatile char *)(AT + n++ * 3 * GIB + 5 * PAGE) = 1;
		answer(answers);
	}
}

static void sparse(void)
{
	struct child c = start(sparse_child);
	uint64_t before = vmpte_kb(c.pid), armed, scan_ns = 0;

	arm(c.pid);
	armed = vmpte_kb(c.pid);
	for (int i = 0; i < 20; i++) {
		const struct umem_round *round;

		tell(&c, 'w');
		round = collect();
		T_CHECK(round->why_bytes[UMEM_WHY_WRITTEN] >= PAGE &&
			round->why_bytes[UMEM_WHY_WRITTEN] <= 64 * PAGE, "%llu",
			(unsigned long long)round->why_bytes[UMEM_WHY_WRITTEN]);
		scan_ns = round->scan_ns;
	}
	printf("64 GiB untouched: VmPTE %llu kB, armed %llu kB, after 20 touches %llu kB; "
	       "a round %.2f ms; %llu kB of heap\n",
		(unsigned long long)before, (unsigned long long)armed,
		(unsigned long long)vmpte_kb(c.pid), (double)scan_ns / 1e6,
		(unsigned long long)umem_watch_memory(watch) / 1024);
	T_CHECK(armed - before < 300);
	/* 20 touches need 20 page tables and 20 of the level above by themselves. */
	T_CHECK(vmpte_kb(c.pid) - before < 300 + 20 * 8);
	disarm();
	end(&c);
}

/* 10,000 mappings that do not merge. */
#define N_MAPS 10000ull

static void many_child(int orders, int answers)
{
	uint64_t n = 0;
	char c;

	for (uint64_t i = 0; i < N_MAPS; i++) {
		map(AT + i * 4 * PAGE, 2 * PAGE, 0);
		*(volatile char *)(AT + i * 4 * PAGE) = 1;
	}
	answer(answers);
	while (read(orders, &c, 1) == 1) {
		for (int i = 0; i < 100; i++)
			*(volatile char *)(AT + n++ * 97 % N_MAPS * 4 * PAGE) += 1;
		answer(answers);
	}
}

static void many(void)
{
	struct child c = start(many_child);
	uint64_t scan_ns = 0;

	arm(c.pid);
	for (int i = 0; i < 10; i++) {
		const struct umem_round *round;

		tell(&c, 'w');
		round = collect();
		T_CHECK(round->why_bytes[UMEM_WHY_WRITTEN] >= 100 * PAGE &&
			round->why_bytes[UMEM_WHY_WRITTEN] < 130 * PAGE);
		scan_ns += round->scan_ns;
	}
	printf("10,000 mappings: armed in %.1f ms, a round %.2f ms\n",
		(double)umem_watch_armed(watch)->arm_ns / 1e6, (double)scan_ns / 1e7);
	T_CHECK(scan_ns / 10 < 500000000);
	disarm();
	end(&c);
}

/* 2 GiB in huge pages, then every second page or so at random, one in each 2 MiB first. */
#define DENSE (2 * GIB)

static void dense_child(int orders, int answers)
{
	uint64_t state = 1;
	char c;

	map(AT, DENSE, MAP_NORESERVE);
	madvise((void *)AT, DENSE, MADV_HUGEPAGE);
	for (uint64_t i = 0; i < DENSE; i += HUGE)
		*(volatile char *)(AT + i) = 1;
	answer(answers);
	while (read(orders, &c, 1) == 1) {
		for (uint64_t i = 0; i < DENSE / PAGE; i++)
			if (t_rand(&state) & 1)
				*(volatile char *)(AT + i * PAGE) += 1;
		answer(answers);
	}
}

static void dense(void)
{
	struct child c = start(dense_child);

	arm(c.pid);
	for (int i = 0; i < 3; i++) {
		const struct umem_round *round;
		uint64_t pages, limit;

		tell(&c, 'w');
		round = collect();
		pages = round->tracked_bytes / PAGE;
		limit = pages * 2 / 8 + (1 << 20);
		printf("%llu MiB tracked, %llu MiB of it dirty at random: a round %.1f ms, "
		       "%llu kB of heap, %.2f bits a page\n",
			(unsigned long long)round->tracked_bytes >> 20,
			(unsigned long long)round->dirty_bytes >> 20,
			(double)round->scan_ns / 1e6,
			(unsigned long long)umem_watch_memory(watch) / 1024,
			(double)umem_watch_memory(watch) * 8 / (double)pages);
		T_CHECK(round->dirty_bytes > DENSE / 3 && round->dirty_bytes < DENSE * 2 / 3);
		T_CHECK(umem_watch_memory(watch) <= limit, "%llu > %llu",
			(unsigned long long)umem_watch_memory(watch), (unsigned long long)limit);
	}
	disarm();
	end(&c);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0)
		T_SKIP("attaching needs root");
	sparse();
	many();
	dense();
	return 0;
}
