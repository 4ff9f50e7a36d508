// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Threads that encode blocks; see encode.h.
 *
 * Theory of operation
 *
 * The blocks are a ring, and four counters only grow:
 *
 *     n_taken  <=  n_begun  <=  n_given  <=  n_taken + depth
 *
 * The owner fills block n_given and gives it, and takes block n_taken when that is
 * done. A thread begins block n_begun, and says when it is done. n_taken and n_given
 * are written by the owner only, n_begun by the threads.
 *
 * This is the one place of the library where threads share something, so it has the
 * only lock: it guards the counters and the marks, never the blocks. It is held for a
 * few instructions, a hundred times for 100 MiB. Threads take no signals.
 */
#include "lib/store/encode.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/** struct umem_pipe - @done has a mark for each place of the ring. */
struct umem_pipe {
	pthread_mutex_t lock;
	pthread_cond_t given;
	pthread_cond_t finished;
	struct umem_block *blocks;
	bool *done;
	unsigned depth;
	uint64_t n_taken;
	uint64_t n_begun;
	uint64_t n_given;
	bool ending;
	bool zstd;
	int level;
	unsigned n_wanted;
	unsigned n_threads;
	pthread_t threads[UMEM_PIPE_MAX_THREADS];
	struct umem_encoder *encoder;
};

static void *work(void *arg)
{
	UMEM_CLEANUP(umem_encoder_freep) struct umem_encoder *encoder = NULL;
	struct umem_pipe *pipe = arg;

	/* Without memory for an encoder, frames are stored plain. */
	if (pipe->zstd && umem_encoder_new(pipe->level, &encoder) < 0)
		encoder = NULL;
	pthread_mutex_lock(&pipe->lock);
	for (;;) {
		unsigned i;

		while (!pipe->ending && pipe->n_begun == pipe->n_given)
			pthread_cond_wait(&pipe->given, &pipe->lock);
		if (pipe->ending)
			break;
		i = (unsigned)(pipe->n_begun++ % pipe->depth);
		pthread_mutex_unlock(&pipe->lock);
		umem_block_encode(&pipe->blocks[i], encoder);
		pthread_mutex_lock(&pipe->lock);
		pipe->done[i] = true;
		pthread_cond_signal(&pipe->finished);
	}
	pthread_mutex_unlock(&pipe->lock);
	return NULL;
}

/* Start the threads; when none can be, the owner does the work. */
static void start(struct umem_pipe *pipe)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pipe->n_threads < pipe->n_wanted &&
		pthread_create(&pipe->threads[pipe->n_threads], NULL, work, pipe) == 0)
		pipe->n_threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pipe->n_wanted = pipe->n_threads;
}

int umem_pipe_new(unsigned n_threads, unsigned depth, bool zstd, int level,
	struct umem_pipe **ret_pipe)
{
	UMEM_CLEANUP(umem_pipe_freep) struct umem_pipe *pipe = calloc(1, sizeof(*pipe));

	if (!pipe)
		return -ENOMEM;
	pthread_mutex_init(&pipe->lock, NULL);
	pthread_cond_init(&pipe->given, NULL);
	pthread_cond_init(&pipe->finished, NULL);
	pipe->depth = depth;
	pipe->zstd = zstd;
	pipe->level = level;
	pipe->n_wanted = n_threads < UMEM_PIPE_MAX_THREADS ? n_threads : UMEM_PIPE_MAX_THREADS;
	pipe->blocks = calloc(depth, sizeof(*pipe->blocks));
	pipe->done = calloc(depth, sizeof(*pipe->done));
	if (!pipe->blocks || !pipe->done)
		return -ENOMEM;
	if (zstd) {
		int r = umem_encoder_new(level, &pipe->encoder);

		if (r < 0)
			return r;
	}
	*ret_pipe = UMEM_TAKE_PTR(pipe);
	return 0;
}

struct umem_pipe *umem_pipe_free(struct umem_pipe *pipe)
{
	if (!pipe)
		return NULL;
	pthread_mutex_lock(&pipe->lock);
	pipe->ending = true;
	pthread_cond_broadcast(&pipe->given);
	pthread_mutex_unlock(&pipe->lock);
	for (unsigned i = 0; i < pipe->n_threads; i++)
		pthread_join(pipe->threads[i], NULL);
	pthread_cond_destroy(&pipe->finished);
	pthread_cond_destroy(&pipe->given);
	pthread_mutex_destroy(&pipe->lock);
	umem_encoder_free(pipe->encoder);
	free(pipe->done);
	free(pipe->blocks);
	free(pipe);
	return NULL;
}

struct umem_block *umem_pipe_free_block(struct umem_pipe *pipe)
{
	struct umem_block *block;

	if (umem_pipe_under_way(pipe) == pipe->depth)
		return NULL;
	block = &pipe->blocks[pipe->n_given % pipe->depth];
	block->n_pages = 0;
	block->n_frames = 0;
	block->out_bytes = 0;
	return block;
}

void umem_pipe_give(struct umem_pipe *pipe)
{
	unsigned i = (unsigned)(pipe->n_given % pipe->depth);

	if (pipe->n_wanted > 0 && pipe->n_threads == 0 && pipe->n_given > 0)
		start(pipe);
	if (pipe->n_threads == 0) {
		umem_block_encode(&pipe->blocks[i], pipe->encoder);
		pipe->done[i] = true;
		pipe->n_begun++;
		pipe->n_given++;
		return;
	}
	pthread_mutex_lock(&pipe->lock);
	pipe->done[i] = false;
	pipe->n_given++;
	pthread_cond_signal(&pipe->given);
	pthread_mutex_unlock(&pipe->lock);
}

struct umem_block *umem_pipe_take(struct umem_pipe *pipe, bool wait)
{
	unsigned i = (unsigned)(pipe->n_taken % pipe->depth);
	bool done;

	if (umem_pipe_under_way(pipe) == 0)
		return NULL;
	pthread_mutex_lock(&pipe->lock);
	while (wait && !pipe->done[i])
		pthread_cond_wait(&pipe->finished, &pipe->lock);
	done = pipe->done[i];
	pthread_mutex_unlock(&pipe->lock);
	if (!done)
		return NULL;
	pipe->n_taken++;
	return &pipe->blocks[i];
}

unsigned umem_pipe_under_way(const struct umem_pipe *pipe)
{
	return (unsigned)(pipe->n_given - pipe->n_taken);
}
