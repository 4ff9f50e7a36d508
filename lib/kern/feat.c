// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of features, and what was found. */
#include "lib/kern/feat.h"

#include <errno.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/kern/feat_probe.h"

struct row {
	struct umem_feat_info info;
	int (*probe)(char *detail);
};

#define ROW(feat, name_, enables_, how_, probe_) \
	[UMEM_FEAT_##feat] = { { name_, enables_, how_ }, umem_probe_##probe_ }

static const struct row rows[UMEM_N_FEATS] = {
	ROW(USERFAULTFD, "userfaultfd", "watching memory without help from the program",
		"CONFIG_USERFAULTFD; CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1",
		userfaultfd),
	ROW(UFFD_WP_ASYNC, "uffd_wp_async", "dirty tracking without a fault handler",
		"Linux 6.7, CONFIG_PTE_MARKER_UFFD_WP", wp_async),
	ROW(UFFD_USER_MODE_ONLY, "uffd_user_mode_only", "dirty tracking without privilege",
		"Linux 6.7", user_mode_only),
	ROW(WP_HUGETLBFS_SHMEM, "wp_hugetlbfs_shmem",
		"dirty tracking of shared memory, memfds and huge pages", "Linux 5.19",
		hugetlbfs_shmem),
	ROW(PAGEMAP_SCAN, "pagemap_scan", "reading and arming dirty pages in one pass",
		"Linux 6.7", pagemap_scan),
	ROW(SCAN_REPORTS_HOLES, "scan_reports_holes",
		"seeing discarded and never-touched pages by the same pass", "Linux 6.7", holes),
	ROW(SCAN_HOLES_ANY_MASK, "scan_holes_any_mask",
		"the same, while asking for other properties as well",
		"a stable kernel of 2026", holes_any_mask),
	ROW(SCAN_CHECK_WPASYNC, "scan_check_wpasync",
		"noticing mappings that appeared in a watched range", "Linux 6.7", check_wpasync),
	ROW(PROCMAP_QUERY, "procmap_query", "reading mappings without parsing text",
		"Linux 6.11", procmap_query),
	ROW(MAP_FILES, "map_files", "opening the file behind a shared mapping",
		"CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE", map_files),
	ROW(SWAP_TYPE_VISIBLE, "swap_type_visible", "telling swapped pages from marks",
		"CAP_SYS_ADMIN", swap_type),
	ROW(SOFT_DIRTY, "soft_dirty", "the fallback tracker, which also sees pinned pages",
		"CONFIG_MEM_SOFT_DIRTY", soft_dirty),
	ROW(MTIME_ON_PUNCH, "mtime_on_punch", "skipping the hole map of an unchanged memfd",
		"tmpfs of any kernel", mtime_on_punch),
	ROW(FINE_FILE_TIMES, "fine_file_times",
		"telling two changes of a memfd in one clock tick apart", "Linux 6.13 (tmpfs)",
		fine_times),

	ROW(PINNED_UNSEEN, "pinned_unseen", "pinned pages are reported in every round",
		"soft_dirty sees such writes", pinned_unseen),
	ROW(SHMEM_PUNCH_UNSEEN, "shmem_punch_unseen",
		"hole maps of shared memory are compared between rounds", "nothing yet",
		punch_unseen),
	ROW(FILE_PRIVATE_DISCARD_UNSEEN, "file_private_discard_unseen",
		"private copies of file pages are listed and compared between rounds",
		"nothing yet", private_discard_unseen),
	ROW(HUGETLB_DISCARD_UNSEEN, "hugetlb_discard_unseen",
		"huge pages that are marks are reported as discarded", "nothing yet",
		hugetlb_discard_unseen),
	ROW(HUGETLB_HOLES_UNSEEN, "hugetlb_holes_unseen",
		"unpopulated huge pages are taken from a second scan", "nothing yet",
		hugetlb_holes_unseen),

	ROW(PIDFD_GETFD, "pidfd_getfd", "taking over a program's userfaultfd or memfd",
		"Linux 5.6, the right to trace", pidfd_getfd),
	ROW(PIDFD_THREAD, "pidfd_thread", "naming a thread safely", "Linux 6.9", pidfd_thread),
	ROW(PTRACE_SEIZE, "ptrace_seize", "attaching to a program that does not cooperate",
		"the right to trace (kernel.yama.ptrace_scope)", ptrace_seize),
	ROW(SUSPEND_SECCOMP, "suspend_seccomp", "attaching to a program with a seccomp filter",
		"CONFIG_CHECKPOINT_RESTORE, CAP_SYS_ADMIN, no filter of our own",
		suspend_seccomp),
	ROW(RSEQ_CONFIGURATION, "rseq_configuration",
		"attaching outside restartable sequences", "Linux 5.13, CONFIG_RSEQ",
		rseq_configuration),

	ROW(UFFD_EVENTS, "uffd_events", "saving what is discarded, following mremap and fork",
		"CAP_SYS_PTRACE for fork", events),
	ROW(UFFD_MINOR, "uffd_minor", "serving faults from a shared page cache", "Linux 5.14",
		minor),
	ROW(UFFD_MOVE, "uffd_move", "moving pages instead of copying, inside one process",
		"Linux 6.8", move),
	ROW(UFFD_POISON, "uffd_poison", "lost pages raise an error instead of being zero",
		"Linux 6.6", poison),

	ROW(PROCESS_MADVISE, "process_madvise", "reclaiming another process's memory",
		"Linux 5.10, CAP_SYS_NICE", process_madvise),
	ROW(CACHESTAT, "cachestat", "exact state of swapped shared memory", "Linux 6.5",
		cachestat),
	ROW(GUARD_REGIONS, "guard_regions", "knowing guard pages by a bit of their own",
		"Linux 6.15", guard),
	ROW(THP, "thp", "huge pages for anonymous memory",
		"/sys/kernel/mm/transparent_hugepage/enabled: madvise", thp),
	ROW(KSM, "ksm", "merging of equal pages (makes them dirty once)", "CONFIG_KSM", ksm),
	ROW(PSI, "psi", "reclaim that listens to memory pressure", "CONFIG_PSI, psi=1", psi),
	ROW(DAMON, "damon",
		"access patterns by sampling (not used: its controls have one owner; "
		"while it runs, page_idle is not used either)",
		"CONFIG_DAMON_SYSFS", damon),
	ROW(PAGE_IDLE, "page_idle", "reclaim by the age of reads as well as of writes",
		"CONFIG_IDLE_PAGE_TRACKING, CAP_SYS_ADMIN", page_idle),
	ROW(SCAN_ACCESSED, "scan_accessed",
		"the same, without frame numbers (not used: PAGE_IS_ACCESSED is not settled)",
		"a kernel to come, with userfaultfd read-write protection", scan_accessed),
	ROW(ZRAM, "zram", "a compressed swap device", "CONFIG_ZRAM or modprobe zram", zram),
	ROW(SWAP, "swap", "anything to page out to", "swapon", swap),
};

const struct umem_feat_info *umem_feat_info(enum umem_feat feat)
{
	static const struct umem_feat_info none = { "?", "?", "?" };

	return (unsigned)feat < UMEM_N_FEATS ? &rows[feat].info : &none;
}

static int by_name(const char *name, size_t len, enum umem_feat *ret_feat)
{
	for (size_t i = 0; i < UMEM_N_FEATS; i++) {
		if (strlen(rows[i].info.name) == len && !memcmp(rows[i].info.name, name, len)) {
			*ret_feat = (enum umem_feat)i;
			return 0;
		}
	}
	return -EINVAL;
}

int umem_feat_by_name(const char *name, enum umem_feat *ret_feat)
{
	return by_name(name, strlen(name), ret_feat);
}

int umem_feats_probe_some(uint64_t mask, struct umem_feats *ret_feats)
{
	if (mask & ~UMEM_FEATS_ALL)
		return -EINVAL;
	*ret_feats = (struct umem_feats){ .probed = mask };
	for (size_t i = 0; i < UMEM_N_FEATS; i++) {
		char *detail = ret_feats->detail[i];
		int result;

		if (!(mask & UMEM_FEAT_BIT(i)))
			continue;
		result = rows[i].probe(detail);
		if (result > 0)
			ret_feats->found |= UMEM_FEAT_BIT(i);
		if (result < 0)
			ret_feats->unknown |= UMEM_FEAT_BIT(i);
		if (result < 0 && !detail[0])
			umem_probe_say(detail, 0, "%s", strerrordesc_np(-result));
	}
	return 0;
}

int umem_feats_probe(struct umem_feats *ret_feats)
{
	return umem_feats_probe_some(UMEM_FEATS_ALL, ret_feats);
}

bool umem_feats_has(const struct umem_feats *feats, enum umem_feat feat)
{
	uint64_t bit;

	if ((unsigned)feat >= UMEM_N_FEATS)
		return false;
	bit = UMEM_FEAT_BIT(feat);
	if (!(feats->overridden & bit) && (!(feats->probed & bit) || feats->unknown & bit))
		return UMEM_FEATS_BLIND_SPOTS & bit;
	return feats->found & bit;
}

int umem_feats_override(struct umem_feats *feats, const char *spec)
{
	uint64_t on = 0, off = 0;
	const char *at = spec;

	if (!spec || !*spec)
		return 0;
	for (;;) {
		size_t len = strcspn(at, ",");
		enum umem_feat feat;
		int err;

		if (len < 2 || (at[0] != '+' && at[0] != '-'))
			return -EINVAL;
		err = by_name(at + 1, len - 1, &feat);
		if (err)
			return err;
		/* The last word about a feature counts. */
		on &= ~UMEM_FEAT_BIT(feat);
		off &= ~UMEM_FEAT_BIT(feat);
		*(at[0] == '+' ? &on : &off) |= UMEM_FEAT_BIT(feat);
		if (!at[len])
			break;
		at += len + 1;
	}
	feats->found = (feats->found | on) & ~off;
	feats->unknown &= ~(on | off);
	feats->overridden |= on | off;
	for (size_t i = 0; i < UMEM_N_FEATS; i++) {
		if ((on | off) & UMEM_FEAT_BIT(i))
			umem_probe_say(feats->detail[i], 0, "overridden");
	}
	return 0;
}
