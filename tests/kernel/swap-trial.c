// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Seeing the next use of a page at next to no cost, with zram (lib/op/reclaim_trial.c):
 *
 *     MADV_PAGEOUT, MADV_WILLNEED   the page tables say swapped, the swap cache has it
 *     the target uses it            a minor fault, nothing is read
 *     nobody does                   a byte read from outside maps it again, by a minor
 *                                   fault of ours; MADV_PAGEOUT then frees it and
 *                                   writes nothing, since page and slot agree
 *
 * Of a page that the target wrote after its use, slot and page differ: that one is
 * written again, as any.
 */
#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/vmstat.h"
#include "tests/kernel/peer.h"

#define N    8192ul
#define HALF (N / 2)
#define FEW  (N / 50) /* what waits in lists of other processors, counters of others */

/* Counters of the whole machine: a round must be quiet. */
#define ROUNDS 20

static struct umem_vmstat counters(void)
{
	struct umem_vmstat stat;

	T_OK(umem_vmstat_read(NULL, &stat));
	return stat;
}

static uint64_t written(const struct umem_vmstat *before)
{
	struct umem_vmstat now = counters();

	return now.pswpout + now.swpout_zero - before->pswpout - before->swpout_zero;
}

static uint64_t cached(void)
{
	struct umem_meminfo info;

	T_OK(umem_meminfo_read(NULL, &info));
	return info.swap_cached_bytes / K_PAGE;
}

static void peek(const struct k_peer *peer, const char *at, size_t n)
{
	char path[40], byte;
	UMEM_FD int mem = -1;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)peer->pid);
	mem = (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
	for (size_t i = 0; i < n; i++)
		T_CHECK(pread(mem, &byte, 1, (off_t)(uintptr_t)at + (off_t)(i * K_PAGE)) == 1);
}

/* Return: was it as it should be? */
static bool round_is_right(const struct k_peer *peer, char *at)
{
	uint64_t before = cached(), again, majors, minors;
	struct k_faults faults;
	struct umem_vmstat stat;

	k_peer_do(peer, k_fill, at, N * K_PAGE, 1);
	k_peer_out(peer, at, N * K_PAGE);
	T_CHECK(k_peer_advise(peer, at, N * K_PAGE, MADV_WILLNEED) == (long)(N * K_PAGE));
	T_CHECK(k_out(peer->pm, at, N * K_PAGE) == N);
	before = cached() - before;

	/* Half of them are used: no fault waits. */
	faults = k_faults(peer->pid);
	stat = counters();
	k_peer_do(peer, k_read, at, HALF * K_PAGE, 0);
	majors = k_faults(peer->pid).major - faults.major;
	minors = k_faults(peer->pid).minor - faults.minor;
	T_CHECK(k_here(peer->pm, at, HALF * K_PAGE) == HALF);
	T_CHECK(k_out(peer->pm, at + HALF * K_PAGE, HALF * K_PAGE) == HALF);

	/* The others are dropped. */
	peek(peer, at + HALF * K_PAGE, HALF);
	T_CHECK(k_here(peer->pm, at, N * K_PAGE) == N);
	k_peer_out(peer, at + HALF * K_PAGE, HALF * K_PAGE);
	again = written(&stat);
	k_fact("of %lu pages %llu in the swap cache; %lu used: %llu minor, %llu major faults; "
		"%lu dropped: %llu written", N, (unsigned long long)before, HALF,
		(unsigned long long)minors, (unsigned long long)majors, HALF,
		(unsigned long long)again);
	T_CHECK(k_peer_do(peer, k_wrong, at, N * K_PAGE, 1) == 0);
	return before >= N - FEW && majors <= FEW && minors >= HALF - FEW && again <= FEW;
}

/* Used and written: what goes out is what was written last. */
static void written_again(const struct k_peer *peer, char *at)
{
	k_peer_do(peer, k_fill, at, N * K_PAGE, 2);
	k_peer_out(peer, at, N * K_PAGE);
	k_peer_advise(peer, at, N * K_PAGE, MADV_WILLNEED);
	k_peer_do(peer, k_fill, at, N * K_PAGE, 3);
	k_peer_out(peer, at, N * K_PAGE);
	T_CHECK(k_peer_do(peer, k_wrong, at, N * K_PAGE, 3) == 0);
}

int main(void)
{
	struct k_peer peer;
	bool right = false;
	char *at;

	k_zram_swap(N * K_PAGE * 4);
	at = k_anon(N * K_PAGE);
	k_peer_start(&peer);
	for (int i = 0; i < ROUNDS && !right; i++)
		right = round_is_right(&peer, at);
	T_CHECK(right, "no round of %d", ROUNDS);
	written_again(&peer, at);
	k_peer_end(&peer);
	return 0;
}
