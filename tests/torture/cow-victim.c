// SPDX-License-Identifier: LGPL-2.1-or-later
/* A process whose memory proves at which moment it was copied. */
#include "tests/torture/cow-victim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/harness.h"

/* A churner's slot: it works on pieces of this many pages. */
#define PIECE_PAGES 24
#define N_PIECES 32

struct lane {
	volatile uint8_t *at;
	volatile uint8_t *odd_at; /* where odd pages are written */
	uint64_t n_pages;
	pthread_t thread;
};

struct churner {
	uint8_t *at;
	int fd; /* of shared memory, or -1 */
	unsigned what;
	unsigned pause_us;
	uint64_t rand;
	pthread_t thread;
};

static struct lane lanes[V_MAX_LANES];
static struct churner churners[V_MAX_CHURNERS];

static uint64_t slot_at(unsigned slot)
{
	return V_ARENA_AT + slot * V_SLOT_BYTES;
}

uint64_t v_lane_at(unsigned lane)
{
	return slot_at(lane);
}

uint64_t v_alias_at(unsigned lane)
{
	return slot_at(V_MAX_LANES / 2 + lane);
}

uint64_t v_cold_at(void)
{
	return slot_at(V_MAX_LANES + V_MAX_CHURNERS);
}

/* The word of a page moves about in it, and is repeated at its end. */
static uint64_t offset_of(uint64_t page)
{
	return page * 72 % (V_PAGE - 16) / 8 * 8;
}

static void *run_lane(void *arg)
{
	struct lane *lane = arg;

	for (uint64_t c = 1;; c++)
		for (uint64_t i = 0; i < lane->n_pages; i++)
			*(volatile uint64_t *)((i & 1 ? lane->odd_at : lane->at) + i * V_PAGE +
				offset_of(i)) = c;
	return NULL;
}

uint64_t v_check_lane(const uint8_t *bytes, uint64_t n_pages)
{
	uint64_t first = 0, now;
	bool stepped = false;

	for (uint64_t i = 0; i < n_pages; i++) {
		memcpy(&now, bytes + i * V_PAGE + offset_of(i), sizeof(now));
		if (i == 0)
			first = now;
		else if (now + 1 == first && !stepped)
			stepped = true;
		else if (now != (stepped ? first - 1 : first))
			return i + 1;
	}
	return 0;
}

static void fill(uint8_t *at, uint64_t *rand, uint64_t n_pages)
{
	uint64_t gen = t_rand(rand);

	for (uint64_t i = 0; i < n_pages; i++)
		if (t_below(rand, 8))
			t_fill_page(at + i * V_PAGE, i + gen % 1000, gen);
}

static void map_fresh(const struct churner *c, uint8_t *at, uint64_t len)
{
	int flags = MAP_FIXED | (c->fd < 0 ? MAP_ANONYMOUS | MAP_PRIVATE : MAP_SHARED);

	T_CHECK(mmap(at, len, PROT_READ | PROT_WRITE, flags, c->fd,
			c->fd < 0 ? 0 : (off_t)(at - c->at)) == at);
}

static void run_fork(struct churner *c)
{
	pid_t pid = fork();

	T_CHECK(pid >= 0);
	if (pid == 0) {
		/* It writes what it has of its parent (of its own), and is gone. */
		for (uint64_t i = 0; i < PIECE_PAGES && c->fd < 0; i++)
			c->at[i * V_PAGE] = 0xee;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void churn_once(struct churner *c)
{
	uint64_t piece = t_below(&c->rand, N_PIECES), len = PIECE_PAGES * V_PAGE;
	uint64_t other = (piece + 1 + t_below(&c->rand, N_PIECES - 1)) % N_PIECES;
	uint8_t *at = c->at + piece * len, *to = c->at + other * len;
	uint64_t first = t_below(&c->rand, PIECE_PAGES);
	uint64_t n = 1 + t_below(&c->rand, PIECE_PAGES - first);
	unsigned what = 1u << t_below(&c->rand, 7);

	switch (c->what & what) {
	case V_CHURN_DONTNEED:
		T_SYS(madvise(at + first * V_PAGE, n * V_PAGE, MADV_DONTNEED));
		break;
	case V_CHURN_FREE:
		/* Until it is written again its content may be either; so it is written. */
		if (c->fd < 0)
			T_SYS(madvise(at + first * V_PAGE, n * V_PAGE, MADV_FREE));
		memset(at + first * V_PAGE, 0x5a, n * V_PAGE);
		break;
	case V_CHURN_REMAP:
		T_CHECK(mremap(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		map_fresh(c, at, len);
		break;
	case V_CHURN_UNMAP:
		map_fresh(c, at, len);
		break;
	case V_CHURN_FORK:
		run_fork(c);
		break;
	case V_CHURN_REMOVE:
		if (c->fd >= 0)
			T_SYS(madvise(at + first * V_PAGE, n * V_PAGE, MADV_REMOVE));
		break;
	case V_CHURN_PROTECT:
		T_SYS(mprotect(at, len, PROT_NONE));
		T_SYS(mprotect(at, len, PROT_READ | PROT_WRITE));
		break;
	default:
		break;
	}
	if (t_below(&c->rand, 2))
		fill(at + first * V_PAGE, &c->rand, n);
}

static void *run_churner(void *arg)
{
	struct churner *c = arg;

	fill(c->at, &c->rand, N_PIECES * PIECE_PAGES);
	for (;;) {
		churn_once(c);
		if (c->pause_us)
			usleep(c->pause_us);
	}
	return NULL;
}

static uint8_t *map_at(uint64_t addr, uint64_t len, int fd, bool huge)
{
	int flags = MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS | MAP_PRIVATE : MAP_SHARED);
	uint8_t *at = (uint8_t *)addr;

	T_CHECK(mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, 0) == at);
	madvise(at, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return at;
}

/* Memory of lane @i, filled; its thread is started if @mine. */
static void start_lane(const struct v_plan *plan, unsigned i, int fd, bool mine)
{
	struct lane *lane = &lanes[i];
	uint64_t len = plan->lane_pages * V_PAGE;

	lane->at = map_at(v_lane_at(i), len, fd, plan->huge);
	lane->odd_at = plan->alias ? map_at(v_alias_at(i), len, fd, plan->huge) : lane->at;
	lane->n_pages = plan->lane_pages;
	if (!mine)
		return;
	for (uint64_t k = 0; k < plan->lane_pages; k++) {
		t_fill_page((uint8_t *)lane->at + k * V_PAGE, k, i);
		*(volatile uint64_t *)(lane->at + k * V_PAGE + offset_of(k)) = 0;
	}
	T_OK(pthread_create(&lane->thread, NULL, run_lane, lane));
}

static void start_churner(const struct v_plan *plan, unsigned i)
{
	uint64_t len = N_PIECES * PIECE_PAGES * V_PAGE;
	struct churner *c = &churners[i];
	int fd = -1;

	/* Every other one on shared memory. */
	if (plan->shared && (i & 1)) {
		fd = (int)T_SYS(memfd_create("churn", 0));
		T_SYS(ftruncate(fd, (off_t)len));
	}
	*c = (struct churner){
		.at = map_at(slot_at(V_MAX_LANES + i), len, fd, false),
		.fd = fd,
		.what = plan->churn,
		.pause_us = plan->pause_us,
		.rand = plan->seed + i * 7919,
	};
	T_OK(pthread_create(&c->thread, NULL, run_churner, c));
}

static void run(const struct v_plan *plan, const int *fds, bool is_twin, int ready_fd)
{
	if (!is_twin) {
		uint8_t *cold = map_at(v_cold_at(), V_SLOT_BYTES, -1, false);

		for (uint64_t i = 0; i < plan->cold_pages; i++)
			t_fill_page(cold + i * V_PAGE, i, 3);
	}
	for (unsigned i = 0; i < plan->n_lanes; i++)
		start_lane(plan, i, fds[i], plan->twin ? (i & 1) == is_twin : true);
	for (unsigned i = 0; i < plan->n_churners && !is_twin; i++)
		start_churner(plan, i);
	T_CHECK(write(ready_fd, "r", 1) == 1);
	for (;;)
		pause();
}

uint64_t v_check_cold(const uint8_t *bytes, uint64_t n_pages)
{
	uint8_t want[V_PAGE];
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < n_pages; i++) {
		t_fill_page(want, i, 3);
		wrong += memcmp(bytes + i * V_PAGE, want, V_PAGE) != 0;
	}
	return wrong;
}

/* Run one of the two. */
static pid_t start(const struct v_plan *plan, const int *fds, bool is_twin)
{
	int ends[2];
	pid_t pid;
	char c;

	T_SYS(pipe(ends));
	pid = t_fork();
	if (pid == 0) {
		close(ends[0]);
		run(plan, fds, is_twin, ends[1]);
	}
	close(ends[1]);
	T_CHECK(read(ends[0], &c, 1) == 1);
	close(ends[0]);
	return pid;
}

pid_t v_start(const struct v_plan *plan, pid_t *ret_twin)
{
	int fds[V_MAX_LANES];
	pid_t pid;

	for (unsigned i = 0; i < plan->n_lanes; i++) {
		fds[i] = plan->shared ? (int)T_SYS(memfd_create("lane", 0)) : -1;
		if (plan->shared)
			T_SYS(ftruncate(fds[i], (off_t)(plan->lane_pages * V_PAGE)));
	}
	pid = start(plan, fds, false);
	*ret_twin = plan->twin ? start(plan, fds, true) : -1;
	for (unsigned i = 0; i < plan->n_lanes; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return pid;
}
