// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a residency map costs, beside the cheapest primitive that is exact for the
 * same memory, and beside the naive way, a system call a page.
 *
 * words: the pagemap words of all pages, which is exact for private memory. count:
 * one cachestat(2) of all of an object, which gives sums but no map. each: one
 * cachestat(2) a page, the naive way to a map. A share that is swapped lies in
 * ranges of 64 MiB, or is every other page. Memory is in zram, of pages that
 * hardly take any there.
 *
 * With BENCH_BYTES (4 GiB) of memory; at the end four times as much of shared
 * memory, half of it swapped.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <umemd/residency.h>
#include <umemd/target.h>
#include <umemd/track.h>

#include "lib/kern/filecache.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/pidfd.h"
#include "tests/bench/bench.h"
#include "tests/kernel/scratch.h"

#define RANGE_BYTES (64ull << 20)
#define N_IOVECS    512
#define N_WORDS     8192

/** enum kind - what the memory is. */
enum kind {
	ANON_4K,
	ANON_THP,
	SHMEM,
	HUGETLB,
};

/** enum swapped - what of it is swapped. */
enum swapped {
	NOTHING,
	RANGES, /* every other range */
	ALTERNATE, /* every other page */
	ALL,
};

/** struct memory - a child that has it. */
struct memory {
	enum kind kind;
	uint64_t bytes;
	uint64_t start;
	uint64_t n_swapped;
	int fd;
	pid_t pid;
	struct umem_target *target;
	struct umem_watch *watch;
};

static void be_child(const struct memory *m, int reply)
{
	int flags = m->kind == SHMEM ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	uint64_t at;
	char *memory;

	if (m->kind == HUGETLB)
		flags |= MAP_HUGETLB;
	memory = m->kind == ANON_THP ? k_anon_huge(m->bytes) : k_map(m->bytes, flags, m->fd);
	if (m->kind == ANON_4K)
		madvise(memory, m->bytes, MADV_NOHUGEPAGE);
	k_touch(memory, m->bytes, 1);
	at = (uintptr_t)memory;
	T_CHECK(write(reply, &at, sizeof(at)) == (ssize_t)sizeof(at));
	for (;;)
		pause();
}

static void advise_out(const struct memory *m, struct iovec *pieces, size_t n)
{
	int pidfd = -1;

	T_OK(umem_pidfd_open(m->pid, &pidfd));
	for (int i = 0; i < 3; i++) {
		size_t advised = 0;

		umem_pidfd_madvise(pidfd, pieces, n, MADV_PAGEOUT, &advised);
	}
	close(pidfd);
}

static void page_out(struct memory *m, enum swapped swapped)
{
	uint64_t step = swapped == ALTERNATE ? B_PAGE : RANGE_BYTES;
	struct iovec pieces[N_IOVECS];
	size_t n = 0;

	for (uint64_t at = 0; at < m->bytes && swapped != NOTHING; at += step) {
		uint64_t len = m->bytes - at < step ? m->bytes - at : step;

		if (swapped != ALL && (at / step) % 2)
			continue;
		pieces[n++] = (struct iovec){ (void *)(m->start + at), len };
		m->n_swapped += len / B_PAGE;
		if (n == N_IOVECS) {
			advise_out(m, pieces, n);
			n = 0;
		}
	}
	if (n)
		advise_out(m, pieces, n);
}

static void begin(struct memory *m, enum kind kind, uint64_t bytes, enum swapped swapped,
	bool armed)
{
	struct umem_note note = { 0 };
	int pipe_fds[2], r;

	*m = (struct memory){ .kind = kind, .bytes = bytes, .fd = -1 };
	if (kind == SHMEM)
		m->fd = k_memfd(bytes);
	T_SYS(pipe(pipe_fds));
	m->pid = t_fork();
	if (m->pid == 0)
		be_child(m, pipe_fds[1]);
	T_CHECK(read(pipe_fds[0], &m->start, sizeof(m->start)) == (ssize_t)sizeof(m->start));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	r = armed ? umem_target_attach(m->pid, NULL, &m->target, &note) :
		    umem_target_open(m->pid, NULL, &m->target, &note);
	T_CHECK(r == 0, "%s", note.text);
	if (armed) {
		const struct umem_round *round;

		T_OK(umem_watch_new(m->target, NULL, &m->watch, NULL));
		T_OK(umem_watch_collect(m->watch, &round, NULL));
	}
	page_out(m, swapped);
}

static void end(struct memory *m)
{
	umem_watch_free(m->watch);
	umem_target_free(m->target);
	t_end(m->pid);
	if (m->fd >= 0)
		close(m->fd);
}

/** struct tally - what a look found, so that nothing is left out. */
struct tally {
	uint64_t swapped;
	uint64_t present;
};

/* All is done by this thread: its processor time, which others disturb less. */
static uint64_t cpu_ns(void)
{
	struct timespec now;

	T_SYS(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now));
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Raw words, and what each page is. */
static uint64_t by_words(const struct memory *m, struct tally *tally)
{
	static uint64_t words[N_WORDS];
	uint64_t start_ns = cpu_ns();
	int fd = -1;

	T_OK(umem_pagemap_open(m->pid, &fd));
	for (uint64_t at = m->start; at < m->start + m->bytes;) {
		uint64_t left = (m->start + m->bytes - at) / B_PAGE;
		size_t n;

		T_OK(umem_pagemap_words(fd, at, words, left < N_WORDS ? left : N_WORDS, &n));
		for (size_t i = 0; i < n; i++) {
			tally->present += words[i] >> 63;
			tally->swapped += (words[i] & UMEM_PM_SWAPPED) != 0 &&
				UMEM_PM_SWAP_TYPE(words[i]) != UMEM_PM_MARKER_TYPE;
		}
		at += n * B_PAGE;
	}
	close(fd);
	return cpu_ns() - start_ns;
}

static uint64_t by_count(const struct memory *m, struct tally *tally)
{
	uint64_t start_ns = cpu_ns();
	struct umem_cachestat stat;

	T_OK(umem_filecache_stat(m->fd, 0, m->bytes, &stat));
	tally->swapped = stat.nr_evicted;
	tally->present = stat.nr_cache;
	return cpu_ns() - start_ns;
}

/* A call a page; of a sixteenth of the memory, since it is slow. */
static uint64_t by_each(const struct memory *m, struct tally *tally)
{
	uint64_t start_ns = cpu_ns(), step = m->bytes / 16;

	for (uint64_t at = 0; at < step; at += B_PAGE) {
		struct umem_cachestat stat;

		T_OK(umem_filecache_stat(m->fd, at, at + B_PAGE, &stat));
		tally->swapped += stat.nr_evicted;
		tally->present += stat.nr_cache;
	}
	return (cpu_ns() - start_ns) * 16;
}

static uint64_t by_map(struct umem_residency *map, struct tally *tally, const char **ret_method)
{
	const struct umem_residency_region *v;
	uint64_t start_ns = cpu_ns(), took_ns;
	size_t n;

	T_OK(umem_residency_refresh(map, NULL));
	took_ns = cpu_ns() - start_ns;
	v = umem_residency_regions(map, &n);
	for (size_t i = 0; i < n; i++) {
		T_CHECK(v[i].exact, "%s", v[i].reason);
		tally->swapped += v[i].bytes[UMEM_STATE_SWAPPED] / B_PAGE;
		tally->present += v[i].bytes[UMEM_STATE_RESIDENT] / B_PAGE;
		*ret_method = v[i].method;
	}
	return took_ns;
}

/** struct costs - medians, of all pages. */
struct costs {
	uint64_t map;
	uint64_t words;
	uint64_t count;
	uint64_t each;
};

static void measure(struct memory *m, int runs, struct costs *ret_costs, const char **ret_method)
{
	uint64_t map_ns[B_RUNS], words_ns[B_RUNS], count_ns[B_RUNS], each_ns[B_RUNS];
	struct umem_range all = { m->start, m->start + m->bytes };
	struct umem_residency_options options = { .size = sizeof(options), .regions = &all,
		.n_regions = 1 };
	struct umem_residency *map;
	struct tally by;

	T_OK(umem_residency_new(m->target, &options, &map, NULL));
	for (int i = 0; i < runs; i++) {
		by = (struct tally){ 0 };
		map_ns[i] = by_map(map, &by, ret_method);
		if (i == 0 && by.swapped < m->n_swapped * 9 / 10)
			printf("  only %llu of %llu pages are swapped\n",
				(unsigned long long)by.swapped, (unsigned long long)m->n_swapped);
		words_ns[i] = count_ns[i] = each_ns[i] = 0;
		by = (struct tally){ 0 };
		if (m->kind == SHMEM) {
			count_ns[i] = by_count(m, &by);
			each_ns[i] = by_each(m, &by);
		} else {
			words_ns[i] = by_words(m, &by);
		}
	}
	umem_residency_free(map);
	*ret_costs = (struct costs){ b_median(map_ns, (size_t)runs),
		b_median(words_ns, (size_t)runs), b_median(count_ns, (size_t)runs),
		b_median(each_ns, (size_t)runs) };
}

static void row(const char *name, enum kind kind, uint64_t bytes, enum swapped swapped, bool armed)
{
	double pages = (double)(bytes / B_PAGE), cheapest;
	const char *method = "";
	struct costs costs;
	struct memory m;

	begin(&m, kind, bytes, swapped, armed);
	measure(&m, B_RUNS, &costs, &method);
	end(&m);
	/* Of shared memory that is a jumble no primitive but the naive one gives a map. */
	cheapest = (double)(kind != SHMEM ? costs.words :
			swapped == ALTERNATE ? costs.each : costs.count);
	printf("%-26s %-16s %7.1f %7.1f %7.1f %7.1f  %5.2f", name, method,
		(double)costs.map / pages, (double)costs.words / pages,
		(double)costs.count / pages, (double)costs.each / pages,
		(double)costs.map / cheapest);
	if (costs.each)
		printf("  %6.1f", (double)costs.each / (double)costs.map);
	printf("\n");
	fflush(stdout);
	b_json("residency", "\"memory\":\"%s\",\"method\":\"%s\",\"pages\":%llu,\"map_ns\":%llu,"
		"\"words_ns\":%llu,\"count_ns\":%llu,\"each_ns\":%llu", name, method,
		(unsigned long long)(bytes / B_PAGE), (unsigned long long)costs.map,
		(unsigned long long)costs.words, (unsigned long long)costs.count,
		(unsigned long long)costs.each);
}

static void large(uint64_t bytes)
{
	const char *method = "";
	struct costs costs;
	struct memory m;

	begin(&m, SHMEM, bytes, RANGES, false);
	measure(&m, 3, &costs, &method);
	end(&m);
	printf("%llu MiB of shared memory, half swapped in ranges: %.0f ms a map by %s "
	       "(count %.0f ms, each %.0f ms)\n", (unsigned long long)bytes >> 20,
		(double)costs.map / 1e6, method, (double)costs.count / 1e6,
		(double)costs.each / 1e6);
	b_json("residency-large", "\"bytes\":%llu,\"map_ns\":%llu,\"count_ns\":%llu,"
		"\"each_ns\":%llu", (unsigned long long)bytes, (unsigned long long)costs.map,
		(unsigned long long)costs.count, (unsigned long long)costs.each);
}

int main(void)
{
	uint64_t bytes = b_bytes() & ~(2 * RANGE_BYTES - 1);

	if (geteuid() != 0)
		T_SKIP("swap and pagemap words need root");
	T_CHECK(bytes, "BENCH_BYTES must be 128 MiB at least");
	k_zram_swap(bytes * 3);
	printf("A residency map (%llu MiB), medians of %d, ns of processor time a page\n",
		(unsigned long long)bytes >> 20, B_RUNS);
	printf("%-26s %-16s %7s %7s %7s %7s  %5s  %6s\n", "memory", "method", "map", "words",
		"count", "each", "ratio", "faster");
	row("anon 4K", ANON_4K, bytes, NOTHING, false);
	row("anon 4K, half in ranges", ANON_4K, bytes, RANGES, false);
	row("anon 4K, every other", ANON_4K, bytes, ALTERNATE, false);
	row("anon 4K, all swapped", ANON_4K, bytes, ALL, false);
	row("anon 4K, armed, half", ANON_4K, bytes, RANGES, true);
	row("anon THP", ANON_THP, bytes, NOTHING, false);
	row("shmem", SHMEM, bytes, NOTHING, false);
	row("shmem, half in ranges", SHMEM, bytes, RANGES, false);
	row("shmem, every other", SHMEM, bytes, ALTERNATE, false);
	row("shmem, all swapped", SHMEM, bytes, ALL, false);
	large(bytes * 4);
	k_hugepages((unsigned)(bytes >> 24) + 1);
	row("hugetlb (an eighth)", HUGETLB, bytes >> 3, NOTHING, false);
	return 0;
}
