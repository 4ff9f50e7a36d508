// SPDX-License-Identifier: LGPL-2.1-or-later
/* A Redis server under a skewed load. */
#include "tests/bench/load.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/procstat.h"
#include "tests/bench/bench.h"
#include "tests/clients/client.h"

#define VALUE_BYTES 1000
#define ZIPF        0.99

/* Requests are counted by how long they took: 16 steps for each doubling. */
#define STEPS 16

static size_t bucket_of(uint64_t ns)
{
	size_t i = (size_t)(log2((double)umem_max_u64(ns, 1)) * STEPS);

	return i < B_BUCKETS ? i : B_BUCKETS - 1;
}

uint64_t b_percentile(const struct b_figures *f, double share)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < B_BUCKETS; i++) {
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

static void zipf_init(struct b_load *load)
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
static uint64_t zipf_key(struct b_load *load)
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

void b_load_batch(struct b_load *load, struct b_figures *f)
{
	static char text[VALUE_BYTES + 64], value[VALUE_BYTES], reply[VALUE_BYTES + 16];
	uint64_t start[B_CLIENTS];
	bool set[B_CLIENTS];

	for (int i = 0; i < B_CLIENTS; i++) {
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
	for (int i = 0; i < B_CLIENTS; i++) {
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

void b_load_run(struct b_load *load, uint64_t seconds, struct b_figures *f)
{
	uint64_t start = b_now_ns(), end = start + seconds * 1000000000u;

	while (b_now_ns() < end)
		b_load_batch(load, f);
	f->ns += b_now_ns() - start;
}

void b_server_start(struct b_server *s, uint64_t bytes)
{
	const char *argv[] = { "redis-server", "--port", "0", "--unixsocket", cl_path("socket"),
		"--dir", cl_tmpdir(), "--save", "", "--appendonly", "no", "--daemonize", "no",
		NULL };
	struct umem_procstat stat;
	char path[40];
	uint64_t n;

	*s = (struct b_server){ .load = { .random = 1 } };
	s->pid = cl_spawn(argv, "redis.log", NULL, NULL);
	for (int i = 0; i < B_CLIENTS; i++)
		s->load.fds[i] = cl_unix_connect(cl_path("socket"));
	n = fill(s->load.fds[0], s->pid, bytes, &s->load.random);
	s->load.n_hot = n / B_HOT_PART;
	zipf_init(&s->load);
	snprintf(path, sizeof(path), "/proc/%d", s->pid);
	s->proc = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	T_OK(umem_procstat_read(s->proc, &stat));
	s->bytes = stat.rss_anon_bytes;
}

void b_server_stop(struct b_server *s)
{
	for (int i = 0; i < B_CLIENTS; i++)
		close(s->load.fds[i]);
	close(s->proc);
	free(s->load.cdf);
	t_end(s->pid);
	unlink(cl_path("socket"));
}
