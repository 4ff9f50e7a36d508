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

/* Counters of the whole machine, and areas that others use, too: a round must be quiet. */
#define ROUNDS 30

struct moved {
	uint64_t swapped; /* written or read */
	uint64_t zeros;
	uint64_t reclaim; /* everything that is the kernel's own */
	uint64_t refaults;
	uint64_t major; /* ours alone */
};

static const char *failed;

#define HOLDS(cond)                     \
	do {                            \
		if (!(cond)) {          \
			failed = #cond; \
			return false;   \
		}                       \
	} while (0)

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

static struct moved moved_since(const struct umem_vmstat *before, uint64_t major, bool out)
{
	struct umem_vmstat now = counters();

	return (struct moved){
		.swapped = out ? now.pswpout - before->pswpout : now.pswpin - before->pswpin,
		.zeros = out ? now.swpout_zero - before->swpout_zero :
			now.swpin_zero - before->swpin_zero,
		.reclaim = kernels_own(&now) - kernels_own(before),
		.refaults = now.workingset_refault_anon - before->workingset_refault_anon,
		.major = our_major_faults() - major,
	};
}

static void say(const char *what, const struct moved *moved)
{
	k_fact("%s: swap I/O %llu, zeros %llu, kernel's own reclaim %llu, refaults %llu, our "
	       "major faults %llu", what, (unsigned long long)moved->swapped,
		(unsigned long long)moved->zeros, (unsigned long long)moved->reclaim,
		(unsigned long long)moved->refaults, (unsigned long long)moved->major);
}

/* There and back, of pages with a pattern or of zeros. */
static void go(char *at, bool zeros, struct moved *ret_out, struct moved *ret_back)
{
	struct umem_vmstat before;
	uint64_t major;

	for (size_t i = 0; i < N; i++) {
		if (zeros)
			memset(at + i * K_PAGE, 0, K_PAGE);
		else
			t_fill_page(at + i * K_PAGE, i, 0);
	}
	before = counters();
	major = our_major_faults();
	T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
	*ret_out = moved_since(&before, major, true);
	before = counters();
	major = our_major_faults();
	for (size_t i = 0; i < N; i++)
		(void)*(volatile char *)(at + i * K_PAGE);
	*ret_back = moved_since(&before, major, false);
}

static bool patterns(char *at, uint32_t present, struct moved *out, struct moved *back)
{
	go(at, false, out, back);
	HOLDS(out->swapped >= MOST && out->reclaim < FEW);
	HOLDS(back->swapped >= MOST && back->major >= MOST && back->reclaim < FEW);
	HOLDS(back->refaults >= MOST || !(present & 1u << UMEM_VMSTAT_WORKINGSET_REFAULT_ANON));
	return true;
}

/* Zeros go nowhere, and come back by a major fault all the same. */
static bool zeros(char *at, uint32_t present, struct moved *out, struct moved *back)
{
	go(at, true, out, back);
	HOLDS(out->reclaim < FEW && back->reclaim < FEW && back->major >= MOST);
	if (!(present & 1u << UMEM_VMSTAT_SWPOUT_ZERO))
		return true;
	HOLDS(out->zeros >= MOST && out->swapped < FEW);
	HOLDS(back->zeros >= MOST && back->swapped < FEW);
	return true;
}

static void until_it_holds(const char *what, char *at,
	bool (*round)(char *, uint32_t, struct moved *, struct moved *))
{
	struct umem_vmstat stat = counters();
	struct moved out, back;
	int n = 1;

	while (!round(at, stat.present, &out, &back) && n < ROUNDS)
		n++;
	say(what, &out);
	say("    and back", &back);
	T_CHECK(n < ROUNDS, "(%s)", failed);
}

int main(void)
{
	char *at;

	k_zram_swap(4 * N * K_PAGE);
	at = k_anon(N * K_PAGE);
	until_it_holds("patterns out", at, patterns);
	until_it_holds("zeros out", at, zeros);
	return 0;
}
