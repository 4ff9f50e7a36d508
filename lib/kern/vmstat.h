/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers of the whole machine: /proc/vmstat (events since boot) and
 * /proc/meminfo (amounts now).
 *
 * One read gives all of them, not at one moment: the kernel adds up its
 * processors' counters on the way. Everybody on the machine moves them.
 *
 * What moves which (Linux 6.18, shown by tests/kernel/reclaim-counters and cgroup):
 *
 *     MADV_PAGEOUT             pswpout, or swpout_zero for pages of zeros; none of
 *                              pgscan_* and pgsteal_*, however much goes out
 *     a page that comes back   pswpin or swpin_zero, pgmajfault, and
 *                              workingset_refault_anon; from the swap cache: nothing
 *     reclaim for a cgroup     pgscan_anon and _file, pgsteal_anon and _file; not those
 *     (its limit, force_empty) named by who asked, which are the machine's own reclaim
 */
#ifndef UMEM_KERN_VMSTAT_H
#define UMEM_KERN_VMSTAT_H

#include <stddef.h>
#include <stdint.h>

/** enum umem_vmstat_item - a bit of umem_vmstat.present each. */
enum umem_vmstat_item {
	UMEM_VMSTAT_PSWPIN,
	UMEM_VMSTAT_PSWPOUT,
	UMEM_VMSTAT_SWPIN_ZERO,
	UMEM_VMSTAT_SWPOUT_ZERO,
	UMEM_VMSTAT_ZSWPIN,
	UMEM_VMSTAT_ZSWPOUT,
	UMEM_VMSTAT_PGMAJFAULT,
	UMEM_VMSTAT_PGSCAN_KSWAPD,
	UMEM_VMSTAT_PGSCAN_DIRECT,
	UMEM_VMSTAT_PGSCAN_PROACTIVE,
	UMEM_VMSTAT_PGSTEAL_KSWAPD,
	UMEM_VMSTAT_PGSTEAL_DIRECT,
	UMEM_VMSTAT_PGSTEAL_PROACTIVE,
	UMEM_VMSTAT_PGSCAN_ANON,
	UMEM_VMSTAT_PGSCAN_FILE,
	UMEM_VMSTAT_PGSTEAL_ANON,
	UMEM_VMSTAT_PGSTEAL_FILE,
	UMEM_VMSTAT_WORKINGSET_REFAULT_ANON,
	UMEM_N_VMSTATS,
};

/**
 * struct umem_vmstat - events since boot, in pages; 0 where the kernel has none.
 * @pswpin: pages read from swap areas.
 * @pswpout: pages written to them.
 * @swpin_zero: swapped pages of zeros that came back; they lie in no area.
 * @swpout_zero: pages of zeros that went out so.
 * @zswpin: pages that came out of zswap; they are not in @pswpin.
 * @zswpout: pages that went into it.
 * @pgmajfault: faults on pages that were not in memory, also those of zeros or in zram.
 * @pgscan_kswapd: pages that the kernel's background reclaim looked at.
 * @pgscan_direct: pages that tasks short of memory looked at themselves.
 * @pgscan_proactive: pages looked at because somebody asked for it.
 * @pgsteal_kswapd, @pgsteal_direct, @pgsteal_proactive: pages that those freed.
 * @pgscan_anon, @pgscan_file: pages looked at by anybody, for cgroups too.
 * @pgsteal_anon, @pgsteal_file: pages that those freed.
 * @workingset_refault_anon: anonymous and shared pages that were out and came back.
 * @present: bits of enum umem_vmstat_item: counters that the kernel has.
 */
struct umem_vmstat {
	uint64_t pswpin;
	uint64_t pswpout;
	uint64_t swpin_zero;
	uint64_t swpout_zero;
	uint64_t zswpin;
	uint64_t zswpout;
	uint64_t pgmajfault;
	uint64_t pgscan_kswapd;
	uint64_t pgscan_direct;
	uint64_t pgscan_proactive;
	uint64_t pgsteal_kswapd;
	uint64_t pgsteal_direct;
	uint64_t pgsteal_proactive;
	uint64_t pgscan_anon;
	uint64_t pgscan_file;
	uint64_t pgsteal_anon;
	uint64_t pgsteal_file;
	uint64_t workingset_refault_anon;
	uint32_t present;
};

/** umem_vmstat_parse - parse the text; what is not a known line is passed over. */
struct umem_vmstat umem_vmstat_parse(const char *text, size_t len_bytes);

/**
 * umem_vmstat_read - read the counters.
 * @path: "/proc/vmstat", or what stands in for it; NULL is the former.
 *
 * Return: 0, -ENOENT, -ENOMEM.
 */
int umem_vmstat_read(const char *path, struct umem_vmstat *ret_stat);

/** enum umem_meminfo_item - a bit of umem_meminfo.present each. */
enum umem_meminfo_item {
	UMEM_MEMINFO_TOTAL,
	UMEM_MEMINFO_FREE,
	UMEM_MEMINFO_AVAILABLE,
	UMEM_MEMINFO_SWAP_TOTAL,
	UMEM_MEMINFO_SWAP_FREE,
	UMEM_MEMINFO_SWAP_CACHED,
	UMEM_MEMINFO_ZSWAP,
	UMEM_MEMINFO_ZSWAPPED,
	UMEM_N_MEMINFOS,
};

/**
 * struct umem_meminfo - amounts now; 0 where the kernel has none.
 * @total_bytes: memory.
 * @free_bytes: of it, not used at all.
 * @available_bytes: an estimate of what could be had without swapping.
 * @swap_total_bytes, @swap_free_bytes: of all swap areas together.
 * @swap_cached_bytes: swapped, and in memory still (or again).
 * @zswap_bytes: memory that zswap takes.
 * @zswapped_bytes: what is stored in it, uncompressed.
 * @present: bits of enum umem_meminfo_item: lines that the kernel has.
 */
struct umem_meminfo {
	uint64_t total_bytes;
	uint64_t free_bytes;
	uint64_t available_bytes;
	uint64_t swap_total_bytes;
	uint64_t swap_free_bytes;
	uint64_t swap_cached_bytes;
	uint64_t zswap_bytes;
	uint64_t zswapped_bytes;
	uint32_t present;
};

/** umem_meminfo_parse - parse the text; what is not a known line is passed over. */
struct umem_meminfo umem_meminfo_parse(const char *text, size_t len_bytes);

/**
 * umem_meminfo_read - read the amounts.
 * @path: "/proc/meminfo", or what stands in for it; NULL is the former.
 *
 * Return: 0, -ENOENT, -ENOMEM.
 */
int umem_meminfo_read(const char *path, struct umem_meminfo *ret_info);

#endif
