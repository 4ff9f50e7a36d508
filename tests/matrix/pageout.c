// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umem_pageout() and umem_pagein() on memory of every kind, one after the other: what
 * goes does, what cannot go is told by its reason, and no byte changes.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <umemd/track.h>

#include "lib/kern/uffd.h"
#include "tests/matrix/moves.h"

#define N   64
#define LEN (N * K_PAGE)

static void plain(void)
{
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;
	long hash;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN / 2, 0);
	k_peer_do(&peer, k_read, at + LEN / 2, LEN / 4, 0); /* pages of zeros, and holes */
	hash = k_peer_do(&peer, m_hash, at, LEN / 2, 0);
	result = m_out_all("anonymous", peer.pid, at, LEN, N / 2);
	T_CHECK(result.asked_bytes == LEN / 2 && m_refused(&result, NULL) == 0);
	T_CHECK(k_out(peer.pm, at, LEN / 2) == N / 2);
	/* A second call has nothing to do. */
	result = m_out(peer.pid, at, LEN, NULL);
	T_CHECK(result.asked_bytes + result.already_bytes == LEN / 2);
	result = m_in_all("... and back", peer.pid, at, LEN);
	T_CHECK(result.asked_bytes == LEN / 2 && result.already_bytes == 0);
	T_CHECK(k_here(peer.pm, at, LEN / 2) == N / 2);
	/* Holes are holes still, and pages of zeros cost nothing. */
	T_CHECK(k_count(peer.pm, at + LEN / 2, LEN / 4, PAGE_IS_PFNZERO) == N / 4);
	for (size_t i = 3 * N / 4; i < N; i++)
		T_CHECK(k_word(peer.pm, at + i * K_PAGE) == 0, "page %zu was touched", i);
	T_CHECK(k_peer_do(&peer, m_hash, at, LEN / 2, 0) == hash);
	k_peer_end(&peer);
	munmap(at, LEN);
}

/* At most so much: lower addresses first, and those that can go before those that cannot. */
static void at_most(void)
{
	struct umem_pageout_options options = { .max_bytes = 8 * K_PAGE };
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	T_OK((int)k_peer_do(&peer, m_lock, at, 4 * K_PAGE, 0));
	umem_lru_drain();
	result = m_out(peer.pid, at, LEN, &options);
	m_show("at most 8 of 64, the first 4 locked", &result);
	T_CHECK(result.asked_bytes == 8 * K_PAGE && m_refused(&result, NULL) == 0);
	T_CHECK(k_here(peer.pm, at, 4 * K_PAGE) == 4);
	T_CHECK(k_here(peer.pm, at + 12 * K_PAGE, LEN - 12 * K_PAGE) == N - 12);
	/* The rest, which is less, and what is refused fills it up. */
	m_out_all("the others", peer.pid, at + 4 * K_PAGE, LEN - 4 * K_PAGE, N - 4);
	result = m_out(peer.pid, at, LEN, &options);
	T_CHECK(m_refused(&result, "locked") == 4 * K_PAGE);
	options.max_bytes = 2 * K_PAGE;
	result = m_out(peer.pid, at, LEN, &options);
	T_CHECK(result.asked_bytes <= 2 * K_PAGE);
	options.max_bytes = 100; /* less than a page */
	result = m_out(peer.pid, at, LEN, &options);
	T_CHECK(result.asked_bytes == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
}

static void locked(void)
{
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	T_OK((int)k_peer_do(&peer, m_lock, at + 16 * K_PAGE, 16 * K_PAGE, 0));
	result = m_out_all("locked", peer.pid, at, LEN, N - 16);
	T_CHECK(m_refused(&result, "locked") == 16 * K_PAGE);
	T_CHECK(m_refused(&result, NULL) == 16 * K_PAGE);
	T_CHECK(k_here(peer.pm, at + 16 * K_PAGE, 16 * K_PAGE) == 16);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
}

static long map_reserved(char *at, size_t len, long unused)
{
	void *got = mmap(at, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0);

	(void)unused;
	if (got == MAP_FAILED)
		return -errno;
	return k_fill(at, len, 3);
}

static void reserved(void)
{
	char *at = k_anon_huge(2 * K_HUGE);
	struct umem_pageout result;
	struct k_peer peer;

	k_hugepages(1);
	k_peer_start(&peer);
	T_OK((int)k_peer_do(&peer, map_reserved, at, K_HUGE, 0));
	k_peer_do(&peer, k_fill, at + K_HUGE, LEN, 0);
	result = m_out(peer.pid, at, K_HUGE, NULL);
	m_show("reserved pool", &result);
	T_CHECK(result.asked_bytes == K_HUGE && m_refused(&result, "reserved pool") == K_HUGE);
	T_CHECK(k_peer_do(&peer, k_wrong, at, K_HUGE, 3) == 0);
	k_peer_end(&peer);
	munmap(at, 2 * K_HUGE);
}

/* What is protected against all access goes, and comes back, too. */
static void no_access(void)
{
	char *at = k_anon(LEN);
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	T_OK((int)k_peer_do(&peer, m_protect, at, LEN, PROT_NONE));
	m_out_all("no access", peer.pid, at, LEN, N);
	m_in_all("... and back", peer.pid, at, LEN);
	T_CHECK(k_here(peer.pm, at, LEN) == N);
	m_out_all("no access, again", peer.pid, at, LEN, N);
	T_OK((int)k_peer_do(&peer, m_protect, at, LEN, PROT_READ));
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
}

/* Private copies of a file's pages go; the file's own are left to the kernel. */
static void files(void)
{
	int fd = k_file(N);
	char *private = k_map(LEN, MAP_PRIVATE, fd), *shared = k_map(LEN, MAP_SHARED, fd);
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_read, private, LEN, 0);
	k_peer_do(&peer, k_fill, private, LEN / 2, 5);
	k_peer_do(&peer, k_read, shared, LEN, 0);
	result = m_out_all("private mapping of a file", peer.pid, private, LEN, N / 2);
	T_CHECK(result.asked_bytes == LEN && m_refused(&result, "pages of a file") == LEN / 2);
	result = m_out(peer.pid, shared, LEN, NULL);
	T_CHECK(result.asked_bytes == LEN && m_refused(&result, "pages of a file") == LEN);
	T_CHECK(k_here(peer.pm, shared, LEN) == N); /* nothing was dropped */
	T_CHECK(k_peer_do(&peer, k_wrong, private, LEN / 2, 5) == 0);
	k_peer_end(&peer);
	munmap(private, LEN);
	munmap(shared, LEN);
	close(fd);
}

static void huge(void)
{
	char *at = k_anon_huge(2 * K_HUGE);
	const size_t n = K_HUGE / K_PAGE;
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, 2 * K_HUGE, 0);
	if (!(k_bits(peer.pm, at) & PAGE_IS_HUGE))
		printf("no huge page was given: they are small ones then\n");
	umem_lru_drain();
	/* A part of one: exactly that part. */
	result = m_out_all("77 pages of a huge page", peer.pid, at + 9 * K_PAGE, 77 * K_PAGE, 77);
	T_CHECK(result.asked_bytes == 77 * K_PAGE);
	T_CHECK(k_here(peer.pm, at, 2 * K_HUGE) >= 2 * n - 77);
	m_out_all("all of them", peer.pid, at, 2 * K_HUGE, 2 * n);
	T_CHECK(k_peer_do(&peer, k_wrong, at, 2 * K_HUGE, 0) == 0);
	k_peer_end(&peer);
	munmap(at, 2 * K_HUGE);
}

/* What the program has given free is dropped, not put out. */
static void given_free(void)
{
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	T_OK((int)k_peer_do(&peer, k_advise, at, LEN / 2, MADV_FREE));
	umem_lru_drain();
	result = m_out(peer.pid, at, LEN, NULL);
	m_show("half of it given free", &result);
	T_CHECK(result.asked_bytes == LEN && m_refused(&result, "given free") == LEN / 2);
	T_CHECK(k_peer_do(&peer, k_wrong, at + LEN / 2, LEN / 2, 0) == N / 2); /* by place */
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == N / 2);
	k_peer_end(&peer);
	munmap(at, LEN);
}

#define KSM "/sys/kernel/mm/ksm/"

static const char *const knobs[] = { KSM "pages_to_scan", KSM "sleep_millisecs", KSM "run" };
static uint64_t kept[3];

static void set_knob(int i, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	k_write_text(knobs[i], text);
}

static void put_back(void)
{
	for (int i = 0; i < 3; i++)
		set_knob(i, kept[i]);
}

static long fill_alike(char *at, size_t len, long unused)
{
	(void)unused;
	for (size_t i = 0; i < len; i += K_PAGE)
		t_fill_page(at + i, 1, 1);
	return madvise(at, len, MADV_MERGEABLE) < 0 ? -errno : 0;
}

static uint64_t n_merged(pid_t pid)
{
	char path[64];
	uint64_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", (int)pid);
	k_read_u64(path, &n);
	return n;
}

static void merged(void)
{
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;

	for (int i = 0; i < 3; i++) {
		if (!k_read_u64(knobs[i], &kept[i]) || access(knobs[i], W_OK) < 0) {
			printf("no KSM that may be switched on: left out\n");
			return;
		}
	}
	k_at_end(put_back);
	k_peer_start(&peer);
	T_OK((int)k_peer_do(&peer, fill_alike, at, LEN, 0));
	set_knob(0, 2000);
	set_knob(1, 5);
	set_knob(2, 1);
	T_UNTIL(20, n_merged(peer.pid) >= N - 1);
	put_back();
	result = m_out(peer.pid, at, LEN, NULL);
	m_show("merged", &result);
	T_CHECK(m_refused(&result, "KSM") >= LEN - K_PAGE);
	k_peer_end(&peer);
	munmap(at, LEN);
}

/* A watch at the same time: its marks stay, and no write is missed, in memory or out. */
static void watched(bool shared)
{
	char *at = shared ? k_map(LEN, MAP_SHARED, k_memfd(LEN)) : k_anon(LEN);
	struct umem_range range = { (uintptr_t)at, (uintptr_t)at + LEN };
	struct umem_watch_options options = { .size = sizeof(options), .regions = &range,
		.n_regions = 1 };
	const struct umem_round *round;
	struct umem_target *target;
	struct umem_watch *watch;
	struct umem_note note = { 0 };
	struct k_peer peer;
	int r;

	k_peer_start(&peer);
	munmap(at, LEN); /* another mapper would keep rounds from being complete */
	k_peer_do(&peer, k_fill, at, LEN, 0);
	r = umem_target_attach(peer.pid, NULL, &target, &note);
	T_CHECK(r == 0, "%s", note.text);
	r = umem_watch_new(target, &options, &watch, &note);
	T_CHECK(r == 0, "%s", note.text);
	T_OK(umem_watch_collect(watch, &round, &note));
	k_peer_do(&peer, k_write, at + 3 * K_PAGE, K_PAGE, t_pattern(3, 0, 0)); /* before */
	m_out_all(shared ? "watched, shared" : "watched", peer.pid, at, LEN, N);
	k_peer_do(&peer, k_write, at + 9 * K_PAGE, K_PAGE, t_pattern(9, 0, 0)); /* while out */
	m_in_all("... and back", peer.pid, at, LEN);
	k_peer_do(&peer, k_write, at + 20 * K_PAGE, 2 * K_PAGE, 1); /* after */
	T_OK(umem_watch_collect(watch, &round, &note));
	T_CHECK(round->dirty_bytes == 4 * K_PAGE && round->complete, "%llu pages dirty",
		(unsigned long long)round->dirty_bytes / K_PAGE);
	m_out_all("... out", peer.pid, at, LEN, N);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) <= 2);
	T_OK(umem_watch_collect(watch, &round, &note));
	T_CHECK(round->dirty_bytes == 0, "%llu pages dirty",
		(unsigned long long)round->dirty_bytes / K_PAGE);
	umem_watch_free(watch);
	umem_target_free(target);
	k_peer_end(&peer);
}

static long serve(char *at, size_t len, long unused)
{
	int uffd = k_uffd(0);

	(void)unused;
	return umem_uffd_register(uffd, (uintptr_t)at, (uintptr_t)at + len,
		UFFDIO_REGISTER_MODE_MISSING);
}

/* What a userfaultfd serves goes out, but is not touched to bring it in. */
static void served(void)
{
	char *at = k_anon(LEN);
	struct umem_pageout result;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 0);
	T_OK((int)k_peer_do(&peer, serve, at, LEN, 0));
	m_out_all("served by a userfaultfd", peer.pid, at, LEN, N);
	result = m_in(peer.pid, at, LEN);
	m_show("... and back", &result);
	T_CHECK(m_refused(&result, "userfaultfd") + result.already_bytes == LEN);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("paging out another process needs CAP_SYS_NICE");
	k_zram_swap(64 << 20);
	plain();
	at_most();
	locked();
	no_access();
	files();
	huge();
	given_free();
	watched(false);
	watched(true);
	served();
	merged();
	reserved();
	return 0;
}
