// SPDX-License-Identifier: LGPL-2.1-or-later
/* A victim that checks its own memory, and a run of reclaim in lockstep with it. */
#include "lib/base/attr.h"
#include "tests/matrix/victim.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/procstat.h"

/* A piece that is put out at once. */
#define PIECE (4u << 20)

/* What a victim is started with; in text on the command line after V_EXEC. */
struct start {
	uint64_t n_hot;
	uint64_t n_cold;
	int cmd;
	int reply;
};

struct memory {
	char *at;
	bool shared;
	uint64_t n_hot;
	uint64_t n;
	uint64_t random;
};

static uint64_t check_pages(const struct memory *m)
{
	for (uint64_t i = 0; i < m->n; i++) {
		const uint8_t *page = (const uint8_t *)m->at + i * K_PAGE;

		if (m->random && i >= m->n_hot)
			continue;
		for (uint64_t k = 0; k < K_PAGE; k++)
			T_CHECK(page[k] == t_pattern(i, k, 1), "page %llu of %llu",
				(unsigned long long)i, (unsigned long long)m->n);
	}
	return m->n;
}

static uint64_t use_hot(const struct memory *m, bool writes)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < m->n_hot; i++) {
		volatile uint8_t *byte = (volatile uint8_t *)m->at + i * K_PAGE;

		sum += *byte;
		if (writes)
			*byte = t_pattern(i, 0, 1);
	}
	return sum;
}

static uint64_t use_sparsely(const struct memory *m)
{
	uint64_t sum = use_hot(m, false);

	for (uint64_t i = m->n_hot; i < m->n; i += V_GAP)
		sum += *(volatile uint8_t *)(m->at + i * K_PAGE);
	return sum;
}

static void fill(const struct memory *m, uint64_t first)
{
	for (uint64_t i = first; i < m->n; i++)
		t_fill_page(m->at + i * K_PAGE, i, 1);
}

/* As allocators do: what the pages held is given back, and they are used again. */
static uint64_t refill(const struct memory *m)
{
	uint64_t first = m->n - (m->n - m->n_hot) / 2;

	T_SYS(madvise(m->at + first * K_PAGE, (m->n - first) * K_PAGE,
		m->shared ? MADV_REMOVE : MADV_DONTNEED));
	fill(m, first);
	return m->n - first;
}

static void share(struct memory *m)
{
	T_CHECK(mmap(m->at, m->n * K_PAGE, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m->at);
	m->shared = true;
	fill(m, 0);
}

static uint64_t have_child(void)
{
	pid_t pid = (pid_t)T_SYS(fork());

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return (uint64_t)pid;
}

static void become(const struct start *start)
{
	char text[80];

	snprintf(text, sizeof(text), "%llu %llu %d %d", (unsigned long long)start->n_hot,
		(unsigned long long)start->n_cold, start->cmd, start->reply);
	T_SYS(execl("/proc/self/exe", "victim", "--victim", text, NULL));
}

static uint64_t obey(const struct start *start, struct memory *m, char order)
{
	uint64_t quarter = start->n_cold / 4;

	switch (order) {
	case V_TOUCH:
		return use_hot(m, true);
	case V_READ:
		return use_hot(m, false);
	case V_SPARSE:
		return use_sparsely(m);
	case V_CHECK:
		return check_pages(m);
	case V_FORK:
		return have_child();
	case V_EXEC:
		become(start);
		return 0;
	case V_UNMAP:
		m->n -= quarter;
		T_SYS(munmap(m->at + m->n * K_PAGE, quarter * K_PAGE));
		return m->n;
	case V_DISCARD:
		m->n -= quarter;
		T_SYS(madvise(m->at + m->n * K_PAGE, quarter * K_PAGE, MADV_DONTNEED));
		return m->n;
	case V_REFILL:
		return refill(m);
	case V_SHARE:
		share(m);
		return m->n;
	case V_LOCK:
		T_SYS(mlock(m->at, m->n * K_PAGE));
		return m->n;
	case V_HUGE:
		/* By hand, since the setting for the whole machine may be "never". */
		madvise(m->at, m->n * K_PAGE, MADV_HUGEPAGE);
		for (char *at = (char *)umem_align_up((uintptr_t)m->at, K_HUGE);
			at + K_HUGE <= m->at + m->n * K_PAGE; at += K_HUGE)
			madvise(at, K_HUGE, MADV_COLLAPSE);
		return m->n;
	case V_RANDOM:
		m->random = 1;
		for (uint64_t i = m->n_hot * K_PAGE; i < m->n * K_PAGE; i += 8)
			*(uint64_t *)(m->at + i) = t_rand(&m->random);
		return m->n;
	default:
		T_FAIL("no such order: %c", order);
	}
}

static void serve(const struct start *start)
{
	struct memory m = { .n_hot = start->n_hot, .n = start->n_hot + start->n_cold };
	uint64_t answer;
	char order;

	m.at = k_anon(m.n * K_PAGE);
	fill(&m, 0);
	answer = (uintptr_t)m.at;
	do {
		T_CHECK(write(start->reply, &answer, sizeof(answer)) == sizeof(answer));
		if (read(start->cmd, &order, 1) != 1)
			_exit(0);
		answer = obey(start, &m, order);
	} while (true);
}

void v_main(int argc, char **argv)
{
	unsigned long long n_hot, n_cold;
	struct start start;
	int n;

	if (argc < 3 || strcmp(argv[1], "--victim") != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	n = sscanf(argv[2], "%llu %llu %d %d", &n_hot, &n_cold, &start.cmd, &start.reply);
	T_CHECK(n == 4);
	start.n_hot = n_hot;
	start.n_cold = n_cold;
	serve(&start);
}

static uint64_t await(struct victim *v)
{
	uint64_t answer;

	T_CHECK(read(v->reply, &answer, sizeof(answer)) == sizeof(answer), "the victim ended");
	return answer;
}

int v_pagemap(pid_t pid)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	return (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
}

void v_start(struct victim *v, uint64_t n_hot, uint64_t n_cold, const char *name)
{
	struct start start = { .n_hot = n_hot, .n_cold = n_cold };
	int cmd[2], reply[2];
	char path[48];

	*v = (struct victim){ .n_hot = n_hot, .n_cold = n_cold };
	T_SYS(pipe(cmd));
	T_SYS(pipe(reply));
	v->pid = t_fork();
	if (v->pid == 0) {
		close(cmd[1]);
		close(reply[0]);
		start.cmd = cmd[0];
		start.reply = reply[1];
		if (name)
			prctl(PR_SET_NAME, name);
		serve(&start);
	}
	close(cmd[0]);
	close(reply[1]);
	/* Another victim must not hold this one's pipes open. */
	T_SYS(fcntl(cmd[1], F_SETFD, FD_CLOEXEC));
	T_SYS(fcntl(reply[0], F_SETFD, FD_CLOEXEC));
	v->cmd = cmd[1];
	v->reply = reply[0];
	v->base = await(v);
	snprintf(path, sizeof(path), "/proc/%d", (int)v->pid);
	v->proc = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	v->pagemap = v_pagemap(v->pid);
}

uint64_t v_huge(const struct victim *v)
{
	unsigned long long kb = 0;
	char path[48], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)v->pid);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file) &&
		sscanf(line, "AnonHugePages: %llu", &kb) != 1)
		;
	fclose(file);
	return kb << 10;
}

uint64_t v_tell(struct victim *v, enum v_order order)
{
	char c = (char)order;

	T_CHECK(write(v->cmd, &c, 1) == 1);
	return await(v);
}

void v_stop(struct victim *v)
{
	if (v->pid)
		t_end(v->pid);
	close(v->cmd);
	close(v->reply);
	close(v->proc);
	close(v->pagemap);
}

uint64_t v_out(const struct victim *v, uint64_t first, uint64_t n)
{
	uint64_t words[512], out = 0;

	for (uint64_t i = 0; i < n;) {
		size_t want = n - i < 512 ? n - i : 512;
		off_t at = (off_t)((v->base / K_PAGE + first + i) * sizeof(words[0]));

		T_CHECK(pread(v->pagemap, words, want * 8, at) == (ssize_t)want * 8);
		/* A swap entry of a kind that is a swap area, and not a marker. */
		for (size_t k = 0; k < want; k++)
			out += (words[k] & UMEM_PM_SWAPPED) && (words[k] & 31) < 24;
		i += want;
	}
	return out;
}

uint64_t v_maj_flt(const struct victim *v)
{
	struct umem_procstat stat;

	T_OK(umem_procstat_read(v->proc, &stat));
	return stat.maj_flt;
}

/* As a clock does, it goes on between two readings. */
static uint64_t run_clock(void *user)
{
	struct run *run = user;

	return run->now_ns++;
}

void run_init(struct run *run, enum umem_policy policy)
{
	*run = (struct run){
		.options = {
			.policy = policy,
			.interval_ns = V_STEP_NS,
			.refault_max_ppm_min = UINT64_MAX,
			.pressure_max_ppm = 1000000,
			.limits = { .back_off_ns = V_STEP_NS },
			.seed = t_seed(),
		},
		.now_ns = 1000 * (uint64_t)V_STEP_NS,
	};
	run->clock = (struct umem_clock){ .now_ns = run_clock, .user = run };
	run->options.clock = &run->clock;
}

static void count(struct run *run)
{
	T_CHECK(run->result == 0 || run->result == UMEM_GONE, ": %d %s", run->result,
		run->note.text);
	run->reclaimed_bytes += run->report->sum.reclaimed_bytes;
	run->refaulted_bytes += run->report->sum.refaulted_bytes;
}

void run_begin(struct run *run)
{
	int r = umem_reclaim_new(&run->options, &run->reclaim, &run->note);

	T_CHECK(r == 0, ": %d %s", r, run->note.text);
	run->result = umem_reclaim_look(run->reclaim, &run->report, &run->note);
	count(run);
}

void run_work(struct run *run)
{
	bool more = true;

	while (more)
		T_OK(umem_reclaim_work(run->reclaim, PIECE, &more));
}

void run_look(struct run *run)
{
	run->now_ns += V_STEP_NS;
	run->result = umem_reclaim_look(run->reclaim, &run->report, &run->note);
	count(run);
}

void run_step(struct run *run, struct victim *v, enum v_order order)
{
	run_work(run);
	if (v)
		v_tell(v, order);
	run_look(run);
}

void run_steps(struct run *run, struct victim *v, enum v_order order, unsigned n)
{
	while (n-- > 0)
		run_step(run, v, order);
}

bool run_told(const struct run *run, pid_t pid, const char *part)
{
	for (size_t i = 0; i < run->report->n_events; i++)
		if (run->report->events[i].pid == pid &&
			strstr(run->report->events[i].text, part))
			return true;
	return false;
}

void run_end(struct run *run)
{
	run->reclaim = umem_reclaim_free(run->reclaim);
}
