// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umem_pageout() on memory that more than one has, or that is held: forked, mapped by
 * two, mapped by this program, mapped by nobody, pinned.
 */
#include <liburing.h>
#include <unistd.h>

#include "tests/matrix/moves.h"

#define N   64
#define LEN (N * K_PAGE)

static void forked(void)
{
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer parent, child;

	k_peer_start(&parent);
	k_peer_do(&parent, k_fill, at, LEN, 0);
	k_peer_fork(&parent, &child);
	result = m_out(parent.pid, at, LEN, NULL);
	m_show("forked", &result);
	T_CHECK(result.asked_bytes == LEN && m_refused(&result, "forked") == LEN);
	result = m_out(child.pid, at, LEN, NULL);
	T_CHECK(m_refused(&result, "forked") == LEN);
	/* A copy of one's own goes. */
	k_peer_do(&child, k_write, at, 8 * K_PAGE, 1);
	result = m_out_all("8 pages written by the child", child.pid, at, LEN, 8);
	T_CHECK(m_refused(&result, "forked") == LEN - 8 * K_PAGE);
	k_peer_end(&child);
	m_out_all("the child has ended", parent.pid, at, LEN, N);
	T_CHECK(k_peer_do(&parent, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&parent);
	munmap(at, LEN);
}

/* What comes in is shared by parent and child as before, and not a copy for one of them. */
static void forked_while_out(void)
{
	char *at = k_anon(LEN);
	struct k_peer parent, child;

	k_peer_start(&parent);
	k_peer_do(&parent, k_fill, at, LEN, 0);
	m_out_all("out", parent.pid, at, LEN, N);
	k_peer_fork(&parent, &child);
	T_CHECK(k_out(parent.pm, at, LEN) == k_out(child.pm, at, LEN));
	m_in_all("in, of the parent", parent.pid, at, LEN);
	m_in_all("in, of the child", child.pid, at, LEN);
	for (size_t i = 0; i < N; i++)
		T_CHECK((k_word(parent.pm, at + i * K_PAGE) & ((1ull << 55) - 1)) ==
			(k_word(child.pm, at + i * K_PAGE) & ((1ull << 55) - 1)),
			"page %zu was copied", i);
	T_CHECK(k_peer_do(&parent, k_wrong, at, LEN, 0) == 0);
	T_CHECK(k_peer_do(&child, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&child);
	k_peer_end(&parent);
	munmap(at, LEN);
}

static void two_processes(void)
{
	int fd = k_memfd(LEN);
	char *at = k_map(LEN, MAP_SHARED, fd);
	struct umem_pageout result;
	struct k_peer a, b;

	k_peer_start(&a);
	k_peer_start(&b);
	k_peer_do(&a, k_fill, at, LEN, 0);
	k_peer_do(&b, k_read, at, LEN, 0);
	result = m_out(a.pid, at, LEN, NULL);
	m_show("mapped by two", &result);
	T_CHECK(result.asked_bytes == LEN && m_refused(&result, "mapped by another") == LEN);
	T_CHECK(k_cached(fd, LEN) == N);
	T_OK((int)k_peer_do(&b, k_advise, at, LEN / 2, MADV_DONTNEED));
	result = m_out_all("the other dropped half", a.pid, at, LEN, N / 2);
	T_CHECK(m_refused(&result, "mapped by another") == LEN / 2);
	T_CHECK(k_evicted(fd, LEN) == N / 2);
	k_peer_end(&b);
	m_out_all("the other has ended", a.pid, at, LEN, N);
	m_in_all("... and back", a.pid, at, LEN);
	T_CHECK(k_peer_do(&a, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&a);
	munmap(at, LEN);
	close(fd);
}

static char *second;

/* One process that has it at two places. */
static long alias(char *at, size_t len, long fd)
{
	second = mmap(NULL, len, PROT_READ, MAP_SHARED, (int)fd, 0);
	if (second == MAP_FAILED)
		return -errno;
	return k_read(second, len, 0);
}

static long drop_alias(char *at, size_t len, long unused)
{
	(void)at;
	(void)unused;
	return munmap(second, len);
}

static void twice_in_one(void)
{
	int fd = k_memfd(LEN);
	char *at = k_map(LEN, MAP_SHARED, fd);
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	T_OK((int)k_peer_do(&peer, alias, at, LEN, fd));
	result = m_out(peer.pid, at, LEN, NULL);
	T_CHECK(m_refused(&result, "twice by this one") == LEN);
	T_OK((int)k_peer_do(&peer, drop_alias, at, LEN, 0));
	m_out_all("the other mapping is gone", peer.pid, at, LEN, N);
	k_peer_end(&peer);
	munmap(at, LEN);
	close(fd);
}

/* What this program maps itself is in nobody's way, and is as it was. */
static void our_own(void)
{
	int fd = k_memfd(LEN);
	char *at = k_map(LEN, MAP_SHARED, fd), *other = k_map(LEN, MAP_SHARED, fd);
	char *private = k_map(LEN, MAP_PRIVATE, fd);
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	k_fill(private, LEN, 7); /* copies of our own, which must not get lost */
	T_CHECK(k_wrong(at, LEN, 0) == 0 && k_wrong(other, LEN, 0) == 0);
	m_out_all("mapped by us, in two places", peer.pid, at, LEN, N);
	T_CHECK(k_evicted(fd, LEN) == N);
	T_CHECK(k_wrong(private, LEN, 7) == 0);
	T_CHECK(k_wrong(other, LEN, 0) == 0);
	/* In memory by our reading, mapped by us alone. */
	m_out_all("mapped by us alone", peer.pid, at, LEN, N);
	T_CHECK(k_wrong(at, LEN, 0) == 0 && k_wrong(private, LEN, 7) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
	munmap(other, LEN);
	munmap(private, LEN);
	close(fd);
}

static long write_all(char *at, size_t len, long fd)
{
	char page[K_PAGE];

	(void)at;
	for (size_t i = 0; i < len / K_PAGE; i++) {
		t_fill_page(page, i, 4);
		T_CHECK(pwrite((int)fd, page, K_PAGE, (off_t)(i * K_PAGE)) == (ssize_t)K_PAGE);
	}
	return 0;
}

/* Written through the file: in memory, and in nobody's page table. */
static void by_nobody(void)
{
	int fd = k_memfd(LEN);
	char *at = k_map(LEN, MAP_SHARED, fd);
	struct umem_pageout result;
	struct k_peer a, b;

	k_peer_start(&a);
	k_peer_start(&b);
	k_peer_do(&a, write_all, at, LEN, fd);
	T_CHECK(k_here(a.pm, at, LEN) == 0 && k_cached(fd, LEN) == N);
	m_out_all("mapped by nobody", a.pid, at, LEN, N);
	T_CHECK(k_evicted(fd, LEN) == N);
	/* Every other page by nobody. */
	for (size_t i = 0; i < N; i += 2)
		k_peer_do(&a, k_read, at + i * K_PAGE, K_PAGE, 0);
	k_peer_do(&b, k_read, at, LEN, 0);
	T_OK((int)k_peer_do(&b, k_advise, at, LEN, MADV_DONTNEED));
	m_out_all("every other one by nobody", a.pid, at, LEN, N);
	/* By somebody else only: it stays, and the answer says why. */
	k_peer_do(&b, k_read, at, LEN, 0);
	result = m_out(a.pid, at, LEN, NULL);
	m_show("mapped by another one only", &result);
	T_CHECK(m_refused(&result, "mapped by another") == LEN && k_cached(fd, LEN) == N);
	k_peer_end(&b);
	m_out_all("... who has ended", a.pid, at, LEN, N);
	T_CHECK(k_peer_do(&a, k_wrong, at, LEN, 4) == 0);
	k_peer_end(&a);
	munmap(at, LEN);
	close(fd);
}

/* A private mapping of shared memory: copies, and the object's pages behind it. */
static void private_of_shared(void)
{
	int fd = k_memfd(LEN);
	char *at = k_map(LEN, MAP_PRIVATE, fd);
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, write_all, at, LEN, fd);
	k_peer_do(&peer, k_read, at, LEN / 2, 0);
	k_peer_do(&peer, k_fill, at, LEN / 4, 8);
	m_out_all("private mapping of shared memory", peer.pid, at, LEN, N);
	T_CHECK(k_evicted(fd, LEN) >= 3 * N / 4);
	m_in_all("... and back", peer.pid, at, LEN);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN / 4, 8) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at + LEN / 4, LEN * 3 / 4, 4) == N * 3 / 4);
	k_peer_end(&peer);
	munmap(at, LEN);
	close(fd);
}

static struct io_uring ring;

static long pin(char *at, size_t len, long unused)
{
	struct iovec iov = { at, len };
	int err = io_uring_queue_init(4, &ring, 0);

	(void)unused;
	return err ? err : io_uring_register_buffers(&ring, &iov, 1);
}

static void pinned(bool shared)
{
	char *at = shared ? k_map(LEN, MAP_SHARED, k_memfd(LEN)) : k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;
	long err;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	err = k_peer_do(&peer, pin, at + 4 * K_PAGE, 4 * K_PAGE, 0);
	if (err) {
		printf("no io_uring buffers (%s): left out\n", strerror((int)-err));
		k_peer_end(&peer);
		return;
	}
	result = m_out_all(shared ? "pinned, shared" : "pinned", peer.pid, at, LEN, N - 4);
	T_CHECK(m_refused(&result, "pinned by the program") == 4 * K_PAGE);
	T_CHECK(k_here(peer.pm, at + 4 * K_PAGE, 4 * K_PAGE) == 4);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("paging out another process needs CAP_SYS_NICE");
	k_zram_swap(64 << 20);
	forked();
	forked_while_out();
	two_processes();
	twice_in_one();
	our_own();
	by_nobody();
	private_of_shared();
	pinned(false);
	pinned(true);
	return 0;
}
