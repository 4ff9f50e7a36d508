// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Proactive reclaim from a Redis server under a skewed load.
 *
 * A server holds RECLAIM_BYTES (2 GiB) of values of 1000 bytes, loaded in the
 * order of their numbers. A client asks for the first fifth of them alone, eight
 * requests at a time, by Zipf's law, one in five a SET; what lies under the
 * other four fifths is cold, and so many bytes are the whole of "cold". Swap
 * is a zram device of this program.
 *
 * Each way of reclaiming gets a server of its own: first the load alone for a
 * minute, then RECLAIM_SECONDS (300) of load and reclaim. Both halves are of the
 * same server and the same client, so that a slow minute of the machine shows
 * in one row at most. What came back is the server's own count of major
 * faults, not what the reclaimer says of itself.
 *
 *     nothing     the load alone, twice: the noise
 *     probe       umemctl reclaim, as it is by default
 *     age         umemctl reclaim --policy age --refault-max off: not written for
 *                 two minutes is cold, whatever comes back
 *     everything  MADV_PAGEOUT of all of it, once a minute
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/procstat.h"
#include "tests/bench/bench.h"
#include "tests/bench/load.h"
#include "tests/clients/client.h"
#include "tests/kernel/scratch.h"

/** enum way - how memory is reclaimed. */
enum way { WAY_NOTHING, WAY_PROBE, WAY_AGE, WAY_EVERYTHING, N_WAYS };

static const char *const way_names[N_WAYS] = { "nothing", "probe", "age", "everything" };

static uint64_t env_number(const char *name, uint64_t usual)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : usual;
}

static pid_t start_reclaim(const struct b_server *s, enum way way)
{
	char pid[16];
	const char *probe[] = { getenv("UMEMCTL") ?: "build/daemon/ctl/umemctl", "--json",
		"reclaim", pid, NULL };
	const char *age[] = { probe[0], "--json", "reclaim", pid, "--policy", "age",
		"--refault-max", "off", NULL };

	snprintf(pid, sizeof(pid), "%d", s->pid);
	if (way != WAY_PROBE && way != WAY_AGE)
		return -1;
	return cl_spawn(way == WAY_PROBE ? probe : age, way_names[way], NULL, NULL);
}

static void page_out_everything(const struct b_server *s)
{
	char line[256], path[40];
	UMEM_FD int pidfd = -1;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", s->pid);
	maps = fopen(path, "re");
	T_CHECK(maps);
	T_OK(umem_pidfd_open(s->pid, &pidfd));
	while (fgets(line, sizeof(line), maps)) {
		unsigned long long start, end, done;
		char prot[5];
		uint64_t bytes;

		if (sscanf(line, "%llx-%llx %4s", &start, &end, prot) != 3 || prot[1] != 'w')
			continue;
		/* In pieces, as anybody would who does not want to hold it up. */
		for (done = start; done < end; done += 2 << 20) {
			struct iovec iov = { (void *)(uintptr_t)done,
				umem_min_u64(end - done, 2 << 20) };

			umem_pidfd_madvise(pidfd, &iov, 1, MADV_PAGEOUT, &bytes);
		}
	}
	fclose(maps);
}

static uint64_t cpu_of(const struct rusage *use)
{
	return ((uint64_t)use->ru_utime.tv_sec + (uint64_t)use->ru_stime.tv_sec) * 1000000000u +
		((uint64_t)use->ru_utime.tv_usec + (uint64_t)use->ru_stime.tv_usec) * 1000u;
}

static void print_row(const struct b_server *s, enum way way, const struct b_figures *alone,
	const struct b_figures *with, const struct umem_procstat *before, uint64_t late_faults,
	uint64_t late_seconds, uint64_t cpu_ns)
{
	struct umem_procstat now;
	double rate[2], cold = (double)s->bytes * (B_HOT_PART - 1) / B_HOT_PART, out, pages;

	T_OK(umem_procstat_read(s->proc, &now));
	out = (double)now.swap_bytes;
	pages = out / 4096 > 1 ? out / 4096 : 1;
	rate[0] = (double)alone->n * 1e9 / (double)alone->ns;
	rate[1] = (double)with->n * 1e9 / (double)with->ns;
	printf("%-10s %6.0f%% %9.0f %8.3f%% %8.1f%% %6.0f -> %-6.0f %+6.1f%% %8.0f %8.1f %6.2f%%\n",
		way_names[way], 100 * out / cold, (double)(now.maj_flt - before->maj_flt),
		late_seconds ? 100.0 * (double)late_faults * 60 / (double)late_seconds / pages : 0,
		100 * (rate[1] / rate[0] - 1), (double)b_percentile(alone, 0.99) / 1e3,
		(double)b_percentile(with, 0.99) / 1e3, 100 * ((double)b_percentile(with, 0.99) /
			(double)b_percentile(alone, 0.99) - 1),
		(double)b_percentile(with, 0.999) / 1e3, (double)with->longest_ns / 1e6,
		100 * (double)cpu_ns / (double)with->ns);
	fflush(stdout);
	b_json("reclaim", "\"way\":\"%s\",\"out_bytes\":%.0f,\"cold_bytes\":%.0f,"
		"\"faults\":%llu,\"late_faults_per_min\":%.1f,\"rate_alone\":%.0f,\"rate\":%.0f,"
		"\"p99_alone_ns\":%llu,\"p99_ns\":%llu,\"p999_ns\":%llu,\"longest_ns\":%llu,"
		"\"cpu_ns\":%llu",
		way_names[way], out, cold, (unsigned long long)(now.maj_flt - before->maj_flt),
		late_seconds ? (double)late_faults * 60 / (double)late_seconds : 0, rate[0],
		rate[1], (unsigned long long)b_percentile(alone, 0.99),
		(unsigned long long)b_percentile(with, 0.99),
		(unsigned long long)b_percentile(with, 0.999),
		(unsigned long long)with->longest_ns, (unsigned long long)cpu_ns);
}

static void run_way(enum way way, uint64_t bytes, uint64_t seconds)
{
	static struct b_figures alone, with;
	struct umem_procstat before, middle, after;
	struct rusage use = { 0 };
	struct b_server s;
	pid_t reclaimer;
	uint64_t late = seconds * 2 / 5;

	alone = with = (struct b_figures){ 0 };
	b_server_start(&s, bytes);
	b_load_run(&s.load, 5, &with);
	with = (struct b_figures){ 0 };
	b_load_run(&s.load, umem_min_u64(seconds, 60), &alone);
	T_OK(umem_procstat_read(s.proc, &before));
	reclaimer = start_reclaim(&s, way);
	for (uint64_t at = 0; at < seconds - late;) {
		uint64_t step = umem_min_u64(60 - at % 60, seconds - late - at);

		if (way == WAY_EVERYTHING && at % 60 == 0)
			page_out_everything(&s);
		b_load_run(&s.load, step, &with);
		at += step;
	}
	T_OK(umem_procstat_read(s.proc, &middle));
	for (uint64_t at = seconds - late; at < seconds;) {
		uint64_t step = umem_min_u64(60 - at % 60, seconds - at);

		if (way == WAY_EVERYTHING && at % 60 == 0)
			page_out_everything(&s);
		b_load_run(&s.load, step, &with);
		at += step;
	}
	T_OK(umem_procstat_read(s.proc, &after));
	if (reclaimer > 0) {
		kill(reclaimer, SIGINT);
		T_SYS(wait4(reclaimer, NULL, 0, &use));
	}
	print_row(&s, way, &alone, &with, &before, after.maj_flt - middle.maj_flt, late,
		cpu_of(&use));
	b_server_stop(&s);
}

int main(int argc, char **argv)
{
	uint64_t bytes = env_number("RECLAIM_BYTES", 2ull << 30);
	uint64_t seconds = env_number("RECLAIM_SECONDS", 300);

	cl_need("redis-server", "redis-server");
	k_zram_swap(bytes * 2);
	b_warm(bytes + bytes / 4);
	printf("redis-server of %llu MiB, a fifth of it in use, %llu s of reclaim\n",
		(unsigned long long)(bytes >> 20), (unsigned long long)seconds);
	printf("%-10s %7s %9s %9s %9s %16s %7s %8s %8s %7s\n", "RECLAIM", "OUT", "FAULTS",
		"PER MIN", "RATE", "P99 us", "", "P99.9 us", "WORST ms", "CPU");
	printf("%-10s %7s %9s %9s\n", "", "of cold", "", "(late)");
	for (enum way way = WAY_NOTHING; way < N_WAYS; way++) {
		bool named = argc < 2;

		for (int i = 1; i < argc; i++)
			named |= strcmp(argv[i], way_names[way]) == 0;
		if (named)
			run_way(way, bytes, seconds);
	}
	return 0;
}
