// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The staircase: what goes on beside the lanes; see staircase.h.
 *
 * A thread for each kind of churn. Each of them checks what it can: memory holds what
 * was written to it, calls are not seen to be interrupted, no signal is lost. A wrong
 * one ends the victim with status 9.
 */
#include "tests/matrix/staircase.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define SCRATCH_PAGES 48u
#define N_LIVE	      64u
#define RING_PAGES    4u

/* What a thread of churn is given. */
struct churn {
	const struct sc_plan *plan;
	struct sc_hot *hot;
	unsigned bit;
	uint64_t random;
	void (*run)(struct churn *churn);
	bool began; /* its first round */
};

static void wrong(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void wrong(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("\n", stderr);
	_exit(9);
}

static const struct sc_scratch *scratch_of(const struct churn *churn)
{
	for (unsigned i = 0; i < churn->plan->n_scratch; i++)
		if (churn->plan->scratch[i].churn == churn->bit)
			return &churn->plan->scratch[i];
	wrong("churn %#x has no scratch", churn->bit);
}

/* The beginning of each round: a moment of rest, so that the lanes go on as well. */
static void round_begins(struct churn *churn)
{
	__atomic_fetch_add(&churn->hot->churns[__builtin_ctz(churn->bit)], 1, __ATOMIC_RELAXED);
	__atomic_store_n(&churn->began, true, __ATOMIC_RELEASE);
	usleep(100 + (unsigned)t_below(&churn->random, 400));
}

void sc_fill_scratch(uint64_t at, uint64_t page, uint64_t gen)
{
	volatile uint64_t *words = (volatile uint64_t *)(at + page * SC_PAGE);

	for (unsigned w = 0; w < SC_WORDS; w++)
		words[w] = sc_scratch_word(page, gen);
}

/* @gens: the generation that each page was last written in; zeros may be there instead. */
static void check_scratch(const struct sc_scratch *s, uint64_t page, const uint64_t *gens,
	bool may_be_zeros)
{
	const volatile uint64_t *words = (volatile uint64_t *)(s->at + page * SC_PAGE);
	uint64_t want = gens[page] ? sc_scratch_word(page, gens[page]) : 0;

	for (unsigned w = 0; w < SC_WORDS; w++)
		if (words[w] != want && !(may_be_zeros && words[w] == 0))
			wrong("churn %#x, page %llu, word %u: %#llx, not %#llx", s->churn,
				(unsigned long long)page, w, (unsigned long long)words[w],
				(unsigned long long)want);
}

static void run_malloc(struct churn *churn)
{
	uint8_t *live[N_LIVE] = { 0 };
	size_t len[N_LIVE] = { 0 };

	for (uint64_t n = 0;; n++) {
		unsigned i = (unsigned)t_below(&churn->random, N_LIVE);
		size_t small = t_below(&churn->random, 3000);

		if (n % 64 == 0)
			round_begins(churn);
		for (size_t k = 0; k < len[i]; k++)
			if (live[i][k] != (uint8_t)(i + len[i]))
				wrong("a byte of malloc's changed");
		free(live[i]);
		len[i] = 1 + (n % 16 ? small : small * 100);
		live[i] = malloc(len[i]);
		T_CHECK(live[i]);
		memset(live[i], (int)(uint8_t)(i + len[i]), len[i]);
	}
}

/* Map, write and unmap; and map over pages of the scratch area. */
static void run_mmap(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	uint64_t gens[SCRATCH_PAGES] = { 0 };

	for (uint64_t gen = 1;; gen++) {
		uint64_t page = t_below(&churn->random, s->n_pages);
		uint64_t n = 1 + t_below(&churn->random, s->n_pages - page);
		char *where = (char *)s->at + page * SC_PAGE, *other;

		round_begins(churn);
		other = mmap(NULL, n * SC_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		T_CHECK(other != MAP_FAILED);
		sc_fill_scratch((uintptr_t)other, n - 1, gen);
		T_SYS(munmap(other, n * SC_PAGE));
		check_scratch(s, page, gens, false);
		T_CHECK(mmap(where, n * SC_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == where);
		memset(&gens[page], 0, n * sizeof(gens[0]));
		sc_fill_scratch(s->at, page, gen);
		gens[page] = gen;
	}
}

/* Private pages are discarded, and written again soon. */
static void run_discard(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	uint64_t gens[SCRATCH_PAGES] = { 0 };

	for (uint64_t gen = 1;; gen++) {
		uint64_t page = t_below(&churn->random, s->n_pages);
		uint64_t n = 1 + t_below(&churn->random, s->n_pages - page);
		bool is_lazy = gen % 3 == 0;

		round_begins(churn);
		for (uint64_t i = page; i < page + n; i++)
			check_scratch(s, i, gens, true);
		T_SYS(madvise((void *)(s->at + page * SC_PAGE), n * SC_PAGE,
			is_lazy ? MADV_FREE : MADV_DONTNEED));
		for (uint64_t i = page; i < page + n && !is_lazy; i++)
			gens[i] = 0;
		/* Half of them at once, the others when they come up again. */
		for (uint64_t i = page; i < page + (n + 1) / 2; i++) {
			sc_fill_scratch(s->at, i, gen);
			gens[i] = gen;
		}
	}
}

/* Pages of a memfd, by MADV_REMOVE and by the descriptor. */
static void run_punch(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	int fd = (int)T_SYS(memfd_create("punched", MFD_CLOEXEC));
	uint64_t gens[SCRATCH_PAGES] = { 0 };

	T_SYS(ftruncate(fd, (off_t)(s->n_pages * SC_PAGE)));
	T_CHECK(mmap((void *)s->at, s->n_pages * SC_PAGE, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, fd, 0) == (void *)s->at);
	for (uint64_t gen = 1;; gen++) {
		uint64_t page = t_below(&churn->random, s->n_pages);
		uint64_t n = 1 + t_below(&churn->random, s->n_pages - page);

		round_begins(churn);
		for (uint64_t i = page; i < page + n; i++)
			check_scratch(s, i, gens, false);
		if (gen % 2)
			T_SYS(madvise((void *)(s->at + page * SC_PAGE), n * SC_PAGE, MADV_REMOVE));
		else
			T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)(page * SC_PAGE), (off_t)(n * SC_PAGE)));
		memset(&gens[page], 0, n * sizeof(gens[0]));
		for (uint64_t i = page; i < page + (n + 1) / 2; i++) {
			sc_fill_scratch(s->at, i, gen);
			gens[i] = gen;
		}
	}
}

/* Children write to what they share with us until they do; nobody sees it here. */
static void run_fork(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	uint64_t gens[SCRATCH_PAGES] = { 0 };

	for (uint64_t gen = 1;; gen++) {
		uint64_t page = gen % s->n_pages;
		int status = -1;
		pid_t pid;

		round_begins(churn);
		sc_fill_scratch(s->at, page, gen);
		gens[page] = gen;
		pid = (pid_t)T_SYS(fork());
		if (pid == 0) {
			for (uint64_t i = 0; i < s->n_pages; i++)
				sc_fill_scratch(s->at, i, 1ull << 35);
			_exit(3);
		}
		if (waitpid(pid, &status, 0) != pid || status != 3 << 8)
			wrong("a child of ours: %s, status %#x", strerror(errno), status);
		for (uint64_t i = 0; i < s->n_pages; i++)
			check_scratch(s, i, gens, false);
	}
}

static void run_mremap(struct churn *churn)
{
	uint64_t n = 8;
	char *at = mmap(NULL, n * SC_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);

	T_CHECK(at != MAP_FAILED);
	for (uint64_t gen = 1;; gen++) {
		uint64_t want = 1 + t_below(&churn->random, 64);
		char *place = mmap(NULL, want * SC_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

		round_begins(churn);
		for (uint64_t i = 0; i < n; i++)
			sc_fill_scratch((uintptr_t)at, i, gen);
		at = mremap(at, n * SC_PAGE, want * SC_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
		if (at != place)
			wrong("mremap: %s", strerror(errno));
		for (uint64_t i = 0; i < want; i++) {
			const volatile uint64_t *word = (volatile uint64_t *)(at + i * SC_PAGE);

			if (*word != (i < n ? sc_scratch_word(i, gen) : 0))
				wrong("mremap: page %llu holds %#llx", (unsigned long long)i,
					(unsigned long long)*word);
		}
		n = want;
	}
}

static void *short_life(void *user)
{
	volatile uint64_t on_stack[600];

	for (unsigned i = 0; i < 600; i++)
		on_stack[i] = (uintptr_t)user + i;
	return (void *)(uintptr_t)on_stack[599];
}

static void run_threads(struct churn *churn)
{
	for (uintptr_t i = 0;; i++) {
		pthread_t threads[2];
		void *got;

		round_begins(churn);
		for (unsigned k = 0; k < 2; k++)
			T_CHECK(pthread_create(&threads[k], NULL, short_life, (void *)i) == 0);
		for (unsigned k = 0; k < 2; k++)
			if (pthread_join(threads[k], &got) != 0 || got != (void *)(i + 599))
				wrong("a thread's answer is wrong");
	}
}

static struct sc_hot *signalled;

static void on_signal(int signo)
{
	(void)signo;
	__atomic_fetch_add(&signalled->signals_got, 1, __ATOMIC_RELEASE);
}

/* Queued ones, to the process and to this thread: none is merged with another. */
static void run_signals(struct churn *churn)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	union sigval value = { 0 };
	sigset_t ours;

	signalled = churn->hot;
	sigemptyset(&ours);
	sigaddset(&ours, SIGRTMIN + 3);
	T_SYS(sigaction(SIGRTMIN + 3, &action, NULL));
	T_CHECK(pthread_sigmask(SIG_UNBLOCK, &ours, NULL) == 0);
	for (uint64_t i = 0;; i++) {
		round_begins(churn);
		__atomic_fetch_add(&churn->hot->signals_sent, 1, __ATOMIC_RELEASE);
		if (i % 2)
			T_SYS(sigqueue(getpid(), SIGRTMIN + 3, value));
		else
			T_CHECK(pthread_kill(pthread_self(), SIGRTMIN + 3) == 0);
	}
}

static void run_mlock(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	uint64_t gens[SCRATCH_PAGES] = { 0 };

	for (uint64_t gen = 1;; gen++) {
		uint64_t page = gen % s->n_pages;

		round_begins(churn);
		check_scratch(s, page, gens, false);
		sc_fill_scratch(s->at, page, gen);
		gens[page] = gen;
		if (mlock((void *)(s->at + page * SC_PAGE), 4096) < 0 && errno != ENOMEM)
			wrong("mlock: %s", strerror(errno));
		if (gen % 5 == 0)
			T_SYS(munlock((void *)s->at, s->n_pages * SC_PAGE));
	}
}

/* A page of words of generation @gen, behind @fd. */
static void source(int fd, uint64_t page, uint64_t gen)
{
	uint64_t words[SC_WORDS];

	for (unsigned w = 0; w < SC_WORDS; w++)
		words[w] = sc_scratch_word(page, gen);
	T_CHECK(pwrite(fd, words, SC_PAGE, (off_t)(page * SC_PAGE)) == (ssize_t)SC_PAGE);
}

/* The kernel writes to memory: by read(2) of a file, and of a pipe. */
static void run_read(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	int fd = (int)T_SYS(memfd_create("source", MFD_CLOEXEC)), ends[2];
	uint64_t gens[SCRATCH_PAGES] = { 0 };

	T_SYS(pipe2(ends, O_CLOEXEC));
	for (uint64_t gen = 1;; gen++) {
		uint64_t page = t_below(&churn->random, s->n_pages);
		char *where = (char *)s->at + page * SC_PAGE;
		off_t from = (off_t)(page * SC_PAGE);

		round_begins(churn);
		check_scratch(s, page, gens, false);
		source(fd, page, gen);
		if (gen % 2) {
			T_CHECK(pread(fd, where, SC_PAGE, from) == (ssize_t)SC_PAGE);
		} else {
			T_CHECK(splice(fd, &from, ends[1], NULL, SC_PAGE, 0) == (ssize_t)SC_PAGE);
			T_CHECK(read(ends[0], where, SC_PAGE) == (ssize_t)SC_PAGE);
		}
		gens[page] = gen;
		check_scratch(s, page, gens, false);
	}
}

/* And by a ring: into registered buffers without a fault, half of the time by a worker. */
static void run_ring(struct churn *churn)
{
	const struct sc_scratch *s = scratch_of(churn);
	int fd = (int)T_SYS(memfd_create("source", MFD_CLOEXEC));
	uint64_t gens[SCRATCH_PAGES] = { 0 };
	struct iovec pinned = { (void *)s->at, RING_PAGES * SC_PAGE };
	struct io_uring ring;

	if (io_uring_queue_init(8, &ring, 0) < 0) {
		round_begins(churn);
		return;
	}
	if (io_uring_register_buffers(&ring, &pinned, 1) < 0)
		wrong("a buffer cannot be registered");
	for (uint64_t gen = 1;; gen++) {
		uint64_t page = t_below(&churn->random, 2 * RING_PAGES);
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
		void *where = (char *)s->at + page * SC_PAGE;
		struct io_uring_cqe *cqe;

		round_begins(churn);
		check_scratch(s, page, gens, false);
		source(fd, page, gen);
		if (page < RING_PAGES)
			io_uring_prep_read_fixed(sqe, fd, where, SC_PAGE, page * SC_PAGE, 0);
		else
			io_uring_prep_read(sqe, fd, where, SC_PAGE, page * SC_PAGE);
		if (gen % 2)
			io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
		T_CHECK(io_uring_submit(&ring) == 1);
		while (io_uring_wait_cqe(&ring, &cqe) == -EINTR)
			;
		if (cqe->res != (int)SC_PAGE)
			wrong("a ring's read gave %d", cqe->res);
		io_uring_cqe_seen(&ring, cqe);
		gens[page] = gen;
		check_scratch(s, page, gens, false);
	}
}

/* Calls that a signal would be seen to interrupt, in a thread that takes no signal. */
static void run_waits(struct churn *churn)
{
	struct timespec nap = { 0, 3000000 };
	struct pollfd none = { .fd = -1 };
	struct epoll_event event;
	int epoll = (int)T_SYS(epoll_create1(EPOLL_CLOEXEC));
	uint32_t word = 0;
	sigset_t usr1;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	for (;;) {
		round_begins(churn);
		if (nanosleep(&nap, NULL) < 0)
			wrong("nanosleep: %s", strerror(errno));
		if (poll(&none, 1, 3) != 0)
			wrong("poll: %s", strerror(errno));
		if (epoll_wait(epoll, &event, 1, 3) != 0)
			wrong("epoll_wait: %s", strerror(errno));
		if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &nap, NULL, 0) != -1 ||
			errno != ETIMEDOUT)
			wrong("futex: %s", strerror(errno));
		if (sigtimedwait(&usr1, NULL, &nap) != -1 || errno != EAGAIN)
			wrong("sigtimedwait: %s", strerror(errno));
	}
}

static const struct {
	unsigned bit;
	void (*run)(struct churn *churn);
	bool has_scratch;
	bool is_torn;
} churns[] = {
	{ SC_MALLOC, run_malloc, false, false },
	{ SC_MMAP, run_mmap, true, false },
	{ SC_DISCARD, run_discard, true, false },
	{ SC_PUNCH, run_punch, true, false },
	{ SC_FORK, run_fork, true, false },
	{ SC_MREMAP, run_mremap, false, false },
	{ SC_THREADS, run_threads, false, false },
	{ SC_SIGNALS, run_signals, false, false },
	{ SC_MLOCK, run_mlock, true, false },
	{ SC_READ, run_read, true, false },
	/* Its workers are no threads that could be stopped. */
	{ SC_RING, run_ring, true, true },
	{ SC_WAITS, run_waits, false, false },
};

static void *run_churn(void *user)
{
	struct churn *churn = user;

	churn->run(churn);
	return NULL;
}

void sc_churn_plan(struct sc_plan *plan, unsigned churn)
{
	for (size_t i = 0; i < sizeof(churns) / sizeof(churns[0]); i++) {
		size_t len = SCRATCH_PAGES * SC_PAGE;
		char *at;

		if (!(churn & churns[i].bit) || !churns[i].has_scratch)
			continue;
		/* With a gap on each side, so that each is a mapping of its own. */
		at = mmap(NULL, len + 2 * SC_PAGE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		T_CHECK(at != MAP_FAILED && plan->n_scratch < SC_MAX_SCRATCH);
		at += SC_PAGE;
		T_SYS(mprotect(at, len, PROT_READ | PROT_WRITE));
		plan->scratch[plan->n_scratch++] = (struct sc_scratch){
			.at = (uintptr_t)at,
			.n_pages = SCRATCH_PAGES,
			.churn = churns[i].bit,
			.is_torn = churns[i].is_torn,
		};
	}
}

void sc_churn_start(const struct sc_plan *plan, struct sc_hot *hot, unsigned churn,
	uint64_t seed)
{
	static struct churn given[sizeof(churns) / sizeof(churns[0])];
	pthread_t thread;
	sigset_t ours;

	/* Inherited by all threads but the one that unblocks it. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGRTMIN + 3);
	T_CHECK(pthread_sigmask(SIG_BLOCK, &ours, NULL) == 0);
	for (size_t i = 0; i < sizeof(churns) / sizeof(churns[0]); i++) {
		if (!(churn & churns[i].bit))
			continue;
		given[i] = (struct churn){ .plan = plan, .hot = hot, .bit = churns[i].bit,
			.random = seed + i, .run = churns[i].run };
		T_CHECK(pthread_create(&thread, NULL, run_churn, &given[i]) == 0);
	}
	/* Each has opened what it needs, so that nothing of that is taken for ours. */
	for (size_t i = 0; i < sizeof(churns) / sizeof(churns[0]); i++)
		T_UNTIL(20, !given[i].run || __atomic_load_n(&given[i].began, __ATOMIC_ACQUIRE));
}
