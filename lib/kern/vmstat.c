// SPDX-License-Identifier: LGPL-2.1-or-later
/* Numbers of the whole machine: /proc/vmstat and /proc/meminfo. */
#include "lib/kern/vmstat.h"

#include <fcntl.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/fields.h"

#define TEXT_MAX_BYTES (1u << 20)

#define STAT(item, name) \
	[UMEM_VMSTAT_##item] = { #name, offsetof(struct umem_vmstat, name) }

static const struct umem_field vmstat_fields[UMEM_N_VMSTATS] = {
	STAT(PSWPIN, pswpin),
	STAT(PSWPOUT, pswpout),
	STAT(SWPIN_ZERO, swpin_zero),
	STAT(SWPOUT_ZERO, swpout_zero),
	STAT(ZSWPIN, zswpin),
	STAT(ZSWPOUT, zswpout),
	STAT(PGMAJFAULT, pgmajfault),
	STAT(PGSCAN_KSWAPD, pgscan_kswapd),
	STAT(PGSCAN_DIRECT, pgscan_direct),
	STAT(PGSCAN_PROACTIVE, pgscan_proactive),
	STAT(PGSTEAL_KSWAPD, pgsteal_kswapd),
	STAT(PGSTEAL_DIRECT, pgsteal_direct),
	STAT(PGSTEAL_PROACTIVE, pgsteal_proactive),
	STAT(PGSCAN_ANON, pgscan_anon),
	STAT(PGSCAN_FILE, pgscan_file),
	STAT(PGSTEAL_ANON, pgsteal_anon),
	STAT(PGSTEAL_FILE, pgsteal_file),
	STAT(WORKINGSET_REFAULT_ANON, workingset_refault_anon),
};

#define INFO(item, key, member) \
	[UMEM_MEMINFO_##item] = { key ":", offsetof(struct umem_meminfo, member) }

static const struct umem_field meminfo_fields[UMEM_N_MEMINFOS] = {
	INFO(TOTAL, "MemTotal", total_bytes),
	INFO(FREE, "MemFree", free_bytes),
	INFO(AVAILABLE, "MemAvailable", available_bytes),
	INFO(SWAP_TOTAL, "SwapTotal", swap_total_bytes),
	INFO(SWAP_FREE, "SwapFree", swap_free_bytes),
	INFO(SWAP_CACHED, "SwapCached", swap_cached_bytes),
	INFO(ZSWAP, "Zswap", zswap_bytes),
	INFO(ZSWAPPED, "Zswapped", zswapped_bytes),
};

struct umem_vmstat umem_vmstat_parse(const char *text, size_t len_bytes)
{
	struct umem_vmstat stat = { 0 };

	stat.present = umem_fields_parse(text, len_bytes, vmstat_fields, UMEM_N_VMSTATS, &stat);
	return stat;
}

int umem_vmstat_read(const char *path, struct umem_vmstat *ret_stat)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r = umem_read_file(AT_FDCWD, path ? path : "/proc/vmstat", TEXT_MAX_BYTES, &text, &len);

	if (r < 0)
		return r;
	*ret_stat = umem_vmstat_parse(text, len);
	return 0;
}

struct umem_meminfo umem_meminfo_parse(const char *text, size_t len_bytes)
{
	struct umem_meminfo info = { 0 };

	info.present = umem_fields_parse(text, len_bytes, meminfo_fields, UMEM_N_MEMINFOS, &info);
	return info;
}

int umem_meminfo_read(const char *path, struct umem_meminfo *ret_info)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r = umem_read_file(AT_FDCWD, path ? path : "/proc/meminfo", TEXT_MAX_BYTES, &text,
		&len);

	if (r < 0)
		return r;
	*ret_info = umem_meminfo_parse(text, len);
	return 0;
}
