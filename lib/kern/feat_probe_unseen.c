// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Probes of blind spots: memory that changes without being reported.
 *
 * Each arms scratch pages, changes content behind the tracker's back, and is
 * "found" when the change happened and no page is WRITTEN. A store at the end
 * proves that the tracker was at work.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>

#include "lib/kern/feat_probe.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))
#define HUGE (2ul << 20)

/*
 * The verdict: @seen pages of [@from, @from + @len) were WRITTEN after the
 * change; then the first page of the scratch is stored to.
 */
static int verdict(struct umem_scratch *s, size_t from, size_t len, char *detail)
{
	size_t seen = 0, control = 0;
	int err = umem_scratch_scan(s, from, len, false, PAGE_IS_WRITTEN, &seen);

	if (err)
		return err;
	*(volatile char *)s->at = 9;
	err = umem_scratch_scan(s, 0, PAGE, false, PAGE_IS_WRITTEN, &control);
	if (err)
		return err;
	if (control != 1)
		return umem_probe_say(detail, -EIO, "a store is not reported either");
	return umem_probe_say(detail, seen == 0, "changed %zu pages, reported %zu", len / PAGE,
		seen);
}

/** struct ring - the smallest io_uring: one entry, submitted by hand. */
struct ring {
	int fd;
	char *at;
	size_t len;
	struct io_uring_sqe *sqes;
	struct io_uring_params params;
};

static void ring_deinit(struct ring *ring)
{
	if (ring->sqes)
		munmap(ring->sqes, sizeof(*ring->sqes));
	if (ring->at)
		munmap(ring->at, ring->len);
	umem_fd_close(ring->fd);
}

static int ring_init(struct ring *ring)
{
	struct io_uring_params *p = &ring->params;
	void *at;

	ring->fd = (int)syscall(SYS_io_uring_setup, 1, p);
	if (ring->fd < 0)
		return -errno;
	if (!(p->features & IORING_FEAT_SINGLE_MMAP))
		return -ENOTSUP;
	ring->len = umem_max_u64(p->sq_off.array + p->sq_entries * sizeof(uint32_t),
		p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe));
	at = mmap(NULL, ring->len, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
		IORING_OFF_SQ_RING);
	if (at == MAP_FAILED)
		return -errno;
	ring->at = at;
	at = mmap(NULL, sizeof(*ring->sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
		IORING_OFF_SQES);
	if (at == MAP_FAILED)
		return -errno;
	ring->sqes = at;
	return 0;
}

/* Read @len bytes of @fd into registered buffer 0, at @to. */
static int ring_read_fixed(struct ring *ring, int fd, void *to, size_t len)
{
	struct io_uring_params *p = &ring->params;
	uint32_t *tail = (uint32_t *)(void *)(ring->at + p->sq_off.tail);
	struct io_uring_cqe *cqe = (void *)(ring->at + p->cq_off.cqes);

	*ring->sqes = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = fd,
		.addr = (uintptr_t)to,
		.len = (uint32_t)len,
	};
	*(uint32_t *)(void *)(ring->at + p->sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	return cqe->res == (int)len ? 0 : -EIO;
}

int umem_probe_pinned_unseen(char *detail)
{
	UMEM_CLEANUP(ring_deinit) struct ring ring = { .fd = -1 };
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE, from = UMEM_SCRATCH_NONE;
	struct iovec {
		void *base;
		size_t len;
	} iov;
	int err = umem_scratch_memfd(&from, PAGE, MAP_SHARED);

	if (err)
		return err;
	memset(from.at, 7, PAGE);
	err = umem_scratch_map(&s, 4 * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (err)
		return err;
	umem_scratch_touch(&s);
	err = ring_init(&ring);
	if (err)
		return umem_probe_say(detail, err, "no io_uring to try with: %s",
			strerrordesc_np(-err));
	iov.base = s.at + 2 * PAGE;
	iov.len = PAGE;
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1) < 0)
		return umem_probe_say(detail, -errno, "no registered buffer to try with: %s",
			strerrordesc_np(errno));
	err = umem_scratch_watch(&s, 0, UMEM_PROBE_TRACK);
	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (!err)
		err = ring_read_fixed(&ring, from.fd, s.at + 2 * PAGE, PAGE);
	if (!err && s.at[2 * PAGE] != 7)
		err = -EIO;
	return err ? err : verdict(&s, 2 * PAGE, PAGE, detail);
}

int umem_probe_punch_unseen(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = umem_scratch_memfd(&s, 4 * PAGE, MAP_SHARED);

	if (!err)
		err = umem_scratch_watch(&s, 0, UMEM_PROBE_TRACK);
	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (err)
		return err;
	if (fallocate(s.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(2 * PAGE),
			(off_t)PAGE) < 0)
		return -errno;
	return verdict(&s, 2 * PAGE, PAGE, detail);
}

/* A private mapping of a memfd stands for one of a program's file. */
int umem_probe_private_discard_unseen(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = umem_scratch_memfd(&s, 4 * PAGE, MAP_PRIVATE);

	if (!err)
		err = umem_scratch_watch(&s, 0, UMEM_PROBE_TRACK);
	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (err)
		return err;
	if (madvise(s.at + 2 * PAGE, PAGE, MADV_DONTNEED) < 0)
		return -errno;
	return verdict(&s, 2 * PAGE, PAGE, detail);
}

static int hugetlb(struct umem_scratch *s, size_t n, bool touch, char *detail)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	int err = umem_scratch_map(s, n * HUGE, PAGE, flags, -1);

	if (err)
		return umem_probe_say(detail, err, "no %zu free huge pages to try with", n);
	/* The reservation of the mapping makes sure that this does not fail. */
	for (size_t i = 0; touch && i < n; i++)
		*(volatile char *)(s->at + i * HUGE) = 1;
	return umem_scratch_watch(s, 0, UMEM_PROBE_TRACK);
}

int umem_probe_hugetlb_discard_unseen(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	int err = hugetlb(&s, 2, true, detail);

	if (!err)
		err = umem_scratch_arm(&s, NULL);
	if (err)
		return err;
	if (madvise(s.at + HUGE, HUGE, MADV_DONTNEED) < 0)
		return -errno;
	return verdict(&s, HUGE, HUGE, detail);
}

int umem_probe_hugetlb_holes_unseen(char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	size_t n = 0;
	int err = hugetlb(&s, 1, false, detail);

	if (!err)
		err = umem_scratch_scan(&s, 0, HUGE, false, PAGE_IS_WRITTEN, &n);
	if (err)
		return err;
	return umem_probe_say(detail, n == 0, "unpopulated %lu pages, reported %zu", HUGE / PAGE,
		n);
}
