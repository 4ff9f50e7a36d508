// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MADV_PAGEOUT leaves pages that an io_uring has registered in memory, usable by
 * the ring, and says that all went well. Private ones stay mapped. Shared ones
 * lose their entries in the page table, so that they look as if they were out
 * and no second call finds them; the object tells. One pinned page of a huge page
 * holds all of it, as it cannot be split; asked for some others: these, too.
 */
#include <liburing.h>
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N     16
#define LEN   (N * K_PAGE)
#define PAGES (K_HUGE / K_PAGE)

static struct io_uring ring;

static long pin(char *at, size_t len, long unused)
{
	struct iovec iov = { at, len };
	int err = io_uring_queue_init(4, &ring, 0);

	(void)unused;
	return err ? err : io_uring_register_buffers(&ring, &iov, 1);
}

static long unpin(char *at, size_t len, long unused)
{
	(void)at;
	(void)len;
	(void)unused;
	io_uring_queue_exit(&ring);
	T_UNTIL(5, k_status_kb("VmPin") == 0); /* a little later */
	return 0;
}

/* Read the first bytes of @fd through the ring into the registered buffer. */
static long read_fixed(char *at, size_t len, long fd)
{
	struct io_uring_cqe *cqe = NULL;
	long n;

	io_uring_prep_read_fixed(io_uring_get_sqe(&ring), (int)fd, at, (unsigned)len, 0, 0);
	T_CHECK(io_uring_submit(&ring) == 1);
	T_OK(io_uring_wait_cqe(&ring, &cqe));
	n = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return n;
}

static void out(const struct k_peer *peer, char *at, size_t len)
{
	for (int i = 0; i < 3; i++) {
		umem_lru_drain();
		T_CHECK(k_peer_advise(peer, at, len, MADV_PAGEOUT) == (long)len);
	}
}

/* @fd: shared memory, or -1. */
static void small(const char *what, char *at, int fd, int file)
{
	struct k_peer peer;
	long err;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	err = k_peer_do(&peer, pin, at + 4 * K_PAGE, 4 * K_PAGE, 0);
	if (err)
		T_SKIP("no io_uring buffers: %s", strerror((int)-err));
	out(&peer, at, LEN);
	k_fact("%s: 4 of %d pages pinned: %zu present, of these %zu", what, N,
		k_here(peer.pm, at, LEN), k_here(peer.pm, at + 4 * K_PAGE, 4 * K_PAGE));
	if (fd < 0) {
		T_CHECK(k_here(peer.pm, at, LEN) == 4);
		T_CHECK(k_here(peer.pm, at + 4 * K_PAGE, 4 * K_PAGE) == 4);
	} else {
		k_fact("... in the object: %llu in memory, %llu out",
			(unsigned long long)k_cached(fd, LEN),
			(unsigned long long)k_evicted(fd, LEN));
		T_CHECK(k_cached(fd, LEN) == 4 && k_evicted(fd, LEN) == N - 4);
	}
	/* What the ring reads into it is what the process sees. */
	T_CHECK(k_peer_do(&peer, read_fixed, at + 4 * K_PAGE, K_PAGE, file) == (long)K_PAGE);
	T_CHECK(k_peer_do(&peer, k_wrong, at + 4 * K_PAGE, K_PAGE, 7) == 0);
	k_peer_do(&peer, unpin, NULL, 0, 0);
	if (fd < 0)
		k_peer_out(&peer, at, LEN);
	else
		k_peer_out_file(&peer, at, LEN, fd);
	T_CHECK(k_peer_do(&peer, k_wrong, at + 4 * K_PAGE, K_PAGE, 7) == 0);
	k_peer_end(&peer);
}

static void huge(char *at)
{
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, K_HUGE, 0);
	if (!(k_bits(peer.pm, at) & PAGE_IS_HUGE)) {
		printf("no huge page was given: that part is left out\n");
		return;
	}
	T_OK((int)k_peer_do(&peer, pin, at + 9 * K_PAGE, K_PAGE, 0));
	out(&peer, at, K_HUGE);
	k_fact("one page of a huge page pinned: %zu present", k_here(peer.pm, at, K_HUGE));
	T_CHECK(k_here(peer.pm, at, K_HUGE) == PAGES);
	out(&peer, at + 200 * K_PAGE, 4 * K_PAGE);
	k_fact("... four others asked for: %zu present, %s", k_here(peer.pm, at, K_HUGE),
		k_bits(peer.pm, at) & PAGE_IS_HUGE ? "huge" : "split");
	T_CHECK(k_here(peer.pm, at, K_HUGE) == PAGES);
	k_peer_do(&peer, unpin, NULL, 0, 0);
	k_peer_out(&peer, at, K_HUGE);
	T_CHECK(k_peer_do(&peer, k_wrong, at, K_HUGE, 0) == 0);
	k_peer_end(&peer);
}

int main(void)
{
	int file = k_memfd(K_PAGE), fd = k_memfd(LEN);
	char page[K_PAGE];

	t_fill_page(page, 0, 7);
	T_CHECK(pwrite(file, page, K_PAGE, 0) == (ssize_t)K_PAGE);
	k_zram_swap(64 << 20);
	small("anonymous", k_anon(LEN), -1, file);
	small("shared", k_map(LEN, MAP_SHARED, fd), fd, file);
	huge(k_anon_huge(K_HUGE));
	return 0;
}
