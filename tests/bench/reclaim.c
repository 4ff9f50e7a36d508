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
#include <math.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/procstat.h"
#include "tests/bench/bench.h"
#include "tests/clients/client.h"
#include "tests/kernel/scratch.h"

#define VALUE_BYTES 1000
#define CLIENTS     8
#define HOT_PART    5
#define ZIPF        0.99

/* Requests are counted by how long they took: 16 steps for each doubling. */
#define STEPS   16
#define BUCKETS (40 * STEPS)

/**
 * struct load - the client.
 * @fds: its connections.
 * @n_hot: keys that it asks for.
 * @cdf: their cumulated shares.
 * @random: state of its generator.
 */
struct load {
	int fds[CLIENTS];
	uint64_t n_hot;
	double *cdf;
	uint64_t random;
};

/**
 * struct figures - a stretch of load.
 * @n, @ns: requests, and time.
 * @buckets: by duration.
 * @longest_ns: of all.
 */
struct figures {
	uint64_t n;
	uint64_t ns;
	uint64_t buckets[BUCKETS];
	uint64_t longest_ns;
};

/** enum way - how memory is reclaimed. */
enum way { WAY_NOTHING, WAY_PROBE, WAY_AGE, WAY_EVERYTHING, N_WAYS };

static const char *const way_names[N_WAYS] = { "nothing", "probe", "age", "everything" };

static uint64_t env_number(const char *name, uint64_t usual)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : usual;
}

static size_t bucket_of(uint64_t ns)
{
	size_t i = (size_t)(log2((double)umem_max_u64(ns, 1)) * STEPS);

	return i < BUCKETS ? i : BUCKETS - 1;
}

static uint64_t percentile(const struct figures *f, double share)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < BUCKETS; i++) {
		seen += f->buckets[i];
		if ((double)seen >= share * (double)f->n)
			return (uint64_t)exp2(((double)i + 0.5) / STEPS);
	}
	return f->longest_ns;
}

/* Two fifths of it are random and the rest is not: it compresses about as well as text does. */
static void fill_value(char *value, uint64_t *random)
{
	for (size_t i = 0; i < VALUE_BYTES; i += 8) {
		uint64_t word = i % 40 < 16 ? t_rand(random) : 0x2020202020202020;

		memcpy(value + i, &word, 8);
	}
}

static size_t set_command(char *text, uint64_t key, const char *value)
{
	size_t len = (size_t)sprintf(text, "*3\r\n$3\r\nSET\r\n$14\r\nkey:%010llu\r\n$%d\r\n",
		(unsigned long long)key, VALUE_BYTES);

	memcpy(text + len, value, VALUE_BYTES);
	memcpy(text + len + VALUE_BYTES, "\r\n", 2);
	return len + VALUE_BYTES + 2;
}

static void read_fully(int fd, char *buf, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = read(fd, buf + at, len - at);

		T_CHECK(n > 0, "%zd", n);
		at += (size_t)n;
	}
}

static void write_fully(int fd, const char *buf, size_t len)
{
	for (size_t at = 0; at < len;)
		at += (size_t)T_SYS(write(fd, buf + at, len - at));
}

/* Load keys until the server holds @bytes; 256 at a time. Return: how many. */
static uint64_t fill(int fd, pid_t pid, uint64_t bytes, uint64_t *random)
{
	static char text[256 * (VALUE_BYTES + 64)], reply[256 * 5], value[VALUE_BYTES];
	char path[40];
	uint64_t n = 0;
	UMEM_FD int proc = -1;
	struct umem_procstat stat;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	proc = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	do {
		size_t len = 0;

		for (int i = 0; i < 256; i++) {
			fill_value(value, random);
			len += set_command(text + len, n++, value);
		}
		write_fully(fd, text, len);
		read_fully(fd, reply, sizeof(reply));
		T_CHECK(reply[0] == '+', "%.40s", reply);
		T_OK(umem_procstat_read(proc, &stat));
	} while (stat.rss_anon_bytes < bytes);
	return n;
}

static void zipf_init(struct load *load)
{
	double sum = 0;

	load->cdf = calloc(load->n_hot, sizeof(*load->cdf));
	T_CHECK(load->cdf);
	for (uint64_t i = 0; i < load->n_hot; i++)
		load->cdf[i] = sum += 1 / pow((double)(i + 1), ZIPF);
	for (uint64_t i = 0; i < load->n_hot; i++)
		load->cdf[i] /= sum;
}

/* A hot key. Ranks are spread over the hot keys, so that the hottest are not neighbours. */
static uint64_t zipf_key(struct load *load)
{
	double u = (double)(t_rand(&load->random) >> 11) / (double)(1ull << 53);
	uint64_t low = 0, high = load->n_hot - 1;

	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (load->cdf[middle] < u)
			low = middle + 1;
		else
			high = middle;
	}
	return (low * 2654435761u) % load->n_hot;
}

static void one_batch(struct load *load, struct figures *f)
{
	static char text[VALUE_BYTES + 64], value[VALUE_BYTES], reply[VALUE_BYTES + 16];
	uint64_t start[CLIENTS];
	bool set[CLIENTS];

	for (int i = 0; i < CLIENTS; i++) {
		uint64_t key = zipf_key(load);
		size_t len;

		set[i] = t_below(&load->random, 5) == 0;
		if (set[i]) {
			fill_value(value, &load->random);
			len = set_command(text, key, value);
		} else {
			len = (size_t)sprintf(text, "*2\r\n$3\r\nGET\r\n$14\r\nkey:%010llu\r\n",
				(unsigned long long)key);
		}
		start[i] = b_now_ns();
		write_fully(load->fds[i], text, len);
	}
	for (int i = 0; i < CLIENTS; i++) {
		uint64_t took;

		/* "+OK\r\n", or "$1000\r\n", the value and "\r\n" */
		read_fully(load->fds[i], reply, set[i] ? 5 : VALUE_BYTES + 9);
		T_CHECK(reply[0] == (set[i] ? '+' : '$'), "%.40s", reply);
		took = b_now_ns() - start[i];
		f->buckets[bucket_of(took)]++;
		f->longest_ns = umem_max_u64(f->longest_ns, took);
		f->n++;
	}
}

static void run_load(struct load *load, uint64_t seconds, struct figures *f)
{
	uint64_t start = b_now_ns(), end = start + seconds * 1000000000u;

	while (b_now_ns() < end)
		one_batch(load, f);
	f->ns += b_now_ns() - start;
}

/**
 * struct server - a Redis server, filled.
 * @bytes: resident when it was filled.
 */
struct server {
	pid_t pid;
	int proc;
	uint64_t bytes;
	struct load load;
};

static void start_server(struct server *s, uint64_t bytes)
{
	const char *argv[] = { "redis-server", "--port", "0", "--unixsocket", cl_path("socket"),
		"--dir", cl_tmpdir(), "--save", "", "--appendonly", "no", "--daemonize", "no",
		NULL };
	struct umem_procstat stat;
	char path[40];
	uint64_t n;

	*s = (struct server){ .load = { .random = 1 } };
	s->pid = cl_spawn(argv, "redis.log", NULL, NULL);
	for (int i = 0; i < CLIENTS; i++)
		s->load.fds[i] = cl_unix_connect(cl_path("socket"));
	n = fill(s->load.fds[0], s->pid, bytes, &s->load.random);
	s->load.n_hot = n / HOT_PART;
	zipf_init(&s->load);
	snprintf(path, sizeof(path), "/proc/%d", s->pid);
	s->proc = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	T_OK(umem_procstat_read(s->proc, &stat));
	s->bytes = stat.rss_anon_bytes;
}

static void stop_server(struct server *s)
{
	for (int i = 0; i < CLIENTS; i++)
		close(s->load.fds[i]);
	close(s->proc);
	free(s->load.cdf);
	t_end(s->pid);
	unlink(cl_path("socket"));
}

static pid_t start_reclaim(const struct server *s, enum way way)
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

static void page_out_everything(const struct server *s)
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

static void print_row(const struct server *s, enum way way, const struct figures *alone,
	const struct figures *with, const struct umem_procstat *before, uint64_t late_faults,
	uint64_t late_seconds, uint64_t cpu_ns)
{
	struct umem_procstat now;
	double rate[2], cold = (double)s->bytes * (HOT_PART - 1) / HOT_PART, out, pages;

	T_OK(umem_procstat_read(s->proc, &now));
	out = (double)now.swap_bytes;
	pages = out / 4096 > 1 ? out / 4096 : 1;
	rate[0] = (double)alone->n * 1e9 / (double)alone->ns;
	rate[1] = (double)with->n * 1e9 / (double)with->ns;
	printf("%-10s %6.0f%% %9.0f %8.3f%% %8.1f%% %6.0f -> %-6.0f %+6.1f%% %8.0f %8.1f %6.2f%%\n",
		way_names[way], 100 * out / cold, (double)(now.maj_flt - before->maj_flt),
		late_seconds ? 100.0 * (double)late_faults * 60 / (double)late_seconds / pages : 0,
		100 * (rate[1] / rate[0] - 1), (double)percentile(alone, 0.99) / 1e3,
		(double)percentile(with, 0.99) / 1e3, 100 * ((double)percentile(with, 0.99) /
			(double)percentile(alone, 0.99) - 1),
		(double)percentile(with, 0.999) / 1e3, (double)with->longest_ns / 1e6,
		100 * (double)cpu_ns / (double)with->ns);
	fflush(stdout);
	b_json("reclaim", "\"way\":\"%s\",\"out_bytes\":%.0f,\"cold_bytes\":%.0f,"
		"\"faults\":%llu,\"late_faults_per_min\":%.1f,\"rate_alone\":%.0f,\"rate\":%.0f,"
		"\"p99_alone_ns\":%llu,\"p99_ns\":%llu,\"p999_ns\":%llu,\"longest_ns\":%llu,"
		"\"cpu_ns\":%llu",
		way_names[way], out, cold, (unsigned long long)(now.maj_flt - before->maj_flt),
		late_seconds ? (double)late_faults * 60 / (double)late_seconds : 0, rate[0],
		rate[1], (unsigned long long)percentile(alone, 0.99),
		(unsigned long long)percentile(with, 0.99),
		(unsigned long long)percentile(with, 0.999),
		(unsigned long long)with->longest_ns, (unsigned long long)cpu_ns);
}

static void run_way(enum way way, uint64_t bytes, uint64_t seconds)
{
	static struct figures alone, with;
	struct umem_procstat before, middle, after;
	struct rusage use = { 0 };
	struct server s;
	pid_t reclaimer;
	uint64_t late = seconds * 2 / 5;

	alone = with = (struct figures){ 0 };
	start_server(&s, bytes);
	run_load(&s.load, 5, &with);
	with = (struct figures){ 0 };
	run_load(&s.load, umem_min_u64(seconds, 60), &alone);
	T_OK(umem_procstat_read(s.proc, &before));
	reclaimer = start_reclaim(&s, way);
	for (uint64_t at = 0; at < seconds - late;) {
		uint64_t step = umem_min_u64(60 - at % 60, seconds - late - at);

		if (way == WAY_EVERYTHING && at % 60 == 0)
			page_out_everything(&s);
		run_load(&s.load, step, &with);
		at += step;
	}
	T_OK(umem_procstat_read(s.proc, &middle));
	for (uint64_t at = seconds - late; at < seconds;) {
		uint64_t step = umem_min_u64(60 - at % 60, seconds - at);

		if (way == WAY_EVERYTHING && at % 60 == 0)
			page_out_everything(&s);
		run_load(&s.load, step, &with);
		at += step;
	}
	T_OK(umem_procstat_read(s.proc, &after));
	if (reclaimer > 0) {
		kill(reclaimer, SIGINT);
		T_SYS(wait4(reclaimer, NULL, 0, &use));
	}
	print_row(&s, way, &alone, &with, &before, after.maj_flt - middle.maj_flt, late,
		cpu_of(&use));
	stop_server(&s);
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
