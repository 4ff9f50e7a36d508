// SPDX-License-Identifier: LGPL-2.1-or-later
/* The staircase: the victim, its areas and lanes; see staircase.h. */
#include "tests/matrix/staircase.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define HUGE_BYTES (2ul << 20)
#define SPARSE	   61u

static struct sc_plan *const plan = (struct sc_plan *)SC_PLAN_AT;
static struct sc_hot *const hot = (struct sc_hot *)SC_HOT_AT;

static char *map(uint64_t len, int flags, int fd)
{
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	T_CHECK(at != MAP_FAILED, "%s", strerror(errno));
	return at;
}

/* Private memory at a boundary of huge pages; what surrounds it is never accessed. */
static char *map_aligned(uint64_t len)
{
	char *at = mmap(NULL, len + 2 * HUGE_BYTES, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	T_CHECK(at != MAP_FAILED);
	at = (char *)umem_align_up((uintptr_t)at, HUGE_BYTES);
	T_SYS(mprotect(at, len, PROT_READ | PROT_WRITE));
	T_SYS(madvise(at, len, MADV_HUGEPAGE));
	return at;
}

static int make_memfd(uint64_t len)
{
	int fd = (int)T_SYS(memfd_create("staircase", MFD_CLOEXEC));

	T_SYS(ftruncate(fd, (off_t)len));
	return fd;
}

/* A file on disk that nobody else sees, as long as the area. */
static int make_file(uint64_t len)
{
	char path[] = "/var/tmp/umem-test-staircase-XXXXXX";
	int fd = (int)T_SYS(mkostemp(path, O_CLOEXEC));

	T_SYS(unlink(path));
	T_SYS(ftruncate(fd, (off_t)len));
	return fd;
}

static void map_lane(struct sc_lane *lane)
{
	uint64_t len = lane->n_pages * SC_PAGE;
	char *at = NULL;
	int fd = -1;

	switch ((enum sc_kind)lane->kind) {
	case SC_MEMFD:
	case SC_ALIAS:
		fd = make_memfd(len);
		at = map(len, MAP_SHARED, fd);
		break;
	case SC_SHARED:
		at = map(len, MAP_SHARED | MAP_ANONYMOUS, -1);
		break;
	case SC_FILE:
		fd = make_file(len);
		at = map(len, MAP_PRIVATE, fd);
		break;
	case SC_THP:
		at = map_aligned(len);
		break;
	case SC_HUGETLB:
		at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		at = at == MAP_FAILED ? NULL : at;
		break;
	default:
		break;
	}
	if (!at) {
		at = map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		T_SYS(madvise(at, len, MADV_NOHUGEPAGE));
		if (lane->kind == SC_MERGED)
			T_SYS(madvise(at, len, MADV_MERGEABLE));
		else
			lane->kind = SC_ANON;
	}
	lane->at = lane->alias = (uintptr_t)at;
	if (lane->kind == SC_ALIAS)
		lane->alias = (uintptr_t)map(len, MAP_SHARED, fd);
	if (fd >= 0)
		close(fd);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	return b ? gcd(b, a % b) : a;
}

/* Up, down, or scattered, so that whoever copies in one direction meets each. */
static uint32_t order_of(uint64_t nth, uint64_t n_pages)
{
	uint64_t order = n_pages * 5 / 8 | 1;

	if (nth % 3 == 0)
		return 1;
	if (nth % 3 == 1)
		return (uint32_t)n_pages - 1;
	while (gcd(order, n_pages) != 1)
		order += 2;
	return (uint32_t)order;
}

static volatile uint64_t *page_at(const struct sc_lane *lane, uint64_t page)
{
	return (volatile uint64_t *)((page % 2 ? lane->alias : lane->at) + page * SC_PAGE);
}

/* The lane of which lane @lane looks at the progress when it writes its page number @i. */
static unsigned seen_by(unsigned lane, uint64_t i)
{
	return plan->n_lanes == 1 ? 0 : (lane + 1 + i % (plan->n_lanes - 1)) % plan->n_lanes;
}

static uint64_t look(unsigned of)
{
	return sc_seen_word(of, __atomic_load_n(&hot->lanes[of].done, __ATOMIC_ACQUIRE));
}

/* The word was what this lane wrote, and becomes the next. */
static void write_word(unsigned l, volatile uint64_t *words, unsigned w, uint64_t number,
	uint64_t pass)
{
	if (words[w] != sc_word(l, number, pass - 1)) {
		fprintf(stderr, "lane %u, page %llu, word %u: %#llx in pass %llu\n", l,
			(unsigned long long)number, w, (unsigned long long)words[w],
			(unsigned long long)pass);
		_exit(9);
	}
	words[w] = sc_word(l, number, pass);
}

static void write_page(unsigned l, uint64_t i, uint64_t pass)
{
	const struct sc_lane *lane = &plan->lanes[l];
	uint64_t page = sc_page_of(lane, i), number = sc_number_of(lane, page);
	volatile uint64_t *words = page_at(lane, page);

	write_word(l, words, 0, number, pass);
	if (lane->kind != SC_MERGED)
		words[SC_SEEN] = look(seen_by(l, i));
	for (unsigned w = lane->stride == 1 ? 2 : lane->stride; w < SC_WORDS; w += lane->stride)
		write_word(l, words, w, number, pass);
	if ((SC_WORDS - 1) % lane->stride)
		write_word(l, words, SC_WORDS - 1, number, pass);
}

static void fill_lane(unsigned l)
{
	const struct sc_lane *lane = &plan->lanes[l];

	for (uint64_t i = 0; i < lane->n_pages; i++) {
		uint64_t page = sc_page_of(lane, i);
		volatile uint64_t *words = page_at(lane, page);

		for (unsigned w = 0; w < SC_WORDS; w++)
			words[w] = sc_word(l, sc_number_of(lane, page), 0);
		words[SC_SEEN] = sc_seen_word(lane->kind == SC_MERGED ? l : seen_by(l, i), 0);
	}
}

static void *run_lane(void *user)
{
	unsigned l = (unsigned)(uintptr_t)user;
	uint64_t done = 0;

	for (uint64_t pass = 1;; pass++) {
		for (uint64_t i = 0; i < plan->lanes[l].n_pages; i++) {
			write_page(l, i, pass);
			__atomic_store_n(&hot->lanes[l].done, ++done, __ATOMIC_RELEASE);
			/* One in four sleeps a lot, as most threads do; and alike take time. */
			if (l % 4 == 3 || plan->lanes[l].kind == SC_MERGED)
				usleep(plan->lanes[l].kind == SC_MERGED ? 500 : 50);
		}
	}
	return NULL;
}

static void start_lanes(unsigned process)
{
	pthread_t thread;

	for (unsigned l = 0; l < plan->n_lanes; l++)
		if (plan->lanes[l].process == process)
			T_CHECK(pthread_create(&thread, NULL, run_lane, (void *)(uintptr_t)l) == 0);
}

static enum sc_kind kind_of(const struct sc_setup *setup, unsigned lane)
{
	if (setup->kind == SC_MIXED)
		return (enum sc_kind)((lane + setup->seed) % SC_HUGETLB);
	if (setup->kind == SC_MERGED && lane % 2)
		return SC_ANON;
	return setup->kind;
}

static void make_plan(const struct sc_setup *setup)
{
	int sharing = setup->n_processes > 1 ? MAP_SHARED : MAP_PRIVATE;

	T_CHECK(mmap(plan, 2 * SC_PAGE, PROT_READ | PROT_WRITE,
		sharing | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == plan);
	plan->magic = SC_MAGIC;
	plan->n_lanes = setup->n_lanes;
	plan->n_processes = setup->n_processes;
	for (unsigned l = 0; l < setup->n_lanes; l++) {
		struct sc_lane *lane = &plan->lanes[l];

		*lane = (struct sc_lane){
			.n_pages = setup->n_pages,
			.kind = kind_of(setup, l),
			.order = order_of(l + setup->seed, setup->n_pages),
			.stride = l % 2 ? SPARSE : 1,
			.process = l % setup->n_processes,
		};
		map_lane(lane);
		fill_lane(l);
	}
	sc_churn_plan(plan, setup->churn);
}

/*
 * Children that come and go have no part in shared memory: who takes a snapshot without
 * them would have to admit that they might write to it.
 */
static void keep_from_children(void)
{
	for (unsigned l = 0; l < plan->n_lanes; l++) {
		const struct sc_lane *lane = &plan->lanes[l];
		uint64_t len = lane->n_pages * SC_PAGE;

		if (lane->kind != SC_MEMFD && lane->kind != SC_SHARED && lane->kind != SC_ALIAS)
			continue;
		T_SYS(madvise((void *)lane->at, len, MADV_DONTFORK));
		T_SYS(madvise((void *)lane->alias, len, MADV_DONTFORK));
	}
}

/* The second process has its own copy of what is private, and runs its own lanes. */
static void start_second(void)
{
	plan->pids[0] = plan->pids[1] = (int32_t)getpid();
	if (plan->n_processes == 1)
		return;
	if (t_fork() == 0) {
		plan->pids[1] = (int32_t)getpid();
		start_lanes(1);
		for (;;)
			pause();
	}
	T_UNTIL(5, plan->pids[1] != plan->pids[0]);
}

/* Has each lane gone on, and is each signal there that was sent before? */
static bool all_went_on(const uint64_t *before, uint64_t sent)
{
	for (unsigned l = 0; l < plan->n_lanes; l++)
		if (__atomic_load_n(&hot->lanes[l].done, __ATOMIC_ACQUIRE) <= before[l] + 1)
			return false;
	return __atomic_load_n(&hot->signals_got, __ATOMIC_ACQUIRE) >= sent;
}

static uint64_t answer(void)
{
	uint64_t before[SC_MAX_LANES], sum = 0;
	uint64_t sent = __atomic_load_n(&hot->signals_sent, __ATOMIC_ACQUIRE);

	for (unsigned l = 0; l < plan->n_lanes; l++)
		sum += before[l] = __atomic_load_n(&hot->lanes[l].done, __ATOMIC_ACQUIRE);
	T_UNTIL(20, all_went_on(before, sent));
	T_CHECK(hot->signals_got <= hot->signals_sent + 1);
	return sum;
}

static void serve(char *const *argv)
{
	char order;

	for (;;) {
		if (read(STDIN_FILENO, &order, 1) != 1)
			exit(0);
		if (order == 'q')
			exit(0);
		if (order == 'x')
			T_SYS(execv("/proc/self/exe", argv));
		printf("ok %llu\n", (unsigned long long)answer());
		fflush(stdout);
	}
}

void sc_main(int argc, char **argv)
{
	struct sc_setup setup = { 0 };
	unsigned long long n_pages, seed;
	unsigned kind;
	int n;

	if (argc != 3 || strcmp(argv[1], "--staircase") != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Lanes want every processor; who looks at them shall come to its own. */
	T_CHECK(nice(5) >= 0);
	n = sscanf(argv[2], "%u %u %llu %u %u %llu", &setup.n_lanes, &kind, &n_pages, &setup.churn,
		&setup.n_processes, &seed);
	T_CHECK(n == 6);
	T_CHECK(setup.n_lanes >= 1 && setup.n_lanes <= SC_MAX_LANES);
	T_CHECK(setup.n_processes == 1 || setup.n_processes == 2);
	setup.kind = (enum sc_kind)kind;
	setup.n_pages = n_pages;
	setup.seed = seed;
	make_plan(&setup);
	start_second();
	keep_from_children();
	sc_churn_start(plan, hot, setup.churn, seed);
	start_lanes(0);
	answer();
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	serve(argv);
}

/* The number in the next line, which begins with @word. */
static uint64_t await(struct sc_victim *victim, const char *word)
{
	unsigned long long number = 0;
	char line[64] = "", got[16] = "";
	size_t len = 0;
	int n_got;

	do {
		ssize_t n = read(victim->out, line + len, 1);

		T_CHECK(n == 1, "the victim ended");
	} while (line[len++] != '\n' && len < sizeof(line) - 1);
	n_got = sscanf(line, "%15s %llu", got, &number);
	T_CHECK(n_got == 2 && strcmp(got, word) == 0, ": %s", line);
	return number;
}

void sc_start(struct sc_victim *victim, const struct sc_setup *setup)
{
	int in[2], out[2];
	char text[96];

	snprintf(text, sizeof(text), "%u %u %llu %u %u %llu", setup->n_lanes,
		(unsigned)setup->kind, (unsigned long long)setup->n_pages, setup->churn,
		setup->n_processes, (unsigned long long)setup->seed);
	T_SYS(pipe2(in, O_CLOEXEC));
	T_SYS(pipe2(out, O_CLOEXEC));
	victim->pid = t_fork();
	if (victim->pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/proc/self/exe", "staircase", "--staircase", text, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	victim->in = in[1];
	victim->out = out[0];
	T_CHECK(await(victim, "ready") == (uint64_t)victim->pid);
}

uint64_t sc_check(struct sc_victim *victim)
{
	T_CHECK(write(victim->in, "\n", 1) == 1);
	return await(victim, "ok");
}

void sc_stop(struct sc_victim *victim)
{
	t_end(victim->pid);
	close(victim->in);
	close(victim->out);
}
