// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The example that no mark in page tables can get right: A and B map a shared
 * page, A's entry is zapped, the page is put out. The page tables of A, of B, of
 * a child that A forks then, and of a process that maps it for the first time
 * say nothing at all; the object, asked through any of them, says swapped. So
 * do smaps, for mappings as a whole.
 */
#include <fcntl.h>
#include <sys/shm.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "tests/kernel/peer.h"

#define N    8
#define LEN  (N * K_PAGE)
#define P    3
#define HOLE 5

static long smaps_swap(char *at, size_t len, long unused)
{
	(void)len;
	(void)unused;
	return (long)k_smaps_kb(at, "Swap");
}

static long map_at(char *at, size_t len, long fd)
{
	return mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, (int)fd, 0) == at;
}

/* What the page tables say, and what the object behind them says. */
static void check(const struct k_peer *who, const char *name, char *at)
{
	struct k_faults before = k_faults(who->pid);
	struct umem_cachestat page, hole;
	int fd = -1;

	T_OK(umem_filecache_open_mapping(who->pid, (uintptr_t)at, (uintptr_t)at + LEN, O_RDWR,
		&fd));
	T_OK(umem_filecache_stat(fd, P * K_PAGE, (P + 1) * K_PAGE, &page));
	T_OK(umem_filecache_stat(fd, HOLE * K_PAGE, (HOLE + 1) * K_PAGE, &hole));
	close(fd);
	k_fact("  %s: word %#llx (a hole: %#llx), bits %#llx; cachestat evicted %llu (a hole: "
	       "%llu)", name, (unsigned long long)k_word(who->pm, at + P * K_PAGE),
		(unsigned long long)k_word(who->pm, at + HOLE * K_PAGE),
		(unsigned long long)k_bits(who->pm, at + P * K_PAGE),
		(unsigned long long)page.nr_evicted, (unsigned long long)hole.nr_evicted);
	T_CHECK(k_word(who->pm, at + P * K_PAGE) == 0, "(%s)", name);
	T_CHECK(k_word(who->pm, at + HOLE * K_PAGE) == 0, "(%s)", name);
	/* WRITTEN where there is a page table, nothing at all where there is none. */
	T_CHECK(!(k_bits(who->pm, at + P * K_PAGE) & ~(uint64_t)PAGE_IS_WRITTEN), "(%s)", name);
	T_CHECK(!(k_bits(who->pm, at + HOLE * K_PAGE) & ~(uint64_t)PAGE_IS_WRITTEN), "(%s)", name);
	T_CHECK(page.nr_evicted == 1 && page.nr_cache == 0, "(%s)", name);
	T_CHECK(hole.nr_evicted == 0 && hole.nr_cache == 0, "(%s)", name);
	T_CHECK(k_faults(who->pid).major == before.major);
}

/* A process that maps the object now, at another address. */
static void by_newcomer(int fd)
{
	char *at = k_anon(LEN);
	struct k_peer first;

	k_peer_start(&first);
	T_CHECK(k_peer_do(&first, map_at, at, LEN, fd) == 1);
	check(&first, "one that maps it first", at);
	T_CHECK(k_peer_do(&first, smaps_swap, at, 0, 0) == 4);
	k_peer_end(&first);
	munmap(at, LEN);
}

/* @at: shared memory that nobody touched; @fd: it, or -1. */
static void run(const char *what, char *at, int fd)
{
	struct k_peer a, b, child, late;

	k_fact("%s", what);
	k_peer_start(&late);
	k_peer_start(&a);
	k_peer_start(&b);
	if (fd < 0)
		T_OK(umem_filecache_open_mapping(a.pid, (uintptr_t)at, (uintptr_t)at + LEN,
			O_RDWR, &fd));
	k_peer_do(&a, k_write, at + P * K_PAGE, K_PAGE, 7);
	k_peer_do(&b, k_read, at + P * K_PAGE, K_PAGE, 0);
	T_CHECK(k_map_count(b.pm, at + P * K_PAGE) == 2);

	/* Mapped by both it stays, whatever the answer. */
	umem_lru_drain();
	T_CHECK(k_peer_advise(&b, at, LEN, MADV_PAGEOUT) == (long)LEN);
	T_CHECK(k_here(a.pm, at, LEN) == 1 && k_here(b.pm, at, LEN) == 1);

	T_CHECK(k_peer_do(&a, k_advise, at, LEN, MADV_DONTNEED) == 0);
	T_CHECK(k_here(a.pm, at, LEN) == 0);
	/* B's page table, for a page that A's does not have: in memory. */
	T_CHECK(k_here(b.pm, at, LEN) == 1 && k_cached(fd, LEN) == 1);
	k_peer_out_file(&b, at, LEN, fd);

	k_peer_fork(&a, &child);
	check(&a, "A", at);
	check(&b, "B", at);
	check(&child, "child of A", at);
	by_newcomer(fd);
	T_CHECK(k_peer_do(&a, smaps_swap, at, 0, 0) == 4);
	T_CHECK(k_peer_do(&b, smaps_swap, at, 0, 0) == 4);
	T_CHECK(k_peer_do(&child, smaps_swap, at, 0, 0) == 4);

	/* Whoever reads it has it in memory for all, and only his table says so. */
	k_peer_do(&child, k_read, at + P * K_PAGE, K_PAGE, 0);
	T_CHECK(k_here(child.pm, at, LEN) == 1);
	T_CHECK(k_here(a.pm, at, LEN) == 0 && k_here(b.pm, at, LEN) == 0);
	T_CHECK(k_cached(fd, LEN) == 1 && k_evicted(fd, LEN) == 0);
	k_peer_end(&child);
	k_peer_end(&a);
	k_peer_end(&b);
	/* Mapped by one that never touched it: still there. */
	T_CHECK(k_here(late.pm, at, LEN) == 0 && k_cached(fd, LEN) == 1);
	k_peer_end(&late);
	close(fd);
}

static char *sysv(void)
{
	int id = shmget(IPC_PRIVATE, LEN, IPC_CREAT | 0600);
	void *at;

	if (id < 0)
		return NULL;
	at = shmat(id, NULL, 0);
	T_SYS(shmctl(id, IPC_RMID, NULL)); /* gone with the last that has it */
	return at == (void *)-1 ? NULL : at;
}

int main(void)
{
	int fd = k_memfd(LEN);
	char *at;

	k_zram_swap(64 << 20);
	run("memfd", k_map(LEN, MAP_SHARED, fd), fd);
	run("shared anonymous memory", k_map(LEN, MAP_SHARED | MAP_ANONYMOUS, -1), -1);
	at = sysv();
	if (at)
		run("a System V segment", at, -1);
	return 0;
}
