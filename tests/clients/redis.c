// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A Redis server under load is watched: no changed page is missing from the
 * rounds, an idle server's rounds are small, clients never notice, and nothing
 * is left behind.
 *
 * The server is stopped (SIGSTOP) for the two moments that are compared, so
 * that content and collect are of the same moment; between them it runs, and
 * further collects are made while it is written to. The union of the rounds
 * between two such moments has to hold every page whose content differs.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/clients/client.h"

#define STEPS 4
#define COLLECTS_A_STEP 10
#define IDLE_PAGES 256

/* What the process that sends PING tells. */
struct pings {
	uint64_t n;
	uint64_t worst_ns;
	uint64_t ended;
};

static struct pings *pings;

/* Send one command and read a reply that begins with @want. */
static void command(int fd, const char *text, const char *want)
{
	char reply[512];
	ssize_t n;

	T_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	n = read(fd, reply, sizeof(reply) - 1);
	T_CHECK(n > 0, "the server closed the connection");
	reply[n] = '\0';
	T_CHECK(strncmp(reply, want, strlen(want)) == 0, "%s said %s", text, reply);
}

static pid_t start_server(void)
{
	const char *argv[] = { "redis-server", "--port", "0", "--unixsocket", cl_path("socket"),
		"--dir", cl_tmpdir(), "--save", "", "--appendonly", "no", "--daemonize", "no",
		NULL };

	return cl_spawn(argv, "redis.log", NULL, NULL);
}

/* Sends PING all the time; a wrong or missing answer ends the test through its status. */
static pid_t start_pings(void)
{
	pid_t pid = t_fork();
	int fd;

	if (pid)
		return pid;
	fd = cl_unix_connect(cl_path("socket"));
	while (!__atomic_load_n(&pings->ended, __ATOMIC_ACQUIRE)) {
		uint64_t start_ns = t_now_ns(), took_ns;

		command(fd, "PING\r\n", "+PONG");
		took_ns = t_now_ns() - start_ns;
		pings->n++;
		pings->worst_ns = took_ns > pings->worst_ns ? took_ns : pings->worst_ns;
		usleep(1000);
	}
	_exit(0);
}

static pid_t start_load(void)
{
	const char *argv[] = { "redis-benchmark", "-s", cl_path("socket"), "-t",
		"set,incr,lpush,rpop,sadd,hset,mset", "-r", "50000", "-d", "300", "-c", "8",
		"-n", "20000", "-l", "-q", NULL };

	return cl_spawn(argv, "load.log", NULL, NULL);
}

static void run_step(pid_t server, struct cl_dirty *dirty, struct cl_image images[2], int step,
	bool loaded)
{
	struct cl_round round = { 0 };
	struct cl_image *before = &images[step % 2], *after = &images[(step + 1) % 2];
	pid_t load = loaded ? start_load() : 0;
	uint64_t changed, most = 0;

	cl_cont(server);
	for (int i = 0; i < COLLECTS_A_STEP; i++) {
		t_msleep(loaded ? 30 : 100);
		cl_dirty_collect(dirty, &round);
		T_CHECK(round.complete);
		if (i > 0 && round.dirty_bytes > most)
			most = round.dirty_bytes;
	}
	if (load)
		t_end(load);
	cl_stop(server);
	cl_dirty_collect(dirty, &round);
	cl_image_take(after, server);
	changed = cl_image_check(before, after, &round);
	printf("%s: %llu pages, %llu of them changed, %llu reported; largest round %llu pages, "
	       "last collect %llu us\n",
		loaded ? "loaded" : "idle", (unsigned long long)after->n,
		(unsigned long long)changed,
		(unsigned long long)umem_pageset_bytes(&round.dirty) / UMEM_PAGE_BYTES,
		(unsigned long long)most / UMEM_PAGE_BYTES,
		(unsigned long long)round.scan_ns / 1000);
	T_CHECK(loaded ? changed > 100 : changed > 0);
	/* Its own clock, its statistics, its stack and the answers to PING. */
	if (!loaded)
		T_CHECK(most / UMEM_PAGE_BYTES < IDLE_PAGES);
	umem_pageset_deinit(&round.dirty);
	umem_ranges_deinit(&round.gone);
}

int main(void)
{
	struct cl_image images[2] = { 0 };
	struct cl_round first = { 0 };
	struct cl_traces traces;
	struct cl_dirty dirty;
	pid_t server, pinger;
	int fd;

	cl_need("redis-server", "redis-server");
	cl_need("redis-benchmark", "redis-tools");
	pings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_CHECK(pings != MAP_FAILED);
	server = start_server();
	fd = cl_unix_connect(cl_path("socket"));
	command(fd, "PING\r\n", "+PONG");
	pinger = start_pings();
	T_UNTIL(10, pings->n > 10);
	t_end(start_load());
	cl_traces_take(&traces, server);

	cl_dirty_start(&dirty, server);
	printf("attached: stopped %llu us, %llu MiB tracked\n",
		(unsigned long long)dirty.stop_ns / 1000,
		(unsigned long long)dirty.tracked_bytes >> 20);
	cl_stop(server);
	cl_dirty_collect(&dirty, &first);
	cl_image_take(&images[0], server);
	for (int step = 0; step < STEPS; step++)
		run_step(server, &dirty, images, step, true);
	cl_cont(server);
	/* It goes on to rehash for a while; that is no idleness. */
	for (int quiet = 0, i = 0; quiet < 5; i++) {
		t_msleep(100);
		cl_dirty_collect(&dirty, &first);
		quiet = first.dirty_bytes < IDLE_PAGES * UMEM_PAGE_BYTES ? quiet + 1 : 0;
		T_CHECK(i < 300, "the server does not come to rest");
	}
	cl_stop(server);
	cl_dirty_collect(&dirty, &first);
	cl_image_take(&images[STEPS % 2], server);
	run_step(server, &dirty, images, STEPS, false);
	cl_cont(server);
	cl_dirty_end(&dirty);

	cl_traces_check(&traces, server);
	command(fd, "PING\r\n", "+PONG");
	__atomic_store_n(&pings->ended, 1, __ATOMIC_RELEASE);
	T_CHECK(t_wait(pinger) == 0);
	printf("%llu PINGs answered, the slowest took %llu us (with the stops of this test)\n",
		(unsigned long long)pings->n, (unsigned long long)pings->worst_ns / 1000);
	T_CHECK(pings->n > 500);
	close(fd);
	cl_image_deinit(&images[0]);
	cl_image_deinit(&images[1]);
	return 0;
}
