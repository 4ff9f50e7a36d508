// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MADV_PAGEOUT of mappings of a file on a disk. Clean pages are dropped from the
 * page cache, read again from the file when they are touched. Dirty pages lose
 * their entries in the page table and stay in memory as they are: nothing is
 * written, and no second call finds them. Copies of a private mapping go to
 * swap. Who may not write the file gets a success that did nothing, for the
 * file's pages, and only his own copies are put out.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "tests/kernel/peer.h"

#define N   16
#define LEN (N * K_PAGE)

static struct umem_cachestat cache(int fd)
{
	struct umem_cachestat stat = { 0 };

	T_OK(umem_filecache_stat(fd, 0, LEN, &stat));
	return stat;
}

static uint64_t written_bytes(pid_t pid)
{
	unsigned long long n = 0;
	char path[40], line[80];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		sscanf(line, "write_bytes: %llu", &n);
	fclose(file);
	return n;
}

static void show(const char *what, const struct k_peer *peer, char *at, int fd)
{
	struct umem_cachestat stat = cache(fd);

	k_fact("%s: %zu of %d present, %zu swapped; page cache %llu, dirty %llu", what,
		k_here(peer->pm, at, LEN), N, k_out(peer->pm, at, LEN),
		(unsigned long long)stat.nr_cache, (unsigned long long)stat.nr_dirty);
}

static void out(const struct k_peer *peer, char *at)
{
	for (int i = 0; i < 3; i++) {
		umem_lru_drain();
		T_CHECK(k_peer_advise(peer, at, LEN, MADV_PAGEOUT) == (long)LEN);
	}
}

static int clean_file(void)
{
	int fd = k_file(N);

	T_SYS(fsync(fd));
	return fd;
}

static void clean(int flags, const char *what)
{
	int fd = clean_file();
	char *at = k_map(LEN, flags, fd);
	struct k_faults before;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_read, at, LEN, 0);
	T_CHECK(k_here(peer.pm, at, LEN) == N && cache(fd).nr_cache == N);
	out(&peer, at);
	show(what, &peer, at, fd);
	T_CHECK(k_here(peer.pm, at, LEN) == 0 && k_out(peer.pm, at, LEN) == 0);
	T_CHECK(cache(fd).nr_cache == 0);
	before = k_faults(peer.pid);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 0);
	T_CHECK(k_faults(peer.pid).major > before.major);
	k_peer_end(&peer);
	munmap(at, LEN);
	close(fd);
}

static void dirty(void)
{
	int fd = clean_file();
	char *at = k_map(LEN, MAP_SHARED, fd);
	uint64_t wrote, wrote_here;
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_fill, at, LEN, 1);
	wrote = written_bytes(peer.pid);
	wrote_here = written_bytes(getpid());
	out(&peer, at);
	show("shared, dirty", &peer, at, fd);
	k_fact("... written by the process %llu, by the caller %llu bytes",
		(unsigned long long)(written_bytes(peer.pid) - wrote),
		(unsigned long long)(written_bytes(getpid()) - wrote_here));
	T_CHECK(k_here(peer.pm, at, LEN) == 0);
	T_CHECK(cache(fd).nr_cache == N);

	/* Written back meanwhile, it is still out of reach, as nobody maps it. */
	T_SYS(fsync(fd));
	out(&peer, at);
	show("... written back, and advised again", &peer, at, fd);
	T_CHECK(cache(fd).nr_dirty == 0);
	k_peer_do(&peer, k_read, at, LEN, 0);
	out(&peer, at);
	show("... read, and advised again", &peer, at, fd);
	T_CHECK(cache(fd).nr_cache == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 1) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
	close(fd);
}

static void copies(void)
{
	int fd = clean_file();
	char *at = k_map(LEN, MAP_PRIVATE, fd);
	struct k_peer peer;

	k_peer_start(&peer);
	k_peer_do(&peer, k_read, at, LEN, 0);
	k_peer_do(&peer, k_fill, at, 4 * K_PAGE, 1);
	out(&peer, at);
	show("private, 4 written", &peer, at, fd);
	T_CHECK(k_out(peer.pm, at, LEN) == 4 && k_out(peer.pm, at, 4 * K_PAGE) == 4);
	T_CHECK(k_here(peer.pm, at, LEN) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at, 4 * K_PAGE, 1) == 0);
	T_CHECK(k_peer_do(&peer, k_wrong, at, LEN, 0) == 4);
	k_peer_end(&peer);
	munmap(at, LEN);
	close(fd);
}

static long be_nobody(char *at, size_t len, long unused)
{
	(void)at;
	(void)len;
	(void)unused;
	T_SYS(setresuid(65534, 65534, 65534));
	return prctl(PR_SET_DUMPABLE, 1);
}

/* A file of root, mode 0644, and a process that may only read it. */
static void not_ours(void)
{
	int fd = clean_file();
	char *at = k_map(LEN, MAP_PRIVATE, fd);
	struct k_peer peer;

	T_SYS(fchmod(fd, 0644));
	k_peer_start(&peer);
	k_peer_do(&peer, be_nobody, NULL, 0, 0);
	k_peer_do(&peer, k_read, at, LEN, 0);
	k_peer_do(&peer, k_fill, at, 4 * K_PAGE, 1);
	umem_lru_drain();
	T_CHECK(k_peer_do(&peer, k_advise, at, LEN, MADV_PAGEOUT) == 0);
	show("private, 4 written, advised by who may not write the file", &peer, at, fd);
	T_CHECK(k_here(peer.pm, at + 4 * K_PAGE, LEN - 4 * K_PAGE) == N - 4);
	T_CHECK(k_out(peer.pm, at, 4 * K_PAGE) == 4);
	/* It is the caller's right that counts, not the target's. */
	out(&peer, at);
	show("... advised by root", &peer, at, fd);
	T_CHECK(k_here(peer.pm, at, LEN) == 0);
	k_peer_end(&peer);
	munmap(at, LEN);
	close(fd);
}

int main(void)
{
	struct umem_cachestat stat;
	int fd = clean_file();

	if (umem_filecache_stat(fd, 0, LEN, &stat) == -ENOSYS)
		T_SKIP("no cachestat");
	if (geteuid() != 0)
		T_SKIP("process_madvise of another process needs root");
	close(fd);
	k_zram_swap(64 << 20);
	clean(MAP_SHARED, "shared, clean");
	clean(MAP_PRIVATE, "private, clean");
	dirty();
	copies();
	not_ours();
	return 0;
}
