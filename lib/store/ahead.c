// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A file read from front to back; see ahead.h.
 *
 * Theory of operation
 *
 * Block i of the file is read into buffer i modulo DEPTH. Blocks from @next to @begun are
 * in flight or read; when the reader comes to block i, the buffers of all before it are
 * used for blocks further on. What lies in two blocks is put together in a buffer of
 * its own, before the first of them is given up. A file of one block needs no ring,
 * which takes longer to make than such a file to read.
 */
#include "lib/store/ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fault.h"
#include "lib/base/fd.h"
#include "lib/kern/ring.h"

#define BLOCK_BYTES UMEM_AHEAD_MAX
#define DEPTH       8u

/** struct block - what became of a buffer. */
struct block {
	bool is_read;
	int err;
	size_t n_bytes;
};

/**
 * struct umem_ahead - @first is the block that is kept, @begun the next to be begun.
 * @joined: for what lies in two blocks.
 */
struct umem_ahead {
	int fd;
	bool direct;
	uint64_t end;
	unsigned char *memory;
	unsigned char *joined;
	struct umem_ring *ring;
	struct block blocks[DEPTH];
	uint64_t first;
	uint64_t begun;
};

static int open_again(struct umem_ahead *ahead, int fd)
{
	int fault = (int)UMEM_FAULT_POINT("ahead.direct");
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (!fault)
		ahead->fd = open(self, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ahead->direct = ahead->fd >= 0;
	if (ahead->fd < 0)
		ahead->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return ahead->fd < 0 ? -errno : 0;
}

int umem_ahead_new(int fd, uint64_t end, struct umem_ahead **ret_ahead)
{
	UMEM_CLEANUP(umem_ahead_freep) struct umem_ahead *ahead = calloc(1, sizeof(*ahead));
	int r;

	if (!ahead)
		return -ENOMEM;
	ahead->fd = -1;
	ahead->end = end;
	r = open_again(ahead, fd);
	if (r < 0)
		return r;
	ahead->joined = malloc(end > BLOCK_BYTES ? BLOCK_BYTES : 1);
	ahead->memory = mmap(NULL, (size_t)DEPTH * BLOCK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ahead->memory == MAP_FAILED)
		ahead->memory = NULL;
	if (!ahead->joined || !ahead->memory)
		return -ENOMEM;
	if (end > BLOCK_BYTES) {
		r = umem_ring_new(DEPTH, ahead->memory, BLOCK_BYTES, DEPTH, &ahead->ring);
		if (r < 0)
			return r;
	}
	*ret_ahead = UMEM_TAKE_PTR(ahead);
	return 0;
}

struct umem_ahead *umem_ahead_free(struct umem_ahead *ahead)
{
	if (!ahead)
		return NULL;
	umem_ring_free(ahead->ring);
	if (ahead->memory)
		munmap(ahead->memory, (size_t)DEPTH * BLOCK_BYTES);
	free(ahead->joined);
	umem_fd_close(ahead->fd);
	free(ahead);
	return NULL;
}

/* Read the only block of the file. */
static void read_only_block(struct umem_ahead *ahead)
{
	struct block *b = &ahead->blocks[0];

	while (b->n_bytes < BLOCK_BYTES) {
		ssize_t n = pread(ahead->fd, ahead->memory + b->n_bytes,
			BLOCK_BYTES - b->n_bytes, (off_t)b->n_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			b->err = -errno;
		if (n <= 0)
			break;
		b->n_bytes += (size_t)n;
		/* What ends there is not aligned, so it is the end. */
		if (b->n_bytes % 512)
			break;
	}
	b->is_read = true;
}

/* Begin to read as far ahead as there are buffers. */
static int go_on(struct umem_ahead *ahead)
{
	while (ahead->begun < ahead->first + DEPTH && ahead->begun * BLOCK_BYTES < ahead->end) {
		unsigned i = (unsigned)(ahead->begun % DEPTH);
		int r;

		ahead->blocks[i] = (struct block){ 0 };
		if (!ahead->ring) {
			ahead->begun++;
			read_only_block(ahead);
			return 0;
		}
		r = umem_ring_read(ahead->ring, ahead->fd, i, BLOCK_BYTES,
			ahead->begun * BLOCK_BYTES, i);
		if (r < 0)
			return r;
		ahead->begun++;
	}
	return 0;
}

/* Blocks before @block are not wanted any more. */
static int give_up_before(struct umem_ahead *ahead, uint64_t block)
{
	struct umem_ring_done done;
	int r = 0;

	while (r == 0 && ahead->first < umem_min_u64(block, ahead->begun)) {
		struct block *b = &ahead->blocks[ahead->first % DEPTH];

		while (r == 0 && !b->is_read) {
			r = umem_ring_wait(ahead->ring, true, &done);
			if (r == 0)
				ahead->blocks[done.cookie] =
					(struct block){ true, done.err, done.n_bytes };
		}
		if (!ahead->direct)
			posix_fadvise(ahead->fd, (off_t)(ahead->first * BLOCK_BYTES),
				BLOCK_BYTES, POSIX_FADV_DONTNEED);
		ahead->first++;
	}
	if (ahead->first < block) {
		ahead->first = block;
		ahead->begun = block;
	}
	return r < 0 ? r : go_on(ahead);
}

/* Block @block is read, with at least @want_bytes. */
static int need(struct umem_ahead *ahead, uint64_t block, size_t want_bytes)
{
	struct block *b = &ahead->blocks[block % DEPTH];

	while (!b->is_read) {
		struct umem_ring_done done;
		int r = umem_ring_wait(ahead->ring, true, &done);

		if (r != 0)
			return r < 0 ? r : -EIO;
		ahead->blocks[done.cookie] = (struct block){ true, done.err, done.n_bytes };
	}
	if (b->err < 0)
		return b->err;
	return b->n_bytes < want_bytes ? -EBADMSG : 0;
}

static const unsigned char *at(const struct umem_ahead *ahead, uint64_t offset)
{
	return ahead->memory + (offset / BLOCK_BYTES) % DEPTH * BLOCK_BYTES +
		offset % BLOCK_BYTES;
}

int umem_ahead_get(struct umem_ahead *ahead, uint64_t offset, size_t len_bytes,
	const unsigned char **ret_at)
{
	uint64_t block = offset / BLOCK_BYTES;
	size_t here = umem_min_u64(len_bytes, BLOCK_BYTES - offset % BLOCK_BYTES);
	int r;

	if (len_bytes > UMEM_AHEAD_MAX || offset > ahead->end || len_bytes > ahead->end - offset)
		return -EBADMSG;
	r = give_up_before(ahead, block);
	if (r == 0 && len_bytes > 0)
		r = need(ahead, block, offset % BLOCK_BYTES + here);
	if (r == 0 && here < len_bytes)
		r = need(ahead, block + 1, len_bytes - here);
	if (r < 0)
		return r;
	*ret_at = at(ahead, offset);
	if (here < len_bytes) {
		memcpy(ahead->joined, *ret_at, here);
		memcpy(ahead->joined + here, at(ahead, offset + here), len_bytes - here);
		*ret_at = ahead->joined;
	}
	return 0;
}
