// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory whose state is known page by page, for a look from outside.
 *
 * swap-victim hold: puts a zram swap on and prints a line; end of file on stdin
 * takes it away.
 *
 * swap-victim areas|huge: brings pages to their states and prints one JSON line
 * that says which; each newline on stdin brings them there again (something else
 * may have moved them meanwhile) and prints the line again. Mode "huge" has pages
 * of the reserved pool, too. End of file ends it.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define MAX_RUNS 8

/**
 * struct run - so many pages in one state, in the order of addresses.
 */
struct run {
	const char *state;
	size_t n_pages;
};

/**
 * struct area - a mapping; or an object that nobody maps.
 * @name: for the one that compares.
 * @at: its address, NULL where it is not mapped.
 * @fd: of the object, or -1.
 * @page_bytes: of its pages.
 * @runs: its pages.
 * @repeat: how often they come, one after the other.
 * @shared: it is an object; then one of @runs may be swapped.
 */
struct area {
	const char *name;
	char *at;
	int fd;
	size_t page_bytes;
	struct run runs[MAX_RUNS];
	size_t repeat;
	bool shared;
};

static int pagemap_fd = -1;

/* Names that would do harm to a terminal. */
#define HOSTILE "\033[31mred\nline\xe2\x80\xae\xff"

static struct area areas[] = {
	{ "private", NULL, -1, K_PAGE, { { "resident", 31 }, { "swapped", 24 }, { "zero", 9 },
		{ "untouched", 17 }, { "guard", 4 }, { "swapped", 1 }, { "resident", 7 } }, 1,
		false },
	{ "memfd", NULL, -1, K_PAGE, { { "resident", 16 }, { "swapped", 17 },
		{ "untouched", 30 }, { "resident", 1 } }, 1, true },
	{ "shared", NULL, -1, K_PAGE, { { "swapped", 8 }, { "resident", 8 } }, 1, true },
	{ "unmapped", NULL, -1, K_PAGE, { { "untouched", 3 }, { "swapped", 21 },
		{ "resident", 5 }, { "untouched", 3 } }, 1, true },
	{ "sparse", NULL, -1, K_PAGE, { { "resident", 2 }, { "untouched", 1u << 24 },
		{ "swapped", 3 } }, 1, false },
	{ "mixed", NULL, -1, K_PAGE, { { "resident", 7 }, { "swapped", 2 }, { "zero", 9 },
		{ "resident", 1 }, { "swapped", 7 }, { "untouched", 31 }, { "swapped", 1 },
		{ "untouched", 40 } }, 12, false },
	{ "huge", NULL, -1, K_HUGE, { { "resident", 1 }, { "untouched", 2 } }, 1, false },
	{ "hugefile", NULL, -1, K_HUGE, { { "untouched", 1 }, { "resident", 1 } }, 1, true },
};

enum { PRIVATE, MEMFD, SHARED, UNMAPPED, SPARSE, MIXED, HUGE, HUGEFILE, N_AREAS };

/* The run @i of all with their repetitions, or NULL behind the last one. */
static const struct run *run_at(const struct area *area, size_t i)
{
	size_t n = 0;

	while (n < MAX_RUNS && area->runs[n].n_pages)
		n++;
	return i < n * area->repeat ? &area->runs[i % n] : NULL;
}

static size_t len_of(const struct area *area)
{
	const struct run *run;
	size_t n = 0;

	for (size_t i = 0; (run = run_at(area, i)); i++)
		n += run->n_pages;
	return n * area->page_bytes;
}

/*
 * How many pages are out? Not by mincore(2): pages that went to a swap file of somebody
 * else may stay in the swap cache for long. In a shared mapping there is one run that is
 * to be out, and the sum of smaps is its.
 */
static size_t count_out(char *at, size_t n_pages, bool shared)
{
	size_t n = 0;

	if (shared)
		return k_smaps_kb(at, "Swap") / (K_PAGE / 1024);
	for (size_t i = 0; i < n_pages; i++)
		n += (k_word(pagemap_fd, at + i * K_PAGE) & UMEM_PM_SWAPPED) != 0;
	return n;
}

static void page_out(char *at, size_t n_pages, bool shared)
{
	uint64_t end = t_now_ns() + 20000000000u;

	while (count_out(at, n_pages, shared) < n_pages) {
		T_SYS(madvise(at, n_pages * K_PAGE, MADV_PAGEOUT));
		T_CHECK(t_now_ns() < end, "%zu of %zu pages are out",
			count_out(at, n_pages, shared), n_pages);
	}
}

static void bring(char *at, const struct run *run, size_t page_bytes, bool shared)
{
	size_t len = run->n_pages * page_bytes;
	volatile char sink;

	if (strcmp(run->state, "resident") == 0) {
		for (size_t i = 0; i < len; i += page_bytes)
			at[i] = (char)(i / page_bytes + 1);
	} else if (strcmp(run->state, "swapped") == 0) {
		for (size_t i = 0; i < len; i += K_PAGE)
			memset(at + i, (int)(i / K_PAGE + 1), K_PAGE / 2);
		page_out(at, run->n_pages, shared);
	} else if (strcmp(run->state, "zero") == 0) {
		for (size_t i = 0; i < len; i += page_bytes)
			sink = at[i];
		(void)sink;
	}
}

static void bring_all(const struct area *area)
{
	size_t len = len_of(area), from = 0;
	const struct run *run;
	char *at = area->at;

	if (!at && area->fd < 0)
		return;
	if (!area->at)
		at = k_map(len, MAP_SHARED, area->fd);
	for (size_t i = 0; (run = run_at(area, i)); i++) {
		bring(at + from, run, area->page_bytes, area->shared);
		from += run->n_pages * area->page_bytes;
	}
	if (!area->at)
		munmap(at, len);
}

static void make_guards(struct area *area)
{
	size_t from = 0;

	for (size_t i = 0; i < MAX_RUNS && area->runs[i].n_pages; i++) {
		struct run *run = &area->runs[i];

		if (strcmp(run->state, "guard") == 0 &&
			madvise(area->at + from, run->n_pages * K_PAGE, MADV_GUARD_INSTALL) < 0)
			run->state = "untouched"; /* before Linux 6.13 */
		from += run->n_pages * K_PAGE;
	}
}

static void make_all(bool huge)
{
	areas[PRIVATE].at = k_anon(len_of(&areas[PRIVATE]));
	/* A mapping of its own, with no neighbour that it could merge with. */
	T_SYS(madvise(areas[PRIVATE].at, len_of(&areas[PRIVATE]), MADV_DONTDUMP));
	make_guards(&areas[PRIVATE]);
	areas[MEMFD].fd = memfd_create(HOSTILE, MFD_CLOEXEC);
	T_SYS(ftruncate(areas[MEMFD].fd, (off_t)len_of(&areas[MEMFD])));
	areas[MEMFD].at = k_map(len_of(&areas[MEMFD]), MAP_SHARED, areas[MEMFD].fd);
	areas[SHARED].at = k_map(len_of(&areas[SHARED]), MAP_SHARED | MAP_ANONYMOUS, -1);
	areas[UNMAPPED].fd = k_memfd(len_of(&areas[UNMAPPED]));
	areas[SPARSE].at = k_map(len_of(&areas[SPARSE]),
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	T_SYS(madvise(areas[SPARSE].at, len_of(&areas[SPARSE]), MADV_NOHUGEPAGE));
	areas[MIXED].at = k_anon(len_of(&areas[MIXED]));
	T_SYS(madvise(areas[MIXED].at, len_of(&areas[MIXED]), MADV_DONTFORK));
	if (!huge)
		return;
	k_hugepages(5);
	areas[HUGE].at = k_map(len_of(&areas[HUGE]), MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	areas[HUGEFILE].fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	T_SYS(areas[HUGEFILE].fd);
	T_SYS(ftruncate(areas[HUGEFILE].fd, (off_t)len_of(&areas[HUGEFILE])));
	areas[HUGEFILE].at = k_map(len_of(&areas[HUGEFILE]), MAP_SHARED, areas[HUGEFILE].fd);
}

static void print_all(pid_t child)
{
	const char *comma = "";

	printf("{\"pid\":%d,\"child\":%d,\"areas\":{", getpid(), child);
	for (size_t i = 0; i < N_AREAS; i++) {
		const struct area *area = &areas[i];
		const struct run *run;

		if (!area->at && area->fd < 0)
			continue;
		printf("%s\"%s\":{\"start\":%lu,\"fd\":%d,\"page\":%zu,\"runs\":[", comma,
			area->name, (unsigned long)area->at, area->fd, area->page_bytes);
		for (size_t k = 0; (run = run_at(area, k)); k++)
			printf("%s[\"%s\",%zu]", k ? "," : "", run->state, run->n_pages);
		printf("]}");
		comma = ",";
	}
	printf("}}\n");
	fflush(stdout);
}

static void wait_for_end(void)
{
	char c;

	while (read(STDIN_FILENO, &c, 1) == 1)
		;
}

/*
 * Pages that were just touched wait in a list of their processor before they can be
 * put out, and MADV_PAGEOUT empties that of its own processor only.
 */
static void stay_here(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	T_SYS(sched_setaffinity(0, sizeof(one), &one));
}

int main(int argc, char **argv)
{
	pid_t child;
	char c;

	if (argc > 1 && strcmp(argv[1], "hold") == 0) {
		k_zram_swap(64u << 20);
		puts("{\"ready\":true}");
		fflush(stdout);
		wait_for_end();
		return 0;
	}
	stay_here();
	pagemap_fd = k_pagemap();
	make_all(argc > 1 && strcmp(argv[1], "huge") == 0);
	/* Before anything is touched, so that no page is in two page tables. */
	child = t_fork();
	if (child == 0)
		for (;;)
			pause();
	do {
		for (size_t i = 0; i < N_AREAS; i++)
			bring_all(&areas[i]);
		print_all(child);
	} while (read(STDIN_FILENO, &c, 1) == 1);
	t_end(child);
	return 0;
}
