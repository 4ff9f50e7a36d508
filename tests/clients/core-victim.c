// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A program for a debugger to look at in a core: threads that are each in a known
 * function at a known depth, globals, heap data, thread-local data.
 *
 * core-victim: prints "ready PID"; end of file on stdin ends it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define N_THREADS 6

struct node {
	struct node *next;
	uint64_t number;
	char text[24];
};

struct known {
	uint64_t magic;
	double ratio;
	char text[16];
	struct node *list;
};

extern struct known known;
extern __thread uint64_t own_number;
extern volatile uint64_t spins;
extern uint64_t large[1 << 18];

struct known known = { 0x1122334455667788ull, 2.5, "the moment", NULL };
__thread uint64_t own_number;
volatile uint64_t spins;
uint64_t large[1 << 18];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int quiet[2];
static int n_there;

static void __attribute__((noinline)) rest_in_read(void)
{
	char c;

	while (read(quiet[0], &c, 1) >= 0)
		;
}

static void __attribute__((noinline)) rest_in_cond(void)
{
	pthread_mutex_lock(&mutex);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
}

static void __attribute__((noinline)) rest_in_sleep(void)
{
	struct timespec long_time = { 1000, 0 };

	for (;;)
		nanosleep(&long_time, NULL);
}

/* In registers of each kind there is something that is known. */
static void __attribute__((noinline)) spin_here(uint64_t number)
{
	double x = (double)number + 0.25;

	for (;;) {
		spins++;
		x = x * 2 - ((double)number + 0.25);
		__asm__ volatile("" : "+x"(x));
	}
}

static void __attribute__((noinline)) descend(uint64_t number, unsigned depth)
{
	volatile uint64_t here = number * 100 + depth;

	if (depth > 0) {
		descend(number, depth - 1);
		here++;
		return;
	}
	__atomic_fetch_add(&n_there, 1, __ATOMIC_RELEASE);
	switch (number % 4) {
	case 0:
		rest_in_read();
		break;
	case 1:
		rest_in_cond();
		break;
	case 2:
		rest_in_sleep();
		break;
	default:
		spin_here(number);
	}
	here++;
}

static void *run_thread(void *user)
{
	uint64_t number = (uintptr_t)user;
	char name[16];

	own_number = 1000 + number;
	snprintf(name, sizeof(name), "known-%d", (int)number);
	prctl(PR_SET_NAME, name);
	descend(number, (unsigned)number + 1);
	return NULL;
}

static struct node *new_node(uint64_t number, struct node *next)
{
	struct node *node = malloc(sizeof(*node));

	if (!node)
		exit(1);
	node->next = next;
	node->number = number;
	snprintf(node->text, sizeof(node->text), "node %d", (int)number);
	return node;
}

int main(void)
{
	pthread_t thread;
	char c;

	prctl(PR_SET_PDEATHSIG, 9);
	if (pipe(quiet) < 0)
		return 1;
	for (uint64_t i = 100; i > 0; i--)
		known.list = new_node(i, known.list);
	for (uint64_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		large[i] = i * 0x9e3779b97f4a7c15ull;
	own_number = 999;
	for (uintptr_t i = 0; i < N_THREADS; i++)
		if (pthread_create(&thread, NULL, run_thread, (void *)i) != 0)
			return 1;
	while (__atomic_load_n(&n_there, __ATOMIC_ACQUIRE) < N_THREADS)
		usleep(1000);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1)
		;
	return 0;
}
