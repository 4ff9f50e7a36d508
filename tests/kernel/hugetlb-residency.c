// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which pages of a hugetlb file are there: UFFDIO_CONTINUE on a mapping of our
 * own (shared, without a reservation, registered for minor faults) succeeds for
 * those and says EFAULT for holes, allocating nothing. st_blocks is the exact
 * sum. All other ways answer wrongly or not at all.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N    4
#define LEN  (N * K_HUGE)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

struct pool {
	uint64_t free, reserved, surplus;
};

static struct pool pool(void)
{
	struct pool now = { 0 };

	T_CHECK(k_read_u64(POOL "free_hugepages", &now.free));
	T_CHECK(k_read_u64(POOL "resv_hugepages", &now.reserved));
	T_CHECK(k_read_u64(POOL "surplus_hugepages", &now.surplus));
	return now;
}

static bool same(struct pool a, struct pool b)
{
	return a.free == b.free && a.reserved == b.reserved && a.surplus == b.surplus;
}

static int proceed(int uffd, char *at, size_t len, int64_t *ret_mapped)
{
	struct uffdio_continue arg = {
		.range = { (uintptr_t)at, len },
		.mode = UFFDIO_CONTINUE_MODE_DONTWAKE,
	};
	int err = ioctl(uffd, UFFDIO_CONTINUE, &arg) < 0 ? -errno : 0;

	*ret_mapped = arg.mapped;
	return err;
}

/* One letter for each page of @fd, asked for through a mapping made for that. */
static void look(int fd, char *ret_states)
{
	int uffd = k_uffd(UFFD_FEATURE_MINOR_HUGETLBFS), pm = k_pagemap();
	char *at = k_map(LEN, MAP_SHARED | MAP_NORESERVE, fd);
	uint64_t start, took;

	T_OK(umem_uffd_register(uffd, (uintptr_t)at, (uintptr_t)at + LEN,
		UFFDIO_REGISTER_MODE_MINOR));
	start = t_now_ns();
	for (int i = 0; i < N; i++) {
		int64_t mapped = 0;
		int err = proceed(uffd, at + i * K_HUGE, K_HUGE, &mapped);

		T_CHECK(err == 0 || err == -EFAULT, "%d", err);
		T_CHECK(err ? mapped <= 0 : mapped == (int64_t)K_HUGE, "%d: %lld", err,
			(long long)mapped);
		ret_states[i] = err ? '.' : 'r';
		T_CHECK(k_here(pm, at + i * K_HUGE, K_HUGE) == (err ? 0 : K_HUGE / K_PAGE));
		if (!err) /* mapped now: asking again is an error of its own */
			T_CHECK(proceed(uffd, at + i * K_HUGE, K_HUGE, &mapped) == -EEXIST);
	}
	took = t_now_ns() - start;
	ret_states[N] = 0;
	munmap(at, LEN);
	close(uffd);
	close(pm);
	k_fact("%s, %llu ns a page with checks", ret_states, (unsigned long long)took / N);
}

/* The pool is the machine's: others may change it now and then, but not always. */
static void ask(int fd, char *ret_states)
{
	struct pool before;
	int tries = 0;

	do {
		before = pool();
		look(fd, ret_states);
		T_CHECK(tries++ < 100, "the pool of huge pages changes");
	} while (!same(before, pool()));
}

static void expect(int fd, const char *want)
{
	char got[N + 1];
	struct stat st;
	int n = 0;

	ask(fd, got);
	T_CHECK(strcmp(got, want) == 0, "(%s, want %s)", got, want);
	for (int i = 0; i < N; i++)
		n += want[i] == 'r';
	T_SYS(fstat(fd, &st));
	T_CHECK(st.st_blocks == n * (long)(K_HUGE / 512), "%ld", (long)st.st_blocks);
}

/* A range is done up to the first hole, and says how far it came. */
static void range(int fd, size_t first, size_t n, int want_err, int64_t want_mapped)
{
	int uffd = k_uffd(UFFD_FEATURE_MINOR_HUGETLBFS), err;
	char *at = k_map(LEN, MAP_SHARED | MAP_NORESERVE, fd);
	int64_t mapped = 0;

	T_OK(umem_uffd_register(uffd, (uintptr_t)at, (uintptr_t)at + LEN,
		UFFDIO_REGISTER_MODE_MINOR));
	err = proceed(uffd, at + first * K_HUGE, n * K_HUGE, &mapped);
	k_fact("a range of %zu from %zu: %s, mapped %lld", n, first, err ? strerror(-err) : "done",
		(long long)mapped);
	T_CHECK(err == want_err && mapped == want_mapped);
	munmap(at, LEN);
	close(uffd);
}

static long arm(char *at, size_t len, long unused)
{
	(void)unused;
	T_OK(k_register(k_uffd(K_TRACK), at, len));
	return (long)k_collect(k_pagemap(), at, len);
}

/* Pages of a mapping at @at that nobody touched, as mincore(2) tells. */
static size_t in_core(int fd, char *at)
{
	static unsigned char in[LEN / K_PAGE];
	int pm = k_pagemap();
	size_t n = 0;

	T_CHECK(mmap(at, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
		0) == at);
	T_SYS(mincore(at, LEN, in));
	for (size_t i = 0; i < LEN / K_PAGE; i++)
		n += in[i] & 1;
	T_CHECK(k_here(pm, at, LEN) == 0);
	close(pm);
	T_CHECK(mmap(at, LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		-1, 0) == at);
	return n;
}

/*
 * What looks at the file or at a mapping otherwise: pages 0 and 2 are there. mincore(2)
 * asks the file only where not even a table of huge pages has been made (an aligned
 * gigabyte nothing of which was touched), else the entries that are not there.
 */
static void useless(int fd)
{
	const size_t span = 1ul << 30;
	char *room = k_map(2 * span, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	char *at = (char *)(((uintptr_t)room + span - 1) & ~(span - 1));
	size_t without, with;

	without = in_core(fd, at);
	at[LEN] = 1;
	with = in_core(fd, at);
	k_fact("mincore of a mapping nobody touched: %zu pages, %zu with a table; SEEK_DATA from "
	       "page 1: %ld, SEEK_HOLE from 0: %ld of %ld", without, with,
		(long)lseek(fd, K_HUGE, SEEK_DATA), (long)lseek(fd, 0, SEEK_HOLE), (long)LEN);
	T_CHECK(without == 2 * K_HUGE / K_PAGE);
	T_CHECK(with == 0);
	T_CHECK(lseek(fd, K_HUGE, SEEK_DATA) == (long)K_HUGE); /* a hole */
	T_CHECK(lseek(fd, 0, SEEK_HOLE) == (long)LEN);
	munmap(room, 2 * span);
}

int main(void)
{
	struct k_peer peer, late;
	char *at;
	int fd;

	k_hugepages(N);
	fd = (int)T_SYS(memfd_create("scratch-huge", MFD_CLOEXEC | MFD_HUGETLB));
	T_SYS(ftruncate(fd, LEN));
	at = k_map(LEN, MAP_SHARED, fd);
	k_peer_start(&peer);
	k_peer_start(&late);
	expect(fd, "....");
	k_peer_do(&peer, k_write, at, K_PAGE, 1);
	k_peer_do(&peer, k_write, at + 2 * K_HUGE, K_PAGE, 3);
	expect(fd, "r.r.");
	range(fd, 0, 1, 0, (int64_t)K_HUGE);
	range(fd, 0, 4, -EAGAIN, (int64_t)K_HUGE);
	range(fd, 1, 3, -EFAULT, -EFAULT);
	useless(fd);
	T_CHECK(k_map_count(peer.pm, at) == 1); /* nothing of ours is left */

	/* Protected by its tracker: still so, and a store is still seen. */
	T_CHECK(k_peer_do(&peer, arm, at, LEN, 0) > 0);
	expect(fd, "r.r.");
	T_CHECK(!(k_bits(peer.pm, at) & PAGE_IS_WRITTEN));
	k_peer_do(&peer, k_write, at + 2 * K_HUGE + 5, 1, 4);
	T_CHECK(k_bits(peer.pm, at + 2 * K_HUGE) & PAGE_IS_WRITTEN);
	T_CHECK(!(k_bits(peer.pm, at) & PAGE_IS_WRITTEN));

	/* In nobody's page table, or in that of another: the same. */
	k_peer_do(&peer, k_advise, at, LEN, MADV_DONTNEED);
	expect(fd, "r.r.");
	k_peer_do(&late, k_read, at + 2 * K_HUGE, K_PAGE, 0);
	k_peer_do(&late, k_write, at + 3 * K_HUGE, K_PAGE, 5);
	expect(fd, "r.rr");
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, K_HUGE));
	expect(fd, "..rr");
	T_CHECK(k_peer_do(&late, k_advise, at, LEN, MADV_PAGEOUT) == -EINVAL);
	expect(fd, "..rr");
	return 0;
}
