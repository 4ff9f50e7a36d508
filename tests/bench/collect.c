// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a collect costs, beside the least that the kernel can do for it.
 *
 * In turns, on the same memory of another process, each after the same writes:
 *
 *     round     umem_watch_collect(): all that a round is composed of
 *     tracker   the tracker's collect alone: lists what is lost, scans,
 *               protects, keeps the pages
 *     bare      one PAGEMAP_SCAN loop that protects and throws its result away
 *
 * Beside it, what others read instead: the words of /proc/PID/pagemap, and
 * mincore(2).
 */
#include <umemd/track.h>

#include <fcntl.h>

#include "lib/kern/pagemap.h"
#include "lib/op/watch.h"
#include "tests/bench/bench.h"

#define N_VEC 8192

/* A PAGEMAP_SCAN loop and nothing else. Return: ns. */
static uint64_t scan_bare(int fd, const struct b_target *target, uint64_t *ret_pages)
{
	static struct page_region vec[N_VEC];
	struct umem_scan scan = {
		.at = target->start,
		.end = target->start + target->span_bytes,
		.protect = true,
		.all = PAGE_IS_WRITTEN,
		.wanted = PAGE_IS_WRITTEN,
	};
	uint64_t start_ns = b_now_ns(), pages = 0;

	while (scan.at < scan.end) {
		size_t n;

		T_OK(umem_pagemap_scan(fd, &scan, vec, N_VEC, &n));
		for (size_t i = 0; i < n; i++)
			pages += (vec[i].end - vec[i].start) / B_PAGE;
	}
	*ret_pages = pages;
	return b_now_ns() - start_ns;
}

static uint64_t read_words(int fd, const struct b_target *target)
{
	static uint64_t words[1 << 16];
	uint64_t start_ns = b_now_ns(), end = target->start + target->span_bytes;

	for (uint64_t at = target->start; at < end;) {
		size_t n;

		T_OK(umem_pagemap_words(fd, at, words,
			(size_t)umem_min_u64(UMEM_ARRAY_LEN(words), (end - at) / B_PAGE), &n));
		T_CHECK(n > 0);
		at += n * B_PAGE;
	}
	return b_now_ns() - start_ns;
}

static uint64_t collect_tracker(struct umem_watch *watch, struct umem_pageset *written)
{
	struct umem_ranges lost = { 0 };
	uint64_t start_ns = b_now_ns();

	umem_pageset_clear(written);
	T_OK(watch->tracker->ops->collect(watch->tracker, written, &lost, &watch->incomplete,
		NULL));
	return b_now_ns() - start_ns;
}

static uint64_t collect_round(struct umem_watch *watch, uint64_t *ret_bytes)
{
	const struct umem_round *round;
	uint64_t start_ns = b_now_ns();

	T_OK(umem_watch_collect(watch, &round, NULL));
	*ret_bytes = round->dirty_bytes;
	return b_now_ns() - start_ns;
}

static void run_pattern(struct b_target *target, struct umem_watch *watch,
	enum b_memory memory, enum b_pattern pattern)
{
	struct umem_pageset written = { 0 };
	uint64_t bare[B_RUNS], tracker[B_RUNS], round[B_RUNS], n_bare = 0, n_round = 0;
	uint64_t n_pages = target->bytes / B_PAGE, memory_bytes;
	int fd = watch->target->pagemap_fd;

	/* Once for the caches and the page tables. */
	b_target_write(target, pattern);
	collect_round(watch, &n_round);
	memory_bytes = umem_watch_memory(watch);
	for (int i = 0; i < B_RUNS; i++) {
		b_target_write(target, pattern);
		bare[i] = scan_bare(fd, target, &n_bare);
		b_target_write(target, pattern);
		tracker[i] = collect_tracker(watch, &written);
		b_target_write(target, pattern);
		round[i] = collect_round(watch, &n_round);
		T_CHECK(umem_pageset_bytes(&written) >= n_bare * B_PAGE);
	}
	umem_pageset_deinit(&written);

	uint64_t b = b_median(bare, B_RUNS), t = b_median(tracker, B_RUNS);
	uint64_t r = b_median(round, B_RUNS);

	printf("%-10s %-13s %10.2f %10.2f %10.2f %8.3f %8.3f %8.2f %8.2f\n",
		b_memory_name(memory), b_pattern_name(pattern), (double)b / 1e6, (double)t / 1e6,
		(double)r / 1e6, (double)t / (double)b, (double)r / (double)b,
		(double)r / (double)n_pages, 8.0 * (double)memory_bytes / (double)n_pages);
	fflush(stdout);
	b_json("collect", "\"memory\":\"%s\",\"pattern\":\"%s\",\"bytes\":%llu,\"bare_ns\":%llu,"
		"\"tracker_ns\":%llu,\"round_ns\":%llu,\"dirty_pages\":%llu,"
		"\"watch_memory_bytes\":%llu", b_memory_name(memory), b_pattern_name(pattern),
		(unsigned long long)target->bytes, (unsigned long long)b, (unsigned long long)t,
		(unsigned long long)r, (unsigned long long)(n_round / B_PAGE),
		(unsigned long long)memory_bytes);
}

static void run_peers(struct b_target *target, struct umem_watch *watch, enum b_memory memory)
{
	uint64_t words[B_RUNS], mincore_ns[B_RUNS], n_pages = target->bytes / B_PAGE;

	for (int i = 0; i < B_RUNS; i++) {
		words[i] = read_words(watch->target->pagemap_fd, target);
		mincore_ns[i] = b_target_mincore(target);
	}

	uint64_t w = b_median(words, B_RUNS), m = b_median(mincore_ns, B_RUNS);

	printf("%-10s %-13s pagemap words %.2f ms (%.1f ns a page), mincore %.2f ms (%.1f)\n",
		b_memory_name(memory), "peers", (double)w / 1e6, (double)w / (double)n_pages,
		(double)m / 1e6, (double)m / (double)n_pages);
	b_json("collect-peers", "\"memory\":\"%s\",\"bytes\":%llu,\"pagemap_words_ns\":%llu,"
		"\"mincore_ns\":%llu", b_memory_name(memory), (unsigned long long)target->bytes,
		(unsigned long long)w, (unsigned long long)m);
}

static void run_memory(enum b_memory memory, uint64_t bytes)
{
	struct umem_note note = { 0 };
	struct umem_target *attached;
	struct umem_watch *watch;
	struct b_target target;
	int r;

	b_warm(bytes);
	b_target_start(&target, memory, bytes, 1);

	struct umem_range all = { target.start, target.start + target.bytes };
	struct umem_watch_options options = { .size = sizeof(options), .regions = &all,
		.n_regions = 1 };

	r = umem_target_attach(target.pid, NULL, &attached, &note);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_watch_new(attached, &options, &watch, &note);
	T_CHECK(r == 0, "%s", note.text);
	for (int pattern = 0; pattern < B_N_PATTERNS; pattern++)
		run_pattern(&target, watch, memory, (enum b_pattern)pattern);
	run_peers(&target, watch, memory);
	umem_watch_free(watch);
	umem_target_free(attached);
	b_target_end(&target);
}

int main(int argc, char **argv)
{
	uint64_t bytes = b_bytes();

	printf("Collect, %llu MiB in another process, ms, medians of %d taken in turns; "
	       "anon-thp is split by its first writes\n"
	       "%-10s %-13s %10s %10s %10s %8s %8s %8s %8s\n", (unsigned long long)bytes >> 20,
		B_RUNS, "MEMORY", "WRITTEN", "BARE SCAN", "TRACKER", "ROUND", "TRACKER", "ROUND",
		"NS/PAGE", "BITS/PG");
	for (int memory = 0; memory < B_N_MEMORIES; memory++)
		if (argc < 2 || strcmp(argv[1], b_memory_name((enum b_memory)memory)) == 0)
			run_memory((enum b_memory)memory, bytes);
	return 0;
}
