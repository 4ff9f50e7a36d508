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
 */
struct area {
	const char *name;
	char *at;
	int fd;
	size_t page_bytes;
	struct run runs[MAX_RUNS];
};

/* Names that would do harm to a terminal. */
#define HOSTILE "\033[31mred\nline\xe2\x80\xae\xff"

static struct area areas[] = {
	{ "private", NULL, -1, K_PAGE, { { "resident", 31 }, { "swapped", 24 }, { "zero", 9 },
		{ "untouched", 20 }, { "guard", 4 }, { "swapped", 1 }, { "resident", 7 } } },
	{ "memfd", NULL, -1, K_PAGE, { { "resident", 16 }, { "swapped", 17 },
		{ "untouched", 30 }, { "resident", 1 } } },
	{ "shared", NULL, -1, K_PAGE, { { "swapped", 8 }, { "resident", 8 } } },
	{ "unmapped", NULL, -1, K_PAGE, { { "untouched", 3 }, { "swapped", 21 },
		{ "resident", 5 }, { "untouched", 3 } } },
	{ "sparse", NULL, -1, K_PAGE, { { "resident", 2 }, { "untouched", 1u << 24 },
		{ "swapped", 3 } } },
	{ "huge", NULL, -1, K_HUGE, { { "resident", 1 }, { "untouched", 2 } } },
	{ "hugefile", NULL, -1, K_HUGE, { { "untouched", 1 }, { "resident", 1 } } },
};

enum { PRIVATE, MEMFD, SHARED, UNMAPPED, SPARSE, HUGE, HUGEFILE, N_AREAS };

static size_t len_of(const struct area *area)
{
	size_t n = 0;

	for (size_t i = 0; i < MAX_RUNS; i++)
		n += area->runs[i].n_pages;
	return n * area->page_bytes;
}

static void page_out(char *at, size_t n_pages)
{
	size_t len = n_pages * K_PAGE, n = n_pages;
	unsigned char in[64];

	T_CHECK(n_pages <= sizeof(in));
	for (uint64_t end = t_now_ns() + 10000000000u; n > 0;) {
		T_SYS(madvise(at, len, MADV_PAGEOUT));
		T_SYS(mincore(at, len, in));
		n = 0;
		for (size_t i = 0; i < n_pages; i++)
			n += in[i] & 1;
		T_CHECK(n == 0 || t_now_ns() < end, "%zu pages stay", n);
	}
}

static void bring(char *at, const struct run *run, size_t page_bytes)
{
	size_t len = run->n_pages * page_bytes;
	volatile char sink;

	if (strcmp(run->state, "resident") == 0) {
		for (size_t i = 0; i < len; i += page_bytes)
			at[i] = (char)(i / page_bytes + 1);
	} else if (strcmp(run->state, "swapped") == 0) {
		for (size_t i = 0; i < len; i += K_PAGE)
			memset(at + i, (int)(i / K_PAGE + 1), K_PAGE / 2);
		page_out(at, run->n_pages);
	} else if (strcmp(run->state, "zero") == 0) {
		for (size_t i = 0; i < len; i += page_bytes)
			sink = at[i];
		(void)sink;
	}
}

static void bring_all(const struct area *area)
{
	size_t len = len_of(area);
	char *at = area->at;

	if (!at && area->fd < 0)
		return;
	if (!area->at)
		at = k_map(len, MAP_SHARED, area->fd);
	for (size_t i = 0, from = 0; i < MAX_RUNS && area->runs[i].n_pages; i++) {
		bring(at + from, &area->runs[i], area->page_bytes);
		from += area->runs[i].n_pages * area->page_bytes;
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

		if (!area->at && area->fd < 0)
			continue;
		printf("%s\"%s\":{\"start\":%lu,\"fd\":%d,\"page\":%zu,\"runs\":[", comma,
			area->name, (unsigned long)area->at, area->fd, area->page_bytes);
		for (size_t k = 0; k < MAX_RUNS && area->runs[k].n_pages; k++)
			printf("%s[\"%s\",%zu]", k ? "," : "", area->runs[k].state,
				area->runs[k].n_pages);
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
