// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads and writes through a ring, against a picture of the file, by each method: with
 * registered buffers, without, and by calls.
 */
#include "lib/kern/ring.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include <umemd/types.h>

#include "tests/lib/harness.h"

#define BUFFER  8192u
#define BUFFERS 6u
#define FILE_BYTES (64u * BUFFER)

static unsigned char memory[BUFFERS * BUFFER] __attribute__((aligned(4096)));

/** struct way - a method: which fault point is set, and what the ring calls it. */
static const struct way {
	const char *faults;
	const char *method;
} ways[] = {
	{ "", "registered" },
	{ "ring.register=12", "ring" },
	{ "ring.setup=1", "calls" },
};

static struct umem_ring *begin(const struct way *way)
{
	struct umem_ring *ring;

	setenv("UMEM_FAULTS", way->faults, 1);
	T_OK(umem_ring_new(BUFFERS, memory, BUFFER, BUFFERS, &ring));
	setenv("UMEM_FAULTS", "", 1);
	/* A machine may forbid io_uring; the fallback is tested all the same. */
	if (strcmp(umem_ring_method(ring), way->method) != 0)
		printf("wanted %s, got %s\n", way->method, umem_ring_method(ring));
	return ring;
}

static int scratch(void)
{
	int fd = (int)T_SYS(open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));

	T_SYS(ftruncate(fd, FILE_BYTES));
	return fd;
}

/** struct picture - the file, and which buffer is doing what. */
struct picture {
	unsigned char bytes[FILE_BYTES];
	bool busy[BUFFERS];
	bool reading[BUFFERS];
	size_t at[BUFFERS];
	size_t len[BUFFERS];
};

static void finish_one(struct umem_ring *ring, struct picture *p)
{
	struct umem_ring_done done;
	unsigned i;

	T_OK(umem_ring_wait(ring, true, &done));
	i = (unsigned)done.cookie;
	assert_true(i < BUFFERS && p->busy[i]);
	assert_int_equal(done.err, 0);
	assert_int_equal(done.n_bytes, p->len[i]);
	if (p->reading[i])
		assert_memory_equal(memory + i * BUFFER, p->bytes + p->at[i], p->len[i]);
	p->busy[i] = false;
}

/* Is a byte of this range on its way? */
static bool in_flight(const struct picture *p, size_t at, size_t len)
{
	for (unsigned i = 0; i < BUFFERS; i++) {
		if (p->busy[i] && p->at[i] < at + len && at < p->at[i] + p->len[i])
			return true;
	}
	return false;
}

static void random_moves(void **state)
{
	uint64_t rng = t_seed();

	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		struct umem_ring *ring = begin(&ways[w]);
		static struct picture p;
		int fd = scratch();

		p = (struct picture){ 0 };
		for (int n = 0; n < 2000; n++) {
			unsigned i = (unsigned)t_below(&rng, BUFFERS);
			size_t len = 1 + t_below(&rng, BUFFER);
			size_t at = t_below(&rng, FILE_BYTES - len);

			while (p.busy[i] || in_flight(&p, at, len))
				finish_one(ring, &p);
			p.at[i] = at;
			p.len[i] = len;
			p.busy[i] = true;
			p.reading[i] = t_below(&rng, 2);
			if (p.reading[i]) {
				memset(memory + i * BUFFER, 0xee, len);
				T_OK(umem_ring_read(ring, fd, i, len, at, i));
				continue;
			}
			memset(memory + i * BUFFER, (int)t_rand(&rng), len);
			memcpy(p.bytes + at, memory + i * BUFFER, len);
			T_OK(umem_ring_write(ring, fd, i, len, at, i));
		}
		while (umem_ring_in_flight(ring) > 0)
			finish_one(ring, &p);
		umem_ring_free(ring);
		close(fd);
	}
}

/* The end of a file, errors, and what cannot be. */
static void edges(void **state)
{
	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		struct umem_ring *ring = begin(&ways[w]);
		struct umem_ring_done done;
		int fd = scratch(), only_read;

		assert_int_equal(umem_ring_wait(ring, true, &done), UMEM_AGAIN);
		assert_int_equal(umem_ring_wait(ring, false, &done), UMEM_AGAIN);
		/* A read over the end is short, and one past it is empty. */
		T_OK(umem_ring_read(ring, fd, 0, 1000, FILE_BYTES - 10, 7));
		T_OK(umem_ring_wait(ring, true, &done));
		assert_int_equal(done.cookie, 7);
		assert_int_equal(done.err, 0);
		assert_int_equal(done.n_bytes, 10);
		T_OK(umem_ring_read(ring, fd, 0, 1000, FILE_BYTES + 10, 8));
		T_OK(umem_ring_wait(ring, true, &done));
		assert_int_equal(done.n_bytes, 0);
		only_read = (int)T_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
		T_OK(umem_ring_write(ring, only_read, 1, 10, 0, 9));
		T_OK(umem_ring_wait(ring, true, &done));
		assert_int_equal(done.cookie, 9);
		assert_int_equal(done.err, -EBADF);
		assert_int_equal(umem_ring_write(ring, fd, BUFFERS, 1, 0, 0), -EINVAL);
		assert_int_equal(umem_ring_write(ring, fd, 0, BUFFER + 1, 0, 0), -EINVAL);
		assert_int_equal(umem_ring_write(ring, fd, 0, 0, 0, 0), -EINVAL);
		for (unsigned i = 0; i < BUFFERS; i++)
			T_OK(umem_ring_write(ring, fd, i, BUFFER, (uint64_t)i * BUFFER, i));
		assert_int_equal(umem_ring_write(ring, fd, 0, 1, 0, 0), -EBUSY);
		/* Freed with all of them in flight. */
		umem_ring_free(ring);
		close(only_read);
		close(fd);
	}
	assert_int_equal(umem_ring_new(0, memory, BUFFER, BUFFERS, NULL), -EINVAL);
	assert_int_equal(umem_ring_new(UMEM_RING_MAX + 1, memory, BUFFER, BUFFERS, NULL), -EINVAL);
}

/* A write that meets RLIMIT_FSIZE is short first, then an error. */
static void too_large(void **state)
{
	struct rlimit old, limit;

	signal(SIGXFSZ, SIG_IGN);
	T_SYS(getrlimit(RLIMIT_FSIZE, &old));
	limit = old;
	limit.rlim_cur = FILE_BYTES + 100;
	T_SYS(setrlimit(RLIMIT_FSIZE, &limit));
	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		struct umem_ring *ring = begin(&ways[w]);
		struct umem_ring_done done;
		int fd = scratch();

		T_OK(umem_ring_write(ring, fd, 0, BUFFER, FILE_BYTES, 1));
		T_OK(umem_ring_wait(ring, true, &done));
		assert_int_equal(done.err, -EFBIG);
		umem_ring_free(ring);
		close(fd);
	}
	T_SYS(setrlimit(RLIMIT_FSIZE, &old));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_moves),
		cmocka_unit_test(edges),
		cmocka_unit_test(too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
