// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A program whose core a debugger is to understand: threads that wait in functions of
 * known names, a global, a list on the heap, floating point registers in use.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_THREADS 3

/** struct node - of a list on the heap. */
struct node {
	struct node *next;
	int number;
	char text[32];
};

struct node *global_list;
volatile long global_counter = 41;
static const char constant_text[] = "a constant of the program";
const char *global_text = constant_text;
__thread int thread_number;
static pthread_barrier_t ready;
static int pipe_fds[2];

/* Named by what it is told; never returns. */
static __attribute__((noinline)) void wait_deep(int depth, double value)
{
	volatile double kept = value * 1.5;
	char byte;

	if (depth > 0) {
		wait_deep(depth - 1, kept);
	} else {
		pthread_barrier_wait(&ready);
		/* Nobody ever writes. */
		while (read(pipe_fds[0], &byte, 1) != 0)
			kept += byte;
	}
	kept = 0;
}

static __attribute__((noinline)) void worker_zero(void)
{
	wait_deep(1, 1.0);
}

static __attribute__((noinline)) void worker_one(void)
{
	wait_deep(2, 2.0);
}

static __attribute__((noinline)) void worker_two(void)
{
	wait_deep(3, 3.0);
}

static void *start(void *arg)
{
	static void (*const workers[])(void) = { worker_zero, worker_one, worker_two };

	thread_number = (int)(long)arg + 100;
	workers[(long)arg]();
	return NULL;
}

int main(void)
{
	pthread_t threads[N_THREADS];

	if (pipe(pipe_fds) < 0)
		return 1;
	pthread_barrier_init(&ready, NULL, N_THREADS + 1);
	for (int i = 0; i < 5; i++) {
		struct node *node = calloc(1, sizeof(*node));

		node->next = global_list;
		node->number = i * 11;
		snprintf(node->text, sizeof(node->text), "node number %d", i);
		global_list = node;
	}
	thread_number = 99;
	for (long i = 0; i < N_THREADS; i++)
		pthread_create(&threads[i], NULL, start, (void *)i);
	pthread_barrier_wait(&ready);
	global_counter++;
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
