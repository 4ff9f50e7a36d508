// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How fast an image is written, proved and read, and what an increment costs.
 *
 * The memory is BENCH_BYTES (4 GiB) that do not compress, of a process that rests. dd
 * copies the same memory (/proc/PID/mem) with the flags that umemctl writes with, O_DIRECT
 * and an fsync, in pieces of 1 MiB; and zeros, of which nothing is read: no copy is faster.
 *
 * An increment: 5% of the pages have new content since the parent, evenly spread; found by
 * comparing all of memory with the parent, and known from a session (--trigger stdin).
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/bench/bench.h"
#include "tests/bench/writer.h"
#include "tests/clients/client.h"
#include "tests/clients/snapshot.h"

#define MAX_RUNS 15u
#define PERCENT	 5u

/** enum job - what is measured. */
enum job { DD_MEMORY, DD_ZEROS, NONE, ZSTD, VERIFY, READ, VERIFY_ZSTD, READ_ZSTD, PART, TRACKED,
	N_JOBS };

static const char *const job_names[N_JOBS] = { "dd, same memory", "dd, zeros", "codec none",
	"codec zstd", "verify", "read", "verify zstd", "read zstd", "5% changed",
	"5%, tracked" };

static char paths[4][128]; /* without a codec, with, an increment, one of a session */

static unsigned n_runs(void)
{
	const char *given = getenv("BENCH_RUNS");
	unsigned n = given ? (unsigned)atoi(given) : 3;

	return n < 1 ? 1 : n > MAX_RUNS ? MAX_RUNS : n;
}

static uint64_t spawn(const char *const *argv)
{
	uint64_t start_ns = b_now_ns();

	T_CHECK(t_wait(cl_spawn(argv, "job.log", NULL, NULL)) == 0, "%s %s", argv[0], argv[1]);
	return b_now_ns() - start_ns;
}

static uint64_t dd(const struct b_writer *w, bool zeros)
{
	char from[64], to[160], skip[48], count[48];
	const char *argv[] = { "dd", from, to, skip, count, "bs=1M", "oflag=direct",
		"iflag=skip_bytes,count_bytes,fullblock", "conv=fsync", "status=none", NULL };
	uint64_t took_ns;

	snprintf(from, sizeof(from), zeros ? "if=/dev/zero" : "if=/proc/%d/mem", (int)w->pid);
	snprintf(to, sizeof(to), "of=%s", cl_path("dd"));
	snprintf(skip, sizeof(skip), "skip=%llu", zeros ? 0ull : (unsigned long long)w->at);
	snprintf(count, sizeof(count), "count=%llu", (unsigned long long)w->bytes);
	took_ns = spawn(argv);
	unlink(cl_path("dd"));
	return took_ns;
}

static uint64_t take(const struct b_writer *w, const char *path, const char *codec,
	const char *parent)
{
	const char *more[] = { "--codec", codec, parent ? "--parent" : NULL, parent, NULL };
	struct cl_snapshot snapshot = { 0 };
	uint64_t start_ns = b_now_ns();

	cl_snapshot_take(&snapshot, w->pid, path, "precopy", more);
	start_ns = b_now_ns() - start_ns;
	T_CHECK(snapshot.status == 0, "%s", snapshot.said);
	cl_snapshot_deinit(&snapshot);
	return start_ns;
}

static uint64_t verify(const char *path)
{
	const char *argv[] = { cl_umemctl(), "-q", "image", "verify", path, NULL };

	return spawn(argv);
}

static uint64_t read_all(const struct b_writer *w, const char *path)
{
	char at[32], len[32];
	const char *argv[] = { "sh", "-c", "exec \"$@\" >/dev/null", "sh", cl_umemctl(), "-q",
		"image", "read", path, "--at", at, "--len", len, NULL };

	snprintf(at, sizeof(at), "%#llx", (unsigned long long)w->at);
	snprintf(len, sizeof(len), "%llu", (unsigned long long)w->bytes);
	return spawn(argv);
}

/* Until an image of a series is there. */
static void await_image(FILE *out)
{
	char *line = NULL;
	size_t room = 0;
	bool done = false;

	while (!done && getline(&line, &room, out) > 0)
		done = strstr(line, "\"done\"") != NULL;
	T_CHECK(done, "the series has ended");
	free(line);
}

/* The second image of a session: what it stores is known by then. */
static uint64_t tracked(struct b_writer *w)
{
	char pid[16], first[160];
	const char *argv[] = { cl_umemctl(), "--json", "snapshot", pid, "-o", first, "--codec",
		"none", "--method", "precopy", "--trigger", "stdin", NULL };
	uint64_t start_ns;
	pid_t child;
	FILE *out;
	int in;

	snprintf(pid, sizeof(pid), "%d", (int)w->pid);
	snprintf(first, sizeof(first), "%s", cl_path("series"));
	snprintf(paths[3], sizeof(paths[3]), "%.120s.1", first);
	unlink(paths[3]);
	child = cl_spawn(argv, "series.log", &in, &out);
	await_image(out);
	b_writer_change(w, PERCENT);
	start_ns = b_now_ns();
	T_SYS(write(in, "\n", 1));
	await_image(out);
	start_ns = b_now_ns() - start_ns;
	close(in);
	T_CHECK(t_wait(child) == 0);
	fclose(out);
	unlink(first);
	return start_ns;
}

static uint64_t run_job(struct b_writer *w, enum job job)
{
	switch (job) {
	case DD_MEMORY:
	case DD_ZEROS:
		return dd(w, job == DD_ZEROS);
	case NONE:
		return take(w, paths[0], "none", NULL);
	case ZSTD:
		return take(w, paths[1], "zstd", NULL);
	case VERIFY:
	case VERIFY_ZSTD:
		return verify(paths[job == VERIFY_ZSTD]);
	case READ:
	case READ_ZSTD:
		return read_all(w, paths[job == READ_ZSTD]);
	case TRACKED:
		return tracked(w);
	default:
		b_writer_change(w, PERCENT);
		return take(w, paths[2], "none", paths[0]);
	}
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* The file that a job made, or "". */
static const char *made_by(enum job job)
{
	switch (job) {
	case NONE:
		return paths[0];
	case ZSTD:
		return paths[1];
	case PART:
		return paths[2];
	case TRACKED:
		return paths[3];
	default:
		return "";
	}
}

static void print_job(const struct b_writer *w, enum job job, uint64_t ns, uint64_t dd_ns)
{
	uint64_t file_bytes = size_of(made_by(job));

	printf("%-16s %9.3f %8.2f %8.0f%% %8lluM\n", job_names[job], (double)ns / 1e9,
		(double)w->bytes / (double)ns, 100.0 * (double)dd_ns / (double)ns,
		(unsigned long long)(file_bytes >> 20));
	b_json("image", "\"job\":\"%s\",\"bytes\":%llu,\"took_ns\":%llu,\"file_bytes\":%llu",
		job_names[job], (unsigned long long)w->bytes, (unsigned long long)ns,
		(unsigned long long)file_bytes);
}

int main(void)
{
	static uint64_t took[N_JOBS][MAX_RUNS];
	uint64_t medians[N_JOBS];
	struct b_writer w;

	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(paths[0], sizeof(paths[0]), "%s", cl_path("none"));
	snprintf(paths[1], sizeof(paths[1]), "%s", cl_path("zstd"));
	snprintf(paths[2], sizeof(paths[2]), "%s", cl_path("part"));
	b_warm(b_bytes());
	b_writer_start(&w, b_bytes(), 0);
	for (unsigned i = 0; i < n_runs(); i++)
		for (enum job job = 0; job < N_JOBS; job++)
			took[job][i] = run_job(&w, job);
	printf("%-16s %9s %8s %9s %9s   (%llu MiB, median of %u)\n", "JOB", "TIME s", "GB/s",
		"of dd", "FILE", (unsigned long long)(w.bytes >> 20), n_runs());
	for (enum job job = 0; job < N_JOBS; job++)
		medians[job] = b_median(took[job], n_runs());
	for (enum job job = 0; job < N_JOBS; job++)
		print_job(&w, job, medians[job], medians[DD_MEMORY]);
	printf("the increment: %.1f%% of the time, tracked %.1f%%, %.1f%% of the size of the "
	       "whole\n",
		100.0 * (double)medians[PART] / (double)medians[NONE],
		100.0 * (double)medians[TRACKED] / (double)medians[NONE],
		100.0 * (double)size_of(paths[2]) / (double)umem_max_u64(size_of(paths[0]), 1));
	b_writer_end(&w);
	return 0;
}
