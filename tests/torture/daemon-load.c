// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * 200 clients on one umemd at once, for a while: mixed verbs, slow and silent ones, and ones
 * that do not behave.
 *
 * daemon-load [--seconds N] [--clients N] UMEMD WORKER VICTIM
 *
 * No error that was not asked for; who does not read is dropped, and nobody else. The
 * memory of the manager at the end is what it was in the middle. Behind the last client it
 * has the descriptors and processes that it began with; the targets run on, hold what they
 * wrote, and nothing is left in them.
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"
#include "tests/torture/load.h"

#define MAX_CLIENTS 1000u
#define MAX_SAMPLES 20000u

/* Times between two looks at the manager. */
#define SAMPLE_MS 250

/* What memory may differ by between the middle and the end; more in a run that is short. */
#define SLACK_KIB       768u
#define SLACK_SHORT_KIB 1536u
#define SHORT_S         120u

/* In a run that is shorter the middle is no measure: it takes that long until all are there. */
#define WARM_S 30u

static const struct ld_role roles[] = {
	/* name, how many of 200, what, a target of its own */
	{ "tracker", 24, ld_tracker, true },
	{ "hander", 4, ld_hander, false },
	{ "reclaimer", 4, ld_reclaimer, true },
	{ "mortal", 4, ld_mortal, false },
	{ "looker", 44, ld_looker, false },
	{ "monitor", 12, ld_monitor, false },
	{ "mover", 8, ld_mover, false },
	{ "snapshotter", 8, ld_snapshotter, false },
	{ "canceller", 2, ld_canceller, false },
	{ "stranger", 8, ld_stranger, false },
	{ "scraper", 2, ld_scraper, false },
	{ "silent", 20, ld_silent, false },
	{ "dribbler", 12, ld_dribbler, false },
	{ "deaf", 8, ld_deaf, false },
	{ "lazy", 6, ld_lazy, false },
	{ "cutter", 14, ld_cutter, true },
	{ "sender", 10, ld_sender, false },
	{ "liar", 8, ld_liar, false },
	{ "crowd", 2, ld_crowd, false },
};

static struct ld_client clients[MAX_CLIENTS];
static pthread_t threads[MAX_CLIENTS];
static size_t n_clients;
static struct ld_target shared[LD_SHARED];
static uint64_t samples[MAX_SAMPLES];
static size_t n_samples;

static sighandler_t before_term, before_int;

/* What the others get to see of our end is no failure. */
static void on_signal(int signo)
{
	sighandler_t before = signo == SIGTERM ? before_term : before_int;

	t_end_begins();
	if (before != SIG_DFL && before != SIG_IGN)
		before(signo);
	_exit(128 + signo);
}

static void *run(void *user)
{
	struct ld_client *c = user;

	while (!ld_ending()) {
		c->role->cycle(c);
		c->n_cycles++;
	}
	ld_disconnect(c);
	return NULL;
}

static void make_clients(uint64_t seed, unsigned of_200, const char *victim)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(roles); i++) {
		unsigned n = roles[i].n * of_200 / 200;

		for (unsigned k = 0; k < (n ? n : 1); k++) {
			struct ld_client *c = &clients[n_clients++];

			*c = (struct ld_client){ .role = &roles[i], .index = k, .sock = -1,
				.shared = shared, .rand = seed + n_clients * 0x9e3779b97f4a7c15u };
			if (roles[i].target)
				ld_target_start(&c->own, victim, false);
		}
	}
}

/* Targets that outlive their connections, half of them tracked. */
static void keep_targets(const char *victim)
{
	static const struct ld_role role = { .name = "main" };
	struct ld_client c = { .role = &role, .sock = -1 };

	for (unsigned i = 0; i < LD_SHARED; i++) {
		ld_target_start(&shared[i], victim, true);
		ld_attach(&c, &shared[i], true, shared[i].id);
		shared[i].tracked = i < LD_SHARED / 2;
		if (shared[i].tracked)
			ld_do(&c, "io.umemd.Dirty.Start", ld_for(shared[i].id));
	}
	ld_disconnect(&c);
}

static void let_go(void)
{
	static const struct ld_role role = { .name = "main" };
	struct ld_client c = { .role = &role, .sock = -1 };

	for (unsigned i = 0; i < LD_SHARED; i++) {
		ld_do(&c, "io.umemd.Targets.Detach", ld_for(shared[i].id));
		T_CHECK(!ld_target_left(&shared[i]), "left: %s", ld_target_left(&shared[i]));
	}
	ld_disconnect(&c);
}

static void watch_manager(unsigned seconds)
{
	uint64_t end_ns = t_now_ns() + seconds * 1000000000ull;

	while (t_now_ns() < end_ns) {
		t_msleep(SAMPLE_MS);
		if (n_samples < MAX_SAMPLES)
			samples[n_samples++] = ld_daemon_kib();
	}
}

static int ascending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The median of the samples from one percent of the time to another. */
static uint64_t median(unsigned from, unsigned to)
{
	size_t first = n_samples * from / 100, n = n_samples * to / 100 - first;

	qsort(samples + first, n, sizeof(*samples), ascending);
	return samples[first + n / 2];
}

/* What sanitizers keep of freed memory is not the manager's. */
static void judge_memory(unsigned seconds)
{
	uint64_t begin = median(10, 25), middle = median(40, 60), end = median(80, 100);

	printf("memory of the manager: %llu KiB, in the middle %llu, at the end %llu\n",
		(unsigned long long)begin, (unsigned long long)middle, (unsigned long long)end);
	T_CHECK(ld_is_sanitized() || seconds < WARM_S ||
		end <= middle + (seconds < SHORT_S ? SLACK_SHORT_KIB : SLACK_KIB), "memory grows");
}

static void print_roles(void)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(roles); i++) {
		uint64_t cycles = 0;
		unsigned n = 0;

		for (size_t k = 0; k < n_clients; k++)
			if (clients[k].role == &roles[i]) {
				cycles += clients[k].n_cycles;
				n++;
			}
		printf("  %3u %-12s %8llu cycles\n", n, roles[i].name, (unsigned long long)cycles);
	}
}

/* Calls of all clients: how many, how long they took. */
static void print_latencies(unsigned seconds, uint64_t cpu_ms)
{
	static struct ld_client all;
	uint64_t n = 0;

	for (size_t k = 0; k < n_clients; k++)
		for (size_t i = 0; i < clients[k].n; i++) {
			const struct ld_latency *one = &clients[k].v[i];
			size_t at = 0;

			while (at < all.n && strcmp(all.v[at].method, one->method) != 0)
				at++;
			if (at == LD_METHODS)
				continue;
			if (at == all.n)
				all.v[all.n++] = (struct ld_latency){ 0 };
			memcpy(all.v[at].method, one->method, sizeof(one->method));
			all.v[at].n += one->n;
			all.v[at].total_ns += one->total_ns;
			if (one->max_ns > all.v[at].max_ns)
				all.v[at].max_ns = one->max_ns;
			n += one->n;
		}
	for (size_t i = 0; i < all.n; i++)
		printf("  %8llu %-45s %8.2f ms, at most %.0f\n", (unsigned long long)all.v[i].n,
			all.v[i].method, (double)all.v[i].total_ns / (double)all.v[i].n / 1e6,
			(double)all.v[i].max_ns / 1e6);
	printf("%llu replies, %llu a second; the manager took %.1f%% of a processor\n",
		(unsigned long long)n, (unsigned long long)(n / seconds),
		(double)cpu_ms / 10.0 / seconds);
}

static void judge_targets(void)
{
	for (size_t i = 0; i < n_clients; i++) {
		struct ld_target *own = &clients[i].own;

		if (!own->pid)
			continue;
		T_UNTIL(20, !ld_target_left(own));
		ld_target_check(own);
	}
	for (unsigned i = 0; i < LD_SHARED; i++)
		ld_target_check(&shared[i]);
}

static void load(unsigned seconds)
{
	unsigned fds = ld_daemon_fds();
	sigset_t signals, old;
	pthread_attr_t attr;
	uint64_t cpu_ms;

	/* Signals are the main thread's. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1u << 20);
	for (size_t i = 0; i < n_clients; i++)
		T_CHECK(pthread_create(&threads[i], &attr, run, &clients[i]) == 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	cpu_ms = ld_daemon_cpu_ms();
	watch_manager(seconds);
	cpu_ms = ld_daemon_cpu_ms() - cpu_ms;
	ld_end();
	for (size_t i = 0; i < n_clients; i++)
		pthread_join(threads[i], NULL);
	print_roles();
	print_latencies(seconds, cpu_ms);
	ld_print_allowed();
	T_UNTIL(30, ld_daemon_children() == LD_SHARED);
	T_UNTIL(30, ld_daemon_fds() <= fds);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "clients", required_argument, NULL, 'c' },
		{ NULL },
	};
	unsigned seconds = 40, of_200 = 200, fds;
	uint64_t seed = t_seed();
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			seconds = (unsigned)strtoul(optarg, NULL, 10);
		else
			of_200 = (unsigned)strtoul(optarg, NULL, 10);
	}
	T_CHECK(argc - optind == 3 && seconds > 0 && of_200 <= 4 * 200);
	if (geteuid() != 0)
		T_SKIP("needs root");
	setenv("LOAD_VICTIM", argv[optind + 2], 1);
	if (!ld_have_swap() && access("/sys/class/zram-control", F_OK) == 0) {
		k_zram_swap(64u << 20);
		ld_own_swap = true;
	}
	ld_daemon_start(argv[optind], argv[optind + 1]);
	before_term = signal(SIGTERM, on_signal);
	before_int = signal(SIGINT, on_signal);
	T_UNTIL(10, ld_daemon_children() == 0);
	fds = ld_daemon_fds();
	keep_targets(argv[optind + 2]);
	make_clients(seed, of_200, argv[optind + 2]);
	load(seconds);
	let_go();
	T_UNTIL(30, ld_daemon_children() == 0);
	T_UNTIL(30, ld_daemon_fds() <= fds);
	judge_targets();
	ld_daemon_stop();
	judge_memory(seconds);
	puts("OK");
	return 0;
}
