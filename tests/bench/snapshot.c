// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How long a snapshot stops a program, and how many page tables it costs.
 *
 * pause: a writer goes over 16 MiB of its memory in a loop and looks at the clock all
 * the time. umemctl takes it by each method, beside gcore, and beside a bare fork(2) of
 * the same process. STOPPED is what the snapshot says; HELD UP the longest that the
 * writer was held up, by whatever: where processors are few, that is also the wait for
 * one ("nothing" is the writer alone, for as long as a second). WRITER is how much it
 * wrote meanwhile, of what it writes alone.
 *
 * The same at a quarter and at twice the size for what shall not grow with it.
 *
 * tables: kB of page tables of a quarter of the memory, before, at most meanwhile (with
 * those of its children), and after.
 *
 * bench-snapshot [pause|tables]; BENCH_BYTES, BENCH_RUNS.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/bench/bench.h"
#include "tests/bench/writer.h"
#include "tests/clients/client.h"
#include "tests/clients/snapshot.h"

#define HOT_BYTES (16ull << 20)
#define MAX_RUNS  15u

/** enum way - what is done to the writer. The first four are methods of umemctl. */
enum way { COW, PRECOPY, FORK, FREEZE, GCORE, BARE_FORK, NOTHING, N_WAYS };

static const char *const way_names[N_WAYS] = { "cow", "precopy", "fork", "freeze", "gcore",
	"bare fork", "nothing" };

/* What one run measured. @stopped_ns: UINT64_MAX where nobody says. */
struct run {
	uint64_t stopped_ns;
	uint64_t held_up_ns;
	uint64_t took_ns;
	uint64_t pages_per_s;
	char said[192];
};

static unsigned n_runs(enum way way)
{
	const char *given = getenv("BENCH_RUNS");
	unsigned n = given ? (unsigned)atoi(given) : B_RUNS;

	/* It takes long, and does not vary. */
	if (way == GCORE && n > 3)
		n = 3;
	return n < 1 ? 1 : n > MAX_RUNS ? MAX_RUNS : n;
}

static void take(const struct b_writer *w, enum way way, struct run *run)
{
	static const char *const plain[] = { "--codec", "none", NULL };
	struct cl_snapshot snapshot = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "%s", cl_path("image"));
	cl_snapshot_take(&snapshot, w->pid, path, way_names[way], plain);
	T_CHECK(snapshot.status == 0, "%s: %s", way_names[way], snapshot.said);
	run->stopped_ns = snapshot.pause_ns;
	if (!snapshot.complete)
		snprintf(run->said, sizeof(run->said), "incomplete: %s", snapshot.reason);
	cl_snapshot_deinit(&snapshot);
	unlink(path);
}

static void gcore(const struct b_writer *w)
{
	char pid[16], prefix[128], path[160];
	const char *argv[] = { "gcore", "-o", prefix, pid, NULL };

	snprintf(prefix, sizeof(prefix), "%s", cl_path("gcore"));
	snprintf(pid, sizeof(pid), "%d", (int)w->pid);
	T_CHECK(t_wait(cl_spawn(argv, "gcore.log", NULL, NULL)) == 0);
	snprintf(path, sizeof(path), "%s.%s", prefix, pid);
	unlink(path);
}

static void measure(struct b_writer *w, enum way way, struct run *run)
{
	struct b_writer_seen seen;
	uint64_t start_ns;

	*run = (struct run){ .stopped_ns = UINT64_MAX };
	b_writer_reset(w);
	start_ns = b_now_ns();
	if (way <= FREEZE)
		take(w, way, run);
	else if (way == GCORE)
		gcore(w);
	else if (way == NOTHING)
		t_msleep(1000);
	else
		run->stopped_ns = b_writer_fork(w);
	run->took_ns = b_now_ns() - start_ns;
	b_writer_look(w, &seen);
	run->held_up_ns = way == BARE_FORK ? run->stopped_ns : seen.longest_ns;
	run->pages_per_s = seen.n_pages * 1000 / umem_max_u64(run->took_ns / 1000000, 1);
}

/* Median, and the worst behind it. */
static uint64_t median_of(const struct run *runs, unsigned n, size_t field, uint64_t *ret_worst)
{
	uint64_t v[MAX_RUNS], median;

	for (unsigned i = 0; i < n; i++)
		v[i] = *(const uint64_t *)(const void *)((const char *)&runs[i] + field);
	median = b_median(v, n);
	*ret_worst = v[n - 1];
	return median;
}

static void print_way(enum way way, uint64_t bytes, const struct run *runs, unsigned n,
	uint64_t alone_per_s)
{
	uint64_t worst_stop, worst_held, unused;
	uint64_t stop = median_of(runs, n, offsetof(struct run, stopped_ns), &worst_stop);
	uint64_t held = median_of(runs, n, offsetof(struct run, held_up_ns), &worst_held);
	uint64_t took = median_of(runs, n, offsetof(struct run, took_ns), &unused);
	uint64_t rate = median_of(runs, n, offsetof(struct run, pages_per_s), &unused);
	char stopped[32] = "-", worst[32] = "-", json[96] = "";

	if (stop != UINT64_MAX) {
		snprintf(stopped, sizeof(stopped), "%.3f", (double)stop / 1e6);
		snprintf(worst, sizeof(worst), "%.3f", (double)worst_stop / 1e6);
		snprintf(json, sizeof(json), "\"pause_ns\":%llu,\"pause_worst_ns\":%llu,",
			(unsigned long long)stop, (unsigned long long)worst_stop);
	}
	printf("%-10s %7llu %11s %9s %11.3f %9.3f %9.2f %8.0f%%  %s\n", way_names[way],
		(unsigned long long)(bytes >> 20), stopped, worst, (double)held / 1e6,
		(double)worst_held / 1e6, (double)took / 1e9,
		way == BARE_FORK ? 100.0 : 100.0 * (double)rate / (double)alone_per_s,
		runs[0].said);
	fflush(stdout);
	b_json("snapshot-pause", "\"way\":\"%s\",\"bytes\":%llu,\"hot_bytes\":%llu,\"runs\":%u,%s"
		"\"held_up_ns\":%llu,\"held_up_worst_ns\":%llu,\"took_ns\":%llu,"
		"\"pages_per_s\":%llu,\"pages_per_s_alone\":%llu", way_names[way],
		(unsigned long long)bytes, (unsigned long long)HOT_BYTES, n, json,
		(unsigned long long)held, (unsigned long long)worst_held,
		(unsigned long long)took, (unsigned long long)rate,
		(unsigned long long)alone_per_s);
}

/* @ways: bits; all of them in turns, so that a slow minute is in each. */
static void run_size(uint64_t bytes, unsigned ways)
{
	static struct run runs[N_WAYS][MAX_RUNS];
	struct b_writer w;
	uint64_t alone, unused;

	b_warm(bytes);
	b_writer_start(&w, bytes, HOT_BYTES);
	for (unsigned i = 0; i < n_runs(NOTHING); i++)
		for (enum way way = 0; way < N_WAYS; way++)
			if ((ways & 1u << way) && i < n_runs(way))
				measure(&w, way, &runs[way][i]);
	alone = median_of(runs[NOTHING], n_runs(NOTHING), offsetof(struct run, pages_per_s),
		&unused);
	for (enum way way = 0; way < N_WAYS; way++)
		if (ways & 1u << way)
			print_way(way, bytes, runs[way], n_runs(way), alone);
	b_writer_end(&w);
}

static void run_pause(void)
{
	unsigned all = (1u << N_WAYS) - 1, few = 1u << COW | 1u << PRECOPY | 1u << NOTHING;

	if (system("command -v gcore >/dev/null") != 0) {
		puts("gcore is not installed (package gdb)");
		all &= ~(1u << GCORE);
	}
	printf("%-10s %7s %21s %21s %9s %9s\n", "", "", "STOPPED ms", "HELD UP ms", "", "");
	printf("%-10s %7s %11s %9s %11s %9s %9s %9s\n", "WAY", "MiB", "median", "worst", "median",
		"worst", "TOTAL s", "WRITER");
	run_size(b_bytes(), all);
	run_size(b_bytes() / 4, few | 1u << BARE_FORK);
	run_size(b_bytes() * 2, few | 1u << BARE_FORK);
}

/* --- page tables --- */

/* Looks at the page tables of @pid and of its children until @end. */
struct watch {
	pid_t pid;
	uint64_t most_kb;
	bool end;
};

static uint64_t with_children_kb(pid_t pid)
{
	char path[64], text[1024] = "", *at = text;
	uint64_t kb = b_tables_kb(pid);
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	if (!file)
		return kb;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	for (long child = strtol(at, &at, 10); child > 0; child = strtol(at, &at, 10))
		kb += b_tables_kb((pid_t)child);
	return kb;
}

static void *watch_tables(void *user)
{
	struct watch *watch = user;

	while (!__atomic_load_n(&watch->end, __ATOMIC_ACQUIRE)) {
		watch->most_kb = umem_max_u64(watch->most_kb, with_children_kb(watch->pid));
		usleep(500);
	}
	return NULL;
}

static void print_tables(const char *name, uint64_t bytes, uint64_t before, uint64_t most,
	uint64_t after)
{
	printf("%-10s %7llu %10llu %10llu %10llu %+10lld\n", name,
		(unsigned long long)(bytes >> 20), (unsigned long long)before,
		(unsigned long long)most, (unsigned long long)after,
		(long long)(umem_max_u64(most, after) - before));
	b_json("snapshot-tables", "\"way\":\"%s\",\"bytes\":%llu,\"before_kb\":%llu,"
		"\"most_kb\":%llu,\"after_kb\":%llu", name, (unsigned long long)bytes,
		(unsigned long long)before, (unsigned long long)most, (unsigned long long)after);
}

static void run_tables(void)
{
	uint64_t bytes = b_bytes() / 4;

	printf("%-10s %7s %10s %10s %10s %10s\n", "TABLES kB", "MiB", "before", "most", "after",
		"growth");
	for (enum way way = COW; way <= FREEZE; way++) {
		struct b_writer w;
		struct watch watch = { 0 };
		pthread_t thread;
		struct run run = { 0 };
		uint64_t before;

		b_writer_start(&w, bytes, HOT_BYTES);
		watch.pid = w.pid;
		before = b_tables_kb(w.pid);
		T_CHECK(pthread_create(&thread, NULL, watch_tables, &watch) == 0);
		take(&w, way, &run);
		__atomic_store_n(&watch.end, true, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		print_tables(way_names[way], bytes, before, watch.most_kb, b_tables_kb(w.pid));
		if (way == FREEZE)
			print_tables("bare fork", bytes, before, before + b_writer_fork_tables(&w),
				b_tables_kb(w.pid));
		b_writer_end(&w);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2 || strcmp(argv[1], "pause") == 0)
		run_pause();
	if (argc < 2 || strcmp(argv[1], "tables") == 0)
		run_tables();
	return 0;
}
