/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this kernel can do, found out by doing it.
 *
 * Each feature is a row of a table: name, what it enables, how to get it, and
 * a probe. A probe does the thing on scratch memory of its own and looks at
 * the outcome; version numbers and feature bits are not believed. Some rows
 * are blind spots: changes of memory that this kernel does not report, for
 * which a tracker needs another source. Whatever was found can be overridden,
 * so that each fallback can be forced in a test.
 *
 * The caller owns struct umem_feats; nothing is cached. Probes run in the
 * calling process: they open, map and close what they need, and end one child
 * of their own, without a SIGCHLD. They do not block.
 */
#ifndef UMEM_KERN_FEAT_H
#define UMEM_KERN_FEAT_H

#include <stdbool.h>
#include <stdint.h>

/** enum umem_feat - a row; the order is that of the table in feat.c. */
enum umem_feat {
	/* what dirty tracking stands on */
	UMEM_FEAT_USERFAULTFD,
	UMEM_FEAT_UFFD_WP_ASYNC,
	UMEM_FEAT_UFFD_USER_MODE_ONLY,
	UMEM_FEAT_WP_HUGETLBFS_SHMEM,
	UMEM_FEAT_PAGEMAP_SCAN,
	UMEM_FEAT_SCAN_REPORTS_HOLES,
	UMEM_FEAT_SCAN_HOLES_ANY_MASK,
	UMEM_FEAT_SCAN_CHECK_WPASYNC,
	UMEM_FEAT_PROCMAP_QUERY,
	UMEM_FEAT_MAP_FILES,
	UMEM_FEAT_SWAP_TYPE_VISIBLE,
	UMEM_FEAT_SOFT_DIRTY,
	UMEM_FEAT_MTIME_ON_PUNCH,
	UMEM_FEAT_FINE_FILE_TIMES,
	/* blind spots */
	UMEM_FEAT_PINNED_UNSEEN,
	UMEM_FEAT_SHMEM_PUNCH_UNSEEN,
	UMEM_FEAT_FILE_PRIVATE_DISCARD_UNSEEN,
	UMEM_FEAT_HUGETLB_DISCARD_UNSEEN,
	UMEM_FEAT_HUGETLB_HOLES_UNSEEN,
	/* reaching a process */
	UMEM_FEAT_PIDFD_GETFD,
	UMEM_FEAT_PIDFD_THREAD,
	UMEM_FEAT_PTRACE_SEIZE,
	UMEM_FEAT_SUSPEND_SECCOMP,
	UMEM_FEAT_RSEQ_CONFIGURATION,
	/* faults */
	UMEM_FEAT_UFFD_EVENTS,
	UMEM_FEAT_UFFD_MINOR,
	UMEM_FEAT_UFFD_MOVE,
	UMEM_FEAT_UFFD_POISON,
	/* residency and reclaim */
	UMEM_FEAT_PROCESS_MADVISE,
	UMEM_FEAT_CACHESTAT,
	UMEM_FEAT_GUARD_REGIONS,
	UMEM_FEAT_THP,
	UMEM_FEAT_KSM,
	UMEM_FEAT_PSI,
	UMEM_FEAT_DAMON,
	UMEM_FEAT_PAGE_IDLE,
	UMEM_FEAT_SCAN_ACCESSED,
	UMEM_FEAT_ZRAM,
	UMEM_FEAT_SWAP,
	UMEM_N_FEATS,
};

_Static_assert(UMEM_N_FEATS <= 64, "features fit a 64-bit mask");

/** UMEM_FEAT_BIT - a feature in a mask. */
#define UMEM_FEAT_BIT(feat) (UINT64_C(1) << (feat))

/** UMEM_FEATS_ALL - every feature. */
#define UMEM_FEATS_ALL (UMEM_FEAT_BIT(UMEM_N_FEATS) - 1)

/**
 * UMEM_FEATS_TRACKING - what dirty tracking needs to know; probed in milliseconds.
 * No blind spots: they are always reckoned with, and pinning a page to try
 * one leaves it on our own account (VmPin) for some time after.
 */
#define UMEM_FEATS_TRACKING (UMEM_FEAT_BIT(UMEM_FEAT_PINNED_UNSEEN) - 1)

/** UMEM_FEATS_BLIND_SPOTS - the rows where "found" means more work. */
#define UMEM_FEATS_BLIND_SPOTS                              \
	(UMEM_FEAT_BIT(UMEM_FEAT_PIDFD_GETFD) -             \
		UMEM_FEAT_BIT(UMEM_FEAT_PINNED_UNSEEN))

/** UMEM_FEAT_DETAIL_SIZE - room for a detail text with its NUL. */
#define UMEM_FEAT_DETAIL_SIZE 96

/**
 * struct umem_feat_info - a row of the table, for people.
 * @name: as in an override and in `doctor`.
 * @enables: what it is good for; for a blind spot, what is done about it.
 * @how_to_get: kernel version, option or right; for a blind spot, what cures it.
 */
struct umem_feat_info {
	const char *name;
	const char *enables;
	const char *how_to_get;
};

/**
 * struct umem_feats - what was found; all zero is "nothing was probed".
 * @probed: features that were asked for.
 * @found: features that are there (or blind spots that are).
 * @unknown: probes that could not be made; the detail says why.
 * @overridden: features that umem_feats_override() has set.
 * @detail: one line each, "" where there is nothing to say.
 */
struct umem_feats {
	uint64_t probed;
	uint64_t found;
	uint64_t unknown;
	uint64_t overridden;
	char detail[UMEM_N_FEATS][UMEM_FEAT_DETAIL_SIZE];
};

/** umem_feats_probe - probe everything. Return: 0. */
int umem_feats_probe(struct umem_feats *ret_feats);

/**
 * umem_feats_probe_some - probe only some features.
 * @mask: of UMEM_FEAT_BIT(); UMEM_FEATS_TRACKING is fast.
 *
 * A probe that cannot be made (no descriptors, no rights, no memory) makes its
 * feature unknown, which is no failure of this call.
 *
 * Return: 0, -EINVAL for a bit that is no feature.
 */
int umem_feats_probe_some(uint64_t mask, struct umem_feats *ret_feats);

/**
 * umem_feats_has - may a caller count on @feat? For a blind spot: must it be
 * reckoned with? What is unknown or was not probed is answered on the safe
 * side: false, for a blind spot true.
 */
bool umem_feats_has(const struct umem_feats *feats, enum umem_feat feat);

/**
 * umem_feats_override - set features by hand.
 * @spec: "-procmap_query,+soft_dirty"; "" or NULL changes nothing.
 *
 * Return: 0, -EINVAL for an unknown name, a missing sign or an empty item;
 * @feats is then unchanged.
 */
int umem_feats_override(struct umem_feats *feats, const char *spec);

/** umem_feat_info - the row of @feat; never NULL. */
const struct umem_feat_info *umem_feat_info(enum umem_feat feat);

/** umem_feat_by_name - the feature called @name. Return: 0, -EINVAL. */
int umem_feat_by_name(const char *name, enum umem_feat *ret_feat);

#endif
