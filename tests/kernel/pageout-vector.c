// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What process_madvise(MADV_PAGEOUT) returns, and what it did: bytes of whole
 * ranges of the vector up to the first that failed in any part, or the error if
 * that is the first. A range with a gap is done on both sides of it and is an
 * error; one with memory that cannot be put out is done up to that memory. The
 * count says what was looked at, not what went out.
 */
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/kern/pidfd.h"
#include "tests/kernel/peer.h"

#define N   16
#define LEN (N * K_PAGE)

static long advise(const struct k_peer *peer, const struct iovec *iov, size_t n)
{
	uint64_t bytes = 0;
	int err;

	umem_lru_drain();
	err = umem_pidfd_madvise(peer->pidfd, iov, n, MADV_PAGEOUT, &bytes);
	return err ? err : (long)bytes;
}

static long one(const struct k_peer *peer, const char *at, size_t len)
{
	struct iovec iov = { (void *)(uintptr_t)at, len };

	return advise(peer, &iov, 1);
}

static void show(const char *what, long got, const struct k_peer *peer, char *at, size_t len)
{
	k_fact("%s: %ld%s%s; %zu pages out, %zu present", what, got, got < 0 ? " " : "",
		got < 0 ? strerror((int)-got) : "", k_out(peer->pm, at, len),
		k_here(peer->pm, at, len));
}

static long unmap(char *at, size_t len, long unused)
{
	(void)unused;
	return munmap(at, len);
}

static long lock(char *at, size_t len, long unused)
{
	(void)unused;
	return mlock(at, len) < 0 ? -errno : 0;
}

static long map_huge(char *at, size_t len, long unused)
{
	void *got = mmap(at, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0);

	(void)unused;
	if (got == MAP_FAILED)
		return -errno;
	k_touch(at, len, 1);
	return 0;
}

static void vectors(const struct k_peer *peer, char *at)
{
	struct iovec iov[3] = { { at, 4 * K_PAGE }, { at + 6 * K_PAGE, 2 * K_PAGE },
		{ at + 12 * K_PAGE, K_PAGE } };
	long got;

	k_peer_do(peer, k_fill, at, LEN, 0);
	got = advise(peer, iov, 3);
	show("three ranges", got, peer, at, LEN);
	T_CHECK(got == 7 * (long)K_PAGE && k_out(peer->pm, at, LEN) == 7);
	got = advise(peer, iov, 3);
	T_CHECK(got == 7 * (long)K_PAGE); /* out already: counted as well */
	T_CHECK(k_peer_do(peer, k_wrong, at, LEN, 0) == 0);

	iov[1].iov_len = 0;
	got = advise(peer, iov, 3);
	T_CHECK(got == 5 * (long)K_PAGE && k_out(peer->pm, at, LEN) == 5);
	T_CHECK(advise(peer, iov + 1, 1) == 0); /* an empty one alone */
	T_CHECK(advise(peer, iov, 0) == 0);
	/* Part of a page is all of it, but has to begin at its start. */
	T_CHECK(one(peer, at + 8 * K_PAGE, 5) == 5);
	T_CHECK(k_out(peer->pm, at + 8 * K_PAGE, K_PAGE) == 1);
	T_CHECK(one(peer, at + 9 * K_PAGE + 8, K_PAGE) == -EINVAL);
	iov[1] = (struct iovec){ at + 9 * K_PAGE + 8, K_PAGE };
	T_CHECK(advise(peer, iov, 3) == 4 * (long)K_PAGE); /* up to the bad one */
}

static void limits(const struct k_peer *peer, char *at, char *large)
{
	static struct iovec iov[1025];
	long got;

	for (int i = 0; i < 1025; i++)
		iov[i] = (struct iovec){ at + (size_t)(i % N) * K_PAGE, K_PAGE };
	T_CHECK(advise(peer, iov, 1024) == 1024 * (long)K_PAGE);
	got = advise(peer, iov, 1025);
	k_fact("1025 ranges: %s", got < 0 ? strerror((int)-got) : "done");
	T_CHECK(got == -EINVAL);
	got = one(peer, large, 4ul << 30);
	k_fact("a range of 4 GiB: %#lx", (unsigned long)got);
	T_CHECK(got == 0x7ffff000); /* MAX_RW_COUNT, in silence */
}

static void gaps(const struct k_peer *peer, char *at)
{
	struct iovec iov[3] = { { at, 2 * K_PAGE }, { at + 4 * K_PAGE, 6 * K_PAGE },
		{ at + 12 * K_PAGE, 4 * K_PAGE } };
	long got;

	k_peer_do(peer, k_fill, at, LEN, 0);
	T_CHECK(k_peer_do(peer, unmap, at + 6 * K_PAGE, K_PAGE, 0) == 0);
	got = one(peer, at + 4 * K_PAGE, 6 * K_PAGE);
	show("a gap in the middle of a range of 6", got, peer, at + 4 * K_PAGE, 6 * K_PAGE);
	T_CHECK(got == -ENOMEM);
	T_CHECK(k_out(peer->pm, at + 4 * K_PAGE, 6 * K_PAGE) == 5); /* done on both sides */
	k_peer_do(peer, k_read, at + 7 * K_PAGE, 3 * K_PAGE, 0);
	k_peer_do(peer, k_read, at + 4 * K_PAGE, 2 * K_PAGE, 0);

	got = advise(peer, iov, 3);
	show("... that range being the second of three, 2 + 6 + 4", got, peer, at, LEN);
	T_CHECK(got == 2 * (long)K_PAGE);
	T_CHECK(k_out(peer->pm, at, LEN) == 2 + 5); /* the third is not looked at */
	T_CHECK(k_here(peer->pm, at + 12 * K_PAGE, 4 * K_PAGE) == 4);
	T_CHECK(one(peer, at + 6 * K_PAGE, K_PAGE) == -ENOMEM);
}

/* @at + 6 pages is something else: locked, huge, the kernel's. */
static void refusal(const char *what, const struct k_peer *peer, char *at, size_t head,
	size_t len, size_t tail)
{
	struct iovec iov[3] = { { at - head, head }, { at, len }, { at + len, tail } };
	long got;

	k_peer_do(peer, k_read, at - head, head, 0);
	k_peer_do(peer, k_read, at + len, tail, 0);
	got = one(peer, at - head, head + len + tail);
	show(what, got, peer, at - head, head + len + tail);
	T_CHECK(got == -EINVAL);
	T_CHECK(k_out(peer->pm, at - head, head) == head / K_PAGE); /* done up to it */
	T_CHECK(k_here(peer->pm, at + len, tail) == tail / K_PAGE); /* and no further */
	T_CHECK(advise(peer, iov, 3) == (long)head);
	T_CHECK(advise(peer, iov + 1, 2) == -EINVAL);
	T_CHECK(k_here(peer->pm, at + len, tail) == tail / K_PAGE);
	T_CHECK(advise(peer, iov + 2, 1) == (long)tail);
	T_CHECK(k_out(peer->pm, at + len, tail) == tail / K_PAGE);
}

static void kernels_own(const struct k_peer *peer)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned long long start, end;
	char line[256];
	long got;

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "[vvar]") || sscanf(line, "%llx-%llx", &start, &end) != 2)
			continue;
		got = one(peer, (char *)(uintptr_t)start, end - start);
		k_fact("[vvar], a PFN map: %s", got < 0 ? strerror((int)-got) : "done");
		T_CHECK(got == -EINVAL);
	}
	fclose(file);
}

static long become_nobody(char *at, size_t len, long unused)
{
	(void)at;
	(void)len;
	(void)unused;
	T_SYS(setresuid(65534, 65534, 65534));
	return prctl(PR_SET_DUMPABLE, 1);
}

/* As a user, of a process of another, and of one's own: that takes a capability. */
static void rights(struct k_peer *roots, char *at)
{
	struct k_peer own;
	pid_t pid;
	long got;

	k_peer_start(&own);
	k_peer_do(&own, become_nobody, NULL, 0, 0);
	pid = t_fork();
	if (pid == 0) {
		become_nobody(NULL, 0, 0);
		T_CHECK(one(roots, at, K_PAGE) == -EACCES);
		T_CHECK(one(&own, at, K_PAGE) == -EPERM);
		_exit(0);
	}
	T_CHECK(t_wait(pid) == 0);
	T_CHECK(one(&own, at, K_PAGE) == (long)K_PAGE);
	t_end(roots->pid);
	got = one(roots, at, K_PAGE);
	k_fact("a process that has ended: %s", got < 0 ? strerror((int)-got) : "done");
	T_CHECK(got == -ESRCH);
}

int main(void)
{
	char *at = k_anon(LEN), *locked = k_anon(LEN), *mixed = k_anon(3 * K_HUGE);
	char *large = k_map(4ul << 30, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	char *huge = (char *)(((uintptr_t)mixed + K_HUGE) & ~(K_HUGE - 1));
	struct k_peer peer;

	if (geteuid() != 0)
		T_SKIP("process_madvise of another process needs root");
	k_zram_swap(64 << 20);
	k_peer_start(&peer);
	vectors(&peer, at);
	limits(&peer, at, large);
	gaps(&peer, at);
	k_peer_do(&peer, k_fill, locked, LEN, 0);
	T_CHECK(k_peer_do(&peer, lock, locked + 6 * K_PAGE, K_PAGE, 0) == 0);
	refusal("locked memory in the middle of a range, 6 + 1 + 9", &peer, locked + 6 * K_PAGE,
		6 * K_PAGE, K_PAGE, 9 * K_PAGE);
	kernels_own(&peer);
	k_hugepages(1);
	k_peer_do(&peer, k_fill, huge - 4 * K_PAGE, 4 * K_PAGE, 0);
	k_peer_do(&peer, k_fill, huge + K_HUGE, 4 * K_PAGE, 0);
	T_CHECK(k_peer_do(&peer, map_huge, huge, K_HUGE, 0) == 0);
	refusal("a page of hugetlb in the middle of a range, 4 + 512 + 4", &peer, huge, 4 * K_PAGE,
		K_HUGE, 4 * K_PAGE);
	rights(&peer, at);
	return 0;
}
