// SPDX-License-Identifier: LGPL-2.1-or-later
/* Extents against a naive model; stamps against changes that try to hide. */
#include "lib/kern/filecache.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

#define PAGE 4096u
#define N    64u
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int scratch_file(const char *dir)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/umem-test-filecache-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static int new_memfd(uint64_t size_bytes)
{
	int fd = (int)T_SYS(memfd_create("filecache", MFD_CLOEXEC));

	T_SYS(ftruncate(fd, (off_t)size_bytes));
	return fd;
}

/* A file as a list of pages that hold data or not. */
struct model {
	bool data[N];
	uint64_t size_bytes;
};

static void change(int fd, uint64_t *rng, struct model *m)
{
	uint64_t at = t_below(rng, N), n = 1 + t_below(rng, 8), size;

	if (at + n > N)
		n = N - at;
	switch (t_below(rng, 4)) {
	case 0:
	case 1:
		for (uint64_t i = at; i < at + n; i++) {
			uint64_t byte = i * PAGE + t_below(rng, PAGE);

			T_CHECK(pwrite(fd, "x", 1, (off_t)byte) == 1);
			m->data[i] = true;
			if (byte >= m->size_bytes)
				m->size_bytes = byte + 1;
		}
		break;
	case 2:
		T_SYS(fallocate(fd, PUNCH, (off_t)(at * PAGE), (off_t)(n * PAGE)));
		memset(m->data + at, 0, n);
		break;
	default:
		size = at * PAGE + t_below(rng, PAGE);
		T_SYS(ftruncate(fd, (off_t)size));
		for (uint64_t i = (size + PAGE - 1) / PAGE; i < N; i++)
			m->data[i] = false;
		m->size_bytes = size;
	}
}

static void check_extents(int fd, const struct model *m, uint64_t start, uint64_t end)
{
	struct umem_ranges got = { 0 }, want = { 0 };

	for (uint64_t i = 0; i < N; i++) {
		uint64_t from = i * PAGE < start ? start : i * PAGE, to = (i + 1) * PAGE;

		to = to > end ? end : to;
		to = to > m->size_bytes ? m->size_bytes : to;
		if (m->data[i] && from < to)
			T_OK(umem_ranges_add(&want, from, to));
	}
	T_OK(umem_filecache_extents(fd, start, end, &got));
	T_CHECK(got.n == want.n, "%zu %zu", got.n, want.n);
	T_CHECK(got.n == 0 || memcmp(got.v, want.v, got.n * sizeof(*got.v)) == 0);
	umem_ranges_deinit(&got);
	umem_ranges_deinit(&want);
}

static void extents_of(int fd, uint64_t *rng)
{
	struct model m = { 0 };

	for (int round = 0; round < 2000; round++) {
		uint64_t a = t_below(rng, (N + 4) * PAGE), b = t_below(rng, (N + 4) * PAGE);

		change(fd, rng, &m);
		check_extents(fd, &m, 0, round & 1 ? UINT64_MAX : N * PAGE);
		check_extents(fd, &m, a < b ? a : b, a < b ? b : a);
	}
	close(fd);
}

static void extents_of_memfd(void **state)
{
	uint64_t rng = t_seed();

	extents_of(new_memfd(0), &rng);
}

static void extents_of_file(void **state)
{
	uint64_t rng = t_seed();
	int fd = scratch_file(*state);

	if (fd < 0)
		skip();
	extents_of(fd, &rng);
}

static void extents_edges(void **state)
{
	struct umem_ranges out = { 0 };
	UMEM_FD int fd = new_memfd(3 * PAGE);
	int ends[2];

	T_OK(umem_filecache_extents(fd, 0, UINT64_MAX, &out));
	T_OK(umem_filecache_extents(fd, UINT64_MAX - 1, UINT64_MAX, &out));
	T_OK(umem_filecache_extents(fd, PAGE, PAGE, &out));
	T_CHECK(out.n == 0);
	T_SYS(pipe2(ends, O_CLOEXEC));
	T_CHECK(umem_filecache_extents(ends[0], 0, PAGE, &out) == -ESPIPE);
	T_CHECK(umem_filecache_extents(-1, 0, PAGE, &out) == -EBADF);
	close(ends[0]);
	close(ends[1]);
}

static struct umem_file_stamp stamp_of(int fd)
{
	struct umem_file_stamp stamp;

	T_OK(umem_filecache_stamp(fd, &stamp));
	return stamp;
}

static struct umem_file_stamp settled_stamp(int fd)
{
	struct umem_file_stamp stamp;

	T_UNTIL(5, (stamp = stamp_of(fd)).settled);
	return stamp;
}

/* One change that a stamp must not miss; page 0 keeps data throughout. */
static void hidden_change(int fd, uint8_t *map, uint64_t *rng)
{
	uint64_t at = t_below(rng, N);

	switch (t_below(rng, 5)) {
	case 0:
		T_SYS(fallocate(fd, PUNCH, (off_t)(at * PAGE), PAGE));
		break;
	case 1:
		T_SYS(madvise(map + at * PAGE, PAGE, MADV_REMOVE));
		break;
	case 2:
		T_CHECK(pwrite(fd, "y", 1, (off_t)(at * PAGE)) == 1);
		break;
	case 3:
		T_SYS(ftruncate(fd, (off_t)((at + 1) * PAGE)));
		T_SYS(ftruncate(fd, (off_t)(N * PAGE)));
		break;
	default:
		T_SYS(fallocate(fd, 0, (off_t)(at * PAGE), PAGE));
	}
}

/* Right after a stamp, in the same tick, thousands of times. */
static void no_change_hides(void **state)
{
	uint64_t rng = t_seed(), end = t_now_ns() + 2000000000u;
	UMEM_FD int fd = new_memfd(N * PAGE);
	uint8_t *map = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned n = 0, n_settled = 0;

	T_CHECK(map != MAP_FAILED);
	for (; t_now_ns() < end || n < 5000; n++) {
		/* Every 50th waits until it is settled, to come close to the edge. */
		struct umem_file_stamp before = n % 50 ? stamp_of(fd) : settled_stamp(fd);

		n_settled += before.settled;
		hidden_change(fd, map, &rng);
		struct umem_file_stamp now = stamp_of(fd);

		T_CHECK(!umem_filecache_same(&before, &now), "iteration %u", n);
		T_CHECK(!now.settled, "iteration %u", n);
	}
	T_CHECK(n_settled > 50);
	printf("%u changes, %u after a settled stamp\n", n, n_settled);
	munmap(map, N * PAGE);
}

/* Calls that read or go through mapped pages leave the stamp alone. */
static void quiet_calls(void **state)
{
	UMEM_FD int fd = new_memfd(N * PAGE);
	volatile uint8_t *map = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct umem_file_stamp before, now;
	struct umem_ranges out = { 0 };
	char byte;

	map[0] = 1;
	before = settled_stamp(fd);
	map[0] = 2;
	(void)map[PAGE];
	T_CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 2);
	T_OK(umem_filecache_extents(fd, 0, N * PAGE, &out));
	T_SYS(madvise((void *)map, PAGE, MADV_DONTNEED));
	now = stamp_of(fd);
	T_CHECK(umem_filecache_same(&before, &now));
	/* a store that faults is seen, though nothing promises it */
	map[2 * PAGE] = 1;
	now = stamp_of(fd);
	printf("a store that faults %s the stamp\n",
		umem_filecache_same(&before, &now) ? "leaves" : "moves");
	munmap((void *)map, N * PAGE);
	umem_ranges_deinit(&out);
}

static void keeps_position(void **state)
{
	UMEM_FD int fd = new_memfd(N * PAGE);

	T_SYS(lseek(fd, 123, SEEK_SET));
	stamp_of(fd);
	T_CHECK(lseek(fd, 0, SEEK_CUR) == 123);
}

/* A write that takes longer than two ticks is never half in a settled stamp. */
#define BIG (96u << 20)

struct writer {
	int fd;
	uint8_t *data;
	bool stop;
};

static void *write_on(void *user)
{
	struct writer *w = user;

	for (uint8_t gen = 1; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); gen++) {
		memset(w->data, gen, BIG);
		T_CHECK(pwrite(w->fd, w->data, BIG, 0) == BIG);
		/* long enough for a stamp to settle now and then */
		t_msleep(gen % 4 ? 1 : 30);
	}
	return NULL;
}

static uint64_t content(const volatile uint8_t *map)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at < BIG; at += BIG / 64)
		sum = sum * 31 + map[at];
	return sum * 31 + map[BIG - 1];
}

static void no_half_write(void **state)
{
	struct writer w = { .fd = new_memfd(BIG), .data = malloc(BIG) };
	UMEM_FD int fd = w.fd;
	const uint8_t *map = mmap(NULL, BIG, PROT_READ, MAP_SHARED, fd, 0);
	unsigned n = 0, n_same = 0;
	uint64_t end = t_now_ns() + 3000000000u;
	pthread_t thread;

	T_CHECK(w.data && map != MAP_FAILED);
	content(map);
	T_CHECK(pthread_create(&thread, NULL, write_on, &w) == 0);
	for (; t_now_ns() < end; n++) {
		struct umem_file_stamp before = stamp_of(fd), now;
		uint64_t sum = content(map), later;

		t_msleep(1);
		later = content(map);
		now = stamp_of(fd);
		if (!umem_filecache_same(&before, &now))
			continue;
		n_same++;
		T_CHECK(later == sum, "half a write was hidden");
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("%u stamps beside a writer, %u the same\n", n, n_same);
	munmap((void *)(uintptr_t)map, BIG);
	free(w.data);
}

static void other_file_systems(void **state)
{
	int fd = scratch_file(*state);
	struct umem_file_stamp before, now;

	if (fd < 0)
		skip();
	t_msleep(50);
	before = stamp_of(fd);
	now = stamp_of(fd);
	T_CHECK(before.ctime_ns == now.ctime_ns);
	/* /dev/shm is a tmpfs, on most machines; the others never give a yes */
	T_CHECK(umem_filecache_same(&before, &now) == (strcmp(*state, "/dev/shm") == 0));
	close(fd);
}

static void mapping_of_a_process(void **state)
{
	const size_t len = 4 * PAGE;
	uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t at = (uintptr_t)map;
	struct umem_ranges out = { 0 };
	int fd = -1, r = umem_filecache_open_mapping(getpid(), at, at + len, O_RDWR, &fd);

	if (r == -EPERM || r == -ENOENT)
		skip();
	T_OK(r);
	map[PAGE] = 5;
	T_OK(umem_filecache_extents(fd, 0, len, &out));
	T_CHECK(out.n == 1 && out.v[0].start == PAGE && out.v[0].end == 2 * PAGE);
	settled_stamp(fd);
	T_CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	close(fd);
	fd = -1;
	T_CHECK(umem_filecache_open_mapping(getpid(), at, at + PAGE, O_RDWR, &fd) == -ENOENT);
	T_CHECK(umem_filecache_open_mapping(getpid(), at, at + len, O_WRONLY, &fd) == -EINVAL);
	T_CHECK(umem_filecache_open_mapping(getpid(), at, at + len, O_RDWR | O_TRUNC, &fd) ==
		-EINVAL);
	T_CHECK(fd == -1);
	munmap(map, len);
	umem_ranges_deinit(&out);
}

static void no_device_is_opened(void **state)
{
	UMEM_FD int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	int got = -1;

	if (map == MAP_FAILED)
		skip();
	T_CHECK(umem_filecache_open_mapping(getpid(), (uintptr_t)map, (uintptr_t)map + PAGE,
			O_RDONLY, &got) == -ENODEV);
	T_CHECK(got == -1);
	munmap(map, PAGE);
}

static void page_cache(void **state)
{
	UMEM_FD int fd = new_memfd(N * PAGE);
	struct umem_cachestat stat = { .nr_cache = 99 };
	int r = umem_filecache_stat(fd, 0, N * PAGE, &stat);

	if (r == -ENOSYS)
		skip();
	T_OK(r);
	T_CHECK(stat.nr_cache == 0 && stat.nr_evicted == 0);
	T_CHECK(pwrite(fd, "x", 1, 3 * PAGE) == 1);
	T_OK(umem_filecache_stat(fd, 0, N * PAGE, &stat));
	T_CHECK(stat.nr_cache == 1);
	T_OK(umem_filecache_stat(fd, 0, 0, &stat));
	T_CHECK(stat.nr_cache == 0);
	T_OK(umem_filecache_stat(fd, 4 * PAGE, N * PAGE, &stat));
	T_CHECK(stat.nr_cache == 0);
	T_CHECK(umem_filecache_stat(-1, 0, PAGE, &stat) == -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extents_of_memfd),
		cmocka_unit_test_prestate(extents_of_file, (void *)"/dev/shm"),
		cmocka_unit_test_prestate(extents_of_file, (void *)"/tmp"),
		cmocka_unit_test(extents_edges),
		cmocka_unit_test(no_change_hides),
		cmocka_unit_test(quiet_calls),
		cmocka_unit_test(keeps_position),
		cmocka_unit_test(no_half_write),
		cmocka_unit_test_prestate(other_file_systems, (void *)"/dev/shm"),
		cmocka_unit_test_prestate(other_file_systems, (void *)"/var/tmp"),
		cmocka_unit_test(mapping_of_a_process),
		cmocka_unit_test(no_device_is_opened),
		cmocka_unit_test(page_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
