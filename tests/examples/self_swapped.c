// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A service that looks at itself: which of its memory is swapped out, without
 * bringing it back by looking.
 *
 *     cc self_swapped.c $(pkg-config --cflags --libs umemd-engine)
 *
 * Only public headers are used. Where there is no swap all of it is in memory.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <umemd/umemd.h>

#define PAGE    4096
#define TOUCHED 1024
#define ALL     1536

static int print_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	uint64_t base = *(uint64_t *)user;

	printf("    pages %llu to %llu: %s\n", (unsigned long long)((start - base) / PAGE),
		(unsigned long long)((end - base) / PAGE - 1), umem_state_name(state));
	return 0;
}

static long major_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_majflt;
}

/* All of this process: what is out, by mapping. */
static int print_all(struct umem_target *target, struct umem_note *note)
{
	const struct umem_residency_region *v;
	struct umem_residency *map;
	uint64_t in = 0, out = 0;
	size_t n;
	int r = umem_residency_new(target, NULL, &map, note);

	if (r != 0)
		return r;
	v = umem_residency_regions(map, &n);
	for (size_t i = 0; i < n; i++) {
		in += v[i].bytes[UMEM_STATE_RESIDENT];
		out += v[i].bytes[UMEM_STATE_SWAPPED];
		if (v[i].bytes[UMEM_STATE_SWAPPED])
			printf("  %llx-%llx %llu KiB out, %s %s\n",
				(unsigned long long)v[i].start, (unsigned long long)v[i].end,
				(unsigned long long)v[i].bytes[UMEM_STATE_SWAPPED] / 1024,
				v[i].kind, v[i].path);
	}
	printf("  %llu KiB in memory, %llu KiB out\n", (unsigned long long)in / 1024,
		(unsigned long long)out / 1024);
	umem_residency_free(map);
	return 0;
}

/* One buffer, page by page. Return: 0 if what is told is what was done to it. */
static int print_buffer(struct umem_target *target, char *buffer, struct umem_note *note)
{
	struct umem_range range = { (uint64_t)buffer, (uint64_t)buffer + ALL * PAGE };
	struct umem_residency_options options = {
		.size = sizeof(options),
		.regions = &range,
		.n_regions = 1,
	};
	const struct umem_residency_region *v;
	struct umem_residency *map;
	uint64_t touched = 0, untouched = 0;
	size_t n;
	int r = umem_residency_new(target, &options, &map, note);

	if (r != 0)
		return r;
	v = umem_residency_regions(map, &n);
	for (size_t i = 0; i < n; i++) {
		touched += v[i].bytes[UMEM_STATE_RESIDENT] + v[i].bytes[UMEM_STATE_SWAPPED];
		untouched += v[i].bytes[UMEM_STATE_UNTOUCHED];
		printf("  looked at by %s%s%s\n", v[i].method, v[i].exact ? "" : ", not exact: ",
			v[i].exact ? "" : v[i].reason);
	}
	umem_residency_each(map, range.start, range.end, print_run, &range.start);
	umem_residency_free(map);
	return touched == TOUCHED * PAGE && untouched == (ALL - TOUCHED) * PAGE ? 0 : -1;
}

int main(void)
{
	char *buffer = mmap(NULL, ALL * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct umem_target *target;
	struct umem_note note = { 0 };
	long faults;
	int r;

	if (buffer == MAP_FAILED)
		return 1;
	madvise(buffer, ALL * PAGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < TOUCHED; i++)
		memset(buffer + i * PAGE, i % 251 + 1, PAGE);
	/* What a service does with a cache that it will not need for long. */
	madvise(buffer + 100 * PAGE, 300 * PAGE, MADV_PAGEOUT);

	faults = major_faults();
	r = umem_target_open(getpid(), NULL, &target, &note);
	if (r == 0) {
		printf("all of pid %d:\n", (int)getpid());
		r = print_all(target, &note);
	}
	if (r == 0) {
		printf("the buffer:\n");
		r = print_buffer(target, buffer, &note);
	}
	if (r != 0) {
		fprintf(stderr, "cannot look: %s\n", note.text);
		return 1;
	}
	umem_target_free(target);
	printf("looking at it took %ld major faults\n", major_faults() - faults);
	for (int i = 0; i < TOUCHED; i++)
		if (buffer[i * PAGE + i] != (char)(i % 251 + 1))
			return 1;
	return 0;
}
