// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A Redis server that is attached to, watched and left again, as its clients
 * see it.
 *
 * pauses: one client sends SET 10,000 times a second and notes how long each
 * took; the longest within a window tells the pause that what we did in the
 * window caused, beside windows in which we did nothing, and windows in which
 * we burnt as much processor time as a round takes: where processors are few,
 * that alone delays a server (so all but attaching is done at low priority).
 * Besides, how long attaching says it stopped the server.
 *
 * throughput: redis-benchmark with ten rounds a second, and with nobody there.
 */
#include <umemd/track.h>

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/clients/client.h"

#define N_ATTACH 50
#define WINDOW_MS 20
#define PERIOD_NS 100000
#define SPIN_NS 1000000

/**
 * struct probe - the client that measures.
 * @fd: its connection.
 * @keys: how many keys there are.
 * @longest_ns: since it was last set to 0.
 * @n: commands answered.
 * @end: it shall end.
 */
struct probe {
	int fd;
	uint64_t keys;
	uint64_t longest_ns;
	uint64_t n;
	bool end;
};

/** enum act - what is done in a window. */
enum act { ACT_NONE, ACT_SPIN, ACT_ATTACH, ACT_ARM, ACT_ROUND, ACT_DETACH, N_ACTS };

static const char *const act_names[N_ACTS] = {
	"nothing", "spin", "attach", "arm", "round", "detach",
};

static void *run_probe(void *arg)
{
	struct probe *p = arg;
	uint64_t state = 1;
	struct timespec due;
	char text[512], value[301], reply[64];

	prctl(PR_SET_TIMERSLACK, 1);
	memset(value, 'v', 300);
	value[300] = '\0';
	clock_gettime(CLOCK_MONOTONIC, &due);
	while (!__atomic_load_n(&p->end, __ATOMIC_ACQUIRE)) {
		int len = snprintf(text, sizeof(text), "SET key:%llu %s\r\n",
			(unsigned long long)t_below(&state, p->keys), value);
		uint64_t start_ns = b_now_ns(), took_ns;

		T_CHECK(send(p->fd, text, (size_t)len, 0) == len);
		T_CHECK(recv(p->fd, reply, sizeof(reply), 0) == 5 && reply[0] == '+');
		took_ns = b_now_ns() - start_ns;
		if (took_ns > __atomic_load_n(&p->longest_ns, __ATOMIC_RELAXED))
			__atomic_store_n(&p->longest_ns, took_ns, __ATOMIC_RELAXED);
		p->n++;
		due.tv_nsec += PERIOD_NS;
		if (due.tv_nsec >= 1000000000) {
			due.tv_nsec -= 1000000000;
			due.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
	}
	return NULL;
}

static pid_t start_server(uint64_t keys, int *ret_fd)
{
	const char *argv[] = { "redis-server", "--port", "0", "--unixsocket", cl_path("socket"),
		"--dir", cl_tmpdir(), "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--enable-debug-command", "yes", NULL };
	pid_t pid = cl_spawn(argv, "redis.log", NULL, NULL);
	char command[128], reply[64];
	int fd = cl_unix_connect(cl_path("socket"));
	int len = snprintf(command, sizeof(command), "DEBUG POPULATE %llu key 300\r\n",
		(unsigned long long)keys);

	T_CHECK(write(fd, command, (size_t)len) == len);
	T_CHECK(read(fd, reply, sizeof(reply)) > 0 && reply[0] == '+', "%.60s", reply);
	*ret_fd = fd;
	return pid;
}

static void spin(void)
{
	uint64_t end_ns = b_now_ns() + SPIN_NS;

	while (b_now_ns() < end_ns)
		;
}

static void act_once(enum act act, pid_t pid, struct umem_target **target,
	struct umem_watch **watch)
{
	const struct umem_round *round;
	struct umem_note note = { 0 };
	int r = 0;

	/* What is left of the pause is then due to locks, not to the lack of a processor. */
	T_SYS(setpriority(PRIO_PROCESS, (id_t)gettid(), act == ACT_ATTACH ? 0 : 19));
	if (act == ACT_SPIN)
		spin();
	else if (act == ACT_ATTACH)
		r = umem_target_attach(pid, NULL, target, &note);
	else if (act == ACT_ARM)
		r = umem_watch_new(*target, NULL, watch, &note);
	else if (act == ACT_ROUND)
		r = umem_watch_collect(*watch, &round, &note);
	T_CHECK(r == 0, "%s", note.text);
	if (act == ACT_DETACH) {
		*watch = umem_watch_free(*watch);
		*target = umem_target_free(*target);
	}
}

static void run_pauses(pid_t pid, struct probe *probe)
{
	static uint64_t longest[N_ACTS][N_ATTACH], took[N_ACTS][N_ATTACH], stop[N_ATTACH];
	struct umem_target *target = NULL;
	struct umem_watch *watch = NULL;
	pthread_t thread;

	T_CHECK(pthread_create(&thread, NULL, run_probe, probe) == 0);
	T_UNTIL(10, __atomic_load_n(&probe->n, __ATOMIC_RELAXED) > 1000);
	for (int i = 0; i < N_ATTACH; i++) {
		for (enum act act = ACT_NONE; act < N_ACTS; act++) {
			__atomic_store_n(&probe->longest_ns, 0, __ATOMIC_RELAXED);
			took[act][i] = b_now_ns();
			act_once(act, pid, &target, &watch);
			took[act][i] = b_now_ns() - took[act][i];
			if (act == ACT_ATTACH)
				stop[i] = umem_target_stop_ns(target);
			t_msleep(WINDOW_MS);
			longest[act][i] = __atomic_load_n(&probe->longest_ns, __ATOMIC_RELAXED);
		}
	}
	__atomic_store_n(&probe->end, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);

	uint64_t median = b_median(stop, N_ATTACH);

	printf("attach stops the server: median %.0f us, worst %.0f us of %d\n",
		(double)median / 1e3, (double)stop[N_ATTACH - 1] / 1e3, N_ATTACH);
	b_json("attach", "\"n\":%d,\"stop_median_ns\":%llu,\"stop_worst_ns\":%llu", N_ATTACH,
		(unsigned long long)median, (unsigned long long)stop[N_ATTACH - 1]);
	printf("%-8s %12s %12s   %s\n", "ACT", "TAKES us", "LONGEST us", "(a client's longest "
		"answer in 20 ms: median, 90%, worst)");
	for (enum act act = ACT_NONE; act < N_ACTS; act++) {
		uint64_t t = b_median(took[act], N_ATTACH), l = b_median(longest[act], N_ATTACH);

		printf("%-8s %12.0f %12.0f %12.0f %12.0f\n", act_names[act], (double)t / 1e3,
			(double)l / 1e3, (double)longest[act][N_ATTACH * 9 / 10] / 1e3,
			(double)longest[act][N_ATTACH - 1] / 1e3);
		b_json("pause", "\"act\":\"%s\",\"takes_ns\":%llu,\"longest_median_ns\":%llu,"
			"\"longest_p90_ns\":%llu,\"longest_worst_ns\":%llu", act_names[act],
			(unsigned long long)t, (unsigned long long)l,
			(unsigned long long)longest[act][N_ATTACH * 9 / 10],
			(unsigned long long)longest[act][N_ATTACH - 1]);
	}
}

/* Requests a second of redis-benchmark; rounds meanwhile if @watch. */
static uint64_t run_load(uint64_t keys, struct umem_watch *watch, uint64_t *n_rounds)
{
	char range[32], line[256];
	const char *argv[] = { "redis-benchmark", "-s", cl_path("socket"), "-t", "set", "-n",
		"200000", "-r", range, "-d", "300", "-c", "10", "--csv", NULL };
	double rate = 0;
	FILE *out;
	pid_t pid;

	snprintf(range, sizeof(range), "%llu", (unsigned long long)keys);
	pid = cl_spawn(argv, "load.log", NULL, &out);
	while (watch && waitpid(pid, NULL, WNOHANG | WNOWAIT) == 0) {
		const struct umem_round *round;
		siginfo_t info = { 0 };

		T_OK(umem_watch_collect(watch, &round, NULL));
		(*n_rounds)++;
		t_msleep(100);
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
			info.si_pid == pid)
			break;
	}
	while (fgets(line, sizeof(line), out))
		if (sscanf(line, "\"SET\",\"%lf\"", &rate) == 1)
			break;
	fclose(out);
	t_wait(pid);
	T_CHECK(rate > 0);
	return (uint64_t)rate;
}

static void run_throughput(pid_t pid, uint64_t keys)
{
	uint64_t alone[B_RUNS], watched[B_RUNS], n_rounds = 0, a, w;

	run_load(keys, NULL, &n_rounds);
	for (int i = 0; i < B_RUNS; i++) {
		struct umem_target *target = NULL;
		struct umem_watch *watch = NULL;

		alone[i] = run_load(keys, NULL, &n_rounds);
		act_once(ACT_ATTACH, pid, &target, &watch);
		act_once(ACT_ARM, pid, &target, &watch);
		watched[i] = run_load(keys, watch, &n_rounds);
		act_once(ACT_DETACH, pid, &target, &watch);
	}
	a = b_median(alone, B_RUNS);
	w = b_median(watched, B_RUNS);
	printf("redis-benchmark SET: alone %llu/s (%llu to %llu), ten rounds a second %llu/s "
	       "(%llu to %llu): %.1f %%\n", (unsigned long long)a, (unsigned long long)alone[0],
		(unsigned long long)alone[B_RUNS - 1], (unsigned long long)w,
		(unsigned long long)watched[0], (unsigned long long)watched[B_RUNS - 1],
		100.0 * (double)w / (double)a);
	b_json("throughput", "\"alone_per_s\":%llu,\"watched_per_s\":%llu,\"rounds\":%llu",
		(unsigned long long)a, (unsigned long long)w, (unsigned long long)n_rounds);
}

int main(void)
{
	/* About 450 bytes each, with what the server keeps for it. */
	uint64_t keys = b_bytes() / 4 / 450;
	struct probe probe = { .keys = keys };
	pid_t pid;

	cl_need("redis-server", "redis-server");
	cl_need("redis-benchmark", "redis-tools");
	b_warm(b_bytes() / 4);
	pid = start_server(keys, &probe.fd);
	printf("redis-server with %llu keys of 300 bytes\n", (unsigned long long)keys);
	run_pauses(pid, &probe);
	run_throughput(pid, keys);
	t_end(pid);
	return 0;
}
