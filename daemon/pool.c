// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Threads for what may take long.
 *
 * Theory of operation
 *
 *     pool_run() --> waiting --> a thread: work() --> finished --eventfd--> done()
 *
 * Threads are started when a job finds none idle, and end after a while without
 * one. A thread that hangs in the kernel takes its place for good, so callers
 * hold the jobs of one user down to a few.
 */
#include "daemon/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/fd.h"

#define IDLE_SECONDS 10
#define STACK_BYTES  (256u << 10)

/* A job; in one of two lists. */
struct job {
	void (*work)(void *user);
	void (*done)(void *user);
	void *user;
	struct job *next;
};

/* A list of jobs, in order. */
struct list {
	struct job *first;
	struct job **last;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list waiting;
	struct list finished;
	unsigned n_threads;
	unsigned n_idle;
	unsigned max_threads;
	bool ended;
	int event_fd;
	struct loop_watch *watch;
};

static void push(struct list *list, struct job *job)
{
	job->next = NULL;
	*list->last = job;
	list->last = &job->next;
}

static struct job *pop(struct list *list)
{
	struct job *job = list->first;

	if (!job)
		return NULL;
	list->first = job->next;
	if (!list->first)
		list->last = &list->first;
	return job;
}

/* The next job, or NULL after a while without one. With the lock held. */
static struct job *wait_for_job(struct pool *pool)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	while (!pool->waiting.first && !pool->ended) {
		int r;

		pool->n_idle++;
		r = pthread_cond_timedwait(&pool->wake, &pool->lock, &until);
		pool->n_idle--;
		if (r == ETIMEDOUT)
			break;
	}
	return pool->ended ? NULL : pop(&pool->waiting);
}

static void *run(void *user)
{
	struct pool *pool = user;
	const uint64_t one = 1;
	struct job *job;

	pthread_mutex_lock(&pool->lock);
	while ((job = wait_for_job(pool))) {
		pthread_mutex_unlock(&pool->lock);
		job->work(job->user);
		pthread_mutex_lock(&pool->lock);
		push(&pool->finished, job);
		if (write(pool->event_fd, &one, sizeof(one)) < 0)
			break; /* it cannot: the counter is far from full */
	}
	pool->n_threads--;
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void finish(struct job *job)
{
	if (job->done)
		job->done(job->user);
	free(job);
}

static void on_finished(void *user, unsigned what)
{
	struct pool *pool = user;
	struct job *job;
	uint64_t n;

	if (read(pool->event_fd, &n, sizeof(n)) < 0)
		return;
	for (;;) {
		pthread_mutex_lock(&pool->lock);
		job = pop(&pool->finished);
		pthread_mutex_unlock(&pool->lock);
		if (!job)
			return;
		finish(job);
	}
}

/* One more thread. With the lock held. */
static bool start_thread(struct pool *pool)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	bool started;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* Signals are the loop's. */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&thread, &attr, run, pool) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	pool->n_threads += started;
	return started;
}

int pool_new(struct loop *loop, unsigned max_threads, struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	pthread_condattr_t attr;
	int r;

	if (!pool)
		return -ENOMEM;
	pool->max_threads = max_threads;
	pool->waiting.last = &pool->waiting.first;
	pool->finished.last = &pool->finished.first;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->wake, &attr);
	pthread_condattr_destroy(&attr);
	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = pool->event_fd < 0 ? -errno :
		loop_watch_new(loop, pool->event_fd, on_finished, pool, &pool->watch);
	if (r < 0) {
		umem_fd_close(pool->event_fd);
		free(pool);
		return r;
	}
	loop_watch_for(pool->watch, LOOP_READ);
	*ret_pool = pool;
	return 0;
}

int pool_run(struct pool *pool, void (*work)(void *user), void (*done)(void *user), void *user)
{
	struct job *job = malloc(sizeof(*job));
	bool here = false;

	if (!job)
		return -ENOMEM;
	*job = (struct job){ .work = work, .done = done, .user = user };
	pthread_mutex_lock(&pool->lock);
	if (pool->n_idle == 0 && pool->n_threads < pool->max_threads)
		here = !start_thread(pool) && pool->n_threads == 0;
	if (!here) {
		push(&pool->waiting, job);
		pthread_cond_signal(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);
	if (here) {
		work(user);
		finish(job);
	}
	return 0;
}

static void close_in_thread(void *user)
{
	umem_fd_close((int)(intptr_t)user);
}

void pool_close_fd(struct pool *pool, int fd)
{
	if (fd >= 0 && pool_run(pool, close_in_thread, NULL, (void *)(intptr_t)fd) < 0)
		umem_fd_close(fd);
}

struct pool *pool_free(struct pool *pool)
{
	struct job *job;
	bool idle;

	if (!pool)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	pool->ended = true;
	pthread_cond_broadcast(&pool->wake);
	while ((job = pop(&pool->waiting)))
		free(job);
	pthread_mutex_unlock(&pool->lock);
	pool->watch = loop_watch_free(pool->watch);
	/* Threads that are idle are quick to go. */
	for (int i = 0; i < 100; i++) {
		pthread_mutex_lock(&pool->lock);
		idle = pool->n_threads == 0;
		pthread_mutex_unlock(&pool->lock);
		if (idle)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	if (!idle)
		return NULL; /* it goes on with what it needs, until the program ends */
	while ((job = pop(&pool->finished)))
		free(job);
	umem_fd_close(pool->event_fd);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return NULL;
}
