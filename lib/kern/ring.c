// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads and writes of files with several in flight; see ring.h.
 *
 * Theory of operation
 *
 * Each read or write has a slot; user_data is the number of the slot. What ended short
 * is submitted again for the rest, so the caller sees whole ones only. Ended slots wait
 * in a queue, in the order in which they ended: the calls of the fallback end at once,
 * and only fill that queue.
 *
 * io_uring may be switched off (ENOSYS, EPERM by sysctl or seccomp), and registering
 * counts against RLIMIT_MEMLOCK (ENOMEM). Both are no error.
 */
#include "lib/kern/ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include <umemd/types.h>

#include "lib/base/fault.h"

/** struct slot - a read or a write. */
struct slot {
	uint64_t cookie;
	uint64_t offset;
	char *at;
	size_t len_bytes;
	size_t n_bytes;
	int fd;
	int err;
	unsigned buffer;
	bool is_write;
	bool is_used;
};

/** struct umem_ring - @ended is a queue of slot numbers; @n_live of them are in use. */
struct umem_ring {
	struct io_uring uring;
	bool has_uring;
	bool is_registered;
	char *buffers;
	size_t buffer_bytes;
	unsigned n_buffers;
	unsigned max;
	unsigned n_live;
	unsigned n_submitted;
	unsigned ended_head;
	unsigned n_ended;
	unsigned *ended;
	struct slot *slots;
};

static void register_buffers(struct umem_ring *ring)
{
	UMEM_FREE struct iovec *v = calloc(ring->n_buffers, sizeof(*v));

	if (!v || UMEM_FAULT_POINT("ring.register"))
		return;
	for (unsigned i = 0; i < ring->n_buffers; i++) {
		v[i].iov_base = ring->buffers + i * ring->buffer_bytes;
		v[i].iov_len = ring->buffer_bytes;
	}
	ring->is_registered = io_uring_register_buffers(&ring->uring, v, ring->n_buffers) == 0;
}

static void set_up(struct umem_ring *ring)
{
	if (UMEM_FAULT_POINT("ring.setup"))
		return;
	/* Older kernels know the flag not; it only saves interrupts. */
	if (io_uring_queue_init(ring->max, &ring->uring, IORING_SETUP_COOP_TASKRUN) < 0 &&
		io_uring_queue_init(ring->max, &ring->uring, 0) < 0)
		return;
	ring->has_uring = true;
	register_buffers(ring);
}

int umem_ring_new(unsigned max_in_flight, void *buffers, size_t buffer_bytes,
	unsigned n_buffers, struct umem_ring **ret_ring)
{
	UMEM_CLEANUP(umem_ring_freep) struct umem_ring *ring = NULL;

	if (max_in_flight == 0 || max_in_flight > UMEM_RING_MAX || n_buffers == 0 ||
		buffer_bytes == 0)
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->buffers = buffers;
	ring->buffer_bytes = buffer_bytes;
	ring->n_buffers = n_buffers;
	ring->max = max_in_flight;
	ring->ended = calloc(max_in_flight, sizeof(*ring->ended));
	ring->slots = calloc(max_in_flight, sizeof(*ring->slots));
	if (!ring->ended || !ring->slots)
		return -ENOMEM;
	set_up(ring);
	*ret_ring = UMEM_TAKE_PTR(ring);
	return 0;
}

struct umem_ring *umem_ring_free(struct umem_ring *ring)
{
	struct umem_ring_done done;

	if (!ring)
		return NULL;
	/* The kernel may write to the buffers until each has ended. */
	while (ring->n_live > 0 && umem_ring_wait(ring, true, &done) == 0)
		;
	if (ring->has_uring)
		io_uring_queue_exit(&ring->uring);
	free(ring->ended);
	free(ring->slots);
	free(ring);
	return NULL;
}

static void slot_end(struct umem_ring *ring, unsigned i, int err)
{
	ring->slots[i].err = err;
	ring->ended[(ring->ended_head + ring->n_ended++) % ring->max] = i;
}

static void prepare(const struct umem_ring *ring, const struct slot *slot,
	struct io_uring_sqe *sqe)
{
	char *at = slot->at + slot->n_bytes;
	unsigned left = (unsigned)(slot->len_bytes - slot->n_bytes);
	uint64_t offset = slot->offset + slot->n_bytes;

	if (ring->is_registered && slot->is_write)
		io_uring_prep_write_fixed(sqe, slot->fd, at, left, offset, (int)slot->buffer);
	else if (ring->is_registered)
		io_uring_prep_read_fixed(sqe, slot->fd, at, left, offset, (int)slot->buffer);
	else if (slot->is_write)
		io_uring_prep_write(sqe, slot->fd, at, left, offset);
	else
		io_uring_prep_read(sqe, slot->fd, at, left, offset);
}

/* Give the rest of a slot to the kernel. */
static int submit(struct umem_ring *ring, unsigned i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	int r;

	if (!sqe)
		return -EBUSY;
	prepare(ring, &ring->slots[i], sqe);
	io_uring_sqe_set_data64(sqe, i);
	do
		r = io_uring_submit(&ring->uring);
	while (r == -EINTR || r == -EAGAIN);
	if (r < 0)
		return r;
	ring->n_submitted++;
	return 0;
}

/* Do the slot by calls, here and now. */
static void do_calls(struct umem_ring *ring, unsigned i)
{
	struct slot *slot = &ring->slots[i];

	while (slot->n_bytes < slot->len_bytes) {
		char *at = slot->at + slot->n_bytes;
		size_t left = slot->len_bytes - slot->n_bytes;
		off_t offset = (off_t)(slot->offset + slot->n_bytes);
		ssize_t n = slot->is_write ? pwrite(slot->fd, at, left, offset) :
					     pread(slot->fd, at, left, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (n == 0 && slot->is_write)) {
			slot_end(ring, i, n < 0 ? -errno : -EIO);
			return;
		}
		if (n == 0)
			break;
		slot->n_bytes += (size_t)n;
	}
	slot_end(ring, i, 0);
}

static int begin(struct umem_ring *ring, const struct slot *what)
{
	unsigned i = 0;
	int r;

	if (what->buffer >= ring->n_buffers || what->len_bytes == 0 ||
		what->len_bytes > ring->buffer_bytes)
		return -EINVAL;
	if (ring->n_live == ring->max)
		return -EBUSY;
	while (ring->slots[i].is_used)
		i++;
	ring->slots[i] = *what;
	ring->slots[i].at = ring->buffers + what->buffer * ring->buffer_bytes;
	ring->slots[i].is_used = true;
	ring->n_live++;
	if (!ring->has_uring) {
		do_calls(ring, i);
		return 0;
	}
	r = submit(ring, i);
	if (r < 0) {
		ring->slots[i].is_used = false;
		ring->n_live--;
	}
	return r;
}

int umem_ring_write(struct umem_ring *ring, int fd, unsigned buffer, size_t len_bytes,
	uint64_t offset, uint64_t cookie)
{
	const struct slot slot = { .fd = fd, .buffer = buffer, .len_bytes = len_bytes,
		.offset = offset, .cookie = cookie, .is_write = true };

	return begin(ring, &slot);
}

int umem_ring_read(struct umem_ring *ring, int fd, unsigned buffer, size_t len_bytes,
	uint64_t offset, uint64_t cookie)
{
	const struct slot slot = { .fd = fd, .buffer = buffer, .len_bytes = len_bytes,
		.offset = offset, .cookie = cookie };

	return begin(ring, &slot);
}

/* What the kernel says of a slot: done, or the rest once more. */
static void take_result(struct umem_ring *ring, unsigned i, int result)
{
	struct slot *slot = &ring->slots[i];
	int r;

	ring->n_submitted--;
	if (result < 0 && result != -EINTR && result != -EAGAIN) {
		slot_end(ring, i, result);
		return;
	}
	if (result > 0)
		slot->n_bytes += (size_t)result;
	if (slot->n_bytes == slot->len_bytes || (result == 0 && !slot->is_write)) {
		slot_end(ring, i, 0);
		return;
	}
	if (result == 0) {
		slot_end(ring, i, -EIO);
		return;
	}
	r = submit(ring, i);
	if (r < 0)
		slot_end(ring, i, r);
}

int umem_ring_wait(struct umem_ring *ring, bool block, struct umem_ring_done *ret_done)
{
	struct slot *slot;

	while (ring->n_ended == 0) {
		struct io_uring_cqe *cqe;
		unsigned i;
		int r, result;

		if (ring->n_submitted == 0)
			return UMEM_AGAIN;
		r = block ? io_uring_wait_cqe(&ring->uring, &cqe) :
			    io_uring_peek_cqe(&ring->uring, &cqe);
		if (r == -EINTR)
			continue;
		if (r == -EAGAIN)
			return UMEM_AGAIN;
		if (r < 0)
			return r;
		i = (unsigned)io_uring_cqe_get_data64(cqe);
		result = cqe->res;
		io_uring_cqe_seen(&ring->uring, cqe);
		take_result(ring, i, result);
	}
	slot = &ring->slots[ring->ended[ring->ended_head]];
	ring->ended_head = (ring->ended_head + 1) % ring->max;
	ring->n_ended--;
	ring->n_live--;
	slot->is_used = false;
	*ret_done = (struct umem_ring_done){ slot->cookie, slot->err, slot->n_bytes };
	return 0;
}

unsigned umem_ring_in_flight(const struct umem_ring *ring)
{
	return ring->n_live;
}

const char *umem_ring_method(const struct umem_ring *ring)
{
	if (!ring->has_uring)
		return "calls";
	return ring->is_registered ? "registered" : "ring";
}
