// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The feature probes that need something from the machine: without free huge
 * pages they cannot tell, with some they can; swap is found when there is any.
 */
#include <unistd.h>

#include "lib/kern/feat.h"
#include "tests/kernel/scratch.h"

#define HUGETLB                                               \
	(UMEM_FEAT_BIT(UMEM_FEAT_HUGETLB_DISCARD_UNSEEN) |    \
		UMEM_FEAT_BIT(UMEM_FEAT_HUGETLB_HOLES_UNSEEN))

static void print(const struct umem_feats *feats)
{
	for (int i = 0; i < UMEM_N_FEATS; i++) {
		uint64_t bit = UMEM_FEAT_BIT(i);

		if (feats->probed & bit)
			printf("%s %s: %s\n", umem_feat_info((enum umem_feat)i)->name,
				feats->unknown & bit ? "unknown" :
				feats->found & bit   ? "found" :
						       "missing",
				feats->detail[i]);
	}
}

int main(void)
{
	struct umem_feats feats;
	uint64_t free_pages = 0;
	int uffd = k_uffd(K_TRACK), pm = k_pagemap();
	char *at;

	k_read_u64("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", &free_pages);
	if (free_pages == 0) {
		T_OK(umem_feats_probe_some(HUGETLB, &feats));
		print(&feats);
		T_CHECK(feats.unknown == HUGETLB);
		T_CHECK(umem_feats_has(&feats, UMEM_FEAT_HUGETLB_DISCARD_UNSEEN));
	}
	k_hugepages(2);
	T_OK(umem_feats_probe_some(HUGETLB, &feats));
	print(&feats);
	T_CHECK(feats.unknown == 0);

	/* The answer agrees with what happens. */
	at = k_map(2 * K_HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	at[0] = 1;
	at[K_HUGE] = 1;
	T_OK(k_register(uffd, at, 2 * K_HUGE));
	k_collect(pm, at, 2 * K_HUGE);
	T_SYS(madvise(at, K_HUGE, MADV_DONTNEED));
	T_CHECK((k_written(pm, at, 2 * K_HUGE) == 0) ==
		umem_feats_has(&feats, UMEM_FEAT_HUGETLB_DISCARD_UNSEEN));
	munmap(at, 2 * K_HUGE);

	k_zram_swap(16 << 20);
	T_OK(umem_feats_probe_some(UMEM_FEAT_BIT(UMEM_FEAT_SWAP), &feats));
	print(&feats);
	T_CHECK(umem_feats_has(&feats, UMEM_FEAT_SWAP));
	return 0;
}
