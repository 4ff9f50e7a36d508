// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What tracking costs the writer, and what many mappings cost a round.
 *
 * writer: the first write of a round to a page, beside the same write when
 * nobody watches; of huge pages, the first write splits one. rounds: the same
 * memory in one mapping and in ten thousand.
 */
#include <umemd/track.h>

#include "tests/bench/bench.h"

#define MANY 10000

/**
 * struct watched - a target and a watch on it.
 * @child: whose memory it is.
 * @target, @watch: of the engine.
 */
struct watched {
	struct b_target child;
	struct umem_target *target;
	struct umem_watch *watch;
};

static void start(struct watched *w, enum b_memory memory, uint64_t bytes, uint64_t n_mappings)
{
	b_target_start(&w->child, memory, bytes, n_mappings);
	w->target = NULL;
	w->watch = NULL;
}

static void attach(struct watched *w)
{
	struct umem_note note = { 0 };
	struct umem_range all = { w->child.start, w->child.start + w->child.span_bytes };
	struct umem_watch_options options = { .size = sizeof(options), .regions = &all,
		.n_regions = 1 };
	int r = umem_target_attach(w->child.pid, NULL, &w->target, &note);

	T_CHECK(r == 0, "%s", note.text);
	r = umem_watch_new(w->target, &options, &w->watch, &note);
	T_CHECK(r == 0, "%s", note.text);
}

static uint64_t collect(struct watched *w)
{
	const struct umem_round *round;
	uint64_t start_ns = b_now_ns();

	T_OK(umem_watch_collect(w->watch, &round, NULL));
	return b_now_ns() - start_ns;
}

static void end(struct watched *w)
{
	umem_watch_free(w->watch);
	umem_target_free(w->target);
	b_target_end(&w->child);
}

static void run_writer(enum b_memory memory, uint64_t bytes)
{
	uint64_t plain[B_RUNS], armed[B_RUNS], n = bytes / B_PAGE, p, a;
	/* A huge page is split by the first write to it; the others cost as in 4K memory. */
	enum b_pattern pattern = memory == B_ANON_THP ? B_SCATTERED : B_ALL;
	uint64_t n_faults = memory == B_ANON_THP ? bytes >> 21 : n;
	struct watched w;

	b_warm(bytes);
	for (int i = 0; i < B_RUNS; i++) {
		start(&w, memory, bytes, 1);
		plain[i] = b_target_write(&w.child, pattern);
		plain[i] = b_target_write(&w.child, pattern);
		attach(&w);
		collect(&w);
		armed[i] = b_target_write(&w.child, pattern);
		end(&w);
	}
	p = b_median(plain, B_RUNS);
	a = b_median(armed, B_RUNS);
	if (memory == B_ANON_THP)
		printf("%-10s first write of a huge page, and %llu more in it: %.0f ns together\n",
			b_memory_name(memory), (unsigned long long)(512 / 100),
			(double)(a - p) / (double)n_faults);
	else
		printf("%-10s unwatched %.1f ns, first of a round %.1f ns a page\n",
			b_memory_name(memory), (double)p / (double)n, (double)a / (double)n);
	fflush(stdout);
	b_json("writer", "\"memory\":\"%s\",\"pages\":%llu,\"faults\":%llu,\"unwatched_ns\":%llu,"
		"\"first_write_ns\":%llu", b_memory_name(memory), (unsigned long long)n,
		(unsigned long long)n_faults, (unsigned long long)p, (unsigned long long)a);
}

static void run_mappings(uint64_t bytes)
{
	uint64_t n_mappings[2] = { 1, MANY }, clean[2][B_RUNS], some[2][B_RUNS], memory[2];
	struct watched w[2];

	b_warm(bytes);
	for (int k = 0; k < 2; k++) {
		/* Half each, so that both are there at the same time. */
		start(&w[k], B_ANON_4K, bytes / 2, n_mappings[k]);
		attach(&w[k]);
		collect(&w[k]);
	}
	for (int i = 0; i < B_RUNS; i++) {
		for (int k = 0; k < 2; k++) {
			clean[k][i] = collect(&w[k]);
			b_target_write(&w[k].child, B_SCATTERED);
			some[k][i] = collect(&w[k]);
			memory[k] = umem_watch_memory(w[k].watch);
		}
	}
	for (int k = 0; k < 2; k++) {
		uint64_t c = b_median(clean[k], B_RUNS), s = b_median(some[k], B_RUNS);

		printf("%5llu mappings of %llu MiB: round %.2f ms clean, %.2f ms with 1%% written; "
		       "watch holds %llu KiB\n", (unsigned long long)n_mappings[k],
			(unsigned long long)bytes >> 21, (double)c / 1e6, (double)s / 1e6,
			(unsigned long long)memory[k] >> 10);
		b_json("mappings", "\"mappings\":%llu,\"bytes\":%llu,\"clean_ns\":%llu,"
			"\"scattered_ns\":%llu,\"watch_memory_bytes\":%llu",
			(unsigned long long)n_mappings[k], (unsigned long long)bytes / 2,
			(unsigned long long)c, (unsigned long long)s,
			(unsigned long long)memory[k]);
		end(&w[k]);
	}
}

int main(void)
{
	uint64_t bytes = b_bytes();

	printf("Cost to the writer (%llu MiB), and of mappings, medians of %d\n",
		(unsigned long long)bytes >> 22, B_RUNS);
	for (int memory = 0; memory < B_N_MEMORIES; memory++)
		run_writer((enum b_memory)memory, bytes / 4);
	run_mappings(bytes);
	return 0;
}
