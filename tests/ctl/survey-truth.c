// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a survey says of this very process, against what is true: trackable is
 * what a userfaultfd can be registered on, each page is in the state that it was
 * brought to, pinned is what was pinned; and looking brings nothing in.
 */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/mem/pageset.h"
#include "lib/op/survey.h"
#include "tests/kernel/scratch.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define N 64

static struct umem_survey *survey(void)
{
	struct umem_survey *s;

	T_OK(umem_survey_new(getpid(), NULL, &s, NULL));
	return s;
}

/* What a fresh survey says of one mapping. */
struct told {
	bool exact;
	uint64_t resident;
	uint64_t swapped;
	uint64_t zero;
	uint64_t untouched;
	uint64_t guard;
	uint64_t page_size;
	uint64_t pinned;
	const char *untrackable;
};

static struct told told_of(const void *at)
{
	struct umem_survey *s = survey();
	const struct umem_region *g = umem_space_find(&s->target->space, (uintptr_t)at);
	const struct umem_residency_region *in;
	struct told told;

	T_CHECK(g && g->start == (uintptr_t)at);
	T_OK(umem_survey_pages_read(s, NULL));
	in = umem_survey_pages(s, g);
	/* Only the privileged may look at what is behind shared memory. */
	T_CHECK(in && in->exact == !in->reason && (in->exact || geteuid() != 0), "%s",
		in ? in->reason : "gone");
	told = (struct told){
		.exact = in->exact,
		.resident = in->bytes[UMEM_STATE_RESIDENT] / K_PAGE,
		.swapped = in->bytes[UMEM_STATE_SWAPPED] / K_PAGE,
		.zero = in->bytes[UMEM_STATE_ZERO] / K_PAGE,
		.untouched = in->bytes[UMEM_STATE_UNTOUCHED] / K_PAGE,
		.guard = in->bytes[UMEM_STATE_GUARD] / K_PAGE,
		.page_size = umem_survey_page_size(s, g),
		.pinned = umem_survey_pinned(s, g) / K_PAGE,
		.untrackable = umem_survey_untrackable(s, g),
	};
	T_CHECK(told.resident + told.swapped + told.zero + told.untouched + told.guard ==
		(g->end - g->start) / K_PAGE);
	umem_survey_free(s);
	return told;
}

static void map_oddities(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_PAGE_FAULTS,
	};
	struct io_uring_params params = { 0 };
	aio_context_t aio = 0;
	int fd, id;

	k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	k_map(K_PAGE, MAP_SHARED, k_memfd(K_PAGE));
	k_map(K_PAGE, MAP_PRIVATE, k_memfd(K_PAGE));
	k_map(K_PAGE, MAP_PRIVATE, (int)T_SYS(open("/dev/zero", O_RDWR | O_CLOEXEC)));
	k_map(K_PAGE, MAP_SHARED, (int)T_SYS(open("/dev/zero", O_RDWR | O_CLOEXEC)));
	fd = (int)T_SYS(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	T_CHECK(mmap(NULL, K_PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	T_CHECK(mmap(NULL, K_PAGE, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	/* A descriptor that may write makes a mapping for reading one that might. */
	T_CHECK(mmap(NULL, K_PAGE, PROT_READ, MAP_SHARED, k_memfd(K_PAGE), 0) != MAP_FAILED);
	k_map(K_PAGE, MAP_SHARED, k_file(1));
	id = (int)T_SYS(shmget(IPC_PRIVATE, K_PAGE, 0600));
	T_CHECK(shmat(id, NULL, 0) != (void *)-1);
	T_SYS(shmctl(id, IPC_RMID, NULL));
	if (syscall(SYS_io_setup, 1, &aio) < 0)
		printf("no aio here\n");
	fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0 || mmap(NULL, K_PAGE, PROT_READ, MAP_SHARED, fd, IORING_OFF_SQ_RING) ==
		MAP_FAILED)
		printf("no io_uring here\n");
	fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0 || mmap(NULL, 3 * K_PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		printf("no perf events here\n");
	fd = (int)syscall(SYS_memfd_secret, 0);
	if (fd < 0 || ftruncate(fd, K_PAGE) < 0 ||
		mmap(NULL, K_PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		printf("no secret memory here\n");
	fd = open("/dev/hpet", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || mmap(NULL, K_PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		printf("no memory of a device here\n");
}

/* Everything in this process: trackable if and only if it can be registered. */
static void trackable(int uffd)
{
	struct umem_survey *s;
	size_t yes = 0, no = 0;

	map_oddities();
	s = survey();
	for (size_t i = 0; i < s->target->space.n; i++) {
		const struct umem_region *g = &s->target->space.v[i];
		const char *untrackable = umem_survey_untrackable(s, g);
		int r;

		if (!umem_smaps_find(&s->smaps, g->start, g->end))
			continue; /* the heap, which grew for the survey itself */
		r = umem_uffd_register(uffd, g->start, g->end, UFFDIO_REGISTER_MODE_WP);
		if (r == 0)
			T_OK(umem_uffd_unregister(uffd, g->start, g->end));
		printf("%-14s %s: %s\n", umem_kind_name(g->kind), g->name,
			untrackable ? untrackable : "trackable");
		T_CHECK((r == 0) == !untrackable, "%s: %d", g->name, r);
		*(r == 0 ? &yes : &no) += 1;
	}
	T_CHECK(yes > 10 && no >= 4, "%zu and %zu", yes, no);
	umem_survey_free(s);
}

static void residency(int uffd, int pm)
{
	char *at = k_anon(N * K_PAGE), *shared;
	int fd = k_memfd(N * K_PAGE);
	volatile char sink;

	T_CHECK(told_of(at).untouched == N);
	k_touch(at, 10 * K_PAGE, 1);
	for (int i = 20; i < 30; i++)
		sink = at[i * K_PAGE]; /* the shared zero page */
	T_CHECK(told_of(at).resident == 10 && told_of(at).zero == 10);
	if (madvise(at + 40 * K_PAGE, 2 * K_PAGE, 102 /* MADV_GUARD_INSTALL */) == 0)
		T_CHECK(told_of(at).guard == 2);
	/* Marks are neither resident nor swapped. */
	T_OK(k_register(uffd, at, N * K_PAGE));
	k_collect(pm, at, N * K_PAGE);
	T_CHECK(told_of(at).resident == 10 && told_of(at).swapped == 0);
	T_CHECK(strcmp(told_of(at).untrackable, "another userfaultfd watches it") == 0);
	munmap(at, N * K_PAGE);

	/* What the object holds counts, whoever maps it or nobody. */
	shared = k_map(N * K_PAGE, MAP_SHARED, fd);
	T_CHECK(told_of(shared).untouched == N);
	if (!told_of(shared).exact) {
		printf("what is behind shared memory may not be looked at\n");
		return;
	}
	T_CHECK(pwrite(fd, "x", 1, 40 * K_PAGE) == 1);
	T_CHECK(told_of(shared).resident == 1);
	k_touch(shared, 7 * K_PAGE, 1);
	T_CHECK(told_of(shared).resident == 8);
	sink = shared[40 * K_PAGE];
	(void)sink;
	T_SYS(madvise(shared, N * K_PAGE, MADV_DONTNEED));
	T_CHECK(told_of(shared).resident == 8);
	munmap(shared, N * K_PAGE);
	close(fd);
}

/* What the kernel lends the program has no pages that are the program's. */
static void lent(void)
{
	struct umem_survey *s = survey();
	size_t n = 0;

	T_OK(umem_survey_pages_read(s, NULL));
	for (size_t i = 0; i < s->target->space.n; i++) {
		const struct umem_region *g = &s->target->space.v[i];

		if (strcmp(g->name, "[vdso]") != 0)
			continue;
		n++;
		T_CHECK(!umem_survey_has_pages(g) && !umem_survey_pages(s, g));
	}
	T_CHECK(n == 1, "%zu", n);
	umem_survey_free(s);
}

static void pinned(void)
{
	struct io_uring_params params = { 0 };
	char *at = k_anon(N * K_PAGE);
	struct iovec iov = { at + 2 * K_PAGE + 100, 3 * K_PAGE };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);

	T_CHECK(told_of(at).pinned == 0);
	if (fd < 0) {
		printf("no io_uring here\n");
		return;
	}
	T_SYS(syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1));
	T_CHECK(told_of(at).pinned == 4);
	close(fd);
	munmap(at, N * K_PAGE);
}

static int ready_fd;

static void *pin_and_wait(void *user)
{
	struct io_uring_params params = { 0 };
	char *at = k_anon(N * K_PAGE);
	struct iovec iov = { at, 3 * K_PAGE };
	int fd = (int)T_SYS(syscall(SYS_io_uring_setup, 4, &params));

	T_SYS(syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1));
	T_UNTIL(5, t_proc_state(getpid()) == 'Z');
	if (write(ready_fd, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

/* When the first thread has ended, /proc/PID shows no descriptors and no memory. */
static void leaderless(void)
{
	struct umem_survey *s;
	pthread_t thread;
	int ready[2];
	pid_t pid;
	char c;

	T_SYS(pipe(ready));
	pid = t_fork();
	if (pid == 0) {
		ready_fd = ready[1];
		pthread_create(&thread, NULL, pin_and_wait, NULL);
		pthread_exit(NULL);
	}
	T_CHECK(read(ready[0], &c, 1) == 1);
	T_OK(umem_survey_new(pid, NULL, &s, NULL));
	T_CHECK(s->target->space.n > 10);
	T_CHECK(umem_ranges_bytes(&s->pinned) == 3 * K_PAGE);
	T_CHECK(s->pins.direct_io);
	umem_survey_free(s);
	t_end(pid);
}

static void huge(void)
{
	const size_t len = 2u << 20;
	char *at = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	struct told told;

	if (at == MAP_FAILED) {
		printf("no huge pages here\n");
		return;
	}
	told = told_of(at);
	T_CHECK(told.page_size == len && told.resident == 0 && !told.untrackable);
	munmap(at, 2 * len);
}

static void page_out(char *at, bool shared)
{
	unsigned char in[N];
	uint64_t end = t_now_ns() + 5000000000u;
	size_t n = N;

	while (n > 0) {
		T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
		T_SYS(mincore(at, N * K_PAGE, in));
		n = 0;
		for (int i = 0; i < N; i++)
			n += in[i] & 1;
		T_CHECK(t_now_ns() < end, "%s pages stay", shared ? "shared" : "private");
	}
}

/* Swapped pages are counted, and stay where they are. */
static void swapped(int uffd, int pm)
{
	char *at = k_anon(2 * N * K_PAGE);
	char *shared = k_map(N * K_PAGE, MAP_SHARED, k_memfd(N * K_PAGE));
	struct rusage before, after;
	struct told told;

	k_zram_swap(64u << 20);
	for (uint64_t i = 0; i < N; i++) {
		t_fill_page(at + i * K_PAGE, i, 0);
		t_fill_page(shared + i * K_PAGE, i, 1);
	}
	T_OK(k_register(uffd, at, 2 * N * K_PAGE));
	k_collect(pm, at, 2 * N * K_PAGE);
	page_out(at, false);
	page_out(shared, true);
	T_SYS(getrusage(RUSAGE_SELF, &before));
	for (int i = 0; i < 3; i++) {
		told = told_of(at);
		T_CHECK(told.swapped == N && told.resident == 0 && told.untouched == N);
		told = told_of(shared);
		T_CHECK(told.swapped == N && told.resident == 0);
	}
	T_SYS(getrusage(RUSAGE_SELF, &after));
	T_CHECK(before.ru_majflt == after.ru_majflt);
	for (uint64_t i = 0; i < N; i++)
		T_CHECK((uint8_t)at[i * K_PAGE + 9] == t_pattern(i, 9, 0));
	T_CHECK(told_of(at).resident == N && told_of(at).swapped == 0);
}

int main(void)
{
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();

	trackable(uffd);
	residency(uffd, pm);
	lent();
	pinned();
	leaderless();
	huge();
	swapped(uffd, pm); /* last: skips where there is no zram */
	return 0;
}
