// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A Redis server under load while it is saved: by itself (BGSAVE), and by umemctl.
 *
 * The server holds BENCH_BYTES / 4 (1 GiB) of values. Each save is measured from its
 * begin to its end, beside as many seconds of load alone right before it: requests a
 * second, what 99 of 100 did not exceed, and the longest that one took. What a BGSAVE
 * writes is not the memory but its own format, compressed.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/bench/bench.h"
#include "tests/bench/load.h"
#include "tests/clients/client.h"

/* Batches between two looks whether the save has ended. */
#define BATCHES 100

/** enum way - how it is saved. */
enum way { BGSAVE, COW, PRECOPY, FORK, FREEZE, N_WAYS };

static const char *const way_names[N_WAYS] = { "BGSAVE", "cow", "precopy", "fork", "freeze" };

static void ask(int fd, const char *text, char *answer, size_t room)
{
	ssize_t n;

	T_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	n = read(fd, answer, room - 1);
	T_CHECK(n > 0);
	answer[n] = '\0';
}

static pid_t begin(const struct b_server *s, int fd, enum way way)
{
	char answer[256], number[16];
	const char *argv[] = { cl_umemctl(), "-q", "--json", "snapshot", number, "-o",
		cl_path("image"), "--method", way_names[way], NULL };

	snprintf(number, sizeof(number), "%d", (int)s->pid);
	if (way != BGSAVE)
		return cl_spawn(argv, "save.log", NULL, NULL);
	ask(fd, "BGSAVE\r\n", answer, sizeof(answer));
	T_CHECK(answer[0] == '+', "%s", answer);
	return 0;
}

static bool has_ended(int fd, pid_t pid)
{
	char answer[4096];
	int status;

	if (pid) {
		siginfo_t info = { 0 };

		T_SYS(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT));
		if (!info.si_pid)
			return false;
		status = t_wait(pid);
		T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
		return true;
	}
	ask(fd, "INFO persistence\r\n", answer, sizeof(answer));
	return strstr(answer, "rdb_bgsave_in_progress:0") != NULL;
}

static void run_way(struct b_server *s, int fd, enum way way, struct b_figures *alone,
	struct b_figures *with)
{
	uint64_t start_ns;
	pid_t pid;

	b_load_run(&s->load, 3, alone);
	start_ns = b_now_ns();
	pid = begin(s, fd, way);
	do {
		for (int i = 0; i < BATCHES; i++)
			b_load_batch(&s->load, with);
	} while (!has_ended(fd, pid));
	with->ns += b_now_ns() - start_ns;
	unlink(cl_path("image"));
	unlink(cl_path("dump.rdb"));
}

static void print_way(enum way way, const struct b_server *s, unsigned runs,
	const struct b_figures *alone, const struct b_figures *with)
{
	double before = (double)alone->n * 1e9 / (double)alone->ns;
	double rate = (double)with->n * 1e9 / (double)with->ns;

	printf("%-8s %9.2f %10.0f %10.0f %+6.1f%% %9.0f %9.0f %11.2f %11.2f\n", way_names[way],
		(double)with->ns / 1e9 / runs, before, rate, 100 * (rate / before - 1),
		(double)b_percentile(alone, 0.99) / 1e3, (double)b_percentile(with, 0.99) / 1e3,
		(double)alone->longest_ns / 1e6, (double)with->longest_ns / 1e6);
	b_json("bgsave", "\"way\":\"%s\",\"bytes\":%llu,\"took_ns\":%llu,\"rate_alone\":%.0f,"
		"\"rate\":%.0f,\"p99_alone_ns\":%llu,\"p99_ns\":%llu,"
		"\"longest_alone_ns\":%llu,\"longest_ns\":%llu", way_names[way],
		(unsigned long long)s->bytes, (unsigned long long)(with->ns / runs), before, rate,
		(unsigned long long)b_percentile(alone, 0.99),
		(unsigned long long)b_percentile(with, 0.99),
		(unsigned long long)alone->longest_ns, (unsigned long long)with->longest_ns);
}

int main(int argc, char **argv)
{
	static struct b_figures alone[N_WAYS], with[N_WAYS];
	unsigned runs = getenv("BENCH_RUNS") ? (unsigned)atoi(getenv("BENCH_RUNS")) : 3;
	struct b_server s;
	int fd;

	cl_need("redis-server", "redis-server");
	setvbuf(stdout, NULL, _IOLBF, 0);
	b_warm(b_bytes() / 4 * 5 / 4);
	b_server_start(&s, b_bytes() / 4);
	fd = cl_unix_connect(cl_path("socket"));
	b_load_run(&s.load, 2, &alone[0]);
	alone[0] = (struct b_figures){ 0 };
	for (unsigned i = 0; i < runs; i++)
		for (enum way way = 0; way < N_WAYS; way++)
			if (argc < 2 || strcmp(argv[1], way_names[way]) == 0)
				run_way(&s, fd, way, &alone[way], &with[way]);
	printf("%-8s %9s %10s %10s %7s %9s %9s %11s %11s   (%llu MiB, %u runs)\n", "SAVED BY",
		"TIME s", "RATE alone", "RATE", "", "P99 alone", "P99 us", "WORST alone",
		"WORST ms", (unsigned long long)(s.bytes >> 20), runs);
	for (enum way way = 0; way < N_WAYS; way++)
		if (with[way].n)
			print_way(way, &s, runs, &alone[way], &with[way]);
	close(fd);
	b_server_stop(&s);
	return 0;
}
