// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Ways to bring pages of another process back. MADV_WILLNEED reads them into the
 * swap cache: they are in memory, and page tables and cachestat say swapped still;
 * the touch that follows is a minor fault. process_vm_readv of a byte of each
 * page maps them, and its faults are counted for the reader, not the target.
 * Copies in a private mapping of a file are not read by the first.
 *
 * What was put out to a file is in the swap cache anyway, until something
 * reclaims it; here the emptying of a cgroup of the target's own does.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N    512
#define LEN  (N * K_PAGE)
#define SOME 64

static char group[512];

static void drop_group(void)
{
	if (group[0])
		rmdir(group);
}

/* Put @pid into a memory cgroup (version 1) of its own. Return: false without one. */
static bool make_group(pid_t pid)
{
	char line[256], own[256] = "", path[600], text[16];
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool found = false;

	T_CHECK(file != NULL);
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%*d:memory:%255s", own) == 1;
	fclose(file);
	snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/umem-test-%d", own, (int)getpid());
	if (!found || mkdir(path, 0755) < 0)
		return false;
	snprintf(group, sizeof(group), "%.500s", path);
	k_at_end(drop_group);
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	snprintf(text, sizeof(text), "%d", (int)pid);
	return k_write_text(path, text) == 0;
}

/* Reclaim all that the group has, the swap cache too. */
static int empty_group(void)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/memory.force_empty", group);
	return k_write_text(path, "0");
}

static struct k_faults since(pid_t pid, struct k_faults before)
{
	struct k_faults now = k_faults(pid);

	return (struct k_faults){ now.minor - before.minor, now.major - before.major };
}

/* @fd: shared memory, or -1. @empty: also out of the swap cache. */
static void put_out(const struct k_peer *peer, char *at, int fd, bool empty)
{
	if (fd >= 0)
		k_peer_out_file(peer, at, LEN, fd);
	else
		k_peer_out(peer, at, LEN);
	for (int i = 0; empty && i < 5; i++) {
		empty_group();
		if (fd >= 0 && k_in_core(fd, LEN) == 0)
			break;
	}
}

/* All is out by what can be asked, be it in the swap cache or not. */
static void check_out(const struct k_peer *peer, char *at, int fd)
{
	T_CHECK(k_here(peer->pm, at, LEN) == 0);
	if (fd >= 0)
		T_CHECK(k_evicted(fd, LEN) == N && k_cached(fd, LEN) == 0);
	else
		T_CHECK(k_out(peer->pm, at, LEN) == N);
}

static void touch(const char *what, const struct k_peer *peer, char *at, struct k_faults *ret)
{
	struct k_faults before = k_faults(peer->pid);
	uint64_t in = k_vmstat("pswpin"), start = t_now_ns();

	k_peer_do(peer, k_read, at, LEN, 0);
	start = t_now_ns() - start;
	*ret = since(peer->pid, before);
	T_CHECK(k_here(peer->pm, at, LEN) == N);
	k_fact("%s: %llu ns a page, pswpin +%llu, faults of the target: %llu minor, %llu major",
		what, (unsigned long long)start / N, (unsigned long long)(k_vmstat("pswpin") - in),
		(unsigned long long)ret->minor, (unsigned long long)ret->major);
}

/* A byte of each page, by us. */
static void peek(const char *what, const struct k_peer *peer, char *at, struct k_faults *ret)
{
	static struct iovec remote[N];
	static char bytes[N];
	struct iovec local = { bytes, N };
	struct k_faults ours = k_faults(getpid()), target = k_faults(peer->pid);
	uint64_t in = k_vmstat("pswpin"), start;

	for (size_t i = 0; i < N; i++)
		remote[i] = (struct iovec){ at + i * K_PAGE, 1 };
	start = t_now_ns();
	T_CHECK(process_vm_readv(peer->pid, &local, 1, remote, N, 0) == N);
	start = t_now_ns() - start;
	ours = since(getpid(), ours);
	target = since(peer->pid, target);
	for (size_t i = 0; i < N; i++)
		T_CHECK((uint8_t)bytes[i] == t_pattern(i, 0, 0));
	k_fact("%s: %llu ns a page, pswpin +%llu, major faults: reader %llu, target %llu", what,
		(unsigned long long)start / N, (unsigned long long)(k_vmstat("pswpin") - in),
		(unsigned long long)ours.major, (unsigned long long)target.major);
	T_CHECK(k_here(peer->pm, at, LEN) == N); /* mapped there, not only read */
	T_CHECK(target.major == 0 && target.minor == 0);
	*ret = ours;
}

static void will_need(const struct k_peer *peer, char *at, int fd)
{
	struct k_faults target = k_faults(peer->pid), ours = k_faults(getpid());
	uint64_t in = k_vmstat("pswpin"), start = t_now_ns();

	T_CHECK(k_peer_advise(peer, at, LEN, MADV_WILLNEED) == (long)LEN);
	start = t_now_ns() - start;
	k_fact("MADV_WILLNEED: %llu ns a page, pswpin +%llu", (unsigned long long)start / N,
		(unsigned long long)(k_vmstat("pswpin") - in));
	T_CHECK(since(peer->pid, target).major == 0 && since(getpid(), ours).major == 0);
	check_out(peer, at, fd);
	if (fd >= 0) /* from a disk it may still be under way */
		T_UNTIL(10, k_in_core(fd, LEN) == N);
}

/*
 * @disk: the area is a file, so that only @empty makes it go out of memory. A page
 * whose reading is under way is waited for, which counts as a major fault, too.
 */
static void run(const char *what, const struct k_peer *peer, char *at, int fd, bool disk)
{
	const uint64_t few = disk ? N / 10 : 0;
	struct k_faults faults;

	k_fact("%s", what);
	k_peer_do(peer, k_fill, at, LEN, 0);
	put_out(peer, at, fd, false);
	check_out(peer, at, fd);
	/* From zram's swap cache they are gone at once, but for some that were just in use. */
	if (fd >= 0)
		T_CHECK(disk ? k_in_core(fd, LEN) > 0 : k_in_core(fd, LEN) < SOME, "%zu, %s",
			k_in_core(fd, LEN), disk ? "disk" : "zram");
	touch("right after the page-out", peer, at, &faults);
	T_CHECK(disk ? faults.major <= few : faults.major > N - SOME);

	put_out(peer, at, fd, disk);
	touch("read by the target", peer, at, &faults);
	T_CHECK(faults.major > few);

	put_out(peer, at, fd, disk);
	will_need(peer, at, fd);
	touch("... then read by the target", peer, at, &faults);
	T_CHECK(faults.major <= few);

	put_out(peer, at, fd, disk);
	peek("process_vm_readv alone", peer, at, &faults);
	T_CHECK(faults.major > few);
	put_out(peer, at, fd, disk);
	will_need(peer, at, fd);
	peek("... process_vm_readv then", peer, at, &faults);
	T_CHECK(faults.major <= few);
	touch("... and the target", peer, at, &faults);
	T_CHECK(faults.major == 0 && faults.minor == 0);
	T_CHECK(k_peer_do(peer, k_wrong, at, LEN, 0) == 0);
}

/* Copies in a private mapping: the file is asked for its pages, nobody for copies. */
static void copies(const struct k_peer *peer, char *at)
{
	struct k_faults faults;

	k_fact("zram, copies in a private mapping of a memfd");
	k_peer_do(peer, k_fill, at, LEN, 0);
	k_peer_out(peer, at, LEN);
	T_CHECK(k_out(peer->pm, at, LEN) == N);
	T_CHECK(k_peer_advise(peer, at, LEN, MADV_WILLNEED) == (long)LEN);
	touch("MADV_WILLNEED, then read by the target", peer, at, &faults);
	T_CHECK(faults.major > N - SOME);
	k_peer_out(peer, at, LEN);
	peek("process_vm_readv", peer, at, &faults);
}

int main(void)
{
	int one_fd = k_memfd(LEN), two_fd = k_memfd(LEN);
	char *one = k_anon(LEN), *two = k_anon(LEN);
	char *one_shared = k_map(LEN, MAP_SHARED, one_fd), *private;
	char *two_shared = k_map(LEN, MAP_SHARED, two_fd);
	struct k_peer peer;

	private = k_map(LEN, MAP_PRIVATE, k_memfd(LEN));
	k_zram_swap(64 << 20);
	k_peer_start(&peer);
	run("zram, anonymous", &peer, one, -1, false);
	run("zram, shared", &peer, one_shared, one_fd, false);
	copies(&peer, private);
	k_swap_file(64 << 20);
	if (!make_group(peer.pid)) {
		printf("no memory cgroup to empty: swap files are left out\n");
		return 0;
	}
	run("swap file, anonymous", &peer, two, -1, true);
	run("swap file, shared", &peer, two_shared, two_fd, true);
	return 0;
}
