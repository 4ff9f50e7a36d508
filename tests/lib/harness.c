// SPDX-License-Identifier: LGPL-2.1-or-later
/* What every test program shares. */
#include "tests/lib/harness.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CHILDREN 4096

static pid_t children[MAX_CHILDREN];
static size_t n_children;
static pid_t owner;

static void end_children(void)
{
	if (getpid() != owner)
		return;
	for (size_t i = 0; i < n_children; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	n_children = 0;
}

void t_end_begins(void)
{
	static atomic_int ending;
	int nobody = 0, tid = (int)gettid();

	if (!atomic_compare_exchange_strong(&ending, &nobody, tid) && nobody != tid)
		for (;;)
			pause();
}

void t_skip(const char *fmt, ...)
{
	va_list args;

	fputs("SKIP: ", stdout);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	puts("");
	exit(77);
}

void t_fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	t_end_begins();
	fflush(stdout);
	fprintf(stderr, "FAIL: %s:%d: ", file, line);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("\n", stderr);
	exit(1);
}

uint64_t t_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t t_seed(void)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : t_now_ns();

	printf("SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

uint64_t t_rand(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t t_below(uint64_t *state, uint64_t n)
{
	return t_rand(state) % n;
}

pid_t t_fork(void)
{
	pid_t parent = getpid(), pid;

	if (!owner) {
		owner = parent;
		atexit(end_children);
	}
	if (n_children == MAX_CHILDREN)
		T_FAIL("too many children");
	fflush(NULL);
	pid = (pid_t)T_SYS(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		return 0;
	}
	children[n_children++] = pid;
	return pid;
}

static void forget(pid_t pid)
{
	for (size_t i = 0; i < n_children; i++) {
		if (children[i] == pid) {
			children[i] = children[--n_children];
			return;
		}
	}
	T_FAIL("pid %d is not a child of this test", (int)pid);
}

int t_wait(pid_t pid)
{
	int status;

	forget(pid);
	while (waitpid(pid, &status, 0) < 0)
		T_CHECK(errno == EINTR);
	return status;
}

void t_end(pid_t pid)
{
	kill(pid, SIGKILL);
	t_wait(pid);
}

void t_msleep(unsigned ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

void t_fill_page(void *at, uint64_t page, uint64_t gen)
{
	uint8_t *byte = at;

	for (uint64_t i = 0; i < 4096; i++)
		byte[i] = t_pattern(page, i, gen);
}

char t_proc_state(pid_t pid)
{
	char path[40], line[512];
	FILE *file;
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return '-';
	at = fgets(line, sizeof(line), file);
	fclose(file);
	at = at ? strrchr(line, ')') : NULL;
	return at && at[1] == ' ' ? at[2] : '-';
}
