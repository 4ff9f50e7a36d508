// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Another process, which runs functions of the test on memory of its own.
 *
 * Theory of operation: orders and answers go over a socket pair. Functions are
 * at the same address in all, since all are forks of one program. The pair for
 * the child that a peer may be told to fork is made before the peer is, so that
 * the test has the other end.
 */
#include "tests/kernel/peer.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "lib/kern/pidfd.h"

struct order {
	k_act *act;
	char *at;
	size_t len;
	long arg;
};

static void serve(int fd) __attribute__((noreturn));

static void serve(int fd)
{
	struct order order;

	while (read(fd, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
		long answer = order.act(order.at, order.len, order.arg);

		T_CHECK(write(fd, &answer, sizeof(answer)) == (ssize_t)sizeof(answer));
	}
	_exit(0);
}

static void open_process(struct k_peer *peer)
{
	peer->pidfd = -1;
	peer->pm = -1;
	T_OK(umem_pidfd_open(peer->pid, &peer->pidfd));
	T_OK(umem_pagemap_open(peer->pid, &peer->pm));
}

void k_peer_start(struct k_peer *ret_peer)
{
	struct k_peer peer = { 0 };
	int fds[2];

	T_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
	T_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, peer.spare_fds));
	peer.pid = t_fork();
	if (peer.pid == 0) {
		close(fds[0]);
		serve(fds[1]);
	}
	close(fds[1]);
	peer.order_fd = fds[0];
	open_process(&peer);
	*ret_peer = peer;
}

static long fork_and_serve(char *at, size_t fd, long parent)
{
	pid_t pid;

	(void)at;
	/* So that it is no zombie in a peer that never waits. */
	signal(SIGCHLD, SIG_IGN);
	pid = (pid_t)T_SYS(fork());
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != (pid_t)parent)
		_exit(1);
	serve((int)fd);
}

void k_peer_fork(struct k_peer *peer, struct k_peer *ret_child)
{
	struct k_peer child = { .spare_fds = { -1, -1 } };

	T_CHECK(peer->spare_fds[0] >= 0, "forked before");
	child.pid = (pid_t)k_peer_do(peer, fork_and_serve, NULL, (size_t)peer->spare_fds[1],
		peer->pid);
	child.order_fd = peer->spare_fds[0];
	close(peer->spare_fds[1]);
	peer->spare_fds[0] = -1;
	open_process(&child);
	*ret_child = child;
}

long k_peer_do(const struct k_peer *peer, k_act *act, char *at, size_t len, long arg)
{
	struct order order = { act, at, len, arg };
	long answer = 0;

	T_SYS(send(peer->order_fd, &order, sizeof(order), MSG_NOSIGNAL));
	T_CHECK(read(peer->order_fd, &answer, sizeof(answer)) == (ssize_t)sizeof(answer),
		"process %d has ended", (int)peer->pid);
	return answer;
}

void k_peer_end(struct k_peer *peer)
{
	bool ours = peer->spare_fds[1] >= 0;

	if (ours)
		t_end(peer->pid);
	else
		kill(peer->pid, SIGKILL);
	T_UNTIL(10, umem_pidfd_exited(peer->pidfd));
	close(peer->pidfd);
	close(peer->pm);
	close(peer->order_fd);
}

long k_fill(char *at, size_t len, long gen)
{
	for (size_t i = 0; i < len / K_PAGE; i++)
		t_fill_page(at + i * K_PAGE, i, (uint64_t)gen);
	return 0;
}

long k_wrong(char *at, size_t len, long gen)
{
	long n = 0;

	for (size_t i = 0; i < len / K_PAGE; i++) {
		uint8_t *page = (uint8_t *)at + i * K_PAGE;

		n += page[0] != t_pattern(i, 0, (uint64_t)gen) ||
			page[K_PAGE - 1] != t_pattern(i, K_PAGE - 1, (uint64_t)gen);
	}
	return n;
}

long k_fill_random(char *at, size_t len, long seed)
{
	uint64_t state = (uint64_t)seed;

	for (size_t i = 0; i < len; i += 8)
		*(uint64_t *)(void *)(at + i) = t_rand(&state);
	return 0;
}

long k_wrong_random(char *at, size_t len, long seed)
{
	uint64_t state = (uint64_t)seed;
	long n = 0;

	for (size_t i = 0; i < len; i += 8)
		n += *(uint64_t *)(void *)(at + i) != t_rand(&state);
	return n;
}

long k_rss_kb(char *at, size_t len, long unused)
{
	(void)len;
	(void)unused;
	return (long)k_smaps_kb(at, "Rss");
}

long k_swap_kb(char *at, size_t len, long unused)
{
	(void)len;
	(void)unused;
	return (long)k_smaps_kb(at, "Swap");
}

long k_read(char *at, size_t len, long unused)
{
	(void)unused;
	for (size_t i = 0; i < len; i += K_PAGE)
		(void)*(volatile char *)(at + i);
	return 0;
}

long k_write(char *at, size_t len, long value)
{
	k_touch(at, len, (char)value);
	return 0;
}

long k_advise(char *at, size_t len, long advice)
{
	return madvise(at, len, (int)advice) < 0 ? -errno : 0;
}

long k_go_to_cpu(char *at, size_t len, long cpu)
{
	cpu_set_t set;

	(void)at;
	(void)len;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

long k_peer_advise(const struct k_peer *peer, const void *at, size_t len, int advice)
{
	struct iovec iov = { (void *)(uintptr_t)at, len };
	uint64_t bytes = 0;
	int err = umem_pidfd_madvise(peer->pidfd, &iov, 1, advice, &bytes);

	if (err == -ENOSYS || err == -EPERM)
		T_SKIP("no process_madvise: %s", strerror(-err));
	return err ? err : (long)bytes;
}

void k_peer_out(const struct k_peer *peer, const void *at, size_t len)
{
	uint64_t end = t_now_ns() + 10000000000u;

	do {
		umem_lru_drain();
		T_CHECK(k_peer_advise(peer, at, len, MADV_PAGEOUT) == (long)len);
		T_CHECK(t_now_ns() < end, "%zu pages stay", k_here(peer->pm, at, len));
	} while (k_here(peer->pm, at, len) > 0);
}

void k_peer_out_file(const struct k_peer *peer, const void *at, size_t len, int fd)
{
	uint64_t end = t_now_ns() + 10000000000u;

	for (;;) {
		k_peer_out(peer, at, len);
		if (k_cached(fd, len) == 0)
			return;
		T_CHECK(t_now_ns() < end, "%llu pages stay",
			(unsigned long long)k_cached(fd, len));
		/* Unmapped, but kept by somebody's passing reference: once more. */
		k_peer_do(peer, k_read, (char *)(uintptr_t)at, len, 0);
	}
}

static struct umem_cachestat cachestat(int fd, size_t len)
{
	struct umem_cachestat stat = { 0 };
	int err = umem_filecache_stat(fd, 0, len, &stat);

	if (err == -ENOSYS)
		T_SKIP("no cachestat");
	T_OK(err);
	return stat;
}

uint64_t k_cached(int fd, size_t len)
{
	return cachestat(fd, len).nr_cache;
}

uint64_t k_evicted(int fd, size_t len)
{
	return cachestat(fd, len).nr_evicted;
}

size_t k_in_core(int fd, size_t len)
{
	char *at = k_map(len, MAP_SHARED | MAP_NORESERVE, fd);
	unsigned char *in = malloc(len / K_PAGE);
	size_t n = 0;

	T_CHECK(in != NULL);
	T_SYS(mincore(at, len, in));
	for (size_t i = 0; i < len / K_PAGE; i++)
		n += in[i] & 1;
	free(in);
	munmap(at, len);
	return n;
}

size_t k_out(int pm, const void *at, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += K_PAGE) {
		uint64_t word = k_word(pm, (const char *)at + i);

		n += word & UMEM_PM_SWAPPED && UMEM_PM_SWAP_TYPE(word) != UMEM_PM_MARKER_TYPE;
	}
	return n;
}

size_t k_here(int pm, const void *at, size_t len)
{
	return k_count(pm, at, len, PAGE_IS_PRESENT);
}

struct k_faults k_faults(pid_t pid)
{
	struct k_faults faults = { 0 };
	unsigned long long minor, major;
	char path[40], line[1024] = "", *at;
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file && fgets(line, sizeof(line), file), "(%s)", path);
	fclose(file);
	at = strrchr(line, ')');
	T_CHECK(at != NULL);
	n = sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %llu %*u %llu", &minor, &major);
	T_CHECK(n == 2);
	faults.minor = minor;
	faults.major = major;
	return faults;
}

uint64_t k_vmstat(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "re");
	unsigned long long value = 0;
	char key[64];

	T_CHECK(file != NULL);
	while (fscanf(file, "%63s %llu", key, &value) == 2 && strcmp(key, name) != 0)
		value = 0;
	fclose(file);
	return value;
}

static uint64_t of_page(const char *path, int pm, const void *at)
{
	uint64_t word = k_word(pm, at), value = 0;
	uint64_t pfn = word & ((1ull << 55) - 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		T_SKIP("no %s: %s", path, strerror(errno));
	T_CHECK(word & UMEM_PM_PRESENT);
	if (!pfn)
		T_SKIP("frame numbers need CAP_SYS_ADMIN");
	T_CHECK(pread(fd, &value, 8, (off_t)(pfn * 8)) == 8);
	close(fd);
	return value;
}

bool k_page_flag(int pm, const void *at, unsigned flag)
{
	return of_page("/proc/kpageflags", pm, at) >> flag & 1;
}

uint64_t k_map_count(int pm, const void *at)
{
	return of_page("/proc/kpagecount", pm, at);
}
