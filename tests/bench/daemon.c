// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What it costs to go through umemd.
 *
 *     collect     of one process: by the engine in this process, through the daemon as
 *                 numbers and as a bitmap in a memfd; in turns, BENCH_DAEMON_ROUNDS (400)
 *                 of each. Nothing is dirty, a hundredth, or all of it.
 *     many        BENCH_DAEMON_TARGETS (1000) processes of BENCH_DAEMON_MIB (16), a round
 *                 a second each for BENCH_DAEMON_SECONDS (20): the manager's and the
 *                 workers' processor time, memory that is a worker's own, how long it
 *                 takes to bring a process in and start.
 *     cycles      BENCH_DAEMON_CYCLES (10000) times connect, a call, close: what is left.
 *
 * Each target writes to a page in a hundred, once a second: a thousand of them that do
 * more are what two processors are busy with, and umemd waits. What is done: all, or
 * those of "collect", "cycles" and "many" that are named.
 */
#include <umemd/client.h>
#include <umemd/umemd.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/kern/procstat.h"
#include "tests/bench/bench.h"
#include "tests/clients/client.h"

#define MAX_ROUNDS 4000u

static uint64_t env_number(const char *name, uint64_t usual)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : usual;
}

/* --- a daemon of our own --- */

static const char *socket_path;

static pid_t start_daemon(uint64_t n_targets)
{
	char worker[256], config[160], path[160], numbers[3][32];
	const char *argv[] = { getenv("UMEMD") ?: "build/daemon/umemd", "--config", config,
		"--socket", path, "--worker", worker, NULL };
	struct umem_client *client;
	pid_t pid;
	FILE *file;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(numbers); i++)
		snprintf(numbers[i], sizeof(numbers[i]), "%llu",
			(unsigned long long)(n_targets + 64));
	snprintf(config, sizeof(config), "%s", cl_path("umemd.conf"));
	snprintf(path, sizeof(path), "%s", cl_path("socket"));
	snprintf(worker, sizeof(worker), "%s", getenv("UMEMD_WORKER") ?:
		"build/daemon/worker/umemd-worker");
	file = fopen(config, "we");
	T_CHECK(file != NULL);
	fprintf(file, "[Quota]\nConnections=%s\nUserConnections=%s\nUserTargets=%s\n", numbers[0],
		numbers[1], numbers[2]);
	T_CHECK(fclose(file) == 0);
	pid = cl_spawn(argv, "umemd.log", NULL, NULL);
	socket_path = strdup(path);
	T_UNTIL(10, umem_client_connect(socket_path, &client, NULL) == 0);
	umem_client_free(client);
	return pid;
}

static struct umem_client *connect_to(void)
{
	struct umem_note note = { 0 };
	struct umem_client *client;

	T_CHECK(umem_client_connect(socket_path, &client, &note) == 0, "%s", note.text);
	return client;
}

/* --- one process, in turns --- */

enum side { ENGINE, NUMBERS, BITMAP, N_SIDES };

static const char *const side_names[N_SIDES] = { "engine", "daemon", "daemon, bitmap" };

/** struct sides - a target for each side, since one process has one tracker. */
struct sides {
	struct b_target targets[N_SIDES];
	struct umem_target *own;
	struct umem_watch *watch;
	struct umem_client *client;
	char names[N_SIDES][UMEM_CLIENT_TARGET];
};

static uint64_t collect(struct sides *s, enum side side)
{
	struct umem_client_round *round = NULL;
	const struct umem_round *numbers;
	uint64_t start_ns = b_now_ns();

	if (side == ENGINE)
		T_OK(umem_watch_collect(s->watch, &numbers, NULL));
	else
		T_OK(umem_client_collect(s->client, s->names[side], side == NUMBERS ?
			UMEM_CLIENT_NUMBERS : UMEM_CLIENT_BITMAP, UINT64_MAX, &round, NULL));
	start_ns = b_now_ns() - start_ns;
	umem_client_round_free(round);
	return start_ns;
}

static void begin_sides(struct sides *s, uint64_t bytes)
{
	const struct umem_armed *armed;

	s->client = connect_to();
	for (enum side side = 0; side < N_SIDES; side++) {
		b_target_start(&s->targets[side], B_ANON_4K, bytes, 1);
		if (side == ENGINE) {
			T_OK(umem_target_attach(s->targets[side].pid, NULL, &s->own, NULL));
			T_OK(umem_watch_new(s->own, NULL, &s->watch, NULL));
			continue;
		}
		T_OK(umem_client_attach(s->client, s->targets[side].pid, NULL, s->names[side],
			NULL));
		T_OK(umem_client_start(s->client, s->names[side], NULL, &armed, NULL));
	}
}

static void end_sides(struct sides *s)
{
	umem_watch_free(s->watch);
	umem_target_free(s->own);
	umem_client_free(s->client);
	for (enum side side = 0; side < N_SIDES; side++)
		b_target_end(&s->targets[side]);
}

static void one_pattern(struct sides *s, enum b_pattern pattern, size_t n_rounds)
{
	static uint64_t took[N_SIDES][MAX_ROUNDS];
	uint64_t medians[N_SIDES];

	for (size_t i = 0; i < n_rounds; i++)
		for (enum side side = 0; side < N_SIDES; side++) {
			b_target_write(&s->targets[side], pattern);
			took[side][i] = collect(s, side);
		}
	for (enum side side = 0; side < N_SIDES; side++) {
		medians[side] = b_median(took[side], n_rounds);
		printf("%-10s %6llu  %-15s %10.1f %+9.1f\n", b_pattern_name(pattern),
			(unsigned long long)(s->targets[0].bytes >> 20), side_names[side],
			(double)medians[side] / 1e3,
			((double)medians[side] - (double)medians[ENGINE]) / 1e3);
		b_json("daemon", "\"pattern\":\"%s\",\"bytes\":%llu,\"side\":\"%s\","
			"\"collect_ns\":%llu", b_pattern_name(pattern),
			(unsigned long long)s->targets[0].bytes, side_names[side],
			(unsigned long long)medians[side]);
	}
}

static void collects(void)
{
	size_t n_rounds = umem_min_u64(env_number("BENCH_DAEMON_ROUNDS", 400), MAX_ROUNDS);
	static const uint64_t sizes[] = { 16ull << 20, 1ull << 30 };

	printf("%-10s %6s  %-15s %10s %9s   (median of %zu)\n", "WRITTEN", "MiB", "COLLECT BY",
		"us", "extra us", n_rounds);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(sizes); i++) {
		struct sides s = { 0 };

		begin_sides(&s, sizes[i]);
		one_pattern(&s, B_CLEAN, n_rounds);
		one_pattern(&s, B_SCATTERED, n_rounds);
		if (sizes[i] < 1ull << 30)
			one_pattern(&s, B_ALL, n_rounds);
		end_sides(&s);
	}
}

/* --- many processes --- */

/** struct one - a process, and the connection that watches it. */
struct one {
	pid_t pid;
	struct umem_client *client;
	uint64_t n_rounds;
	uint64_t start_ns;
};

static pid_t start_small(uint64_t bytes)
{
	pid_t pid = t_fork();
	char *at;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		_exit(1);
	madvise(at, bytes, MADV_NOHUGEPAGE);
	memset(at, 1, bytes);
	for (uint64_t i = 0;; i++) {
		for (uint64_t k = i % 100; k < bytes / B_PAGE; k += 100)
			at[k * B_PAGE]++;
		usleep(1000000);
	}
}

static void on_round(void *user, struct umem_client_round *round, int result,
	const struct umem_note *note)
{
	struct one *one = user;

	T_CHECK(round != NULL, "%d: %s", result, note ? note->text : "");
	T_CHECK(umem_client_round_numbers(round)->complete);
	one->n_rounds++;
	umem_client_round_free(round);
}

static void watch_one(struct one *one, uint64_t bytes)
{
	char name[UMEM_CLIENT_TARGET];
	const struct umem_armed *armed;
	struct umem_note note = { 0 };
	uint64_t start_ns;

	one->pid = start_small(bytes);
	one->client = connect_to();
	start_ns = b_now_ns();
	T_CHECK(umem_client_attach(one->client, one->pid, NULL, name, &note) == 0, "%s", note.text);
	T_CHECK(umem_client_start(one->client, name, NULL, &armed, &note) == 0, "%s", note.text);
	one->start_ns = b_now_ns() - start_ns;
	T_OK(umem_client_monitor(one->client, name, 1000000000u, 0, UMEM_CLIENT_NUMBERS, on_round,
		one, NULL));
}

static uint64_t cpu_ns_of(pid_t pid)
{
	struct umem_procstat stat;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	T_OK(umem_procstat_read(fd, &stat));
	close(fd);
	return stat.utime_ns + stat.stime_ns;
}

/* What is this process's alone, in kB. */
static uint64_t private_kb(pid_t pid)
{
	unsigned long long sum = 0, value;
	char line[128], path[48];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Private_Clean: %llu", &value) == 1 ||
			sscanf(line, "Private_Dirty: %llu", &value) == 1)
			sum += value;
	fclose(file);
	return sum;
}

/* The workers: children of the manager. */
static size_t list_workers(pid_t manager, pid_t *v, size_t room)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	size_t n = 0;

	T_CHECK(dir != NULL);
	while ((entry = readdir(dir))) {
		char path[64], text[256] = "";
		const char *tail;
		FILE *file;
		int ppid;

		snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name);
		file = atoi(entry->d_name) > 0 ? fopen(path, "re") : NULL;
		if (!file)
			continue;
		tail = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
		fclose(file);
		if (tail && sscanf(tail, ") %*c %d", &ppid) == 1 && ppid == manager && n < room)
			v[n++] = atoi(entry->d_name);
	}
	closedir(dir);
	return n;
}

static void serve_rounds(struct one *v, struct pollfd *polled, size_t n, uint64_t end_ns)
{
	uint64_t now_ns;

	while ((now_ns = b_now_ns()) < end_ns) {
		for (size_t i = 0; i < n; i++)
			polled[i] = (struct pollfd){ umem_client_fd(v[i].client),
				umem_client_events(v[i].client), 0 };
		T_CHECK(poll(polled, n, (int)umem_min_u64((end_ns - now_ns) / 1000000, 100)) >= 0);
		for (size_t i = 0; i < n; i++)
			if (polled[i].revents)
				T_OK(umem_client_dispatch(v[i].client));
	}
}

static void many(pid_t manager, size_t n)
{
	uint64_t bytes = env_number("BENCH_DAEMON_MIB", 16) << 20;
	uint64_t seconds = env_number("BENCH_DAEMON_SECONDS", 20);
	UMEM_FREE struct one *v = calloc(n, sizeof(*v));
	UMEM_FREE struct pollfd *polled = calloc(n, sizeof(*polled));
	UMEM_FREE pid_t *workers = calloc(n, sizeof(*workers));
	UMEM_FREE uint64_t *numbers = calloc(n, sizeof(*numbers));
	uint64_t cpu_ns, workers_ns = 0, rounds = 0, began_ns, took_ns, most_kb = 0, longest_ns = 0;
	size_t n_workers;

	T_CHECK(v && polled && workers && numbers);
	for (size_t i = 0; i < n; i++) {
		watch_one(&v[i], bytes);
		numbers[i] = v[i].start_ns;
		longest_ns = umem_max_u64(longest_ns, v[i].start_ns);
		/* Nobody is slow to read meanwhile. */
		serve_rounds(v, polled, i + 1, b_now_ns() + 100000);
	}
	printf("%zu targets of %llu MiB: started in %.2f ms (median, last %.2f, longest %.2f)\n", n,
		(unsigned long long)(bytes >> 20), (double)b_median(numbers, n) / 1e6,
		(double)v[n - 1].start_ns / 1e6, (double)longest_ns / 1e6);
	b_json("daemon", "\"targets\":%zu,\"start_ns\":%llu,\"start_longest_ns\":%llu", n,
		(unsigned long long)b_median(numbers, n), (unsigned long long)longest_ns);
	n_workers = list_workers(manager, workers, n);
	T_CHECK(n_workers == n);
	for (size_t i = 0; i < n; i++) {
		rounds -= v[i].n_rounds;
		workers_ns -= cpu_ns_of(workers[i]);
	}
	cpu_ns = cpu_ns_of(manager);
	began_ns = b_now_ns();
	serve_rounds(v, polled, n, began_ns + seconds * 1000000000u);
	took_ns = b_now_ns() - began_ns;
	cpu_ns = cpu_ns_of(manager) - cpu_ns;
	for (size_t i = 0; i < n; i++) {
		rounds += v[i].n_rounds;
		workers_ns += cpu_ns_of(workers[i]);
		numbers[i] = private_kb(workers[i]);
		most_kb = umem_max_u64(most_kb, numbers[i]);
	}
	printf("  %.1f rounds a second; manager %.1f%% of a processor, all workers %.1f%%;\n"
	       "  a worker's own memory %llu kB (median), %llu kB (most); the manager's %llu kB\n",
		(double)rounds * 1e9 / (double)took_ns, 100.0 * (double)cpu_ns / (double)took_ns,
		100.0 * (double)workers_ns / (double)took_ns,
		(unsigned long long)b_median(numbers, n), (unsigned long long)most_kb,
		(unsigned long long)private_kb(manager));
	b_json("daemon", "\"targets\":%zu,\"rounds\":%llu,\"took_ns\":%llu,\"manager_cpu_ns\":%llu,"
		"\"workers_cpu_ns\":%llu,\"worker_private_kb\":%llu,"
		"\"worker_private_most_kb\":%llu",
		n, (unsigned long long)rounds, (unsigned long long)took_ns,
		(unsigned long long)cpu_ns, (unsigned long long)workers_ns,
		(unsigned long long)b_median(numbers, n), (unsigned long long)most_kb);
	for (size_t i = 0; i < n; i++) {
		umem_client_free(v[i].client);
		t_end(v[i].pid);
	}
	T_UNTIL(60, list_workers(manager, workers, n) == 0);
}

/* --- connections that come and go --- */

static size_t count_fds(pid_t pid)
{
	char path[48];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	T_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int count_target(void *user, const struct umem_client_target *target)
{
	return 0;
}

static void cycles(pid_t manager)
{
	uint64_t n = env_number("BENCH_DAEMON_CYCLES", 10000), start_ns, took_ns, kb;
	pid_t worker;
	size_t fds;

	for (uint64_t i = 0; i < n / 10; i++) {
		struct umem_client *client = connect_to();

		T_OK(umem_client_each_target(client, count_target, NULL, NULL));
		umem_client_free(client);
	}
	fds = count_fds(manager);
	kb = private_kb(manager);
	start_ns = b_now_ns();
	for (uint64_t i = 0; i < n; i++) {
		struct umem_client *client = connect_to();

		T_OK(umem_client_each_target(client, count_target, NULL, NULL));
		umem_client_free(client);
	}
	took_ns = b_now_ns() - start_ns;
	T_UNTIL(10, count_fds(manager) <= fds);
	printf("%llu connections, each with a call: %.1f us each; descriptors %zu, then %zu; "
	       "memory %llu kB, then %llu kB; workers %zu\n", (unsigned long long)n,
		(double)took_ns / 1e3 / (double)n, fds, count_fds(manager),
		(unsigned long long)kb, (unsigned long long)private_kb(manager),
		list_workers(manager, &worker, 1));
	b_json("daemon", "\"cycles\":%llu,\"took_ns\":%llu,\"kb_before\":%llu,\"kb_after\":%llu",
		(unsigned long long)n, (unsigned long long)took_ns, (unsigned long long)kb,
		(unsigned long long)private_kb(manager));
}

int main(int argc, char **argv)
{
	bool all = argc < 2;
	size_t n = env_number("BENCH_DAEMON_TARGETS", 1000);
	struct rlimit files;
	pid_t manager;

	setvbuf(stdout, NULL, _IOLBF, 0);
	T_CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	manager = start_daemon(n);
	for (int i = 1; i < argc || all; i++) {
		if (all || strcmp(argv[i], "collect") == 0)
			collects();
		if (all || strcmp(argv[i], "cycles") == 0)
			cycles(manager);
		if (all || strcmp(argv[i], "many") == 0)
			many(manager, n);
		all = false;
	}
	t_end(manager);
	return 0;
}
