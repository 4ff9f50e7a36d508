// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a page-out moves in /proc/vmstat: pages written to swap, or zeros that need not
 * be; never what tells that the kernel itself reclaims (pgscan_*, pgsteal_*). So a
 * reclaimer's own work is not mistaken for the kernel's. And what the way back moves.
 */
#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/procstat.h"
#include "lib/kern/vmstat.h"
#include "tests/kernel/scratch.h"

#define N    8192ul
#define MOST (N * 9 / 10)
#define FEW  (N / 10)

/* Counters of the whole machine: others can only add, so the least of some rounds counts. */
#define ROUNDS 10

struct moved {
	uint64_t swapped; /* written or read */
	uint64_t zeros;
	uint64_t reclaim; /* everything that is the kernel's own */
	uint64_t refaults;
	uint64_t major; /* ours alone */
};

static struct umem_vmstat counters(void)
{
	struct umem_vmstat stat;

	T_OK(umem_vmstat_read(NULL, &stat));
	return stat;
}

static uint64_t kernels_own(const struct umem_vmstat *stat)
{
	return stat->pgscan_kswapd + stat->pgscan_direct + stat->pgscan_proactive +
		stat->pgsteal_kswapd + stat->pgsteal_direct + stat->pgsteal_proactive +
		stat->pgscan_anon + stat->pgscan_file + stat->pgsteal_anon + stat->pgsteal_file;
}

static uint64_t our_major_faults(void)
{
	UMEM_FD int fd = (int)T_SYS(open("/proc/self", O_PATH | O_CLOEXEC));
	struct umem_procstat stat;

	T_OK(umem_procstat_read(fd, &stat));
	return stat.maj_flt;
}

static void least(struct moved *least, const struct umem_vmstat *before,
	const struct umem_vmstat *now, bool out, uint64_t major)
{
	struct moved moved = {
		.swapped = out ? now->pswpout - before->pswpout : now->pswpin - before->pswpin,
		.zeros = out ? now->swpout_zero - before->swpout_zero :
			now->swpin_zero - before->swpin_zero,
		.reclaim = kernels_own(now) - kernels_own(before),
		.refaults = now->workingset_refault_anon - before->workingset_refault_anon,
		.major = major,
	};

	least->swapped = umem_min_u64(least->swapped, moved.swapped);
	least->zeros = umem_min_u64(least->zeros, moved.zeros);
	least->reclaim = umem_min_u64(least->reclaim, moved.reclaim);
	least->refaults = umem_min_u64(least->refaults, moved.refaults);
	least->major = umem_min_u64(least->major, moved.major);
}

static void say(const char *what, const struct moved *moved)
{
	k_fact("%s: swap I/O %llu, zeros %llu, kernel's own reclaim %llu, refaults %llu, our "
	       "major faults %llu", what, (unsigned long long)moved->swapped,
		(unsigned long long)moved->zeros, (unsigned long long)moved->reclaim,
		(unsigned long long)moved->refaults, (unsigned long long)moved->major);
}

static const struct moved most = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };

/* There and back, of pages with a pattern or of zeros. */
static void rounds(char *at, bool zeros, struct moved *ret_out, struct moved *ret_back)
{
	*ret_out = *ret_back = most;
	for (int round = 0; round < ROUNDS; round++) {
		struct umem_vmstat before, now;
		uint64_t major;

		for (size_t i = 0; i < N; i++) {
			if (zeros)
				memset(at + i * K_PAGE, 0, K_PAGE);
			else
				t_fill_page(at + i * K_PAGE, i, (uint64_t)round);
		}
		before = counters();
		major = our_major_faults();
		T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
		now = counters();
		least(ret_out, &before, &now, true, our_major_faults() - major);

		before = counters();
		major = our_major_faults();
		for (size_t i = 0; i < N; i++)
			(void)*(volatile char *)(at + i * K_PAGE);
		now = counters();
		least(ret_back, &before, &now, false, our_major_faults() - major);
	}
}

int main(void)
{
	struct umem_vmstat stat = counters();
	struct moved out, back;
	char *at;

	k_zram_swap(2 * N * K_PAGE);
	at = k_anon(N * K_PAGE);
	rounds(at, false, &out, &back);
	say("page-out", &out);
	say("the way back", &back);
	T_CHECK(out.swapped >= MOST);
	T_CHECK(out.reclaim < FEW);
	T_CHECK(back.swapped >= MOST && back.major >= MOST && back.reclaim < FEW);
	if (stat.present & 1u << UMEM_VMSTAT_WORKINGSET_REFAULT_ANON)
		T_CHECK(back.refaults >= MOST);

	/* Zeros go nowhere, and come back by a major fault all the same. */
	rounds(at, true, &out, &back);
	say("page-out of zeros", &out);
	say("their way back", &back);
	T_CHECK(out.reclaim < FEW);
	if (stat.present & 1u << UMEM_VMSTAT_SWPOUT_ZERO) {
		T_CHECK(out.zeros >= MOST && out.swapped < FEW);
		T_CHECK(back.zeros >= MOST && back.swapped < FEW);
	}
	T_CHECK(back.major >= MOST);
	return 0;
}
