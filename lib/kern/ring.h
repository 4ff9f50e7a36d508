/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and writes of files with several in flight: io_uring, else pread(2) and
 * pwrite(2), one after the other. The only user of liburing.
 *
 * A ring has an array of buffers of equal size, given by the caller and registered
 * with the kernel where that is allowed (it pins their memory). One thread at a time
 * uses a ring. Nothing here blocks but umem_ring_wait(), and everything where there is
 * no io_uring.
 */
#ifndef UMEM_KERN_RING_H
#define UMEM_KERN_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/attr.h"

struct umem_ring;

/**
 * struct umem_ring_done - a read or a write that ended.
 * @cookie: of the caller.
 * @err: 0 or -errno.
 * @n_bytes: how much was moved; less than asked only at the end of a file, or with @err.
 */
struct umem_ring_done {
	uint64_t cookie;
	int err;
	size_t n_bytes;
};

/** UMEM_RING_MAX - reads and writes in flight, at most. */
#define UMEM_RING_MAX 256

/**
 * umem_ring_new - a ring.
 * @max_in_flight: from 1 to UMEM_RING_MAX.
 * @buffers: @n_buffers times @buffer_bytes, one behind the other; outlives the ring.
 *
 * Fault points: "ring.setup" and "ring.register" give the errno that each is to fail
 * with. Return: 0, -EINVAL, -ENOMEM.
 */
int umem_ring_new(unsigned max_in_flight, void *buffers, size_t buffer_bytes,
	unsigned n_buffers, struct umem_ring **ret_ring);

/** umem_ring_free - wait for what is in flight, and free; NULL is fine. Return: NULL. */
struct umem_ring *umem_ring_free(struct umem_ring *ring);

/**
 * umem_ring_write - begin to write the first @len_bytes of a buffer.
 * @buffer: number of the buffer, which stays untouched until this is done.
 * @offset: in the file.
 *
 * A short write is gone on with. Return: 0; -EBUSY: too many in flight; -errno of
 * submitting.
 */
int umem_ring_write(struct umem_ring *ring, int fd, unsigned buffer, size_t len_bytes,
	uint64_t offset, uint64_t cookie);

/** umem_ring_read - begin to read into a buffer; as umem_ring_write(). */
int umem_ring_read(struct umem_ring *ring, int fd, unsigned buffer, size_t len_bytes,
	uint64_t offset, uint64_t cookie);

/**
 * umem_ring_wait - one read or write that ended.
 * @block: wait for one.
 *
 * Return: 0; UMEM_AGAIN: none is in flight, or none ended yet; -errno.
 */
int umem_ring_wait(struct umem_ring *ring, bool block, struct umem_ring_done *ret_done);

/** umem_ring_in_flight - begun, and not yet returned by umem_ring_wait(). */
unsigned umem_ring_in_flight(const struct umem_ring *ring);

/** umem_ring_method - "registered", "ring" or "calls"; static. */
const char *umem_ring_method(const struct umem_ring *ring);

UMEM_DEFINE_CLEANUP(struct umem_ring, umem_ring_free)

#endif
