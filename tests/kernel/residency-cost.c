// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What each way to ask where pages are costs, a page, of memory that is half in
 * and half out, in runs and in a mix: words, scans, cachestat in one call and by
 * the page, SEEK_DATA, mincore. Printed. Judged is only what a map is built on:
 * that one call for a range is cheaper than one for each page, and that none of
 * them brings anything in.
 */
#include <time.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "tests/kernel/peer.h"

#define N   32768ul
#define LEN (N * K_PAGE)

enum way { WORDS, SCAN_ALL, SCAN, CACHESTAT, CACHESTAT_64, CACHESTAT_1, EXTENTS, MINCORE, N_WAYS };

static const char *const names[] = {
	"pagemap words", "scan, all bits", "scan", "cachestat, one call",
	"cachestat, 64 pages a call", "cachestat, a page a call", "SEEK_DATA", "mincore",
};

struct object {
	const struct k_peer *peer;
	char *at;
	char *mine; /* an own mapping of shared memory that is never touched */
	int fd;
};

static uint64_t by_cachestat(int fd, size_t step)
{
	struct umem_cachestat stat;
	uint64_t n = 0;

	for (size_t i = 0; i < LEN; i += step) {
		T_OK(umem_filecache_stat(fd, i, i + step, &stat));
		n += stat.nr_evicted;
	}
	return n;
}

static void by_words(const struct object *object)
{
	static uint64_t words[N];
	size_t n = 0;

	T_OK(umem_pagemap_words(object->peer->pm, (uintptr_t)object->at, words, N, &n));
	T_CHECK(n == N);
}

static void by_scan(const struct object *object, bool all)
{
	static struct page_region vec[1024];
	const uint64_t wanted = all ? 0x1ff :
		PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_GUARD;
	uint64_t next = (uintptr_t)object->at, end = next + LEN;

	while (next < end)
		T_CHECK(k_scan(object->peer->pm, 0, (void *)next, end - next, 0, wanted, vec, 1024,
				&next) >= 0);
}

static void by_extents(int fd)
{
	struct umem_ranges ranges = { 0 };

	T_OK(umem_filecache_extents(fd, 0, LEN, &ranges));
	umem_ranges_deinit(&ranges);
}

static void ask(const struct object *object, enum way way)
{
	static unsigned char in[N];

	switch (way) {
	case WORDS:
		by_words(object);
		break;
	case SCAN_ALL:
	case SCAN:
		by_scan(object, way == SCAN_ALL);
		break;
	case CACHESTAT:
		by_cachestat(object->fd, LEN);
		break;
	case CACHESTAT_64:
		by_cachestat(object->fd, 64 * K_PAGE);
		break;
	case CACHESTAT_1:
		by_cachestat(object->fd, K_PAGE);
		break;
	case EXTENTS:
		by_extents(object->fd);
		break;
	case MINCORE:
		T_SYS(mincore(object->mine, LEN, in));
		break;
	case N_WAYS:
		break;
	}
}

static int by_value(const void *a, const void *b)
{
	const double *one = a, *other = b;

	return *one < *other ? -1 : *one > *other;
}

/* Of this thread, so that what else runs here disturbs less. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The median of some looks, in ns a page. */
static double cost(const struct object *object, enum way way)
{
	double ns[9];

	for (int i = 0; i < 9; i++) {
		uint64_t start = cpu_ns();

		ask(object, way);
		ns[i] = (double)(cpu_ns() - start) / (double)N;
	}
	qsort(ns, 9, sizeof(ns[0]), by_value);
	return ns[4];
}

static uint64_t pages_out(const struct object *object)
{
	return object->fd >= 0 ? k_evicted(object->fd, LEN) :
				 k_out(object->peer->pm, object->at, LEN);
}

static void measure(const char *what, const struct object *object, double *ret_ns)
{
	struct k_faults before = k_faults(object->peer->pid);
	uint64_t out = pages_out(object);

	for (int way = 0; way < N_WAYS; way++) {
		if (object->fd < 0 && way >= CACHESTAT)
			break;
		ret_ns[way] = cost(object, (enum way)way);
		k_fact("%s, %llu of %lu out: %s: %.1f ns a page", what, (unsigned long long)out, N,
			names[way], ret_ns[way]);
	}
	T_CHECK(k_faults(object->peer->pid).major == before.major);
	/* The machine may put out more meanwhile, or take an area away that it had. */
	if (pages_out(object) < out)
		T_SKIP("pages came back by themselves: a swap area went");
}

static void run(const char *kind, struct object *object, size_t run_pages)
{
	double ns[N_WAYS] = { 0 };
	char what[80];

	k_peer_do(object->peer, k_write, object->at, LEN, 1);
	snprintf(what, sizeof(what), "%s, all in", kind);
	measure(what, object, ns);
	umem_lru_drain();
	for (size_t i = 0; i < N; i += 2 * run_pages)
		k_peer_advise(object->peer, object->at + i * K_PAGE, run_pages * K_PAGE,
			MADV_PAGEOUT);
	snprintf(what, sizeof(what), "%s, runs of %zu", kind, run_pages);
	measure(what, object, ns);
	if (object->fd >= 0) {
		T_CHECK(ns[CACHESTAT] * 2 < ns[CACHESTAT_1]);
	} else {
		k_peer_out(object->peer, object->at, LEN);
		snprintf(what, sizeof(what), "%s, all out", kind);
		measure(what, object, ns);
	}
}

int main(void)
{
	struct object private = { .at = k_anon(LEN), .fd = -1 };
	struct object shared = { .fd = k_memfd(LEN) };
	struct k_peer peer;

	shared.at = k_map(LEN, MAP_SHARED, shared.fd);
	shared.mine = k_map(LEN, MAP_SHARED | MAP_NORESERVE, shared.fd);
	k_zram_swap(512 << 20);
	k_peer_start(&peer);
	private.peer = &peer;
	shared.peer = &peer;
	run("anonymous", &private, 1);
	run("anonymous", &private, 256);
	run("shared", &shared, 1);
	run("shared", &shared, 256);
	return 0;
}
